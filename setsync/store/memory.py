"""The store's contract on sorted lists: the tests' oracle, and a place for small sets.

Everything is computed straight from the definitions, so it is slow and easy to believe.
"""

from __future__ import annotations

import contextlib
import threading
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from setsync.model.entry import Entry
from setsync.model.indexes import Arrived, Index
from setsync.reconcile.digest import LEAF_CAPACITY, Summary
from setsync.reconcile.view import ListView
from setsync.store.contract import Added, Origin, Origins, StoredEntry
from setsync.store.guests import indexes_for


@dataclass
class MemoryStore:
    """See `setsync.store.contract.EntryStore`. Nothing is durable, and nothing limits how many
    collections there are."""

    leaf_capacity: int = LEAF_CAPACITY
    _log: list[StoredEntry] = field(default_factory=list)
    _members: dict[str, dict[bytes, int]] = field(default_factory=dict)
    _origins: dict[int, Origin] = field(default_factory=dict)
    _tables: dict[bytes, MemoryTable] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add_many(self, entries: Sequence[Entry], origins: Origins = ()) -> Added:
        """Add a batch; known entries change nothing but a payload they lacked."""
        new: list[bytes] = []
        fresh: list[Arrived] = []
        attached: list[Arrived] = []
        starts = [start for start, _ in origins]
        with self._lock:
            for position, entry in enumerate(entries):
                members = self._members.setdefault(entry.collection, {})
                at = members.get(entry.id)
                if at is None:
                    members[entry.id] = len(self._log)
                    self._log.append(
                        StoredEntry(
                            entry.id,
                            len(self._log) + 1,
                            entry.collection,
                            entry.header,
                            entry.payload,
                        )
                    )
                    new.append(entry.id)
                    fresh.append(Arrived(len(self._log), entry, is_new=True))
                    run = bisect_left(starts, position + 1) - 1
                    if run >= 0 and (origin := origins[run][1]) is not None:
                        self._origins[len(self._log)] = origin
                elif self._log[at].payload is None and entry.payload is not None:
                    self._log[at] = replace(self._log[at], payload=entry.payload)
                    attached.append(Arrived(at + 1, entry, is_new=False))
            self._tell_indexes(fresh + attached)
        return Added(tuple(new), len(entries) - len(new), len(attached))

    def _tell_indexes(self, arrived: Sequence[Arrived]) -> None:
        for name, index in indexes_for(one.entry for one in arrived).items():
            mine = [one for one in arrived if one.entry.claims.format == name]
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
        yield MemorySnapshot(log, members, origins, tables, self.leaf_capacity)


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
