"""What every store can do. The memory store and LMDB pass one battery of tests."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from setsync.limits import (
    DEFAULT_AUTHOR_BYTES,
    DEFAULT_AUTHOR_ENTRIES,
    DEFAULT_PEER_BYTES_A_DAY,
    DEFAULT_PEER_ENTRIES_A_DAY,
)
from setsync.model.entry import Entry
from setsync.model.indexes import Index, Tables
from setsync.model.refusal import Refusal
from setsync.reconcile.digest import Summary
from setsync.reconcile.view import SetView


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as it lies in the store; it was verified on its way in. `dropped`: its payload
    was removed here on purpose."""

    id: bytes
    arrival: int
    collection: str
    header: bytes
    payload: bytes | None
    dropped: bool = False

    @property
    def size(self) -> int:
        """Bytes of header and payload."""
        return len(self.header) + len(self.payload or b"")


@dataclass(frozen=True, slots=True)
class Added:
    """What a batch did: ids that were new, in the order given; how many were known;
    how many known entries got the payload they lacked; and what quotas left out, by its
    place in the batch, ascending."""

    new: tuple[bytes, ...]
    known: int
    payloads: int
    refused: tuple[tuple[int, Refusal], ...] = ()


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


@dataclass(frozen=True, slots=True)
class Quotas:
    """What one author may keep here, and what one peer may bring in a day (UTC) that is new.
    Bytes are those of headers and payloads."""

    author_entries: int = DEFAULT_AUTHOR_ENTRIES
    author_bytes: int = DEFAULT_AUTHOR_BYTES
    peer_entries: int = DEFAULT_PEER_ENTRIES_A_DAY
    peer_bytes: int = DEFAULT_PEER_BYTES_A_DAY


@dataclass(frozen=True, slots=True)
class Usage:
    """What an author keeps here: entries, and bytes of their headers and payloads."""

    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Withheld:
    """An entry whose payload is not here, though nobody dropped it; `size` in bytes, by its
    header."""

    arrival: int
    collection: str
    id: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """What became of a batch of payloads, by place in it: `freed` has the bytes of those that are
    dropped now and were not before; `needed` are those that stay, for the system or an index.
    `done` is how many of the batch these are: the others took too long."""

    freed: Mapping[int, int]
    needed: tuple[int, ...]
    done: int


class RefuserKind(enum.IntEnum):
    """Who does not keep an entry: this node, from everybody; this node, from one peer; or one
    peer, from this node."""

    OURS = 0
    OURS_FROM = 1
    THEIRS = 2


@dataclass(frozen=True, slots=True)
class Refuser:
    """Who refuses. `peer`: the other node's id, 32 bytes; zeros for OURS."""

    kind: RefuserKind
    peer: bytes = bytes(32)


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

    def usage(self, author: bytes) -> Usage:
        """What an author keeps here."""

    @property
    def withheld_count(self) -> int:
        """Payloads that are not here and that nobody dropped."""

    def withheld(self, after: int, limit: int) -> Sequence[Withheld]:
        """Those of entries that arrived after `after`, in that order, at most `limit`."""

    @property
    def refused_count(self) -> int:
        """How many refusals are remembered, those of long ago among them."""

    def refused(
        self, refuser: Refuser, collection: str, prefix: str, now: int, limit: int
    ) -> Sequence[bytes]:
        """Ids that begin with hex digits and were refused in the last REFUSED_SECONDS before
        `now` (milliseconds since 1970), ascending, at most `limit`."""

    def is_refused(
        self, refusers: Sequence[Refuser], collection: str, ids: Sequence[bytes], now: int
    ) -> set[bytes]:
        """Those of the ids that one of the refusers refused, in the same time."""

    def index_tables(self, index: Index) -> Tables:
        """The tables of an index that was opened with `open_index` before."""

    def since(
        self, arrival: int, limit: int, most_bytes: int | None = None
    ) -> Sequence[StoredEntry]:
        """Entries that arrived after `arrival`, in that order, at most `limit`; fewer once
        they have `most_bytes` together, but always one if there is one."""


class EntryStore(Protocol):
    """A place for entries. Calls may come from any thread."""

    def add_many(
        self, entries: Sequence[Entry], origins: Origins = (), quotas: Quotas | None = None
    ) -> Added:
        """Add a batch, all or nothing; when it returns, it is durable.

        With quotas, what is new and would go over one of them, or over a limit of collections,
        is left out and told in `Added.refused`. A payload that would is not attached. New
        entries are judged in the order given, then payloads of known ones.
        """

    def drop_payload(self, collection: str, id_: bytes) -> int:
        """Remove an entry's payload for good, durably; how many bytes that frees. One that is
        not here is not wanted any more, and nothing attaches it.

        Raises NoSuchEntryError; PayloadNeededError where the system or an index needs it.
        """

    def drop_many(self, entries: Sequence[tuple[str, bytes]]) -> Dropped:
        """Remove the payloads of (collection, id), as `drop_payload` would: in one transaction,
        but for those that are needed. After COMMIT_SECONDS it ends, with one at least.

        Raises NoSuchEntryError, and then nothing is removed.
        """

    def restore_payload(self, collection: str, id_: bytes) -> bool:
        """Want a dropped payload again, as if it had been withheld; whether it was dropped.

        Raises NoSuchEntryError.
        """

    def note_refused(
        self, refuser: Refuser, collection: str, refused: Sequence[tuple[bytes, Refusal]], at: int
    ) -> None:
        """Remember who refused which ids, and why; `at` in milliseconds since 1970. A note that
        MAX_REFUSED has no room for empties the table first."""

    def forget_refused(self, kinds: Collection[RefuserKind]) -> int:
        """Forget the refusals of these kinds; how many there were."""

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
