"""Connections that come to nothing: each ends at its deadline, and honest peers get in meanwhile.

Real loopback sockets on a clock that jumps when nobody has anything left to do.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import pytest
import trio
import trio.testing

from setsync import limits
from setsync.errors import Abort, PeerRefusedError, SetsyncError
from setsync.model.keys import SecretKey
from setsync.node.access import Access, Mode
from setsync.node.channel import PROTOCOL, Channel, dial
from setsync.node.client import Options, run_initiator
from setsync.node.door import Door, Rules
from setsync.node.identity import Identity
from setsync.node.invites import Invite, digest_of
from setsync.node.listening import Guest, Visitor, listen
from setsync.node.peers import Book, Peer
from setsync.node.report import Report
from setsync.node.server import Served
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.helpers import entries
from tests.node.ends import HELLO, Side, opened
from tests.node.ends import Peer as Scripted
from tests.node.impostors import ANNA, BEN, MALLORY


def _run(main: Callable[[], Awaitable[None]]) -> None:
    """The threshold lets the kernel hand over what is on its way before time jumps."""

    async def bounded() -> None:
        with trio.fail_after(86_400):
            await main()

    trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0.001))


@dataclass
class Listening:
    """Anna's node."""

    port: int
    door: Door
    endings: trio.MemoryReceiveChannel[tuple[float, Served]]
    ended: list[tuple[float, Served]] = field(default_factory=list)

    async def open(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def until(self, number: int) -> None:
        """Until so many connections have ended."""
        while len(self.ended) < number:
            self.ended.append(await self.endings.receive())

    async def until_pending(self, number: int) -> None:
        """Until so many are waiting at the door."""
        while self.door.pending < number:
            await trio.testing.wait_all_tasks_blocked(0.0005)

    async def sync(self) -> Report:
        """Ben comes and is served."""
        channel = await dial(await self.open(), Identity.of(BEN), ANNA.public)
        async with opened(Side(MemoryStore()), BEN.public) as local:
            return await run_initiator(channel.stream, local, Options(), peer=channel.peer)


@contextlib.asynccontextmanager
async def _listening(
    rules: Rules | None = None,
    access: Access | None = None,
    guests: Mapping[str, Guest] | None = None,
) -> AsyncIterator[Listening]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1_024)
    store = MemoryStore()
    store.add_many(entries(5))
    started = trio.current_time()
    told, endings = trio.open_memory_channel[tuple[float, Served]](10_000)
    port = listeners[0].socket.getsockname()[1]
    node = Listening(port, Door(rules or Rules()), endings)

    def on_session(served: Served) -> None:
        told.send_nowait((trio.current_time() - started, served))

    async with opened(Side(store), ANNA.public) as local, trio.open_nursery() as nursery:
        me = Identity.of(ANNA)
        nursery.start_soon(
            partial(listen, local, listeners, on_session, me, access, door=node.door, guests=guests)
        )
        yield node
        nursery.cancel_scope.cancel()


# --- slow ones ----------------------------------------------------------------------------

FRAME = m.pack(HELLO)


async def _greeted(node: Listening, invite: bytes = b"") -> trio.abc.Stream:
    """Mallory, after an honest HELLO."""
    channel = await dial(await node.open(), Identity.of(MALLORY), ANNA.public)
    hello = m.Hello((1,), MALLORY.public, bytes(32), ("**",), m.BOTH, 1_000, (), invite=invite)
    await channel.stream.send_all(m.pack(hello))
    peer = Scripted(channel.stream)
    await peer.hear_a(m.Hello)
    return channel.stream


async def _in_the_handshake(node: Listening) -> tuple[trio.abc.Stream, bytes]:
    return await node.open(), b"\x16\x03\x01\x02\x00\x01" + bytes(100)


async def _in_the_first_header(node: Listening) -> tuple[trio.abc.Stream, bytes]:
    channel = await dial(await node.open(), Identity.of(MALLORY), ANNA.public)
    return channel.stream, FRAME[:3]


async def _in_the_first_body(node: Listening) -> tuple[trio.abc.Stream, bytes]:
    channel = await dial(await node.open(), Identity.of(MALLORY), ANNA.public)
    return channel.stream, FRAME[:-1]


