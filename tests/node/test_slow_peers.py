"""Peers that read or write so slowly that they never end: each is let go at a deadline, and an
honest session meanwhile is served as if it were alone.

The lines hold nothing (what is sent waits until it is read), the time is a clock's that jumps.
8 of each kind at once in the suite; a soak has 100 of each and measures memory.
"""

from __future__ import annotations

import contextlib
import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from setsync import limits
from setsync.errors import PeerError, PeerTimeoutError, SetsyncError
from setsync.node.channel import dial
from setsync.node.client import Options, run_initiator
from setsync.node.identity import Identity
from setsync.node.local import Local
from setsync.node.server import run_responder
from setsync.reconcile.questions import Range
from setsync.reconcile.wants import ALL, Wanted
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.helpers import entries, keys
from tests.node.alone import Alone, at_percent
from tests.node.ends import HELLO, NODES, Peer, Script, Side, greet_as_initiator, opened, simulate
from tests.node.impostors import ANNA

ENTRIES = 2_000
WHOLE_LIST = m.Questions(((2, 0, b"\x00", (0,)),) * 3)
END = float(limits.SEND_TIMEOUT + limits.IDLE_TIMEOUT)


async def _never_reads(peer: Peer) -> None:
    await greet_as_initiator(peer)
    await peer.say(WHOLE_LIST)
    await trio.sleep_forever()


async def _reads_a_byte_a_second(peer: Peer) -> None:
    await greet_as_initiator(peer)
    await peer.say(WHOLE_LIST)
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        for _ in range(1_000_000):
            if not await peer.stream.receive_some(1):
                break
            await trio.sleep(1)


async def _writes_a_byte_a_second(peer: Peer) -> None:
    await greet_as_initiator(peer)
    for byte in m.pack(m.Questions(((2, 0, b"\x00", (0,)),) * 100)):
        await peer.say_bytes(bytes([byte]))
        await trio.sleep(1)


async def _asks_at_the_last_moment(peer: Peer) -> None:
    """A cheap question whenever its silence is about to be too long."""
    await greet_as_initiator(peer)
    for _ in range(10_000):
        await peer.say(m.Questions(((1, 0, b"\x00", (1, 8)),)))
        await peer.hear_a(m.Answers)
        await trio.sleep(limits.IDLE_TIMEOUT - 1)


SLOW: dict[str, tuple[Script, float]] = {
    "never reads": (_never_reads, END),
    "reads a byte a second": (_reads_a_byte_a_second, END),
    "writes a byte a second": (_writes_a_byte_a_second, END),
    "asks at the last moment": (
        _asks_at_the_last_moment,
        limits.COMPARING_SECONDS + limits.IDLE_TIMEOUT,
    ),
}


async def _served(local: Local, script: Script, ends: list[float]) -> None:
    """A session with a slow peer, which has to end with a PeerError."""
    here, there = trio.testing.lockstep_stream_pair()
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_play, script, Peer(there))
        try:
            await run_responder(here, local)
        except PeerError:
            ends.append(trio.current_time() - started)
        nursery.cancel_scope.cancel()


async def _play(script: Script, peer: Peer) -> None:
    with contextlib.suppress(AssertionError):  # it may be let go while it waits for an answer
        await script(peer)


async def _all_slow(script: Script, number: int, bar: float) -> None:
    store = MemoryStore()
    store.add_many(entries(ENTRIES))
    ends: list[float] = []
    async with opened(Side(store), NODES[0]) as local, trio.open_nursery() as nursery:
        for _ in range(number):
            nursery.start_soon(_served, local, script, ends)
        await trio.sleep(5)
        started = trio.current_time()
        await _sync_honestly(local)
        assert trio.current_time() - started < 1
    assert len(ends) == number
    assert max(ends) <= bar + limits.SHUTDOWN_GRACE + 1


async def _sync_honestly(local: Local) -> None:
    mine, theirs = trio.testing.lockstep_stream_pair()
    store = MemoryStore()
    async with opened(Side(store), NODES[1]) as other, trio.open_nursery() as nursery:
        nursery.start_soon(run_responder, theirs, local)
        report = await run_initiator(mine, other, Options())
    assert report.in_sync
    assert report.entries_received == ENTRIES


@pytest.mark.parametrize("what", SLOW)
def test_slow_peers_are_let_go_and_an_honest_one_is_served_meanwhile(what: str) -> None:
    script, bar = SLOW[what]
    simulate(partial(_all_slow, script, 8, bar))


@pytest.mark.soak
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("what", SLOW)
def test_a_hundred_slow_peers_take_under_a_hundred_mebibytes(what: str) -> None:
    script, bar = SLOW[what]
    simulate(partial(_all_slow, script, 2, bar))
    before = _peak()
    simulate(partial(_all_slow, script, 100, bar))
    grown = _peak() - before
    print(f"{what}: {grown / limits.MIB:.1f} MiB more for 100 peers")
    assert grown <= 100 * limits.MIB


def _peak() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024


# --- over real sockets --------------------------------------------------------------------

SOON = {"SEND_TIMEOUT": 30.0, "IDLE_TIMEOUT": 30.0}
"""So that the test need not wait for minutes; the node it is for runs in another process."""
HELD, LACKING, VISITS = 20_000, 100, 20
COST_EACH = limits.MIB
"""Of entries that wait to be sent: UNSENT_FRAMES, one on its way in both forms, and the next."""
EVERYTHING_THERE = Wanted(Range(0, ""), ALL, HELD).to_wire()


