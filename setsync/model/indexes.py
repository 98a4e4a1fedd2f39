"""What a format may keep beside the set: an index in tables of its own.

The store calls it inside the transaction of the insert, so that an index can never disagree
with the set it is about. It sees every entry of its format, and nothing of LMDB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from setsync.model.entry import Entry
from setsync.model.formats import Claims


@dataclass(frozen=True, slots=True)
class Arrived:
    """An entry that a batch brought: new in its collection, or there without its payload
    until now. `arrival` is the number under which the collection has it."""

    arrival: int
    entry: Entry
    is_new: bool


@dataclass(frozen=True, slots=True)
class Payload:
    """The payload of an entry that the collection has under `arrival`. `elsewhere`: where it was
    here, the number of a copy in another collection that has it still, if there is one."""

    arrival: int
    id: bytes
    claims: Claims
    elsewhere: int | None = None


class Table(Protocol):
    """Keys (1 to 511 bytes) and values, in the order of the keys' bytes."""

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""

    def put(self, key: bytes, value: bytes) -> None:
        """Set a value."""

    def delete(self, key: bytes) -> None:
        """Remove a key, if it is there."""

    def items(self, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys and values from `start` on, ascending. Nothing may be written to the table
        until the iterator is done or dropped."""

    def last_below(self, key: bytes) -> tuple[bytes, bytes] | None:
        """The item with the highest key below `key`."""

    def __len__(self) -> int:
        """How many keys there are."""


class Tables(Protocol):
    """One moment of the store, as an index sees it."""

    def table(self, name: bytes) -> Table:
        """One of the index's own tables."""

    def logged(self, arrival: int) -> tuple[bytes, bytes | None]:
        """Header and payload of the entry with this arrival number."""


class Index(Protocol):
    """Kept by a format. The names of its tables begin with the format's name and a dot."""

    tables: tuple[bytes, ...]

    def add(self, tables: Tables, arrived: Sequence[Arrived]) -> None:
        """Take in what one batch brought, in order of arrival. May run again from the start
        when the store had to grow, so it changes nothing but the tables."""

    def collections(self, claims: Claims, payload: bytes) -> Iterable[str]:
        """The names of those that the format lets an entry with this payload into: few, and by
        the bytes alone, since a copy is looked for in each of them."""

    def dropped(self, tables: Tables, payload: Payload) -> None:
        """A payload is removed here on purpose; also one that was not here. What it said before
        stays true. Raises PayloadNeededError, and nothing is removed."""

    def restored(self, tables: Tables, payload: Payload) -> None:
        """A payload that was dropped counts as withheld again."""

    def check(self, tables: Tables) -> Iterator[str]:
        """A sentence for each thing that is not as it should be."""
