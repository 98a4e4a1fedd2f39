"""What the algorithm asks of a set: a handful of questions about ranges, and their laws.

A range is a prefix, up to 64 lower-case hex digits; `""` is the whole set. All answers of
one view speak of one moment. The laws, which the tests check on every implementation:

- **order**: `ids` are strictly ascending and begin with the prefix;
- **count**: `summary(p).count` is the number of `ids(p)`;
- **children**: the counts of `children(p)` add up to that of p, and each equals
  `summary(p + digit)`;
- **sketch**: `sketch(p)` is what `encode` makes of the short ids of `ids(p)`;
- **digest**: `summary(p).digest` is what `digest.summarise` says of `ids(p)`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from setsync.reconcile.digest import (
    EMPTY,
    FANOUT,
    LEAF_CAPACITY,
    Summary,
    highest,
    lowest,
    summarise,
    summarise_children,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from setsync.reconcile.sketch import Symbols

    IdArray: TypeAlias = npt.NDArray[np.uint8]
else:
    # Loading numpy takes longer than all else that `setsync status` does, without any ids.
    IdArray = Symbols = Any
"""Ids as rows: shape (n, 32), sorted."""

CELLS = 8_192
"""Coded symbols of a range that there are: a difference of 5,900 decodes from so many."""


class SetView(Protocol):
    """One collection's ids at one moment."""

    def summary(self, prefix: str) -> Summary:
        """Count and digest of the range."""

    def children(self, prefix: str) -> Sequence[Summary]:
        """The summaries of the 16 ranges one digit further. At most 63 digits may be given."""

    def ids(self, prefix: str, after: bytes = b"", limit: int | None = None) -> IdArray:
        """The ids of the range in order; those above `after`, and at most `limit` of them."""

    def sketch(self, prefix: str) -> Symbols:
        """The first CELLS coded symbols of the range, under the universal key. Not to be
        changed: others may hold the same."""

    def keeps_sketch(self, prefix: str) -> bool:
        """Whether that is at hand; else it takes reading and encoding all ids of the range."""


def id_array(joined: bytes) -> IdArray:
    """Joined 32-byte ids as rows."""
    import numpy as np

    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, 32)


def encode_view(view: SetView, prefix: str) -> Symbols:
    """A range's sketch, from its ids: about 0.7 us an id."""
    from setsync.reconcile.sketch import SketchKey, encode, short_ids

    return encode(short_ids(view.ids(prefix)), 0, CELLS, SketchKey.UNIVERSAL)


class EmptyView:
    """The `SetView` of a collection that is not here."""

    def summary(self, prefix: str) -> Summary:
        """Nothing."""
        return EMPTY

    def children(self, prefix: str) -> Sequence[Summary]:
        """Sixteen times nothing."""
        return [EMPTY] * FANOUT

    def ids(self, prefix: str, after: bytes = b"", limit: int | None = None) -> IdArray:
        """No rows."""
        return id_array(b"")

    def sketch(self, prefix: str) -> Symbols:
        """Zeros."""
        from setsync.reconcile.sketch import SketchKey, Symbols

        return Symbols.empty(0, CELLS, SketchKey.UNIVERSAL)

    def keeps_sketch(self, prefix: str) -> bool:
        """There is nothing to keep."""
        return False


class ListView:
    """A `SetView` of a list of ids, computed straight from the definitions."""

    def __init__(self, ids: Sequence[bytes], capacity: int = LEAF_CAPACITY) -> None:
        self._capacity = capacity
        self._ids = sorted(ids)

    def summary(self, prefix: str) -> Summary:
        """Computed from the definition."""
        return summarise(self._range(prefix), len(prefix), self._capacity)

    def children(self, prefix: str) -> Sequence[Summary]:
        """Computed from the definition."""
        return summarise_children(self._range(prefix), len(prefix), self._capacity)

    def ids(self, prefix: str, after: bytes = b"", limit: int | None = None) -> IdArray:
        """A slice of the list."""
        found = [id_ for id_ in self._range(prefix) if id_ > after]
        return id_array(b"".join(found[:limit]))

    def sketch(self, prefix: str) -> Symbols:
        """Encoded afresh."""
        return encode_view(self, prefix)

    def keeps_sketch(self, prefix: str) -> bool:
        """None is kept."""
        return False

    def count(self, prefix: str) -> int:
        """How many ids of the range there are, and no digest of them."""
        return len(self._places(prefix))

    def _range(self, prefix: str) -> list[bytes]:
        places = self._places(prefix)
        return self._ids[places.start : places.stop]

    def _places(self, prefix: str) -> range:
        low = bisect_left(self._ids, lowest(prefix))
        return range(low, bisect_right(self._ids, highest(prefix)))
