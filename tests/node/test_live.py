"""Nodes that keep up with each other: live, on a clock that jumps."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
import trio.testing

from setsync import limits
from setsync.errors import SetsyncError
from setsync.model.entry import Entry, UnverifiedEntry
from setsync.node.arrivals import last_arrival
from setsync.node.client import Options
from setsync.node.dialling import Dialler, Target
from setsync.node.live import Keeper, PeerState, Phase
from setsync.node.local import Local, inline
from setsync.node.node import open_local
from setsync.node.progress import OnProgress, ignore
from setsync.node.report import Report
from setsync.node.server import Served, run_responder
from setsync.node.states import States
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.helpers import entries
from tests.node.ends import meet, members, simulate


@dataclass
class Node:
    """A node of the test's network, and what it was told by others."""

    number: int
    store: MemoryStore = field(default_factory=MemoryStore)
    local: Local | None = None

    @property
    def id(self) -> bytes:
        return bytes([self.number]) * 32


class Wire(Dialler):
    """Dials another node of this process. `cut` ends the connections that there are."""

    def __init__(self, nursery: trio.Nursery, other: Node) -> None:
        self._nursery = nursery
        self._other = other
        self.streams: list[trio.abc.Stream] = []
        self.is_down = False
        self.dialled: list[float] = []

    async def session(
        self,
        target: Target,
        local: Local,
        options: Options,
        on_progress: OnProgress = ignore,
        report: Report | None = None,
    ) -> Report:
        from setsync.node.client import run_initiator

        self.dialled.append(trio.current_time())
        here, there = trio.testing.memory_stream_pair()
        if self.is_down:
            await here.aclose()
        self.streams.append(here)
        assert self._other.local is not None
        self._nursery.start_soon(self._respond, there, self._other.local)
        return await run_initiator(here, local, options, on_progress, report)

    async def _respond(self, stream: trio.abc.Stream, local: Local) -> None:
        with suppress(SetsyncError):
            await run_responder(stream, local, Served())

    async def cut(self) -> None:
        for stream in self.streams:
            await trio.aclose_forcefully(stream)


@asynccontextmanager
async def network(
    count: int, edges: Sequence[tuple[int, int]]
) -> AsyncIterator[tuple[list[Node], list[Wire], list[Keeper]]]:
    """Nodes, the first of each edge keeping up with the second."""
    nodes = [Node(number) for number in range(count)]
    async with trio.open_nursery() as nursery:
        for node in nodes:
            await nursery.start(_run, node)
        wires, keepers = [], []
        for one, two in edges:
            wire, local = Wire(nursery, nodes[two]), nodes[one].local
            assert local is not None
            target = Target(None)  # type: ignore[arg-type]
            keeper = Keeper(wire, target, local, Options(), random.Random(one))
            wires.append(wire)
            keepers.append(keeper)
            nursery.start_soon(keeper.run)
        yield nodes, wires, keepers
        nursery.cancel_scope.cancel()


async def _run(node: Node, task_status: trio.TaskStatus[None]) -> None:
    async with open_local(node.store, node_id=node.id, offload=inline) as local:
        node.local = local
        task_status.started()
        await trio.sleep_forever()


async def put(node: Node, some: Sequence[Entry]) -> None:
    """As somebody at the node would."""
    assert node.local is not None
    bare = [UnverifiedEntry(entry.collection, entry.header, entry.payload) for entry in some]
    await (await node.local.writer.submit(bare)).wait()


def all_equal(nodes: Sequence[Node]) -> bool:
    return len({frozenset(members(node.store)) for node in nodes}) == 1


def test_what_is_put_anywhere_is_everywhere_at_once_and_nothing_is_sent_back() -> None:
    async def main() -> None:
        async with network(2, [(0, 1)]) as (nodes, _, keepers):
            await put(nodes[0], entries(3))
            await trio.sleep(5)
            assert keepers[0].state.phase is Phase.LIVE
            began = trio.current_time()
            await put(nodes[1], entries(6)[3:])
            await put(nodes[0], entries(9)[6:])
            await trio.sleep(1)
            assert all_equal(nodes)
            assert len(members(nodes[0].store)) == 9
            assert trio.current_time() - began < 2

    simulate(main)


RING = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)]
STAR = [(leaf, 0) for leaf in range(1, 20)]


