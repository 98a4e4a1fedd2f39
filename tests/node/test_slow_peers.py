"""Peers that read or write so slowly that they never end: each is let go at a deadline, and an
honest session meanwhile is served as if it were alone.

The lines hold nothing (what is sent waits until it is read), the time is a clock's that jumps.
8 of each kind at once in the suite; a soak has 100 of each and measures memory.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable
from functools import partial

import pytest
import trio
import trio.testing

from setsync import limits
from setsync.errors import PeerError, PeerTimeoutError, SetsyncError
from setsync.node.client import Options, run_initiator
from setsync.node.local import Local
from setsync.node.server import run_responder
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.helpers import entries
from tests.node.ends import HELLO, NODES, Peer, Script, Side, greet_as_initiator, opened, simulate

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