async def _in_a_later_header(node: Listening) -> tuple[trio.abc.Stream, bytes]:
    return await _greeted(node), m.pack(m.Catalog(bytes(16)))[:3]


async def _in_a_later_body(node: Listening) -> tuple[trio.abc.Stream, bytes]:
    return await _greeted(node), m.pack(m.Catalog(bytes(16)))[:-1]


SLOW = [
    (_in_the_handshake, limits.HELLO_TIMEOUT),
    (_in_the_first_header, limits.HELLO_TIMEOUT),
    (_in_the_first_body, limits.HELLO_TIMEOUT),
    (_in_a_later_header, limits.IDLE_TIMEOUT),
    (_in_a_later_body, limits.IDLE_TIMEOUT),
]


@pytest.mark.parametrize("drips", [False, True], ids=["and then silence", "a byte a second"])
@pytest.mark.parametrize(("where", "deadline"), SLOW, ids=lambda one: getattr(one, "__name__", ""))
def test_a_slow_peer_is_let_go_at_its_deadline(
    where: Callable[[Listening], Awaitable[tuple[trio.abc.Stream, bytes]]],
    deadline: float,
    drips: bool,
) -> None:
    """However its bytes are dealt out; an honest peer is served before, and at once."""

    async def main() -> None:
        async with _listening() as node, trio.open_nursery() as nursery:

            async def be_slow() -> None:
                stream, said = await where(node)
                with contextlib.suppress(trio.BrokenResourceError):
                    for at in range(len(said)):
                        await stream.send_all(said[at : at + 1])
                        if drips:
                            await trio.sleep(1)
                    while await stream.receive_some(65_536):
                        pass

            nursery.start_soon(be_slow)
            await trio.sleep(5)
            report = await node.sync()
            assert report.in_sync
            assert report.seconds < 1
            await node.until(2)
            (_, honest), (when, slow) = node.ended
            assert (honest.state, slow.state) == ("done", "failed")
            # A moment for our farewell, which nobody takes, is on top.
            assert deadline <= when <= deadline + limits.SHUTDOWN_GRACE + 1
            assert "s." in slow.reason
            assert (node.door.pending, node.door.through) == (0, 0)
            nursery.cancel_scope.cancel()

    _run(main)


# --- many ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [95, 1_000])
def test_half_open_connections_keep_nobody_out(number: int) -> None:
    """So many at once, of which a hundred may wait, and an honest peer among them. Those that are
    left end at their deadline."""
    # A thousand at once are over the rate, which is another test's.
    rules = Rules() if number < 100 else Rules(rate=10_000)

    async def main() -> None:
        async with _listening(rules) as node:
            streams = [await node.open() for _ in range(number)]
            await node.until(max(0, number - limits.MAX_PENDING))
            assert node.door.pending == min(number, limits.MAX_PENDING)
            assert all("when others came" in served.reason for _, served in node.ended)
            report = await node.sync()
            assert report.in_sync
            assert report.seconds <= 2
            await node.until(number + 1)
            assert node.door.pending == 0
            last = max(when for when, _ in node.ended)
            assert limits.HELLO_TIMEOUT - 1 <= last <= limits.HELLO_TIMEOUT + 1
            for stream in streams:
                await trio.aclose_forcefully(stream)

    _run(main)


def test_a_flood_costs_no_more_than_its_rate() -> None:
    """What is over the rate is closed without a handshake, and without a line for each."""

    async def main() -> None:
        async with _listening() as node:
            streams = [await node.open() for _ in range(400)]
            with trio.fail_after(5):
                for stream in streams[150:]:
                    assert await stream.receive_some(1) == b""
            await trio.sleep(1)
            await node.until(node.endings.statistics().current_buffer_used)
            told = [served for _, served in node.ended if "a second came" in served.reason]
            assert 1 <= len(told) <= 10
            assert (await node.sync()).in_sync
            for stream in streams:
                await trio.aclose_forcefully(stream)

    _run(main)


def test_a_connection_too_many_is_told_inside_the_channel() -> None:
    async def main() -> None:
        async with _listening(Rules(connections=1)) as node:
            first = await _greeted(node)
            with pytest.raises(PeerRefusedError, match="all 1 connections"):
                await node.sync()
            await trio.aclose_forcefully(first)
            await node.until(2)
            assert (await node.sync()).in_sync

    _run(main)


