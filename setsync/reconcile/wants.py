"""Naming ids that the other side has: all of a range, keyed and cut, by short id, or whole.

| kind | what the values are |
|---|---|
| 0 | none: every id of the range |
| 1 to 64 | ids under the pass's key (`idlist.keyed_ids`), cut to so many bits |
| 100 | short ids: the first 8 bytes of ids |
| 255 | whole ids |

A value names every id of the range that has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from setsync.limits import MAX_LIST_IDS, MAX_WANTED_IDS
from setsync.reconcile.idlist import decode_ids, encode_ids, keyed_ids, truncate
from setsync.reconcile.questions import Range, read_prefix, wire_prefix
from setsync.reconcile.sketch import U64, short_prefix
from setsync.reconcile.view import IdArray, SetView, id_array

ALL = 0
SHORT_IDS = 100
WHOLE_IDS = 255
_SHORT_BITS = 64

WireWant = tuple[int, bytes, int, int, bytes]
"""collection, prefix, kind, how many, values."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Ids the responder has and we lack. `count` is how many, as far as is known."""

    range: Range
    kind: int
    count: int
    values: bytes = b""

    def to_wire(self) -> WireWant:
        """The tuple that travels."""
        return (
            self.range.collection,
            wire_prefix(self.range.prefix),
            self.kind,
            self.count if self.kind != ALL else 0,
            self.values,
        )

    @classmethod
    def from_wire(cls, wire: WireWant) -> Wanted:
        """Raises ValueError for what `to_wire` never makes."""
        collection, prefix, kind, count, values = wire
        wanted = cls(Range(collection, read_prefix(prefix)), kind, count, values)
        if kind == ALL and (count or values):
            raise ValueError("All of a range is wanted, and yet values are given.")
        if count > MAX_WANTED_IDS:
            raise ValueError(f"One item names at most {MAX_WANTED_IDS} ids, this one {count}.")
        if kind == WHOLE_IDS:
            if len(values) != 32 * count:
                raise ValueError("Whole ids have 32 bytes each.")
        elif kind != ALL:
            wanted.numbers()
        return wanted

    def numbers(self) -> U64:
        """The values as sorted numbers (n,). Raises ValueError."""
        bits = _SHORT_BITS if self.kind == SHORT_IDS else self.kind
        if not 1 <= bits <= _SHORT_BITS:
            raise ValueError(f"There is no kind {self.kind} of wanting.")
        return decode_ids(self.values, self.count, bits)


def want_numbers(place: Range, kind: int, values: U64) -> Iterator[Wanted]:
    """Wants for sorted numbers, in pieces that fit into a message."""
    bits = _SHORT_BITS if kind == SHORT_IDS else kind
    for at in range(0, len(values), MAX_WANTED_IDS):
        part = values[at : at + MAX_WANTED_IDS]
        yield Wanted(place, kind, len(part), encode_ids(part, bits))


def want_ids(place: Range, ids: IdArray) -> Iterator[Wanted]:
    """Wants for whole ids, in pieces."""
    for at in range(0, len(ids), MAX_WANTED_IDS):
        part = ids[at : at + MAX_WANTED_IDS]
        yield Wanted(place, WHOLE_IDS, len(part), part.tobytes())


def resolve(wanted: Wanted, view: SetView, key: bytes) -> IdArray:
    """The ids that a want with values names here; values of nothing here name nothing."""
    if wanted.kind == WHOLE_IDS:
        rows = id_array(wanted.values)
        return id_array(b"".join(view.ids(row.tobytes().hex()).tobytes() for row in rows))
    if wanted.kind == SHORT_IDS:
        return by_short_id(view, wanted.numbers())
    named, shift = wanted.numbers(), np.uint64(64 - wanted.kind)
    found = [
        ids[np.isin(keyed_ids(ids, key) >> shift, named)].tobytes()
        for ids in _in_parts(view, wanted.range.prefix)
    ]
    return id_array(b"".join(found))


def by_short_id(view: SetView, values: U64) -> IdArray:
    """The ids (n, 32) that begin with any of these 8 bytes, in their order."""
    return id_array(b"".join(view.ids(short_prefix(value)).tobytes() for value in values.tolist()))


def list_ids(ids: IdArray, bits: int, key: bytes) -> tuple[U64, IdArray]:
    """Ids under the pass's key, cut to `bits` and sorted; and the ids in that order."""
    values, order = truncate(keyed_ids(ids, key), bits)
    return values, ids[order]


def _in_parts(view: SetView, prefix: str) -> Iterator[IdArray]:
    """The ids of a range, which may have outgrown a list since, a bounded number at a time."""
    ids = view.ids(prefix, b"", MAX_LIST_IDS)
    while len(ids):
        yield ids
        ids = view.ids(prefix, ids[-1].tobytes(), MAX_LIST_IDS)
