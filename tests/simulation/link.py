"""A connection between two nodes that does to bytes what networks do.

Two memory streams with a pump between them for each direction. A pump takes a chunk of some
size, waits a while, and hands it on; at its planned byte it breaks the link, ends one
direction, or stands still. A link lives in the world's nursery and not in a node's: it
outlives whoever closes or dies first, until both ends are closed.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable

import trio
import trio.testing

from tests.simulation.plan import LinkPlan, Way
from tests.simulation.trace import Trace

# Mostly all there is: each chunk costs a run as much as a message does.
_CHUNKS = (1, 2, 9, 100, 1_000, *[65_536] * 9)

OnBytes = Callable[[bytes], None]


class End(trio.abc.HalfCloseableStream):
    """One node's end. `on_sent` sees every byte string the node hands to the network."""

    def __init__(self, link: Link, stream: trio.abc.HalfCloseableStream, on_sent: OnBytes) -> None:
        self._link, self._stream, self._on_sent = link, stream, on_sent
        self.is_closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._link.check()
        self._on_sent(bytes(data))
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        self._link.check()
        data = await self._stream.receive_some(max_bytes)
        if not data:
            self._link.check()
        return data

    async def send_eof(self) -> None:
        self._link.check()
        await self._stream.send_eof()

    async def aclose(self) -> None:
        self.is_closed = True
        self._link.look()
        await self._stream.aclose()


class Link:
    """Run it, and give `initiator` and `responder` to the two nodes."""

    def __init__(
        self, name: str, plan: LinkPlan, trace: Trace, on_up: OnBytes, on_down: OnBytes
    ) -> None:
        mine, self._near = _pair(plan.narrow)
        self._far, theirs = _pair(plan.narrow)
        self.name, self._plan, self._trace = name, plan, trace
        self._changed = trio.Event()
        self.is_reset = False
        self.saw_fall = False
        self.initiator = End(self, mine, on_up)
        self.responder = End(self, theirs, on_down)

    @property
    def is_closed(self) -> bool:
        """Whether both nodes have closed their ends."""
        return self.initiator.is_closed and self.responder.is_closed

    def look(self) -> None:
        """Something about the link has changed."""
        self._changed.set()

    def reset(self) -> None:
        """Break it for both, with whatever is on its way."""
        self.is_reset = True
        self.look()

    def check(self) -> None:
        """Raises BrokenResourceError when the link was broken."""
        if self.is_reset:
            raise trio.BrokenResourceError("The connection was reset.")

    async def run(self) -> None:
        """Carry bytes until both ends are closed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, "up", self._plan.up, self._near, self._far)
            nursery.start_soon(self._pump, "down", self._plan.down, self._far, self._near)
            while not (self.is_closed or self.is_reset):
                self._changed = trio.Event()
                await self._changed.wait()
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(self._near)
        await trio.aclose_forcefully(self._far)

    async def _pump(
        self,
        way: str,
        faults: Way,
        source: trio.abc.HalfCloseableStream,
        goal: trio.abc.HalfCloseableStream,
    ) -> None:
        try:
            await _Pump(self, way, faults, self._plan, self._trace, self.name).run(source, goal)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # Bytes came for somebody who has closed: that resets a real connection.
            self._trace(f"{self.name} {way} nobody takes it")
            self.reset()


class _Pump:
    """One direction of a link."""

    def __init__(
        self, link: Link, way: str, faults: Way, plan: LinkPlan, trace: Trace, name: str
    ) -> None:
        self._link, self._faults, self._delay = link, faults, plan.delay
        self._chance = random.Random(f"{plan.seed} {way}")
        self._trace, self._name = trace, f"{name} {way}"
        self._passed = 0

    async def run(
        self, source: trio.abc.HalfCloseableStream, goal: trio.abc.HalfCloseableStream
    ) -> None:
        """Until the source ends, or nothing more gets through."""
        is_open = True
        while data := bytes(await source.receive_some(self._size())):
            if self._delay:
                await trio.sleep(self._chance.random() * self._delay)
            if not is_open:
                continue  # the sender does not know that nobody hears it
            await goal.send_all(data)
            self._passed += len(data)
            self._trace(f"{self._name} {len(data)} bytes, {hash_of(data)}")
            self._trace.count("bytes", len(data))
            if self._passed == self._faults.stall_at:
                await self._stall()
            if self._passed == self._faults.cut_at:
                self._note("cuts")
                self._link.reset()
                return
            if self._passed == self._faults.half_close_at:
                self._note("half-closes")
                await goal.send_eof()
                is_open = False
        if is_open:
            await goal.send_eof()

    def _size(self) -> int:
        """How much to take; never past the byte where something is to happen."""
        size = self._chance.choice(_CHUNKS)
        faults = self._faults
        for at in (faults.cut_at, faults.half_close_at, faults.stall_at):
            if at is not None and at > self._passed:
                size = min(size, at - self._passed)
        return size

    async def _stall(self) -> None:
        self._note("stalls")
        await trio.sleep(self._faults.stall_seconds)

    def _note(self, what: str) -> None:
        self._trace(f"{self._name} {what} at byte {self._passed}")
        self._trace.count(what)


def _pair(narrow: bool) -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
    if narrow:
        return trio.testing.lockstep_stream_pair()
    return trio.testing.memory_stream_pair()


def hash_of(data: bytes) -> str:
    """A few digits that tell whether two runs carried the same bytes."""
    return f"{zlib.crc32(data):08x}"
