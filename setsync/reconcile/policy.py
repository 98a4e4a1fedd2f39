"""Which way to close a range is cheapest: a model of bytes and round trips.

Let n_a and n_b be the ids here and there, and d how many differ, as far as is known: at
least |n_a - n_b|, and about what a sketch's counts said, once they did.

| closer | bytes |
|---|---|
| entries | none, when one side is empty |
| list | n_b (log2 n_a + SPARE + 1.5) / 8 |
| sketch, first | FIRST_SUMS symbols and FIRST_COUNTS counts: finds 5, or what d is |
| sketch, sized | SYMBOL_BYTES for each of symbols_for(d), about 1.4 d |
| split in sketches | 16 sketches for d / 16 each, when one has not cells enough |
| split | summaries of 16 or 256 children, then again for each that differs |

(A list's ids are cut to log2(n_a n_b) + SPARE bits, of which Golomb-Rice coding of sorted
values saves log2 n_b - 1.5.)

A round trip counts as ROUND_BYTES. With d unknown, a sketch is tried first unless a list
costs less than two first sketches: whatever d turns out to be, that is at most half more
than the better of the two would have cost.
"""

from __future__ import annotations

import enum
import math

from setsync.reconcile.digest import FANOUT, MAX_DEPTH
from setsync.reconcile.idlist import MAX_BITS, SPARE_BITS
from setsync.reconcile.sketch import symbols_for
from setsync.reconcile.view import CELLS

# A summary on the wire: 8 bytes of label and a count of 1 to 5 bytes.
SUMMARY_BYTES = 11
# Sum 8, checksum 4, count about 1.
SYMBOL_BYTES = 13
# 16 symbols decode a difference of 5 in 95 of 100 cases; 191 counts estimate any to a tenth.
FIRST_SUMS = 16
FIRST_COUNTS = 192
FIRST_BYTES = FIRST_SUMS * SYMBOL_BYTES + (FIRST_COUNTS - FIRST_SUMS) * 5 // 4 + 20
# An estimate from 191 counts has a deviation of 0.10 d: this much more suffices in 3 of 4
# cases, and the fourth asks again with a far better estimate. A larger margin would save it
# that round trip and cost all of them its bytes, in proportion to how far each is off.
MARGIN = 1.07
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
    SKETCH = "sketch"
    SPLIT_SKETCH = "split in sketches"
    SPLIT = "split"
    SPLIT_TWICE = "split twice"


def choose(
    mine: int,
    theirs: int,
    depth: int,
    expected: float | None = None,
    *,
    cells: int = 0,
    sketches: bool = True,
    certain: bool = False,
) -> Closer:
    """The closer for a range that differs: `mine` ids here, `theirs` there, at `depth` digits.

    `expected` is the estimated difference, once there is one; `cells` how many symbols are
    here already; `sketches` whether they may still be used on this range; `certain` whether
    lists have to be of 64 bits.
    """
    if not theirs:
        return Closer.PUSH_ALL
    if not mine:
        return Closer.WANT_ALL
    if depth + 2 > MAX_DEPTH:
        return Closer.LIST
    known = max(1, abs(mine - theirs))
    listing = list_bytes(mine, theirs, certain) if theirs <= MOST_LISTED else math.inf
    if not sketches:
        return _by_splitting(mine, theirs, known, listing)
    if expected is None:
        lucky = FIRST_BYTES + sketch_bytes(known)
        return Closer.LIST if listing <= max(2 * FIRST_BYTES, lucky) else Closer.SKETCH
    sized = sketch_bytes(max(known, expected))
    if listing <= sized - SYMBOL_BYTES * cells:
        return Closer.LIST
    if symbols_for(math.ceil(MARGIN * max(known, expected))) <= CELLS:
        return Closer.SKETCH
    return Closer.SPLIT_SKETCH


def list_bytes(mine: int, theirs: int, certain: bool = False) -> float:
    """What a list of the responder's ids takes."""
    bits = MAX_BITS if certain else math.log2(max(2, mine) * max(2, theirs)) + SPARE_BITS
    return 16 + theirs * (bits - math.log2(max(2, theirs)) + 1.5) / 8


def sketch_bytes(expected: float) -> float:
    """What the symbols for a difference take."""
    return 16 + SYMBOL_BYTES * symbols_for(math.ceil(MARGIN * expected))


def _by_splitting(mine: int, theirs: int, known: int, listing: float) -> Closer:
    once = split_bytes(mine, theirs, known, FANOUT)
    twice = split_bytes(mine, theirs, known, FANOUT * FANOUT)
    if listing <= min(once, twice):
        return Closer.LIST
    return Closer.SPLIT_TWICE if twice < once else Closer.SPLIT


def split_bytes(mine: int, listed: int, differing: int, fanout: int) -> float:
    """Expected bytes of splitting a range into `fanout` and going on until lists are cheaper.

    Of r ranges, r (1 - (1 - 1/r)^d) are still open when d ids differ, and no more than we
    have ids: where nothing is here, all is wanted. The sum ends where a list of one open
    range costs no more than its next split.
    """
    total = 0.0
    open_ranges = 1.0
    size = float(listed)
    while True:
        total += ROUND_BYTES + open_ranges * fanout * SUMMARY_BYTES
        ranges = open_ranges * fanout
        still = min(ranges * (1 - (1 - 1 / ranges) ** differing), float(mine))
        open_ranges, size = max(1.0, still), size / fanout
        each = list_bytes(math.ceil(size), math.ceil(size))
        if each <= ROUND_BYTES + FANOUT * SUMMARY_BYTES:
            return total + open_ranges * each
