"""Naming ids that the other side has: all of a range, keyed and cut, by short id, or whole.

| kind | what the values are |
|---|---|
| 0 | none: every id of the range |
| 1 to 64 | ids under the pass's key (`idlist.keyed_ids`), cut to so many bits |
| 100 | short ids: the first 8 bytes of ids |
| 129 to 192 | as 1 to 64, and named is every id of the range that has none of them |
| 255 | whole ids |

A value names every id of the range that has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from setsync.limits import KIB, MAX_ARRAY, MAX_LIST_IDS, MAX_WANTED_IDS
from setsync.reconcile.digest import HEX
from setsync.reconcile.idlist import decode_ids, encode_ids, keyed_ids, truncate
from setsync.reconcile.questions import Range, read_prefix, wire_prefix
from setsync.reconcile.sketch import U64, short_ids, short_prefix
from setsync.reconcile.view import IdArray, SetView, id_array

ALL = 0
SHORT_IDS = 100
ALL_BUT = 128
"""Added to a number of bits."""
WHOLE_IDS = 255
_SHORT_BITS = 64
LOOKUP_IDS = 128
"""To look for one id takes as long as to read so many in order."""
# For what is left out. A wanted id agrees with one of them with probability count * 2^-40, and
# is then found in the next pass, which has another key.
_BUT_BITS = 40
_MESSAGE_BYTES = 256 * KIB
# Of an item besides its values, about.
_ITEM_BYTES = 48

WireWant = tuple[int, bytes, int, int, bytes]
"""collection, prefix, kind, how many, values."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Ids the responder has and we lack. `count` is how many, as far as is known and at least;
    `left_out` the number of values where these are what is not wanted."""

    range: Range
    kind: int
    count: int
    values: bytes = b""
    left_out: int = 0

    @property
    def is_all_but(self) -> bool:
        """Whether the values name what is not wanted."""
        return ALL_BUT < self.kind <= ALL_BUT + _SHORT_BITS

    @property
    def _listed(self) -> int:
        return self.left_out if self.is_all_but or self.kind == ALL else self.count

    def to_wire(self) -> WireWant:
        """The tuple that travels."""
        place = self.range
        return place.collection, wire_prefix(place.prefix), self.kind, self._listed, self.values

    @classmethod
    def from_wire(cls, wire: WireWant) -> Wanted:
        """Raises ValueError for what `to_wire` never makes."""
        collection, prefix, kind, count, values = wire
        wanted = cls(Range(collection, read_prefix(prefix)), kind, count, values)
        if wanted.is_all_but:
            wanted = replace(wanted, count=0, left_out=count)
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
        bits = self._bits
        if not 1 <= bits <= _SHORT_BITS:
            raise ValueError(f"There is no kind {self.kind} of wanting.")
        return decode_ids(self.values, self._listed, bits)

    @property
    def _bits(self) -> int:
        if self.kind == SHORT_IDS:
            return _SHORT_BITS
        return self.kind - ALL_BUT if self.is_all_but else self.kind


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
    if wanted.kind in (SHORT_IDS, WHOLE_IDS):
        return _by_ids(wanted, view)
    if wanted.is_all_but:
        but = But.of(wanted, key)
        parts = [but.keep(ids).tobytes() for ids in _in_parts(view, wanted.range.prefix)]
        return id_array(b"".join(parts))
    named, shift = wanted.numbers(), np.uint64(64 - wanted.kind)
    found = [
        ids[np.isin(keyed_ids(ids, key) >> shift, named)].tobytes()
        for ids in _in_parts(view, wanted.range.prefix)
    ]
    return id_array(b"".join(found))


def _by_ids(wanted: Wanted, view: SetView) -> IdArray:
    """The ids of the range that are named, or whose first 8 bytes are: each is looked for, or
    all of the range are read, whichever takes less."""
    prefix = wanted.range.prefix
    is_whole = wanted.kind == WHOLE_IDS
    short = np.unique(short_ids(id_array(wanted.values))) if is_whole else wanted.numbers()
    if LOOKUP_IDS * len(short) < view.summary(prefix).count:
        found = by_short_id(view, short, prefix)
    else:
        parts = _in_parts(view, prefix)
        found = id_array(b"".join(ids[np.isin(short_ids(ids), short)].tobytes() for ids in parts))
    if not is_whole:
        return found
    named = {row.tobytes() for row in id_array(wanted.values)}
    return id_array(b"".join(row.tobytes() for row in found if row.tobytes() in named))


def by_short_id(view: SetView, values: U64, prefix: str = "") -> IdArray:
    """The ids (n, 32) of a range that begin with any of these 8 bytes, in their order."""
    found: list[bytes] = []
    for begin in map(short_prefix, values.tolist()):
        if begin.startswith(prefix):
            found.append(view.ids(begin).tobytes())
        elif prefix.startswith(begin):
            found.append(view.ids(prefix).tobytes())
    return id_array(b"".join(found))


def list_ids(ids: IdArray, bits: int, key: bytes) -> tuple[U64, IdArray]:
    """Ids under the pass's key, cut to `bits` and sorted; and the ids in that order."""
    values, order = truncate(keyed_ids(ids, key), bits)
    return values, ids[order]