@pytest.mark.parametrize(("count", "edges"), [(5, RING), (20, STAR)], ids=["ring", "star"])
def test_in_a_ring_and_in_a_star_each_node_receives_an_entry_about_once(
    count: int, edges: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted at every node: deliveries of entries, against the least that there could be."""
    came: Counter[bytes] = Counter()
    some = entries(3 * count)

    async def main() -> None:
        from setsync.node.transfer import Incoming

        take = Incoming.take

        async def counted(self: Incoming, message: m.Entries | m.Piece | m.Packed) -> None:
            before = self._taken
            await take(self, message)
            came[self._local.node_id] += self._taken - before

        monkeypatch.setattr(Incoming, "take", counted)
        async with network(count, edges) as (nodes, _, _):
            await trio.sleep(5)
            for number, node in enumerate(nodes):
                await put(node, some[3 * number : 3 * number + 3])
                await trio.sleep(1)
            assert all_equal(nodes)
            assert len(members(nodes[0].store)) == len(some)

    simulate(main)
    least = len(some) * (count - 1)
    assert sum(came.values()) <= 1.5 * least
    assert all(number <= 2 * len(some) for number in came.values())


def test_after_a_cut_it_comes_back_and_makes_up_for_what_it_missed() -> None:
    async def main() -> None:
        async with network(2, [(0, 1)]) as (nodes, [wire], [keeper]):
            await trio.sleep(5)
            wire.is_down = True
            await wire.cut()
            await put(nodes[1], entries(50))
            await trio.sleep(60)
            assert keeper.state.phase is Phase.WAITING
            assert keeper.state.last_error
            assert not members(nodes[0].store)
            wire.is_down = False
            await trio.sleep(2 * limits.MAX_RETRY_SECONDS)
            assert all_equal(nodes)
            assert (keeper.state.phase, keeper.state.last_error) == (Phase.LIVE, "")

    simulate(main)


def test_who_cannot_be_reached_is_tried_ever_later_and_never_given_up() -> None:
    async def main() -> None:
        async with network(2, [(0, 1)]) as (_, [wire], _):
            wire.is_down = True
            await wire.cut()
            await trio.sleep(3_600)
            waits = [
                two - one for one, two in zip(wire.dialled[1:], wire.dialled[2:], strict=False)
            ]
            assert waits[0] < 5
            assert max(waits) <= 1.5 * limits.MAX_RETRY_SECONDS + 1
            assert 10 < len(waits) < 60

    simulate(main)


def test_now_and_then_the_sets_are_compared_again_which_heals_what_no_push_has_told() -> None:
    async def main() -> None:
        async with network(2, [(0, 1)]) as (nodes, _, _):
            await trio.sleep(5)
            nodes[1].store.add_many(entries(4))  # behind the node's back: nobody is told
            await trio.sleep(5)
            assert not all_equal(nodes)
            await trio.sleep(1.5 * limits.LIVE_SECONDS)
            assert all_equal(nodes)

    simulate(main)


def test_a_peer_that_falls_silent_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PING_SECONDS", 10 * limits.IDLE_TIMEOUT)

    async def main() -> None:
        async with network(2, [(0, 1)]) as (_, [wire], [keeper]):
            await trio.sleep(limits.IDLE_TIMEOUT - 5)
            assert keeper.state.phase is Phase.LIVE
            await trio.sleep(20)
            assert len(wire.dialled) == 2
            assert keeper.state.sessions == 1

    simulate(main)


def test_a_peer_that_has_nothing_to_say_is_kept() -> None:
    async def main() -> None:
        async with network(2, [(0, 1)]) as (_, [wire], [keeper]):
            await trio.sleep(0.8 * limits.LIVE_SECONDS - 10)
            assert len(wire.dialled) == 1
            assert keeper.state.phase is Phase.LIVE

    simulate(main)


def test_states_are_told_as_they_change() -> None:
    told: list[tuple[Phase, str]] = []

    async def main() -> None:
        async with network(2, []) as (nodes, _, _):
            assert nodes[0].local is not None
            async with trio.open_nursery() as nursery:
                wire = Wire(nursery, nodes[1])

                def heard(state: PeerState) -> None:
                    told.append((state.phase, state.last_error))

                target = Target(None)  # type: ignore[arg-type]
                keeper = Keeper(wire, target, nodes[0].local, Options(), random.Random(1), heard)
                nursery.start_soon(keeper.run)
                await trio.sleep(5)
                nursery.cancel_scope.cancel()

    simulate(main)
    assert (Phase.CATCHING_UP, "") in told
    assert (Phase.LIVE, "") in told


def test_the_lag_of_a_peer_is_what_has_come_since_it_was_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with network(2, [(0, 1)]) as (nodes, wires, keepers):
            states = States(tmp_path / "states", keepers={"1": keepers[0]})

            def lag() -> int | None:
                found = states.as_json(last_arrival(nodes[0].store))["1"]["lag"]
                assert found is None or isinstance(found, int)
                return found

            assert lag() is None
            await put(nodes[0], entries(3))
            await trio.sleep(5)
            assert lag() == 0
            await put(nodes[0], entries(5)[3:])
            await trio.sleep(1)
            assert lag() == 0
            wires[0].is_down = True
            await wires[0].cut()
            await put(nodes[0], entries(9)[5:])
            await trio.sleep(1)
            assert lag() == 4
            wires[0].is_down = False
            await trio.sleep(2 * limits.MAX_RETRY_SECONDS)
            assert lag() == 0

    simulate(main)


def test_one_round_trip_says_whether_two_nodes_are_the_same_and_where_not() -> None:
    async def main() -> None:
        a, b = MemoryStore(), MemoryStore()
        a.add_many([*entries(5), *entries(2, "here")])
        b.add_many([*entries(7), *entries(3, "there")])
        met = await meet(a, b, Options(peek=True))
        assert met.report.differing == [("notes", 5, 7), ("there", 0, 3), ("here", 2, 0)]
        assert (met.report.in_sync, met.report.round_trips) == (False, 1)
        assert len(members(a)) == 7
        met = await meet(a, a, Options(peek=True))
        assert (met.report.in_sync, met.report.round_trips) == (True, 1)

    simulate(main)
