"""A log as its branches: nodes in, by number; runs of entries that simply follow out.

A run ends where nothing follows, where the log parts, at an end-of-log marker, and where
what follows looks different (has another standing, say). One pass; what is remembered is
one run for each branch that is open at the number that is looked at.

Pure: what an entry looks like is the caller's, and only compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Generic, TypeVar

Look = TypeVar("Look", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Item(Generic[Look]):
    """An entry. `parent`: the id of the entry before, where the backlink leads there."""

    seq_num: int
    id: bytes
    parent: bytes | None
    look: Look
    end_of_log: bool = False
    withheld: bool = False


@dataclass(slots=True)
class Segment(Generic[Look]):
    """Entries `first` to `last`, each the only one that follows the one before.

    `number` counts segments as they begin, from 0, by first number and id; `parent` is the
    segment that this one follows. Without one it is entry 1, or an island: then the
    highest number here below `first` is `before`. `followers` is the number of segments
    that follow: none, it ends in a head; one, it goes on there; more, the log parts.
    """

    number: int
    parent: int | None
    before: int
    first: int
    last: int
    first_id: bytes
    last_id: bytes
    look: Look
    ended: bool
    withheld: int
    followers: int = 0

    @property
    def entries(self) -> int:
        """How many it has."""
        return self.last - self.first + 1

    @property
    def is_island(self) -> bool:
        """Whether what it follows is not here, or not in its place."""
        return self.parent is None and self.first > 1


_BY_NUMBER = attrgetter("seq_num")


def segments(items: Iterable[Item[Look]]) -> Iterator[Segment[Look]]:
    """The segments of a log, in the order in which they end. `items` by number and id."""
    open_: dict[bytes, Segment[Look]] = {}  # by the id of their last entry
    begun = before = 0
    for seq_num, group in groupby(items, key=_BY_NUMBER):
        level = list(group)
        if seq_num != before + 1:
            yield from open_.values()
            open_ = {}
        followers = Counter(item.parent for item in level if item.parent is not None)
        now: dict[bytes, Segment[Look]] = {}
        for item in level:
            parent = open_.get(item.parent) if item.parent is not None else None
            if parent is not None and followers[parent.last_id] == 1 and _goes_on(parent, item):
                now[item.id] = open_.pop(parent.last_id)
                _extend(parent, item)
                continue
            if parent is not None:
                parent.followers += 1
            now[item.id] = _begin(begun, parent, before, item)
            begun += 1
        yield from open_.values()
        open_, before = now, seq_num
    yield from open_.values()


def _goes_on(segment: Segment[Look], item: Item[Look]) -> bool:
    return segment.look == item.look and not segment.ended


def _extend(segment: Segment[Look], item: Item[Look]) -> None:
    segment.last, segment.last_id = item.seq_num, item.id
    segment.ended = item.end_of_log
    segment.withheld += item.withheld


def _begin(
    number: int, parent: Segment[Look] | None, before: int, item: Item[Look]
) -> Segment[Look]:
    return Segment(
        number=number,
        parent=parent.number if parent is not None else None,
        before=before,
        first=item.seq_num,
        last=item.seq_num,
        first_id=item.id,
        last_id=item.id,
        look=item.look,
        ended=item.end_of_log,
        withheld=int(item.withheld),
    )
