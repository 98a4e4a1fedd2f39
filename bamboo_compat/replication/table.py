"""Which message may come when, as data: what is absent is illegal.

Both sides go through these states; `(state, who sends, message) -> next state`. Where both
may send at once, the two ways through lead to the same place. `docs/log-heights.md` draws
the picture.
"""

from __future__ import annotations

import enum

from bamboo_compat.replication.messages import Announce, Done, EntryMessage, Have, Message, Request


class Role(enum.Enum):
    """Who asks for sessions. On servers that know each other the two settle it by name."""

    INITIATOR = "initiator"
    RESPONDER = "responder"

    @property
    def other(self) -> Role:
        """The peer's role."""
        return Role.RESPONDER if self is Role.INITIATOR else Role.INITIATOR


class State(enum.Enum):
    """How far two servers are."""

    START = "start"
    INITIATOR_KNOWN = "initiator known"
    RESPONDER_KNOWN = "responder known"
    READY = "ready"
    REQUESTED = "requested"
    OFFERED = "offered"
    OFFERED_ALL = "offered all"
    EXCHANGING = "exchanging"
    INITIATOR_DONE = "initiator done"
    RESPONDER_DONE = "responder done"
    FAILED = "failed"


_I, _R = Role.INITIATOR, Role.RESPONDER

TABLE: dict[State, dict[tuple[Role, type[Message]], State]] = {
    State.START: {
        (_I, Announce): State.INITIATOR_KNOWN,
        (_R, Announce): State.RESPONDER_KNOWN,
    },
    State.INITIATOR_KNOWN: {(_R, Announce): State.READY},
    State.RESPONDER_KNOWN: {(_I, Announce): State.READY},
    State.READY: {(_I, Request): State.REQUESTED},
    State.REQUESTED: {(_R, Have): State.OFFERED},
    State.OFFERED: {
        (_I, Have): State.EXCHANGING,
        # A server that has nothing at all does not wait to be told what we have.
        (_R, Done): State.OFFERED_ALL,
    },
    State.OFFERED_ALL: {(_I, Have): State.RESPONDER_DONE},
    State.EXCHANGING: {
        (_I, EntryMessage): State.EXCHANGING,
        (_R, EntryMessage): State.EXCHANGING,
        (_I, Done): State.INITIATOR_DONE,
        (_R, Done): State.RESPONDER_DONE,
    },
    State.INITIATOR_DONE: {
        (_R, EntryMessage): State.INITIATOR_DONE,
        (_R, Done): State.READY,
    },
    State.RESPONDER_DONE: {
        (_I, EntryMessage): State.RESPONDER_DONE,
        (_I, Done): State.READY,
    },
    State.FAILED: {},
}

DOING: dict[State, str] = {
    State.START: "announcing",
    State.INITIATOR_KNOWN: "announcing",
    State.RESPONDER_KNOWN: "announcing",
    State.READY: "no session was open",
    State.REQUESTED: "a session was asked for",
    State.OFFERED: "log heights were compared",
    State.OFFERED_ALL: "log heights were compared",
    State.EXCHANGING: "entries were on their way",
    State.INITIATOR_DONE: "entries were on their way",
    State.RESPONDER_DONE: "entries were on their way",
    State.FAILED: "the session had failed",
}


def next_state(state: State, sender: Role, message: type[Message]) -> State | None:
    """The state after `message`, or None where it may not come."""
    return TABLE[state].get((sender, message))
