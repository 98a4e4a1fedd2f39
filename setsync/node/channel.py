"""The secure channel: TLS 1.3 on both sides, and the other side's key.

Each side proves in the handshake that it holds the key in its certificate, bound to this very
connection; who issued the certificate says nothing (`identity`). What OpenSSL does not check is
checked here before a single byte of ours goes out or of theirs is looked at: that the key is
an Ed25519 point that libsodium accepts too, and that it is one we want to talk to.

In TLS 1.3 the dialler has finished before the listener has judged it. So "connected" means that
the first answer came, and reasons for a refusal are told inside the session.
"""

from __future__ import annotations

import contextlib
import functools
import os
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import trio

from setsync.errors import (
    PeerError,
    PeerGoneError,
    PeerIdentityError,
    PeerTimeoutError,
)
from setsync.limits import HELLO_TIMEOUT, MAX_CERTIFICATE
from setsync.model.keys import is_valid_point
from setsync.node.gate import Remembering, admit, decline, is_call, knock
from setsync.node.identity import Identity, issuer
from setsync.node.network import NetworkKey

PROTOCOL = "setsync/1"

# What OpenSSL calls it when the other side has proven to be nobody.
_NOBODY = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "The other side showed no certificate of a node.",
    "BAD_SIGNATURE": "The other side does not hold the key in its certificate.",
}


@dataclass(frozen=True, slots=True)
class Channel:
    """A connected stream, the key of who is on the other side (32 bytes), and what both agreed
    to speak."""

    stream: trio.abc.Stream
    peer: bytes
    protocol: str = PROTOCOL


async def dial(
    stream: trio.abc.Stream,
    me: Identity,
    expected: bytes | None = None,
    network: NetworkKey | None = None,
    protocol: str = PROTOCOL,
) -> Channel:
    """The dialler's half. `expected` is the key that has to be on the other side; with a
    `network` both sides first prove that they know its key (`gate`). `protocol`: what is to be
    spoken, by its ALPN name.

    Raises PeerIdentityError (it is somebody else), NetworkKeyError, PeerError, PeerTimeoutError,
    PeerGoneError; the stream is closed then.
    """
    heard = Remembering(stream)
    context = _context(ssl.PROTOCOL_TLS_CLIENT, me, (protocol,))
    secured = trio.SSLStream(heard, context, https_compatible=False)
    channel = await _handshake(secured, network, (protocol,))
    if expected is not None and channel.peer != expected:
        await trio.aclose_forcefully(channel.stream)
        raise PeerIdentityError(
            f"The node there has the key {channel.peer.hex()}, and {expected.hex()} was expected."
        )
    return channel


async def accept(
    stream: trio.abc.Stream,
    me: Identity,
    network: NetworkKey | None = None,
    protocols: tuple[str, ...] = (PROTOCOL,),
) -> Channel:
    """The listener's half; the dialler chooses one of the `protocols`. Raises as `dial`."""
    heard = Remembering(stream)
    context = _context(ssl.PROTOCOL_TLS_SERVER, me, protocols)
    secured = trio.SSLStream(heard, context, server_side=True, https_compatible=False)
    return await _handshake(secured, network, protocols)


async def _handshake(
    stream: trio.SSLStream[Remembering], network: NetworkKey | None, protocols: tuple[str, ...]
) -> Channel:
    """All of it has one deadline: a peer that sends a byte a second gets no longer."""
    is_listener = stream.server_side
    try:
        with trio.fail_after(HELLO_TIMEOUT):
            if network is not None:
                await (admit if is_listener else knock)(stream.transport_stream, network)
            await _shake_hands(stream, network, is_listener=is_listener)
        protocol = _agreed(stream, protocols)
        return Channel(stream, key_in(stream.getpeercert(binary_form=True) or b""), protocol)
    except trio.TooSlowError as error:
        await trio.aclose_forcefully(stream)
        raise PeerTimeoutError(
            f"The secure channel was not there after {HELLO_TIMEOUT:.0f} s."
        ) from error
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(stream)
        raise _what_went_wrong(error) from error
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


async def _shake_hands(
    stream: trio.SSLStream[Remembering], network: NetworkKey | None, *, is_listener: bool
) -> None:
    """TLS; where it fails because the other side's network has a key, raises that instead."""
    heard = stream.transport_stream
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        if network is None and is_listener and is_call(heard.beginning):
            raise await decline(heard) from error
        if network is None and not is_listener and not heard.beginning:
            raise PeerGoneError(
                "The other side closed the connection during the handshake, without a word. It "
                "takes no connections just now, or belongs to a network whose key is not here."
            ) from error
        raise


def _what_went_wrong(error: trio.BrokenResourceError) -> PeerError:
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return PeerIdentityError(
            f"The other side's certificate is none of a node's: {cause.verify_message}."
        )
    if isinstance(cause, ssl.SSLEOFError) or not isinstance(cause, ssl.SSLError):
        return PeerGoneError("The other side closed the connection during the handshake.")
    if cause.reason in _NOBODY:
        return PeerIdentityError(_NOBODY[cause.reason])
    reason = (cause.reason or "unknown").replace("_", " ").lower()
    return PeerError(f"There is no secure channel to the other side: {reason}.")


def _agreed(stream: trio.SSLStream[Remembering], protocols: tuple[str, ...]) -> str:
    """Which of the protocols both sides speak. Raises PeerIdentityError."""
    agreed: str | None = stream.selected_alpn_protocol()
    if stream.version() != "TLSv1.3" or agreed is None or agreed not in protocols:
        raise PeerIdentityError("The other side speaks TLS, and not a node's protocol over it.")
    return agreed


def key_in(certificate: bytes) -> bytes:
    """The key in a node's certificate (DER), 32 bytes. Raises PeerIdentityError."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not certificate or len(certificate) > MAX_CERTIFICATE:
        raise PeerIdentityError("The other side showed no certificate of a node.")
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise PeerIdentityError("The other side's certificate cannot be read.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise PeerIdentityError("The other side's key is not an Ed25519 key.")
    public = key.public_bytes_raw()
    # OpenSSL takes keys of small order, under which anybody can sign; libsodium refuses them.
    if not is_valid_point(public):
        raise PeerIdentityError(f"The other side's key {public.hex()} is not a sound one.")
    return public


@functools.lru_cache(maxsize=4)
def _context(protocol: int, me: Identity, spoken: tuple[str, ...] = (PROTOCOL,)) -> ssl.SSLContext:
    """One for all connections of an identity: making it costs as much as half a handshake, and
    more memory than a connection."""
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
    context.set_alpn_protocols(list(spoken))
    context.load_verify_locations(cadata=issuer().decode("ascii"))
    with _as_file(me.certificate + me.key) as path:
        context.load_cert_chain(path)
    return context


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A name for bytes that OpenSSL wants to read from a file. On Linux no disk sees them."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile() as file:  # made with mode 0600
        file.write(content)
        file.flush()
        yield file.name
