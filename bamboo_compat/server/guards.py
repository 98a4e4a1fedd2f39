"""What homes, a node's rules and its disk say to an entry that a client wants published.

Whoever publishes here is a guest, as a peer is: the same rules bind him, but for the daily quotas
of peers, since he comes without a key of his own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bamboo_compat.homes.publishing import DirectoryState, check_publish
from bamboo_compat.server.errors import NotWantedError, OverQuotaError
from bamboo_compat.server.publishing import Publication
from setsync.errors import PayloadTooLargeError
from setsync.model.refusal import Refusal
from setsync.node.place import is_in_place
from setsync.node.policy import Policy
from setsync.node.room import check_room
from setsync.store.contract import Snapshot

_REFUSALS = {
    Refusal.AUTHOR_BLOCKED: "This node takes nothing of this author.",
    Refusal.NOT_A_WRITER: "This author may not write in {} at this node.",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """A guard. `wants` says which collections the node keeps; `policy` is asked anew each time;
    payloads have at most `max_payload` bytes; `directory` is on the disk that must have room."""

    wants: Callable[[str], bool]
    policy: Callable[[], Policy]
    max_payload: int
    directory: Path

    def __call__(self, snapshot: Snapshot, one: Publication) -> None:
        """Raises NotWantedError, OverQuotaError, PayloadTooLargeError, NoRoomError, and what
        reading the policy raises."""
        member, policy = one.member, self.policy()
        payload = len(member.payload or b"")
        if payload > self.max_payload:
            raise PayloadTooLargeError(
                f"The operation has {payload:,} bytes, over this node's {self.max_payload:,}."
            )
        blocked = any(pattern.matches(member.collection) for pattern in policy.without)
        if blocked or not self.wants(member.collection):
            raise NotWantedError(f"This node does not keep {member.collection}.")
        refusal = policy.refuses(member.author, member.collection)
        if refusal is not None:
            sentence = _REFUSALS.get(refusal, f"This node refuses it: {refusal.name.lower()}.")
            raise NotWantedError(sentence.format(member.collection))
        _check_quota(snapshot, one, policy)
        check_room(self.directory)


def _check_quota(snapshot: Snapshot, one: Publication, policy: Policy) -> None:
    """What the author would keep here with this entry; that it was here withheld before, and is
    counted twice then, makes little difference."""
    usage, quotas = snapshot.usage(one.author), policy.quotas
    if usage.entries + 1 > quotas.author_entries:
        raise OverQuotaError(f"An author keeps at most {quotas.author_entries:,} entries here.")
    if usage.bytes + one.member.size > quotas.author_bytes:
        raise OverQuotaError(f"An author keeps at most {quotas.author_bytes:,} bytes here.")


@dataclass(frozen=True, slots=True)
class AtHome:
    """Asked before an author is told what to sign, and again before it is taken. An author who is
    at home elsewhere publishes there, also if it joined that home from this directory: a client
    here cannot know what the home has taken meanwhile."""

    directory: Path
    node: bytes

    def __call__(self, snapshot: Snapshot, author: bytes, log_id: int) -> None:
        """Raises NotTheHomeError, TwoHomesError, CopiedDirectoryError, BehindHeadError,
        LedgerError."""
        state = DirectoryState(self.directory, self.node, {}, is_in_place(self.directory))
        check_publish(snapshot, state, author, log_id)
