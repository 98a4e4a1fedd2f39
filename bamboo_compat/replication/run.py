"""Replication over a stream: the machine's shell, and the only file here that knows trio.

One task reads, one writes, and while entries are on their way one sends ours and one takes
theirs: two servers that both only wrote would stand still for ever. Every wait for the peer
has an end. What is to be sent goes through a short queue, so that a peer that does not read
makes us read less from the disk, not hold more in memory.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import trio

from bamboo_compat.replication import limits
from bamboo_compat.replication.heights import HaveBuilder, Outbox, take_batch
from bamboo_compat.replication.machine import END, Machine, Waiting
from bamboo_compat.replication.messages import Done, EntryMessage, Have, Message, Request
from bamboo_compat.replication.report import Report, Tally
from bamboo_compat.replication.source import Carried, Source
from bamboo_compat.replication.table import Role
from setsync.errors import Abort, PeerError, PeerTimeoutError
from setsync.node.connection import most_telling
from setsync.node.local import Offload, in_thread


async def replicate(
    stream: trio.abc.Stream,
    source: Source,
    *,
    role: Role,
    now: int,
    offload: Offload = in_thread,
    tally: Tally | None = None,
) -> Report:
    """Replicate with the peer at the other end, then close the stream.

    One end is the initiator, the other the responder; entries go both ways. `now` in
    seconds since 1970. `tally` can be read during the run and after an error.

    Raises PeerError, with what arrived before it taken; TooMuchToTellError; StoreError.
    """
    tally = Tally() if tally is None else tally
    try:
        machine = Machine(role, await offload(source.schemas))
        tally.counters = machine.counters
        announce = machine.announce(now)
        link = _Link(stream, machine)

        async def talk() -> None:
            await link.send(announce)
            await link.receive()
            tally.schemas = machine.common
            await _Sessions(link, source, offload, tally).run()

        await link.run(talk)
    finally:
        await trio.aclose_forcefully(stream)
    return tally.report()


class _Sessions:
    """The story of a connection, on either side of it."""

    def __init__(self, link: _Link, source: Source, offload: Offload, tally: Tally) -> None:
        self._link = link
        self._machine = link.machine
        self._source = source
        self._offload = offload
        self._tally = tally

    async def run(self) -> None:
        """Sessions, until the initiator has no more of them."""
        if self._machine.role is Role.INITIATOR:
            while request := self._machine.next_request():
                await self._link.send(request)
                theirs = await self._link.receive()
                await self._link.send(await self._our_heights())
                await self._exchange(theirs)
        else:
            while isinstance(await self._link.receive(), Request):
                await self._link.send(await self._our_heights())
                await self._exchange(await self._link.receive())

    async def _our_heights(self) -> Have:
        builder = HaveBuilder(self._source, self._machine.session, self._machine.asked)
        while not builder.finished:
            await self._offload(builder.step)
        return builder.have()

    async def _exchange(self, theirs: Message | None) -> None:
        """Entries both ways at the same time, to the end of the session."""
        assert isinstance(theirs, Have), theirs  # the table lets nothing else through
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_entries, theirs)
                nursery.start_soon(self._take_entries)
        except BaseExceptionGroup as group:
            raise most_telling(group) from None
        self._tally.sessions += 1

    async def _send_entries(self, theirs: Have) -> None:
        session = self._machine.session
        outbox = Outbox(self._source, self._machine.asked, theirs)
        while not outbox.finished:
            batch = await self._offload(outbox.next_batch)
            await self._link.send(
                *(EntryMessage(session, stored.entry, stored.payload) for stored in batch)
            )
            self._tally.sent += len(batch)
        await self._link.send(Done(session))

    async def _take_entries(self) -> None:
        message = await self._link.receive()
        while isinstance(message, EntryMessage):
            batch: list[Carried] = []
            try:
                message = self._gather(message, batch)
            finally:  # what came before something wrong is kept
                await self._take(batch)
            message = message or await self._link.receive()

    def _gather(self, message: EntryMessage, batch: list[Carried]) -> Message | None:
        """What has arrived, up to a batch; returns what ended it, None where it may go on."""
        size = 0
        while True:
            batch.append(Carried(message.entry, message.operation))
            size += len(message.entry) + len(message.operation or b"")
            if size >= limits.BATCH_BYTES or len(batch) >= limits.BATCH_ENTRIES:
                return None
            following = self._link.receive_nowait()
            if not isinstance(following, EntryMessage):
                return following
            message = following

    async def _take(self, batch: list[Carried]) -> None:
        asked, known = self._machine.asked, self._machine.known
        with trio.CancelScope(shield=True):  # it has arrived; keeping it is one short step
            outcomes = await self._offload(take_batch, self._source, batch, asked, known)
        self._tally.count(outcomes)
        if self._tally.faulty > limits.MAX_REFUSED:
            raise PeerError(
                f"More than {limits.MAX_REFUSED} entries came that break a rule or were not "
                "asked for.",
                Abort.REFUSED,
            )


class _Link:
    """What the story sees of its peer: `send` and `receive`."""

    def __init__(self, stream: trio.abc.Stream, machine: Machine) -> None:
        self.machine = machine
        self._stream = stream
        self._out, self._to_write = trio.open_memory_channel[bytes](limits.UNSENT_WRITES)
        self._last_taken = -math.inf
        self._arrived = trio.Event()
        self._room = trio.Event()

    async def send(self, *messages: Message) -> None:
        """Queue messages to be written at once, so that they can also be taken at once;
        waits while the queue is full. Raises PeerTimeoutError."""
        data = b"".join(map(self.machine.send, messages))
        with trio.move_on_after(limits.SEND_TIMEOUT):
            await self._out.send(data)
            return
        raise PeerTimeoutError(f"The other side took nothing for {limits.SEND_TIMEOUT:.0f} s.")

    def receive_nowait(self) -> Message | None:
        """The peer's next message if it is whole already."""
        event = self.machine.next_event()
        return None if isinstance(event, Waiting) else event

    async def receive(self) -> Message | None:
        """The peer's next message, None where it ended the connection in good order.

        Raises PeerTimeoutError when none came for a time in which the peer took nothing of
        ours either, PeerGoneError for a cut.
        """
        timeout = limits.ANSWER_TIMEOUT
        deadline = trio.current_time() + timeout
        await trio.lowlevel.checkpoint()
        while isinstance(event := self.machine.next_event(), Waiting):
            if event is END:
                return None
            self._arrived = trio.Event()
            self._room.set()
            with trio.move_on_at(max(deadline, self._last_taken + timeout)) as waiting:
                await self._arrived.wait()
            if waiting.cancelled_caught and waiting.deadline >= self._last_taken + timeout:
                raise PeerTimeoutError(f"The other side said nothing for {timeout:.0f} s.")
        return event

    # --- the tasks ------------------------------------------------------------------------

    async def run(self, talk: Callable[[], Awaitable[None]]) -> None:
        """Talk, with a reader and a writer beside it; at the end all that was said is out."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read)
                written = trio.Event()
                nursery.start_soon(self._write, written)
                await talk()
                self._out.close()
                with trio.move_on_after(limits.SEND_TIMEOUT):
                    await written.wait()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise most_telling(group) from None

    async def _read(self) -> None:
        """Bytes into the machine, ahead of what was asked for but not far."""
        while True:
            try:
                data = bytes(await self._stream.receive_some(limits.READ_BYTES))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            self.machine.receive(data)
            self._arrived.set()
            if not data:
                return
            if self.machine.buffered >= limits.READ_BYTES:
                self._room = trio.Event()
                await self._room.wait()

    async def _write(self, written: trio.Event) -> None:
        """A broken stream is the reader's to report: it may still hold what the peer said."""
        is_open = True
        async for data in self._to_write:
            if is_open:
                is_open = await self._hand_over(data)
        written.set()

    async def _hand_over(self, data: bytes) -> bool:
        """Give bytes to the network; False when the connection is broken."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        self._last_taken = trio.current_time()
        return True
