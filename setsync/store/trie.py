"""The Merkle trie as it is stored: inner nodes, and leaves that hold the members.

A range of at most `capacity` ids is a leaf: its ids in order, joined, then their arrival
numbers (8 bytes each) in the same order. A larger range is an inner node: the 16 packed
child summaries. So a leaf's first part and a whole inner node are exactly what
`reconcile.digest` hashes, and a summary of any prefix is one read, of its parent.

Leaves are the only place where membership is written; there is no second copy by id. This
module works on anything that stores nodes (`Nodes`) and knows neither LMDB nor names.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

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
    nibble,
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

    def put_inner(self, prefix: str, value: bytes) -> None:
        """Store an inner node, over an older one."""

    def get_leaf(self, prefix: str) -> bytes | None:
        """A leaf's bytes, or None."""

    def put_leaf(self, prefix: str, value: bytes) -> None:
        """Store a leaf, over an older one."""

    def delete_leaf(self, prefix: str) -> None:
        """Forget the leaf, which has become an inner node."""

    def leaf_around(self, id_: bytes) -> bytes | None:
        """The last leaf, in the order of ids, whose range begins at or below `id_`, or None."""

    def leaves_from(self, id_: bytes) -> Iterator[bytes]:
        """That leaf, if there is one, and all after it, in order."""


# --- inserting ----------------------------------------------------------------------------


class Insertion:
    """One batch on its way into the trie: each touched node is written once.

    After `run`, `summary` is the new root and `added` holds the ids that were new.
    """

    def __init__(self, nodes: Nodes, root: Summary, capacity: int = LEAF_CAPACITY) -> None:
        self._nodes = nodes
        self._capacity = capacity
        self.summary = root
        self.added: set[bytes] = set()

    def run(self, members: Sequence[Member]) -> None:
        """Insert `members`, sorted by id and distinct; those already there stay as they are."""
        if members:
            self.summary = self._insert("", self.summary, members)

    def _insert(self, prefix: str, before: Summary, members: Sequence[Member]) -> Summary:
        """Insert into the subtree and return its new summary.

        The recursion is at most 64 deep: at depth 64 a range holds one id at most, so it is
        a leaf.
        """
        if before.count <= self._capacity:
            return self._insert_into_leaf(prefix, before, members)
        added_before = len(self.added)
        node = bytearray(self._inner(prefix))
        for digit, group in _by_digit(members, len(prefix)):
            at = digit * CHILD_BYTES
            middle, end = at + COUNT_BYTES, at + CHILD_BYTES
            child = Summary(int.from_bytes(node[at:middle], "big"), bytes(node[middle:end]))
            node[at:end] = self._insert(prefix + HEX[digit], child, group).pack()
        grown = len(self.added) - added_before
        if not grown:
            return before
        self._nodes.put_inner(prefix, bytes(node))
        return Summary(before.count + grown, inner_digest(node))

    def _insert_into_leaf(self, prefix: str, before: Summary, members: Sequence[Member]) -> Summary:
        value = (self._nodes.get_leaf(prefix) or b"") if before.count else b""
        ids, arrivals = split_leaf(value)
        if len(ids) != before.count:
            raise MissingNodeError(prefix)
        for id_, arrival in members:
            at = bisect_left(ids, id_)
            if at == len(ids) or ids[at] != id_:
                ids.insert(at, id_)
                arrivals.insert(at, arrival)
                self.added.add(id_)
        if len(ids) == before.count:
            return before
        if value and len(ids) > self._capacity:
            self._nodes.delete_leaf(prefix)
        return self._build(prefix, ids, arrivals)

    def _build(self, prefix: str, ids: list[bytes], arrivals: list[bytes]) -> Summary:
        """Write a subtree that is not there yet."""
        if len(ids) <= self._capacity:
            if not ids:
                return EMPTY
            joined = b"".join(ids)
            self._nodes.put_leaf(prefix, joined + b"".join(arrivals))
            return Summary(len(ids), leaf_digest(joined))
        children: list[bytes] = []
        for low, high in pairwise(cuts(ids, len(prefix))):
            digit = HEX[len(children)]
            child = self._build(prefix + digit, ids[low:high], arrivals[low:high])
            children.append(child.pack())
        node = b"".join(children)
        self._nodes.put_inner(prefix, node)
        return Summary(len(ids), inner_digest(node))

    def _inner(self, prefix: str) -> bytes:
        node = self._nodes.get_inner(prefix)
        if node is None:
            raise MissingNodeError(prefix)
        return node


class MissingNodeError(Exception):
    """A node is not stored as its parent counts it. `args[0]` is its prefix."""


def split_leaf(value: bytes) -> tuple[list[bytes], list[bytes]]:
    """A leaf's ids and their arrival numbers."""
    count = len(value) // MEMBER_BYTES
    middle = count * ID_BYTES
    ids = [value[at : at + ID_BYTES] for at in range(0, middle, ID_BYTES)]
    arrivals = [value[at : at + ARRIVAL_BYTES] for at in range(middle, len(value), ARRIVAL_BYTES)]
    return ids, arrivals


def leaf_ids(value: bytes) -> bytes:
    """The ids of a leaf, joined."""
    return value[: len(value) // MEMBER_BYTES * ID_BYTES]


def _by_digit(members: Sequence[Member], depth: int) -> Iterator[tuple[int, Sequence[Member]]]:
    """Consecutive members that share the digit at `depth`; most batches are sparse."""
    low = 0
    while low < len(members):
        digit = nibble(members[low][0], depth)
        high = low + 1
        while high < len(members) and nibble(members[high][0], depth) == digit:
            high += 1
        yield digit, members[low:high]
        low = high


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
