"""The tries: every node from its ids, up to the collection's record, and nothing beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from setsync.errors import DamagedStoreError
from setsync.model.entry import entry_id
from setsync.reconcile.digest import (
    CHILD_BYTES,
    EMPTY,
    FANOUT,
    HEX,
    MAX_DEPTH,
    Summary,
    highest,
    inner_digest,
    leaf_digest,
    lowest,
    pack_prefix,
    unpack_children,
)
from setsync.store import layout
from setsync.store.check.report import Kind, Report
from setsync.store.environment import Table, Transaction
from setsync.store.lmdb_store import Store
from setsync.store.nodes import LmdbNodes
from setsync.store.trie import MEMBER_BYTES, split_leaf

_INNER_BYTES = FANOUT * CHILD_BYTES


def check_trie(store: Store, number: int, name: str, upto: int, report: Report) -> TrieCheck:
    """Check one collection's trie at one moment."""
    key = layout.collection_key(number)
    with store.environment.read() as transaction:
        value = transaction.get(key, db=store.environment.table(layout.COLLECTIONS))
        root = layout.unpack_collection(value or b"")[0]
        walk = TrieCheck(store, transaction, key, name, root, upto, report)
        walk.run()
    return walk


class TrieCheck:
    """One collection's trie, walked from the root in the order of ids, beside the leaves as
    they are stored: the two must be the same."""

    def __init__(
        self,
        store: Store,
        transaction: Transaction,
        key: bytes,
        name: str,
        root: Summary,
        upto: int,
        report: Report,
    ) -> None:
        self._transaction = transaction
        self._inner = store.environment.table(layout.TRIE)
        self._leaves = store.environment.table(layout.MEMBERS)
        self._nodes = LmdbNodes(transaction, store.environment, key)
        self._key = key
        self._name = name
        self._root = root
        self._capacity = store.leaf_capacity
        self._upto = upto
        self._report = report
        self._inner_nodes = 0
        self.members = 0
        self.members_until = 0

    def run(self) -> None:
        """Leaves against the walk, then what no walk came by."""
        stored = _rows_of(self._transaction, self._leaves, self._key)
        row = next(stored, None)
        for prefix, expected in self._expected_leaves("", self._root):
            place = pack_prefix(prefix)
            while row is not None and row[0] < place:
                self._found(f"a leaf at {row[0].hex()} that belongs to nothing.")
                row = next(stored, None)
            if row is None or row[0] != place:
                self._found(f"no leaf for the prefix '{prefix}', of {expected.count} ids.")
                continue
            self._check_leaf(prefix, expected, row[1])
            row = next(stored, None)
        while row is not None:
            self._found(f"a leaf at {row[0].hex()} that belongs to nothing.")
            row = next(stored, None)
        self._check_for_strays()

    def _expected_leaves(self, prefix: str, expected: Summary) -> Iterator[tuple[str, Summary]]:
        """The leaves that the inner nodes promise, in order; at most 64 levels deep."""
        if expected.count > self._capacity:
            for digit, child in enumerate(self._check_inner(prefix, expected)):
                yield from self._expected_leaves(prefix + HEX[digit], child)
        elif expected.count:
            yield prefix, expected
        elif expected != EMPTY:
            self._found(f"a wrong digest for the empty prefix '{prefix}'.")

    def _check_inner(self, prefix: str, expected: Summary) -> Sequence[Summary]:
        """Its children, if they can be told at all."""
        value = self._nodes.get_inner(prefix) if len(prefix) < MAX_DEPTH else None
        if value is None or len(value) != _INNER_BYTES:
            self._found(f"no inner node for the prefix '{prefix}', of {expected.count} ids.")
            return []
        self._inner_nodes += 1
        self._report.nodes += 1
        children = unpack_children(value)
        actual = Summary(sum(child.count for child in children), inner_digest(value))
        self._compare(f"the inner node '{prefix}'", expected, actual)
        return children

    def _check_leaf(self, prefix: str, expected: Summary, value: bytes) -> None:
        self._report.nodes += 1
        if len(value) % MEMBER_BYTES:
            self._found(f"a leaf '{prefix}' of {len(value)} bytes.")
            return
        ids, arrivals = split_leaf(value)
        self.members += len(ids)
        self.members_until += sum(int.from_bytes(one, "big") <= self._upto for one in arrivals)
        self._compare(
            f"the leaf '{prefix}'", expected, Summary(len(ids), leaf_digest(b"".join(ids)))
        )
        if ids != sorted(set(ids)):
            self._found(f"a leaf '{prefix}' whose ids are out of order.")
        if ids and not (lowest(prefix) <= min(ids) and max(ids) <= highest(prefix)):
            self._found(f"a leaf '{prefix}' with ids of another prefix.")

    def _compare(self, what: str, expected: Summary, actual: Summary) -> None:
        if actual.count != expected.count:
            self._found(f"{what}: {expected.count} ids by the node above, {actual.count} in it.")
        elif actual.digest != expected.digest:
            self._found(f"{what}: its digest is not the one that stands above it.")

    def _check_for_strays(self) -> None:
        """Inner nodes that the walk did not come by. They are looked for only if there are
        more of them than there should be."""
        keys = [key for key, _ in _rows_of(self._transaction, self._inner, self._key, values=False)]
        if len(keys) == self._inner_nodes:
            return
        for key in keys:
            prefix = _prefix_of(key)
            if prefix is None or not self._is_promised(prefix):
                self._found(f"an inner node at {key.hex()} that belongs to nothing.")

    def _is_promised(self, prefix: str) -> bool:
        if not prefix:
            return self._root.count > self._capacity
        parent = self._nodes.get_inner(prefix[:-1])
        if parent is None or len(parent) != _INNER_BYTES:
            return False
        return unpack_children(parent)[int(prefix[-1], 16)].count > self._capacity

    def _found(self, sentence: str) -> None:
        self._report.found(Kind.TRIE, f"The trie of {self._name!r} has {sentence}")


