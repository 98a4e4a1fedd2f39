"""A trie's nodes in a dict, and the shape that stored nodes must have."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from setsync.reconcile.digest import EMPTY, HEX, Summary, lowest, unpack_children
from setsync.store.trie import Insertion, Member, Nodes, TrieView, split_leaf


@dataclass
class DictNodes:
    """`setsync.store.trie.Nodes`, keyed by the prefixes themselves."""

    inner: dict[str, bytes] = field(default_factory=dict)
    leaves: dict[str, bytes] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)

    def get_inner(self, prefix: str) -> bytes | None:
        return self.inner.get(prefix)

    def get_inners(self, prefixes: Sequence[str]) -> Sequence[bytes | None]:
        return [self.inner.get(prefix) for prefix in prefixes]

    def get_leaves(self, prefixes: Sequence[str]) -> Sequence[bytes | None]:
        return [self.leaves.get(prefix) for prefix in prefixes]

    def put_inners(self, rows: Sequence[tuple[str, bytes]]) -> None:
        self.writes += [prefix for prefix, _ in rows]
        self.inner |= rows

    def put_leaves(self, rows: Sequence[tuple[str, bytes]]) -> None:
        self.writes += [prefix for prefix, _ in rows]
        self.leaves |= rows

    def delete_leaf(self, prefix: str) -> None:
        del self.leaves[prefix]

    def leaf_around(self, id_: bytes) -> bytes | None:
        order = sorted(self.leaves, key=lowest)
        at = bisect_right([lowest(prefix) for prefix in order], id_) - 1
        return self.leaves[order[at]] if at >= 0 else None

    def leaves_from(self, id_: bytes) -> Iterator[bytes]:
        order = sorted(self.leaves, key=lowest)
        at = max(0, bisect_right([lowest(prefix) for prefix in order], id_) - 1)
        return iter([self.leaves[prefix] for prefix in order[at:]])


@dataclass
class Trie:
    """A trie under test: its nodes, its root, and what should be in it."""

    nodes: Nodes
    capacity: int
    root: Summary = EMPTY
    arrivals: dict[bytes, bytes] = field(default_factory=dict)

    def insert(self, ids: Sequence[bytes]) -> set[bytes]:
        """Insert ids as the next arrivals; those that were new."""
        count = len(self.arrivals)
        members: list[Member] = [
            (id_, (count + at).to_bytes(8, "big")) for at, id_ in enumerate(sorted(set(ids)))
        ]
        insertion = Insertion(self.nodes, self.root, self.capacity)
        insertion.run(members)
        self.root = insertion.summary
        for id_, arrival in members:
            self.arrivals.setdefault(id_, arrival)
        return insertion.added

    @property
    def members(self) -> list[bytes]:
        return sorted(self.arrivals)

    def view(self) -> TrieView:
        return TrieView(self.nodes, self.root, self.capacity)


def check_shape(nodes: DictNodes, root: Summary, capacity: int) -> None:
    """Every node is reachable from the root, no larger than it may be and no smaller."""
    seen_inner: set[str] = set()
    seen_leaves: set[str] = set()
    todo = [("", root)] if root.count else []
    while todo:
        prefix, summary = todo.pop()
        if summary.count > capacity:
            seen_inner.add(prefix)
            children = unpack_children(nodes.inner[prefix])
            todo += [
                (prefix + digit, child)
                for digit, child in zip(HEX, children, strict=True)
                if child.count
            ]
        else:
            seen_leaves.add(prefix)
            ids, arrivals = split_leaf(nodes.leaves[prefix])
            assert len(ids) == len(arrivals) == summary.count
            assert ids == sorted(set(ids))
            assert all(id_.hex().startswith(prefix) for id_ in ids)
    assert seen_inner == set(nodes.inner)
    assert seen_leaves == set(nodes.leaves)
