"""Certificates that are none of a node's, whoever shows them, and the honest ends they meet."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from setsync.errors import SetsyncError
from setsync.model.keys import SecretKey
from setsync.node import identity
from setsync.node.channel import PROTOCOL, Channel, accept, dial
from setsync.node.identity import Identity
from tests.helpers import keys

ANNA, BEN, MALLORY = keys(3, seed=77)
PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

PUBLISHED = Ed25519PrivateKey.from_private_bytes(identity._ISSUER_SEED)
"""What everybody has: anybody may issue certificates with it."""


def private(secret: SecretKey) -> Ed25519PrivateKey:
    """A node's key as TLS libraries want it."""
    return Ed25519PrivateKey.from_private_bytes(secret.seed)


def certify(
    key: PrivateKey,
    by: Ed25519PrivateKey = PUBLISHED,
    *,
    since: int = 2000,
    until: int = 9999,
    filling: int = 0,
) -> bytes:
    """A certificate for a key and the key itself, in PEM; as a node's where nothing is said."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "setsync")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(datetime(since, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(until, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if filling:
        what = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.1"), bytes(filling))
        builder = builder.add_extension(what, critical=False)
    certificate = builder.sign(by, None)
    return certificate.public_bytes(Encoding.PEM) + key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def self_signed(key: Ed25519PrivateKey) -> bytes:
    """As most of the world's certificates are."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.org")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .sign(key, None)
    )
    return certificate.public_bytes(Encoding.PEM) + key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


@dataclass(frozen=True)
class Shown:
    """What an impostor comes with: a certificate and its key in PEM, or nothing."""

    pem: bytes | None
    alpn: str | None = PROTOCOL
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3

    def context(self, protocol: int) -> ssl.SSLContext:
        """Who trusts everybody and shows this."""
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = context.maximum_version = self.version
        if self.alpn is not None:
            context.set_alpn_protocols([self.alpn])
        if protocol == ssl.PROTOCOL_TLS_SERVER:  # or the dialler's certificate is not asked for
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(cadata=identity.issuer().decode("ascii"))
        if self.pem is not None:
            with tempfile.NamedTemporaryFile() as file:
                file.write(self.pem)
                file.flush()
                context.load_cert_chain(file.name)
        return context


# --- meetings -----------------------------------------------------------------------------

Streams = tuple[trio.abc.Stream, trio.abc.Stream]
Script = Callable[[trio.abc.Stream], Awaitable[None]]


@dataclass
class Judged:
    """What the honest end says, and when (by its clock)."""

    channel: Channel | None = None
    error: SetsyncError | None = None
    seconds: float = 0.0

    @property
    def reason(self) -> str:
        """Why it refused; fails if it did not."""
        assert self.channel is None
        assert self.error is not None
        return self.error.message


Honest = Callable[[trio.abc.Stream], Awaitable[Channel]]


async def judge(honest: Honest, stream: trio.abc.Stream) -> Judged:
    """Let an honest end shake hands. Other exceptions than SetsyncErrors come through."""
    judged = Judged()
    started = trio.current_time()
    try:
        judged.channel = await honest(stream)
    except SetsyncError as error:
        judged.error = error
    judged.seconds = trio.current_time() - started
    return judged


async def face(honest: Honest, script: Script) -> Judged:
    """An honest end and a script on the other; the script may find the line cut at any time."""
    here, there = trio.testing.memory_stream_pair()
    judged = Judged()

    async def play() -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
            await script(there)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(play)
        judged = await judge(honest, here)
        nursery.cancel_scope.cancel()
    return judged


def listening(secret: SecretKey = ANNA) -> Honest:
    """An honest node that is dialled."""
    me = Identity.of(secret)
    return lambda stream: accept(stream, me)


def dialling(secret: SecretKey = ANNA, expected: SecretKey | None = None) -> Honest:
    """An honest node that dials, and may know who has to be there."""
    me = Identity.of(secret)
    key = expected.public if expected is not None else None
    return lambda stream: dial(stream, me, key)


async def both(
    dialler: Honest, listener: Honest, streams: Streams | None = None
) -> tuple[Judged, Judged]:
    """Two honest ends."""
    here, there = streams or trio.testing.memory_stream_pair()
    found: list[Judged] = []

    async def other() -> None:
        found.append(await judge(listener, there))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        first = await judge(dialler, here)
    return first, found[0]
