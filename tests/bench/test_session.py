"""A measured session: the proxy and the node agree to the byte, or nothing is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from setsync.bench.counts import Counts
from setsync.bench.scratch import ENTRY_BYTES, fill, made_up, part_of
from setsync.bench.session import Measured, MiscountError, Phases, measure
from setsync.errors import PeerUnreachableError, UsageError
from setsync.node.client import Options
from setsync.node.node import open_local, serve
from setsync.store.contract import EntryStore
from setsync.store.memory import MemoryStore

WAY = {"sent": 1, "received": 2}
REPORTED = {
    "sent": 4,
    "received": 8,
    "handshake": WAY,
    "reconcile": WAY,
    "entries": WAY,
    "close": WAY,
}


def store_of(*numbers: range) -> MemoryStore:
    store = MemoryStore()
    for some in numbers:
        fill([store], made_up(some.start, len(some)), lambda _: None)
    return store


async def session(near: EntryStore, far: EntryStore, options: Options) -> Measured:
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(serve, far)
        async with open_local(near) as local:
            found = await measure(local, address, options)
        nursery.cancel_scope.cancel()
    return found


async def test_a_dry_run_is_counted_and_moves_nothing() -> None:
    near, far = store_of(range(100)), store_of(range(90), range(100, 103))
    found = await session(near, far, Options(dry_run=True))
    assert (found.here, found.there, found.difference) == (100, 93, 13)
    assert found.phases.entries == 0
    assert found.phases.handshake + found.phases.after_handshake == found.counts.total
    assert found.counts.connections == 1


async def test_a_whole_sync_is_counted_with_its_entries() -> None:
    near, far = store_of(range(50)), store_of(range(50, 80))
    found = await session(near, far, Options())
    assert found.report.in_sync
    assert found.phases.entries > 0
    sums = found.report.counters
    assert (found.counts.up, found.counts.down) == (sums.total_sent(), sums.total_received())


async def test_the_proxy_hides_no_distant_peer() -> None:
    async with open_local(store_of()) as local:
        with pytest.raises(UsageError, match="loopback"):
            await measure(local, ("192.0.2.1", 7000), Options())


async def test_a_node_that_is_not_there_is_said() -> None:
    async with open_local(store_of()) as local:
        with pytest.raises(PeerUnreachableError):
            await measure(local, ("127.0.0.1", 1), Options())


def test_phases_are_both_directions_together() -> None:
    assert Phases.of(REPORTED, Counts(4, 8)) == Phases(3, 3, 3, 3)


@pytest.mark.parametrize("counts", [Counts(4, 7), Counts(5, 8), Counts()])
def test_a_report_that_disagrees_with_the_line_is_refused(counts: Counts) -> None:
    with pytest.raises(MiscountError, match=f"counted {counts.up}"):
        Phases.of(REPORTED, counts)


def test_made_up_entries_are_the_same_again_and_of_one_size(tmp_path: Path) -> None:
    entries = list(made_up(5, 3))
    assert [entry.id for entry in entries] == [entry.id for entry in made_up(5, 3)]
    assert {entry.size for entry in entries} == {ENTRY_BYTES}


def test_a_part_is_always_the_same_and_grows_with_the_fraction() -> None:
    with store_of(range(400)).snapshot() as snapshot:
        store = snapshot.since(0, 1_000)
    half, most = ({entry.id for entry in part_of(store, part)} for part in (0.5, 0.9))
    assert half < most
    assert 150 < len(half) < 250
    assert 330 < len(most) < 390
    assert list(part_of(store, 0.0)) == []
    assert len(list(part_of(store, 1.0))) == 400
