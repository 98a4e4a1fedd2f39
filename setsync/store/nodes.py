"""Rows that many read: a collection's trie nodes, a number, an entry of the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from setsync.errors import DamagedStoreError
from setsync.store import layout
from setsync.store.environment import Cursor, Environment, Table, Transaction


class LmdbNodes:
    """The trie nodes of one collection; see `setsync.store.trie.Nodes`."""

    __slots__ = ("_inner", "_key", "_leaves", "_transaction")

    def __init__(self, transaction: Transaction, env: Environment, key: bytes) -> None:
        self._transaction = transaction
        self._inner = env.table(layout.TRIE)
        self._leaves = env.table(layout.MEMBERS)
        self._key = key

    def get_inner(self, prefix: str) -> bytes | None:
        return self._transaction.get(layout.trie_key(self._key, prefix), db=self._inner)

    def get_inners(self, prefixes: Sequence[str]) -> Sequence[bytes | None]:
        return self._get(self._inner, [layout.trie_key(self._key, prefix) for prefix in prefixes])

    def get_leaves(self, prefixes: Sequence[str]) -> Sequence[bytes | None]:
        return self._get(self._leaves, layout.leaf_keys(self._key, prefixes))

    def put_inners(self, rows: Sequence[tuple[str, bytes]]) -> None:
        key = self._key
        self._put(self._inner, [(layout.trie_key(key, prefix), value) for prefix, value in rows])

    def put_leaves(self, rows: Sequence[tuple[str, bytes]]) -> None:
        keys = layout.leaf_keys(self._key, [prefix for prefix, _ in rows])
        self._put(self._leaves, [(key, row[1]) for key, row in zip(keys, rows, strict=True)])

    def delete_leaf(self, prefix: str) -> None:
        self._transaction.delete(layout.leaf_key(self._key, prefix), db=self._leaves)

    def leaf_around(self, id_: bytes) -> bytes | None:
        with self._transaction.cursor(db=self._leaves) as cursor:
            if not self._seek(cursor, id_):
                return None
            key, value = cursor.item()
            return value if key[:4] == self._key else None

    def leaves_from(self, id_: bytes) -> Iterator[bytes]:
        with self._transaction.cursor(db=self._leaves) as cursor:
            if not self._seek(cursor, id_):
                found = cursor.first()
            else:
                found = cursor.key()[:4] == self._key or cursor.next()
            while found:
                key, value = cursor.item()
                if key[:4] != self._key:
                    return
                yield value
                found = cursor.next()

    def _get(self, table: Table, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        with self._transaction.cursor(db=table) as cursor:
            found = dict(cursor.getmulti(keys))
        return list(map(found.get, keys))

    def _put(self, table: Table, rows: Sequence[tuple[bytes, bytes]]) -> None:
        with self._transaction.cursor(db=table) as cursor:
            cursor.putmulti(rows)

    def _seek(self, cursor: Cursor, id_: bytes) -> bool:
        """Go to the last leaf, of this collection or one before, that begins at or below."""
        target = self._key + id_
        if not cursor.set_range(target):
            return cursor.last()
        return cursor.key() == target or cursor.prev()


def get_number(transaction: Transaction, table: Table, key: bytes) -> int:
    return int.from_bytes(transaction.get(key, db=table) or b"", "big")


def get_record(transaction: Transaction, log: Table, key: bytes) -> layout.LogRecord:
    value = transaction.get(key, db=log)
    if value is None:
        raise DamagedStoreError(
            f"The entry with arrival number {int.from_bytes(key, 'big')} is missing in the log."
        )
    return layout.unpack_log(value)
