"""Taking in what others bring by other ways than a session, which goes through `writer`: the same
rules, quotas and free disk bind it.
"""

from __future__ import annotations

from collections.abc import Sequence

from setsync.model.entry import Entry
from setsync.model.refusal import Refusal
from setsync.node.policy import Policy
from setsync.node.room import check_room_of
from setsync.store.contract import Added, EntryStore, Origin


def admit(store: EntryStore, entries: Sequence[Entry], origin: Origin, policy: Policy) -> Added:
    """Add those that this node wants, durably; `refused` has the others by their place, ascending.

    Blocked collections are not looked at, as in `Policy.refuses`. Raises NoRoomError, StoreError:
    nothing was added then.
    """
    check_room_of(store)
    refused: dict[int, Refusal] = {}
    wanted: list[int] = []
    for place, entry in enumerate(entries):
        reason = policy.refuses(entry.author, entry.collection)
        if reason is None:
            wanted.append(place)
        else:
            refused[place] = reason
    added = store.add_many([entries[place] for place in wanted], [(0, origin)], policy.quotas)
    refused |= {wanted[place]: reason for place, reason in added.refused}
    return Added(added.new, added.known, added.payloads, tuple(sorted(refused.items())))


def why_not(store: EntryStore, entries: Sequence[Entry], policy: Policy) -> Refusal | None:
    """Why `admit` would leave out one of these, all by one author, by its rules or the author's
    quota: for what has to be taken as a whole. Raises NoRoomError, StoreError."""
    check_room_of(store)
    with store.snapshot() as snapshot:
        new = [one for one in entries if snapshot.arrival(one.collection, one.id) is None]
        if not new:
            return None
        usage = snapshot.usage(new[0].author)
    for one in new:
        if (reason := policy.refuses(one.author, one.collection)) is not None:
            return reason
    quotas = policy.quotas
    is_over = (
        usage.entries + len(new) > quotas.author_entries
        or usage.bytes + sum(one.size for one in new) > quotas.author_bytes
    )
    return Refusal.AUTHOR_QUOTA if is_over else None
