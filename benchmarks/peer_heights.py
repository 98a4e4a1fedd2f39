"""Log heights measured like the others, and setsync on the very same logs.

Two processes, each on its own store, joined through the counting proxy. What the bytes of a
connection by log heights were for is read from the messages that went by:

- entry bytes: `entry` messages, whole, with the heads around entry and operation.
- reconciling bytes: everything else, which is both `announce`, and of each session `request`,
  both `have` and both `done`. There is no other framing: messages follow each other.

A round trip is one wait of the initiator between both announcements and the difference being
known: from `request` to `have`, once a session. Both ends have looked at all their heights and
had a connection before in which nothing was asked for. The wall ends when both sides are done.

After the measurement, and off its clock, each system runs once more between the same stores;
then the stores are compared id by id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from bamboo_compat.replication.messages import KINDS, EntryMessage
from bamboo_compat.replication.stream import Splitter
from benchmarks.log_stores import held, left_behind, one_sided
from benchmarks.logs import LogWorkload
from benchmarks.peer_setsync import Nodes
from benchmarks.results import Result, per_difference, size
from benchmarks.stores import Pair
from benchmarks.usage import Meter, Usage
from benchmarks.workers import Fields, PeerError, Worker
from benchmarks.workload import Workload
from setsync.bench.counts import Counts, Direction
from setsync.bench.link import Link
from setsync.bench.proxy import CountingProxy

SYSTEM = "log heights"
CONNECTION_SECONDS = 600.0
LEAVE_SECONDS = 30.0
_TYPE_AT = 1


# --- log heights --------------------------------------------------------------------------------


@dataclass
class Wire:
    """What went over one connection, by direction."""

    chunks: dict[Direction, bytearray] = field(
        default_factory=lambda: {direction: bytearray() for direction in Direction}
    )

    def observe(self, direction: Direction, chunk: bytes) -> None:
        """The proxy's observer. It only keeps: reading would take the measured sides' time."""
        self.chunks[direction] += chunk

    def sizes(self) -> Counter[str]:
        """Bytes in both directions by kind of message."""
        found: Counter[str] = Counter()
        for chunk in self.chunks.values():
            splitter = Splitter()
            splitter.receive(bytes(chunk))
            while (message := splitter.next_message()) is not None:
                found[KINDS[message[_TYPE_AT]].__name__] += len(message)
            if splitter:
                raise PeerError(f"{len(splitter)} bytes of the connection are no whole message")
        return found


@dataclass(frozen=True)
class Connection:
    """What both ends say of one connection, and what was seen of it from outside."""

    near: Fields
    far: Fields
    counts: Counts
    sizes: Counter[str]
    usage: dict[str, Usage]

    @property
    def new(self) -> int:
        """Entries that were new to either side."""
        return int(self.near["new"] + self.far["new"])

    def check(self) -> None:
        """Raises PeerError where the ends and the proxy disagree, or an entry was refused."""
        said = (self.near["bytes_out"], self.near["bytes_in"])
        answered = (self.far["bytes_in"], self.far["bytes_out"])
        if not said == answered == (self.counts.up, self.counts.down):
            raise PeerError(f"reported {said} and {answered} bytes, the proxy saw {self.counts}")
        refused = [*self.near["refused"], *self.far["refused"]]
        if refused:
            raise PeerError(f"entries of the workload were refused: {refused}")


class Servers:
    """Two workers on the folders of a pair: the responder listens, the initiator connects."""

    def __init__(self, pair: Pair, near: Worker, far: Worker) -> None:
        self._near, self._far = near, far
        for worker, folder in ((near, pair.near), (far, pair.far)):
            worker.ask("open", folder=str(folder))
        self._address: tuple[str, int] = ("127.0.0.1", far.ask("serve")["port"])
        self._connect(self._address, shy=True)
        self._served()

    def connection(self, *, link: Link | None = None) -> Connection:
        """One connection between them. Raises PeerError, WorkerError."""
        wire = Wire()
        with (
            CountingProxy(self._address, link=link, observe=wire.observe) as proxy,
            Meter(initiator=self._near.pid, responder=self._far.pid) as meter,
        ):
            near = self._connect(proxy.address)
            far = self._served()
            meter.stop()
            if not proxy.wait_idle(LEAVE_SECONDS):
                raise PeerError("a connection stayed open after the last session")
            counts = proxy.counts
        found = Connection(near, far, counts, wire.sizes(), meter.usage)
        found.check()
        return found

    def _connect(self, address: tuple[str, int], *, shy: bool = False) -> Fields:
        host, port = address
        within = CONNECTION_SECONDS
        return self._near.ask("replicate", within=within, host=host, port=port, shy=shy)

    def _served(self) -> Fields:
        return self._far.ask("served", within=CONNECTION_SECONDS)


@contextmanager
def connected(pair: Pair) -> Iterator[Servers]:
    """Servers on a pair of folders, for as long as the block lasts."""
    module = "benchmarks.heights_node"
    with Worker(module) as near, Worker(module) as far:
        yield Servers(pair, near, far)


def measure_heights(pair: Pair, work: LogWorkload, link: Link | None = None) -> Result:
    """Replicate by heights between the stores of a pair, which changes them."""
    before = _Before.of(pair)
    with connected(pair) as servers:
        first = servers.connection(link=link)
        moved = held(pair) - before.held
        again = servers.connection()
    if (first.new, again.new) != (moved, held(pair) - before.held - moved):
        raise PeerError(f"{first.new} and {again.new} new entries were reported, {moved} came")
    near, far = first.usage["initiator"], first.usage["responder"]
    entry_bytes = first.sizes[EntryMessage.__name__]
    reconcile = first.counts.total - entry_bytes
    found = Result(
        system=SYSTEM,
        n=work.n,
        d=work.d,
        variant="full",
        bytes_up=first.counts.up,
        bytes_down=first.counts.down,
        reconcile_bytes=reconcile,
        entry_bytes=entry_bytes,
        bytes_per_difference=per_difference(reconcile, work.d),
        round_trips=first.near["sessions"],
        cpu_initiator=near.cpu,
        cpu_responder=far.cpu,
        wall=max(first.near["ended"], first.far["ended"]) - first.near["begun"],
        peak_rss_initiator=near.peak_rss,
        peak_rss_responder=far.peak_rss,
        seed=work.seed,
    )
    kinds = ", ".join(f"{kind} {size(first.sizes[kind])}" for kind in ("Announce", "Have"))
    return _settled(found, pair, work, before, moved, again.new, kinds)


# --- setsync ------------------------------------------------------------------------------------


@contextmanager
def running(pair: Pair) -> Iterator[Nodes]:
    """Nodes of setsync on a pair of folders, for as long as the block lasts."""
    module = "benchmarks.setsync_log_node"
    with Worker(module) as near, Worker(module) as far:
        yield Nodes(pair, near, far)


def measure_setsync(pair: Pair, work: LogWorkload, link: Link | None = None) -> Result:
    """A whole session between the stores of a pair, which changes them."""
    before = _Before.of(pair)
    with running(pair) as nodes:
        found = nodes.session("setsync", dry_run=False, link=link)
        moved = held(pair) - before.held
        # Now everything is common, and a session has to find just that.
        pair.workload = Workload(work.n + work.d, 0, 0, seed=work.seed)
        nodes.session("setsync", dry_run=False)
        again = held(pair) - before.held - moved
    return _settled(found, pair, work, before, moved, again, "")


# --- what became of the logs --------------------------------------------------------------------


@dataclass(frozen=True)
class _Before:
    """What the stores held: entries of both added up, and in which logs how many differ."""

    held: int
    one_sided: Counter[tuple[bytes, int]]

    @classmethod
    def of(cls, pair: Pair) -> _Before:
        return cls(held(pair), one_sided(pair))


def _settled(
    found: Result,
    pair: Pair,
    work: LogWorkload,
    before: _Before,
    moved: int,
    again: int,
    note: str,
) -> Result:
    """The columns about logs, from the stores themselves.

    Raises PeerError where there was another difference than the workload says, or what has
    moved and what has not do not add up to it.
    """
    left = left_behind(pair, work)
    if before.one_sided.total() != work.d or moved + again + left.total() != work.d:
        raise PeerError(
            f"{work.d} entries were to differ and {before.one_sided.total()} did; "
            f"{moved} and {again} have moved, {left.total()} are left"
        )
    if work.fork_every:
        note += (
            f"; before: {work.branch_entries:,} entries of {len(work.forks()):,} forked logs "
            f"on one side only; after: second branches left behind: {left.total():,} entries "
            f"in {len(left):,} logs; a second run moved {again:,}"
        )
    return replace(
        found,
        moved=moved,
        moved_again=again,
        left_behind=left.total(),
        left_logs=len(left),
        note=note.removeprefix("; "),
    )
