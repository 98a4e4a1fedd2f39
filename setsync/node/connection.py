"""A session on a stream: one task reads, one writes, one decides; every wait has an end.

Two peers that both only write would stand still for ever, so reading never waits for
writing. What is to be sent goes through a short queue: a peer that does not read makes us
read less from the disk, not hold more in memory.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import trio

from setsync import limits
from setsync.errors import (
    Abort,
    InviteError,
    LocalError,
    NotListedError,
    PeerError,
    PeerGoneError,
    PeerRefusedError,
    PeerTimeoutError,
    PeerVersionError,
    SetsyncError,
    StoreBusyError,
)
from setsync.session.session import NEED_DATA, Session
from setsync.session.table import Role
from setsync.wire.messages import AbortMessage, Message

T = TypeVar("T")

_READ_BYTES = 64 * limits.KIB
_WRITE_BYTES = 64 * limits.KIB


class Connection:
    """What a session's logic sees of its peer: `send` and `receive`."""

    def __init__(self, stream: trio.abc.Stream, role: Role) -> None:
        self.session = Session(role)
        self._stream = stream
        self._last_words = b""
        self._last_taken = -math.inf
        self._out, self._to_write = trio.open_memory_channel[bytes](limits.UNSENT_FRAMES)
        self._arrived = trio.Event()
        self._room = trio.Event()

    async def send(self, message: Message) -> None:
        """Queue a message; waits while the queue is full. Raises PeerTimeoutError."""
        await self._queue(self.session.send(message))

    async def _queue(self, frame: bytes) -> None:
        with trio.move_on_after(limits.SEND_TIMEOUT):
            await self._out.send(frame)
            return
        raise PeerTimeoutError(f"The other side took nothing for {limits.SEND_TIMEOUT:.0f} s.")

    async def receive(
        self, timeout: float = limits.ANSWER_TIMEOUT, *, taking_counts: bool = True
    ) -> Message:
        """The peer's next message; only one task may wait for it.

        Raises PeerTimeoutError when none came for `timeout` seconds, in which (if taking
        counts) the peer took nothing of ours either; what the peer aborted with; and
        PeerGoneError when the connection has ended.
        """
        deadline = trio.current_time() + timeout
        await trio.lowlevel.checkpoint()
        while (message := self.session.next_event()) is NEED_DATA:
            self._arrived = trio.Event()
            self._room.set()
            with trio.move_on_at(max(deadline, self._alive(taking_counts) + timeout)) as waiting:
                await self._arrived.wait()
            until = self._alive(taking_counts) + timeout
            if waiting.cancelled_caught and waiting.deadline >= until:
                raise PeerTimeoutError(f"The other side said nothing for {timeout:.0f} s.")
        if isinstance(message, AbortMessage):
            raise _what_peer_said(message)
        return message

    def _alive(self, taking_counts: bool) -> float:
        return self._last_taken if taking_counts else -math.inf

    # --- the three tasks ------------------------------------------------------------------

    async def run(self, decide: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `decide` with the reader and the writer beside it, then close the stream.

        A SetsyncError that ends it is told to the peer. So is being cancelled.
        """
        try:
            async with self._writing() as writer:
                return await self._with_goodbye(writer, decide)
        except BaseExceptionGroup as group:
            raise most_telling(group) from None
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _with_goodbye(
        self, writer: trio.CancelScope, decide: Callable[[Connection], Awaitable[T]]
    ) -> T:
        try:
            return await self._read_and_decide(decide)
        except trio.Cancelled:
            self._say_goodbye(writer, Abort.CANCELLED, "This node is shutting down.")
            raise
        except PeerError as error:
            self._say_goodbye(writer, error.abort, error.message)
            raise
        except StoreBusyError:
            self._say_goodbye(writer, Abort.BUSY, "This node's store is busy; try again later.")
            raise
        except SetsyncError as error:
            code = Abort.REFUSED if isinstance(error, LocalError) else Abort.INTERNAL
            self._say_goodbye(writer, code, "This node cannot go on with the session.")
            raise

    async def _read_and_decide(self, decide: Callable[[Connection], Awaitable[T]]) -> T:
        result: list[T] = []
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read)
                result.append(await decide(self))
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise most_telling(group) from None
        return result[0]

    async def _read(self) -> None:
        """Bytes into the session, ahead of what was asked for but not far."""
        while True:
            try:
                data = bytes(await self._stream.receive_some(_READ_BYTES))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            self.session.receive(data)
            self._arrived.set()
            if not data:
                return
            if self.session.buffered >= _READ_BYTES:
                self._room = trio.Event()
                await self._room.wait()

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[trio.CancelScope]:
        """The writer outlives the deciding task, so that the last words get out."""
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope(shield=True)
            nursery.start_soon(self._write, scope)
            try:
                yield scope
                scope.shield = False  # nothing but our farewell is left, and it may be cut short
            finally:
                scope.deadline = min(scope.deadline, trio.current_time() + limits.SEND_TIMEOUT)
                self._out.close()

    async def _write(self, scope: trio.CancelScope) -> None:
        """A broken stream is the reader's to report: it may still hold the peer's reason.

        After an abort, what the peer still sends is read and dropped for a moment: a socket
        that is closed with unread bytes takes back what it sent last.
        """
        with scope:
            is_open = True
            async for frame in self._to_write:
                is_open = is_open and await self._hand_over(frame)
            if self._last_words and is_open and await self._hand_over(self._last_words):
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    if isinstance(self._stream, trio.abc.HalfCloseableStream):
                        await self._stream.send_eof()
                    while await self._stream.receive_some(_READ_BYTES):
                        pass

    async def _hand_over(self, frame: bytes) -> bool:
        """Give a frame to the network; False when the connection is broken."""
        try:
            # TLS holds what it is given twice over until the network has taken it.
            for at in range(0, len(frame), _WRITE_BYTES):
                await self._stream.send_all(frame[at : at + _WRITE_BYTES])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        self._last_taken = trio.current_time()
        return True

    def _say_goodbye(self, writer: trio.CancelScope, code: Abort, sentence: str) -> None:
        """The reason goes behind what is queued already; the writer has a moment for both."""
        self._last_words = self.session.abort(code, _cut(sentence))
        writer.deadline = trio.current_time() + limits.SHUTDOWN_GRACE


def _cut(sentence: str) -> str:
    """As much of a sentence as an ABORT holds."""
    return sentence.encode("utf-8", "replace")[: limits.MAX_SENTENCE].decode("utf-8", "ignore")


def most_telling(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception of a group that says why: an interruption by the user, then an error,
    then a cancellation."""
    found: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending += error.exceptions
        else:
            found.append(error)
    for error in found:
        if not isinstance(error, Exception | trio.Cancelled):
            return error
    for kind in (PeerRefusedError, NotListedError, PeerVersionError, SetsyncError, Exception):
        for error in found:
            if isinstance(error, kind):
                return error
    return found[0]


def _what_peer_said(message: AbortMessage) -> PeerError:
    said = f"The other side says: {message.sentence}" if message.sentence else "No reason given."
    error = _kind_of(message.code, said)
    error.was_told = True
    return error


def _kind_of(code: int, said: str) -> PeerError:
    match code:
        case Abort.VERSION:
            return PeerVersionError(said)
        case Abort.TIMEOUT:
            return PeerTimeoutError(said)
        case Abort.CANCELLED:
            return PeerGoneError(said)
        case Abort.NOT_LISTED:
            return NotListedError(said)
        case Abort.INVITE:
            return InviteError(said)
        case Abort.PROTOCOL:
            return PeerError(said)
        case _:
            return PeerRefusedError(said)
