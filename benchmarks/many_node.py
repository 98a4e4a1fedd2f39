"""Many other nodes in one process, each with a key and a writer of its own.

Driven by `benchmarks.many` over the worker protocol. Those that sync have a store each; those that
only stay share one, into which nothing comes.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import trio

from benchmarks.workers import Fields, answer_beside
from setsync.errors import PeerError
from setsync.limits import LIVE_SECONDS, RETRY_SECONDS
from setsync.model.collection import Pattern
from setsync.model.keys import SecretKey
from setsync.node.address import Address
from setsync.node.client import Options, run_initiator
from setsync.node.identity import Identity
from setsync.node.node import connect_securely, open_local
from setsync.node.progress import OnProgress, Progress, ignore
from setsync.node.report import Report
from setsync.store.lmdb_store import Store

# Who stays has time, and comes one after the other: a door lets 50 a second in.
DIAL_SECONDS = 0.02


def key_of(number: int) -> SecretKey:
    """The key of a node, which also signs what it brings."""
    return SecretKey(hashlib.sha256(b"many peers %d" % number).digest())


class One:
    """A node that dials."""

    def __init__(self, number: int, store: Store, interests: list[str]) -> None:
        self._number = number
        self._secret = key_of(number)
        self._identity = Identity.of(self._secret)
        self._interests = interests
        self._store = store

    async def open(self, stack: AsyncExitStack) -> None:
        """Have the writer run until the stack is left."""
        opening = open_local(self._store, node_id=self._secret.public, interests=self._interests)
        self._local = await stack.enter_async_context(opening)

    async def session(
        self, address: Address, live: float | None = None, on_progress: OnProgress = ignore
    ) -> Report:
        """One session, from the first packet to the last. Raises PeerError and its kinds."""
        channel = await connect_securely(address, self._identity)
        options = Options(tuple(map(Pattern, self._interests)), live=live)
        return await run_initiator(
            channel.stream, self._local, options, on_progress, peer=channel.peer
        )

    async def until_equal(self, address: Address, at: float) -> Fields:
        """Begin at a moment of `time.monotonic`, come again as `serve --peer` does when turned
        away, and say how long it took in all."""
        chance = random.Random(self._number)
        refused: list[str] = []
        await trio.sleep(max(0.0, at - time.monotonic()))
        begun = time.monotonic()
        while True:
            try:
                report = await self.session(address)
            except PeerError as error:
                refused.append(error.message)
            else:
                if report.in_sync:
                    break
                refused.append("The sets are not equal yet.")
            await trio.sleep(RETRY_SECONDS * chance.uniform(0.5, 1.5))
        return {
            "begun": begun,
            "ended": time.monotonic(),
            "tries": 1 + len(refused),
            "refused": refused,
            "report": report.to_json(),
        }


class Crowd:
    """Its methods answer the driver."""

    def __init__(self, nursery: trio.Nursery, stores: ExitStack, writers: AsyncExitStack) -> None:
        self._nursery = nursery
        self._stores = stores
        self._writers = writers
        self._here: list[One] = []
        self._live = 0

    async def _add(self, number: int, store: Store, interests: list[str]) -> One:
        one = One(number, store, interests)
        await one.open(self._writers)
        return one

    async def open(self, fields: Fields) -> Fields:
        """Open the stores of nodes that will sync: [number, folder, interests] each."""
        for number, folder, interests in fields["nodes"]:
            store = self._stores.enter_context(Store.open(Path(folder), create=False))
            self._here.append(await self._add(number, store, interests))
        return {}

    async def sync(self, fields: Fields) -> Fields:
        """All begin at one moment; what came of each."""
        address = Address.parse(fields["address"])
        found: list[Fields] = []

        async def run(one: One) -> None:
            found.append(await one.until_equal(address, fields["at"]))

        async with trio.open_nursery() as nursery:
            for one in self._here:
                nursery.start_soon(run, one)
        return {"sessions": found}

    async def stay(self, fields: Fields) -> Fields:
        """So many nodes with one store become live, and stay until the process ends."""
        address = Address.parse(fields["address"])
        store = self._stores.enter_context(Store.open(Path(fields["folder"]), create=False))
        first, count = fields["first"], fields["count"]
        for number in range(first, first + count):
            one = await self._add(number, store, fields["interests"])
            await self._nursery.start(self._be_live, one, address)
            await trio.sleep(DIAL_SECONDS)
        return {}

    async def _be_live(
        self,
        one: One,
        address: Address,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        def hear(progress: Progress) -> None:
            if progress.phase == "live":
                self._live += 1
                task_status.started()

        await one.session(address, LIVE_SECONDS, hear)
        self._live -= 1

    async def live(self, fields: Fields) -> Fields:
        """How many stay now."""
        return {"live": self._live}


async def work() -> None:
    """Answer the driver until it has no more to say."""
    names = ("open", "sync", "stay", "live")
    with ExitStack() as stores:
        async with trio.open_nursery() as nursery, AsyncExitStack() as writers:
            crowd = Crowd(nursery, stores, writers)
            handlers: dict[str, Callable[[Fields], Awaitable[Fields]]] = {
                name: getattr(crowd, name) for name in names
            }
            await answer_beside(handlers)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(work)
