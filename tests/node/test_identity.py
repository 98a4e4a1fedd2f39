"""A node's certificate: pinned byte for byte, and the same whatever the clock shows."""

from __future__ import annotations

import os
import shutil
import ssl
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from blake3 import blake3
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from setsync.limits import MAX_CERTIFICATE
from setsync.model.keys import SecretKey
from setsync.node import channel, identity
from setsync.node.identity import Identity
from tests.node.ends import simulate
from tests.node.impostors import ANNA, BEN, both, dialling, listening

FIXED = SecretKey(bytes(range(32)))

# Whoever changes these bytes changes who every node is to the others.
ISSUER = "1ba4348d5cd72f0b123abb05b11848e804c768a61d1526c1600363ade98c930a"
NODE = "62fdd65284b90b32d2a8b4a7af1b40874c605477d68546c9895c9ee33eee1871"


def _der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def test_the_certificates_are_these_bytes() -> None:
    assert blake3(_der(identity.issuer())).hexdigest() == ISSUER
    assert blake3(_der(Identity.of(FIXED).certificate)).hexdigest() == NODE


def test_the_issuers_certificate_says_this() -> None:
    found = x509.load_pem_x509_certificate(identity.issuer())
    assert found.subject == found.issuer
    assert found.subject.rfc4514_string() == "CN=setsync"
    assert found.serial_number == 1
    assert _years(found) == (datetime(2000, 1, 1, tzinfo=UTC), _LAST_SECOND)
    basics = found.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basics.critical, basics.value.ca, basics.value.path_length) == (True, True, 0)
    usage = found.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.digital_signature) == (True, False)
    assert len(found.extensions) == 3
    found.verify_directly_issued_by(found)


_LAST_SECOND = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def _years(found: x509.Certificate) -> tuple[datetime, datetime]:
    return found.not_valid_before_utc, found.not_valid_after_utc


def test_a_nodes_certificate_says_this() -> None:
    found = x509.load_pem_x509_certificate(Identity.of(FIXED).certificate)
    key = found.public_key()
    assert isinstance(key, Ed25519PublicKey)
    assert key.public_bytes_raw() == FIXED.public
    assert found.subject.rfc4514_string() == f"CN={FIXED.public.hex()}"
    assert found.issuer.rfc4514_string() == "CN=setsync"
    assert _years(found) == (datetime(2000, 1, 1, tzinfo=UTC), _LAST_SECOND)
    basics = found.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basics.critical, basics.value.ca) == (True, False)
    usage = found.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.digital_signature) == (False, True)
    purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    assert len(found.extensions) == 5
    found.verify_directly_issued_by(x509.load_pem_x509_certificate(identity.issuer()))


def test_it_is_made_anew_as_the_same_bytes_and_fits_the_limit() -> None:
    assert Identity.of(FIXED) == Identity.of(FIXED)
    for number in range(50):
        public = SecretKey(bytes([number]) * 32).public
        made = identity._node_certificate(public).public_bytes(Encoding.DER)
        assert len(made) <= MAX_CERTIFICATE // 2
        assert channel.key_in(made) == public


def test_the_key_is_the_nodes_own() -> None:
    private = load_pem_private_key(Identity.of(FIXED).key, None)
    assert private.private_bytes_raw() == FIXED.seed  # type: ignore[union-attr]


def test_the_key_does_not_show_itself() -> None:
    assert "PRIVATE" not in repr(Identity.of(FIXED))
    assert FIXED.seed.hex() not in repr(Identity.of(FIXED))


def test_the_key_goes_to_openssl_by_way_of_no_disk() -> None:
    """Where there are files in memory."""
    with channel._as_file(b"content") as name:
        assert Path(name).read_bytes() == b"content"
        assert hasattr(os, "memfd_create") == name.startswith("/proc/self/fd/")
    assert not Path(name).exists()


def test_without_files_in_memory_the_key_file_is_gone_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    with channel._as_file(b"content") as name:
        assert Path(name).read_bytes() == b"content"
        assert stat.S_IMODE(Path(name).stat().st_mode) == 0o600
    assert not Path(name).exists()


@pytest.fixture
def strictly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends check certificates as strictly as OpenSSL can, and newer Pythons do."""
    make = channel._context

    def strict(protocol: int, me: Identity, spoken: tuple[str, ...]) -> ssl.SSLContext:
        context = make.__wrapped__(protocol, me, spoken)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(channel, "_context", strict)


@pytest.mark.usefixtures("strictly")
def test_it_passes_the_strictest_check() -> None:
    first, second = simulate(both, dialling(ANNA, BEN), listening(BEN))
    assert first.channel is not None
    assert second.channel is not None


def test_contexts_offer_one_version_and_ask_for_a_certificate() -> None:
    for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
        context = channel._context(protocol, Identity.of(ANNA))
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.minimum_version == context.maximum_version == ssl.TLSVersion.TLSv1_3
        assert context.options & ssl.OP_NO_TICKET
        assert [one["serialNumber"] for one in context.get_ca_certs()] == ["01"]
    assert context.num_tickets == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not here")
@pytest.mark.parametrize("year", [2000, 2026, 2038, 2106, 9999])
def test_it_is_valid_in_whatever_year_a_clock_may_show(tmp_path: Path, year: int) -> None:
    """A clock ten years off, one that was never set, and the last year there is."""
    (tmp_path / "issuer.pem").write_bytes(identity.issuer())
    (tmp_path / "node.pem").write_bytes(Identity.of(FIXED).certificate)
    at = str(int(datetime(year, 6, 1, tzinfo=UTC).timestamp()))
    for purpose in ("sslclient", "sslserver"):
        words = ["openssl", "verify", "-x509_strict", "-attime", at, "-purpose", purpose]
        words += ["-CAfile", str(tmp_path / "issuer.pem"), str(tmp_path / "node.pem")]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
