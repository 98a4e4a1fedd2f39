"""Connections between nodes that keep up with each other: dialled, answered and watched.

Whoever dials gets a link to the other node and what `Dialler` does with it; whoever is dialled
does what `listen` does with a connection, its door included. Each connection is judged when
both sides have left it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from setsync import limits
from setsync.errors import (
    PeerError,
    PeerGoneError,
    PeerRefusedError,
    PeerTimeoutError,
    PeerUnreachableError,
    SetsyncError,
)
from setsync.node.access import Access, Mode
from setsync.node.channel import accept, dial
from setsync.node.client import Options, run_initiator
from setsync.node.dialling import Dialler, Target
from setsync.node.door import Door, Visit
from setsync.node.identity import Identity
from setsync.node.local import Local
from setsync.node.peers import PeersFile
from setsync.node.penalties import Penalties
from setsync.node.progress import OnProgress, ignore
from setsync.node.report import Report
from setsync.node.server import Served, run_responder
from tests.simulation.link import Link, OnBytes
from tests.simulation.live_plan import LivePlan
from tests.simulation.node import Node
from tests.simulation.plan import Edge
from tests.simulation.sessions import SESSION_BOUND
from tests.simulation.tap import Name, Tap
from tests.simulation.trace import Trace

# Two honest nodes and a bad network; the third is a door that still counts connections which
# the dialler knows to be dead.
_NETWORK = (PeerGoneError, PeerTimeoutError, PeerRefusedError)


class Tapped(trio.abc.Stream):
    """A secure channel's inside, where the tap can read."""

    def __init__(self, stream: trio.abc.Stream, on_sent: OnBytes) -> None:
        self._stream, self._on_sent = stream, on_sent

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._on_sent(bytes(data))
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


@dataclass
class Side:
    """One node's end of a line, and how it ended there: done, fell, or what it raised."""

    node: Node
    had: frozenset[Name]
    outcome: str = "fell"
    error: SetsyncError | None = None
    over: trio.Event = field(default_factory=trio.Event)


class Line:
    """One connection."""

    def __init__(self, name: str, edge: Edge, link: Link, tap: Tap, mine: Side, theirs: Side):
        self.name, self.edge, self.link, self.tap = name, edge, link, tap
        self.mine, self.theirs = mine, theirs
        self.began = trio.current_time()


