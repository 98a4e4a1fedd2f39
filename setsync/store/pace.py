"""How much goes into one commit: as much as takes about COMMIT_SECONDS.

A larger commit costs less an entry, since each page it touches is written once; but whoever waits
for the writer waits for all of it, and LMDB holds the pages in memory and keeps as many free
afterwards. How long an entry takes depends on the disk, and on how large the set has become; so
it is measured, commit by commit.
"""

from __future__ import annotations

from collections.abc import Callable

from setsync.limits import COMMIT_SECONDS, FIRST_COMMIT, MOST_IN_COMMIT


class Pace:
    """`most` is what the next commit may cost, in whatever `note` is told: entries, or KiB."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun = 0.0
        self.most = FIRST_COMMIT

    def begin(self) -> None:
        """A commit begins."""
        self._begun = self._clock()

    def note(self, cost: int) -> None:
        """It ended. The next may be up to twice as large, or smaller down to a half."""
        seconds = self._clock() - self._begun
        fitting = cost * COMMIT_SECONDS / seconds if seconds > 0 else MOST_IN_COMMIT
        low, high = self.most // 2, self.most * 2
        if fitting > self.most and cost < self.most // 2:
            return  # too few came to tell
        fitting = max(low, min(high, fitting))
        self.most = int(max(1, FIRST_COMMIT // 4, min(MOST_IN_COMMIT, fitting)))
