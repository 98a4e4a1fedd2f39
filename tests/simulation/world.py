"""A world: nodes that meet while everything goes wrong, and must be equal when it no longer does.

First the plan's steps, at their times, over each other. Then, with the last fault over and
everybody up again, sweeps over all edges. A session makes two sets equal, so that after each
sweep everybody has what anybody had one edge further away: all roots of connected nodes are
equal after as many sweeps as the longest of the shortest paths has edges, which is the bound.
One sweep more must find nothing to do.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import trio

from setsync.limits import SHUTDOWN_GRACE
from setsync.node.client import Options
from tests.simulation.material import entry
from tests.simulation.node import MakeStore, Node, memory_store
from tests.simulation.plan import (
    ClockJump,
    Edge,
    Fall,
    LinkPlan,
    Meet,
    Plan,
    Put,
    Step,
    calm_link,
    make_plan,
)
from tests.simulation.policies import differences, kept_against_policy, with_policies
from tests.simulation.scheduling import run_seeded
from tests.simulation.sessions import Meeting
from tests.simulation.tight import tightened
from tests.simulation.trace import Trace

# A fall that waits for a use of the disk happens after this time in any case.
_PATIENCE = 60.0
# A goodbye may take its grace, and no longer.
STOP_BOUND = SHUTDOWN_GRACE + 1.0

P = TypeVar("P", bound=Plan)


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    seed: int
    digest: str
    findings: tuple[str, ...]
    counts: Counter[str]
    lines: tuple[str, ...]


def run_world(
    seed: int,
    *,
    keep_all: bool = False,
    make_store: MakeStore = memory_store,
    has_policies: bool = False,
) -> Outcome:
    """Run the world of a seed. `make_store` is for stores with a planted fault."""
    plan = with_policies(make_plan(seed)) if has_policies else make_plan(seed)
    return run_plan(plan, World, keep_all=keep_all, make_store=make_store)


def run_plan(
    plan: P,
    make: Callable[[P, Trace, Path, MakeStore], World],
    *,
    keep_all: bool = False,
    make_store: MakeStore = memory_store,
    is_brisk: bool = False,
) -> Outcome:
    """Run a world from its plan."""
    trace = Trace(keep_all)
    with tempfile.TemporaryDirectory() as folder, tightened(plan.tight, is_brisk):
        world = make(plan, trace, Path(folder), make_store)
        try:
            run_seeded(plan.seed, world.run)
        except Exception as error:
            trace.findings.append(f"the world broke: {error!r}")
        finally:
            for node in world.nodes:
                node.close()
    return Outcome(plan.seed, trace.digest, (*trace.findings,), trace.counts, (*trace.lines,))


class World:
    """The nodes, and the story of their run."""

    def __init__(self, plan: Plan, trace: Trace, folder: Path, make: MakeStore) -> None:
        self.plan, self.trace = plan, trace
        self.nodes = [
            Node(number, each, plan.seed, trace, folder, make)
            for number, each in enumerate(plan.nodes)
        ]
        self._sessions = 0

    async def run(self) -> None:
        """From the first entry to the last check."""
        before = tasks()
        self._note_plan()
        async with trio.open_nursery() as nursery:
            for node in self.nodes:
                nursery.start_soon(node.live)
                await node.up.wait()
                await node.put(node.plan.held, self.plan.many)
            quiet = tasks()
            await self._trouble(nursery)
            self._check_tasks(quiet, "after the last fault")
            for node in self.nodes:
                node.check_promises()
            await self._settle()
            self._check_tasks(quiet, "at the end")
            nursery.cancel_scope.cancel()
        self._check_tasks(before, "when all nodes had stopped")
        self._check_sets()
        self.trace.count("virtual seconds", int(trio.current_time()))

    def _note_plan(self) -> None:
        plan = self.plan
        self.trace(f"seed {plan.seed}: {plan.topology} of {len(self.nodes)}, {plan.edges}")
        self.trace.count("worlds")
        self.trace.count(f"topology {plan.topology}")
        self.trace.count("nodes", len(self.nodes))
        self.trace.count("nodes on disk", sum(node.plan.on_disk for node in self.nodes))
        self.trace.count("tight worlds", plan.tight)
        self.trace.count("worlds with policies", bool(plan.kinds))
        for kind in plan.kinds:
            self.trace.count(f"policy {kind}")

    # --- while things go wrong ------------------------------------------------------------

    async def _trouble(self, lives: trio.Nursery) -> None:
        """All steps at their times; ends when all of them have, and everybody is up again."""
        async with trio.open_nursery() as nursery:
            for step in self.plan.steps:
                await trio.sleep_until(step.at)
                self._take(step, nursery, lives)

    def _take(self, step: Step, nursery: trio.Nursery, lives: trio.Nursery) -> None:
        match step:
            case Meet(_, edge, options, link):
                nursery.start_soon(self._meeting(edge, options, link).run)
            case Put(_, number, numbers):
                nursery.start_soon(self._put, self.nodes[number], numbers)
            case Fall():
                nursery.start_soon(self._fall, step, lives)
            case ClockJump(_, number, by):
                self.nodes[number].skew += by
                self.trace(f"n{number} its clock jumps by {by} ms")
                self.trace.count("clock jumps")

    def _meeting(self, edge: Edge, options: Options, link: LinkPlan) -> Meeting:
        self._sessions += 1
        one, two = (self.nodes[number] for number in edge)
        name = f"s{self._sessions} n{one.number}-n{two.number}"
        return Meeting(name, one, two, options, link, self.trace)

    async def _put(self, node: Node, numbers: tuple[int, ...]) -> None:
        """Ends when the entries are durable, or the node has fallen."""
        if node.sessions is None:
            return
        self.trace.count("puts")
        ended = trio.Event()

        async def add() -> None:
            try:
                await node.put(numbers, self.plan.many)
            finally:
                ended.set()

        node.sessions.start_soon(add)
        await ended.wait()

    async def _fall(self, step: Fall, lives: trio.Nursery) -> None:
        """Down, and up again as a new process that finds the old store."""
        node = self.nodes[step.node]
        if node.is_falling:
            return
        node.is_falling = True
        if step.disk_step:
            node.fall_after(step.disk_step, step.politely)
            with trio.move_on_after(_PATIENCE):
                await node.fell.wait()
        if not node.fell.is_set():
            node.fall(step.politely)
        with trio.move_on_after(STOP_BOUND):
            await node.down.wait()
        if not node.down.is_set():
            self.trace.find(f"n{node.number} does not stop")
            await node.down.wait()
        await trio.sleep(step.seconds)
        node.reopen()
        node.check_promises()
        lives.start_soon(node.live)
        await node.up.wait()
        self.trace(f"n{node.number} is up again")
        self.trace.count("restarts")
        node.is_falling = False

    # --- when nothing does any more -------------------------------------------------------

    async def _settle(self) -> None:
        """Sweep until all connected nodes are equal; then once more, for nothing."""
        # Who refuses entries keeps them from others behind, who then get them another way.
        bound = len(self.nodes) if self.plan.kinds else self._diameter()
        sweeps = 0
        while not self._are_equal() and sweeps < bound:
            sweeps += 1
            await self._sweep()
        self.trace(f"{sweeps} sweeps")
        self.trace.most("most sweeps of a world", sweeps)
        if not self._are_equal():
            self.trace.find(f"connected nodes differ after {sweeps} sweeps")
            return
        if self.plan.kinds:
            # What is refused crosses each line once; whoever dials and refuses does not ask.
            await self._sweep(both_ways=True)
        moved = await self._sweep()
        if moved:
            self.trace.find(f"sets are equal, and yet {moved} entries were found to differ")

    async def _sweep(self, *, both_ways: bool = False) -> int:
        """A session on every edge; how many entries were found to differ, or crossed it."""
        meetings: list[Meeting] = []
        order = self.plan.order
        edges = self.plan.edges
        for edge in order.sample(edges, len(edges)):
            way = edge if order.random() < 0.5 else (edge[1], edge[0])
            link = calm_link(order.getrandbits(64), self.plan.quiet_delay)
            meetings.append(self._meeting(way, Options(), link))
            if both_ways:
                link = calm_link(order.getrandbits(64), self.plan.quiet_delay)
                meetings.append(self._meeting((way[1], way[0]), Options(), link))
        if self.plan.at_once:
            async with trio.open_nursery() as nursery:
                for meeting in meetings:
                    nursery.start_soon(meeting.run)
        else:
            for meeting in meetings:
                await meeting.run()
        reports = [each.report for each in meetings]
        missing = sum(each.missing_here + each.missing_there for each in reports)
        return max(missing, sum(each.moved for each in meetings))

    def _are_equal(self) -> bool:
        """Where some refuse entries: nothing differs but what is refused."""
        if self.plan.kinds:
            return not any(self._differences())
        return all(
            all(node.roots() == group[0].roots() for node in group) for group in self._groups()
        )

    def _differences(self) -> Iterator[str]:
        for edge in self.plan.edges:
            one, two = (self.nodes[number] for number in edge)
            for here, there in ((one, two), (two, one)):
                for each in differences(here, there):
                    yield f"{each} is at n{here.number} and not at n{there.number}"

    def _groups(self) -> list[list[Node]]:
        """The nodes, parted by who can reach whom."""
        groups = {frozenset(self._distances(node.number)) for node in self.nodes}
        return [[self.nodes[at] for at in sorted(group)] for group in sorted(groups, key=min)]

    def _diameter(self) -> int:
        return max(max(self._distances(node.number).values()) for node in self.nodes)

    def _distances(self, start: int) -> dict[int, int]:
        found, edge_of = {start: 0}, [start]
        for one in edge_of:
            for edge in self.plan.edges:
                other = sum(edge) - one
                if one in edge and other not in found:
                    found[other] = found[one] + 1
                    edge_of.append(other)
        return found

    # --- checks ---------------------------------------------------------------------------

    def _check_tasks(self, expected: int, when: str) -> None:
        if (living := tasks()) != expected:
            self.trace.find(f"{living} tasks {when} instead of {expected}")

    def _check_sets(self) -> None:
        """Nothing promised is lost anywhere, nothing is there that nobody made."""
        made = [entry(number, self.plan.many) for number in range(self.plan.pool)]
        names = {(each.collection, each.id) for each in made}
        for node in self.nodes:
            node.check_promises()
            node.check_disk()
            if strange := node.members() - names:
                self.trace.find(f"n{node.number} has {len(strange)} entries that nobody made")
            for kept in kept_against_policy(node):
                self.trace.find(f"n{node.number} keeps what it refuses: {kept}")
        for difference in self._differences():
            self.trace.find(difference)
        for group in self._groups() if not self.plan.kinds else []:
            everything = {name for node in group for name in node.promised}
            self.trace.count("collections", len({collection for collection, _ in everything}))
            for node in group:
                if missing := everything - node.members():
                    self.trace.find(f"{len(missing)} entries never came to n{node.number}")


def tasks() -> int:
    """How many tasks there are."""
    return trio.lowlevel.current_statistics().tasks_living
