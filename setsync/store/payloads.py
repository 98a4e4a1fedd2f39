"""Payloads that somebody at this node drops, or wants again. Entries themselves stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from setsync import limits
from setsync.errors import NoSuchEntryError, PayloadNeededError
from setsync.model.collection import is_system
from setsync.model.formats import format_of, index_of
from setsync.model.indexes import Index, Payload
from setsync.store import layout
from setsync.store.contract import Dropped
from setsync.store.environment import Environment, Transaction
from setsync.store.guests import GuestTables, is_open
from setsync.store.nodes import LmdbNodes, get_record
from setsync.store.trie import find_arrival
from setsync.store.usage import UsageBook


def drop(
    transaction: Transaction, env: Environment, collection: str, id_: bytes, index: Index | None
) -> int:
    """Remove the payload of an entry; how many bytes it had here.

    Raises NoSuchEntryError, PayloadNeededError.
    """
    usage = UsageBook(transaction, env)
    freed = _drop(transaction, env, usage, collection, id_, lambda name: index)
    usage.write()
    return freed or 0


class IndexNotOpenError(Exception):
    """An index has to be told of a payload and its tables are not ready: open it, and again."""

    def __init__(self, index: Index) -> None:
        super().__init__(index.tables)
        self.index = index


def drop_many(
    transaction: Transaction, env: Environment, entries: Sequence[tuple[str, bytes]]
) -> Dropped:
    """Remove the payloads of (collection, id), but for those that are needed, as far as that goes
    in COMMIT_SECONDS.

    Raises NoSuchEntryError, IndexNotOpenError; the transaction is of no use then.
    """

    def ready(format_name: str) -> Index | None:
        index = index_of(format_name)
        if index is not None and not is_open(env, index):
            raise IndexNotOpenError(index)
        return index

    usage = UsageBook(transaction, env)
    freed: dict[int, int] = {}
    needed: list[int] = []
    done, end = 0, env.clock() + limits.COMMIT_SECONDS
    for place, (collection, id_) in enumerate(entries):
        try:
            size = _drop(transaction, env, usage, collection, id_, ready)
        except PayloadNeededError:
            needed.append(place)
        else:
            if size is not None:
                freed[place] = size
        done += 1
        if env.clock() >= end:
            break
    usage.write()
    return Dropped(freed, tuple(needed), done)


def _drop(
    transaction: Transaction,
    env: Environment,
    usage: UsageBook,
    collection: str,
    id_: bytes,
    index_for: Callable[[str], Index | None],
) -> int | None:
    """How many bytes the payload had here; None when it was dropped before. A payload that is
    needed leaves the transaction as it was."""
    key, record = _find(transaction, env, collection, id_)
    refuse_system(collection, id_)
    if record.dropped:
        return None
    claims = format_of(record.header).decode(record.header)
    index = index_for(claims.format)
    _write(transaction, env, key, id_, record, None, dropped=True)
    if index is not None:
        elsewhere: int | None = None
        if record.payload is not None:
            names = index.collections(claims, record.payload)
            elsewhere = _elsewhere(transaction, env, names, id_)
        payload = Payload(int.from_bytes(key, "big"), id_, claims, elsewhere)
        try:
            index.dropped(GuestTables(transaction, env, index), payload)
        except PayloadNeededError:
            _write(transaction, env, key, id_, record, record.payload, dropped=False)
            raise
    if record.payload is None:
        transaction.delete(key, db=env.table(layout.WITHHELD))
        return 0
    usage.drop(claims.author, len(record.payload))
    return len(record.payload)


def restore(
    transaction: Transaction, env: Environment, collection: str, id_: bytes, index: Index | None
) -> bool:
    """Let a dropped payload count as withheld; whether it was dropped.

    Raises NoSuchEntryError.
    """
    key, record = _find(transaction, env, collection, id_)
    if not record.dropped:
        return False
    _write(transaction, env, key, id_, record, None, dropped=False)
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
    arrival = _arrival(transaction, env, collection, id_)
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
    payload: bytes | None,
    *,
    dropped: bool,
) -> None:
    """The record with another payload, or none."""
    value = layout.pack_log(record.collection, id_, record.header, payload, dropped=dropped)
    transaction.put(key, value, db=env.table(layout.LOG))


def _elsewhere(
    transaction: Transaction, env: Environment, collections: Iterable[str], id_: bytes
) -> int | None:
    """A copy with its payload, in one of these collections."""
    log = env.table(layout.LOG)
    for collection in collections:
        arrival = _arrival(transaction, env, collection, id_)
        if arrival is not None:
            record = get_record(transaction, log, layout.arrival_key(arrival))
            if record.payload is not None:
                return arrival
    return None


def _arrival(transaction: Transaction, env: Environment, collection: str, id_: bytes) -> int | None:
    number = transaction.get(collection.encode("utf-8", "replace"), db=env.table(layout.NAMES))
    return find_arrival(LmdbNodes(transaction, env, number), id_) if number else None
