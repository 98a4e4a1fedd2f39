"""One session between two nodes of a world, watched: how it ended, and whether it may end so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from setsync import limits
from setsync.errors import PeerGoneError, PeerTimeoutError, SetsyncError
from setsync.node.client import Options, run_initiator
from setsync.node.local import Local
from setsync.node.report import Report
from setsync.node.server import Served, run_responder
from tests.simulation.link import Link
from tests.simulation.node import Node
from tests.simulation.plan import LinkPlan
from tests.simulation.tap import Name, Tap
from tests.simulation.trace import Trace

# A side that hears nothing waits IDLE_TIMEOUT, one that cannot send SEND_TIMEOUT, and then it has
# its grace. Once over for the session on a slow line that goes well until then; ten thousand
# worlds needed 173 s.
SESSION_BOUND = 2 * (limits.IDLE_TIMEOUT + limits.SEND_TIMEOUT + limits.SHUTDOWN_GRACE)

# Two honest nodes and a bad network: nothing else may come of it.
_NETWORK = (PeerGoneError, PeerTimeoutError)

Work = Callable[[Link, Local], Awaitable[None]]


@dataclass
class Side:
    """How it ended for one node: done, or the name of what it raised, or fell."""

    node: Node
    outcome: str = "unended"
    error: SetsyncError | None = None


@dataclass
class Meeting:
    """Run it in the world's nursery. `moved`: entries that left either side."""

    name: str
    initiator: Node
    responder: Node
    options: Options
    plan: LinkPlan
    trace: Trace
    report: Report = field(default_factory=Report)
    served: Served = field(default_factory=Served)
    moved: int = 0

    async def run(self) -> None:
        """Connect the two, if both are up, and wait until both have ended."""
        mine, theirs = Side(self.initiator), Side(self.responder)
        started = trio.current_time()
        if self.initiator.sessions is None or self.responder.sessions is None:
            self.trace(f"{self.name} nobody there")
            self.trace.count("unreachable")
            return
        self.trace.count("sessions")
        async with trio.open_nursery() as nursery:
            link = self._link()
            nursery.start_soon(link.run)
            ends = [
                await self._begin(theirs, link, self._respond),
                await self._begin(mine, link, self._initiate),
            ]
            for end in ends:
                await end.wait()
            self._judge(link, mine, theirs)
            link.reset()
        for node in (self.initiator, self.responder):
            node.links.discard(link)
        self.trace.most("most seconds of a session", int(trio.current_time() - started))

    def _link(self) -> Link:
        """With a tap on it that holds both nodes to their word."""
        tap = Tap(
            self.initiator.promise,
            self.responder.promise,
            lambda fault: self.trace.find(f"{self.name}: {fault}"),
            self._count,
            forgets=lambda: bool(self.trace.counts["clock jumps"]),
        )
        link = Link(self.name, self.plan, self.trace, tap.up, tap.down)
        for node in (self.initiator, self.responder):
            node.links.add(link)
        return link

    def _count(self, way: int, name: Name) -> None:
        self.moved += 1

    async def _begin(self, side: Side, link: Link, work: Work) -> trio.Event:
        """Start one side in its node's nursery, so that it falls with the node."""
        ended = trio.Event()
        sessions, local = side.node.sessions, side.node.local
        if sessions is None or local is None:  # it fell between the two sides' beginnings
            side.outcome = "fell"
            await self._close(side, link)
            ended.set()
            return ended

        async def watched() -> None:
            try:
                with trio.move_on_after(SESSION_BOUND) as scope:
                    side.outcome = await self._outcome(side, work(link, local))
                if scope.cancelled_caught:
                    self.trace.find(f"{self.name} n{side.node.number} hangs")
            finally:
                ended.set()

        sessions.start_soon(watched)
        return ended

    async def _outcome(self, side: Side, work: Awaitable[None]) -> str:
        """Everything but a SetsyncError, and a fall, is a defect."""
        side.outcome = "fell"
        try:
            await work
        except SetsyncError as error:
            side.error = error
            return type(error).__name__
        except Exception as error:
            self.trace.find(f"{self.name} n{side.node.number} raised {error!r}")
            return "defect"
        return "done"

    async def _initiate(self, link: Link, local: Local) -> None:
        await run_initiator(link.initiator, local, self.options, report=self.report)

    async def _respond(self, link: Link, local: Local) -> None:
        await run_responder(link.responder, local, self.served)

    async def _close(self, side: Side, link: Link) -> None:
        end = link.initiator if side.node is self.initiator else link.responder
        await end.aclose()

    # --- afterwards -----------------------------------------------------------------------

    def _judge(self, link: Link, mine: Side, theirs: Side) -> None:
        for side in (mine, theirs):
            self.trace(f"{self.name} n{side.node.number} {side.outcome}")
            self.trace.count(f"outcome {side.outcome}")
            if side.error is not None and not _is_the_networks(side.error):
                self.trace.find(f"{self.name} n{side.node.number} ended with {side.error!r}")
        # Also the fall of a side that was done: its last word may not have come through.
        fell = link.saw_fall or "fell" in (mine.outcome, theirs.outcome)
        if self.plan.is_calm and not fell and {mine.outcome, theirs.outcome} != {"done"}:
            errors = f"{mine.error!r}, {theirs.error!r}"
            self.trace.find(f"{self.name} failed, and nothing had happened to it: {errors}")
        if not (link.is_closed or fell):
            self.trace.find(f"{self.name} was left open")
        if mine.outcome == "done" and not (self.options.dry_run or self.report.in_sync):
            self.trace.find(f"{self.name} came to its end and is not in sync")
        self.trace.count("entries", self.report.entries_received + self.served.entries_received)


def _is_the_networks(error: SetsyncError) -> bool:
    return type(error) in _NETWORK
