"""A world whose nodes keep up with each other while everything goes wrong.

Each edge has a `Keeper`, at one end or at both, for as long as the node lives. After the last
fault nobody does anything any more: the keepers alone have to make all connected nodes equal,
within three intervals between two reconciliations. Then they have to tell each other nothing, and
what is put somewhere has to be everywhere at once.
"""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import trio
import trio.lowlevel

from setsync import limits
from setsync.node import node as real_node
from setsync.node.address import Address
from setsync.node.client import Options
from setsync.node.dialling import Target
from setsync.node.live import Keeper, PeerState
from setsync.node.local import Local
from tests.simulation.lines import Line, Lines
from tests.simulation.live_plan import LivePlan, make_live_plan
from tests.simulation.node import MakeStore, memory_store
from tests.simulation.plan import Cut, Edge, HalfClose, Outage, PutBehind, Stall, Step
from tests.simulation.policies import with_policies
from tests.simulation.trace import Trace
from tests.simulation.world import STOP_BOUND, Outcome, World, run_plan, tasks

INTERVALS = 3
# How long a line may still be dead without either side knowing it, and then be said goodbye to.
_DEAD = limits.IDLE_TIMEOUT + limits.SEND_TIMEOUT + limits.SHUTDOWN_GRACE
# News reach the next node at once: some messages over a slow line and between slow disks, or
# the beginning of a session where one is just being made.
NEWS_SECONDS = 30.0
_PORT = 7717


def run_live_world(
    seed: int,
    *,
    keep_all: bool = False,
    make_store: MakeStore = memory_store,
    has_policies: bool = False,
) -> Outcome:
    """Run the live world of a seed."""
    plan = with_policies(make_live_plan(seed)) if has_policies else make_live_plan(seed)
    return run_plan(plan, LiveWorld, keep_all=keep_all, make_store=make_store, is_brisk=plan.brisk)


