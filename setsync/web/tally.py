"""What sessions came to, for the page and for /metrics: sums, and the last few of each peer."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from setsync.limits import MAX_PEERS, WEB_SESSIONS
from setsync.node.report import Report
from setsync.node.server import Served
from setsync.session.session import Counters

ROLES = ("initiator", "responder")
OUTCOMES = ("done", "failed", "cancelled")
# Upper bounds of the histograms' buckets.
ROUND_TRIPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128)
BATCHES = (1, 4, 16, 64, 256, 1024, 4096, 16384)


@dataclass(frozen=True, slots=True)
class Session:
    """One that is over (or is shown while it runs). `at` in ms since 1970, its end; `round_trips`
    is None where nobody counted: the responder does not know them. `differences`: entries that
    one side had and the other lacked. `comparing`: bytes both ways that were not entries."""

    at: int
    role: str
    outcome: str
    round_trips: int | None
    differences: int
    comparing: int
    bytes_sent: int
    bytes_received: int
    entries_sent: int
    entries_received: int
    seconds: float | None = None
    reason: str = ""

    @property
    def bytes_per_difference(self) -> float | None:
        """What finding one difference cost; None where there was none."""
        return self.comparing / self.differences if self.differences else None

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        per = self.bytes_per_difference
        return asdict(self) | {"bytes_per_difference": None if per is None else round(per, 2)}


def of_report(report: Report, at: int, reason: str = "") -> Session:
    """A session that we opened."""
    return Session(
        at,
        "initiator",
        "failed" if reason else "done",
        report.round_trips,
        report.missing_here + report.missing_there,
        _comparing(report.counters),
        report.counters.total_sent(),
        report.counters.total_received(),
        report.entries_sent,
        report.entries_received,
        report.seconds or None,
        reason,
    )


def of_served(served: Served, at: int) -> Session:
    """A session that the other side opened."""
    return Session(
        at,
        "responder",
        served.state,
        None,
        served.entries_sent + served.new_entries,
        _comparing(served.counters),
        served.counters.total_sent(),
        served.counters.total_received(),
        served.entries_sent,
        served.new_entries,
        None,
        served.reason,
    )


def _comparing(counters: Counters) -> int:
    moved = counters.sent.get("entries", 0) + counters.received.get("entries", 0)
    return counters.total_sent() + counters.total_received() - moved


def _is_again(session: Session, before: Session) -> bool:
    """Whether the same peer still cannot be reached: one line is enough for all such tries."""
    tries = (session, before)
    same = session.role == before.role and session.reason == before.reason
    return same and all(one.outcome == "failed" and not one.bytes_received for one in tries)


@dataclass
class Histogram:
    """How many values fell under each bound, by bound; and their sum."""

    bounds: tuple[int, ...]
    count: int = 0
    sum: int = 0
    under: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.under = [0] * len(self.bounds)

    def note(self, value: int) -> None:
        """One more value."""
        self.count += 1
        self.sum += value
        for at, bound in enumerate(self.bounds):
            if value <= bound:
                self.under[at] += 1

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus wants them: bounds as text, +Inf last."""
        found = [
            (str(float(bound)), float(n)) for bound, n in zip(self.bounds, self.under, strict=True)
        ]
        return [*found, ("+Inf", float(self.count))]


@dataclass
class Tally:
    """One run of serve."""

    sessions: dict[tuple[str, str], int] = field(
        default_factory=lambda: {(role, outcome): 0 for role in ROLES for outcome in OUTCOMES}
    )
    # By direction and phase.
    bytes_moved: dict[tuple[str, str], int] = field(default_factory=dict)
    entries_sent: int = 0
    entries_received: int = 0
    differences: int = 0
    round_trips: Histogram = field(default_factory=lambda: Histogram(ROUND_TRIPS))
    batches: Histogram = field(default_factory=lambda: Histogram(BATCHES))
    # By peer, in order of their last sessions; of MAX_PEERS.
    last: dict[str, deque[Session]] = field(default_factory=dict)

    def note(self, peer: str, session: Session, counters: Counters) -> None:
        """A session with a peer (its key in hex, or its address) is over."""
        self.sessions[session.role, session.outcome] += 1
        for direction, phases in (("sent", counters.sent), ("received", counters.received)):
            for phase, count in phases.items():
                where = direction, phase
                self.bytes_moved[where] = self.bytes_moved.get(where, 0) + count
        self.entries_sent += session.entries_sent
        self.entries_received += session.entries_received
        self.differences += session.differences
        if session.round_trips is not None and session.outcome == "done":
            self.round_trips.note(session.round_trips)
        if peer:
            last = self.last.pop(peer, None) or deque(maxlen=WEB_SESSIONS)
            if last and _is_again(session, last[0]):
                last.popleft()
            last.appendleft(session)
            self.last[peer] = last
        if len(self.last) > MAX_PEERS:
            del self.last[next(iter(self.last))]

    def total(self, direction: str) -> int:
        """Bytes of all sessions that are over, `sent` or `received`."""
        return sum(count for (way, _), count in self.bytes_moved.items() if way == direction)
