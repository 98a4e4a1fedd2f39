"""The store's contract on sorted lists: the tests' oracle, and a place for small sets.

Everything is computed straight from the definitions, so it is slow and easy to believe.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from setsync.model.entry import Entry
from setsync.reconcile.digest import LEAF_CAPACITY, Summary
from setsync.reconcile.view import ListView
from setsync.store.contract import Added, StoredEntry


@dataclass
class MemoryStore:
    """See `setsync.store.contract.EntryStore`. Nothing is durable, and nothing limits how many
    collections there are."""

    leaf_capacity: int = LEAF_CAPACITY
    _log: list[StoredEntry] = field(default_factory=list)
    _members: dict[str, dict[bytes, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add_many(self, entries: Sequence[Entry]) -> Added:
        """Add a batch; known entries change nothing but a payload they lacked."""
        new: list[bytes] = []
        payloads = 0
        with self._lock:
            for entry in entries:
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
                elif self._log[at].payload is None and entry.payload is not None:
                    self._log[at] = replace(self._log[at], payload=entry.payload)
                    payloads += 1
        return Added(tuple(new), len(entries) - len(new), payloads)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[MemorySnapshot]:
        """One moment, copied."""
        with self._lock:
            log = list(self._log)
            members = {name: dict(ids) for name, ids in self._members.items()}
        yield MemorySnapshot(log, members, self.leaf_capacity)


@dataclass(frozen=True)
class MemorySnapshot:
    """See `setsync.store.contract.Snapshot`."""

    log: list[StoredEntry]
    members: dict[str, dict[bytes, int]]
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
