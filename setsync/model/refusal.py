"""Why a node does not keep an entry that is valid: its policy, which is nobody else's.

A valid entry is valid everywhere and for ever (`setsync.model.entry.verify`); whether it is
wanted is each node's own affair. The numbers travel in REFUSED and lie in the store.
"""

from __future__ import annotations

import enum


class Refusal(enum.IntEnum):
    """What spoke against an entry."""

    AUTHOR_BLOCKED = 1
    NOT_A_WRITER = 2
    AUTHOR_QUOTA = 3
    PEER_QUOTA = 4
    COLLECTIONS = 5
    PAYLOAD_NEEDED = 6

    @property
    def sentence(self) -> str:
        """The reason, as people are told it."""
        return _SENTENCES[self]


_SENTENCES = {
    Refusal.AUTHOR_BLOCKED: "Its author is blocked.",
    Refusal.NOT_A_WRITER: "Its author may not write in this collection.",
    Refusal.AUTHOR_QUOTA: "Its author has used up what an author may keep.",
    Refusal.PEER_QUOTA: "Its bringer has used up what a peer may bring in a day.",
    Refusal.COLLECTIONS: "It would open one collection too many.",
    Refusal.PAYLOAD_NEEDED: "It came without the payload that says what it is.",
}
