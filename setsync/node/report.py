"""What a session came to: the numbers people read and programs parse."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from setsync.reconcile.digest import EMPTY, Summary
from setsync.session.session import Counters


@dataclass
class Report:
    """One session, as its initiator saw it. `seconds` from the first byte to the last.

    `missing_here` and `missing_there` are the entries that one side had and the other
    lacked when they were first compared; `newer` those that came after the session began
    and still differ at its end. `refused_here` and `refused_there` are those that one side has
    and the other does not want; they count as in sync. `before` and `after` are this side's
    collections.
    `differing`: name, count here and count there of those that differed at first.
    """

    state: str = "failed"
    in_sync: bool = False
    peer: str = ""
    round_trips: int = 0
    seconds: float = 0.0
    missing_here: int = 0
    missing_there: int = 0
    newer: int = 0
    refused_here: int = 0
    refused_there: int = 0
    payloads_received: int = 0
    told: int = 0
    counters: Counters = field(default_factory=Counters)
    entries_sent: int = 0
    entries_received: int = 0
    before: dict[str, Summary] = field(default_factory=dict)
    after: dict[str, Summary] = field(default_factory=dict)
    ids_here: list[tuple[str, bytes]] = field(default_factory=list)
    ids_there: list[tuple[str, bytes]] = field(default_factory=list)
    differing: list[tuple[str, int, int]] = field(default_factory=list)

    def count_sent(self, count: int) -> None:
        """So many more entries went out."""
        self.entries_sent += count

    def count_received(self, count: int) -> None:
        """So many more entries came in and are durable."""
        self.entries_received += count

    def note_told(self, arrival: int) -> None:
        """The other side was sent, or has, all that had come here up to this arrival number."""
        self.told = arrival

    def count_refused(self, count: int) -> None:
        """So many of those that went out are not wanted there."""
        self.refused_there += count

    def to_json(self) -> dict[str, Any]:
        """The object of `sync --json`; its schema is docs/json/sync.json."""
        sent, received = self.counters.sent, self.counters.received
        phases = {phase: {"sent": sent[phase], "received": received[phase]} for phase in sent}
        return {
            "state": self.state,
            "in_sync": self.in_sync,
            "peer": self.peer,
            "round_trips": self.round_trips,
            "seconds": round(self.seconds, 6),
            "missing_here": self.missing_here,
            "missing_there": self.missing_there,
            "newer": self.newer,
            "refused": {"here": self.refused_here, "there": self.refused_there},
            "bytes": {
                "sent": self.counters.total_sent(),
                "received": self.counters.total_received(),
                **phases,
            },
            "entries": {"sent": self.entries_sent, "received": self.entries_received},
            "payloads": {"received": self.payloads_received},
            "collections": self._collections(),
        }

    def _collections(self) -> list[dict[str, Any]]:
        names = sorted(self.before.keys() | self.after.keys(), key=str.encode)
        return [
            {
                "name": name,
                "before": _summary(self.before.get(name, EMPTY)),
                "after": _summary(self.after.get(name, EMPTY)),
            }
            for name in names
        ]


def _summary(summary: Summary) -> dict[str, Any]:
    return {"count": summary.count, "digest": summary.digest.hex()}
