"""The outermost rooms: a node that dials, a node that listens, started and stopped in order.

`sync` and `serve` are the library's two verbs; `open_local` holds what both need.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence

import trio

from setsync.errors import ListenError, PeerUnreachableError, UsageError
from setsync.limits import CONNECT_TIMEOUT, DEFAULT_MAX_PAYLOAD, NOTICE_SECONDS
from setsync.model.collection import EVERYTHING, Pattern
from setsync.model.keys import SecretKey
from setsync.node.client import Options, run_initiator
from setsync.node.connection import most_telling
from setsync.node.local import Local, Offload, in_thread
from setsync.node.progress import OnProgress, ignore
from setsync.node.report import Report
from setsync.node.server import Served, listen, run_responder
from setsync.node.writer import Writer
from setsync.store.contract import EntryStore
from setsync.wire.messages import BOTH, PULL, PUSH

DIRECTIONS = {"both": BOTH, "push": PUSH, "pull": PULL}


@contextlib.asynccontextmanager
async def open_local(
    store: EntryStore,
    *,
    node_id: bytes | None = None,
    interests: Sequence[str] = (EVERYTHING,),
    max_payload: int = DEFAULT_MAX_PAYLOAD,
    offload: Offload = in_thread,
) -> AsyncIterator[Local]:
    """A node around a store, its writer running, for as long as the block lasts.

    Without a `node_id` (32 bytes) it gets a new identity.
    """
    node_id = node_id if node_id is not None else SecretKey(os.urandom(32)).public
    writer = Writer(store, offload)
    patterns = tuple(Pattern(text) for text in interests)
    local = Local(store, node_id, writer, patterns, max_payload, offload)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            yield local
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise most_telling(group) from None


async def sync(
    store: EntryStore,
    stream: trio.abc.Stream,
    *,
    collections: Sequence[str] = (EVERYTHING,),
    direction: str = "both",
    dry_run: bool = False,
    node_id: bytes | None = None,
    max_payload: int = DEFAULT_MAX_PAYLOAD,
    on_progress: OnProgress = ignore,
) -> Report:
    """Make this store and the one at the other end of a connected stream equal.

    `direction` is both, push or pull; a dry run moves nothing. The stream is closed.
    Raises PeerError (and its kinds), StoreError; what had arrived until then is kept.
    """
    patterns = tuple(Pattern(text) for text in collections)
    options = Options(patterns, DIRECTIONS[direction], dry_run)
    async with open_local(store, node_id=node_id, max_payload=max_payload) as local:
        return await run_initiator(stream, local, options, on_progress)


async def respond(store: EntryStore, stream: trio.abc.Stream) -> None:
    """The other end of `sync`, for one session on a connected stream.

    Raises PeerError, StoreError.
    """
    async with open_local(store) as local:
        await run_responder(stream, local)


async def serve(
    store: EntryStore,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    interests: Sequence[str] = (EVERYTHING,),
    node_id: bytes | None = None,
    max_payload: int = DEFAULT_MAX_PAYLOAD,
    on_session: Callable[[Served], None] = lambda served: None,
    on_notice: Callable[[int], None] = lambda count: None,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer sessions until cancelled; started with the addresses it listens on.

    Unencrypted, and so for loopback addresses only. `on_session` hears of each session,
    `on_notice` of entries that came into the store since the last look, however they came.
    Raises UsageError for another address, ListenError when the port is not to be had.
    """
    listeners = await _open_listeners(host, port)
    async with open_local(
        store, node_id=node_id, interests=interests, max_payload=max_payload
    ) as local:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_notice, local, on_notice)
                task_status.started([listener.socket.getsockname()[:2] for listener in listeners])
                await listen(local, listeners, on_session)
        except BaseExceptionGroup as group:
            raise most_telling(group) from None


async def _open_listeners(host: str, port: int) -> Sequence[trio.SocketListener]:
    await check_loopback(host)
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ListenError(f"{join_address(host, port)} cannot be listened on: {reason}.") from error


async def connect(host: str, port: int) -> trio.SocketStream:
    """A connection to a node on this machine.

    Raises UsageError for an address that is not loopback, PeerUnreachableError.
    """
    await check_loopback(host)
    try:
        with trio.fail_after(CONNECT_TIMEOUT):
            return await trio.open_tcp_stream(host, port)
    except (OSError, trio.TooSlowError) as error:
        where = join_address(host, port)
        raise PeerUnreachableError(f"Nobody answers at {where}.") from error


async def check_loopback(host: str) -> None:
    """Until there is a secure channel, bytes stay on the machine. Raises UsageError."""
    try:
        found = await trio.socket.getaddrinfo(host, None)
    except (OSError, ValueError) as error:  # ValueError: it cannot be a name at all
        raise PeerUnreachableError(f"There is no host named {host!r}.") from error
    for *_, address in found:
        ip = str(address[0])
        if not (ip.startswith("127.") or ip == "::1"):
            raise UsageError(
                f"{host} is not a loopback address, and the plain channel is for those only."
            )


def join_address(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(text: str) -> tuple[str, int]:
    """The reverse of `join_address`. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise UsageError(f"{text!r} is not HOST:PORT (an IPv6 address stands in brackets).")
    return host, int(port)


async def _notice(local: Local, on_notice: Callable[[int], None]) -> None:
    """Look for entries that any process put into the store."""

    def count() -> int:
        with local.store.snapshot() as snapshot:
            return snapshot.entry_count

    before: int = await local.offload(count)
    while True:
        await trio.sleep(NOTICE_SECONDS)
        now: int = await local.offload(count)
        if now != before:
            on_notice(now - before)
        before = now
