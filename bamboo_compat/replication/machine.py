"""One side of a connection between two Bamboo servers: no socket, no clock, no disk.

    machine.receive(data); machine.next_event()      what the peer said
    machine.send(message)                            the bytes to say it with

First both announce the schemas they know. Then the initiator opens sessions, one after the
other: one for the system schemas that both know, and when that is done one for the others.
In a session the responder tells its log heights, then the initiator; each sends the entries
that the other lacks, log by log in order, then `done`. Two `done` end the session. The
initiator ends the connection.

**What this does to a forked log.** A height is a number, and both branches of a fork have
the same numbers. Where heights are equal nothing is sent, so the second branch never
travels; where they differ, the longer side sends what is above the other's number, and the
two halves do not fit together. A branch is seen only then, and only if the source looks
(`Divergence`). This is the protocol's nature and is left as it is: reconciling sets is what
replicates forks.

Live mode is not spoken: `done` always says so. A machine that failed stays failed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from bamboo_compat.replication import limits
from bamboo_compat.replication.messages import (
    Announce,
    Message,
    Request,
    is_schema,
    pack,
    unpack,
)
from bamboo_compat.replication.source import Schemas
from bamboo_compat.replication.stream import Splitter
from bamboo_compat.replication.table import DOING, Role, State, next_state
from setsync.errors import Abort, LocalError, PeerError, PeerGoneError


class Waiting(enum.Enum):
    """What there is instead of a message: not yet, or nothing more, as it should be."""

    NEED_DATA = enum.auto()
    END = enum.auto()


NEED_DATA, END = Waiting.NEED_DATA, Waiting.END


class LocalProtocolError(Exception):
    """This program tried to send what the table forbids: a defect of ours."""


class TooMuchToTellError(LocalError):
    """The protocol tells it all in one message; replicate fewer schemas at a time."""

    code = "too_much_to_tell"


@dataclass
class Counters:
    """Bytes and messages, by direction."""

    bytes_in: int = 0
    bytes_out: int = 0
    messages_in: int = 0
    messages_out: int = 0


class Machine:
    """The protocol's state on one side. `schemas` is what this side knows."""

    def __init__(self, role: Role, schemas: Schemas) -> None:
        self.role = role
        self.state = State.START
        self.counters = Counters()
        self.common = Schemas()
        self.session = 0
        """The session that is open, or was last."""
        self.sessions = 0
        self.asked: frozenset[str] = frozenset()
        """The schemas of the session that is open, or was last."""
        self._schemas = Schemas(_in_order(schemas.system), _in_order(schemas.user))
        self.known = frozenset(self._schemas.system + self._schemas.user)
        """All schemas that this side announces."""
        self._requests: Iterator[tuple[str, ...]] = iter(())
        self._splitter = Splitter()
        self._failure: PeerError | None = None
        self._at_end = False

    # --- what we say ----------------------------------------------------------------------

    def announce(self, now: int) -> Announce:
        """Our announcement. Raises TooMuchToTellError where no peer would take it."""
        system, user = self._schemas
        schemas = system + tuple(one for one in user if one not in set(system))
        size = sum(len(schema.encode("utf-8")) + 3 for schema in schemas)
        # The same bytes again have to fit into a request, beside a few heads.
        if len(schemas) > limits.MAX_SCHEMAS or size > limits.MAX_SCHEMAS_MESSAGE - 64:
            raise TooMuchToTellError(
                f"There are {len(schemas)} schemas with {size} bytes to announce; at most "
                f"{limits.MAX_SCHEMAS} with {limits.MAX_SCHEMAS_MESSAGE} can be."
            )
        return Announce(now, schemas)

    def next_request(self) -> Request | None:
        """Initiator: the session to open now, or None when all were. Only in READY."""
        if self.role is not Role.INITIATOR or self.state is not State.READY:
            raise LocalProtocolError(f"A request of the {self.role.value} in {self.state.value}")
        schemas = next(self._requests, None)
        return None if schemas is None else Request(self.sessions, schemas)

    def send(self, message: Message) -> bytes:
        """The bytes to send. Raises LocalProtocolError where the table forbids it, and after
        the peer's error that error: whoever sends may not have heard of it yet."""
        if self._failure is not None:
            raise self._failure
        state = next_state(self.state, self.role, type(message))
        if state is None:
            raise LocalProtocolError(f"{type(message).__name__} in {self.state.value}")
        if isinstance(message, Request):
            self._open(message)
        elif not isinstance(message, Announce) and message.session != self.session:
            raise LocalProtocolError(f"Session {message.session} is not {self.session}.")
        self.state = state
        data = pack(message)
        self.counters.bytes_out += len(data)
        self.counters.messages_out += 1
        return data

    # --- what the peer says ---------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer; b"" says that its stream has ended."""
        self.counters.bytes_in += len(data)
        if data:
            self._splitter.receive(data)
        else:
            self._at_end = True

    @property
    def buffered(self) -> int:
        """Bytes taken that `next_event` has not given out yet."""
        return len(self._splitter)

    def next_event(self) -> Message | Waiting:
        """The peer's next message; the state moves on as it is given out. END where the
        connection ends between two sessions.

        Raises PeerError for one that is wrong or out of turn, PeerGoneError for a cut.
        """
        if self._failure is not None:
            raise self._failure
        try:
            data = self._splitter.next_message()
            if data is None:
                return self._nothing_yet()
            message = unpack(data)
            self._advance(message)
        except PeerError as error:
            self._fail(error)
        self.counters.messages_in += 1
        return message

    def _nothing_yet(self) -> Waiting:
        if not self._at_end:
            return NEED_DATA
        if self.state is State.READY and not self._splitter:
            return END
        raise PeerGoneError(f"The connection ended while {DOING[self.state]}.")

    def _advance(self, message: Message) -> None:
        name = type(message).__name__
        state = next_state(self.state, self.role.other, type(message))
        if state is None:
            raise PeerError(f"A message {name} came out of turn, while {DOING[self.state]}.")
        if isinstance(message, Announce):
            self._meet(message)
        elif isinstance(message, Request):
            self._check_request(message)
            self._open(message)
        elif message.session != self.session:
            raise PeerError(
                f"A message {name} is of session {message.session}; open is {self.session}."
            )
        self.state = state

    def _meet(self, theirs: Announce) -> None:
        """From here on it is known what both know."""
        announced = set(theirs.schemas)
        system, user = (
            tuple(schema for schema in mine if schema in announced) for mine in self._schemas
        )
        self.common = Schemas(system, user)
        self._requests = iter([schemas for schemas in self.common if schemas])

    def _check_request(self, request: Request) -> None:
        if self.sessions >= limits.MAX_SESSIONS:
            raise PeerError(
                f"More than {limits.MAX_SESSIONS} sessions were asked for.", Abort.TOO_LARGE
            )
        unknown = [schema for schema in request.schemas if schema not in self.known]
        if unknown:
            raise PeerError(
                f"A session was asked for with {len(unknown)} schemas that were not announced.",
                Abort.REFUSED,
            )

    def _open(self, request: Request) -> None:
        self.session = request.session
        self.asked = frozenset(request.schemas)
        self.sessions += 1

    def _fail(self, error: PeerError) -> NoReturn:
        self._failure = error
        self.state = State.FAILED
        raise error


def _in_order(schemas: tuple[str, ...]) -> tuple[str, ...]:
    """As servers want them: sorted, each once. What no message can carry is left out."""
    return tuple(sorted({schema for schema in schemas if is_schema(schema)}))