class Lines:
    """All connections of a world. `is_calm`: from now on nothing goes wrong on new ones.
    `sent` counts entries, `per_link` how often each went over a keeper's lines in a direction,
    and `broken` the lines of each that did not come to a good end."""

    def __init__(self, plan: LivePlan, nodes: list[Node], trace: Trace, folder: Path) -> None:
        self.plan, self.nodes, self.trace = plan, nodes, trace
        self.is_calm = False
        self.is_over = False
        self.open: list[Line] = []
        self.outages: Counter[frozenset[int]] = Counter()
        self.sent = 0
        self.per_link: Counter[tuple[Edge, int, Name]] = Counter()
        self.broken: Counter[Edge] = Counter()
        self.numbers: Counter[Edge] = Counter()
        self.bound = 1.3 * plan.interval + SESSION_BOUND
        self._doors: dict[tuple[int, int], Door] = {}
        self._penalties: dict[tuple[int, int], Penalties] = {}
        self._folder = folder
        self._identities = [Identity.of(node.secret) for node in nodes] if plan.secure else []
        self.nursery: trio.Nursery

    def dialler(self, edge: Edge) -> LinkDialler:
        """For the first of an edge, to reach the second."""
        mine = self.nodes[edge[0]]
        return LinkDialler(self, edge, mine, PeersFile(self._folder / f"peers{mine.number}.json"))

    # --- from one end to the other --------------------------------------------------------

    def connect(self, edge: Edge) -> Line:
        """A line to a node that is up. Raises PeerUnreachableError."""
        mine, theirs = (self.nodes[number] for number in edge)
        sessions, local = theirs.sessions, theirs.local
        if sessions is None or local is None or self.outages[frozenset(edge)]:
            self.trace(f"n{edge[0]} cannot reach n{edge[1]}")
            self.trace.count("unreachable")
            raise PeerUnreachableError(f"Nobody answers at n{edge[1]}.")
        self.numbers[edge] += 1
        line = self._line(f"k{self.numbers[edge]} n{edge[0]}-n{edge[1]}", edge, mine, theirs)
        self.trace(f"{line.name} begins")
        self.trace.count("live sessions")
        self.open.append(line)
        self.nursery.start_soon(self._carry, line)
        sessions.start_soon(self._answer, line, local)
        return line

    def _line(self, name: str, edge: Edge, mine: Node, theirs: Node) -> Line:
        sides = (Side(mine, frozenset(mine.members())), Side(theirs, frozenset(theirs.members())))

        def on_entry(way: int, entry: Name) -> None:
            self.sent += 1
            self.per_link[edge, way, entry] += 1
            self.trace.count("entries pushed" if tap.is_live else "entries moved")
            if all(entry in side.had for side in sides):
                said = f"{entry[0]} {entry[1].hex()[:16]}"
                self.trace.find(f"{name}: {said} was sent, and both had it when it began")

        tap = Tap(
            mine.promise,
            theirs.promise,
            lambda fault: self.trace.find(f"{name}: {fault}"),
            on_entry,
            on_refused=self._count_refused,
            forgets=lambda: bool(self.trace.counts["clock jumps"]),
        )
        plan = self.plan.link(edge, self.numbers[edge], self.is_calm)
        ways: tuple[OnBytes, OnBytes] = (tap.up, tap.down)
        if self.plan.secure:
            ways = (lambda data: None, lambda data: None)
        link = Link(name, plan, self.trace, *ways, is_secret=self.plan.secure)
        for node in (mine, theirs):
            node.links.add(link)
        return Line(name, edge, link, tap, *sides)

    def _count_refused(self, count: int) -> None:
        """What is not wanted crosses each link once a day, and again when a clock jumps."""
        self.sent -= count

    async def _carry(self, line: Line) -> None:
        await line.link.run()
        for side in (line.mine, line.theirs):
            await side.over.wait()
        self.open.remove(line)
        for side in (line.mine, line.theirs):
            side.node.links.discard(line.link)
        self._judge(line)

    async def watch(self, line: Line, side: Side, work: Awaitable[None]) -> None:
        """One side's part, which has a bound. Raises what it raises."""
        end = line.link.initiator if side is line.mine else line.link.responder
        try:
            with trio.move_on_after(self.bound) as scope:
                await work
                side.outcome = "done"
            if scope.cancelled_caught:
                self.trace.find(f"{line.name} n{side.node.number} hangs")
        except SetsyncError as error:
            side.outcome, side.error = type(error).__name__, error
            raise
        except Exception as error:
            side.outcome = "defect"
            self.trace.find(f"{line.name} n{side.node.number} raised {error!r}")
            raise
        finally:
            if not end.is_closed and side.outcome != "fell":
                self.trace.find(f"{line.name} n{side.node.number} left it open")
            side.over.set()  # first: closing may be cancelled, once it has begun
            await trio.aclose_forcefully(end)

    async def _answer(self, line: Line, local: Local) -> None:
        """What `listen` does with a connection; honest nodes are never punished."""
        door, caller = self._door(line.theirs.node), line.mine.node
        with suppress(SetsyncError):
            await self.watch(line, line.theirs, self._visit(line, local, door, caller.number))

    async def _visit(self, line: Line, local: Local, door: Door, caller: int) -> None:
        visit = None
        try:
            with trio.CancelScope() as scope:
                visit = door.arrive(f"10.0.0.{caller}", trio.current_time(), scope.cancel)
                await self._respond(line, local, door, visit)
        finally:
            if visit is not None:
                door.leave(visit)
            elif not line.link.responder.is_closed:  # as `serve_listeners` does
                await trio.aclose_forcefully(line.link.responder)

    async def _respond(self, line: Line, local: Local, door: Door, visit: Visit) -> None:
        stream: trio.abc.Stream = line.link.responder
        channel = None
        if self.plan.secure:
            channel = await accept(stream, self._identities[line.edge[1]])
            stream = Tapped(channel.stream, line.tap.down)
        peer = channel.peer if channel is not None else None
        access = Access(Mode.OPEN, PeersFile(self._folder / "nobody").read)
        life = line.edge[1], line.theirs.node.lives
        penalties = self._penalties.setdefault(life, Penalties())
        await run_responder(
            stream,
            local,
            Served(),
            peer=peer,
            access=access,
            penalties=penalties,
            on_let_in=partial(door.let_through, visit, peer),
        )

    def _door(self, node: Node) -> Door:
        """A new one with each life."""
        return self._doors.setdefault((node.number, node.lives), Door())

    # --- afterwards -----------------------------------------------------------------------

    def _judge(self, line: Line) -> None:
        mine, theirs = line.mine, line.theirs
        for side in (mine, theirs):
            self.trace(f"{line.name} n{side.node.number} {side.outcome}")
            self.trace.count(f"live outcome {side.outcome}")
            if side.error is not None and not self._may_come(line, side):
                self.trace.find(f"{line.name} n{side.node.number} ended with {side.error!r}")
        if {mine.outcome, theirs.outcome} != {"done"}:
            self.broken[line.edge] += 1
        fell = line.link.saw_fall or "fell" in (mine.outcome, theirs.outcome)
        is_calm = line.link.plan.is_calm and not line.link.had_fault and not fell
        if is_calm and not self._is_good_end(mine, theirs):
            errors = f"{mine.error!r}, {theirs.error!r}"
            self.trace.find(f"{line.name} failed, and nothing had happened to it: {errors}")
        self.trace.most("most seconds of a live session", int(trio.current_time() - line.began))

    def _may_come(self, line: Line, side: Side) -> bool:
        """Whether an error is one that a network makes."""
        if type(side.error) in _NETWORK:
            return True
        error = side.error
        return isinstance(error, PeerError) and error.abort.name == "BUSY"

    def _is_good_end(self, mine: Side, theirs: Side) -> bool:
        """The dialler is done. It closes while the other may be sending, which breaks a
        connection: the other then hears of no goodbye."""
        if isinstance(mine.error, PeerRefusedError):
            return self._is_crowded(mine, theirs)
        return mine.outcome == "done" and theirs.outcome in ("done", "PeerGoneError")

    def _is_crowded(self, mine: Side, theirs: Side) -> bool:
        """Whether there was a reason to turn somebody away: dead lines that one side keeps."""
        same = [
            line
            for line in self.open
            if (line.mine.node, line.theirs.node) == (mine.node, theirs.node)
        ]
        return len(same) >= limits.MAX_CONNECTIONS_PER_KEY


class LinkDialler(Dialler):
    """The real one's rules, over the world's lines instead of TCP."""

    def __init__(self, lines: Lines, edge: Edge, mine: Node, peers: PeersFile) -> None:
        super().__init__(mine.secret, peers, not lines.plan.secure)
        self._lines, self._edge = lines, edge
        if lines.plan.secure:
            self._identity = lines._identities[mine.number]

    async def session(
        self,
        target: Target,
        local: Local,
        options: Options,
        on_progress: OnProgress = ignore,
        report: Report | None = None,
    ) -> Report:
        """A session over a new line. Raises as the real one."""
        line = self._lines.connect(self._edge)
        report = report if report is not None else Report()

        async def work() -> None:
            stream: trio.abc.Stream = line.link.initiator
            peer = None
            if not self.plain:
                channel = await dial(stream, self.identity(), target.address.key)
                self._judge(channel.peer, target)
                stream, peer = Tapped(channel.stream, line.tap.up), channel.peer
            await run_initiator(stream, local, options, on_progress, report, peer=peer)

        await self._lines.watch(line, line.mine, work())
        return report
