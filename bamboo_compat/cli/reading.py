"""Opening a data directory to ask its index of Bamboo logs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from setsync.cli.common import opened

if TYPE_CHECKING:
    from bamboo_compat.set.reading import Reader
    from setsync.node.config import DataDirectory
    from setsync.store.contract import Snapshot


@contextlib.contextmanager
def opened_reader(data: Path) -> Iterator[tuple[DataDirectory, Snapshot, Reader]]:
    """The directory, one moment of its store, and the index at that moment.

    Print after it is closed: a reader of our output who stands still must not keep a
    snapshot open. Raises StoreError and its kinds, UsageError.
    """
    from bamboo_compat.set.index import BambooIndex
    from bamboo_compat.set.reading import Reader

    index = BambooIndex()
    with opened(data) as (directory, store):
        store.open_index(index)
        with store.snapshot() as snapshot:
            yield directory, snapshot, Reader(snapshot.index_tables(index))
