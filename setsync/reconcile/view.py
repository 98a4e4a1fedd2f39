"""What the algorithm asks of a set: a handful of questions about ranges, and their laws.

A range is a prefix, up to 64 lower-case hex digits; `""` is the whole set. All answers of
one view speak of one moment. The laws, which the tests check on every implementation:

- **order**: `ids` are strictly ascending and begin with the prefix;
- **count**: `summary(p).count` is the number of `ids(p)`;
- **children**: the counts of `children(p)` add up to that of p, and each equals
  `summary(p + digit)`;
- **digest**: `summary(p).digest` is what `digest.summarise` says of `ids(p)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from setsync.reconcile.digest import EMPTY, FANOUT, Summary

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    IdArray: TypeAlias = npt.NDArray[np.uint8]
else:
    # Loading numpy takes longer than all else that `setsync status` does, without any ids.
    IdArray = Any
"""Ids as rows: shape (n, 32), sorted."""


class SetView(Protocol):
    """One collection's ids at one moment."""

    def summary(self, prefix: str) -> Summary:
        """Count and digest of the range."""

    def children(self, prefix: str) -> Sequence[Summary]:
        """The summaries of the 16 ranges one digit further. At most 63 digits may be given."""

    def ids(self, prefix: str, after: bytes = b"", limit: int | None = None) -> IdArray:
        """The ids of the range in order; those above `after`, and at most `limit` of them."""


def id_array(joined: bytes) -> IdArray:
    """Joined 32-byte ids as rows."""
    import numpy as np

    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, 32)


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
