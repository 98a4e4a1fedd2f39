"""Whom this node knows: who may talk to it, where they are, which key a place had.

One file in the data directory, `peers.json`, read and written whole. Commands may change it
while the node runs; the node looks at it again when it has changed. This is policy, and only
ever decides whom we talk to, never which entries are valid.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from setsync.errors import PeerRefusedError, PeersFileError
from setsync.limits import (
    MAX_PEER_NAME,
    MAX_PEERS,
    MAX_PEERS_FILE,
    PEERS_LOCK_SECONDS,
)
from setsync.node.address import Address
from setsync.node.groups import EVERYBODY, LISTED, group_names, groups_in
from setsync.node.invites import Invites
from setsync.node.lockedfile import Format, LockedFile

FORMAT_VERSION = 1
# All that who is blocked is told.
BLOCKED = "This node does not talk to you."


class Rule(enum.StrEnum):
    """What we let a node do."""

    ALLOWED = "allowed"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Peer:
    """A node we know by its key, 32 bytes. `groups` as `group_names` makes them."""

    key: bytes
    rule: Rule = Rule.ALLOWED
    name: str = ""
    address: Address | None = None
    groups: tuple[str, ...] = ()


@dataclass(slots=True)
class Book:
    """Everything in the file. `pins`: the key that a place without one in its address had
    when we first trusted it. Invites are here too, so that one write takes an invite and lists
    who brought it."""

    peers: dict[bytes, Peer] = field(default_factory=dict)
    pins: dict[str, bytes] = field(default_factory=dict)
    invites: Invites = field(default_factory=Invites)

    def put(self, peer: Peer) -> None:
        """Add or change a peer. Raises PeersFileError when there are too many, UsageError for
        groups that cannot be."""
        if peer.key not in self.peers and len(self.peers) >= MAX_PEERS:
            raise PeersFileError(f"A node knows at most {MAX_PEERS} others.")
        name, groups = peer.name[:MAX_PEER_NAME], group_names(peer.groups)
        self.peers[peer.key] = replace(peer, name=name, groups=groups)

    def remove(self, key: bytes) -> bool:
        """Forget a peer and every place it had; whether it was known."""
        pinned = [place for place, pin in self.pins.items() if pin == key]
        for place in pinned:
            del self.pins[place]
        return self.peers.pop(key, None) is not None or bool(pinned)

    def groups_of(self, key: bytes) -> tuple[str, ...]:
        """The groups that a key is in, of those that collections are shared with."""
        peer = self.peers.get(key)
        if peer is None or peer.rule is Rule.BLOCKED:
            return (EVERYBODY,)
        return (EVERYBODY, LISTED, *peer.groups)

    def redeem(self, key: bytes, code: bytes, now: int) -> None:
        """List a key by an invite, at a moment in ms; for who is listed, nothing is taken.

        Raises InviteError, PeerRefusedError for who is blocked, PeersFileError; all of them
        before anything has changed.
        """
        known = self.peers.get(key)
        if known is not None:
            if known.rule is Rule.BLOCKED:
                raise PeerRefusedError(BLOCKED)
            return
        invite = self.invites.find(code, now)
        self.put(Peer(key, name=invite.name, groups=invite.groups))
        self.invites.use(code, now)


class PeersFile:
    """The file, for readers and for one writer at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = LockedFile(path, _FORMAT, PEERS_LOCK_SECONDS)

    def read(self) -> Book:
        """What is in the file; nobody, where there is none. Not to be changed.

        Raises PeersFileError, NewerFormatError.
        """
        return self._file.read()

    @contextlib.contextmanager
    def changing(self) -> Iterator[Book]:
        """Change the book inside the block; it is on the disk afterwards."""
        with self._file.changing() as draft:
            yield draft.value


def _dump(book: Book) -> dict[str, Any]:
    return {
        "peers": {
            key.hex(): {
                "rule": peer.rule.value,
                "name": peer.name,
                "address": peer.address.place if peer.address is not None else None,
                "groups": list(peer.groups),
            }
            for key, peer in sorted(book.peers.items())
        },
        "pins": {place: key.hex() for place, key in sorted(book.pins.items())},
        "invites": book.invites.dump(),
    }


def _parse(found: dict[str, Any]) -> Book:
    book = Book()
    for text, about in found["peers"].items():
        key = _key(text)
        place = about["address"]
        address = replace(Address.parse(place), key=key) if place is not None else None
        groups = groups_in(about.get("groups", []))
        book.put(Peer(key, Rule(about["rule"]), str(about["name"]), address, groups))
    book.pins = {str(place): _key(text) for place, text in found["pins"].items()}
    book.invites = Invites.parse(found.get("invites", {}))
    return book


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != 32:
        raise ValueError(f"{text!r} is not a key")
    return key


_FORMAT = Format(
    mark="setsync_peers",
    version=FORMAT_VERSION,
    what="a list of peers",
    limit=MAX_PEERS_FILE,
    error=PeersFileError,
    empty=Book,
    parse=_parse,
    dump=_dump,
)
