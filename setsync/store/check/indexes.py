"""What guests keep beside the set, each checked by whoever keeps it."""

from __future__ import annotations

from setsync.errors import DamagedStoreError
from setsync.model.formats import formats
from setsync.model.indexes import Index
from setsync.store.check.report import Kind, Report
from setsync.store.lmdb_store import Store


def check_indexes(store: Store, report: Report) -> None:
    """Check every index that this store has, each in one snapshot."""
    here = set(store.environment.table_names())
    for index in _indexes():
        if here.issuperset(index.tables):
            store.open_index(index)
            _check(store, index, report)


def _indexes() -> list[Index]:
    kept = {one.name: one.index() for one in formats().values()}
    return [index for index in kept.values() if index is not None]


def _check(store: Store, index: Index, report: Report) -> None:
    with store.snapshot() as snapshot:
        try:
            for sentence in index.check(snapshot.index_tables(index)):
                report.found(Kind.INDEX, sentence)
        except DamagedStoreError as error:
            report.found(Kind.INDEX, error.message)
