"""What happened in a run, a line an event, and one hash over all of it."""

from __future__ import annotations

import hashlib
from collections import Counter, deque

import trio

# What is kept to show when a run failed.
_TAIL = 60


class Trace:
    """Call it with an event. `counts` is what the run covered; `findings` what went wrong."""

    def __init__(self, keep_all: bool = False) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self.lines: deque[str] = deque(maxlen=None if keep_all else _TAIL)
        self.counts: Counter[str] = Counter()
        self.findings: list[str] = []

    def __call__(self, event: str) -> None:
        line = f"{trio.current_time():12.6f} {event}"
        self._hash.update(line.encode() + b"\n")
        self.lines.append(line)

    def count(self, what: str, by: int = 1) -> None:
        """Note that something was covered."""
        self.counts[what] += by

    def most(self, what: str, value: int) -> None:
        """Note the largest of a kind. Its name begins with "most", so that it is not added up."""
        self.counts[what] = max(self.counts[what], value)

    def find(self, finding: str) -> None:
        """Note that a promise was broken."""
        self.findings.append(finding)
        self(f"!! {finding}")

    @property
    def digest(self) -> str:
        """The hash of every line so far."""
        return self._hash.hexdigest()


def merge(total: Counter[str], counts: Counter[str]) -> None:
    """Add what one run covered to what all runs did."""
    for what, number in counts.items():
        is_largest = what.startswith("most ")
        total[what] = max(total[what], number) if is_largest else total[what] + number
