"""A store that breaks one law is caught, and the complaint names the law."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from setsync.reconcile.digest import Summary
from setsync.reconcile.view import IdArray, ListView, id_array
from setsync.store.trie import MEMBER_BYTES, TrieView
from tests.helpers import some_bytes
from tests.store.laws import BrokenLawError, check_laws
from tests.store.nodes import DictNodes, Trie

MEMBERS = sorted(some_bytes("member", i) for i in range(30))


class _Unsorted(ListView):
    def ids(self, prefix: str, after: bytes = b"", limit: int | None = None) -> IdArray:
        return super().ids(prefix, after, limit)[::-1]


class _ForgetsOne(ListView):
    def ids(self, prefix: str, after: bytes = b"", limit: int | None = None) -> IdArray:
        return super().ids(prefix, after, limit)[1:]


class _IgnoresAfter(ListView):
    def ids(self, prefix: str, after: bytes = b"", limit: int | None = None) -> IdArray:
        return super().ids(prefix, b"", limit)


class _SpillsOver(ListView):
    def ids(self, prefix: str, after: bytes = b"", limit: int | None = None) -> IdArray:
        return (
            id_array(b"".join(MEMBERS)) if len(prefix) == 1 else super().ids(prefix, after, limit)
        )


class _Miscounts(ListView):
    def summary(self, prefix: str) -> Summary:
        right = super().summary(prefix)
        return Summary(right.count + (not prefix), right.digest)


class _SwapsChildren(ListView):
    def children(self, prefix: str) -> Sequence[Summary]:
        return super().children(prefix)[::-1]


class _Misdigests(ListView):
    def summary(self, prefix: str) -> Summary:
        right = super().summary(prefix)
        return right if prefix else Summary(right.count, bytes(32))


@pytest.mark.parametrize(
    ("view", "law"),
    [
        (_Unsorted(MEMBERS, 2), "order"),
        (_ForgetsOne(MEMBERS, 2), "order"),
        (_IgnoresAfter(MEMBERS, 2), "order"),
        (_SpillsOver(MEMBERS, 2), "order"),
        (_Miscounts(MEMBERS, 2), "count"),
        (_SwapsChildren(MEMBERS, 2), "children"),
        (_Misdigests(MEMBERS, 2), "digest"),
        (ListView(MEMBERS, 5), "digest"),
        (ListView(MEMBERS[:-1], 2), "order"),
    ],
)
def test_a_planted_fault_is_caught_under_its_name(view: ListView, law: str) -> None:
    with pytest.raises(BrokenLawError) as caught:
        check_laws(view, MEMBERS, 2)
    assert caught.value.law == law


def test_a_view_without_fault_is_not_complained_about() -> None:
    check_laws(ListView(MEMBERS, 2), MEMBERS, 2)


def _stored() -> tuple[DictNodes, Trie]:
    nodes = DictNodes()
    trie = Trie(nodes, 2)
    trie.insert(MEMBERS)
    return nodes, trie


def test_a_flipped_byte_in_any_stored_node_is_caught() -> None:
    nodes, trie = _stored()
    for table, step in ((nodes.inner, 40), (nodes.leaves, 32)):
        for prefix, value in list(table.items()):
            hashed = len(value) if table is nodes.inner else len(value) // MEMBER_BYTES * 32
            for at in range(5, hashed, step):
                table[prefix] = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
                with pytest.raises(BrokenLawError):
                    check_laws(TrieView(nodes, trie.root, 2), MEMBERS, 2)
            table[prefix] = value


def test_a_store_that_returns_the_leaf_after_instead_of_around_is_caught() -> None:
    class Wrong(DictNodes):
        def leaf_around(self, id_: bytes) -> bytes | None:
            return next((leaf for leaf in self.leaves_from(id_) if leaf[:32] >= id_), None)

    nodes, trie = _stored()
    wrong = Wrong(nodes.inner, nodes.leaves)
    with pytest.raises(BrokenLawError):
        check_laws(TrieView(wrong, trie.root, 2), MEMBERS, 2)
