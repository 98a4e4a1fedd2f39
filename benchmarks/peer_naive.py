"""The exchange that needs no thought: both sides send every id they hold.

The initiator sends its ids, the responder answers with its own; each then knows what differs.
A message is the number of ids, 8 bytes big-endian, and the ids, 32 bytes each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import trio

from setsync.store.contract import EntryStore

ID_BYTES = 32
_AT_ONCE = 262_144


@dataclass(frozen=True)
class Found:
    """How many ids only the other side has, and only this one."""

    here: int
    there: int


def ids_of(store: EntryStore) -> bytes:
    """Every id of a store, joined."""
    with store.snapshot() as snapshot:
        views = [snapshot.view(name) for name, _ in snapshot.collections()]
        return b"".join(view.ids("").tobytes() for view in views if view is not None)


def compare(mine: bytes, theirs: bytes) -> Found:
    """What differs between two joined lists of ids."""
    here, there = _rows(mine), _rows(theirs)
    common = len(np.intersect1d(here, there, assume_unique=True))
    return Found(len(there) - common, len(here) - common)


def _rows(joined: bytes) -> npt.NDArray[Any]:
    # As numbers of 64 bits, in which ids of honest sets never collide; sorting them is fast.
    return (
        np.frombuffer(joined, dtype=np.uint8).reshape(-1, ID_BYTES)[:, :8].copy().view(">u8")[:, 0]
    )


async def exchange(store: EntryStore, address: tuple[str, int]) -> Found:
    """Connect, send all ids, take all of theirs."""
    stream = await trio.open_tcp_stream(*address)
    async with stream:
        mine = ids_of(store)
        await _send(stream, mine)
        return compare(mine, await _receive(stream))


async def serve(
    store: EntryStore, task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer exchanges on a free loopback port until cancelled."""

    async def accepted(stream: trio.SocketStream) -> None:
        async with stream:
            theirs = await _receive(stream)
            mine = ids_of(store)
            await _send(stream, mine)
            compare(mine, theirs)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        task_status.started(listener.socket.getsockname()[:2])
        await trio.serve_listeners(accepted, [listener])


async def _send(stream: trio.SocketStream, ids: bytes) -> None:
    await stream.send_all((len(ids) // ID_BYTES).to_bytes(8, "big") + ids)


async def _receive(stream: trio.SocketStream) -> bytes:
    buffer = bytearray()
    expected = 8
    while len(buffer) < expected:
        part = await stream.receive_some(_AT_ONCE)
        if not part:
            raise EOFError("the other side ended early")
        buffer += part
        if len(buffer) >= 8:
            expected = 8 + ID_BYTES * int.from_bytes(buffer[:8], "big")
    return bytes(buffer[8:])
