"""The tables that guests' formats keep beside the set, in the set's own transactions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from setsync.errors import DamagedStoreError
from setsync.model.entry import Entry
from setsync.model.formats import formats
from setsync.model.indexes import Arrived, Index
from setsync.store import layout

if TYPE_CHECKING:
    from setsync.store.environment import Environment, Table, Transaction


def indexes_for(entries: Iterable[Entry]) -> dict[str, Index]:
    """The indexes that have a part in a batch, by format."""
    tags = {entry.header[0] for entry in entries}
    found = sorted({(known := formats()[tag]).name: known.index() for tag in tags}.items())
    return {name: index for name, index in found if index is not None}


def is_open(env: Environment, index: Index) -> bool:
    """Whether this process has the index's tables ready."""
    return all(env.has_table(name) for name in index.tables)


def add_to_indexes(
    transaction: Transaction,
    env: Environment,
    indexes: dict[str, Index],
    arrived: Sequence[Arrived],
) -> None:
    """Tell each index of its format's entries."""
    for name, index in indexes.items():
        mine = [one for one in arrived if one.entry.format == name]
        if mine:
            index.add(GuestTables(transaction, env, index), mine)


class GuestTables:
    """See `setsync.model.indexes.Tables`."""

    def __init__(self, transaction: Transaction, env: Environment, index: Index) -> None:
        self._transaction = transaction
        self._log = env.table(layout.LOG)
        self._tables = {name: GuestTable(transaction, env.table(name)) for name in index.tables}

    def table(self, name: bytes) -> GuestTable:
        return self._tables[name]

    def logged(self, arrival: int) -> tuple[bytes, bytes | None]:
        value = self._transaction.get(layout.arrival_key(arrival), db=self._log)
        if value is None:
            raise DamagedStoreError(f"The entry with arrival number {arrival} is missing.")
        record = layout.unpack_log(value)
        return record.header, record.payload


class GuestTable:
    """See `setsync.model.indexes.Table`."""

    __slots__ = ("_db", "_transaction")

    def __init__(self, transaction: Transaction, db: Table) -> None:
        self._transaction = transaction
        self._db = db

    def get(self, key: bytes) -> bytes | None:
        return self._transaction.get(key, db=self._db)

    def put(self, key: bytes, value: bytes) -> None:
        self._transaction.put(key, value, db=self._db)

    def delete(self, key: bytes) -> None:
        self._transaction.delete(key, db=self._db)

    def items(self, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        with self._transaction.cursor(db=self._db) as cursor:
            if cursor.set_range(start) if start else cursor.first():
                yield from cursor.iternext()

    def last_below(self, key: bytes) -> tuple[bytes, bytes] | None:
        with self._transaction.cursor(db=self._db) as cursor:
            found = cursor.prev() if cursor.set_range(key) else cursor.last()
            return cursor.item() if found else None

    def __len__(self) -> int:
        return int(self._transaction.stat(db=self._db)["entries"])
