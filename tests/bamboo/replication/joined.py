"""Two ends joined: by hand, without a stream, and in memory, on a clock that jumps."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio
import trio.testing

from bamboo_compat.replication.heights import HaveBuilder, Outbox, take_batch
from bamboo_compat.replication.machine import Machine
from bamboo_compat.replication.messages import (
    Done,
    EntryMessage,
    Have,
    Message,
    Request,
    pack,
    unpack,
)
from bamboo_compat.replication.report import Report, Tally
from bamboo_compat.replication.run import replicate
from bamboo_compat.replication.source import Carried, Source
from bamboo_compat.replication.stream import Splitter
from bamboo_compat.replication.table import Role
from setsync.errors import SetsyncError
from setsync.node.local import inline
from tests.node.ends import StreamPair, simulate

NOW = 1_700_000_000


# --- by hand ------------------------------------------------------------------------------


@dataclass
class End:
    """A machine and its node, driven by hand."""

    machine: Machine
    source: Source
    sent: int = 0

    def tell(self, other: End, message: Message) -> None:
        """Say something; the other side must understand just that."""
        other.machine.receive(self.machine.send(message))
        assert other.machine.next_event() == message

    def have(self) -> Have:
        """Our heights, for the session that is open."""
        builder = HaveBuilder(self.source, self.machine.session, self.machine.asked)
        while not builder.finished:
            builder.step()
        return builder.have()

    def send_entries(self, other: End, theirs: Have) -> None:
        """All that the other side lacks; it takes them one by one."""
        outbox = Outbox(self.source, self.machine.asked, theirs)
        while not outbox.finished:
            for _, entry, payload in outbox.next_batch():
                self.tell(other, EntryMessage(self.machine.session, entry, payload))
                take_batch(
                    other.source,
                    [Carried(entry, payload)],
                    other.machine.asked,
                    other.machine.known,
                )
                self.sent += 1
        self.tell(other, Done(self.machine.session))


def join_by_hand(mine: Source, theirs: Source) -> tuple[End, End]:
    """A whole connection between an initiator and a responder, told straight down."""
    here = End(Machine(Role.INITIATOR, mine.schemas()), mine)
    there = End(Machine(Role.RESPONDER, theirs.schemas()), theirs)
    here.tell(there, here.machine.announce(NOW))
    there.tell(here, there.machine.announce(NOW))
    while request := here.machine.next_request():
        here.tell(there, request)
        assert there.machine.asked == frozenset(request.schemas)
        of_there = there.have()
        there.tell(here, of_there)
        of_here = here.have()
        here.tell(there, of_here)
        there.send_entries(here, of_here)
        here.send_entries(there, of_there)
    return here, there


# --- over streams -------------------------------------------------------------------------


async def meet(
    mine: Source, theirs: Source, streams: StreamPair | None = None
) -> tuple[Report, Report]:
    """A whole connection: what the initiator reports, and the responder."""
    here, there = streams or trio.testing.memory_stream_pair()
    reports: dict[Role, Report] = {}

    async def run(stream: trio.abc.Stream, source: Source, role: Role) -> None:
        reports[role] = await replicate(stream, source, role=role, now=NOW, offload=inline)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, there, theirs, Role.RESPONDER)
        await run(here, mine, Role.INITIATOR)
    return reports[Role.INITIATOR], reports[Role.RESPONDER]


def replicated(
    mine: Source, theirs: Source, streams: StreamPair | None = None
) -> tuple[Report, Report]:
    """`meet`, on a clock of its own."""
    return simulate(meet, mine, theirs, streams)


class Peer:
    """The other end of a stream, which says what a script tells it to, wrong or right."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._splitter = Splitter()

    async def say(self, *messages: Message) -> None:
        """Send messages, whether or not it is their turn."""
        await self.say_bytes(b"".join(map(pack, messages)))

    async def say_bytes(self, data: bytes) -> None:
        """Send anything; nobody may be there to take it."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.stream.send_all(data)

    async def hear(self) -> bytes | None:
        """The next message, or None at the end of the stream."""
        while (message := self._splitter.next_message()) is None:
            data = b""
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                data = bytes(await self.stream.receive_some(65_536))
            if not data:
                return None
            self._splitter.receive(data)
        return message

    async def leave(self) -> None:
        """End the connection in good order, once the session's last message came."""
        while (message := await self.hear()) is not None:
            if isinstance(unpack(message), Done):
                await self.stream.aclose()
                return

    async def hear_to_the_end(self) -> None:
        """Take all that comes."""
        while await self.hear() is not None:
            pass


@dataclass
class Faced:
    """How the honest side came out of it, and when."""

    error: SetsyncError | None
    report: Report
    seconds: float


def face(
    source: Source,
    role: Role,
    script: Callable[[Peer], Awaitable[None]],
    pair: Callable[[], StreamPair] = trio.testing.memory_stream_pair,
) -> Faced:
    """An honest end in `role`, and a script that plays the other."""

    async def run() -> Faced:
        here, there = pair()
        tally = Tally()
        error: SetsyncError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(script, Peer(there))
            try:
                await replicate(here, source, role=role, now=NOW, offload=inline, tally=tally)
            except SetsyncError as caught:
                error = caught
            seconds = trio.current_time()
            nursery.cancel_scope.cancel()
        return Faced(error, tally.report(), seconds)

    return simulate(run)


async def open_session(peer: Peer, *schemas: str, have: Have | None = None) -> None:
    """Play the initiator, up to where entries may be sent."""
    await peer.hear()
    await peer.say(Request(0, schemas))
    await peer.hear()
    await peer.say(have or Have(0, ()))