def _rows_of(
    transaction: Transaction, table: Table, key: bytes, *, values: bool = True
) -> Iterator[tuple[bytes, bytes]]:
    """The rows of a collection, their keys without its number."""
    with transaction.cursor(db=table) as cursor:
        found = cursor.set_range(key)
        while found:
            row, value = cursor.item() if values else (cursor.key(), b"")
            if row[: len(key)] != key:
                return
            yield row[len(key) :], value
            found = cursor.next()


def _prefix_of(key: bytes) -> str | None:
    """The prefix in an inner node's key, or None when the key is none."""
    depth, digits = key[0] if key else 0, key[1:].hex()
    prefix = digits[:depth]
    return prefix if key == bytes([depth]) + pack_prefix(prefix) else None


def name_members_without_entry(
    store: Store, number: int, name: str, upto: int, report: Report
) -> None:
    """There are more members than entries, or fewer: say which members have no entry."""
    key = layout.collection_key(number)
    env = store.environment
    with env.read() as transaction:
        for _, value in _rows_of(transaction, env.table(layout.MEMBERS), key):
            if len(value) % MEMBER_BYTES:
                continue
            for id_, arrival in zip(*split_leaf(value), strict=True):
                if int.from_bytes(arrival, "big") <= upto and not _has_entry(
                    transaction, env.table(layout.LOG), number, id_, arrival
                ):
                    report.found(
                        Kind.MEMBERSHIP,
                        f"The member {id_.hex()} of {name!r} has no entry with its arrival "
                        f"number {int.from_bytes(arrival, 'big')}.",
                    )


def _has_entry(
    transaction: Transaction, log: Table, number: int, id_: bytes, arrival: bytes
) -> bool:
    value = transaction.get(arrival, db=log)
    try:
        record = layout.unpack_log(value or b"")
    except DamagedStoreError:
        return False
    return record.collection == number and entry_id(record.header) == id_
