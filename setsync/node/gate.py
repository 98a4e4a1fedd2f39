"""The gate before the secure channel: both sides prove that they know the network's key.

The dialler speaks first, as in TLS, so that nobody ever waits for somebody who waits too,
whichever of the two has a key. A listener with a key says nothing at all to who has not shown
that it knows it: no byte of TLS is looked at, no certificate shown, and a port scan finds an
open port and silence. A dialler shows its certificate only to who has proven the same.

The proofs are fresh on both sides, so recorded ones are worth nothing: a repeated call gets an
answer, and nobody without the key can reply to it. They do not bind what follows: who sits on
the line may pass them on and then begin TLS itself. It is then at TLS, which proves the keys of
nodes, as without a gate.

None of this has a deadline of its own: it is part of the handshake, and of the handshake's.
"""

from __future__ import annotations

import contextlib
import os

import trio

from setsync.errors import NetworkKeyError, PeerGoneError
from setsync.node.network import (
    ANSWER_BYTES,
    CALL_BYTES,
    MAGIC,
    NO_KEY,
    NONCE_BYTES,
    REPLY_BYTES,
    NetworkKey,
)

_TLS = b"\x16\x03"


async def knock(stream: trio.abc.Stream, key: NetworkKey) -> None:
    """The dialler's half. Raises NetworkKeyError; the stream stays open."""
    call = key.call(os.urandom(NONCE_BYTES))
    try:
        await stream.send_all(call)
        answer = await _receive(stream, ANSWER_BYTES)
    except trio.BrokenResourceError:
        answer = b""
    if len(answer) < ANSWER_BYTES:
        raise NetworkKeyError(
            "The other side closed the connection instead of proving this network's key: "
            "it has another one, or takes no connections just now."
        )
    if answer == NO_KEY:
        raise NetworkKeyError("The node there has no network key, and this one has.")
    if not key.is_answer(answer, call):
        raise NetworkKeyError("What answers there does not know this network's key.")
    await stream.send_all(key.reply(call, answer))


async def admit(stream: trio.abc.Stream, key: NetworkKey) -> None:
    """The listener's half; strangers hear nothing.

    Raises NetworkKeyError, PeerGoneError; the stream stays open.
    """
    call = await _receive(stream, CALL_BYTES, MAGIC)
    if call.startswith(_TLS):
        raise NetworkKeyError("The dialler has no network key, and this node has.")
    if not MAGIC.startswith(call[: len(MAGIC)]):
        raise NetworkKeyError("What dialled does not know this network's key, and is no node.")
    if len(call) < CALL_BYTES:
        raise PeerGoneError("The other side closed the connection at the network's gate.")
    if not key.is_call(call):
        raise NetworkKeyError("The dialler has another network key.")
    answer = key.answer(call, os.urandom(NONCE_BYTES))
    await stream.send_all(answer)
    reply = await _receive(stream, REPLY_BYTES)
    if len(reply) < REPLY_BYTES:
        raise PeerGoneError("The other side closed the connection at the network's gate.")
    if not key.is_reply(reply, call, answer):
        raise NetworkKeyError("Whoever dialled repeats a call and does not know the network's key.")


async def _receive(stream: trio.abc.Stream, size: int, beginning: bytes = b"") -> bytes:
    """So many bytes and never more, since TLS may follow; fewer if the stream ends, or if they
    cannot become what starts with `beginning`."""
    found = bytearray()
    while len(found) < size:
        part = await stream.receive_some(size - len(found))
        found += part
        if not part or not _may_begin(found, beginning):
            break
    return bytes(found)


def _may_begin(found: bytearray, beginning: bytes) -> bool:
    common = min(len(found), len(beginning))
    return found[:common] == beginning[:common]


# --- a node without a key -----------------------------------------------------------------


class Remembering(trio.abc.Stream):
    """A stream that knows how what came in began, for whoever cannot make sense of it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.beginning = b""

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As of the stream."""
        data = await self._stream.receive_some(max_bytes)
        if len(self.beginning) < len(MAGIC):
            self.beginning += bytes(data[: len(MAGIC) - len(self.beginning)])
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As of the stream."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As of the stream."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """As of the stream."""
        await self._stream.aclose()


def is_call(beginning: bytes) -> bool:
    """Whether what came is from a node that wants a network's key proven; TLS reads five bytes
    before it knows that they are none of its own."""
    return len(beginning) >= 5 and MAGIC.startswith(beginning)


async def decline(stream: trio.abc.Stream) -> NetworkKeyError:
    """Tell a caller that there is no key here; what to raise then."""
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await stream.send_all(NO_KEY)
    return NetworkKeyError("The dialler belongs to a network with a key, and this node has none.")
