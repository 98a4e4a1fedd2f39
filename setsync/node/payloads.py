"""Payloads that are missing here: which they are, and asking whoever may have them.

An entry may have come without its payload: it was too large for us then, or whoever brought it
had none. The store keeps which these are, so asking goes on after a restart, and each session
with anybody asks for some of them. What was dropped on purpose is not missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import trio

from setsync.errors import Abort, PeerError
from setsync.limits import ASK_AGAIN_SECONDS, MAX_PEERS, MAX_WANTED_PAYLOADS
from setsync.model.collection import system_first
from setsync.node.local import Local
from setsync.node.transfer import Take
from setsync.store.contract import Snapshot, Withheld
from setsync.wire.messages import WantPayloads

_SHORT = 8
# Rows of the table that one session looks through at most: others may be of no interest to it.
_MOST_LOOKED_AT = 8 * MAX_WANTED_PAYLOADS


def are_missing(snapshot: Snapshot) -> bool:
    """Whether any payload is."""
    return bool(snapshot.withheld_count)


def may_have_some(local: Local, peer: bytes) -> bool:
    """Whether `peer` was not asked in vain a while ago."""
    asked = local.asked_in_vain.get(peer)
    return asked is None or trio.current_time() - asked > ASK_AGAIN_SECONDS


def ask_for_payloads(
    local: Local, is_mutual: Callable[[str], bool], max_payload: int
) -> WantPayloads:
    """The next few payloads to ask for, of up to `max_payload` bytes each.

    Sessions take turns through all that are missing, so that none is asked for ever and another
    never. Touches the disk.
    """
    found: dict[str, set[bytes]] = {}
    count = 0
    with local.store.snapshot() as snapshot:
        for row in _rows(local, snapshot):
            if row.size <= max_payload and is_mutual(row.collection):
                found.setdefault(row.collection, set()).add(row.id[:_SHORT])
                count += 1
            local.payloads_after = row.arrival
            if count == MAX_WANTED_PAYLOADS:
                break
    names = sorted(found, key=system_first)
    return WantPayloads(tuple((name, b"".join(sorted(found[name]))) for name in names))


def _rows(local: Local, snapshot: Snapshot) -> Iterator[Withheld]:
    """From where the last session stopped, once around at most."""
    start = local.payloads_after
    rows = list(snapshot.withheld(start, _MOST_LOOKED_AT))
    if len(rows) < _MOST_LOOKED_AT and start:
        rest = snapshot.withheld(0, _MOST_LOOKED_AT - len(rows))
        rows += [row for row in rest if row.arrival <= start]
    return iter(rows)


def count_missing(local: Local) -> int:
    """How many payloads are missing. Touches the disk."""
    with local.store.snapshot() as snapshot:
        return snapshot.withheld_count


def note_answer(local: Local, peer: bytes, asked: WantPayloads, *, helped: bool) -> None:
    """Remember who had none of what was asked for, or none that could be kept."""
    local.asked_in_vain.pop(peer, None)
    if asked.items and not helped:
        if len(local.asked_in_vain) >= MAX_PEERS:
            local.asked_in_vain.pop(next(iter(local.asked_in_vain)))
        local.asked_in_vain[peer] = trio.current_time()


def payload_takes(
    local: Local, wanted: WantPayloads, is_mutual: Callable[[str], bool]
) -> list[Take]:
    """What of ours the other side asks the payloads of. Touches the disk. Raises PeerError."""
    asked = {name: _short_ids(joined) for name, joined in wanted.items}
    count = sum(map(len, asked.values()))
    if len(asked) < len(wanted.items) or not all(map(is_mutual, asked)):
        raise PeerError("A list of payloads that are wanted is not one.")
    if count > MAX_WANTED_PAYLOADS:
        raise PeerError(f"{count} payloads are wanted of one session.", Abort.TOO_LARGE)
    takes: list[Take] = []
    with local.store.snapshot() as snapshot:
        for name, shorts in asked.items():
            view = snapshot.view(name)
            ids: set[bytes] = set()
            for short in shorts if view is not None else ():
                assert view is not None
                ids.update(row.tobytes() for row in view.ids(short.hex(), b"", _SHORT))
            takes.append(Take(name, sorted(ids), only_payloads=True, is_asked_for=True))
    return takes


def _short_ids(joined: bytes) -> list[bytes]:
    """Those of one collection, each named once. Raises PeerError."""
    found = [joined[at : at + _SHORT] for at in range(0, len(joined), _SHORT)]
    if len(joined) % _SHORT or len(set(found)) < len(found):
        raise PeerError("A list of payloads that are wanted is not one.")
    return found
