"""Who a node is: its Ed25519 key, as a certificate that TLS can carry.

Certificates are issued by a key that is published here, on purpose: anybody may issue one for
any key of their own, and nobody is trusted for having issued it. TLS then asks the other side
to prove that it holds the key in its certificate, which is all we want to know. A certificate
is the same bytes whenever it is made, and valid in every year that a clock may show.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from blake3 import blake3

from setsync.model.keys import SecretKey

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, KeyUsage

# Not a secret: everybody has it, so that what it signs says nothing about anybody.
_ISSUER_SEED = blake3(b"setsync 1: the issuer that everybody is").digest()
_ISSUER_NAME = "setsync"
_FROM = datetime(2000, 1, 1, tzinfo=UTC)
_UNTIL = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's key and what TLS needs of it, in PEM."""

    public: bytes
    certificate: bytes
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: SecretKey) -> Identity:
        """The identity of a node's key. About a millisecond, once a process."""
        # Slow to load, and most commands meet nobody.
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        private = Ed25519PrivateKey.from_private_bytes(secret.seed)
        return cls(
            secret.public,
            _node_certificate(secret.public).public_bytes(serialization.Encoding.PEM),
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )


@functools.cache
def issuer() -> bytes:
    """The issuer's certificate, in PEM: the only one that is ever accepted as such."""
    from cryptography.hazmat.primitives import serialization

    return _issuer_certificate().public_bytes(serialization.Encoding.PEM)


@functools.cache
def _issuer_certificate() -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.x509.oid import NameOID

    key = Ed25519PrivateKey.from_private_bytes(_ISSUER_SEED)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _ISSUER_NAME)])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, None)
    )


def _node_certificate(public: bytes) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    issuing = Ed25519PrivateKey.from_private_bytes(_ISSUER_SEED)
    key = Ed25519PublicKey.from_public_bytes(public)
    both = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, public.hex())]))
        .issuer_name(_issuer_certificate().subject)
        .public_key(key)
        .serial_number(int.from_bytes(blake3(public).digest()[:16], "big") | 1)
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuing.public_key()),
            critical=False,
        )
        .sign(issuing, None)
    )


def _usage(*, certificates: bool) -> KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
