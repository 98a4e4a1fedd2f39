"""What the page asks the store: each question one short look, all answers plain values.

Every function gets a snapshot and runs off the event loop; lists have at most MAX_WEB_ROWS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from setsync.errors import AmbiguousPrefixError, NoSuchCollectionError, NoSuchEntryError, UsageError
from setsync.limits import ENTRY_BATCH, MAX_WEB_ROWS, MAX_WEB_SEARCHED
from setsync.model.formats import Claims, format_of
from setsync.store.contract import Origin, Snapshot, StoredEntry

_HEX = re.compile("[0-9a-f]{1,64}")
# Entries of one step of a search backwards.
_STEP = 256


@dataclass(frozen=True, slots=True)
class Collection:
    """One of the set's parts; `digest` in hex."""

    name: str
    count: int
    digest: str

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {"name": self.name, "count": self.count, "digest": self.digest}


@dataclass(frozen=True, slots=True)
class Contents:
    """The store at a glance, with some of its collections; `after` is where the next begin."""

    entries: int
    last_arrival: int
    missing_payloads: int
    collection_count: int
    collections: tuple[Collection, ...]
    after: str | None


def contents(snapshot: Snapshot, after: str = "", limit: int = MAX_WEB_ROWS) -> Contents:
    """Collections whose names come after a name, in the order of their bytes."""
    found = snapshot.collections()
    rest = [one for one in found if one[0].encode() > after.encode()]
    page = [Collection(name, it.count, it.digest.hex()) for name, it in rest[:limit]]
    return Contents(
        snapshot.entry_count,
        snapshot.last_arrival,
        snapshot.withheld_count,
        len(found),
        tuple(page),
        page[-1].name if len(rest) > limit else None,
    )


# --- entries ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """An entry in a list."""

    id: str
    collection: str
    author: str
    format: str
    timestamp: int | None
    arrival: int
    payload_size: int
    payload_here: bool
    dropped: bool
    beginning: str

    def as_json(self) -> dict[str, Any]:
        """What a program wants of it."""
        return {
            "id": self.id,
            "collection": self.collection,
            "author": self.author,
            "format": self.format,
            "timestamp": self.timestamp,
            "arrival": self.arrival,
            "payload_size": self.payload_size,
            "payload_here": self.payload_here,
            "payload_dropped": self.dropped,
        }


@dataclass(frozen=True, slots=True)
class Listing:
    """Some entries. `next`: what to ask for to go on, None at the end; an arrival number where
    the newest come first, the last id of a collection where they stand in the order of ids."""

    rows: tuple[Row, ...]
    next: str | None = None
    searched: int = 0


@dataclass(frozen=True, slots=True)
class Search:
    """What entries are wanted: `id_prefix` and `author` in hex digits, empty for any."""

    collection: str = ""
    id_prefix: str = ""
    author: str = ""
    after: str = ""

    @classmethod
    def parse(cls, query: dict[str, str]) -> Search:
        """From the fields of a form. Raises UsageError."""
        found = cls(
            query.get("collection", "").strip(),
            query.get("id", "").strip().lower(),
            query.get("author", "").strip().lower(),
            query.get("after", "").strip().lower(),
        )
        for what, text in (("An id", found.id_prefix), ("An author's key", found.author)):
            if text and not _HEX.fullmatch(text):
                raise UsageError(f"{what} is given in hex digits, 64 at most.")
        is_id = bool(found.collection)
        shape = "[0-9a-f]{64}" if is_id else "[0-9]{1,18}"
        if found.after and not re.fullmatch(shape, found.after):
            raise UsageError("That is no place where a list could go on.")
        return found

    def matches(self, claims: Claims) -> bool:
        """Whether the author is the one looked for."""
        return claims.author.hex().startswith(self.author)

    def going_on(self, after: str | None) -> dict[str, str]:
        """The fields of a form that goes on from there."""
        fields = {
            "collection": self.collection,
            "id": self.id_prefix,
            "author": self.author,
            "after": after or "",
        }
        return {name: value for name, value in fields.items() if value}


def entries(snapshot: Snapshot, search: Search) -> Listing:
    """Those that were asked for. Raises NoSuchCollectionError."""
    if search.id_prefix:
        return _by_id(snapshot, search)
    if search.collection:
        return _of_collection(snapshot, search)
    return _newest(snapshot, search)


def _by_id(snapshot: Snapshot, search: Search) -> Listing:
    found = snapshot.find(search.id_prefix, MAX_WEB_ROWS)
    wanted = [
        entry
        for collection, id_ in found
        if not search.collection or collection == search.collection
        if (entry := snapshot.entry(collection, id_)) is not None
    ]
    return Listing(tuple(_rows(wanted, search)))


