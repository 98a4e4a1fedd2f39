"""Sketches in a session: how much of one is asked for, and what its answers say.

The responder holds each sketch it showed at one moment for the whole session, and so does the
initiator: symbols of two moments of one set do not decode.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from setsync.limits import HELD_SKETCHES, MAX_ENCODED_IDS
from setsync.reconcile.peel import Complete, Decoder, Hostile, NeedMore
from setsync.reconcile.policy import FIRST_COUNTS, FIRST_SUMS, MARGIN
from setsync.reconcile.questions import Answer, AskSketch, Range
from setsync.reconcile.sketch import (
    I64,
    SketchKey,
    Symbols,
    estimate_difference,
    symbols_for,
)
from setsync.reconcile.symbolwire import (
    CHECK_BYTES,
    SUM_BYTES,
    pack_counts,
    pack_sums,
    unpack_counts,
    unpack_sums,
)
from setsync.reconcile.view import CELLS, SetView

_CELL_BYTES = SUM_BYTES + CHECK_BYTES
_REQUESTS = 4


def is_sketched(view: SetView, prefix: str) -> bool:
    """Whether a range's sketch may be asked for: that of a whole collection, one that is kept,
    and one of at most MAX_ENCODED_IDS ids."""
    return not prefix or view.summary(prefix).count <= MAX_ENCODED_IDS or view.keeps_sketch(prefix)


class Held:
    """The sketches of one session, each as it was when first asked for.

    `encoded` counts the ids whose encoding that took; a sketch that is kept is as much work as
    its cells.
    """

    def __init__(self) -> None:
        self.encoded = 0
        self._symbols: OrderedDict[Range, Symbols] = OrderedDict()

    def get(self, place: Range, view: SetView) -> Symbols | None:
        """The sketch of a range, or None where it is not sketched. The one unused for longest
        goes first: asked about again, it would be of another moment and not decode, and its
        range would be split.
        """
        symbols = self._symbols.get(place)
        if symbols is None:
            if not is_sketched(view, place.prefix):
                return None
            count = view.summary(place.prefix).count
            self.encoded += min(count, CELLS) if view.keeps_sketch(place.prefix) else count
            symbols = view.sketch(place.prefix)
        self._symbols[place] = symbols
        self._symbols.move_to_end(place)
        while len(self._symbols) > HELD_SKETCHES:
            self._symbols.popitem(last=False)
        return symbols


def answer_sketch(question: AskSketch, symbols: Symbols) -> Answer:
    """The responder's part. Cell 0 holds every id, so its count is the set's size."""
    size = int(symbols.counts[0])
    sums = pack_sums(symbols.slice(question.start, question.stop))
    counts = b""
    if question.known < question.counted:
        counts = pack_counts(symbols.slice(question.known, question.counted), size)
    return Answer((size,), sums + counts)


@dataclass
class Talk:
    """The initiator's part: one range's sketch, asked for in up to four growing pieces.

    `expected` is a difference to size the first piece by, or None. `local` is our sketch;
    `have` counts the cells that came.
    """

    place: Range
    local: Symbols
    expected: float | None = None
    size: int = 0
    _counts: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    _decoder: Decoder = field(init=False)
    _asked: AskSketch | None = None
    _requests: int = 0

    def __post_init__(self) -> None:
        self._decoder = Decoder(SketchKey.UNIVERSAL)
        self.have = 0

    def ask(self) -> AskSketch | None:
        """The next piece to ask for; None when the sketch has no more to give."""
        stop, counted = self._next_size()
        if self._requests == _REQUESTS or stop <= self.have:
            return None
        self._requests += 1
        known = len(self._counts)
        self._asked = AskSketch(self.place, self.have, stop, known, max(known, counted))
        return self._asked

    def _next_size(self) -> tuple[int, int]:
        """Cells whose sums, and cells whose counts, are wanted after the next piece."""
        if self.expected is None and not self._requests:
            return FIRST_SUMS, FIRST_COUNTS
        expected = self.estimate()
        if len(self._counts) <= FIRST_COUNTS:
            stop = symbols_for(math.ceil(MARGIN * expected))
        else:
            # Three deviations of an estimate from so many counts; and more if that failed too.
            doubt = 1 + 3 * math.sqrt(2 / len(self._counts)) + 0.5 * (self._requests - 2)
            stop = max(symbols_for(math.ceil(doubt * expected), 99), self.have * 5 // 4)
        stop = min(CELLS, max(stop, self.have + FIRST_SUMS))
        return stop, stop

    def estimate(self) -> float:
        """The difference, as far as is known."""
        if not len(self._counts):
            return self.expected or 0.0
        mine = self.local.counts[: len(self._counts)]
        surplus = self.size - int(self.local.counts[0])
        return max(1.0, estimate_difference(self._counts - mine, 0, surplus))

    def take(self, given: Answer) -> Complete | NeedMore | Hostile:
        """Take an answer and peel on. Raises ValueError for one that does not fit."""
        asked = self._asked
        assert asked is not None
        if len(given.numbers) != 1 or (len(self._counts) and given.numbers[0] != self.size):
            raise ValueError("a sketch comes with one size, and always the same")
        self.size = given.numbers[0]
        split = _CELL_BYTES * (asked.stop - asked.start)
        counts = given.blob[split:]
        if asked.known < asked.counted:
            more = unpack_counts(counts, asked.known, asked.counted, self.size)
            self._counts = np.concatenate([self._counts, more])
        elif counts:
            raise ValueError("counts came that were not asked for")
        part = unpack_sums(
            given.blob[:split],
            asked.start,
            self._counts[asked.start : asked.stop],
            SketchKey.UNIVERSAL,
        )
        self.have = asked.stop
        return self._decoder.feed(part - self.local.slice(asked.start, asked.stop))
