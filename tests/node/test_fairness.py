"""Many peers at work at once: all are let in, all get on alike, and a bulk one starves nobody.

**Promise:** of fifty equal sessions the slowest takes at most three times as long as the median,
also beside one that moves without end, and that one gets on, too. Time is counted in what the node
does meanwhile: commits, and entries sent; `benchmarks/many.py` measures seconds.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import TypeVar

import pytest
import trio
import trio.testing

from setsync import limits
from setsync.model.collection import Pattern
from setsync.model.entry import Entry, UnverifiedEntry
from setsync.node.channel import dial
from setsync.node.client import Options, run_initiator
from setsync.node.door import Door
from setsync.node.identity import Identity
from setsync.node.listening import listen
from setsync.node.local import Local
from setsync.node.node import open_local
from setsync.node.report import Report
from setsync.node.server import Served, run_responder
from setsync.store.contract import Added, Origins, Quotas
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.helpers import entries, keys
from tests.node.ends import NODES, Side, opened, roots, simulate
from tests.node.impostors import ANNA

T = TypeVar("T")

PEERS = 50
MOST_OVER_MEDIAN = 3
# Messages and commits are small, so that few entries make many of them.
BATCH, COMMIT = 4 * limits.KIB, 64
EACH, BULK = 40, 6_000
# Messages of a bulk session, about as large as all that one of the others moves, until that one is
# done: its greeting, its questions and its end are turns, too.
TURNS = 20
PATIENCE = 60.0


class _Watched(MemoryStore):
    """Remembers of each commit who brought how many of its entries."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[Counter[bytes]] = []

    def add_many(
        self, entries: Sequence[Entry], origins: Origins = (), quotas: Quotas | None = None
    ) -> Added:
        commit: Counter[bytes] = Counter()
        for (start, origin), end in zip(
            origins, [start for start, _ in origins[1:]] + [len(entries)], strict=True
        ):
            commit[origin.peer if origin is not None else b""] += end - start
        self.commits.append(commit)
        return super().add_many(entries, origins, quotas)


def _store(some: Sequence[Entry]) -> MemoryStore:
    store = MemoryStore()
    store.add_many(some)
    return store


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("setsync.node.transfer.ENTRY_BATCH", BATCH)
    monkeypatch.setattr("setsync.node.writer.PEERS_COMMIT", COMMIT)
    monkeypatch.setattr("setsync.node.writer.WRITER_PEER_BYTES", 2 * BATCH)
    monkeypatch.setattr("setsync.node.writer.WRITER_INBOX_BYTES", 8 * BATCH)


async def _session(
    node: Local, key: bytes, store: MemoryStore, direction: int, served: Served, wanted: str = "**"
) -> Report:
    mine, theirs = trio.testing.lockstep_stream_pair()
    async with opened(Side(store), key) as other, trio.open_nursery() as nursery:
        nursery.start_soon(partial(run_responder, theirs, node, served, peer=key))
        return await run_initiator(mine, other, Options((Pattern(wanted),), direction))


async def _until(is_so: trio.Event, served: Served, count: int) -> None:
    while served.entries_sent < count:
        await trio.lowlevel.checkpoint()
    is_so.set()


@pytest.mark.usefixtures("small")
def test_of_fifty_that_bring_as_much_none_waits_three_times_as_long_beside_a_bulk_one() -> None:
    """What each brought is committed before the bulk one had twice its share."""
    here = _Watched()
    bulk = keys(1, seed=8)[0].public
    small = [secret.public for secret in keys(PEERS, seed=7)]

    async def main() -> None:
        stores = [_store(entries(EACH, seed=1 + at)) for at in range(PEERS)]
        async with opened(Side(here), NODES[0]) as node, trio.open_nursery() as nursery:
            backlog = _store(entries(BULK, "bulk"))
            nursery.start_soon(_session, node, bulk, backlog, m.PUSH, Served())
            while len(here.commits) < 3:
                await trio.lowlevel.checkpoint()
            async with trio.open_nursery() as visits:
                for key, store in zip(small, stores, strict=True):
                    visits.start_soon(_session, node, key, store, m.PUSH, Served())
            nursery.cancel_scope.cancel()

    simulate(main)
    ends = _last_commits(here.commits, small)
    first = min(at for at, commit in enumerate(here.commits) if commit.keys() & set(small))
    waited = [1 + end - first for end in ends]
    assert max(waited) <= MOST_OVER_MEDIAN * median(waited)
    meanwhile = sum(here.commits[first : max(ends) + 1], Counter[bytes]())
    assert [meanwhile[key] for key in small] == [EACH] * PEERS
    assert 0 < meanwhile[bulk] <= 2 * EACH + 2 * COMMIT
    assert sum(here.commits, Counter[bytes]())[bulk] < BULK


def _last_commits(commits: Sequence[Counter[bytes]], peers: Sequence[bytes]) -> list[int]:
    """For each the number of the last commit with something of it."""
    return [max(at for at, commit in enumerate(commits) if commit[key]) for key in peers]


