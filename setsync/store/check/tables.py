"""The small tables: format, counters, collections, names, and who opened what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from setsync.errors import DamagedStoreError
from setsync.reconcile.digest import Summary
from setsync.store import layout
from setsync.store.check.report import Kind, Report
from setsync.store.environment import Table, Transaction
from setsync.store.lmdb_store import Store


@dataclass(slots=True)
class Tables:
    """The small tables at the moment when the check began, and the log's extent."""

    format: bytes | None
    last_arrival: int
    entries: int
    upto: int
    logged: int
    collections: dict[int, tuple[str, Summary]]
    names: dict[bytes, bytes]
    openers: dict[bytes, bytes]


def read_tables(store: Store, report: Report) -> Tables:
    env = store.environment
    with env.read() as transaction:
        state, log = env.table(layout.STATE), env.table(layout.LOG)
        collections: dict[int, tuple[str, Summary]] = {}
        for key, value in _rows(transaction, env.table(layout.COLLECTIONS)):
            number = int.from_bytes(key, "big")
            try:
                summary, name = layout.unpack_collection(value)
            except DamagedStoreError as error:
                report.found(Kind.TABLES, f"Collection number {number}: {error.message}")
            else:
                collections[number] = (name, summary)
        for table in (layout.TRIE, layout.MEMBERS):
            _check_owners(transaction, env.table(table), table, collections, report)
        _check_origins(transaction, env.table(layout.ORIGINS), report)
        with transaction.cursor(db=log) as cursor:
            upto = int.from_bytes(cursor.key(), "big") if cursor.last() else 0
        return Tables(
            format=transaction.get(layout.STATE_FORMAT, db=state),
            last_arrival=_number(transaction.get(layout.STATE_LAST_ARRIVAL, db=state)),
            entries=_number(transaction.get(layout.STATE_ENTRIES, db=state)),
            upto=upto,
            logged=int(transaction.stat(db=log)["entries"]),
            collections=collections,
            names=dict(_rows(transaction, env.table(layout.NAMES))),
            openers=dict(_rows(transaction, env.table(layout.OPENERS))),
        )


def _check_origins(transaction: Transaction, table: Table, report: Report) -> None:
    """Whether every record can be read, and none reaches into the next."""
    reached = 0
    for key, value in _rows(transaction, table):
        first = int.from_bytes(key, "big")
        try:
            last, _, _ = layout.unpack_origin(key, value)
        except DamagedStoreError as error:
            report.found(Kind.TABLES, f"Arrival {first}: {error.message}")
            continue
        if not reached < first <= last:
            report.found(Kind.TABLES, f"Who brought arrival {first} is told twice.")
        reached = last


def _rows(transaction: Transaction, table: Table) -> Iterator[tuple[bytes, bytes]]:
    with transaction.cursor(db=table) as cursor:
        yield from cursor.iternext()


def _number(value: bytes | None) -> int:
    return int.from_bytes(value or b"", "big")


def _check_owners(
    transaction: Transaction,
    table: Table,
    name: bytes,
    collections: dict[int, tuple[str, Summary]],
    report: Report,
) -> None:
    """Whether every node belongs to a collection that is there; leaps from one to the next."""
    with transaction.cursor(db=table) as cursor:
        found = cursor.first()
        while found:
            number = int.from_bytes(cursor.key()[:4], "big")
            if number not in collections:
                sentence = f"The table {name.decode()} has rows of collection number {number}, "
                report.found(Kind.TABLES, sentence + "which is not readable or not there.")
            if number == 2**32 - 1:
                return
            found = cursor.set_range(layout.collection_key(number + 1))


def check_tables(tables: Tables, report: Report) -> None:
    _expect(report, "format version", layout.FORMAT_VERSION, _number(tables.format))
    _expect(report, "last arrival number", tables.upto, tables.last_arrival)
    _expect(report, "number of entries", tables.logged, tables.entries)
    members = sum(summary.count for _, summary in tables.collections.values())
    _expect(report, "number of members of all collections", tables.logged, members)
    wanted = {
        name.encode("utf-8"): layout.collection_key(number)
        for number, (name, _) in tables.collections.items()
    }
    for name in sorted(wanted.keys() | tables.names.keys()):
        if wanted.get(name) != tables.names.get(name):
            shown = name.decode("utf-8", "backslashreplace")
            report.found(Kind.TABLES, f"The name {shown!r} and its collection do not fit.")


def check_openers(tables: Tables, openers: Counter[bytes], report: Report) -> None:
    """Who opened how many collections, as the log tells it."""
    for author in sorted(openers.keys() | tables.openers.keys()):
        what = f"number of collections opened by {author.hex()}"
        _expect(report, what, openers[author], _number(tables.openers.get(author)))


def _expect(report: Report, what: str, expected: int, stored: int) -> None:
    if stored != expected:
        report.found(Kind.COUNTER, f"The {what} is stored as {stored} and should be {expected}.")
