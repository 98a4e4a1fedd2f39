"""What authors keep and which payloads are withheld, against the log; and notes that can only
be read."""

from __future__ import annotations

from collections.abc import Callable

from setsync.errors import DamagedStoreError
from setsync.store import layout
from setsync.store.check.report import Kind, Report
from setsync.store.environment import Environment, Transaction
from setsync.store.lmdb_store import Store
from setsync.store.usage import counted


def check_usage(store: Store, report: Report) -> None:
    """Check `authors`, `withheld`, `bringers` and `refused` in one snapshot, about 5 s a million
    entries: payloads come and go, so that only one moment can be compared with itself."""
    env = store.environment
    with env.read() as transaction:
        marker = transaction.get(layout.STATE_USAGE, db=env.table(layout.STATE))
        if marker not in (None, layout.USAGE_COUNTED):
            report.found(Kind.TABLES, "Whether usage was counted is not readable.")
        found = counted(transaction, env)
        _check_authors(transaction, env, found.authors, found.unknown > 0, report)
        _check_withheld(transaction, env, found.withheld, found.unknown > 0, report)
        for table, read in (
            (layout.BRINGERS, lambda key, value: layout.unpack_brought(value)),
            (layout.REFUSED, layout.unpack_refused),
        ):
            _check_readable(transaction, env, table, read, report)


def _check_authors(
    transaction: Transaction,
    env: Environment,
    authors: dict[bytes, int],
    some_unknown: bool,
    report: Report,
) -> None:
    """Entries of formats that no installed package knows are somebody's, and nobody can tell
    whose: then an author may keep more than is seen."""
    kept = _rows(transaction, env, layout.AUTHORS)
    for author in sorted(authors.keys() | kept.keys()):
        expected = authors.get(author, 0)
        try:
            stored = layout.unpack_usage(kept.get(author, bytes(16)))
        except DamagedStoreError as error:
            report.found(Kind.TABLES, f"Author {author.hex()}: {error.message}")
            continue
        told, seen = layout.split_usage(stored), layout.split_usage(expected)
        if told == seen or (some_unknown and told[0] >= seen[0] and told[1] >= seen[1]):
            continue
        report.found(
            Kind.COUNTER,
            f"What {author.hex()} keeps is stored as {told[0]} entries of {told[1]} bytes and "
            f"should be {seen[0]} of {seen[1]}.",
        )


def _check_withheld(
    transaction: Transaction,
    env: Environment,
    withheld: dict[bytes, bytes],
    some_unknown: bool,
    report: Report,
) -> None:
    kept = _rows(transaction, env, layout.WITHHELD)
    for key in sorted(withheld.keys() | kept.keys()):
        if kept.get(key) == withheld.get(key) or (some_unknown and key not in withheld):
            continue
        report.found(
            Kind.TABLES,
            f"Whether the payload of arrival {int.from_bytes(key, 'big')} is withheld, or its "
            "size, does not fit the log.",
        )


def _check_readable(
    transaction: Transaction,
    env: Environment,
    table: bytes,
    read: Callable[[bytes, bytes], object],
    report: Report,
) -> None:
    with transaction.cursor(db=env.table(table)) as cursor:
        for key, value in cursor.iternext():
            try:
                read(key, value)
            except DamagedStoreError as error:
                report.found(Kind.TABLES, f"The row {key.hex()} of {table.decode()}: {error}")


def _rows(transaction: Transaction, env: Environment, table: bytes) -> dict[bytes, bytes]:
    with transaction.cursor(db=env.table(table)) as cursor:
        return dict(cursor.iternext())
