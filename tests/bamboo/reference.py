"""What `core.log` and `core.forks` must say, worked out the slow and obvious way.

It looks at all entries for each question, follows links by recursion, and shares nothing
with what it is compared to but the decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import combinations

from blake3 import blake3

from bamboo_compat.core.entry import Entry, decode

Place = tuple[bytes, int, int]


def lipmaa(n: int) -> int:
    """The specification's definition, letter by letter."""

    def ones(k: int) -> int:
        return int(3**k - 1) // 2

    def g(n: int) -> int:
        k = next(k for k in range(99) if ones(k) >= n)
        return k if n == ones(k) else g(n - ones(k - 1))

    k = next(k for k in range(99) if ones(k) >= n)
    return n - int(3 ** (k - 1)) if n == ones(k) else n - ones(g(n))


@dataclass(frozen=True)
class World:
    """Entries that are all valid by themselves."""

    given: tuple[bytes, ...]
    partial: bool

    @cached_property
    def entries(self) -> dict[bytes, Entry]:
        """By id."""
        return {blake3(data).digest(): decode(data) for data in self.given}

    @cached_property
    def names(self) -> dict[bytes, bytes]:
        """Every tagged hash of every entry, to its id."""
        known = {}
        for data in self.given:
            id = blake3(data).digest()
            known[bytes([0, 0x20]) + id] = id
            known[bytes([0, 0x40]) + blake2b(data).digest()] = id
        return known

    def place(self, id: bytes) -> Place:
        """Author, log id, sequence number."""
        entry = self.entries[id]
        return entry.author, entry.log_id, entry.seq_num

    def links(self, id: bytes) -> list[tuple[str, bytes, Place]]:
        """Reason if wrong, the link, and where it should lead."""
        entry = self.entries[id]
        found = []
        if entry.backlink is not None:
            wanted = (entry.author, entry.log_id, entry.seq_num - 1)
            found.append(("bad_backlink", entry.backlink, wanted))
        if entry.lipmaalink is not None:
            wanted = (entry.author, entry.log_id, lipmaa(entry.seq_num))
            found.append(("bad_lipmaalink", entry.lipmaalink, wanted))
        return found

    def faults(self, id: bytes) -> list[str]:
        """Its own, in order."""
        found, after_end = [], False
        me = self.entries[id]
        for reason, link, wanted in self.links(id):
            target = self.names.get(link)
            if target is None:
                if not self.partial:
                    found.append(reason)
                continue
            if self.place(target) != wanted:
                found.append(reason)
            it = self.entries[target]
            same_log = (it.author, it.log_id) == (me.author, me.log_id)
            after_end = after_end or (same_log and it.end_of_log and it.seq_num < me.seq_num)
        return [*found, "after_end_of_log"] if after_end else found

    def standing(self, id: bytes) -> tuple[str, list[str]]:
        """Standing, and the reasons if it is broken."""
        faults = self.faults(id)
        if faults:
            return "broken", faults
        below = [self.names[link] for _, link, _ in self.links(id) if link in self.names]
        standings = [self.standing(one) for one in below]
        for standing, reasons in standings:
            if standing == "broken":
                return "broken", reasons
        if self.entries[id].seq_num == 1 or any(one == "verified" for one, _ in standings):
            return "verified", []
        return "waiting", []

    def parent(self, id: bytes) -> tuple[bytes, bool]:
        """What it calls its parent, in one way for one entry; whether that is in place."""
        link = self.entries[id].backlink
        assert link is not None
        target = self.names.get(link)
        if target is None:
            return link, False
        author, log_id, seq_num = self.place(id)
        return bytes([0, 0x20]) + target, self.place(target) == (author, log_id, seq_num - 1)

    def forks(self) -> set[tuple[str, Place, bytes, frozenset[bytes]]]:
        """Kind, place, parent, and the ids of the entries that differ."""
        found: dict[tuple[str, Place, bytes], set[bytes]] = {}
        for one, two in combinations(self.entries, 2):
            if self.place(one) != self.place(two):
                continue
            place = self.place(one)
            if place[2] == 1:
                found.setdefault(("branch", place, b""), set()).update([one, two])
                continue
            (name, in_place), (other, other_in_place) = self.parent(one), self.parent(two)
            if name == other:
                found.setdefault(("branch", place, name), set()).update([one, two])
            elif not (in_place and other_in_place):
                everybody = [id for id in self.entries if self.place(id) == place]
                found.setdefault(("branch", place, b""), set()).update(everybody)
        for end, marker in self.entries.items():
            after = {id for id in self.entries if marker.end_of_log and self._is_after(id, end)}
            if after:
                name = bytes([0, 0x20]) + end
                place = (marker.author, marker.log_id, marker.seq_num + 1)
                found["after_end", place, name] = after
        return {(*key, frozenset(ids)) for key, ids in found.items()}

    def _is_after(self, id: bytes, end: bytes) -> bool:
        me, marker = self.entries[id], self.entries[end]
        same_log = (me.author, me.log_id) == (marker.author, marker.log_id)
        if not same_log or me.seq_num <= marker.seq_num:
            return False
        return end in [self.names.get(link) for _, link, _ in self.links(id)]
