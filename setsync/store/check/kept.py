"""The kept sketches: each, with what arrived since, against its range encoded afresh."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from setsync.errors import DamagedStoreError
from setsync.reconcile.sketch import Symbols
from setsync.store import layout
from setsync.store.check.report import Kind, Report
from setsync.store.environment import Environment, Transaction
from setsync.store.lmdb_store import Store
from setsync.store.nodes import LmdbNodes
from setsync.store.sketches import unpack_symbols
from setsync.store.trie import TrieView

Recent = dict[tuple[int, bytes], bytes]
"""Joined short ids by the first arrival of their batch and their collection."""


def check_kept(store: Store, report: Report) -> None:
    """Check `recent` and `sketches` in one snapshot, about 2 s a million members."""
    env = store.environment
    with env.read() as transaction:
        recent = _read_recent(transaction, env)
        state = transaction.get(layout.STATE_CHECKPOINT, db=env.table(layout.STATE))
        checkpoint = int.from_bytes(state or b"", "big")
        if recent != _recent_of_log(transaction, env, checkpoint, recent):
            report.found(
                Kind.SKETCH, f"The short ids since arrival {checkpoint} do not fit the log."
            )
        with transaction.cursor(db=env.table(layout.SKETCHES)) as cursor:
            for key, value in cursor.iternext():
                _check_sketch(transaction, store, key, value, recent, report)


def _read_recent(transaction: Transaction, env: Environment) -> Recent:
    with transaction.cursor(db=env.table(layout.RECENT)) as cursor:
        return {
            (int.from_bytes(key[:8], "big"), layout.recent_collection(key)): value
            for key, value in cursor.iternext()
        }


def _recent_of_log(
    transaction: Transaction, env: Environment, checkpoint: int, recent: Recent
) -> Recent:
    """What `recent` should hold, given where its batches begin."""
    firsts = sorted({first for first, _ in recent})
    found: dict[tuple[int, bytes], list[bytes]] = {}
    with transaction.cursor(db=env.table(layout.LOG)) as cursor:
        if cursor.set_range(layout.arrival_key(checkpoint + 1)):
            for key, value in cursor.iternext():
                try:
                    record = layout.unpack_log(value)
                except DamagedStoreError:
                    continue  # told of where the log is checked
                at = bisect_right(firsts, int.from_bytes(key, "big")) - 1
                first = firsts[at] if at >= 0 else 0
                where = first, layout.collection_key(record.collection)
                found.setdefault(where, []).append(record.short_id)
    return {where: b"".join(parts) for where, parts in found.items()}


def _check_sketch(
    transaction: Transaction,
    store: Store,
    key: bytes,
    value: bytes,
    recent: Recent,
    report: Report,
) -> None:
    env = store.environment
    collection, prefix = key[:4], key[4:].decode("ascii", "replace")
    where = f"The sketch of collection number {int.from_bytes(collection, 'big')}, '{prefix}'"
    record = transaction.get(collection, db=env.table(layout.COLLECTIONS))
    if record is None or prefix not in ("", *"0123456789abcdef"):
        report.found(Kind.SKETCH, f"{where}, belongs to nothing.")
        return
    try:
        kept = unpack_symbols(value)
        root = layout.unpack_collection(record)[0]
    except DamagedStoreError as error:
        report.found(Kind.SKETCH, f"{where}: {error.message}")
        return
    joined = b"".join(ids for (_, owner), ids in recent.items() if owner == collection)
    since = np.frombuffer(joined, ">u8").astype(np.uint64)
    if prefix:
        since = since[since >> np.uint64(60) == int(prefix, 16)]
    kept.add(since)
    view = TrieView(LmdbNodes(transaction, env, collection), root, store.leaf_capacity)
    if not _same(kept, view.sketch(prefix)):
        report.found(Kind.SKETCH, f"{where}, is not that of its ids.")


def _same(one: Symbols, other: Symbols) -> bool:
    return (one - other).is_zero()
