"""The Merkle trie as it is stored: inner nodes, and leaves that hold the members.

A range of at most `capacity` ids is a leaf: its ids in order, joined, then their arrival
numbers (8 bytes each) in the same order. A larger range is an inner node: the 16 packed
child summaries. So a leaf's first part and a whole inner node are exactly what
`reconcile.digest` hashes, and a summary of any prefix is one read, of its parent.

Leaves are the only place where membership is written; there is no second copy by id. This
module works on anything that stores nodes (`Nodes`) and knows neither LMDB nor names.
"""

from __future__ import annotations

import functools
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

from setsync.reconcile.digest import (
    CHILD_BYTES,
    COUNT_BYTES,
    EMPTY,
    HEX,
    LEAF_CAPACITY,
    Summary,
    cuts,
    highest,
    inner_digest,
    leaf_digest,
    lowest,
    summarise,
    summarise_children,
    unpack_children,
)
from setsync.reconcile.view import IdArray, encode_view, id_array

if TYPE_CHECKING:
    from setsync.reconcile.sketch import Symbols

ID_BYTES = 32
ARRIVAL_BYTES = 8
MEMBER_BYTES = ID_BYTES + ARRIVAL_BYTES

Member = tuple[bytes, bytes]
"""An id (32 bytes) and its arrival number (8 bytes, big-endian)."""