def _of_collection(snapshot: Snapshot, search: Search) -> Listing:
    view = snapshot.view(search.collection)
    if view is None:
        raise NoSuchCollectionError(f"There is no collection {search.collection!r} here.")
    rows: list[Row] = []
    after, looked = bytes.fromhex(search.after), 0
    while looked < MAX_WEB_SEARCHED:
        ids = [one.tobytes() for one in view.ids("", after, _STEP)]
        for entry in snapshot.entries(search.collection, ids):
            if len(rows) == MAX_WEB_ROWS:
                return Listing(tuple(rows), rows[-1].id, looked)
            looked += 1
            rows += _rows([entry], search)
        if len(ids) < _STEP:
            return Listing(tuple(rows), None, looked)
        after = ids[-1]
    return Listing(tuple(rows), after.hex(), looked)


def _newest(snapshot: Snapshot, search: Search) -> Listing:
    """Backwards through the log of arrivals."""
    rows: list[Row] = []
    last = snapshot.last_arrival
    before = min(int(search.after) if search.after else last + 1, last + 1)
    looked = 0
    while before > 1 and looked < MAX_WEB_SEARCHED:
        start = max(0, before - 1 - _STEP)
        found = _between(snapshot, start, before)
        for entry in reversed(found):
            if len(rows) == MAX_WEB_ROWS:
                return Listing(tuple(rows), str(rows[-1].arrival), looked)
            looked += 1
            rows += _rows([entry], search)
        before = start + 1
    return Listing(tuple(rows), str(before) if before > 1 else None, looked)


def _between(snapshot: Snapshot, after: int, before: int) -> list[StoredEntry]:
    """Entries with arrival numbers between the two, ascending."""
    found: list[StoredEntry] = []
    while True:
        batch = snapshot.since(after, _STEP, ENTRY_BATCH)
        # Only what is shown of a payload is kept: one may have megabytes.
        found += [_shortened(entry) for entry in batch if entry.arrival < before]
        if not batch or batch[-1].arrival >= before - 1:
            return found
        after = batch[-1].arrival


def _shortened(entry: StoredEntry) -> StoredEntry:
    return replace(entry, payload=entry.payload[: _BEGINNING * 4]) if entry.payload else entry


# Characters of a payload in a list.
_BEGINNING = 80


def _rows(found: Iterable[StoredEntry], search: Search) -> Iterable[Row]:
    for entry in found:
        claims = format_of(entry.header).decode(entry.header)
        if search.matches(claims):
            yield row_of(entry, claims)


def row_of(entry: StoredEntry, claims: Claims) -> Row:
    """An entry in a list."""
    return Row(
        entry.id.hex(),
        entry.collection,
        claims.author.hex(),
        claims.format,
        claims.timestamp,
        entry.arrival,
        claims.payload_size,
        entry.payload is not None,
        entry.dropped,
        _beginning(entry.payload or b""),
    )


def _beginning(payload: bytes) -> str:
    """The first line of a text; nothing of what is none."""
    text = payload[: _BEGINNING * 4].decode("utf-8", "ignore").lstrip().splitlines()
    line = text[0][:_BEGINNING] if text else ""
    return line if line.isprintable() else ""


# --- one entry ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Whole:
    """One entry, all of it; `places`: the collections that it is in."""

    entry: StoredEntry
    claims: Claims
    origin: Origin | None
    places: tuple[str, ...]


def one_entry(snapshot: Snapshot, prefix: str, collection: str = "") -> Whole:
    """Raises NoSuchEntryError, AmbiguousPrefixError."""
    if not _HEX.fullmatch(prefix):
        raise NoSuchEntryError("An id has hex digits, 64 at most.")
    found = snapshot.find(prefix, MAX_WEB_ROWS)
    ids = {id_ for _, id_ in found}
    if len(ids) > 1:
        raise AmbiguousPrefixError(f"More than one id begins with {prefix}.")
    places = _places(found)
    place = collection or (places[0] if places else "")
    entry = snapshot.entry(place, found[0][1]) if place in places else None
    if entry is None:
        raise NoSuchEntryError(f"No entry's id begins with {prefix}.")
    claims = format_of(entry.header).decode(entry.header)
    return Whole(entry, claims, snapshot.origin(entry.arrival), places)


def _places(found: Sequence[tuple[str, bytes]]) -> tuple[str, ...]:
    return tuple(sorted({collection for collection, _ in found}))


def header_json(whole: Whole) -> dict[str, object]:
    """What the header says and how the entry came, as plain values."""
    entry, claims, origin = whole.entry, whole.claims, whole.origin
    return {
        "id": entry.id.hex(),
        "collection": entry.collection,
        "collections": list(whole.places),
        "format": claims.format,
        "author": claims.author.hex(),
        "timestamp": claims.timestamp,
        "links": [link.hex() for link in claims.links],
        "payload_size": claims.payload_size,
        "payload_hash": claims.payload_hash.hex(),
        "payload_here": entry.payload is not None,
        "payload_dropped": entry.dropped,
        "signature": claims.signature.hex(),
        "arrival": entry.arrival,
        "brought_by": None if origin is None else origin.peer.hex(),
        "brought_at": None if origin is None else origin.at,
    }
