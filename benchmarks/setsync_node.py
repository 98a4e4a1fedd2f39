"""One end of setsync, in a process of its own: a store, and a server or a client on it.

Driven by `benchmarks.peer_setsync` and `benchmarks.peer_naive` over the worker protocol.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from types import ModuleType

import trio

from benchmarks import peer_naive
from benchmarks.workers import Fields, answer_beside
from setsync.limits import DEFAULT_MAX_PAYLOAD
from setsync.node.client import Options, run_initiator
from setsync.node.local import Local
from setsync.node.node import connect, open_local, serve
from setsync.reconcile import idlist, policy, rounds
from setsync.store.environment import DATA_FILE
from setsync.store.lmdb_store import Store

VARIANTS = ("setsync", "rbsr")
PLAIN_BITS = 64


def use_variant(name: str) -> bool:
    """Choose what this process's initiator may close ranges with; whether sketches are among it.

    `setsync` is everything. `rbsr` splits, and lists ids at 8 bytes each, as textbook range-based
    set reconciliation does: no sketch, no list cut short. The responder only answers.
    """
    if name not in VARIANTS:
        raise ValueError(f"expected one of {', '.join(VARIANTS)}, found {name!r}")
    plain = name == "rbsr"
    _replace(rounds, "truncation_bits", _plain_bits if plain else idlist.truncation_bits)
    _replace(policy, "list_bytes", _plain_list_bytes if plain else _LIST_BYTES)
    return not plain


_LIST_BYTES = policy.list_bytes


def _replace(module: ModuleType, name: str, function: Callable[..., object]) -> None:
    # Where it is no longer called by this name, nothing would be measured but ourselves.
    if not hasattr(module, name):
        raise AttributeError(f"{module.__name__} has no {name}: mend `use_variant`")
    setattr(module, name, function)


def _plain_bits(n_a: int, n_b: int, spare: int = 0) -> int:
    return PLAIN_BITS


def _plain_list_bytes(mine: int, theirs: int, certain: bool = False) -> float:
    return PLAIN_BITS / 8 * theirs


class Node:
    """Its methods answer the driver."""

    def __init__(self, nursery: trio.Nursery, stack: ExitStack) -> None:
        self._nursery = nursery
        self._stack = stack
        self._store: Store
        self._local: Local
        self._sketches = True

    async def open(self, fields: Fields) -> Fields:
        """Open the store in a folder; how much CPU the imports took."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        folder = fields["folder"]
        if fields["cold"]:
            _forget(f"{folder}/{DATA_FILE}")
        self._store = self._stack.enter_context(Store.open(folder, create=False))
        return {"imports": used.ru_utime + used.ru_stime}

    async def serve(self, fields: Fields) -> Fields:
        """Answer sessions on a free loopback port."""
        most = DEFAULT_MAX_PAYLOAD
        addresses = await self._nursery.start(partial(serve, self._store, max_payload=most))
        return {"port": addresses[0][1]}

    async def prepare(self, fields: Fields) -> Fields:
        """Be ready to begin sessions."""
        self._local = await self._nursery.start(self._stay_ready)
        return {}

    async def _stay_ready(
        self, task_status: trio.TaskStatus[Local] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with open_local(self._store) as local:
            task_status.started(local)
            await trio.sleep_forever()

    async def use(self, fields: Fields) -> Fields:
        """Choose a variant."""
        self._sketches = use_variant(fields["variant"])
        return {}

    async def sync(self, fields: Fields) -> Fields:
        """One session, timed from connecting to done."""
        options = Options(dry_run=fields["dry_run"], sketches=self._sketches)
        begun = time.perf_counter()
        stream = await connect(fields["host"], fields["port"])
        report = await run_initiator(stream, self._local, options)
        wall = time.perf_counter() - begun
        return {"wall": wall, "report": report.to_json()}

    async def holds(self, fields: Fields) -> Fields:
        """Every collection's count and digest."""
        with self._store.snapshot() as snapshot:
            found = snapshot.collections()
        return {name: [summary.count, summary.digest.hex()] for name, summary in found}

    async def serve_ids(self, fields: Fields) -> Fields:
        """Be the other end of a naive exchange, on a free loopback port."""
        addresses = await self._nursery.start(peer_naive.serve, self._store)
        return {"port": addresses[1]}

    async def exchange_ids(self, fields: Fields) -> Fields:
        """Begin a naive exchange."""
        begun = time.perf_counter()
        found = await peer_naive.exchange(self._store, (fields["host"], fields["port"]))
        wall = time.perf_counter() - begun
        return {"wall": wall, "missing_here": found.here, "missing_there": found.there}


def _forget(path: str) -> None:
    """Let the kernel drop what it has cached of a file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


async def work() -> None:
    """Answer the driver until it has no more to say."""
    names = ("open", "serve", "prepare", "use", "sync", "holds", "serve_ids", "exchange_ids")
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            node = Node(nursery, stack)
            handlers: dict[str, Callable[[Fields], Awaitable[Fields]]] = {
                name: getattr(node, name) for name in names
            }
            await answer_beside(handlers)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(work)
