"""The counting proxy: what it counts, what it forwards, and how its pretended line keeps time."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import trio
import trio.testing

from setsync.bench.counts import Conversation, Counts, Direction, Ledger
from setsync.bench.forward import ByteGate, carry
from setsync.bench.link import Line, Link, parse_duration, parse_rate
from setsync.bench.proxy import CountingProxy

DEADLINE = 20.0


@contextmanager
def echo_server(prefix: bytes = b"") -> Iterator[tuple[str, int]]:
    """A real listener that says `prefix`, echoes until end of stream, and says it back."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(DEADLINE)
                peer.sendall(prefix)
                while data := peer.recv(65536):
                    peer.sendall(data)
                peer.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[:2]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(DEADLINE)


def read_exactly(sock: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = sock.recv(size - len(parts))
        assert part, "the stream ended early"
        parts += part
    return bytes(parts)


def send_and_end(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def connect(proxy: CountingProxy) -> socket.socket:
    sock = socket.create_connection(proxy.address, timeout=DEADLINE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def test_every_byte_received_through_the_proxy_is_already_counted() -> None:
    with echo_server() as target, CountingProxy(target) as proxy, connect(proxy) as sock:
        for size in (1, 7, 1000, 65537):
            before = proxy.counts
            sock.sendall(bytes(size))
            read_exactly(sock, size)
            assert (proxy.counts - before).up == size
            assert (proxy.counts - before).down == size


def test_a_large_exchange_arrives_whole_and_is_counted_exactly() -> None:
    data = random.Random(1).randbytes(3_000_000)
    with echo_server(b"hello") as target, CountingProxy(target) as proxy, connect(proxy) as sock:
        sender = threading.Thread(target=send_and_end, args=(sock, data))
        sender.start()
        assert read_exactly(sock, 5 + len(data)) == b"hello" + data
        assert sock.recv(1) == b"", "the end of the stream comes through too"
        sender.join()
        assert proxy.counts.up == len(data)
        assert proxy.counts.down == len(data) + 5
        assert proxy.counts.total == 2 * len(data) + 5


def test_ping_pong_turns_twice_per_round_trip() -> None:
    with echo_server() as target, CountingProxy(target) as proxy, connect(proxy) as sock:
        for _ in range(5):
            sock.sendall(b"ping")
            read_exactly(sock, 4)
        assert proxy.counts.turns == 10
        assert proxy.counts.round_trips == 5


def test_a_mark_separates_what_was_before_from_what_comes_after() -> None:
    with echo_server() as target, CountingProxy(target) as proxy, connect(proxy) as sock:
        sock.sendall(b"before")
        read_exactly(sock, 6)
        assert proxy.mark() == Counts(6, 6, 2, 1)
        assert proxy.since_mark() == Counts()
        sock.sendall(b"later")
        read_exactly(sock, 5)
        assert proxy.since_mark() == Counts(5, 5, 2, 0)
        assert proxy.counts == Counts(11, 11, 4, 1)


def test_connections_are_counted_together_and_turn_each_on_its_own() -> None:
    with echo_server() as target, CountingProxy(target) as proxy:
        for _ in range(3):
            with connect(proxy) as sock:
                sock.sendall(b"abc")
                read_exactly(sock, 3)
        assert proxy.counts == Counts(9, 9, 6, 3)


def test_the_proxy_is_idle_when_both_sides_have_ended() -> None:
    with echo_server() as target, CountingProxy(target) as proxy:
        assert proxy.wait_idle(0)
        with connect(proxy) as sock:
            sock.sendall(b"x")
            read_exactly(sock, 1)
            assert not proxy.wait_idle(0)
            sock.sendall(b"last words")
        assert proxy.wait_idle(DEADLINE)
        assert proxy.counts.up == 11


def test_the_observer_sees_each_direction_in_order() -> None:
    seen = {Direction.UP: b"", Direction.DOWN: b""}

    def observe(direction: Direction, chunk: bytes) -> None:
        seen[direction] += chunk

    data = random.Random(2).randbytes(200_000)
    with (
        echo_server() as target,
        CountingProxy(target, observe=observe) as proxy,
        connect(proxy) as sock,
    ):
        for start in range(0, len(data), 50_000):
            sock.sendall(data[start : start + 50_000])
            read_exactly(sock, 50_000)
    assert seen == {Direction.UP: data, Direction.DOWN: data}


def test_a_target_that_refuses_ends_the_connection_instead_of_hanging() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        target = closed.getsockname()[:2]
    with CountingProxy(target) as proxy, connect(proxy) as sock:
        with suppress(ConnectionError):
            assert sock.recv(1) == b""
        assert proxy.counts.total == 0


def test_a_peer_that_resets_takes_the_other_end_with_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        with CountingProxy(listener.getsockname()[:2]) as proxy, connect(proxy) as sock:
            peer, _ = listener.accept()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.close()
            with suppress(ConnectionError):
                assert sock.recv(1) == b""


def test_leaving_the_block_closes_what_is_open() -> None:
    with echo_server() as target:
        with CountingProxy(target) as proxy:
            sock = connect(proxy)
            sock.sendall(b"x")
            read_exactly(sock, 1)
        with sock:
            assert sock.recv(1) == b""
        with pytest.raises(RuntimeError, match="not running"):
            _ = proxy.address


def test_an_emulated_link_changes_no_byte_and_no_count() -> None:
    data = random.Random(3).randbytes(100_000)
    link = Link(rtt=0.002, rate=200e6)
    with echo_server() as target, CountingProxy(target, link=link) as proxy, connect(proxy) as sock:
        sender = threading.Thread(target=send_and_end, args=(sock, data))
        sender.start()
        assert read_exactly(sock, len(data)) == data
        assert sock.recv(1) == b""
        sender.join()
        assert (proxy.counts.up, proxy.counts.down) == (len(data), len(data))


# --- the line, on a clock that jumps -------------------------------------------------------------


def test_a_line_adds_half_the_rtt_to_each_chunk() -> None:
    line = Line(Link(rtt=0.1))
    assert line.due(5.0, 1_000_000) == pytest.approx(5.05)
    assert line.due(5.0, 1) == pytest.approx(5.05)


def test_a_line_serialises_chunks_one_after_the_other() -> None:
    line = Line(Link(rate=8_000))
    assert line.due(0.0, 1_000) == pytest.approx(1.0)
    assert line.due(0.5, 1_000) == pytest.approx(2.0)
    assert line.due(10.0, 500) == pytest.approx(10.5), "an idle line saves up nothing"


def test_a_link_says_no_to_impossible_lines() -> None:
    for bad in ({"rtt": -1.0}, {"rate": 0.0}):
        with pytest.raises(ValueError, match="rtt >= 0"):
            Link(**bad)


def run_on_jumping_clock(main: object) -> None:
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))  # type: ignore[arg-type]


def test_bytes_cross_a_slow_line_in_order_and_in_its_time() -> None:
    link = Link(rtt=2.0, rate=80_000)

    async def main() -> None:
        near, inlet = trio.testing.memory_stream_pair()
        outlet, far = trio.testing.memory_stream_pair()
        heard: list[bytes] = []
        data = random.Random(4).randbytes(100_000)

        async def send() -> None:
            await near.send_all(data)
            await near.send_eof()

        got = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(carry, inlet, outlet, heard.append, link)
            nursery.start_soon(send)
            async for part in far:
                got += part
        assert bytes(got) == data == b"".join(heard)
        # 10 s for the bits and 1 s of travel, in virtual time.
        assert trio.current_time() == pytest.approx(11.0, abs=0.01)

    run_on_jumping_clock(main)


def test_a_full_line_stops_its_reader() -> None:
    link = Link(rtt=1.0, rate=8_000)

    async def main() -> None:
        near, inlet = trio.testing.memory_stream_pair()
        outlet, _far = trio.testing.memory_stream_pair()
        heard: list[bytes] = []
        await near.send_all(bytes(10 * link.buffer_bytes))
        with trio.move_on_after(0.5):
            await carry(inlet, outlet, heard.append, link)
        taken = sum(map(len, heard))
        assert taken <= link.buffer_bytes + 2 * link.chunk_bytes

    run_on_jumping_clock(main)


def test_the_gate_lets_in_again_what_it_let_out() -> None:
    async def main() -> None:
        gate = ByteGate(10)
        await gate.admit(10)
        with trio.move_on_after(1) as waited:
            await gate.admit(1)
        assert waited.cancelled_caught
        await gate.release(10)
        await gate.admit(1)
        assert gate.inside == 1

    run_on_jumping_clock(main)


# --- small parts ---------------------------------------------------------------------------------


def test_a_conversation_turns_only_when_the_direction_changes() -> None:
    ledger = Ledger()
    conversation = Conversation(ledger)
    for direction in (Direction.UP, Direction.UP, Direction.DOWN, Direction.DOWN, Direction.UP):
        conversation.heard(direction, b"12")
    assert ledger.counts == Counts(up=6, down=4, turns=3)
    assert ledger.counts.round_trips == 2


@pytest.mark.parametrize(
    ("text", "seconds"), [("100ms", 0.1), ("0.25s", 0.25), ("50us", 5e-5), ("3 s", 3.0)]
)
def test_durations_are_read_with_their_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "bits"), [("10mbit", 1e7), ("256kbit", 256e3), ("1gbit", 1e9), ("9600bit", 9600)]
)
def test_rates_are_read_with_their_unit(text: str, bits: float) -> None:
    assert parse_rate(text) == pytest.approx(bits)


@pytest.mark.parametrize("text", ["", "10", "10mb", "fast", "-3ms", "1e3ms"])
def test_a_quantity_without_a_known_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_duration(text)
    with pytest.raises(ValueError, match="expected"):
        parse_rate(text)
