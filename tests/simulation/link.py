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
    """Run it, and give `initiator` and `responder` to the two nodes.

    What a `secret` link carries differs from run to run, though not in length: the trace has no
    checksums of it.
    """

    def __init__(
        self,
        name: str,
        plan: LinkPlan,
        trace: Trace,
        on_up: OnBytes,
        on_down: OnBytes,
        *,
        is_secret: bool = False,
    ) -> None:
        mine, self._near = _pair(plan.narrow)
        self._far, theirs = _pair(plan.narrow)
        self.name, self.plan = name, plan
        self._changed = trio.Event()
        self.is_reset = False
        self.saw_fall = False
        self.had_fault = False
        self._pumps = {
            "up": _Pump(self, "up", plan.up, trace, is_secret, self._near, self._far),
            "down": _Pump(self, "down", plan.down, trace, is_secret, self._far, self._near),
        }
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

    # --- faults at a moment ---------------------------------------------------------------

    def cut(self) -> None:
        """Break it now."""
        self.had_fault = True
        self._pumps["up"].note("cuts")
        self.reset()

    async def half_close(self, way: str) -> None:
        """End one direction now, and tell its sender nothing."""
        self.had_fault = True
        await self._pumps[way].half_close()

    def stall(self, way: str, seconds: float) -> None:
        """Carry nothing in one direction for so long; what comes meanwhile is kept."""
        self.had_fault = True
        self._pumps[way].stall(seconds)

    async def run(self) -> None:
        """Carry bytes until both ends are closed."""
        async with trio.open_nursery() as nursery:
            for pump in self._pumps.values():
                nursery.start_soon(pump.run)
            while not (self.is_closed or self.is_reset):
                self._changed = trio.Event()
                await self._changed.wait()
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(self._near)
        await trio.aclose_forcefully(self._far)


class _Pump:
    """One direction of a link."""

    def __init__(
        self,
        link: Link,
        way: str,
        faults: Way,
        trace: Trace,
        is_secret: bool,
        source: trio.abc.HalfCloseableStream,
        goal: trio.abc.HalfCloseableStream,
    ) -> None:
        self._link, self._faults, self._is_secret = link, faults, is_secret
        self._source, self._goal = source, goal
        self._chance = random.Random(f"{link.plan.seed} {way}")
        self._trace, self._name = trace, f"{link.name} {way}"
        self._passed = 0
        self._is_open, self._is_giving = True, False
        self._still_until = 0.0

    async def run(self) -> None:
        """Until the source ends, or nothing more gets through."""
        try:
            await self._carry()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # Bytes came for somebody who has closed: that resets a real connection.
            self._trace(f"{self._name} nobody takes it")
            self._link.reset()

    async def _carry(self) -> None:
        while data := bytes(await self._source.receive_some(self._size())):
            if self._link.plan.delay:
                await trio.sleep(self._chance.random() * self._link.plan.delay)
            await trio.sleep_until(self._still_until)
            if not self._is_open:
                continue  # the sender does not know that nobody hears it
            await self._give(data)
            self._passed += len(data)
            self._trace(f"{self._name} {len(data)} bytes{self._checksum(data)}")
            self._trace.count("bytes", len(data))
            if self._passed == self._faults.stall_at:
                self.note("stalls")
                await trio.sleep(self._faults.stall_seconds)
            if self._passed == self._faults.cut_at:
                self.note("cuts")
                self._link.reset()
                return
            if self._passed == self._faults.half_close_at:
                await self.half_close()
        if self._is_open:
            await self._goal.send_eof()

    async def _give(self, data: bytes) -> None:
        """Hand a chunk on. Whoever half-closes meanwhile leaves the end to us."""
        self._is_giving = True
        await self._goal.send_all(data)
        self._is_giving = False
        if not self._is_open:
            await self._goal.send_eof()

    async def half_close(self) -> None:
        if self._is_open:
            self.note("half-closes")
            self._is_open = False
            if not self._is_giving:
                await self._goal.send_eof()

    def stall(self, seconds: float) -> None:
        self.note("stalls")
        self._still_until = trio.current_time() + seconds

    def _size(self) -> int:
        """How much to take; never past the byte where something is to happen."""
        size = self._chance.choice(_CHUNKS)
        faults = self._faults
        for at in (faults.cut_at, faults.half_close_at, faults.stall_at):
            if at is not None and at > self._passed:
                size = min(size, at - self._passed)
        return size

    def _checksum(self, data: bytes) -> str:
        return "" if self._is_secret else f", {hash_of(data)}"

    def note(self, what: str) -> None:
        self._trace(f"{self._name} {what} at byte {self._passed}")
        self._trace.count(what)


def _pair(narrow: bool) -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
    if narrow:
        return trio.testing.lockstep_stream_pair()
    return trio.testing.memory_stream_pair()


def hash_of(data: bytes) -> str:
    """A few digits that tell whether two runs carried the same bytes."""
    return f"{zlib.crc32(data):08x}"
