"""Which way to close a range is cheapest, in bytes.

With nothing known but both counts n_a and n_b, a range is closed by a list of the other
side's n_b ids at LABEL_BYTES each, whatever differs. Splitting pays a round trip and the
summaries of the children, and then again for each child that differs; of 16 children,
16 (1 - (15/16)^d) do when d ids differ. |n_a - n_b| is a lower bound of d, and the only
estimate that counts alone give.
"""

from __future__ import annotations

import enum

from setsync.reconcile.digest import FANOUT, MAX_DEPTH

# A summary on the wire: 8 bytes of label and a count of 1 to 5 bytes.
SUMMARY_BYTES = 11
LABEL_BYTES = 8
# What a round trip may cost in bytes to be worth saving: what a line of 10 Mbit/s carries
# in 1 ms. Raising it trades bandwidth for time on slow lines.
ROUND_BYTES = 1_250
# A list longer than this is not asked for, whatever the model says: the responder has to
# read the range in one snapshot and put it into one frame.
MOST_LISTED = 16_384


class Closer(enum.Enum):
    """How a range that differs is dealt with."""

    PUSH_ALL = "push all"
    WANT_ALL = "want all"
    LIST = "list"
    SPLIT = "split"
    SPLIT_TWICE = "split twice"


def choose(mine: int, theirs: int, depth: int) -> Closer:
    """The closer for a range that differs: `mine` ids here, `theirs` there, at `depth`."""
    if not theirs:
        return Closer.PUSH_ALL
    if not mine:
        return Closer.WANT_ALL
    if depth + 2 > MAX_DEPTH:
        return Closer.LIST
    known = max(1, abs(mine - theirs))
    once = split_bytes(theirs, known, FANOUT)
    twice = split_bytes(theirs, known, FANOUT * FANOUT)
    if theirs <= MOST_LISTED and theirs * LABEL_BYTES <= min(once, twice):
        return Closer.LIST
    return Closer.SPLIT_TWICE if twice < once else Closer.SPLIT


def split_bytes(listed: int, differing: int, fanout: int) -> float:
    """Expected bytes of splitting a range into `fanout` and going on until lists are cheaper.

    Each level keeps min(differing, ranges) ranges open. The recursion ends where a list of
    one open range costs no more than its next split.
    """
    total = 0.0
    open_ranges = 1.0
    size = float(listed)
    while True:
        total += ROUND_BYTES + open_ranges * fanout * SUMMARY_BYTES
        ranges = open_ranges * fanout
        still = ranges * (1 - (1 - 1 / ranges) ** differing)
        open_ranges, size = max(1.0, still), size / fanout
        if size * LABEL_BYTES <= ROUND_BYTES + FANOUT * SUMMARY_BYTES:
            return total + open_ranges * size * LABEL_BYTES
