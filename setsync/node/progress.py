"""What is going on, as one stream of events. Whoever wants to show it may; nothing waits.

Phases of a session: connecting, comparing, transferring, closing, done. Elsewhere:
filling, reading, importing, exporting, checking, dropping.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` (None: not known yet) in `unit`s; bytes are counted from the begin."""

    phase: str
    done: int
    total: int | None
    unit: str
    collection: str | None = None
    bytes_sent: int = 0
    bytes_received: int = 0
    message: str = ""


OnProgress = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """For those who do not want to know."""
