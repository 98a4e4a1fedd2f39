"""The store's contract on sorted lists: the tests' oracle, and a place for small sets.

Everything is computed straight from the definitions, so it is slow and easy to believe.
"""

from __future__ import annotations

import contextlib
import threading
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from setsync.errors import NoSuchEntryError, PayloadNeededError
from setsync.limits import (
    MAX_COLLECTIONS,
    MAX_COLLECTIONS_PER_AUTHOR,
    MAX_REFUSED,
    REFUSED_SECONDS,
)
from setsync.model.entry import Entry
from setsync.model.formats import Claims, format_of, index_of
from setsync.model.indexes import Arrived, Index, Payload
from setsync.model.refusal import Refusal
from setsync.reconcile.digest import LEAF_CAPACITY, Summary
from setsync.reconcile.view import ListView
from setsync.store.contract import (
    Added,
    Dropped,
    Origin,
    Origins,
    Quotas,
    Refuser,
    RefuserKind,
    StoredEntry,
    Usage,
    Withheld,
)
from setsync.store.guests import indexes_for
from setsync.store.payloads import refuse_system

_DAY_MILLISECONDS = 86_400_000
_Refused = dict[tuple[Refuser, str, bytes], int]
"""When who refused which id of which collection."""


@dataclass
class MemoryStore:
    """See `setsync.store.contract.EntryStore`. Nothing is durable, and without quotas nothing
    limits how many collections there are."""

    leaf_capacity: int = LEAF_CAPACITY
    _log: list[StoredEntry] = field(default_factory=list)
    _members: dict[str, dict[bytes, int]] = field(default_factory=dict)
    _origins: dict[int, Origin] = field(default_factory=dict)
    _tables: dict[bytes, MemoryTable] = field(default_factory=dict)
    # By peer: the day, and entries and bytes that were new on it.
    _brought: dict[bytes, tuple[int, int, int]] = field(default_factory=dict)
    _openers: Counter[bytes] = field(default_factory=Counter)
    _refused: _Refused = field(default_factory=dict)
    # What each author keeps, as `_usage` would count it.
    _kept: dict[bytes, Usage] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add_many(
        self, entries: Sequence[Entry], origins: Origins = (), quotas: Quotas | None = None
    ) -> Added:
        """Add a batch; known entries change nothing but a payload they lacked."""
        new: list[Arrived] = []
        again: list[Entry] = []
        refused: list[tuple[int, Refusal]] = []
        starts = [start for start, _ in origins]
        with self._lock:
            for position, entry in enumerate(entries):
                if entry.id in self._members.get(entry.collection, {}):
                    again.append(entry)
                    continue
                run = bisect_left(starts, position + 1) - 1
                origin = origins[run][1] if run >= 0 else None
                refusal = self._over(entry, origin, quotas) if quotas is not None else None
                if refusal is None:
                    new.append(self._insert(entry, origin))
                else:
                    refused.append((position, refusal))
            attached = [one for entry in again if (one := self._attach(entry, quotas))]
            self._tell_indexes(new + attached)
        ids = tuple(one.entry.id for one in new)
        return Added(ids, len(again), len(attached), tuple(refused))

    def _insert(self, entry: Entry, origin: Origin | None) -> Arrived:
        if entry.collection not in self._members:
            self._members[entry.collection] = {}
            self._openers[entry.author] += 1
        self._members[entry.collection][entry.id] = len(self._log)
        arrival = len(self._log) + 1
        self._log.append(
            StoredEntry(entry.id, arrival, entry.collection, entry.header, entry.payload)
        )
        self._keep(entry.author, 1, entry.size)
        if origin is not None:
            self._origins[arrival] = origin
            if origin.peer:
                day, count, size = self._today(origin)
                self._brought[origin.peer] = day, count + 1, size + entry.size
        return Arrived(arrival, entry, is_new=True)

    def _attach(self, entry: Entry, quotas: Quotas | None) -> Arrived | None:
        at = self._members[entry.collection][entry.id]
        stored = self._log[at]
        if entry.payload is None or stored.payload is not None or stored.dropped:
            return None
        size = self._kept[entry.author].bytes + len(entry.payload)
        if quotas is not None and size > quotas.author_bytes:
            return None
        self._keep(entry.author, 0, len(entry.payload))
        self._log[at] = replace(stored, payload=entry.payload)
        return Arrived(at + 1, entry, is_new=False)

    def _keep(self, author: bytes, entries: int, size: int) -> None:
        kept = self._kept.get(author, Usage(0, 0))
        self._kept[author] = Usage(kept.entries + entries, kept.bytes + size)

    # --- quotas ---------------------------------------------------------------------------

    def _over(self, entry: Entry, origin: Origin | None, quotas: Quotas) -> Refusal | None:
        kept = self._kept.get(entry.author, Usage(0, 0))
        if kept.entries >= quotas.author_entries or kept.bytes + entry.size > quotas.author_bytes:
            return Refusal.AUTHOR_QUOTA
        if origin is not None and origin.peer:
            _, count, size = self._today(origin)
            if count >= quotas.peer_entries or size + entry.size > quotas.peer_bytes:
                return Refusal.PEER_QUOTA
        if entry.collection not in self._members and (
            len(self._members) >= MAX_COLLECTIONS
            or self._openers[entry.author] >= MAX_COLLECTIONS_PER_AUTHOR
        ):
            return Refusal.COLLECTIONS
        return None

    def _today(self, origin: Origin) -> tuple[int, int, int]:
        day = origin.at // _DAY_MILLISECONDS
        known = self._brought.get(origin.peer)
        return known if known is not None and known[0] == day else (day, 0, 0)

    # --- payloads -------------------------------------------------------------------------

    def drop_payload(self, collection: str, id_: bytes) -> int:
        """Remove an entry's payload. Raises NoSuchEntryError, PayloadNeededError."""
        with self._lock:
            return self._drop(collection, id_) or 0

    def drop_many(self, entries: Sequence[tuple[str, bytes]]) -> Dropped:
        """Remove payloads, but for those that are needed. Raises NoSuchEntryError."""
        freed: dict[int, int] = {}
        needed: list[int] = []
        with self._lock:
            for collection, id_ in entries:
                self._find(collection, id_)
            for place, (collection, id_) in enumerate(entries):
                try:
                    size = self._drop(collection, id_)
                except PayloadNeededError:
                    needed.append(place)
                else:
                    if size is not None:
                        freed[place] = size
        return Dropped(freed, tuple(needed), len(entries))

    def _drop(self, collection: str, id_: bytes) -> int | None:
        """How many bytes there were; None when it was dropped before."""
        at = self._find(collection, id_)
        refuse_system(collection, id_)
        stored = self._log[at]
        if stored.dropped:
            return None
        self._log[at] = replace(stored, payload=None, dropped=True)
        is_here = stored.payload is not None
        copies = (one.arrival for one in self._log if one.id == id_ and one.payload is not None)
        payload = Payload(
            stored.arrival, id_, _claims(stored), next(copies, None) if is_here else None
        )
        index = index_of(payload.claims.format)
        if index is not None:
            try:
                index.dropped(MemoryTables(self._log, self._tables), payload)
            except BaseException:
                self._log[at] = stored
                raise
        freed = len(stored.payload or b"")
        self._keep(payload.claims.author, 0, -freed)
        return freed

    def restore_payload(self, collection: str, id_: bytes) -> bool:
        """Want a dropped payload again. Raises NoSuchEntryError."""
        with self._lock:
            at = self._find(collection, id_)
            stored = self._log[at]
            if not stored.dropped:
                return False
            self._log[at] = replace(stored, dropped=False)
            payload = Payload(stored.arrival, id_, _claims(stored))
            index = index_of(payload.claims.format)
            if index is not None:
                index.restored(MemoryTables(self._log, self._tables), payload)
        return True

    def _find(self, collection: str, id_: bytes) -> int:
        at = self._members.get(collection, {}).get(id_)
        if at is None:
            raise NoSuchEntryError(
                f"There is no entry {id_.hex()} in the collection {collection!r}."
            )
        return at

    # --- refusals -------------------------------------------------------------------------

    def note_refused(
        self, refuser: Refuser, collection: str, refused: Sequence[tuple[bytes, Refusal]], at: int
    ) -> None:
        """Remember who refused which ids."""
        ids = dict(refused[:MAX_REFUSED])
        with self._lock:
            if len(self._refused) + len(ids) > MAX_REFUSED:
                self._refused.clear()
            self._refused |= {(refuser, collection, id_): at for id_ in ids}

    def forget_refused(self, kinds: Collection[RefuserKind]) -> int:
        """Forget the refusals of these kinds."""
        with self._lock:
            before = len(self._refused)
            self._refused = {
                key: at for key, at in self._refused.items() if key[0].kind not in kinds
            }
            return before - len(self._refused)

    def _tell_indexes(self, arrived: Sequence[Arrived]) -> None:
        for name, index in indexes_for(one.entry for one in arrived).items():
            mine = [one for one in arrived if one.entry.format == name]
            self.open_index(index)
            index.add(MemoryTables(self._log, self._tables), mine)

    def open_index(self, index: Index) -> None:
        """Make the tables of an index ready."""
        for name in index.tables:
            self._tables.setdefault(name, MemoryTable())

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[MemorySnapshot]:
        """One moment, copied."""
        with self._lock:
            log = list(self._log)
            members = {name: dict(ids) for name, ids in self._members.items()}
            origins = dict(self._origins)
            tables = {name: table.copy() for name, table in self._tables.items()}
            refused = dict(self._refused)
        yield MemorySnapshot(log, members, origins, tables, refused, self.leaf_capacity)


