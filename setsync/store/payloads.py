"""Payloads that somebody at this node drops, or wants again. Entries themselves stay."""

from __future__ import annotations

from setsync.errors import NoSuchEntryError, PayloadNeededError
from setsync.model.collection import is_system
from setsync.model.formats import format_of
from setsync.model.indexes import Index, Payload
from setsync.store import layout
from setsync.store.environment import Environment, Transaction
from setsync.store.guests import GuestTables
from setsync.store.nodes import LmdbNodes, get_record
from setsync.store.trie import find_arrival
from setsync.store.usage import UsageBook


def drop(
    transaction: Transaction, env: Environment, collection: str, id_: bytes, index: Index | None
) -> int:
    """Remove the payload of an entry; how many bytes it had here.

    Raises NoSuchEntryError, PayloadNeededError.
    """
    refuse_system(collection, id_)
    key, record = _find(transaction, env, collection, id_)
    if record.dropped:
        return 0
    _write(transaction, env, key, id_, record, dropped=True)
    claims = format_of(record.header).decode(record.header)
    if record.payload is None:
        transaction.delete(key, db=env.table(layout.WITHHELD))
    else:
        usage = UsageBook(transaction, env)
        usage.drop(claims.author, len(record.payload))
        usage.write()
    if index is not None:
        arrival = int.from_bytes(key, "big")
        elsewhere = _elsewhere(transaction, env, id_)
        payload = Payload(arrival, id_, claims, elsewhere)
        index.dropped(GuestTables(transaction, env, index), payload)
    return len(record.payload or b"")


def restore(
    transaction: Transaction, env: Environment, collection: str, id_: bytes, index: Index | None
) -> bool:
    """Let a dropped payload count as withheld; whether it was dropped.

    Raises NoSuchEntryError.
    """
    key, record = _find(transaction, env, collection, id_)
    if not record.dropped:
        return False
    _write(transaction, env, key, id_, record, dropped=False)
    claims = format_of(record.header).decode(record.header)
    size = layout.pack_size(claims.payload_size)
    transaction.put(key, size, db=env.table(layout.WITHHELD))
    if index is not None:
        payload = Payload(int.from_bytes(key, "big"), id_, claims)
        index.restored(GuestTables(transaction, env, index), payload)
    return True


def refuse_system(collection: str, id_: bytes) -> None:
    """Raises PayloadNeededError for an entry of the system's collections."""
    if is_system(collection):
        raise PayloadNeededError(
            f"The payload of {id_.hex()} stays: {collection!r} is a collection of the system."
        )


def _find(
    transaction: Transaction, env: Environment, collection: str, id_: bytes
) -> tuple[bytes, layout.LogRecord]:
    number = transaction.get(collection.encode("utf-8", "replace"), db=env.table(layout.NAMES))
    arrival = find_arrival(LmdbNodes(transaction, env, number), id_) if number else None
    if arrival is None:
        raise NoSuchEntryError(f"There is no entry {id_.hex()} in the collection {collection!r}.")
    key = layout.arrival_key(arrival)
    return key, get_record(transaction, env.table(layout.LOG), key)


def _write(
    transaction: Transaction,
    env: Environment,
    key: bytes,
    id_: bytes,
    record: layout.LogRecord,
    *,
    dropped: bool,
) -> None:
    """The record without its payload."""
    value = layout.pack_log(record.collection, id_, record.header, None, dropped=dropped)
    transaction.put(key, value, db=env.table(layout.LOG))


def _elsewhere(transaction: Transaction, env: Environment, id_: bytes) -> int | None:
    """A copy with its payload, in whichever collection; about 5 us for each that there is."""
    log = env.table(layout.LOG)
    with transaction.cursor(db=env.table(layout.COLLECTIONS)) as cursor:
        for number, _ in cursor.iternext():
            arrival = find_arrival(LmdbNodes(transaction, env, number), id_)
            if arrival is None:
                continue
            record = get_record(transaction, log, layout.arrival_key(arrival))
            if record.payload is not None:
                return arrival
    return None
