"""Dialling another node: whom an operator means, and whether that is who answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import trio

from setsync.errors import (
    NoSuchPeerError,
    PeerError,
    PeerGoneError,
    PeerIdentityError,
    UsageError,
)
from setsync.model.keys import SecretKey
from setsync.node.address import SCHEME, Address
from setsync.node.client import Options, run_initiator
from setsync.node.identity import Identity
from setsync.node.local import Local
from setsync.node.network import NetworkKey
from setsync.node.node import connect, connect_securely
from setsync.node.peers import Book, Peer, PeersFile, Rule
from setsync.node.progress import OnProgress, ignore
from setsync.node.report import Report


@dataclass(frozen=True, slots=True)
class Target:
    """Where to dial; `pins` says that whoever answers is to be remembered."""

    address: Address
    pins: bool = False


def peer_named(book: Book, name: str) -> Peer | None:
    """The peer that is called so; None where nobody is. Raises UsageError where several are."""
    found = [peer for peer in book.peers.values() if peer.name and peer.name == name]
    if len(found) > 1:
        raise UsageError(f"{len(found)} peers are named {name!r}; give the key or the address.")
    return found[0] if found else None


@dataclass
class Dialler:
    """Dials for one node."""

    secret: SecretKey = field(repr=False)
    peers: PeersFile
    plain: bool = False
    network: NetworkKey | None = None
    _identity: Identity | None = field(default=None, init=False, repr=False)

    def find(self, text: str, *, trust_first: bool = False) -> Target:
        """What an operator means by an address or by a peer's name.

        Raises NoSuchPeerError, and UsageError for one that says nothing of who should be there.
        """
        if self.plain:
            address = Address.parse(text)
            if address.key is not None:
                raise UsageError("An address with a key has nobody to prove it with --plain.")
            return Target(address)
        book = self.peers.read()
        named = None if text.startswith(SCHEME) else peer_named(book, text)
        if named is not None:
            if named.address is None:
                raise UsageError(f"No address of {text!r} is known: setsync peers add ADDRESS")
            return Target(named.address)
        if ":" not in text:
            raise NoSuchPeerError(f"No peer is named {text!r}, and an address is HOST:PORT.")
        address = Address.parse(text)
        if address.key is None:
            pin = book.pins.get(address.place)
            if pin is None and not trust_first:
                raise UsageError(
                    f"{text} does not say whose key is there. Ask its operator for the address "
                    "that begins with setsync://, or trust what is there now with --trust-first."
                )
            return Target(replace(address, key=pin), pins=pin is None)
        return Target(address)

    async def session(
        self,
        target: Target,
        local: Local,
        options: Options,
        on_progress: OnProgress = ignore,
        report: Report | None = None,
    ) -> Report:
        """One session with whoever is meant. Raises PeerError and its kinds, StoreError."""
        address = target.address
        if self.plain:
            return await self._plain_session(address, local, options, on_progress, report)
        channel = await connect_securely(address, self.identity(), self.network)
        try:
            self._judge(channel.peer, target)
        except BaseException:
            await trio.aclose_forcefully(channel.stream)
            raise
        return await run_initiator(
            channel.stream, local, options, on_progress, report, peer=channel.peer
        )

    async def _plain_session(
        self,
        address: Address,
        local: Local,
        options: Options,
        on_progress: OnProgress,
        report: Report | None,
    ) -> Report:
        report = report if report is not None else Report()
        stream = await connect(address.host, address.port)
        try:
            return await run_initiator(stream, local, options, on_progress, report)
        except PeerGoneError as error:
            if report.counters.arrived:
                raise
            raise PeerError(
                "The other side hung up before it said anything; perhaps it wants the secure "
                "channel: leave out --plain."
            ) from error

    def _judge(self, key: bytes, target: Target) -> None:
        """Whether we talk to whoever answered. Raises PeerIdentityError, UsageError."""
        place = target.address.place
        if key == self.secret.public:
            raise PeerIdentityError(f"{place} is this node itself.")
        known = self.peers.read().peers.get(key)
        if known is not None and known.rule is Rule.BLOCKED:
            raise UsageError(
                f"{key.hex()} is blocked here. To talk to it again: setsync peers allow {key.hex()}"
            )
        if target.pins:
            with self.peers.changing() as book:
                # Another command may have dialled there since we looked.
                pin = book.pins.setdefault(place, key)
            if pin != key:
                raise PeerIdentityError(
                    f"The node there has the key {key.hex()}, and {pin.hex()} was expected."
                )

    def identity(self) -> Identity:
        """This node's certificate, made when it is needed first."""
        if self._identity is None:
            self._identity = Identity.of(self.secret)
        return self._identity
