"""The figures to reach, and how far we are.

Bytes are the mean of the seeds, dry runs, from the end of both HELLOs; no seed may be worse
than 1.2 times the mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from rich import box
from rich.table import Table

from benchmarks.results import Result, count

WORST_OVER_MEAN = 1.2


@dataclass(frozen=True)
class Target:
    """At most `most` bytes to reconcile n common entries and d different ones."""

    n: int
    d: int
    most: int

    @property
    def round_trips(self) -> int:
        """At most so many waits of the initiator."""
        return 4 if self.d <= 2_000 else 6


TARGETS = (
    Target(1_000_000, 0, 300),
    Target(1_000_000, 2, 900),
    Target(1_000_000, 20, 1_400),
    Target(1_000_000, 200, 7_000),
    Target(1_000_000, 2_000, 60_000),
    Target(1_000_000, 20_000, 600_000),
    Target(100_000, 2_000, 60_000),
    Target(10_000, 20_000, 200_000),
)


@dataclass(frozen=True)
class Verdict:
    """One row of figures, held against its target."""

    target: Target
    sizes: tuple[int, ...]
    trips: tuple[int, ...]

    @classmethod
    def of(cls, target: Target, results: Iterable[Result], system: str) -> Verdict:
        """The verdict over a system's dry runs of that size."""
        rows = [
            row
            for row in results
            if (row.system, row.n, row.d, row.variant) == (system, target.n, target.d, "dry run")
        ]
        sizes = tuple(row.reconcile_bytes for row in rows if row.reconcile_bytes is not None)
        trips = tuple(row.round_trips for row in rows if row.round_trips is not None)
        return cls(target, sizes, trips)

    @property
    def mean(self) -> float:
        """Bytes, over the seeds."""
        return mean(self.sizes)

    @property
    def spread(self) -> float:
        """The worst seed over the mean."""
        return max(self.sizes) / self.mean

    @property
    def bytes_pass(self) -> bool:
        """Whether the bytes are reached."""
        return self.mean <= self.target.most and self.spread <= WORST_OVER_MEAN

    @property
    def trips_pass(self) -> bool:
        """Whether the round trips are reached, by every seed."""
        return max(self.trips) <= self.target.round_trips


def verdicts(results: Sequence[Result], system: str = "setsync") -> list[Verdict]:
    """A verdict on every target that something was measured for."""
    found = (Verdict.of(target, results, system) for target in TARGETS)
    return [verdict for verdict in found if verdict.sizes]


def table(found: Sequence[Verdict]) -> Table:
    """Target and measured side by side."""
    grid = Table(title="Reconciliation: reached?", box=box.SIMPLE_HEAD, pad_edge=False)
    headings = ["n", "d", "to reach", "mean", "per d", "worst", "worst / mean", "seeds", "bytes"]
    headings += ["trips", "at most", "trips?"]
    for heading in headings:
        grid.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        target = one.target
        grid.add_row(
            count(target.n),
            count(target.d),
            f"{target.most:,} B",
            f"{one.mean:,.0f} B",
            f"{one.mean / target.d:,.1f} B" if target.d else "-",
            f"{max(one.sizes):,} B",
            f"{one.spread:.2f}",
            str(len(one.sizes)),
            _word(one.bytes_pass),
            str(max(one.trips)),
            str(target.round_trips),
            _word(one.trips_pass),
        )
    return grid


def _word(reached: bool) -> str:
    return "[green]pass[/green]" if reached else "[red]MISS[/red]"
