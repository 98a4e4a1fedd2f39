"""Carries bytes between two connections, counting them, at the pace of a pretended line.

The tasks inside `setsync.bench.proxy`. Knows nothing of what the bytes mean; whoever wants to
know passes an `observe` callback.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from typing import Protocol

import trio
from trio import TaskStatus

from setsync.bench.counts import Conversation, Direction, Ledger, Observer
from setsync.bench.link import LARGEST_CHUNK, QUEUE_BYTES, Line, Link

LOOPBACK = "127.0.0.1"

Address = tuple[str, int]


class ByteGate:
    """Admits bytes while fewer than `limit` are inside, so that a full line stops its reader."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside = 0
        self._room = trio.Condition()

    @property
    def inside(self) -> int:
        """Bytes admitted and not yet released."""
        return self._inside

    async def admit(self, size: int) -> None:
        """Wait for room. A chunk may overshoot the limit by its own size, never by two."""
        async with self._room:
            while self._inside >= self._limit:
                await self._room.wait()
            self._inside += size

    async def release(self, size: int) -> None:
        """Give the room back and wake the reader."""
        async with self._room:
            self._inside -= size
            self._room.notify()


# --- forwarding --------------------------------------------------------------------------------


class HalfCloseable(Protocol):
    """The writing end `carry` needs: trio's `SocketStream` and `StapledStream` both have it."""

    async def send_all(self, data: bytes) -> None:
        """Write everything."""

    async def send_eof(self) -> None:
        """Say that no more will come, leaving the other direction open."""


class Readable(Protocol):
    """The reading end `carry` needs."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Read what is there; empty at the end."""


Heard = Callable[[bytes], None]


async def carry(source: Readable, sink: HalfCloseable, heard: Heard, link: Link) -> None:
    """Forward one direction until the source ends, then half-close the sink.

    Raises trio.BrokenResourceError or trio.ClosedResourceError if either end went away.
    """
    if link.is_plain:
        await _carry_plain(source, sink, heard)
    else:
        await _carry_late(source, sink, heard, link)
    await sink.send_eof()


async def _carry_plain(source: Readable, sink: HalfCloseable, heard: Heard) -> None:
    while chunk := bytes(await source.receive_some(LARGEST_CHUNK)):
        heard(chunk)
        await sink.send_all(chunk)


async def _carry_late(source: Readable, sink: HalfCloseable, heard: Heard, link: Link) -> None:
    gate = ByteGate(link.buffer_bytes)
    entrance, exit_ = trio.open_memory_channel[tuple[float, bytes]](math.inf)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_enter, source, entrance, heard, link, gate)
        nursery.start_soon(_leave, exit_, sink, gate)


async def _enter(
    source: Readable,
    entrance: trio.MemorySendChannel[tuple[float, bytes]],
    heard: Heard,
    link: Link,
    gate: ByteGate,
) -> None:
    line = Line(link)
    async with entrance:
        while chunk := bytes(await source.receive_some(link.chunk_bytes)):
            heard(chunk)
            await gate.admit(len(chunk))
            entrance.send_nowait((line.due(trio.current_time(), len(chunk)), chunk))
        # The end of the stream travels the line too, behind everything else.
        entrance.send_nowait((line.due(trio.current_time(), 0), b""))


async def _leave(
    exit_: trio.MemoryReceiveChannel[tuple[float, bytes]], sink: HalfCloseable, gate: ByteGate
) -> None:
    async for due, chunk in exit_:
        await trio.sleep_until(due)
        if chunk:
            await sink.send_all(chunk)
            await gate.release(len(chunk))


_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


async def _join(
    client: trio.SocketStream, target: Address, conversation: Conversation, link: Link
) -> None:
    """Join an accepted connection with a new one to the target until both have ended.

    When one end breaks, both are closed: a reset on one side must not look like silence on the
    other.
    """
    async with client:
        await trio.sleep(link.rtt)
        try:
            server = await _connect(target, link)
        except OSError:
            return
        async with server:
            try:
                async with trio.open_nursery() as nursery:
                    for direction, source, sink in (
                        (Direction.UP, client, server),
                        (Direction.DOWN, server, client),
                    ):
                        heard = _listener(conversation, direction)
                        nursery.start_soon(carry, source, sink, heard, link)
            except* _GONE:
                pass


def _listener(conversation: Conversation, direction: Direction) -> Heard:
    return lambda chunk: conversation.heard(direction, chunk)


async def _connect(target: Address, link: Link) -> trio.SocketStream:
    sock = trio.socket.socket()
    try:
        _bound_kernel_buffer(sock, link)
        await sock.connect(target)
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


def _bound_kernel_buffer(sock: trio.socket.SocketType, link: Link) -> None:
    """Keep the kernel from swallowing megabytes of what a slow line should hold back.

    Has to happen before the connection exists: the window scale is settled in its first packet.
    """
    if link.rate is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE_BYTES)


async def serve(
    target: Address,
    ledger: Ledger,
    *,
    link: Link | None = None,
    observe: Observer | None = None,
    task_status: TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen on a free loopback port and forward to `target` until cancelled.

    Reports the (host, port) to connect to through `task_status`.
    """
    line = link or Link()
    (listener,) = await trio.open_tcp_listeners(0, host=LOOPBACK)
    _bound_kernel_buffer(listener.socket, line)

    async def accepted(client: trio.SocketStream) -> None:
        ledger.connected()
        try:
            await _join(client, target, Conversation(ledger, observe), line)
        finally:
            ledger.disconnected()

    async with listener:
        host, port = listener.socket.getsockname()[:2]
        task_status.started((str(host), int(port)))
        await trio.serve_listeners(accepted, [listener])
