"""The outermost rooms: a node that dials, a node that listens, started and stopped in order.

`sync` and `serve` are the library's two verbs; `open_local` holds what both need.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial

import trio

from setsync.errors import ListenError, PeerUnreachableError, UsageError
from setsync.limits import CONNECT_TIMEOUT, DEFAULT_MAX_PAYLOAD, NOTICE_SECONDS
from setsync.model.collection import EVERYTHING, Pattern
from setsync.model.keys import SecretKey
from setsync.node.access import Access
from setsync.node.address import Address, join_address
from setsync.node.channel import PROTOCOL, Channel, dial
from setsync.node.client import Options, run_initiator
from setsync.node.connection import most_telling
from setsync.node.door import Door
from setsync.node.identity import Identity
from setsync.node.listening import Guest, listen
from setsync.node.local import Local, Offload, everybody, in_thread
from setsync.node.network import NetworkKey
from setsync.node.policy import Policy
from setsync.node.progress import OnProgress, ignore
from setsync.node.report import Report
from setsync.node.room import check_room_of
from setsync.node.server import Served, run_responder
from setsync.node.verifying import Verifiers
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
    policy: Callable[[], Policy] = Policy,
    groups: Callable[[bytes], Sequence[str]] = everybody,
    verifiers: Verifiers | None = None,
) -> AsyncIterator[Local]:
    """A node around a store, its writer running, for as long as the block lasts.

    Without a `node_id` (32 bytes) it gets a new identity; without a `policy` it wants all that
    is valid. `groups` are those of a peer, by its key. `verifiers` check signatures beside
    this process when much comes in; it runs them.
    """
    node_id = node_id if node_id is not None else SecretKey(os.urandom(32)).public
    writer = Writer(store, offload, policy, partial(check_room_of, store), verifiers)
    patterns = tuple(Pattern(text) for text in interests)
    local = Local(
        store, node_id, writer, patterns, max_payload, offload, policy=policy, groups=groups
    )
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
    identity: Identity | None = None,
    access: Access | None = None,
    network: NetworkKey | None = None,
    policy: Callable[[], Policy] = Policy,
    on_session: Callable[[Served], None] = lambda served: None,
    on_notice: Callable[[int], None] = lambda count: None,
    beside: Sequence[Callable[[Local], Awaitable[None]]] = (),
    guests: Mapping[str, Guest] | None = None,
    door: Door | None = None,
    verifiers: Verifiers | None = None,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer sessions until cancelled; started with the addresses it listens on.

    With an `identity` over the secure channel, and for those only whom `access` lets in; without
    one unencrypted, and so on loopback addresses only. With a `network` nobody gets as far as the
    channel who does not know its key. `policy` says what is wanted, and shared with whom.
    `on_session` hears of each session, `on_notice` of entries that came into the store since
    the last look, however they came. What is `beside` runs with the node; `guests` speak other
    protocols on the secure channel; the `door` counts connections, by the usual rules unless it
    is given. `verifiers` as with `open_local`. Raises UsageError for another address, ListenError
    when the port is not to be had.
    """
    if identity is None:
        await check_loopback(host)
    elif node_id is None:
        node_id = identity.public
    listeners = await open_listeners(host, port)
    async with open_local(
        store,
        node_id=node_id,
        interests=interests,
        max_payload=max_payload,
        policy=policy,
        groups=access.groups if access is not None else everybody,
        verifiers=verifiers,
    ) as local:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_notice, local, on_notice)
                for work in beside:
                    nursery.start_soon(work, local)
                task_status.started([listener.socket.getsockname()[:2] for listener in listeners])
                await listen(
                    local,
                    listeners,
                    on_session,
                    identity,
                    access,
                    network=network,
                    guests=guests,
                    door=door,
                )
        except BaseExceptionGroup as group:
            raise most_telling(group) from None


async def open_listeners(host: str, port: int) -> Sequence[trio.SocketListener]:
    """Take a port. Raises ListenError when it is not to be had."""
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except (OSError, ValueError) as error:  # ValueError: no name at all
        reason = getattr(error, "strerror", None) or str(error)
        raise ListenError(f"{join_address(host, port)} cannot be listened on: {reason}.") from error


async def connect(host: str, port: int) -> trio.SocketStream:
    """A plain connection to a node on this machine.

    Raises UsageError for an address that is not loopback, PeerUnreachableError.
    """
    await check_loopback(host)
    return await _open_stream(host, port)


async def connect_securely(
    address: Address,
    identity: Identity,
    network: NetworkKey | None = None,
    protocol: str = PROTOCOL,
) -> Channel:
    """A connection over the secure channel, to the key in the address if it has one, to speak
    a protocol by its ALPN name.

    Raises PeerUnreachableError, PeerIdentityError, NetworkKeyError, PeerError.
    """
    stream = await _open_stream(address.host, address.port)
    return await dial(stream, identity, address.key, network, protocol)


async def _open_stream(host: str, port: int) -> trio.SocketStream:
    try:
        with trio.fail_after(CONNECT_TIMEOUT):
            return await trio.open_tcp_stream(host, port)
    except (OSError, ValueError, trio.TooSlowError) as error:  # ValueError: no name at all
        where = join_address(host, port)
        raise PeerUnreachableError(f"Nobody answers at {where}.") from error


async def check_loopback(host: str) -> None:
    """What is not encrypted stays on this machine. Raises UsageError."""
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
            local.writer.news.ring()
            on_notice(now - before)
        before = now