class LiveWorld(World):
    """The nodes, their keepers, and the story of their run."""

    plan: LivePlan

    def __init__(self, plan: LivePlan, trace: Trace, folder: Path, make: MakeStore) -> None:
        super().__init__(plan, trace, folder, make)
        self.lines = Lines(plan, self.nodes, trace, folder)
        self.keepers: dict[Edge, Keeper] = {}
        for node in self.nodes:
            node.beside = [
                *([self._notice] if plan.notices else []),
                *[partial(self._keep_up, edge) for edge in plan.keepers if edge[0] == node.number],
            ]

    async def run(self) -> None:
        """From the first entry to the last check."""
        before = tasks()
        self._note_plan()
        async with trio.open_nursery() as nursery:
            self.lines.nursery = nursery
            for node in self.nodes:
                nursery.start_soon(node.live)
                await node.up.wait()
                await node.put(node.plan.held, self.plan.many)
            await self._trouble(nursery)
            self.lines.is_calm = True
            for node in self.nodes:
                node.check_promises()
            if await self._become_equal():
                await self._say_nothing()
                await self._tell_news()
            self._check_lines()
            await self._stop()
        self._check_tasks(before, "when all nodes had stopped")
        self._check_sets()
        self.trace.count("virtual seconds", int(trio.current_time()))

    def _note_plan(self) -> None:
        super()._note_plan()
        plan = self.plan
        self.trace(f"live, {plan.keepers} dial, secure {plan.secure}, brisk {plan.brisk}")
        self.trace.count("live worlds")
        self.trace.count("keepers", len(plan.keepers))
        self.trace.count("secure worlds", plan.secure)
        self.trace.count("brisk worlds", plan.brisk)
        self.trace.count("worlds with notices", plan.notices)

    # --- beside a node --------------------------------------------------------------------

    async def _keep_up(self, edge: Edge, local: Local) -> None:
        """As `serve --peer`."""
        mine, theirs = (self.nodes[number] for number in edge)
        key = theirs.id if self.plan.secure else None
        target = Target(Address(f"n{theirs.number}", _PORT, key))
        chance = random.Random(f"setsync keeper {self.plan.seed} {edge} {mine.lives}")
        name = f"n{mine.number}>n{theirs.number}"

        def heard(state: PeerState) -> None:
            self.trace(f"{name} {state.phase} {state.last_error}")
            self.trace.count(f"keeper {state.phase}")

        keeper = Keeper(
            self.lines.dialler(edge), target, local, Options(local.interests), chance, heard
        )
        self.keepers[edge] = keeper
        await keeper.run()

    async def _notice(self, local: Local) -> None:
        await real_node._notice(local, lambda count: self.trace.count("noticed", count))

    # --- while things go wrong ------------------------------------------------------------

    def _take(self, step: Step, nursery: trio.Nursery, lives: trio.Nursery) -> None:
        match step:
            case Cut(_, edge):
                for line in self._on(edge):
                    line.link.cut()
            case HalfClose(_, edge, way):
                for line in self._on(edge):
                    nursery.start_soon(line.link.half_close, way)
            case Stall(_, edge, way, seconds):
                for line in self._on(edge):
                    line.link.stall(way, seconds)
            case Outage():
                nursery.start_soon(self._outage, step)
            case PutBehind(_, number, numbers):
                if not self.nodes[number].is_falling:
                    self.trace.count("puts behind")
                    self.nodes[number].put_behind(numbers, self.plan.many)
            case _:
                super()._take(step, nursery, lives)

    def _on(self, edge: Edge) -> list[Line]:
        return [line for line in self.lines.open if set(line.edge) == set(edge)]

    async def _outage(self, step: Outage) -> None:
        """Who dials meets nobody; what is connected breaks."""
        self.trace.count("outages")
        for line in self._on(step.edge):
            line.link.cut()
        self.lines.outages[frozenset(step.edge)] += 1
        await trio.sleep(step.seconds)
        self.lines.outages[frozenset(step.edge)] -= 1

    # --- when nothing does any more -------------------------------------------------------

    async def _become_equal(self) -> bool:
        """Wait until all connected nodes are; they have a bound."""
        began = trio.current_time()
        bound = INTERVALS * self.plan.interval
        while not self._are_equal():
            if trio.current_time() > began + bound:
                self.trace.find(f"connected nodes differ {bound:.0f} s after the last fault")
                return False
            await trio.sleep(1)
        took = trio.current_time() - began
        self.trace(f"equal after {took:.0f} s")
        self.trace.most("most seconds until equal", int(took))
        self.trace.most("most percent of the bound", int(100 * took / bound))
        return True

    async def _say_nothing(self) -> None:
        """Sessions of equal nodes carry no entry, and all keepers are well."""
        await trio.sleep(_DEAD + 2 * limits.MAX_RETRY_SECONDS)
        before = self.lines.sent
        await trio.sleep(1.3 * self.plan.interval)
        if sent := self.lines.sent - before:
            self.trace.find(f"sets are equal, and yet {sent} entries were sent")
        for edge, keeper in self.keepers.items():
            if keeper.state.last_error:
                said = f"n{edge[0]} does not keep up with n{edge[1]}: {keeper.state}"
                self.trace.find(said)

    async def _tell_news(self) -> None:
        """What is put now is everywhere long before sets are compared again."""
        news = self.plan.news
        assert news is not None
        await self._put(self.nodes[news.node], news.entries)
        began = trio.current_time()
        bound = NEWS_SECONDS * self._diameter()
        while not self._are_equal():
            if trio.current_time() > began + bound:
                self.trace.find(f"news were not everywhere after {bound:.0f} s")
                return
            await trio.sleep(0.5)
        self.trace.most("most seconds until news are told", int(trio.current_time() - began))

    def _check_lines(self) -> None:
        """An entry crosses a keeper's lines once in a direction, and once more for each time
        that it was on its way when a session ended: one that broke, or one that was over."""
        for (edge, way, name), times in self.lines.per_link.items():
            self.trace.most("most times an entry crossed a link", times)
            if times > 2 + self.lines.broken[edge]:
                said = f"{name[0]} {name[1].hex()[:16]} went {times} times over {edge}, way {way}"
                self.trace.find(said)

    async def _stop(self) -> None:
        """All nodes at once, as an operator would; no connection outlives them."""
        for node in self.nodes:
            node.fall(politely=True)
        with trio.move_on_after(STOP_BOUND):
            for node in self.nodes:
                await node.down.wait()
        if not all(node.down.is_set() for node in self.nodes):
            self.trace.find("some nodes do not stop")
        for node in self.nodes:
            await node.down.wait()
        await trio.lowlevel.checkpoint()
        for line in self.lines.open:
            if not line.link.is_closed:
                self.trace.find(f"{line.name} outlives its nodes")
                line.link.reset()
