"""What has come into a store, in the order of arrival, as it is told to people and programs.

The log of the store is the only memory: whoever follows it keeps one number, that of the last
arrival he has seen, and so misses nothing and holds nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from setsync.limits import ENTRY_BATCH
from setsync.model.formats import format_of
from setsync.store.contract import EntryStore, Origin, StoredEntry

# Entries of one look; a snapshot has to be short.
_MOST_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Arrival:
    """An entry and who brought it; None: that was not written down."""

    entry: StoredEntry
    origin: Origin | None


def last_arrival(store: EntryStore) -> int:
    """The number of what came last; 0 in an empty store."""
    with store.snapshot() as snapshot:
        return snapshot.last_arrival


def read_arrivals(store: EntryStore, after: int) -> Sequence[Arrival]:
    """The next few entries that came after this arrival number; none: that was all."""
    with store.snapshot() as snapshot:
        found = snapshot.since(after, _MOST_AT_ONCE, ENTRY_BATCH)
        return [Arrival(entry, snapshot.origin(entry.arrival)) for entry in found]


def arrival_json(arrival: Arrival, *, with_payload: bool = False) -> dict[str, object]:
    """The object that docs/json/watch.json describes."""
    entry, origin = arrival.entry, arrival.origin
    claims = format_of(entry.header).decode(entry.header)
    told: dict[str, object] = {
        "arrival": entry.arrival,
        "collection": entry.collection,
        "id": entry.id.hex(),
        "author": claims.author.hex(),
        "timestamp": claims.timestamp,
        "payload_size": claims.payload_size,
        "payload_here": entry.payload is not None,
        "brought_by": None if origin is None else origin.peer.hex(),
        "brought_at": None if origin is None else origin.at,
    }
    if with_payload:
        payload = entry.payload
        told["payload"] = None if payload is None else base64.b64encode(payload).decode("ascii")
    return told
