"""What a connection came to, while it runs (`Tally`) and in the end (`Report`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from bamboo_compat.replication import limits
from bamboo_compat.replication.machine import Counters
from bamboo_compat.replication.source import Divergence, Fate, Outcome, Schemas

OTHER_REASONS = "Other reasons."


@dataclass(frozen=True, slots=True)
class Report:
    """One connection, as this side saw it.

    `schemas` are those that both know. `refused` has (reason, how many), the most frequent
    first. `payloads`: known entries that got the payload they lacked; `known` counts them
    too. `divergences` are the first places where a log that arrived is not the one that
    is here; `diverged` counts the entries that showed one. A fork whose branches are
    equally long is in neither: its second branch does not travel.
    """

    schemas: Schemas
    sessions: int
    sent: int
    new: int
    known: int
    payloads: int
    refused: tuple[tuple[str, int], ...]
    divergences: tuple[Divergence, ...]
    diverged: int
    bytes_in: int
    bytes_out: int
    messages_in: int
    messages_out: int

    @property
    def refusals(self) -> int:
        """How many entries were refused."""
        return sum(count for _, count in self.refused)


@dataclass
class Tally:
    """The numbers as they grow. Whoever passes one in can read it also after an error:
    what is counted as new is committed."""

    schemas: Schemas = field(default_factory=Schemas)
    sessions: int = 0
    sent: int = 0
    new: int = 0
    known: int = 0
    payloads: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    faulty: int = 0
    """Those of the refused that an honest peer would not have sent."""
    divergences: dict[Divergence, None] = field(default_factory=dict)
    diverged: int = 0
    counters: Counters = field(default_factory=Counters)

    def count(self, outcomes: Sequence[Outcome]) -> None:
        """A batch was taken."""
        for outcome in outcomes:
            match outcome.fate:
                case Fate.NEW:
                    self.new += 1
                case Fate.KNOWN:
                    self.known += 1
                case Fate.ATTACHED:
                    self.known += 1
                    self.payloads += 1
                case Fate.REFUSED:
                    self.faulty += 1
                    self._refuse(outcome.reason)
                case Fate.UNWANTED:
                    self._refuse(outcome.reason)
                case _:
                    assert_never(outcome.fate)
            if outcome.divergence is not None:
                self.diverged += 1
                if len(self.divergences) < limits.MAX_DIVERGENCES:
                    self.divergences.setdefault(outcome.divergence)

    def _refuse(self, reason: str) -> None:
        is_new = reason not in self.refused
        self.refused[OTHER_REASONS if is_new and self._is_full else reason] += 1

    @property
    def _is_full(self) -> bool:
        return len(self.refused) >= limits.MAX_REASONS - 1

    def report(self) -> Report:
        """The numbers as they are now."""
        return Report(
            schemas=self.schemas,
            sessions=self.sessions,
            sent=self.sent,
            new=self.new,
            known=self.known,
            payloads=self.payloads,
            refused=tuple(self.refused.most_common()),
            divergences=tuple(self.divergences),
            diverged=self.diverged,
            bytes_in=self.counters.bytes_in,
            bytes_out=self.counters.bytes_out,
            messages_in=self.counters.messages_in,
            messages_out=self.counters.messages_out,
        )
