"""`serve --discover`: nodes of the local network that are listed here are kept up with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import trio

from setsync.cli import logging
from setsync.node.address import Address
from setsync.node.dialling import Dialler, Target
from setsync.node.discovery import Discovery, Finds, adapters, multicast, reach_of
from setsync.node.live import Keeper, Phase
from setsync.node.local import Local
from setsync.node.peers import Rule
from setsync.node.states import States


@dataclass
class Discovering:
    """One run of it. `keeper` makes what keeps up with one node, and tells how that goes."""

    dialler: Dialler
    targets: Sequence[Target]
    states: States
    keeper: Callable[[Target, Local], Keeper]
    _bound: list[Address] = field(default_factory=list, init=False)
    _is_bound: trio.Event = field(default_factory=trio.Event, init=False)
    _is_announced: trio.Event = field(default_factory=trio.Event, init=False)

    async def announce(self, bound: Sequence[Address]) -> None:
        """Say where this node listens; returns once it has been announced there."""
        self._bound += bound
        self._is_bound.set()
        await self._is_announced.wait()

    async def run(self, local: Local) -> None:
        """Until cancelled. Raises DiscoveryError, LibraryMissingError, StoreError."""
        await self._is_bound.wait()
        reach = reach_of(self._bound, adapters())
        async with multicast(self.dialler.secret.public, reach) as feed:
            logging.logger().info("announced", addresses=list(reach.addresses))
            self._is_announced.set()
            finds = Finds(reach.networks)
            begin = partial(self._begin, local)
            await Discovery(feed, finds, self.wanted, begin, self._ended).run()

    def wanted(self) -> Collection[bytes]:
        """Whoever is listed, whatever --access says, and not named by --peer already."""
        peers = self.dialler.peers.read().peers
        listed = {key for key, peer in peers.items() if peer.rule is not Rule.BLOCKED}
        named = {target.address.key for target in self.targets}
        return listed - named - {self.dialler.secret.public}

    def _begin(self, local: Local, address: Address) -> Keeper:
        peer = _key(address).hex()
        logging.logger(peer=peer).info("peer_found", address=address.place)
        return self.keeper(Target(address), local)

    def _ended(self, keeper: Keeper) -> None:
        peer = _key(keeper.target.address).hex()
        logging.logger(peer=peer).info("peer_vanished")
        self.states.keepers.pop(peer, None)
        self.states.peers.setdefault(peer, replace(keeper.now(), phase=Phase.WAITING))


def _key(address: Address) -> bytes:
    assert address.key is not None  # what is found is found by its key
    return address.key
