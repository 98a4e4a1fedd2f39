"""A node of a world: a real one, around a store that outlives it.

A life lasts from start to fall. Dying breaks every connection at once and cancels whatever
runs, wherever it waits; stopping leaves it the time to say goodbye. What the store had
committed stays: the memory store's object is kept, a store on disk is closed and opened again.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import trio

from setsync.errors import SetsyncError
from setsync.model.entry import UnverifiedEntry
from setsync.model.keys import SecretKey
from setsync.node.local import Local, inline
from setsync.node.node import open_local
from setsync.store.check import check
from setsync.store.contract import EntryStore, Quotas
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore
from tests.helpers import MIDNIGHT, some_bytes
from tests.simulation.link import Link
from tests.simulation.material import entry
from tests.simulation.plan import NodePlan
from tests.simulation.tap import Name
from tests.simulation.trace import Trace

T = TypeVar("T")

# The trie's leaves hold so few ids that a few entries already need inner nodes.
CAPACITY = 4

MakeStore = Callable[[], EntryStore]
Beside = Callable[[Local], Awaitable[None]]
"""What runs with a node, as beside `serve`."""


def memory_store() -> EntryStore:
    """What nodes get unless they are on disk or a fault is planted."""
    return MemoryStore(leaf_capacity=CAPACITY)


class Node:
    """`local` and `sessions` are there while it is up. `promised` is all that it ever said is
    durable here, and whether with its payload; `own` what its people put. `beside` is started
    anew with each life."""

    def __init__(
        self, number: int, plan: NodePlan, seed: int, trace: Trace, folder: Path, make: MakeStore
    ) -> None:
        self.number, self.plan = number, plan
        self.secret = SecretKey(some_bytes("node", seed, number))
        self.id = self.secret.public
        self.lives = 0
        self.beside: Sequence[Beside] = ()
        self.local: Local | None = None
        self.sessions: trio.Nursery | None = None
        self.links: set[Link] = set()
        self.promised: dict[Name, bool] = {}
        self.own: set[Name] = set()
        self.skew = plan.skew
        self.up, self.fell, self.down = trio.Event(), trio.Event(), trio.Event()
        self.is_falling = False
        self._chance = random.Random(f"setsync node {seed} {number}")
        self._trace = trace
        self._path = folder / f"node{number}"
        self._make = make
        self._life = trio.CancelScope()
        self._steps = 0
        self._fall_at: tuple[int, bool] | None = None
        self.store = self._open()

    # --- lives ----------------------------------------------------------------------------

    async def live(self) -> None:
        """One life, from the store's opening until it falls."""
        self._life, self.fell, self.down = trio.CancelScope(), trio.Event(), trio.Event()
        self._fall_at = None
        self.lives += 1
        with self._life:
            async with open_local(
                self.store,
                node_id=self.id,
                max_payload=self.plan.max_payload,
                offload=self.disk,
                policy=lambda: self.plan.policy,
            ) as local:
                local.nonce = self._nonce
                local.clock = self.now
                async with trio.open_nursery() as nursery:
                    self.local, self.sessions = local, nursery
                    for work in self.beside:
                        nursery.start_soon(work, local)
                    self.up.set()
                    await trio.sleep_forever()
        self.down.set()

    def fall(self, politely: bool) -> None:
        """End this life now. Impolitely, no connection carries another byte."""
        self._trace(f"n{self.number} {'stops' if politely else 'dies'}")
        self._trace.count("stops" if politely else "crashes")
        # A set has no order that two runs share.
        for link in sorted(self.links, key=lambda link: link.name):
            link.saw_fall = True
            if not politely:
                link.reset()
        self.local = self.sessions = None  # whoever comes now finds nobody
        self.up = trio.Event()
        self.fell.set()
        self._life.cancel()

    def fall_after(self, disk_steps: int, politely: bool) -> None:
        """Fall at a later use of the disk, in the middle of something."""
        self._fall_at = (self._steps + disk_steps, politely)

    def reopen(self) -> None:
        """What a new process would do with the data directory."""
        if isinstance(self.store, Store):
            self.store.close()
            self.store = self._open()

    def close(self) -> None:
        if isinstance(self.store, Store):
            self.store.close()

    def _open(self) -> EntryStore:
        return Store.open(self._path, leaf_capacity=CAPACITY) if self.plan.on_disk else self._make()

    # --- what the node is given -----------------------------------------------------------

    async def disk(self, work: Callable[..., T], *arguments: object) -> T:
        """The offload: inline, since a jumping clock would not wait for a thread. It may take
        a while before or after the work, so that others run in between and a fall finds work
        that is done and not yet told."""
        self._steps += 1
        if self._fall_at is not None and self._steps >= self._fall_at[0]:
            politely, self._fall_at = self._fall_at[1], None
            self.fall(politely)
        await self._wait()
        done = await inline(work, *arguments)
        await self._wait()
        return done

    async def _wait(self) -> None:
        if self.plan.disk_delay and self._chance.random() < 0.3:
            await trio.sleep(self._chance.random() * self.plan.disk_delay)

    def _nonce(self) -> bytes:
        return self._chance.randbytes(32)

    def now(self) -> int:
        """What its clock says, in milliseconds since 1970."""
        return MIDNIGHT + self.skew + int(trio.current_time() * 1_000)

    # --- entries --------------------------------------------------------------------------

    async def put(self, numbers: tuple[int, ...], many: bool) -> None:
        """Add entries as whoever runs the node would; durable once the ticket says so."""
        if self.local is None:
            return
        entries = [entry(number, many) for number in numbers]
        self.own.update((each.collection, each.id) for each in entries)
        claimed = [UnverifiedEntry(each.collection, each.header, each.payload) for each in entries]
        try:
            ticket = await self.local.writer.submit(claimed)
            added = await ticket.wait()
        except SetsyncError as error:
            self._trace.find(f"n{self.number} could not add entries: {error!r}")
            return
        self._trace(f"n{self.number} added {len(added.new)} of {len(entries)}")
        for each in entries:
            self.promise((each.collection, each.id), each.payload is not None)

    def put_behind(self, numbers: tuple[int, ...], many: bool) -> None:
        """Another process adds entries to the store, and tells the node nothing."""
        entries = [entry(number, many) for number in numbers]
        self.own.update((each.collection, each.id) for each in entries)
        added = self.store.add_many(entries)
        self._trace(f"n{self.number} finds {len(added.new)} of {len(entries)}")
        for each in entries:
            self.promise((each.collection, each.id), each.payload is not None)

    def promise(self, name: Name, with_payload: bool) -> None:
        """This node says that an entry is durable: look whether it is. A payload that would go
        over an author's quota is not attached, and nobody is told."""
        with_payload = with_payload and self.plan.policy.quotas == Quotas()
        self.promised[name] = self.promised.get(name, False) or with_payload
        self._check([name])

    def check_promises(self) -> None:
        """Everything ever promised is still here."""
        self._check(list(self.promised))

    def _check(self, names: list[Name]) -> None:
        with self.store.snapshot() as snapshot:
            for name in names:
                stored = snapshot.entry(*name)
                if stored is None:
                    lost = f"{name[0]} {name[1].hex()[:16]}"
                    self._trace.find(f"n{self.number} acknowledged {lost} and does not have it")
                elif stored.payload is None and self.promised[name]:
                    self._trace.find(f"n{self.number} lost the payload of {name[1].hex()[:16]}")

    def check_disk(self) -> None:
        """A store on disk is sound, and its digests are those of its entries."""
        if isinstance(self.store, Store):
            for finding in check(self.store).findings:
                self._trace.find(f"n{self.number} has a damaged store: {finding}")

    def members(self) -> set[Name]:
        with self.store.snapshot() as snapshot:
            return {(each.collection, each.id) for each in snapshot.since(0, 1_000_000)}

    def roots(self) -> object:
        """Every collection with its count and digest."""
        with self.store.snapshot() as snapshot:
            return list(snapshot.collections())
