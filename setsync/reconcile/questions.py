"""What the initiator may ask about a range, and the answers, as values and as wire tuples.

The initiator asks and decides; the responder looks the answer up. So nothing a responder
keeps can go stale (but for sketches, which it holds at one moment for the whole session), and
nothing an initiator sends makes a responder ask anything.

| kind | arguments | answer: numbers | answer: blob |
|---|---|---|---|
| 1 CHILDREN | levels (1, 2), width | 16 or 256 counts | labels of the children's digests |
| 2 LIST | bits (0: whole ids) | how many | the ids of the range, coded; none if over 24,576 |
| 3 SKETCH | start, stop, known, counted | size of the set | see below |

The blob of a sketch holds the sums of cells start..stop-1, then the counts of cells
known..counted-1: counts may have gone ahead of their sums.

An initiator that lists its own ids instead would save nothing: to n_a ids of its own come
those that it lacks, at least n_b - n_a, so it is never fewer bytes than the n_b ids of LIST.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from setsync.reconcile.digest import MAX_DEPTH, pack_prefix
from setsync.reconcile.idlist import MAX_BITS
from setsync.reconcile.labels import FULL, SHORT
from setsync.reconcile.view import CELLS

WHOLE = 0
"""In place of a list's bits: the ids themselves."""

WireQuestion = tuple[int, int, bytes, tuple[int, ...]]
"""kind, collection, prefix, arguments."""
WireAnswer = tuple[tuple[int, ...], bytes]
"""numbers, blob."""

_CHILDREN, _LIST, _SKETCH = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Range:
    """A prefix of one collection; collections are numbered by the responder's listing."""

    collection: int
    prefix: str


@dataclass(frozen=True, slots=True)
class AskChildren:
    """Summaries of the ranges `levels` digits further."""

    range: Range
    levels: int
    width: int


@dataclass(frozen=True, slots=True)
class AskList:
    """Which ids have you? Each under the session's key, cut to `bits`, or whole."""

    range: Range
    bits: int


@dataclass(frozen=True, slots=True)
class AskSketch:
    """Sums of cells start..stop-1, and counts of cells known..counted-1."""

    range: Range
    start: int
    stop: int
    known: int
    counted: int


Question = AskChildren | AskList | AskSketch


@dataclass(frozen=True, slots=True)
class Answer:
    """Numbers and bytes, whose meaning depends on the question."""

    numbers: tuple[int, ...] = ()
    blob: bytes = b""

    def to_wire(self) -> WireAnswer:
        """The tuple that travels."""
        return self.numbers, self.blob


def to_wire(question: Question) -> WireQuestion:
    """The tuple that travels."""
    where = question.range.collection, wire_prefix(question.range.prefix)
    match question:
        case AskChildren(_, levels, width):
            return (_CHILDREN, *where, (levels, width))
        case AskList(_, bits):
            return (_LIST, *where, (bits,))
        case AskSketch(_, start, stop, known, counted):
            return (_SKETCH, *where, (start, stop, known, counted))
        case _:
            assert_never(question)


def from_wire(wire: WireQuestion) -> Question:
    """Raises ValueError for anything that `to_wire` never makes."""
    kind, collection, prefix, arguments = wire
    place = Range(collection, read_prefix(prefix))
    match (kind, *arguments):
        case (1, 1 | 2 as levels, (8 | 32) as width) if len(place.prefix) + levels <= MAX_DEPTH:
            assert width in (SHORT, FULL)
            return AskChildren(place, levels, width)
        case (2, bits) if 0 <= bits <= MAX_BITS:
            return AskList(place, bits)
        case (3, start, stop, known, counted) if (
            start <= stop <= counted <= CELLS and known <= counted
        ):
            return AskSketch(place, start, stop, known, counted)
    raise ValueError(f"There is no question of kind {kind} with arguments {arguments} like this.")


def wire_prefix(prefix: str) -> bytes:
    """Number of digits 1 | the digits, two a byte, an odd last one filled up with 0."""
    return bytes([len(prefix)]) + pack_prefix(prefix)


def read_prefix(wire: bytes) -> str:
    """The reverse of `wire_prefix`. Raises ValueError unless it is what that writes."""
    if not wire or wire[0] > MAX_DEPTH:
        raise ValueError("A prefix has 0 to 64 digits.")
    prefix = wire[1:].hex()[: wire[0]]
    if wire_prefix(prefix) != wire:
        raise ValueError("A prefix has as many digits as it says, and a 0 to fill up.")
    return prefix
