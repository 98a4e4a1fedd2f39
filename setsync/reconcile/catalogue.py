"""What one side has of the collections both want, and its digest.

The digest is keyed for the session, and its 32 bytes stand for the whole set: equal ones
mean that every collection of mutual interest has the same name, count and root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from blake3 import blake3

from setsync.model.collection import system_first
from setsync.reconcile.digest import Summary
from setsync.reconcile.labels import digest_label
from setsync.reconcile.view import EmptyView, SetView

ROOT_LABEL = 16
"""Bytes of a root's label in a listing; what closes a collection is longer than a child's."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """(name, summary) of collections, system collections first, then by name."""

    collections: tuple[tuple[str, Summary], ...]

    @classmethod
    def of(
        cls, collections: Iterable[tuple[str, Summary]], wanted: Callable[[str], bool]
    ) -> Catalogue:
        """Those collections whose name is wanted."""
        chosen = [item for item in collections if wanted(item[0])]
        return cls(tuple(sorted(chosen, key=lambda item: system_first(item[0]))))

    def digest(self, key: bytes) -> bytes:
        """32 bytes over every name, count and root."""
        hasher = blake3(b"catalogue", key=key)
        for name, summary in self.collections:
            encoded = name.encode("utf-8")
            hasher.update(len(encoded).to_bytes(2, "big") + encoded + summary.pack())
        return hasher.digest()

    def listing(self, key: bytes) -> list[tuple[str, int, bytes]]:
        """What the peer is told of each: name, count, label of the root."""
        return [
            (name, summary.count, digest_label(summary, "", ROOT_LABEL, key))
            for name, summary in self.collections
        ]

    def hashes(self, key: bytes) -> dict[bytes, int]:
        """A hash of 32 bytes for each name, count and root, and its place in the catalogue:
        a long catalogue is compared as the set of these."""
        found: dict[bytes, int] = {}
        for at, (name, summary) in enumerate(self.collections):
            text = b"collection" + summary.pack() + name.encode("utf-8")
            found[blake3(text, key=key).digest()] = at
        return found

    def part(self, places: Iterable[int]) -> Catalogue:
        """The collections at these places."""
        return Catalogue(tuple(self.collections[at] for at in sorted(places)))

    @property
    def entry_count(self) -> int:
        """Entries of all collections."""
        return sum(summary.count for _, summary in self.collections)


class NumberedViews(Mapping[int, SetView]):
    """Views by the numbers that a session gives to collections; what is not here is empty."""

    def __init__(self, names: Sequence[str], view: Callable[[str], SetView | None]) -> None:
        self._names = names
        self._view = view
        self._open: dict[int, SetView] = {}

    def __getitem__(self, number: int) -> SetView:
        if number not in self._open:
            if not 0 <= number < len(self._names):
                raise KeyError(number)
            self._open[number] = self._view(self._names[number]) or EmptyView()
        return self._open[number]

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._names)))

    def __len__(self) -> int:
        return len(self._names)
