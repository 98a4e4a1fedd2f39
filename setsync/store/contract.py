"""What every store can do. The memory store and LMDB pass one battery of tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from setsync.model.entry import Entry
from setsync.model.indexes import Index, Tables
from setsync.reconcile.digest import Summary
from setsync.reconcile.view import SetView


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as it lies in the store; it was verified on its way in."""

    id: bytes
    arrival: int
    collection: str
    header: bytes
    payload: bytes | None

    @property
    def size(self) -> int:
        """Bytes of header and payload."""
        return len(self.header) + len(self.payload or b"")


@dataclass(frozen=True, slots=True)
class Added:
    """What a batch did: ids that were new, in the order given; how many were known;
    how many known entries got the payload they lacked."""

    new: tuple[bytes, ...]
    known: int
    payloads: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Who brought entries to this store, and when: known here, and to nobody else.

    `at` in milliseconds since 1970 by this machine's clock. `peer` is the id that the other
    node gave itself, 32 bytes; empty: somebody at this machine.
    """

    at: int
    peer: bytes = b""


Origins = Sequence[tuple[int, Origin | None]]
"""Of a batch: from which position on whose entries these are, ascending; None: not said."""


class Snapshot(Protocol):
    """The whole store at one moment. Nothing it returns dies with it."""

    @property
    def last_arrival(self) -> int:
        """The highest arrival number given so far; 0 in an empty store."""

    @property
    def entry_count(self) -> int:
        """Members of all collections, added up."""

    def collections(self) -> Sequence[tuple[str, Summary]]:
        """Every collection with its summary, in the order of their names' bytes."""

    def view(self, collection: str) -> SetView | None:
        """The ids of a collection, or None when it is not here."""

    def arrival(self, collection: str, id_: bytes) -> int | None:
        """When an id arrived in a collection."""

    def entry(self, collection: str, id_: bytes) -> StoredEntry | None:
        """One entry of a collection."""

    def entries(self, collection: str, ids: Iterable[bytes]) -> Iterator[StoredEntry]:
        """Those of the ids that are in the collection, as entries, in the order given."""

    def find(self, prefix: str, limit: int = 2) -> list[tuple[str, bytes]]:
        """(collection, id) of the ids that begin with hex digits, at most `limit`."""

    def origin(self, arrival: int) -> Origin | None:
        """Who brought the entry with this arrival number, if that was said."""

    def index_tables(self, index: Index) -> Tables:
        """The tables of an index that was opened with `open_index` before."""

    def since(
        self, arrival: int, limit: int, most_bytes: int | None = None
    ) -> Sequence[StoredEntry]:
        """Entries that arrived after `arrival`, in that order, at most `limit`; fewer once
        they have `most_bytes` together, but always one if there is one."""


class EntryStore(Protocol):
    """A place for entries. Calls may come from any thread."""

    def add_many(self, entries: Sequence[Entry], origins: Origins = ()) -> Added:
        """Add a batch, all or nothing; when it returns, it is durable."""

    def open_index(self, index: Index) -> None:
        """Make the tables of an index ready, for snapshots taken from now on."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """One moment of the store."""


def all_ids(store: EntryStore, collection: str, limit: int) -> Iterator[bytes]:
    """A collection's ids in order, read in short snapshots of `limit` ids each."""
    after = b""
    while True:
        with store.snapshot() as snapshot:
            view = snapshot.view(collection)
            ids = view.ids("", after, limit) if view is not None else None
        if ids is None or not len(ids):
            return
        for row in ids:
            yield row.tobytes()
        after = ids[-1].tobytes()
