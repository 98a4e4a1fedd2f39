"""The listener: each connection through the door, the handshake and the list, to a session."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import trio

from setsync import limits
from setsync.errors import NotListedError, PeerGoneError, SetsyncError
from setsync.node.access import Access
from setsync.node.channel import PROTOCOL, accept
from setsync.node.door import Door, Rules, Visit
from setsync.node.identity import Identity
from setsync.node.local import Local
from setsync.node.network import NetworkKey
from setsync.node.penalties import Penalties
from setsync.node.server import Served, run_responder


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who came for another protocol than ours: the stream, the key on its other side (32 bytes),
    its IP address, and the node that it came to."""

    stream: trio.abc.Stream
    peer: bytes
    address: str
    local: Local


Guest = Callable[[Visitor], Awaitable[None]]
"""Speaks another protocol on our secure channel, chosen by ALPN. Its visitors need not be listed;
who is blocked does not get to it. It sets its own deadlines, and its errors end one connection."""


@dataclass(frozen=True)
class Terms:
    """On what terms this node talks: with an `identity` over the secure channel, with `access`
    to those only whom it lets in, with a `network` to those only who know its key; not to who
    is under `penalties`. `guests` speak other protocols, by their ALPN names."""

    identity: Identity | None = None
    access: Access | None = None
    network: NetworkKey | None = None
    penalties: Penalties = field(default_factory=Penalties)
    guests: Mapping[str, Guest] = field(default_factory=dict)


async def listen(
    local: Local,
    listeners: Sequence[trio.SocketListener],
    on_session: Callable[[Served], None],
    identity: Identity | None = None,
    access: Access | None = None,
    most: int = limits.MAX_CONNECTIONS,
    door: Door | None = None,
    network: NetworkKey | None = None,
    guests: Mapping[str, Guest] | None = None,
) -> None:
    """Serve every connection until cancelled; one over `most` is told that we are busy.

    The terms are those of `Terms`. The `door` counts connections, by the usual rules unless it
    is given.

    `on_session` hears of each session when it is over, however it ended; of connections that
    the door turned away it hears once a second, and of guests' visits when they fail.
    """
    door = door if door is not None else Door(Rules(connections=most))
    terms = Terms(identity, access, network, guests=guests or {})

    async def handle(stream: trio.SocketStream) -> None:
        served = Served()
        visit = None
        is_ours = True
        try:
            with trio.CancelScope() as scope:
                visit = door.arrive(_address_of(stream), trio.current_time(), scope.cancel)
                is_ours = await _answer_visit(door, visit, stream, local, served, terms)
        except SetsyncError as error:
            # Told to the peer already, if there was a way, and to the operator below.
            served.reason = served.reason or error.message
        except Exception as error:  # a defect of ours must not take the other sessions down
            served.reason = f"A defect of setsync, please report it: {error!r}"
        finally:
            if visit is not None:
                door.leave(visit)
            if visit is not None and visit.was_dropped:
                served.state = "failed"
                served.reason = "It was not let in yet when others came."
            if is_ours and (visit is not None or door.is_time_to_tell(trio.current_time())):
                on_session(served)

    async with trio.open_nursery() as nursery:
        await trio.serve_listeners(handle, list(listeners), handler_nursery=nursery)


async def _answer_visit(
    door: Door,
    visit: Visit,
    stream: trio.SocketStream,
    local: Local,
    served: Served,
    terms: Terms,
) -> bool:
    """Who is not let in stays among the pending, however long it takes to hear why, or to show
    an invite.

    Whether it came for our own protocol.
    """
    channel = None
    if terms.identity is not None:
        spoken = (PROTOCOL, *terms.guests)
        channel = await accept(stream, terms.identity, terms.network, spoken)
        if channel.protocol != PROTOCOL:
            served.peer = channel.peer.hex()
            visitor = Visitor(channel.stream, channel.peer, _address_of(stream), local)
            await _answer_guest(door, visit, visitor, terms, terms.guests[channel.protocol])
            return False
    peer = channel.peer if channel is not None else None
    inner: trio.abc.Stream = channel.stream if channel is not None else stream
    await run_responder(
        inner,
        local,
        served,
        peer=peer,
        access=terms.access,
        penalties=terms.penalties,
        address=_address_of(stream),
        on_let_in=partial(door.let_through, visit, peer),
    )
    return True


async def _answer_guest(
    door: Door, visit: Visit, visitor: Visitor, terms: Terms, guest: Guest
) -> None:
    """Who is turned away hears nothing: the words are the other protocol's, and not ours.

    Who is not let in to this node is answered, and stays among the pending meanwhile.
    """
    try:
        let_in = terms.access is None
        if terms.access is not None:
            with contextlib.suppress(NotListedError):
                let_in = terms.access.check(visitor.peer)
        if let_in:
            door.let_through(visit, visitor.peer)
        await guest(visitor)
    finally:
        await trio.aclose_forcefully(visitor.stream)


def _address_of(stream: trio.SocketStream) -> str:
    """Raises PeerGoneError: who has left already has no address."""
    try:
        return str(stream.socket.getpeername()[0])
    except OSError as error:
        raise PeerGoneError("The other side closed the connection.") from error