async def _dial_slowly(port: int, number: int) -> tuple[trio.SocketStream, Peer]:
    """A peer with the smallest buffer that the system allows, up to where it may ask."""
    [secret] = keys(1, seed=3_000 + number)
    socket = trio.socket.socket()
    socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 1)
    await socket.connect(("127.0.0.1", port))
    stream = trio.SocketStream(socket)
    channel = await dial(stream, Identity.of(secret), ANNA.public)
    peer = Peer(channel.stream)
    await peer.say(replace(HELLO, node=secret.public))
    await peer.hear_a(m.Hello)
    await peer.say(m.Catalog(bytes(16)))
    await peer.hear_a(m.Listed)
    return stream, peer


async def _is_slow(port: int, number: int, reads: bool, has_asked: trio.Event) -> None:
    stream, peer = await _dial_slowly(port, number)
    await peer.say(m.Totals(0, HELD), m.Want((EVERYTHING_THERE,), 0))
    has_asked.set()
    with contextlib.suppress(trio.BrokenResourceError):
        while reads and await stream.receive_some(1):  # noqa: ASYNC110
            await trio.sleep(1)
    await trio.sleep_forever()


async def _visits(port: int, first: int) -> list[float]:
    """Seconds that honest sessions take, one after the other, which lack the same each."""
    times: list[float] = []
    for number in range(first, first + VISITS):
        [secret] = keys(1, seed=4_000 + number)
        store = MemoryStore()
        store.add_many(entries(HELD)[LACKING:])
        async with opened(Side(store), secret.public) as local:
            started = trio.current_time()
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            channel = await dial(stream, Identity.of(secret), ANNA.public)
            report = await run_initiator(channel.stream, local, Options(), peer=channel.peer)
            times.append(trio.current_time() - started)
        assert report.in_sync
        assert report.entries_received == LACKING
    return times


async def _slow_crowd(node: Alone, number: int, reads: bool) -> None:
    await _visits(node.port, 0)
    alone = await _visits(node.port, 100)
    before = node.ask("figures")["anonymous"]
    async with trio.open_nursery() as nursery:
        for at in range(number):
            has_asked = trio.Event()
            nursery.start_soon(_is_slow, node.port, at, reads, has_asked)
            await has_asked.wait()
        assert node.ask("figures")["through"] == number
        meanwhile = await _visits(node.port, 200)
        told = node.ask("figures")
        grown = told["anonymous"] - before
        assert told["through"] == number, told["reasons"]
        reasons: Counter[str] = Counter()
        with trio.fail_after(4 * SOON["SEND_TIMEOUT"]):
            while told["through"]:
                await trio.sleep(0.5)
                told = node.ask("figures")
                reasons.update(told["reasons"])
        nursery.cancel_scope.cancel()
    p95 = [1000 * at_percent(times, 95) for times in (alone, meanwhile)]
    print(
        f"{number} peers, that read: {reads}: {grown / limits.MIB:.1f} MiB more; honest sessions "
        f"{p95[0]:.0f} ms at p95 alone, {p95[1]:.0f} ms meanwhile; {dict(reasons)}"
    )
    assert sum(reasons.values()) == number
    assert grown <= number * COST_EACH
    assert p95[1] <= 2 * p95[0]


@pytest.mark.soak
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("reads", [False, True], ids=["never read", "read a byte a second"])
@pytest.mark.parametrize("number", [20, 100])
def test_slow_peers_at_a_real_node_cost_a_mebibyte_each_and_hold_up_nobody(
    tmp_path: Path, number: int, reads: bool
) -> None:
    with Store.open(tmp_path / "store") as store:
        store.add_many(entries(HELD))
    with Alone(tmp_path / "store", limits=SOON) as node:
        trio.run(_slow_crowd, node, number, reads)


# --- a responder that answers at the last moment ------------------------------------------


def _answering_late(lie: Callable[[m.Questions], m.Answers]) -> Script:
    async def script(peer: Peer) -> None:
        await peer.hear_a(m.Hello)
        await peer.say(HELLO)
        while (message := await peer.hear()) is not None:
            await trio.sleep(limits.ANSWER_TIMEOUT - 1)
            match message:
                case m.Catalog():
                    await peer.say(m.Listed((("notes", 2**40, b"?" * 16),)))
                case m.Questions():
                    await peer.say(lie(message))

    return script


def _endless(questions: m.Questions) -> m.Answers:
    """By which everything differs, and too much of it to be listed."""
    given: list[tuple[tuple[int, ...], bytes]] = []
    for kind, _, _, arguments in questions.items:
        if kind == 1:
            ranges = 16 ** arguments[0]
            given.append(((2**40,) + (0,) * (ranges - 1), b"?" * (arguments[1] * ranges)))
        else:
            given.append(((2**40,), b""))
    return m.Answers(tuple(given))


def test_who_answers_at_the_last_moment_for_ever_is_let_go_after_a_quarter_of_an_hour() -> None:
    store = MemoryStore()
    store.add_many(entries(50))

    async def main() -> tuple[SetsyncError | None, float]:
        here, there = trio.testing.memory_stream_pair()
        error: SetsyncError | None = None
        async with opened(Side(store), NODES[0]) as local, trio.open_nursery() as nursery:
            nursery.start_soon(_play, _answering_late(_endless), Peer(there))
            try:
                await run_initiator(here, local, Options(sketches=False))
            except SetsyncError as one:
                error = one
            nursery.cancel_scope.cancel()
        return error, trio.current_time()

    error, seconds = simulate(main)
    assert isinstance(error, PeerError | PeerTimeoutError)
    assert seconds <= limits.COMPARING_SECONDS + limits.ANSWER_TIMEOUT