class Nodes(Protocol):
    """Where the nodes of one collection's trie are."""

    def get_inner(self, prefix: str) -> bytes | None:
        """The 640 bytes of an inner node, or None where there is none."""

    def get_inners(self, prefixes: Sequence[str]) -> Sequence[bytes | None]:
        """The same of many."""

    def get_leaves(self, prefixes: Sequence[str]) -> Sequence[bytes | None]:
        """The bytes of many leaves, None for those that are not there."""

    def put_inners(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """Store inner nodes, by their prefixes, over older ones."""

    def put_leaves(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """Store leaves, by their prefixes, over older ones."""

    def delete_leaf(self, prefix: str) -> None:
        """Forget the leaf, which has become an inner node."""

    def leaf_around(self, id_: bytes) -> bytes | None:
        """The last leaf, in the order of ids, whose range begins at or below `id_`, or None."""

    def leaves_from(self, id_: bytes) -> Iterator[bytes]:
        """That leaf, if there is one, and all after it, in order."""


# --- inserting ----------------------------------------------------------------------------


@dataclass(slots=True)
class _Inner:
    """An inner node that a batch reaches: the members [low, high) of the batch lie below it.
    Its summary stands at `at` in its parent."""

    prefix: str
    count: int
    low: int
    high: int
    parent: _Inner | None = None
    at: int = 0
    children: bytearray = field(default_factory=bytearray)
    grown: int = 0


class _Leaf(NamedTuple):
    """A range of at most a leaf's ids that the members [low, high) of a batch belong to."""

    prefix: str
    before: int
    low: int
    high: int
    parent: _Inner
    at: int


class Insertion:
    """One batch on its way into the trie, level by level: each touched node is read once and
    written once, and all of a level together.

    After `run`, `summary` is the new root and `added` holds the ids that were new.
    """

    def __init__(self, nodes: Nodes, root: Summary, capacity: int = LEAF_CAPACITY) -> None:
        self._nodes = nodes
        self._capacity = capacity
        self._members: Sequence[Member] = ()
        self._digits: list[str] = []
        self._new_inners: list[tuple[str, bytes]] = []
        self._new_leaves: list[tuple[str, bytes]] = []
        self.summary = root
        self.added: set[bytes] = set()

    def run(self, members: Sequence[Member]) -> None:
        """Insert `members`, sorted by id and distinct; those already there stay as they are."""
        if not members:
            return
        self._members = members
        self._digits = [id_.hex() for id_, _ in members]
        # The root has its summary in no parent; this stands in for one.
        above = _Inner("", 0, 0, len(members), children=bytearray(self.summary.pack()))
        inners, leaves = self._reach(above)
        self._grow(leaves)
        self._close(inners)
        self._nodes.put_leaves(self._new_leaves)
        # In the order of their keys, the upper levels first.
        self._nodes.put_inners(sorted(self._new_inners, key=_level_and_prefix))
        self.summary = Summary.unpack(above.children)

    # Down: what the batch touches.

    def _reach(self, above: _Inner) -> tuple[list[_Inner], list[_Leaf]]:
        """The inner nodes from the root down, parents first, and the leaves."""
        inners: list[_Inner] = []
        leaves: list[_Leaf] = []
        if self.summary.count <= self._capacity:
            return inners, [_Leaf("", self.summary.count, 0, above.high, above, 0)]
        level = [_Inner("", self.summary.count, 0, above.high, above)]
        while level:
            inners += level
            found = self._nodes.get_inners([inner.prefix for inner in level])
            below: list[_Inner] = []
            for inner, value in zip(level, found, strict=True):
                if value is None:
                    raise MissingNodeError(inner.prefix)
                inner.children += value
                self._part(inner, below, leaves)
            level = below
        return inners, leaves

    def _part(self, inner: _Inner, below: list[_Inner], leaves: list[_Leaf]) -> None:
        """The children of one inner node that members belong to."""
        digits, depth, high = self._digits, len(inner.prefix), inner.high
        low = inner.low
        while low < high:
            prefix = digits[low][: depth + 1]
            end = low + 1
            if end < high and digits[end].startswith(prefix):
                end = bisect_left(digits, prefix + _BEYOND, end + 1, high)
            at = int(prefix[-1], 16) * CHILD_BYTES
            count = int.from_bytes(inner.children[at : at + COUNT_BYTES], "big")
            if count > self._capacity:
                below.append(_Inner(prefix, count, low, end, inner, at))
            else:
                leaves.append(_Leaf(prefix, count, low, end, inner, at))
            low = end

    # Across: the leaves.

    def _grow(self, leaves: Sequence[_Leaf]) -> None:
        """Put the members into the leaves; the summaries of those that grew go to their parents."""
        capacity, members, added = self._capacity, self._members, self.added
        found = self._nodes.get_leaves([leaf.prefix for leaf in leaves])
        for (prefix, before, low, high, parent, place), value in zip(leaves, found, strict=True):
            count = before
            if len(value or b"") != before * MEMBER_BYTES:
                raise MissingNodeError(prefix)
            fields = list(_fields(before).unpack(value or b""))
            if high - low > capacity:
                fields = _joined(fields, members[low:high], added)
                count = len(fields) // 2
            else:
                for id_, arrival in members[low:high]:
                    at = bisect_left(fields, id_, 0, count)
                    if at == count or fields[at] != id_:
                        fields.insert(at, id_)
                        count += 1
                        fields.insert(count + at, arrival)
                        added.add(id_)
            if count == before:
                continue
            parent.grown += count - before
            if count > capacity:
                if value:
                    self._nodes.delete_leaf(prefix)
                summary = self._build(prefix, fields[:count], fields[count:])
            else:
                summary = self._build_leaf(prefix, count, b"".join(fields))
            parent.children[place : place + CHILD_BYTES] = summary

    def _build(self, prefix: str, ids: list[bytes], arrivals: list[bytes]) -> bytes:
        """A subtree that is not there yet; its packed summary.

        The recursion is at most 64 deep: at depth 64 a range holds one id at most, so it is
        a leaf.
        """
        if not ids:
            return _EMPTY
        if len(ids) <= self._capacity:
            return self._build_leaf(prefix, len(ids), b"".join(ids + arrivals))
        children = b"".join(
            self._build(prefix + digit, ids[low:high], arrivals[low:high])
            for digit, (low, high) in zip(HEX, pairwise(cuts(ids, len(prefix))), strict=True)
        )
        return self._build_inner(prefix, len(ids), children)

    def _build_leaf(self, prefix: str, count: int, value: bytes) -> bytes:
        self._new_leaves.append((prefix, value))
        return count.to_bytes(COUNT_BYTES, "big") + leaf_digest(value[: count * ID_BYTES])

    def _build_inner(self, prefix: str, count: int, children: bytes) -> bytes:
        self._new_inners.append((prefix, children))
        return count.to_bytes(COUNT_BYTES, "big") + inner_digest(children)

    # Up: the inner nodes.

    def _close(self, inners: Sequence[_Inner]) -> None:
        """Digests of the inner nodes below which something grew, children first."""
        for inner in reversed(inners):
            parent = inner.parent
            if inner.grown and parent is not None:
                parent.grown += inner.grown
                count = inner.count + inner.grown
                summary = self._build_inner(inner.prefix, count, bytes(inner.children))
                parent.children[inner.at : inner.at + CHILD_BYTES] = summary


_EMPTY = EMPTY.pack()
# Behind every digit.
_BEYOND = "g"


def _level_and_prefix(row: tuple[str, bytes]) -> tuple[int, str]:
    return len(row[0]), row[0]


@functools.cache
def _fields(count: int) -> struct.Struct:
    """The ids and the arrival numbers of a leaf."""
    return struct.Struct(f"{ID_BYTES}s" * count + f"{ARRIVAL_BYTES}s" * count)


def _joined(fields: Sequence[bytes], members: Sequence[Member], added: set[bytes]) -> list[bytes]:
    """The fields of a leaf and of many members, of which `added` gets the ids that are new."""
    before = len(fields) // 2
    arrivals = dict(members)
    added |= arrivals.keys() - fields[:before]
    arrivals.update(zip(fields[:before], fields[before:], strict=True))
    ids = sorted(arrivals)
    return ids + [arrivals[id_] for id_ in ids]


class MissingNodeError(Exception):
    """A node is not stored as its parent counts it. `args[0]` is its prefix."""


def split_leaf(value: bytes) -> tuple[list[bytes], list[bytes]]:
    """A leaf's ids and their arrival numbers. Raises struct.error for no leaf's length."""
    count = len(value) // MEMBER_BYTES
    fields = list(_fields(count).unpack(value))
    return fields[:count], fields[count:]


def leaf_ids(value: bytes) -> bytes:
    """The ids of a leaf, joined."""
    return value[: len(value) // MEMBER_BYTES * ID_BYTES]


# --- asking -------------------------------------------------------------------------------


def find_arrival(nodes: Nodes, id_: bytes) -> int | None:
    """The arrival number of an id, or None when it is not a member."""
    leaf = nodes.leaf_around(id_)
    if leaf is None:
        return None
    count = len(leaf) // MEMBER_BYTES
    at = leaf.find(id_, 0, count * ID_BYTES)
    while at >= 0 and at % ID_BYTES:  # a match across two ids: only a made-up set has one
        at = leaf.find(id_, at + 1, count * ID_BYTES)
    if at < 0:
        return None
    start = count * ID_BYTES + at // ID_BYTES * ARRIVAL_BYTES
    return int.from_bytes(leaf[start : start + ARRIVAL_BYTES], "big")


class TrieView:
    """A `SetView` of a stored trie; see `setsync.reconcile.view`."""

    def __init__(self, nodes: Nodes, root: Summary, capacity: int = LEAF_CAPACITY) -> None:
        self._nodes = nodes
        self._root = root
        self._capacity = capacity

    def summary(self, prefix: str) -> Summary:
        """One read: the parent holds it. Inside a leaf, a hash over at most 32 ids."""
        if not prefix:
            return self._root
        parent = self._nodes.get_inner(prefix[:-1])
        if parent is not None:
            at = int(prefix[-1], 16) * CHILD_BYTES
            return Summary(
                int.from_bytes(parent[at : at + COUNT_BYTES], "big"),
                parent[at + COUNT_BYTES : at + CHILD_BYTES],
            )
        return summarise(self._few_ids(prefix), len(prefix), self._capacity)

    def children(self, prefix: str) -> Sequence[Summary]:
        """One read, or a hash over the ids of one leaf."""
        node = self._nodes.get_inner(prefix)
        if node is not None:
            return unpack_children(node)
        return summarise_children(self._few_ids(prefix), len(prefix), self._capacity)

    def ids(self, prefix: str, after: bytes = b"", limit: int | None = None) -> IdArray:
        """Reads the leaves of the range, about 15 ids a read."""
        low, high = lowest(prefix), highest(prefix)
        parts: list[bytes] = []
        count = 0
        for leaf in self._nodes.leaves_from(max(low, after)):
            part = _within(leaf_ids(leaf), low, high, after)
            if not part and leaf[:ID_BYTES] > high:
                break
            parts.append(part)
            count += len(part) // ID_BYTES
            if limit is not None and count >= limit:
                break
        joined = b"".join(parts)
        return id_array(joined if limit is None else joined[: limit * ID_BYTES])

    def sketch(self, prefix: str) -> Symbols:
        """Encoded afresh from the ids."""
        return encode_view(self, prefix)

    def keeps_sketch(self, prefix: str) -> bool:
        """A trie keeps none."""
        return False

    def _few_ids(self, prefix: str) -> list[bytes]:
        """The ids of a range that lies within one leaf."""
        low = lowest(prefix)
        leaf = self._nodes.leaf_around(low)
        part = _within(leaf_ids(leaf), low, highest(prefix), b"") if leaf is not None else b""
        return [part[at : at + ID_BYTES] for at in range(0, len(part), ID_BYTES)]


def _within(ids: bytes, low: bytes, high: bytes, after: bytes) -> bytes:
    """Those of the joined sorted ids with low <= id <= high and id > after."""
    if ids[:ID_BYTES] >= low and ids[-ID_BYTES:] <= high and ids[:ID_BYTES] > after:
        return ids
    parts = [ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)]
    return b"".join(id_ for id_ in parts if low <= id_ <= high and id_ > after)
