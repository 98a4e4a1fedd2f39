"""A network's key: who does not know it gets no handshake, and both operators get a sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from setsync.errors import (
    KeyFileError,
    NetworkKeyError,
    PeerError,
    PeerGoneError,
    PeerTimeoutError,
)
from setsync.limits import HELLO_TIMEOUT
from setsync.node.channel import accept, dial
from setsync.node.config import DataDirectory
from setsync.node.gate import Remembering
from setsync.node.identity import Identity
from setsync.node.network import (
    ANSWER_BYTES,
    CALL_BYTES,
    MAGIC,
    NO_KEY,
    NONCE_BYTES,
    REPLY_BYTES,
    NetworkKey,
    key_text,
    parse_key_text,
    read_network_key,
    write_network_key,
)
from tests.node.ends import simulate
from tests.node.impostors import ANNA, BEN, MALLORY, Honest, Judged, Script, Streams, both, face
from tests.node.processes import Outcome, Process, contents, fill, make_node, run

OURS, OTHERS = NetworkKey(b"o" * 32), NetworkKey(b"x" * 32)
NONCE, ANOTHER = b"n" * 32, b"m" * 32


def _dialling(network: NetworkKey | None) -> Honest:
    return lambda stream: dial(stream, Identity.of(ANNA), BEN.public, network)


def _listening(network: NetworkKey | None) -> Honest:
    return lambda stream: accept(stream, Identity.of(BEN), network)


# --- the proofs ---------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_who_knows_the_key_is_believed_and_sizes_never_change(first: bytes, second: bytes) -> None:
    call = OURS.call(first)
    answer = OURS.answer(call, second)
    reply = OURS.reply(call, answer)
    assert (len(call), len(answer), len(reply)) == (CALL_BYTES, ANSWER_BYTES, REPLY_BYTES)
    assert OURS.is_call(call)
    assert OURS.is_answer(answer, call)
    assert OURS.is_reply(reply, call, answer)


@given(st.integers(0, 2**32), st.integers(1, 255))
def test_a_changed_byte_anywhere_proves_nothing(place: int, change: int) -> None:
    call = OURS.call(NONCE)
    answer = OURS.answer(call, ANOTHER)
    reply = OURS.reply(call, answer)

    def spoiled(message: bytes) -> bytes:
        at = place % len(message)
        return message[:at] + bytes([message[at] ^ change]) + message[at + 1 :]

    assert not OURS.is_call(spoiled(call))
    assert not OURS.is_answer(spoiled(answer), call)
    assert not OURS.is_reply(spoiled(reply), call, answer)


def test_another_key_another_nonce_and_another_message_prove_nothing() -> None:
    call = OURS.call(NONCE)
    answer = OURS.answer(call, ANOTHER)
    reply = OURS.reply(call, answer)
    assert not OTHERS.is_call(call)
    assert not OTHERS.is_answer(answer, call)
    assert not OTHERS.is_reply(reply, call, answer)
    assert not OURS.is_answer(answer, OURS.call(ANOTHER))
    assert not OURS.is_reply(reply, call, OURS.answer(call, NONCE))
    # The same nonces under the words of the other side, cut to the size that is due.
    assert not OURS.is_answer(call[len(MAGIC) :], call)
    assert not OURS.is_reply(answer[NONCE_BYTES:], call, answer)
    assert not OURS.is_reply(call[-REPLY_BYTES:], call, answer)
    assert not OURS.is_answer(NO_KEY, call)


def test_the_proofs_stay_what_they_are() -> None:
    """Nodes of different versions must understand each other."""
    call = OURS.call(NONCE)
    answer = OURS.answer(call, ANOTHER)
    assert call[: len(MAGIC) + NONCE_BYTES] == b"setsync/network1" + NONCE
    assert [part[-32:].hex() for part in (call, answer, OURS.reply(call, answer))] == GOLDEN
    assert OURS.name == GOLDEN_NAME


GOLDEN = [
    "b599b5e194bc7ca9e988fa627c4fd97075ec3e44b771295130e4581f81440cbf",
    "561eb6730df454ba60a71abda23e1898e0042e4cbc4ac6de4c01038e96081fb1",
    "ad68c0d75213f10da44dcc65b4453a8cff038155137cb7d0eafa30937b427c54",
]
GOLDEN_NAME = "f7bbb6287eb800d5"


# --- every combination --------------------------------------------------------------------

UNTOLD = "belongs to a network whose key is not here"
UNPROVEN = "instead of proving this network's key"
COMBINATIONS = {
    "none and none": (None, None, None, None),
    "one key": (OURS, OURS, None, None),
    "the listener's": (None, OURS, (PeerGoneError, UNTOLD), (NetworkKeyError, "has no network")),
    "the dialler's": (
        OURS,
        None,
        (NetworkKeyError, "there has no network key"),
        (NetworkKeyError, "this node has none"),
    ),
    "two keys": (OURS, OTHERS, (NetworkKeyError, UNPROVEN), (NetworkKeyError, "another network")),
}


async def _on_memory() -> Streams:
    return trio.testing.memory_stream_pair()


async def _on_sockets() -> Streams:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        here = await trio.testing.open_stream_to_socket_listener(listener)
        return here, await listener.accept()


@pytest.mark.parametrize("case", COMBINATIONS.values(), ids=COMBINATIONS)
@pytest.mark.parametrize("sockets", [False, True], ids=["memory", "sockets"])
def test_each_side_is_told_what_it_can_know_and_nobody_waits(
    case: tuple[NetworkKey | None, NetworkKey | None, object, object], sockets: bool
) -> None:
    mine, theirs, *expected = case

    async def main() -> None:
        streams = await (_on_sockets if sockets else _on_memory)()
        judged = await both(_dialling(mine), _listening(theirs), streams)
        for one, wanted in zip(judged, expected, strict=True):
            if isinstance(wanted, tuple):
                assert type(one.error) is wanted[0]
                assert wanted[1] in one.reason
                assert sockets or one.seconds == 0
            else:
                assert one.channel is not None, one.error
        if judged[0].channel is not None and judged[1].channel is not None:
            await judged[0].channel.stream.send_all(b"hello")
            assert await judged[1].channel.stream.receive_some() == b"hello"
        for stream in streams:
            await trio.aclose_forcefully(stream)

    if sockets:
        trio.run(main)
    else:
        simulate(main)


# --- strangers ----------------------------------------------------------------------------


class Recording(trio.abc.Stream):
    """A stream that keeps all that was said into it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.said = bytearray()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.said += data
        await self._stream.send_all(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _say(words: bytes) -> Script:
    """Says so much, then listens until the end."""

    async def script(stream: trio.abc.Stream) -> None:
        await stream.send_all(words)
        while await stream.receive_some(65_536):
            pass

    return script


def _faced(network: NetworkKey, script: Script) -> tuple[Judged, bytes]:
    """A listener with a key and a stranger: how it ended, and what the stranger heard."""
    heard = bytearray()

    def honest(stream: trio.abc.Stream) -> Awaitable[object]:
        recording = Recording(stream)
        recording.said = heard
        return accept(recording, Identity.of(BEN), network)

    judged = simulate(face, honest, script)
    return judged, bytes(heard)


async def _client_hello() -> bytes:
    """What a dialler without a key says first."""
    here, there = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def dials() -> None:
            with contextlib.suppress(PeerError):
                await dial(here, Identity.of(MALLORY))

        nursery.start_soon(dials)
        said = bytes(await there.receive_some(65_536))
        nursery.cancel_scope.cancel()
    return said


STRANGERS: dict[str, Callable[[], bytes]] = {
    "TLS": lambda: simulate(_client_hello),
    "HTTP": lambda: b"GET / HTTP/1.1\r\n\r\n",
    "one wrong byte": lambda: b"\x00",
    "a call with another key": lambda: OTHERS.call(NONCE),
    "a call of the right form": lambda: MAGIC + bytes(64),
    "a call and TLS behind it": lambda: MAGIC + bytes(64) + simulate(_client_hello),
    "a call cut off, and no more": lambda: OURS.call(NONCE)[:-1],
}


@pytest.mark.parametrize("words", STRANGERS.values(), ids=STRANGERS)
def test_a_stranger_hears_nothing_and_no_byte_of_tls_is_looked_at(
    words: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = words()

    async def never(*_: object) -> None:
        raise AssertionError("a stranger got as far as TLS")

    monkeypatch.setattr(trio.SSLStream, "do_handshake", never)
    judged, heard = _faced(OURS, _say(said))
    assert heard == b""
    assert isinstance(judged.error, (NetworkKeyError, PeerTimeoutError))
    if not said.startswith(OURS.call(NONCE)[:-1]):
        # Told apart at the first byte that cannot be right, not at the deadline.
        assert judged.seconds == 0


def test_a_recorded_call_is_answered_and_leads_no_further() -> None:
    """Neither with the recorded reply nor with TLS behind it."""
    call = OURS.call(NONCE)
    reply = OURS.reply(call, OURS.answer(call, ANOTHER))
    for more in (reply, simulate(_client_hello), OURS.call(NONCE)):
        judged, heard = _faced(OURS, _say(call + more))
        assert "repeats a call" in judged.reason
        assert len(heard) == ANSWER_BYTES


def test_bytes_sent_back_to_their_sender_prove_nothing() -> None:
    async def mirror(stream: trio.abc.Stream) -> None:
        while data := await stream.receive_some(65_536):
            await stream.send_all(data)

    judged = simulate(face, _dialling(OURS), mirror)
    assert "does not know this network's key" in judged.reason

    async def mirror_answer(stream: trio.abc.Stream) -> None:
        await stream.send_all(OURS.call(NONCE))
        answer = bytes(await stream.receive_some(ANSWER_BYTES))
        await stream.send_all(answer)
        await trio.sleep_forever()

    judged, _ = _faced(OURS, mirror_answer)
    assert "repeats a call" in judged.reason


IMPOSTORS: dict[str, bytes] = {
    "noise": bytes(range(ANSWER_BYTES)),
    "an answer with another key": OTHERS.answer(OURS.call(NONCE), ANOTHER),
    "an answer to another call": OURS.answer(OURS.call(NONCE), ANOTHER),
    "TLS": b"\x16\x03\x03" + bytes(ANSWER_BYTES),
}


@pytest.mark.parametrize("words", IMPOSTORS.values(), ids=IMPOSTORS)
def test_who_does_not_prove_the_key_never_sees_the_dialler_begin_tls(words: bytes) -> None:
    """Nor, with it, the certificate."""
    heard = bytearray()

    async def script(stream: trio.abc.Stream) -> None:
        await stream.send_all(words)
        while data := await stream.receive_some(65_536):
            heard.extend(data)

    judged = simulate(face, _dialling(OURS), script)
    assert isinstance(judged.error, NetworkKeyError)
    assert "does not know this network's key" in judged.reason
    assert len(heard) in (0, CALL_BYTES)
    assert b"\x16\x03" not in heard


def test_a_node_with_a_key_never_goes_on_without_it() -> None:
    """Whoever says that there is none may be anybody; it changes a sentence and nothing else."""
    heard = bytearray()

    async def script(stream: trio.abc.Stream) -> None:
        heard.extend(await stream.receive_some(65_536))
        await stream.send_all(NO_KEY)
        while data := await stream.receive_some(65_536):
            heard.extend(data)

    judged = simulate(face, _dialling(OURS), script)
    assert "there has no network key" in judged.reason
    assert len(heard) == CALL_BYTES


# --- slow ones, and cuts ------------------------------------------------------------------


async def _drip(stream: trio.abc.Stream, words: bytes) -> None:
    for byte in words:
        await stream.send_all(bytes([byte]))
        await trio.sleep(1)
    await trio.sleep_forever()


@pytest.mark.parametrize("drips", [False, True], ids=["silence", "a byte a second"])
def test_the_gate_has_no_longer_than_the_handshake_has(drips: bool) -> None:
    async def to_the_listener(stream: trio.abc.Stream) -> None:
        await _drip(stream, OURS.call(NONCE) if drips else b"")

    judged, heard = _faced(OURS, to_the_listener)
    assert isinstance(judged.error, PeerTimeoutError)
    assert (judged.seconds, heard) == (HELLO_TIMEOUT, b"")

    async def to_the_dialler(stream: trio.abc.Stream) -> None:
        call = bytes(await stream.receive_some(65_536))
        await _drip(stream, OURS.answer(call, NONCE) if drips else b"")

    judged = simulate(face, _dialling(OURS), to_the_dialler)
    assert isinstance(judged.error, PeerTimeoutError)
    assert judged.seconds == HELLO_TIMEOUT


def test_gate_and_tls_share_one_deadline() -> None:
    """Who is through the gate after eight seconds has two left."""

    async def script(stream: trio.abc.Stream) -> None:
        call = OURS.call(NONCE)
        await trio.sleep(8)
        await stream.send_all(call)
        answer = bytes(await stream.receive_some(ANSWER_BYTES))
        await stream.send_all(OURS.reply(call, answer))
        await trio.sleep_forever()

    judged, _ = _faced(OURS, script)
    assert isinstance(judged.error, PeerTimeoutError)
    assert judged.seconds == HELLO_TIMEOUT


@pytest.mark.parametrize("size", [0, 1, 15, 16, 47, CALL_BYTES - 1])
def test_a_call_cut_at_any_byte_ends_at_once(size: int) -> None:
    async def script(stream: trio.abc.Stream) -> None:
        await stream.send_all(OURS.call(NONCE)[:size])
        await trio.aclose_forcefully(stream)

    judged, heard = _faced(OURS, script)
    assert type(judged.error) is PeerGoneError
    assert (judged.seconds, heard) == (0, b"")


@pytest.mark.parametrize("size", [0, 1, 31, 32, ANSWER_BYTES - 1])
def test_an_answer_cut_at_any_byte_ends_at_once(size: int) -> None:
    async def script(stream: trio.abc.Stream) -> None:
        call = bytes(await stream.receive_some(65_536))
        await stream.send_all(OURS.answer(call, NONCE)[:size])
        await trio.aclose_forcefully(stream)

    judged = simulate(face, _dialling(OURS), script)
    assert isinstance(judged.error, NetworkKeyError)
    assert UNPROVEN in judged.reason
    assert judged.seconds == 0


def test_a_relay_is_past_the_gate_and_still_nobody_at_tls() -> None:
    """What the gate does not promise, and what then holds."""

    async def main() -> None:
        here, one = trio.testing.memory_stream_pair()
        two, there = trio.testing.memory_stream_pair()
        found: dict[str, Judged] = {}

        async def note(name: str, honest: Honest, end: trio.abc.Stream) -> None:
            from tests.node.impostors import judge

            found[name] = await judge(honest, end)

        async def relay() -> None:
            await two.send_all(await one.receive_some(CALL_BYTES))
            await one.send_all(await two.receive_some(ANSWER_BYTES))
            await two.send_all(await one.receive_some(REPLY_BYTES))
            with contextlib.suppress(PeerError):
                await accept(one, Identity.of(MALLORY))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(note, "ben", _listening(OURS), there)
            nursery.start_soon(relay)
            await note("anna", _dialling(OURS), here)
            await trio.aclose_forcefully(two)
        assert MALLORY.public.hex() in found["anna"].reason
        assert type(found["ben"].error) is PeerGoneError

    simulate(main)


def test_a_remembered_beginning_is_bounded() -> None:
    async def main() -> None:
        here, there = trio.testing.memory_stream_pair()
        remembering = Remembering(here)
        for _ in range(3):
            await there.send_all(bytes(range(250)))
            assert len(await remembering.receive_some(250)) == 250
        assert remembering.beginning == bytes(range(len(MAGIC)))

    simulate(main)


# --- the file -----------------------------------------------------------------------------


def test_the_file_is_its_owners_alone_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "network.key"
    assert read_network_key(path) is None
    write_network_key(path, OURS)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_network_key(path) == OURS
    with pytest.raises(KeyFileError, match="never written over"):
        write_network_key(path, OTHERS)
    assert read_network_key(path) == OURS
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        read_network_key(path)


@given(st.binary(max_size=200))
def test_what_is_no_key_is_refused_without_being_shown(content: bytes) -> None:
    with pytest.raises(KeyFileError, match=r"^the file is no network's key\.$"):
        parse_key_text(content, "the file")


def test_a_nodes_key_is_no_networks_key(tmp_path: Path) -> None:
    node = make_node(tmp_path / "node")
    with pytest.raises(KeyFileError, match="no network's key"):
        read_network_key(node / "node.key")
    (node / "node.key").write_text(key_text(OURS))
    with pytest.raises(KeyFileError):
        DataDirectory.open(node).node_key()


def test_a_key_shows_itself_nowhere() -> None:
    assert OURS.secret.hex() not in f"{OURS!r} {OURS.name}"
    assert repr(OURS.secret) not in repr(OURS)
    assert OURS.name != OTHERS.name


# --- processes ----------------------------------------------------------------------------


class Serving(Process):
    """A `setsync serve` with its secure channel."""

    def __init__(self, data: Path, *words: str) -> None:
        super().__init__("serve", "--data", data, "--listen", "127.0.0.1:0", *words)
        try:
            self.address = str(self.wait_for_event("listening")["address"])
        except BaseException:
            self.__exit__()
            raise


def test_two_operators_with_one_key_sync_and_strangers_are_told(tmp_path: Path) -> None:
    """From `network new` to `network leave`; the key is on no screen but the one that asked."""
    from tests.helpers import entries

    anna, ben = make_node(tmp_path / "anna", seed=21), make_node(tmp_path / "ben", seed=22)
    fill(anna, entries(5))
    seen: list[str] = []

    def typed(*words: str | Path) -> Outcome:
        outcome = run(*words)
        seen.extend((outcome.stdout, outcome.stderr))
        return outcome

    made = typed("network", "new", "--data", anna, "--json")
    assert made.code == 0, made.stderr
    with Serving(anna, "--access", "open") as server:
        commands = {
            "sync": ("sync", server.address, "--data", ben, "--json"),
            "diff": ("diff", server.address, "--data", ben, "--json"),
            "status": ("status", "--against", server.address, "--data", ben, "--json"),
        }
        for words in commands.values():
            stranger = typed(*words)
            assert (stranger.code, stranger.json["error"]["code"]) == (4, "cut")
            assert UNTOLD in stranger.json["error"]["message"]
        event = server.wait_for_event("session_ended")
        assert event["reason"] == "The dialler has no network key, and this node has."

        typed("network", "new", "--data", ben)
        differing = typed(*commands["sync"])
        assert (differing.code, differing.json["error"]["code"]) == (3, "network_key")
        assert "network show" in differing.stderr
        assert typed("network", "leave", "--data", ben).code == 0

        joined = typed("network", "join", anna / "network.key", "--data", ben, "--json")
        assert joined.json == made.json
        for words in commands.values():
            assert typed(*words).code in (0, 9)
        assert contents(anna) == contents(ben)

        with Serving(ben, "--peer", server.address) as keeping:
            keeping.wait_for_event("peer_state", state="live")
            keeping.kill()
            seen.append(keeping.end().stderr)
        server.kill()
        seen.append(server.end().stderr)
    typed("backup", tmp_path / "copy", "--data", ben)
    assert DataDirectory.open(tmp_path / "copy").network_key() is not None
    secret = (anna / "network.key").read_text().split()[1]
    assert secret not in "\n".join(seen)
    assert run("network", "show", "--secret", "--data", ben).stdout.split()[1] == secret


def test_a_damaged_key_ends_commands_instead_of_opening_the_node(tmp_path: Path) -> None:
    node = make_node(tmp_path / "node", seed=23)
    (node / "network.key").write_text("setsync-network-key-1 abcd\n")
    (node / "network.key").chmod(0o600)
    for words in (
        ("serve", "--listen", "127.0.0.1:0"),
        ("sync", f"setsync://{ANNA.public.hex()}@127.0.0.1:1"),
    ):
        outcome = run(*words, "--data", node, "--json")
        assert (outcome.code, outcome.json["error"]["code"]) == (1, "key_file")
