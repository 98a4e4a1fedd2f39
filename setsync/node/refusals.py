"""Entries that are valid and not wanted: told to who sent them, remembered, not sent again.

A node remembers for a day what it has refused and what others have refused from it. So what
is refused crosses a line once: the side that lacks it leaves it out of its wants, and the
side that has it does not push it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from setsync.errors import PeerError
from setsync.limits import MAX_ARRAY, MAX_REFUSED
from setsync.model.refusal import Refusal
from setsync.reconcile.view import id_array
from setsync.reconcile.wants import ALL, Wanted, without
from setsync.store.contract import EntryStore, Refuser, RefuserKind, Snapshot
from setsync.wire.messages import Refused

# What a second bringer may do better.
_OF_THE_BRINGER = frozenset([Refusal.PEER_QUOTA, Refusal.PAYLOAD_NEEDED])


@dataclass(frozen=True, slots=True)
class NotKept:
    """An entry that came and was not kept."""

    collection: str
    id: bytes
    reason: Refusal


def of_theirs(peer: bytes) -> Refuser:
    """Who `peer` is, where it refuses what is ours."""
    return Refuser(RefuserKind.THEIRS, peer)


def of_ours(peer: bytes) -> tuple[Refuser, Refuser]:
    """Who we are, where we refuse what `peer` has."""
    return Refuser(RefuserKind.OURS, bytes(32)), Refuser(RefuserKind.OURS_FROM, peer)


def remember_ours(store: EntryStore, peer: bytes, found: Sequence[NotKept], at: int) -> None:
    """That we did not keep what `peer` brought, `at` in milliseconds. Durable on return."""
    anybody, from_peer = of_ours(peer)
    for by, collection, some in _by_refuser(found, anybody, from_peer):
        store.note_refused(by, collection, some, at)


def _by_refuser(
    found: Sequence[NotKept], anybody: Refuser, from_peer: Refuser
) -> Iterator[tuple[Refuser, str, list[tuple[bytes, Refusal]]]]:
    def place(one: NotKept) -> tuple[str, bool]:
        return one.collection, one.reason in _OF_THE_BRINGER

    for (collection, is_bringers), some in groupby(sorted(found, key=place), key=place):
        by = from_peer if is_bringers else anybody
        yield by, collection, [(one.id, one.reason) for one in some]


def remember_theirs(store: EntryStore, peer: bytes, message: Refused, at: int) -> None:
    """What `peer` did not keep. Durable on return. Raises PeerError for a reason that is none."""
    for collection, number, joined in message.items:
        try:
            reason = Refusal(number)
        except ValueError as error:
            raise PeerError(
                f"Entries were refused for a reason {number}, which is none."
            ) from error
        ids = _ids(joined)
        store.note_refused(of_theirs(peer), collection, [(id_, reason) for id_ in ids], at)


def count_refused(message: Refused, most: int) -> int:
    """How many entries a message refuses, of `most` that were sent and not refused yet.

    Raises PeerError for what is no list of ids, and for more than were sent.
    """
    if any(len(joined) % 32 for _, _, joined in message.items):
        raise PeerError("A list of refused entries is not one.")
    count = sum(len(joined) // 32 for _, _, joined in message.items)
    if count > most:
        raise PeerError("More entries were refused than were sent.")
    return count


def to_messages(found: Sequence[NotKept]) -> list[Refused]:
    """What tells the other side that these were not kept."""
    items: list[tuple[str, int, bytes]] = []

    def place(one: NotKept) -> tuple[str, Refusal]:
        return one.collection, one.reason

    for (collection, reason), some in groupby(sorted(found, key=place), key=place):
        ids = [one.id for one in some]
        items += [
            (collection, int(reason), b"".join(ids[at : at + MAX_ARRAY]))
            for at in range(0, len(ids), MAX_ARRAY)
        ]
    return [Refused((item,)) for item in items]


def is_none_refused(snapshot: Snapshot) -> bool:
    """Whether nothing is remembered at all, as in most nodes."""
    return not snapshot.refused_count


def leave_out(
    snapshot: Snapshot, peer: bytes, name: str, wanted: Wanted, key: bytes, now: int
) -> tuple[list[Wanted], int]:
    """A want of the collection `name` without what we have refused, and how much that was."""
    prefix = wanted.range.prefix
    ids: set[bytes] = set()
    for refuser in of_ours(peer):
        ids.update(snapshot.refused(refuser, name, prefix, now, MAX_REFUSED))
    left = list(without(wanted, id_array(b"".join(sorted(ids))), key))
    if wanted.kind == ALL:
        return left, min(len(ids), wanted.count)
    return left, wanted.count - sum(part.count for part in left)


def still_wanted(
    snapshot: Snapshot, peer: bytes, name: str, ids: Sequence[bytes], now: int
) -> list[bytes]:
    """Those of our ids that `peer` has not refused, in their order."""
    refused = snapshot.is_refused([of_theirs(peer)], name, ids, now)
    return [id_ for id_ in ids if id_ not in refused] if refused else list(ids)


def count_unwanted(snapshot: Snapshot, peer: bytes, name: str, prefix: str, now: int) -> int:
    """How many of a range `peer` has refused."""
    return len(snapshot.refused(of_theirs(peer), name, prefix, now, MAX_REFUSED))


def _ids(joined: bytes) -> Iterable[bytes]:
    return (joined[at : at + 32] for at in range(0, len(joined), 32))
