"""How far others have a log of ours: the home and known peers, all asked at once.

Whoever cannot be reached, or does not speak of homes, is left out: what cannot be asked is not
known, and an author without a network goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from bamboo_compat.homes.joining import sign_heads
from bamboo_compat.homes.limits import HEADS_SECONDS, MAX_ASKED
from bamboo_compat.homes.messages import PROTOCOL, Are, IAm, Question, Who, encode, read_answer
from bamboo_compat.homes.roads import Secure, Web, hang_up, receive_message, road_to, send_message
from setsync.errors import PeerError, SetsyncError, UsageError
from setsync.model.keys import SecretKey
from setsync.node.address import Address
from setsync.node.config import DataDirectory
from setsync.node.identity import Identity
from setsync.node.network import NetworkKey
from setsync.node.node import connect_securely
from setsync.node.peers import Rule

Head = tuple[str, bytes]
"""Who has it, for people, and the header of the entry; empty where there is none."""


@dataclass(frozen=True)
class Asked:
    """Whom to ask, and as whom."""

    places: Sequence[tuple[str, Address]]
    identity: Identity = field(repr=False)
    network: NetworkKey | None = field(repr=False)


def heads_elsewhere(
    directory: DataDirectory, home_url: str, key: SecretKey, log_id: int
) -> list[Head]:
    """The head of a log of the key's, at its home (no URL: none) and at known peers that have an
    address; whoever answered within HEADS_SECONDS. Raises PeersFileError, KeyFileError."""
    known = sorted(directory.peers.read().peers.items())
    places = [
        (f"Peer {peer.name or number.hex()[:16]}", peer.address)
        for number, peer in known
        if peer.rule is Rule.ALLOWED and peer.address is not None
    ][:MAX_ASKED]
    home = _home(home_url)
    if isinstance(home, Address):
        places = [("The home", home), *(one for one in places if one[1] != home)]
    if not places and home is None:
        return []
    identity = Identity.of(directory.node_key())
    asked = Asked(places, identity, directory.network_key())
    return trio.run(_ask_all, asked, home if isinstance(home, Web) else None, key, log_id)


def _home(url: str) -> Address | Web | None:
    if not url:
        return None
    try:
        road = road_to(url, _NOBODY, None)
    except UsageError:
        return None
    return road.address if isinstance(road, Secure) else road if isinstance(road, Web) else None


# Only to read a URL with; nobody is dialled as it.
_NOBODY = Identity(bytes(32), b"", b"")


async def _ask_all(asked: Asked, web: Web | None, key: SecretKey, log_id: int) -> list[Head]:
    found: list[Head] = []

    async def ask(who: str, address: Address) -> None:
        try:
            found.append((who, await _ask_one(asked, address, key, log_id)))
        except (SetsyncError, trio.BrokenResourceError, trio.ClosedResourceError):
            return

    with trio.move_on_after(HEADS_SECONDS):
        async with trio.open_nursery() as nursery:
            for who, address in asked.places:
                nursery.start_soon(ask, who, address)
            if web is not None:
                head = await trio.to_thread.run_sync(
                    _ask_web, web, key, log_id, abandon_on_cancel=True
                )
                found.extend(head)
    return found


async def _ask_one(asked: Asked, address: Address, key: SecretKey, log_id: int) -> bytes:
    """Two questions on one connection. Raises PeerError and its kinds."""
    channel = await connect_securely(address, asked.identity, asked.network, PROTOCOL)
    try:
        there = await _answer(channel.stream, Who())
        if not isinstance(there, IAm):
            raise PeerError("It answered another question.")
        found = await _answer(channel.stream, sign_heads(key, there, (log_id,)))
        return _header(found, log_id)
    finally:
        await hang_up(channel.stream)


async def _answer(stream: trio.abc.Stream, question: Question) -> object:
    await send_message(stream, encode(question))
    content = await receive_message(stream)
    if content is None:
        raise PeerError("It closed the connection.")
    return read_answer(content)


def _ask_web(web: Web, key: SecretKey, log_id: int) -> list[Head]:
    try:
        there = web.ask(Who())
        if not isinstance(there, IAm):
            return []
        return [("The home", _header(web.ask(sign_heads(key, there, (log_id,))), log_id))]
    except SetsyncError:
        return []


def _header(answer: object, log_id: int) -> bytes:
    if not isinstance(answer, Are) or [one for one, _ in answer.heads] != [log_id]:
        raise PeerError("It answered another question.")
    return answer.heads[0][1]
