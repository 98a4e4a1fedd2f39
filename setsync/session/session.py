"""One side of one session: three verbs, no socket, no clock.

    session.receive(data); session.next_event()     what the peer said
    session.send(message)                            the bytes to say it with

A session that failed stays failed. Every byte is counted, by direction and by phase.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NoReturn

from setsync.errors import PeerError, PeerGoneError
from setsync.session.table import PHASES, Role, State, next_state
from setsync.wire.framing import HEAD_BYTES
from setsync.wire.messages import AbortMessage, Message, new_buffer, pack, unpack


class NeedData(enum.Enum):
    """The only member says that no whole message is there yet."""

    NEED_DATA = enum.auto()


NEED_DATA = NeedData.NEED_DATA


_PHASES: tuple[str, ...] = tuple(dict.fromkeys(PHASES.values()))


@dataclass
class Counters:
    """Bytes that were sent and received, in all and by phase: handshake, reconcile,
    entries, close. Frames' heads count with their messages; `arrived` counts also what has not
    become a message."""

    sent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_PHASES, 0))
    received: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_PHASES, 0))
    arrived: int = 0

    def total_sent(self) -> int:
        """All bytes sent."""
        return sum(self.sent.values())

    def total_received(self) -> int:
        """All bytes received."""
        return sum(self.received.values())


class LocalProtocolError(Exception):
    """This program tried to send what the table forbids: a defect of ours."""


class Session:
    """The protocol's state on one side."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.state = State.START
        self.counters = Counters()
        self._buffer = new_buffer()
        self._failure: PeerError | None = None
        self._at_end = False

    def send(self, message: Message) -> bytes:
        """The frame to send. Raises LocalProtocolError where the table forbids it."""
        state = next_state(self.state, self.role, type(message))
        if state is None:
            raise LocalProtocolError(f"{type(message).__name__} in {self.state.value}")
        self.state = state
        frame = pack(message)
        self.counters.sent[PHASES[type(message)]] += len(frame)
        return frame

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer; b"" says that its stream has ended."""
        if data:
            self._buffer.receive(data)
            self.counters.arrived += len(data)
        else:
            self._at_end = True

    @property
    def buffered(self) -> int:
        """Bytes taken that `next_event` has not given out yet."""
        return len(self._buffer)

    def next_event(self) -> Message | NeedData:
        """The peer's next message; the state moves on as it is given out.

        Raises PeerError for one that is wrong or out of turn, PeerGoneError at the end.
        """
        if self._failure is not None:
            raise self._failure
        try:
            frame = self._buffer.next_frame()
            if frame is None:
                return self._nothing_yet()
            message_type, body = frame
            message = unpack(message_type, body)
            self._advance(message)
        except PeerError as error:
            self._fail(error)
        self.counters.received[PHASES[type(message)]] += HEAD_BYTES + len(body)
        return message

    def _nothing_yet(self) -> NeedData:
        if self._at_end:
            raise PeerGoneError(f"The connection ended while {_DOING[self.state]}.")
        return NEED_DATA

    def _advance(self, message: Message) -> None:
        state = next_state(self.state, self.role.other, type(message))
        if state is None:
            raise PeerError(
                f"A {type(message).__name__} message came out of turn, while {_DOING[self.state]}."
            )
        self.state = state

    def _fail(self, error: PeerError) -> NoReturn:
        self._failure = error
        self.state = State.ENDED
        raise error

    def abort(self, code: int, sentence: str) -> bytes:
        """The frame that ends a session early; nothing when the peer ended it already."""
        if self.state is State.ENDED and self._failure is None:
            return b""
        self.state = State.ENDED
        frame = pack(AbortMessage(code, sentence))
        self.counters.sent[PHASES[AbortMessage]] += len(frame)
        return frame


_DOING = {
    State.START: "greeting",
    State.GREETED: "greeting",
    State.READY: "nothing was asked",
    State.ASKED: "the catalogue was asked for",
    State.CATALOGUING: "comparing catalogues",
    State.NAMED: "collections were asked for",
    State.COMPARING: "comparing",
    State.TRANSFERRING: "entries were on their way",
    State.CLOSING: "closing",
    State.EXCHANGING: "asking for payloads",
    State.LIVE: "waiting for news",
    State.ENDED: "the session was over",
}
