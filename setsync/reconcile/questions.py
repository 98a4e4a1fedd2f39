"""What the initiator may ask about a range, and the answers, as values and as wire tuples.

The initiator asks and decides; the responder looks the answer up. So nothing a responder
keeps can go stale, and nothing an initiator sends makes a responder ask anything.

| kind | question | answer |
|---|---|---|
| 1 CHILDREN | levels (1 or 2), width | counts of the 16 or 256 ranges below, their labels |
| 2 LIST | width | labels of the responder's ids; their number alone if it is over 24,576 |

An initiator that lists its own ids instead would save nothing: to n_a ids of its own come
those that it lacks, at least n_b - n_a, so it is never fewer bytes than the n_b ids of LIST.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from setsync.reconcile.digest import MAX_DEPTH, pack_prefix
from setsync.reconcile.labels import FULL, SHORT

WireQuestion = tuple[int, int, bytes, int]
"""kind, collection, prefix, argument."""
WireAnswer = tuple[tuple[int, ...], bytes]
"""numbers, labels."""

_CHILDREN, _LIST = 1, 2


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
    """Which ids have you?"""

    range: Range
    width: int


Question = AskChildren | AskList


@dataclass(frozen=True, slots=True)
class Answer:
    """`numbers` are the counts of children; `labels` are joined."""

    numbers: tuple[int, ...] = ()
    labels: bytes = b""

    def to_wire(self) -> WireAnswer:
        """The tuple that travels."""
        return self.numbers, self.labels


def to_wire(question: Question) -> WireQuestion:
    """The tuple that travels."""
    where = question.range.collection, wire_prefix(question.range.prefix)
    match question:
        case AskChildren(_, levels, width):
            return (_CHILDREN, *where, width * levels)
        case AskList(_, width):
            return (_LIST, *where, width)
        case _:
            assert_never(question)


def from_wire(wire: WireQuestion) -> Question:
    """Raises ValueError for anything that `to_wire` never makes."""
    kind, collection, prefix, argument = wire
    place = Range(collection, read_prefix(prefix))
    if kind == _CHILDREN:
        for levels in (1, 2):
            for width in (SHORT, FULL):
                if argument == width * levels and len(place.prefix) + levels <= MAX_DEPTH:
                    return AskChildren(place, levels, width)
    if kind == _LIST and argument in (SHORT, FULL):
        return AskList(place, argument)
    raise ValueError(f"There is no question of kind {kind} with argument {argument} like this.")


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
