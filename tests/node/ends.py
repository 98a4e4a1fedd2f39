"""Two ends of a session joined in memory on a clock that jumps, and peers that follow a script.

Whatever a session does, it must end, and with nothing but a `SetsyncError`: the helpers let
every other exception through, and a session that waits for ever runs into a deadline of a
day on the jumping clock.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import trio
import trio.testing

from setsync.errors import SetsyncError
from setsync.limits import DEFAULT_MAX_PAYLOAD
from setsync.model.entry import Entry
from setsync.node.client import Options, run_initiator
from setsync.node.groups import EVERYBODY
from setsync.node.local import Local, Offload, inline, now
from setsync.node.node import open_local
from setsync.node.policy import Policy
from setsync.node.progress import OnProgress, ignore
from setsync.node.report import Report
from setsync.node.server import Served, run_responder
from setsync.store.contract import EntryStore
from setsync.wire import messages as m
from tests.helpers import entries

T = TypeVar("T")

NODES = (b"a" * 32, b"b" * 32)
_A_DAY = 86_400.0

StreamPair = tuple[trio.abc.Stream, trio.abc.Stream]


def simulate(main: Callable[..., Awaitable[T]], *arguments: object) -> T:
    """Run on a clock that jumps ahead whenever everybody waits."""

    async def bounded() -> T:
        with trio.fail_after(_A_DAY):
            return await main(*arguments)

    return trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0))


def members(store: EntryStore) -> set[tuple[str, bytes]]:
    """(collection, id) of everything in a store."""
    with store.snapshot() as snapshot:
        return {(e.collection, e.id) for e in snapshot.since(0, 1_000_000)}


@functools.cache
def signed_pool() -> tuple[Entry, ...]:
    """Entries of four collections, each with a good signature; some ids close together."""
    close = [entry for entry in entries(1_500, "notes", seed=9) if entry.id[0] == 0xAB]
    return (
        *entries(24, "notes"),
        *close[:6],
        *entries(8, "system/keys"),
        *entries(2, "system"),
        *entries(8, "notes/é/travel"),
    )


def roots(store: EntryStore) -> object:
    """Every collection with its summary: equal for equal sets and for no others."""
    with store.snapshot() as snapshot:
        return snapshot.collections()


def arrivals(store: EntryStore) -> list[str]:
    """The collections of the entries, in order of arrival."""
    with store.snapshot() as snapshot:
        return [entry.collection for entry in snapshot.since(0, 1_000_000)]


# --- two honest ends ----------------------------------------------------------------------


@dataclass
class Met:
    """What came of a session, on both sides."""

    report: Report = field(default_factory=Report)
    served: Served = field(default_factory=Served)
    error: SetsyncError | None = None
    their_error: SetsyncError | None = None


@dataclass
class Side:
    """One node of a meeting."""

    store: EntryStore
    max_payload: int = DEFAULT_MAX_PAYLOAD
    interests: Sequence[str] = ("**",)
    offload: Offload = inline
    policy: Policy = field(default_factory=Policy)
    groups: Sequence[str] = (EVERYBODY,)
    clock: Callable[[], int] = now


def nonces() -> Callable[[], bytes]:
    """Nonces that are the same in every run."""
    numbers = itertools.count(1)
    return lambda: next(numbers).to_bytes(32, "big")


async def meet(
    initiator: Side | EntryStore,
    responder: Side | EntryStore,
    options: Options | None = None,
    *,
    streams: StreamPair | None = None,
    on_progress: OnProgress = ignore,
) -> Met:
    """One session between two stores; SetsyncErrors are returned, all others raised."""
    mine = initiator if isinstance(initiator, Side) else Side(initiator)
    theirs = responder if isinstance(responder, Side) else Side(responder)
    here, there = streams or trio.testing.memory_stream_pair()
    met = Met()
    async with opened(mine, NODES[0]) as local, opened(theirs, NODES[1]) as remote:

        async def respond() -> None:
            try:
                await run_responder(there, remote, met.served)
            except SetsyncError as error:
                met.their_error = error

        async with trio.open_nursery() as nursery:
            nursery.start_soon(respond)
            try:
                await run_initiator(here, local, options or Options(), on_progress, met.report)
            except SetsyncError as error:
                met.error = error
    return met


def sync_in_memory(
    initiator: Side | EntryStore, responder: Side | EntryStore, options: Options | None = None
) -> Met:
    """`meet`, on a clock of its own; both ends must have come to an orderly end."""
    met = simulate(meet, initiator, responder, options)
    assert met.error is None, met.error
    assert met.their_error is None, met.their_error
    assert met.report.state == met.served.state == "done"
    return met


@contextlib.asynccontextmanager
async def opened(side: Side, node_id: bytes) -> AsyncIterator[Local]:
    """`open_local` for a side, with nonces that are the same in every run."""
    async with open_local(
        side.store,
        node_id=node_id,
        interests=side.interests,
        max_payload=side.max_payload,
        offload=side.offload,
        policy=lambda: side.policy,
        groups=lambda key: side.groups,
    ) as local:
        local.nonce = nonces()
        local.clock = side.clock
        yield local


class Interleaved:
    """An offload that adds entries to stores between the steps of a session.

    `plan` maps the number of a step, counted over all sides that use it, to what is added
    before it; `each` is called before every step.
    """

    def __init__(
        self,
        plan: Mapping[int, Sequence[tuple[EntryStore, Entry]]] | None = None,
        each: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._plan = dict(plan or {})
        self._each = each
        self.steps = 0
        self.added: list[Entry] = []

    async def __call__(self, work: Callable[..., T], *arguments: object) -> T:
        await trio.lowlevel.checkpoint()
        self.steps += 1
        for store, entry in self._plan.pop(self.steps, ()):
            store.add_many([entry])
            self.added.append(entry)
        self._each(getattr(work, "__name__", ""))
        return work(*arguments)


# --- one honest end and a script ----------------------------------------------------------


class Peer:
    """The other end of a stream, which says what a script tells it to, wrong or right."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._buffer = m.new_buffer()
        self.heard: list[m.Message] = []

    async def say(self, *messages: m.Message) -> None:
        """Send messages, whether or not it is their turn."""
        for message in messages:
            await self.say_bytes(m.pack(message))

    async def say_bytes(self, data: bytes) -> None:
        """Send anything; nobody may be there to take it."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.stream.send_all(data)

    async def hear(self) -> m.Message | None:
        """The next message, or None at the end of the stream."""
        while (frame := self._buffer.next_frame()) is None:
            try:
                data = bytes(await self.stream.receive_some(65_536))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                return None
            self._buffer.receive(data)
        self.heard.append(m.unpack(*frame))
        return self.heard[-1]

    async def hear_a(self, kind: type[T]) -> T:
        """The next message of a kind; others are passed over. Fails at the end."""
        while (message := await self.hear()) is not None:
            if isinstance(message, kind):
                return message
        raise AssertionError(f"The stream ended before a {kind.__name__} came: {self.heard}")

    @property
    def abort(self) -> m.AbortMessage | None:
        """What the honest side ended the session with."""
        return next((each for each in self.heard if isinstance(each, m.AbortMessage)), None)


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class Faced:
    """How the honest side came out of it."""

    error: SetsyncError | None
    abort: m.AbortMessage | None
    heard: list[m.Message]
    report: Report
    served: Served
    seconds: float


HELLO = m.Hello((1,), b"h" * 32, b"n" * 32, ("**",), m.BOTH, DEFAULT_MAX_PAYLOAD, ())
EMPTY_CATALOG = m.Catalog(bytes(16))


def face_responder(side: Side | EntryStore, script: Script) -> Faced:
    """An honest responder and a script that plays the initiator."""
    return simulate(_face, side, script, None)


def face_initiator(
    side: Side | EntryStore, script: Script, options: Options | None = None
) -> Faced:
    """An honest initiator and a script that plays the responder."""
    return simulate(_face, side, script, options or Options())


async def _face(side: Side | EntryStore, script: Script, options: Options | None) -> Faced:
    side = side if isinstance(side, Side) else Side(side)
    here, there = trio.testing.memory_stream_pair()
    peer = Peer(there)
    faced = Faced(None, None, peer.heard, Report(), Served(), 0.0)
    async with opened(side, NODES[0]) as local, trio.open_nursery() as nursery:

        async def play() -> None:
            await script(peer)
            while await peer.hear() is not None:
                pass
            await trio.aclose_forcefully(there)

        nursery.start_soon(play)
        try:
            if options is None:
                await run_responder(here, local, faced.served)
            else:
                await run_initiator(here, local, options, report=faced.report)
        except SetsyncError as error:
            faced.error = error
        faced.seconds = trio.current_time()
    faced.abort = peer.abort
    return faced


async def greet_as_initiator(peer: Peer, catalog: bytes = bytes(16)) -> list[tuple[str, int]]:
    """Up to the responder's listing: (name, count) of its collections."""
    await peer.say(HELLO)
    await peer.hear_a(m.Hello)
    await peer.say(m.Catalog(catalog))
    listed = await peer.hear_a(m.Listed)
    return [(name, count) for name, count, _ in listed.collections]


async def greet_as_responder(
    peer: Peer, listing: Sequence[tuple[str, int]] = (("notes", 1),)
) -> None:
    """Up to our listing, with labels that differ from everybody's."""
    await peer.hear_a(m.Hello)
    await peer.say(HELLO)
    await peer.hear_a(m.Catalog)
    await peer.say(m.Listed(tuple((name, count, b"?" * 16) for name, count in listing)))
