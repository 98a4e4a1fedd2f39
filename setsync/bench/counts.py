"""Counts of bytes that go by: per direction, with the direction changes, since a mark.

Shared by all that listens to two nodes talking; knows neither sockets nor what the bytes mean.
`up` is from the side that connected (the initiator), `down` is the way back.
"""

from __future__ import annotations

import enum
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass


class Direction(enum.Enum):
    """Which way a chunk travels, seen from the side that opened the connection."""

    UP = "up"
    DOWN = "down"


Observer = Callable[[Direction, bytes], None]


@dataclass(frozen=True)
class Counts:
    """Payload bytes each way, direction changes, and connections accepted."""

    up: int = 0
    down: int = 0
    turns: int = 0
    connections: int = 0

    @property
    def total(self) -> int:
        """Bytes in both directions."""
        return self.up + self.down

    @property
    def round_trips(self) -> int:
        """An upper estimate of the waits of one side for the other.

        A conversation that strictly alternates has two turns per round trip. Two sides that stream
        at the same time turn far more often than anybody waits.
        """
        return math.ceil(self.turns / 2)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.up + other.up,
            self.down + other.down,
            self.turns + other.turns,
            self.connections + other.connections,
        )

    def __sub__(self, earlier: Counts) -> Counts:
        return Counts(
            self.up - earlier.up,
            self.down - earlier.down,
            self.turns - earlier.turns,
            self.connections - earlier.connections,
        )


class Ledger:
    """Running counts, written by one thread and readable from any other at any moment.

    Each change replaces one immutable `Counts`, so a reader sees all fields of one moment.
    """

    def __init__(self) -> None:
        self._counts = Counts()
        self._mark = Counts()
        self._open = 0
        self._idle = threading.Event()
        self._idle.set()

    @property
    def counts(self) -> Counts:
        """Everything since the start."""
        return self._counts

    def mark(self) -> Counts:
        """Remember this moment for `since_mark`; answers the counts up to it."""
        self._mark = self._counts
        return self._mark

    def since_mark(self) -> Counts:
        """Everything since the latest `mark`, or since the start if there was none."""
        return self._counts - self._mark

    def connected(self) -> None:
        """One more connection was accepted."""
        self._open += 1
        self._idle.clear()
        self._counts += Counts(connections=1)

    def disconnected(self) -> None:
        """A connection has ended on both sides."""
        self._open -= 1
        if self._open == 0:
            self._idle.set()

    def wait_idle(self, seconds: float) -> bool:
        """Block until no connection is open; False if one still is after that time."""
        return self._idle.wait(seconds)

    def passed(self, direction: Direction, size: int, turned: bool) -> None:
        """`size` bytes went by; `turned` if the connection's previous chunk went the other way."""
        up, down = (size, 0) if direction is Direction.UP else (0, size)
        self._counts += Counts(up, down, int(turned))


@dataclass
class Conversation:
    """One connection's share of the ledger: it remembers who spoke last."""

    ledger: Ledger
    observe: Observer | None = None
    last: Direction | None = None

    def heard(self, direction: Direction, chunk: bytes) -> None:
        """Count a chunk and pass it to the observer. The first chunk counts as a turn."""
        self.ledger.passed(direction, len(chunk), direction is not self.last)
        self.last = direction
        if self.observe is not None:
            self.observe(direction, chunk)