@dataclass(frozen=True, slots=True)
class But:
    """What of a whole range is not wanted, as an ALL_BUT want names it."""

    numbers: U64
    bits: int
    key: bytes

    @classmethod
    def of(cls, wanted: Wanted, key: bytes) -> But:
        """Raises ValueError for values that are none."""
        return cls(wanted.numbers(), wanted._bits, key)

    def keep(self, ids: IdArray) -> IdArray:
        """Those of the ids (n, 32) that are not left out."""
        keyed = keyed_ids(ids, self.key) >> np.uint64(64 - self.bits)
        return ids[~np.isin(keyed, self.numbers)]


def without(wanted: Wanted, ids: IdArray, key: bytes) -> Iterator[Wanted]:
    """A want, and none of these ids (n, 32) of its range; nothing is yielded if nothing is left.

    Where whole ids or values are named, they are taken out; with a short id also another id
    that begins with the same 8 bytes (grinding one costs its author 2^44 hashes). Of a whole
    range the ids are left out by name; too many for one item, of its sixteen parts.
    """
    if not len(ids):
        yield wanted
    elif wanted.kind == ALL:
        yield from _all_but(wanted.range, wanted.count, ids, key)
    elif wanted.kind == WHOLE_IDS:
        unwanted = {row.tobytes() for row in ids}
        rows = [row.tobytes() for row in id_array(wanted.values)]
        yield from want_ids(wanted.range, id_array(b"".join(r for r in rows if r not in unwanted)))
    else:
        yield from want_numbers(wanted.range, wanted.kind, _numbers_left(wanted, ids, key))


def _numbers_left(wanted: Wanted, ids: IdArray, key: bytes) -> U64:
    numbers = wanted.numbers()
    if wanted.kind == SHORT_IDS:
        return numbers[~np.isin(numbers, short_ids(ids))]
    return numbers[~np.isin(numbers, keyed_ids(ids, key) >> np.uint64(64 - wanted.kind))]


def _all_but(place: Range, count: int, ids: IdArray, key: bytes) -> Iterator[Wanted]:
    """`count` of the range's ids are there, some of `ids` among them."""
    if len(ids) <= MAX_WANTED_IDS:
        values, _ = list_ids(ids, _BUT_BITS, key)
        coded = encode_ids(values, _BUT_BITS)
        expected = max(0, count - len(ids))
        yield Wanted(place, ALL_BUT + _BUT_BITS, expected, coded, len(ids))
        return
    for digit in HEX:
        part = Range(place.collection, place.prefix + digit)
        inside = ids[_begins_with(ids, part.prefix)]
        if len(inside):
            yield from _all_but(part, 0, inside, key)
        else:
            yield Wanted(part, ALL, 0)


def _begins_with(ids: IdArray, prefix: str) -> NDArray[np.bool_]:
    """Which of the ids lie in a range, whose digits before the last all of them share."""
    at = len(prefix) - 1
    digits = ids[:, at // 2] >> np.uint8(0 if at % 2 else 4) & np.uint8(15)
    found: NDArray[np.bool_] = digits == int(prefix[-1], 16)
    return found


def _in_parts(view: SetView, prefix: str) -> Iterator[IdArray]:
    """The ids of a range, which may have outgrown a list since, a bounded number at a time."""
    ids = view.ids(prefix, b"", MAX_LIST_IDS)
    while len(ids):
        yield ids
        ids = view.ids(prefix, ids[-1].tobytes(), MAX_LIST_IDS)


# --- in messages --------------------------------------------------------------------------


def in_messages(wanted: Sequence[Wanted]) -> list[list[Wanted]]:
    """Cut into what one message holds each."""
    messages: list[list[Wanted]] = []
    part: list[Wanted] = []
    size = 0
    for want in wanted:
        part.append(want)
        size += len(want.values) + _ITEM_BYTES
        if size >= _MESSAGE_BYTES or len(part) == MAX_ARRAY:
            messages.append(part)
            part, size = [], 0
    if part:
        messages.append(part)
    return messages


def items_of(wanted: Sequence[Wanted]) -> tuple[WireWant, ...]:
    """As a message holds them."""
    return tuple(want.to_wire() for want in wanted)
