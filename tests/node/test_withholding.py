"""Peers that promise entries and do not bring them: others do, and nothing is left of the first.

**Promise:** of a peer that advertises 10,000 ids and serves none, whether it says that it has sent
all or stalls, nothing is held afterwards and no time of another peer is taken: a second peer that
serves them is done within 120 s, however long the first keeps its own session going. Time is that
of a clock that jumps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import trio.lowlevel
import trio.testing

from setsync.errors import SetsyncError
from setsync.node.client import Options, run_initiator
from setsync.node.local import Local
from setsync.node.report import Report
from setsync.node.server import run_responder
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.helpers import entries
from tests.node.ends import HELLO, NODES, Peer, Side, greet_as_initiator, opened, roots, simulate

ADVERTISED = 10_000
WITHIN = 120.0
PROMISE = m.Listed((("notes", ADVERTISED, b"?" * 16),))


async def _sends_nothing(peer: Peer) -> None:
    """It is wanted all of it, and says at once that this was all; in every pass."""
    await peer.hear_a(m.Hello)
    await peer.say(HELLO)
    while (message := await peer.hear()) is not None:
        match message:
            case m.Catalog():
                await peer.say(PROMISE)
            case m.Want(_, 0):
                await peer.say(m.Sent())
            case m.Close():
                await peer.say(m.Closed(bytes(32)))
            case m.AskIds():
                await peer.say(m.Ids((), 0))


async def _stalls(peer: Peer) -> None:
    """It is wanted all of it, and nothing more is heard of it."""
    await peer.hear_a(m.Hello)
    await peer.say(HELLO)
    await peer.hear_a(m.Catalog)
    await peer.say(PROMISE)
    while await peer.hear() is not None:
        pass


async def _announces_to_push(peer: Peer) -> None:
    """It dials, says how many it is going to send, and sends nothing."""
    await greet_as_initiator(peer)
    await peer.say(m.Totals(ADVERTISED, 0), m.Want((), 0))
    while await peer.hear() is not None:
        pass


@dataclass
class Outcome:
    """What came of both sessions, and when."""

    honest_after: float = 0.0
    error: SetsyncError | None = None
    in_sync: bool = False
    left: int = 0


Script = Callable[[Peer], Awaitable[None]]


async def _withheld_and_served(
    here: Store, there: Store, script: Script, *, is_dialled: bool
) -> Outcome:
    """One node with an empty store and two sessions at once: with a peer that follows a script,
    and with one that has what the first only promised."""
    there.add_many(entries(ADVERTISED, seed=17))
    outcome = Outcome()
    async with opened(Side(here), NODES[0]) as local, opened(Side(there), NODES[1]) as other:
        await trio.testing.wait_all_tasks_blocked()
        base = trio.lowlevel.current_statistics().tasks_living
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_with_the_first, local, script, is_dialled, outcome)
            await trio.testing.wait_all_tasks_blocked()  # it is served first
            await _with_the_second(local, other, outcome)
        await trio.testing.wait_all_tasks_blocked()
        outcome.left = trio.lowlevel.current_statistics().tasks_living - base
    assert roots(here) == roots(there)
    return outcome


async def _with_the_first(local: Local, script: Script, is_dialled: bool, outcome: Outcome) -> None:
    mine, theirs = trio.testing.memory_stream_pair()
    report = Report()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(script, Peer(theirs))
        try:
            if is_dialled:
                await run_initiator(mine, local, Options(), report=report)
            else:
                await run_responder(mine, local)
        except SetsyncError as error:
            outcome.error = error
    outcome.in_sync = report.in_sync


async def _with_the_second(local: Local, other: Local, outcome: Outcome) -> None:
    mine, theirs = trio.testing.memory_stream_pair()
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_responder, theirs, other)
        report = await run_initiator(mine, local, Options())
    assert report.in_sync
    outcome.honest_after = trio.current_time() - started


WITHHOLDERS = [(_sends_nothing, True), (_stalls, True), (_announces_to_push, False)]


@pytest.mark.parametrize(("script", "is_dialled"), WITHHOLDERS)
def test_what_one_peer_withholds_another_brings_in_time(
    script: Script, is_dialled: bool, tmp_path: Path
) -> None:
    async def run() -> Outcome:
        with Store.open(tmp_path / "here") as here, Store.open(tmp_path / "there") as there:
            return await _withheld_and_served(here, there, script, is_dialled=is_dialled)

    outcome = simulate(run)
    assert outcome.honest_after <= WITHIN
    assert outcome.left == 0, "tasks are left of a session that has ended"
    assert not outcome.in_sync or script is _sends_nothing


def test_who_withholds_is_not_in_sync_and_nothing_it_promised_counts_as_here() -> None:
    """Alone with it, a node ends as it began, and says so."""

    async def run() -> tuple[Report, MemoryStore]:
        store = MemoryStore()
        mine, theirs = trio.testing.memory_stream_pair()
        async with opened(Side(store), NODES[0]) as local, trio.open_nursery() as nursery:
            nursery.start_soon(_sends_nothing, Peer(theirs))
            report = Report()
            try:
                await run_initiator(mine, local, Options(), report=report)
            except SetsyncError:
                report.in_sync = False
        return report, store

    report, store = simulate(run)
    assert report.missing_here == ADVERTISED
    assert not report.in_sync
    assert report.entries_received == 0
    assert roots(store) == roots(MemoryStore())
