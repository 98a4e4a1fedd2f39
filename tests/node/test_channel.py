"""The secure channel: two nodes see each other's key, and nobody else gets as far as a byte."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from setsync.errors import PeerError, PeerGoneError, PeerIdentityError
from setsync.node.channel import PROTOCOL, accept, dial
from setsync.node.identity import Identity
from setsync.wire import messages as m
from tests.helpers import some_bytes
from tests.node.ends import HELLO, simulate
from tests.node.impostors import (
    ANNA,
    BEN,
    MALLORY,
    Honest,
    Judged,
    Shown,
    both,
    certify,
    dialling,
    face,
    listening,
    private,
    self_signed,
)

# --- honest ends --------------------------------------------------------------------------


def test_two_nodes_see_each_others_key_and_understand_each_other() -> None:
    async def main() -> None:
        first, second = await both(dialling(ANNA, BEN), listening(BEN))
        assert first.channel is not None
        assert second.channel is not None
        assert (first.channel.peer, second.channel.peer) == (BEN.public, ANNA.public)
        for source, goal in ((first, second), (second, first)):
            await source.channel.stream.send_all(b"hello")  # type: ignore[union-attr]
            assert await goal.channel.stream.receive_some() == b"hello"  # type: ignore[union-attr]

    simulate(main)


def test_two_nodes_see_each_others_key_on_real_sockets() -> None:
    async def main() -> tuple[Judged, Judged]:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            here = await trio.testing.open_stream_to_socket_listener(listener)
            there = await listener.accept()
            judged = await both(dialling(ANNA, BEN), listening(BEN), (here, there))
        for each in judged:
            await trio.aclose_forcefully(each.channel.stream)  # type: ignore[union-attr]
        return judged

    first, second = trio.run(main)
    assert first.channel is not None
    assert second.channel is not None
    assert (first.channel.peer, second.channel.peer) == (BEN.public, ANNA.public)


def test_the_protocol_is_named_by_both() -> None:
    async def main() -> None:
        here, there = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, there, Identity.of(BEN))
            channel = await dial(here, Identity.of(ANNA))
        assert isinstance(channel.stream, trio.SSLStream)
        assert channel.stream.selected_alpn_protocol() == PROTOCOL
        assert channel.stream.version() == "TLSv1.3"

    simulate(main)


def test_nothing_is_kept_with_which_a_session_could_be_resumed() -> None:
    """Every session proves both keys anew."""

    async def main() -> None:
        client = Shown(_pem(MALLORY)).context(ssl.PROTOCOL_TLS_CLIENT)
        sessions: list[ssl.SSLSession | None] = [None]
        for _ in range(2):
            here, there = trio.testing.memory_stream_pair()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_answer_and_greet, there)
                stream = trio.SSLStream(here, client, https_compatible=False)
                await stream.do_handshake()
                assert await stream.receive_some() == b"hello"
            assert not stream.session_reused
            sessions.append(stream.session)
        assert not any(session is not None and session.has_ticket for session in sessions)

    simulate(main)


async def _answer_and_greet(stream: trio.abc.Stream) -> None:
    channel = await accept(stream, Identity.of(ANNA))
    await channel.stream.send_all(b"hello")


def _pem(secret: object) -> bytes:
    return certify(private(secret))  # type: ignore[arg-type]


# --- impostors ----------------------------------------------------------------------------

OTHER_ISSUER = private(BEN)
LIARS: dict[str, Callable[[], Shown]] = {
    "self-signed": lambda: Shown(self_signed(private(MALLORY))),
    "another issuer of the same name": lambda: Shown(certify(private(MALLORY), OTHER_ISSUER)),
    "expired": lambda: Shown(certify(private(MALLORY), until=2020)),
    "not valid yet": lambda: Shown(certify(private(MALLORY), since=9000)),
    "EC": lambda: Shown(certify(ec.generate_private_key(ec.SECP256R1()))),
    "RSA": lambda: Shown(certify(rsa.generate_private_key(65_537, 2_048))),
    "too long": lambda: Shown(certify(private(MALLORY), filling=1_024)),
    "TLS 1.2": lambda: Shown(_pem(MALLORY), version=ssl.TLSVersion.TLSv1_2),
    "another protocol": lambda: Shown(_pem(MALLORY), alpn="h2"),
    "no protocol": lambda: Shown(_pem(MALLORY), alpn=None),
}
NONE_OF_A_NODES = "certificate is none of a node's: "
VERDICTS = {
    "self-signed": (PeerIdentityError, NONE_OF_A_NODES + "self.signed"),
    "another issuer of the same name": (PeerIdentityError, NONE_OF_A_NODES),
    "expired": (PeerIdentityError, NONE_OF_A_NODES + "certificate has expired"),
    "not valid yet": (PeerIdentityError, NONE_OF_A_NODES + "certificate is not yet valid"),
    "EC": (PeerIdentityError, "key is not an Ed25519 key"),
    "RSA": (PeerIdentityError, "key is not an Ed25519 key"),
    "too long": (PeerIdentityError, "showed no certificate of a node"),
    "TLS 1.2": (PeerError, "no secure channel to the other side: unsupported protocol"),
    "another protocol": (PeerIdentityError, "TLS, and not a node's protocol"),
    "no protocol": (PeerIdentityError, "TLS, and not a node's protocol"),
}
# OpenSSL itself gives up on us, who offer no such version.
WHEN_WE_DIAL = {"TLS 1.2": (PeerGoneError, "closed the connection during the handshake")}


async def _come_as(shown: Shown, stream: trio.abc.Stream, *, dialled: bool) -> bytes:
    """Shake hands as an impostor and go on as if nothing were wrong; what is then heard."""
    protocol = ssl.PROTOCOL_TLS_SERVER if dialled else ssl.PROTOCOL_TLS_CLIENT
    secured = trio.SSLStream(
        stream, shown.context(protocol), server_side=dialled, https_compatible=False
    )
    heard = b""
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await secured.do_handshake()
        await secured.send_all(m.pack(HELLO))
        while data := await secured.receive_some():
            heard += data
    await trio.aclose_forcefully(secured)
    return heard


def _check(judged: Judged, heard: bytes, kind: type[PeerError], words: str) -> None:
    assert type(judged.error) is kind, judged.error
    with pytest.raises(kind, match=words):
        raise judged.error
    assert heard == b""


@pytest.mark.parametrize("dialled", [False, True], ids=["dials us", "is dialled"])
@pytest.mark.parametrize("who", LIARS)
def test_whoever_shows_no_nodes_certificate_is_refused(who: str, dialled: bool) -> None:
    """For the right reason, and before a byte of ours goes out or of theirs is looked at."""
    kind, words = (WHEN_WE_DIAL if dialled and who in WHEN_WE_DIAL else VERDICTS)[who]
    heard: list[bytes] = []

    async def impostor(stream: trio.abc.Stream) -> None:
        heard.append(await _come_as(LIARS[who](), stream, dialled=dialled))

    honest = dialling() if dialled else listening()
    judged = simulate(face, honest, impostor)
    _check(judged, b"".join(heard), kind, words)


def test_whoever_shows_no_certificate_at_all_is_refused() -> None:
    async def impostor(stream: trio.abc.Stream) -> None:
        assert await _come_as(Shown(None), stream, dialled=False) == b""

    _check(simulate(face, listening(), impostor), b"", PeerIdentityError, "showed no certificate")


def test_a_wrong_key_is_refused_naming_both() -> None:
    first, _ = simulate(both, dialling(ANNA, BEN), listening(MALLORY))
    assert isinstance(first.error, PeerIdentityError)
    assert MALLORY.public.hex() in first.reason
    assert BEN.public.hex() in first.reason


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        m.pack(HELLO),
        some_bytes("noise", length=4_096),
        b"\x16\x03\x01\xff\xff" + bytes(70_000),
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x17\x03\x03\x00\x10" + bytes(16),
        b"SSH-2.0-OpenSSH\r\n",
        bytes(100),
        b"\x16\x03\x03\x00\x2a\x02\x00\x00\x26\x03\x03" + bytes(33) + b"\xc0\x2f\x00",
    ],
    ids=[
        "HTTP",
        "a node's",
        "noise",
        "a long record",
        "an alert",
        "data",
        "SSH",
        "zeros",
        "an answer of 1.2",
    ],
)
@pytest.mark.parametrize("honest", [listening(), dialling()], ids=["to a listener", "to a dialler"])
def test_what_is_no_handshake_is_refused(honest: Honest, said: bytes) -> None:
    async def talk(stream: trio.abc.Stream) -> None:
        await stream.send_all(said)
        while await stream.receive_some(65_536):
            pass

    judged = simulate(face, honest, talk)
    assert type(judged.error) is PeerError
    assert "no secure channel to the other side" in judged.reason
    assert judged.seconds == 0


@pytest.mark.parametrize("honest", [listening(), dialling()], ids=["a listener", "a dialler"])
def test_a_peer_that_leaves_at_once_is_a_cut(honest: Honest) -> None:
    judged = simulate(face, honest, trio.aclose_forcefully)
    assert isinstance(judged.error, PeerGoneError)
