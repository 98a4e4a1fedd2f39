"""Which message may come when, as data: what is absent is illegal.

Both sides go through the same states; `(state, who sends, message) -> next state`.
`docs/protocol.md` draws the picture. ABORT may come from either side in any state.
"""

from __future__ import annotations

import enum

from setsync.wire import messages as m


class Role(enum.Enum):
    """Who opened the connection."""

    INITIATOR = "initiator"
    RESPONDER = "responder"

    @property
    def other(self) -> Role:
        """The peer's role."""
        return Role.RESPONDER if self is Role.INITIATOR else Role.INITIATOR


class State(enum.Enum):
    """How far a session is."""

    START = "start"
    GREETED = "greeted"
    READY = "ready"
    ASKED = "asked"
    CATALOGUING = "cataloguing"
    NAMED = "named"
    COMPARING = "comparing"
    TRANSFERRING = "transferring"
    CLOSING = "closing"
    EXCHANGING = "exchanging"
    LIVE = "live"
    ENDED = "ended"


_I, _R = Role.INITIATOR, Role.RESPONDER

TABLE: dict[State, dict[tuple[Role, type], State]] = {
    State.START: {(_I, m.Hello): State.GREETED},
    State.GREETED: {(_R, m.Hello): State.READY},
    State.READY: {
        (_I, m.Catalog): State.ASKED,
        (_I, m.WantPayloads): State.EXCHANGING,
        (_I, m.Live): State.LIVE,
        (_I, m.Done): State.ENDED,
    },
    State.ASKED: {
        (_R, m.Same): State.READY,
        (_R, m.Listing): State.ASKED,
        (_R, m.Listed): State.COMPARING,
        (_R, m.Many): State.CATALOGUING,
    },
    State.CATALOGUING: {
        (_I, m.Questions): State.CATALOGUING,
        (_R, m.Answers): State.CATALOGUING,
        (_I, m.AskNames): State.NAMED,
    },
    State.NAMED: {
        (_R, m.Listing): State.NAMED,
        (_R, m.Listed): State.COMPARING,
    },
    State.COMPARING: {
        (_I, m.Questions): State.COMPARING,
        (_R, m.Answers): State.COMPARING,
        (_I, m.AskIds): State.COMPARING,
        (_R, m.Ids): State.COMPARING,
        (_I, m.Totals): State.TRANSFERRING,
        # Nothing was found although the catalogues differ: another pass.
        (_I, m.Catalog): State.ASKED,
        # What differs is not wanted by the side that lacks it.
        (_I, m.WantPayloads): State.EXCHANGING,
        (_I, m.Live): State.LIVE,
        (_I, m.Done): State.ENDED,
    },
    State.TRANSFERRING: {
        (_I, m.Want): State.TRANSFERRING,
        **{
            (role, message): State.TRANSFERRING
            for role in Role
            for message in (m.Entries, m.Piece, m.Packed, m.Committed, m.Refused, m.Sent)
        },
        (_I, m.Close): State.CLOSING,
    },
    State.CLOSING: {(_R, m.Closed): State.READY},
    State.EXCHANGING: {(_R, m.WantPayloads): State.TRANSFERRING},
    State.LIVE: {
        **{
            (role, message): State.LIVE
            for role in Role
            for message in (m.Entries, m.Piece, m.Packed, m.Committed, m.Refused, m.Ping)
        },
        (_I, m.Done): State.ENDED,
    },
    State.ENDED: {},
}

# What a message's bytes are counted as.
PHASES: dict[type, str] = {
    m.Hello: "handshake",
    m.Catalog: "reconcile",
    m.Same: "reconcile",
    m.Listing: "reconcile",
    m.Listed: "reconcile",
    m.Many: "reconcile",
    m.AskNames: "reconcile",
    m.Questions: "reconcile",
    m.Answers: "reconcile",
    m.AskIds: "reconcile",
    m.Ids: "reconcile",
    m.Totals: "entries",
    m.Want: "entries",
    m.Entries: "entries",
    m.Piece: "entries",
    m.Packed: "entries",
    m.Committed: "entries",
    m.Sent: "entries",
    m.Refused: "entries",
    m.WantPayloads: "entries",
    m.Live: "entries",
    m.Ping: "entries",
    m.Close: "close",
    m.Closed: "close",
    m.Done: "close",
    m.AbortMessage: "close",
}


def next_state(state: State, sender: Role, message: type) -> State | None:
    """The state after `message`, or None where it may not come."""
    if message is m.AbortMessage and state is not State.ENDED:
        return State.ENDED
    return TABLE[state].get((sender, message))
