"""A node that listens over the secure channel, and others that dial it, all in this process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio
import trio.lowlevel
import trio.testing

from setsync.errors import SetsyncError
from setsync.model.keys import SecretKey
from setsync.node.access import Access, Mode
from setsync.node.address import Address
from setsync.node.client import Options
from setsync.node.dialling import Dialler, Target
from setsync.node.identity import Identity
from setsync.node.listening import listen
from setsync.node.peers import Peer, PeersFile, Rule
from setsync.node.report import Report
from setsync.node.server import Served
from setsync.store.contract import EntryStore
from setsync.store.memory import MemoryStore
from tests.helpers import entries
from tests.node.ends import Side, opened
from tests.node.impostors import ANNA, BEN


def store_of(*numbers: int) -> MemoryStore:
    """Five entries for each number."""
    store = MemoryStore(leaf_capacity=4)
    for number in numbers:
        store.add_many(entries(5, seed=number))
    return store


@dataclass
class Listening:
    """Anna's node on a port of this machine."""

    port: int
    peers: PeersFile
    store: EntryStore
    ended: list[Served] = field(default_factory=list)

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port, ANNA.public)

    async def last(self, number: int) -> Served:
        """The session of that number, counted from 1, when it is over."""
        while len(self.ended) < number:
            await trio.lowlevel.checkpoint()
        return self.ended[number - 1]


@contextlib.asynccontextmanager
async def listening_node(
    folder: Path, mode: Mode = Mode.LISTED, secret: SecretKey = ANNA
) -> AsyncIterator[Listening]:
    """A node with the entries of number 1; its list is in `folder`."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    node = Listening(port, PeersFile(folder / "peers.json"), store_of(1))
    access = Access(mode, node.peers.read)
    async with opened(Side(node.store), secret.public) as local, trio.open_nursery() as nursery:
        identity = Identity.of(secret)
        nursery.start_soon(partial(listen, local, listeners, node.ended.append, identity, access))
        yield node
        nursery.cancel_scope.cancel()


@dataclass
class Dialled:
    """What came of a session, for the one who dialled."""

    report: Report
    error: SetsyncError | None


async def sync_with(
    target: Target, folder: Path, secret: SecretKey = BEN, store: EntryStore | None = None
) -> Dialled:
    """Dial as `sync` does, with the list in `folder`, and the entries of number 2."""
    dialler = Dialler(secret, PeersFile(folder / "peers.json"))
    report = Report()
    async with opened(Side(store or store_of(2)), secret.public) as local:
        try:
            await dialler.session(target, local, Options(), report=report)
        except SetsyncError as error:
            return Dialled(report, error)
    return Dialled(report, None)


def put_on_list(peers: PeersFile, secret: SecretKey, rule: Rule = Rule.ALLOWED) -> None:
    """What the commands do, by a file of their own."""
    with PeersFile(peers.path).changing() as book:
        book.put(Peer(secret.public, rule))