def test_a_key_has_two_connections() -> None:
    async def main() -> None:
        async with _listening() as node:
            streams = [await _greeted(node) for _ in range(2)]
            third = await dial(await node.open(), Identity.of(MALLORY), ANNA.public)
            abort = await Scripted(third.stream).hear_a(m.AbortMessage)
            assert abort.code == Abort.BUSY
            assert "2 connections from one key" in abort.sentence
            assert (await node.sync()).in_sync
            for stream in (*streams, third.stream):
                await trio.aclose_forcefully(stream)

    _run(main)


def test_strangers_who_wait_for_their_refusal_take_no_ones_place() -> None:
    """They stay among the pending until they have left, however slowly they read it."""

    async def main() -> None:
        book = Book({BEN.public: Peer(BEN.public)})
        access = Access(Mode.LISTED, lambda: book)
        async with _listening(Rules(connections=2, pending=4), access) as node:
            strangers = [
                await dial(await node.open(), Identity.of(MALLORY), ANNA.public) for _ in range(4)
            ]
            await node.until_pending(4)
            assert node.door.through == 0
            try:
                report = await node.sync()
            except SetsyncError as error:
                pytest.fail(error.message)
            assert report.in_sync
            await node.until(5)
            assert node.door.pending == 0
            assert "does not list you" in " ".join(served.reason for _, served in node.ended)
            for stranger in strangers:
                await trio.aclose_forcefully(stranger.stream)

    _run(main)


CODE = bytes(16)


def _inviting(mode: Mode = Mode.INVITED) -> Access:
    """Ben is listed; one more may be, by an invite."""
    book = Book()
    book.put(Peer(BEN.public))
    book.invites.add(Invite(digest_of(CODE), 0, 1_000), 0)
    return Access(mode, lambda: book, lambda: contextlib.nullcontext(book), clock=lambda: 1)


async def _strangers(node: Listening, number: int, protocol: str = PROTOCOL) -> list[Channel]:
    """So many, each with a key of its own, that prove it and then say nothing."""
    channels = []
    for at in range(1, number + 1):
        me = Identity.of(SecretKey(bytes([at]) * 32))
        channels.append(await dial(await node.open(), me, ANNA.public, protocol=protocol))
    return channels


def test_strangers_who_have_shown_no_invite_take_no_ones_place() -> None:
    """Where invites are taken: a key alone, which costs nothing, lets nobody through."""

    async def main() -> None:
        async with _listening(Rules(connections=2, pending=4), _inviting()) as node:
            strangers = await _strangers(node, 4)
            while node.door.pending + node.door.through < 4:
                await trio.testing.wait_all_tasks_blocked(0.0005)
            await node.sync()
            for stranger in strangers:
                await trio.aclose_forcefully(stranger.stream)

    _run(main)


def test_who_has_shown_an_invite_is_through() -> None:
    async def main() -> None:
        async with _listening(Rules(connections=1), _inviting()) as node:
            guest = await _greeted(node, CODE)
            assert (node.door.pending, node.door.through) == (0, 1)
            with pytest.raises(PeerRefusedError, match="all 1 connections"):
                await node.sync()
            await trio.aclose_forcefully(guest)

    _run(main)


@pytest.mark.parametrize("mode", [Mode.LISTED, Mode.INVITED])
def test_strangers_who_speak_another_protocol_take_no_ones_place(mode: Mode) -> None:
    """They need not be listed to be answered; the places are for those that are."""

    async def main() -> None:
        came = []

        async def stay(visitor: Visitor) -> None:
            came.append(visitor.peer)
            await trio.sleep_forever()

        rules, guests = Rules(connections=2), {"other/1": stay}
        async with _listening(rules, _inviting(mode), guests) as node:
            strangers = await _strangers(node, 4, "other/1")
            while len(came) + node.endings.statistics().current_buffer_used < 4:
                await trio.testing.wait_all_tasks_blocked(0.0005)
            await node.sync()
            for stranger in strangers:
                await trio.aclose_forcefully(stranger.stream)

    _run(main)
