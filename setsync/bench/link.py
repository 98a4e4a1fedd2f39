"""A slow line as arithmetic: how long a chunk takes, given a round-trip time and a rate.

Pure: time is passed in. `proxy` waits as long as this says.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

LARGEST_CHUNK = 65_536
SMALLEST_CHUNK = 1_460
CHUNK_SECONDS = 0.01
QUEUE_BYTES = 65_536
UNRATED_BUFFER_BYTES = 4_194_304
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_BITS = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}


@dataclass(frozen=True)
class Link:
    """A line to pretend: `rtt` seconds there and back, `rate` bits per second each way.

    Not modelled: loss, TCP's slow start, and the headers below TCP. The opening handshake of a
    connection costs one `rtt`, as it does on a real line.
    """

    rtt: float = 0.0
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.rtt < 0 or (self.rate is not None and self.rate <= 0):
            raise ValueError(f"a link needs rtt >= 0 and rate > 0, found {self}")

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to pretend."""
        return self.rtt == 0 and self.rate is None

    @property
    def chunk_bytes(self) -> int:
        """How much to read at once: 10 ms of line, so that a chunk does not arrive as a lump."""
        if self.rate is None:
            return LARGEST_CHUNK
        return max(SMALLEST_CHUNK, min(LARGEST_CHUNK, int(self.rate / 8 * CHUNK_SECONDS)))

    @property
    def buffer_bytes(self) -> int:
        """How many bytes one direction may hold: what is in flight plus a router's queue.

        Without a rate the bound caps the throughput at buffer / (rtt / 2); 4 MiB is 80 MiB/s at
        100 ms, more than two nodes on one machine reach.
        """
        if self.rate is None:
            return UNRATED_BUFFER_BYTES
        return QUEUE_BYTES + int(self.rate / 8 * self.rtt / 2)


@dataclass
class Line:
    """The clock of one direction of a link. Time is passed in, in seconds of any origin."""

    link: Link
    free_at: float = field(default=-math.inf)

    def due(self, now: float, size: int) -> float:
        """When a chunk of `size` bytes that is ready at `now` reaches the far end.

        It leaves after those before it and after its own bits, and then travels half an rtt.
        """
        seconds = 0.0 if self.link.rate is None else size * 8 / self.link.rate
        self.free_at = max(now, self.free_at) + seconds
        return self.free_at + self.link.rtt / 2


def parse_duration(text: str) -> float:
    """'100ms', '0.1s' or '250us' in seconds. Raises ValueError for anything else."""
    return _parse_quantity(text, _SECONDS, "a duration such as 100ms")


def parse_rate(text: str) -> float:
    """'10mbit', '256kbit' or '1gbit' in bits per second. Raises ValueError for anything else."""
    return _parse_quantity(text, _BITS, "a rate such as 10mbit")


def _parse_quantity(text: str, units: dict[str, float], wanted: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
    if found is None or found[2] not in units:
        raise ValueError(f"expected {wanted} with a unit of {', '.join(units)}, found {text!r}")
    return float(found[1]) * units[found[2]]
