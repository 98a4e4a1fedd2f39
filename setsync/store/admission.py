"""Which entries of a batch go over a quota: judged before anything of it is written.

Nearly always there is room for all of a batch, whatever of it is new; that is seen from its
sums. Else the batch is walked in its order, and only what is new counts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence

from setsync.model.entry import Entry
from setsync.model.refusal import Refusal
from setsync.store import layout
from setsync.store.contract import Origin, Origins, Quotas
from setsync.store.environment import Environment, Transaction
from setsync.store.nodes import LmdbNodes, get_number
from setsync.store.trie import find_arrival
from setsync.store.usage import UsageBook


class Admission:
    """Quotas against what is here, in one write transaction. `most_collections`: of this node,
    and of those one author."""

    def __init__(
        self,
        transaction: Transaction,
        env: Environment,
        usage: UsageBook,
        quotas: Quotas,
        most_collections: tuple[int, int],
    ) -> None:
        self._transaction = transaction
        self._env = env
        self._usage = usage
        self._quotas = quotas
        self._most, self._most_of_author = most_collections

    def refused(self, entries: Sequence[Entry], origins: Origins) -> dict[int, Refusal]:
        """By position in the batch, ascending."""
        if self._is_roomy(entries, origins):
            return {}
        return dict(_Walk(self, entries, origins).run())

    # --- the sums -------------------------------------------------------------------------

    def _is_roomy(self, entries: Sequence[Entry], origins: Origins) -> bool:
        """Whether all of it fits, even if all of it were new and of one author and peer."""
        count = len(entries)
        size = sum(
            [len(one.header) + (0 if one.payload is None else len(one.payload)) for one in entries]
        )
        quotas = self._quotas
        most_entries, most_bytes = self._usage.most({one.author for one in entries})
        if most_entries + count > quotas.author_entries or most_bytes + size > quotas.author_bytes:
            return False
        for origin in {origin for _, origin in origins if origin is not None and origin.peer}:
            brought = self._usage.brought(origin)
            if (
                brought.entries + count > quotas.peer_entries
                or brought.bytes + size > quotas.peer_bytes
            ):
                return False
        return self._has_room_for_collections(entries)

    def _has_room_for_collections(self, entries: Sequence[Entry]) -> bool:
        names = {one.collection for one in entries}
        new = {name for name in names if self.number(name) is None}
        if not new:
            return True
        authors = {one.author for one in entries if one.collection in new}
        return self.collections() + len(new) <= self._most and all(
            self.opened(author) + len(new) <= self._most_of_author for author in authors
        )

    # --- what is here ---------------------------------------------------------------------

    def number(self, collection: str) -> bytes | None:
        """A collection's number, as a key, if it is here."""
        name = collection.encode("utf-8")
        return self._transaction.get(name, db=self._env.table(layout.NAMES))

    def is_known(self, number: bytes | None, id_: bytes) -> bool:
        """Whether an entry is in a collection."""
        if number is None:
            return False
        return find_arrival(LmdbNodes(self._transaction, self._env, number), id_) is not None

    def collections(self) -> int:
        """How many there are."""
        return int(self._transaction.stat(db=self._env.table(layout.COLLECTIONS))["entries"])

    def opened(self, author: bytes) -> int:
        """How many collections an author opened."""
        return get_number(self._transaction, self._env.table(layout.OPENERS), author)

    def over(
        self, entry: Entry, origin: Origin | None, more: dict[bytes, list[int]]
    ) -> Refusal | None:
        """The quota that one more entry goes over, after `more` of its author and its peer."""
        quotas = self._quotas
        entries, size = self._usage.before(entry.author)
        counted = more[entry.author]
        if (
            entries + counted[0] + 1 > quotas.author_entries
            or size + counted[1] + entry.size > quotas.author_bytes
        ):
            return Refusal.AUTHOR_QUOTA
        if origin is None or not origin.peer:
            return None
        brought, counted = self._usage.brought(origin), more[_peer_key(origin)]
        if (
            brought.entries + counted[0] + 1 > quotas.peer_entries
            or brought.bytes + counted[1] + entry.size > quotas.peer_bytes
        ):
            return Refusal.PEER_QUOTA
        return None

    def may_open(self, author: bytes, opened: Counter[bytes]) -> bool:
        """Whether an author may open one more collection, after those of this batch."""
        return (
            self.collections() + opened.total() < self._most
            and self.opened(author) + opened[author] < self._most_of_author
        )


class _Walk:
    """One batch, entry by entry, as if each were added alone."""

    def __init__(self, admission: Admission, entries: Sequence[Entry], origins: Origins) -> None:
        self._admission = admission
        self._entries = entries
        self._origins = origins
        self._starts = [start for start, _ in origins]
        self._numbers: dict[str, bytes | None] = {}
        self._taken: set[tuple[str, bytes]] = set()
        self._names: set[str] = set()
        self._opened: Counter[bytes] = Counter()
        self._more: dict[bytes, list[int]] = _Sums()

    def run(self) -> Iterator[tuple[int, Refusal]]:
        """What is refused, with its position."""
        for position, entry in enumerate(self._entries):
            if self._is_known(entry):
                continue
            origin = self._origin(position)
            refusal = self._admission.over(entry, origin, self._more) or self._closed(entry)
            if refusal is not None:
                yield position, refusal
            else:
                self._take(entry, origin)

    def _is_known(self, entry: Entry) -> bool:
        name = entry.collection
        if (name, entry.id) in self._taken:
            return True
        if name not in self._numbers:
            self._numbers[name] = self._admission.number(name)
        return self._admission.is_known(self._numbers[name], entry.id)

    def _closed(self, entry: Entry) -> Refusal | None:
        if self._is_open(entry.collection) or self._admission.may_open(entry.author, self._opened):
            return None
        return Refusal.COLLECTIONS

    def _is_open(self, name: str) -> bool:
        return self._numbers[name] is not None or name in self._names

    def _take(self, entry: Entry, origin: Origin | None) -> None:
        if not self._is_open(entry.collection):
            self._names.add(entry.collection)
            self._opened[entry.author] += 1
        self._taken.add((entry.collection, entry.id))
        keys = [entry.author]
        if origin is not None and origin.peer:
            keys.append(_peer_key(origin))
        for key in keys:
            self._more[key][0] += 1
            self._more[key][1] += entry.size

    def _origin(self, position: int) -> Origin | None:
        run = bisect_right(self._starts, position) - 1
        return self._origins[run][1] if run >= 0 else None


class _Sums(dict[bytes, list[int]]):
    def __missing__(self, key: bytes) -> list[int]:
        self[key] = [0, 0]
        return self[key]


def _peer_key(origin: Origin) -> bytes:
    """A peer and a day: longer than an author's key, so that the two are never the same."""
    return origin.peer + layout.day_of(origin.at).to_bytes(4, "big")
