"""Refusals that are remembered, so that what nobody will keep is not sent again and again."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from setsync.limits import MAX_REFUSED, REFUSED_SECONDS
from setsync.model.refusal import Refusal
from setsync.reconcile.digest import highest, lowest
from setsync.store import layout
from setsync.store.contract import Refuser, RefuserKind
from setsync.store.environment import Environment, Transaction

_ID_BYTES = 32


def is_lately(at: int, now: int) -> bool:
    """Whether a note still counts. One from long after now is of a clock that was wrong."""
    return abs(now - at) <= REFUSED_SECONDS * 1000


def note(
    transaction: Transaction,
    env: Environment,
    refuser: Refuser,
    collection: str,
    refused: Sequence[tuple[bytes, Refusal]],
    at: int,
) -> None:
    """Put a row for each id; where there is no room for them, empty the table first."""
    table = env.table(layout.REFUSED)
    rows = dict(refused[:MAX_REFUSED])
    if _count(transaction, env) + len(rows) > MAX_REFUSED:
        transaction.drop(table, delete=False)
    head = layout.refused_key(refuser.kind, refuser.peer, collection)
    for id_, reason in sorted(rows.items()):
        transaction.put(head + id_, layout.pack_refused(at, reason), db=table)


def under(
    transaction: Transaction,
    env: Environment,
    refuser: Refuser,
    collection: str,
    prefix: str,
    now: int,
    limit: int,
) -> list[bytes]:
    """Ids that begin with hex digits, ascending, at most `limit`."""
    found: list[bytes] = []
    if limit <= 0 or not _count(transaction, env):
        return found
    head = layout.refused_key(refuser.kind, refuser.peer, collection)
    end = head + highest(prefix)
    with transaction.cursor(db=env.table(layout.REFUSED)) as cursor:
        there = cursor.set_range(head + lowest(prefix))
        while there and len(found) < limit:
            key, value = cursor.item()
            if key > end:
                break
            if is_lately(layout.unpack_refused(key, value)[0], now):
                found.append(key[-_ID_BYTES:])
            there = cursor.next()
    return found


def among(
    transaction: Transaction,
    env: Environment,
    refusers: Sequence[Refuser],
    collection: str,
    ids: Sequence[bytes],
    now: int,
) -> set[bytes]:
    """Those of the ids that one of the refusers refused."""
    found: set[bytes] = set()
    if not _count(transaction, env):
        return found
    table = env.table(layout.REFUSED)
    for refuser in refusers:
        head = layout.refused_key(refuser.kind, refuser.peer, collection)
        for id_ in ids:
            value = transaction.get(head + id_, db=table)
            if value is not None and is_lately(layout.unpack_refused(head + id_, value)[0], now):
                found.add(id_)
    return found


def forget(transaction: Transaction, env: Environment, kinds: Collection[RefuserKind]) -> int:
    """Take away the rows of these kinds; how many there were."""
    table = env.table(layout.REFUSED)
    if set(RefuserKind) <= set(kinds):
        count = _count(transaction, env)
        transaction.drop(table, delete=False)
        return count
    count = 0
    with transaction.cursor(db=table) as cursor:
        for kind in sorted(set(kinds)):
            tag = bytes([kind])
            there = cursor.set_range(tag)
            while there and cursor.key()[:1] == tag:
                count += cursor.delete()  # and goes on to the next
                there = bool(cursor.key())
    return count


def _count(transaction: Transaction, env: Environment) -> int:
    return int(transaction.stat(db=env.table(layout.REFUSED))["entries"])
