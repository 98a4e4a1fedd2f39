"""Stores to measure on: made up from a seed, or a part of somebody's own entries."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator

from setsync.model.entry import Entry, UnverifiedEntry, make_entry, trusted
from setsync.model.keys import SecretKey
from setsync.store.contract import EntryStore, StoredEntry

COLLECTION = "bench"
ENTRY_BYTES = 300
_HEADER_BYTES = 147 + len(COLLECTION)
_MIDNIGHT = 1_700_000_000_000
_BATCH = 10_000

OnFilled = Callable[[int], None]


def made_up(first: int, count: int) -> Iterator[Entry]:
    """Signed entries of 300 bytes, header and payload; the same numbers are the same entries."""
    author = SecretKey(hashlib.sha256(b"setsync bench").digest())
    for number in range(first, first + count):
        payload = hashlib.shake_128(b"%d" % number).digest(ENTRY_BYTES - _HEADER_BYTES)
        yield make_entry(author, COLLECTION, payload, _MIDNIGHT + number)


def part_of(store: Iterable[StoredEntry], fraction: float) -> Iterator[Entry]:
    """About that fraction of a store's entries, chosen by the last bytes of their ids."""
    limit = int(fraction * 2**64)
    for entry in store:
        if int.from_bytes(entry.id[-8:], "big") < limit:
            # Verified when it was stored; checking it again would measure nothing.
            yield trusted(UnverifiedEntry(entry.collection, entry.header, entry.payload))


def fill(stores: Iterable[EntryStore], entries: Iterable[Entry], on_filled: OnFilled) -> None:
    """Add the same entries to every store, in batches; hears after each how many there are."""
    targets = list(stores)
    remaining = iter(entries)
    filled = 0
    while batch := list(itertools.islice(remaining, _BATCH)):
        for store in targets:
            store.add_many(batch)
        filled += len(batch)
        on_filled(filled)