def _claims(stored: StoredEntry) -> Claims:
    return format_of(stored.header).decode(stored.header)


def _usage(log: Sequence[StoredEntry], author: bytes) -> Usage:
    sizes = [one.size for one in log if _claims(one).author == author]
    return Usage(len(sizes), sum(sizes))


def _is_lately(at: int, now: int) -> bool:
    return abs(now - at) <= REFUSED_SECONDS * 1000


class MemoryTable:
    """See `setsync.model.indexes.Table`."""

    def __init__(self, values: dict[bytes, bytes] | None = None) -> None:
        self._values = values if values is not None else {}
        self._keys = sorted(self._values)

    def copy(self) -> MemoryTable:
        return MemoryTable(dict(self._values))

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self._values:
            insort(self._keys, key)
        self._values[key] = value

    def delete(self, key: bytes) -> None:
        if self._values.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def items(self, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        for at in range(bisect_left(self._keys, start), len(self._keys)):
            yield self._keys[at], self._values[self._keys[at]]

    def last_below(self, key: bytes) -> tuple[bytes, bytes] | None:
        at = bisect_left(self._keys, key) - 1
        return (self._keys[at], self._values[self._keys[at]]) if at >= 0 else None

    def __len__(self) -> int:
        return len(self._keys)


@dataclass(frozen=True, slots=True)
class MemoryTables:
    """See `setsync.model.indexes.Tables`."""

    log: Sequence[StoredEntry]
    tables: dict[bytes, MemoryTable]

    def table(self, name: bytes) -> MemoryTable:
        return self.tables[name]

    def logged(self, arrival: int) -> tuple[bytes, bytes | None]:
        entry = self.log[arrival - 1]
        return entry.header, entry.payload


@dataclass(frozen=True)
class MemorySnapshot:
    """See `setsync.store.contract.Snapshot`."""

    log: list[StoredEntry]
    members: dict[str, dict[bytes, int]]
    origins: dict[int, Origin]
    tables: dict[bytes, MemoryTable]
    noted: _Refused
    capacity: int

    @property
    def last_arrival(self) -> int:
        return len(self.log)

    @property
    def entry_count(self) -> int:
        return len(self.log)

    def collections(self) -> Sequence[tuple[str, Summary]]:
        return [
            (name, ListView(list(self.members[name]), self.capacity).summary(""))
            for name in sorted(self.members, key=str.encode)
        ]

    def view(self, collection: str) -> ListView | None:
        members = self.members.get(collection)
        return None if members is None else ListView(list(members), self.capacity)

    def arrival(self, collection: str, id_: bytes) -> int | None:
        at = self.members.get(collection, {}).get(id_)
        return None if at is None else self.log[at].arrival

    def entry(self, collection: str, id_: bytes) -> StoredEntry | None:
        at = self.members.get(collection, {}).get(id_)
        return None if at is None else self.log[at]

    def entries(self, collection: str, ids: Iterable[bytes]) -> Iterator[StoredEntry]:
        found = (self.entry(collection, id_) for id_ in ids)
        return (entry for entry in found if entry is not None)

    def find(self, prefix: str, limit: int = 2) -> list[tuple[str, bytes]]:
        found = [
            (name, id_)
            for name, ids in self.members.items()
            for id_ in sorted(ids)
            if id_.hex().startswith(prefix)
        ]
        return found[:limit]

    def origin(self, arrival: int) -> Origin | None:
        return self.origins.get(arrival)

    def usage(self, author: bytes) -> Usage:
        return _usage(self.log, author)

    @property
    def withheld_count(self) -> int:
        return len(self.withheld(0, len(self.log)))

    def withheld(self, after: int, limit: int) -> Sequence[Withheld]:
        return [
            Withheld(one.arrival, one.collection, one.id, _claims(one).payload_size)
            for one in self.log[after:]
            if one.payload is None and not one.dropped
        ][:limit]

    @property
    def refused_count(self) -> int:
        return len(self.noted)

    def refused(
        self, refuser: Refuser, collection: str, prefix: str, now: int, limit: int
    ) -> Sequence[bytes]:
        return sorted(
            id_
            for (who, name, id_), at in self.noted.items()
            if (who, name) == (refuser, collection)
            and id_.hex().startswith(prefix)
            and _is_lately(at, now)
        )[:limit]

    def is_refused(
        self, refusers: Sequence[Refuser], collection: str, ids: Sequence[bytes], now: int
    ) -> set[bytes]:
        return {
            id_
            for id_ in ids
            for refuser in refusers
            if (at := self.noted.get((refuser, collection, id_))) is not None
            and _is_lately(at, now)
        }

    def index_tables(self, index: Index) -> MemoryTables:
        return MemoryTables(self.log, {name: self.tables[name] for name in index.tables})

    def since(
        self, arrival: int, limit: int, most_bytes: int | None = None
    ) -> Sequence[StoredEntry]:
        found: list[StoredEntry] = []
        size = 0
        for entry in self.log[arrival : arrival + limit]:
            found.append(entry)
            size += entry.size
            if most_bytes is not None and size >= most_bytes:
                break
        return found