@pytest.mark.usefixtures("small")
def test_of_fifty_that_fetch_as_much_none_waits_three_times_as_long_beside_a_bulk_one() -> None:
    """It has its turns while they greet, compare and fetch, and no more."""
    here = _store([*entries(EACH), *entries(BULK, "bulk")])
    bulk = Served()
    ends: list[int] = []

    async def fetch(node: Local, key: bytes) -> None:
        report = await _session(node, key, MemoryStore(), m.PULL, Served(), "notes")
        assert report.in_sync
        assert report.entries_received == EACH
        ends.append(bulk.entries_sent)

    async def main() -> int:
        async with opened(Side(here), NODES[0]) as node, trio.open_nursery() as nursery:
            key = keys(1, seed=8)[0].public
            nursery.start_soon(_session, node, key, MemoryStore(), m.PULL, bulk)
            under_way = trio.Event()
            nursery.start_soon(_until, under_way, bulk, 10 * EACH)
            await under_way.wait()
            begun = bulk.entries_sent
            async with trio.open_nursery() as visits:
                for secret in keys(PEERS, seed=7):
                    visits.start_soon(fetch, node, secret.public)
            nursery.cancel_scope.cancel()
        return begun

    begun = simulate(main)
    waited = [end - begun for end in ends]
    assert len(waited) == PEERS
    assert 0 < max(waited) <= MOST_OVER_MEDIAN * median(waited)
    assert max(waited) <= TURNS * EACH


# --- over real sockets, in real threads ---------------------------------------------------


async def _visit(port: int, number: int, all_here: trio.Event, told: list[Report]) -> None:
    [secret] = keys(1, seed=1_000 + number)
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await all_here.wait()
    channel = await dial(stream, Identity.of(secret), ANNA.public)
    async with opened(Side(_store(entries(2, seed=number))), secret.public) as local:
        options = Options(direction=m.PUSH)
        told.append(await run_initiator(channel.stream, local, options, peer=channel.peer))


def test_fifty_that_dial_at_one_moment_are_all_let_in_by_the_usual_rules() -> None:
    here, told, door = MemoryStore(), list[Report](), Door()
    ended: list[Served] = []

    async def main() -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        all_here = trio.Event()
        async with opened(Side(here), ANNA.public) as local, trio.open_nursery() as nursery:
            me = Identity.of(ANNA)
            nursery.start_soon(partial(listen, local, listeners, ended.append, me, door=door))
            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as visits:
                    for number in range(PEERS):
                        visits.start_soon(_visit, port, number, all_here, told)
                    while door.pending + len(ended) < PEERS:
                        await trio.lowlevel.checkpoint()
                    all_here.set()
                while len(ended) < PEERS:
                    await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert [served.state for served in ended] == ["done"] * PEERS
    assert all(report.entries_sent == 2 for report in told)
    everything = [entry for number in range(PEERS) for entry in entries(2, seed=number)]
    assert roots(here) == roots(_store(everything))


def test_questions_of_so_many_sessions_are_looked_up_at_a_time_and_nothing_else_waits() -> None:
    may_go = threading.Event()
    [entry] = entries(1)
    finished = 0

    async def look_up(local: Local) -> None:
        nonlocal finished
        await local.look_up(may_go.wait, PATIENCE)
        finished += 1

    async def main() -> None:
        async with open_local(MemoryStore()) as local, trio.open_nursery() as nursery:
            for _ in range(PEERS):
                nursery.start_soon(look_up, local)
            await trio.testing.wait_all_tasks_blocked()
            found = local._looking_up.statistics()
            claim = UnverifiedEntry(entry.collection, entry.header, entry.payload)
            added = await (await local.writer.submit([claim])).wait()
            here = await local.offload(roots, local.store)
            may_go.set()
        assert found.borrowed_tokens == limits.LOOKING_UP
        assert found.tasks_waiting == PEERS - limits.LOOKING_UP
        assert added.new == (entry.id,)
        assert here == roots(_store([entry]))

    trio.run(main)
    assert finished == PEERS


@pytest.mark.usefixtures("small")
def test_a_responder_looks_questions_up_in_turns() -> None:
    """Everybody's sessions end, and no more than so many are ever at it."""
    here = _store(entries(EACH))
    inside = most = 0

    async def offload(work: Callable[..., T], *arguments: object) -> T:
        nonlocal inside, most
        counts = getattr(work, "__name__", "") in ("_look_up", "_understand")
        inside += counts
        most = max(most, inside)
        await trio.sleep(1)
        inside -= counts
        return work(*arguments)

    async def main() -> None:
        side = Side(here, offload=offload)
        async with opened(side, NODES[0]) as node, trio.open_nursery() as visits:
            for secret in keys(PEERS, seed=7):
                visits.start_soon(_session, node, secret.public, MemoryStore(), m.PULL, Served())

    simulate(main)
    assert most == limits.LOOKING_UP
