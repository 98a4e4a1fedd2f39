"""One end of replication by log heights, in a process of its own: a store, and a connection.

Driven by `benchmarks.peer_heights` over the worker protocol. The protocol is that of
`bamboo_compat.replication`, over a plain socket on loopback.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import asdict

import trio

from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.replication.heights import HaveBuilder
from bamboo_compat.replication.index_source import IndexSource
from bamboo_compat.replication.report import Report
from bamboo_compat.replication.run import replicate
from bamboo_compat.replication.source import Schemas
from bamboo_compat.replication.table import Role
from benchmarks.logs import PROFILE
from benchmarks.workers import Fields, answer_beside
from setsync.errors import SetsyncError
from setsync.limits import DEFAULT_MAX_PAYLOAD
from setsync.model.formats import formats
from setsync.store import sketches  # noqa: F401 - see `open`
from setsync.store.contract import Origin
from setsync.store.lmdb_store import Store

SERVED_SECONDS = 120.0
# More connections than anybody makes to one worker before asking what came of them.
_UNASKED = 16


class Shy(IndexSource):
    """Announces nothing, so that nothing is asked for: for the connection that only warms up."""

    def schemas(self) -> Schemas:
        """None."""
        return Schemas()


class Node:
    """Its methods answer the driver."""

    def __init__(self, nursery: trio.Nursery, stack: ExitStack) -> None:
        self._nursery = nursery
        self._stack = stack
        self._store: Store
        self._ended, self._outcomes = trio.open_memory_channel[Fields | SetsyncError](_UNASKED)

    def _source(self, kind: type[IndexSource] = IndexSource) -> IndexSource:
        """A source serves one connection."""
        origin = Origin(time.time_ns() // 1_000_000)
        profile = PROFILES[PROFILE]
        return kind(self._store, profile, max_payload=DEFAULT_MAX_PAYLOAD, origin=origin)

    async def open(self, fields: Fields) -> Fields:
        """Open the store in a folder, and look once at all that is to be told of it.

        What a store imports with its first commit is imported by now: imports do not count.
        """
        formats()
        self._store = self._stack.enter_context(Store.open(fields["folder"], create=False))
        source = self._source()
        system, user = source.schemas()
        builder = HaveBuilder(source, 0, frozenset(system + user))
        while not builder.finished:
            builder.step()
        return {"authors": len(builder.have().heights)}

    async def serve(self, fields: Fields) -> Fields:
        """Answer connections on a free loopback port."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self._nursery.start_soon(trio.serve_listeners, self._accepted, [listener])
        return {"port": listener.socket.getsockname()[1]}

    async def _accepted(self, stream: trio.SocketStream) -> None:
        outcome: Fields | SetsyncError
        try:
            outcome = await self._run(stream, self._source(), Role.RESPONDER)
        except SetsyncError as error:  # the driver asks for it, and is told
            outcome = error
        self._ended.send_nowait(outcome)

    async def served(self, fields: Fields) -> Fields:
        """What came of the next connection that was answered, once it has ended."""
        with trio.fail_after(SERVED_SECONDS):
            outcome = await self._outcomes.receive()
        if isinstance(outcome, SetsyncError):
            raise outcome
        return outcome

    async def replicate(self, fields: Fields) -> Fields:
        """Connect and replicate, timed from connecting on; `shy` to ask for nothing."""
        source = self._source(Shy if fields["shy"] else IndexSource)
        begun = time.perf_counter()
        stream = await trio.open_tcp_stream(fields["host"], fields["port"])
        return {"begun": begun, **await self._run(stream, source, Role.INITIATOR)}

    async def _run(self, stream: trio.SocketStream, source: IndexSource, role: Role) -> Fields:
        report = await replicate(stream, source, role=role, now=int(time.time()))
        # This clock is the machine's, the same in both processes.
        return {"ended": time.perf_counter(), **_fields(report)}


def _fields(report: Report) -> Fields:
    chosen = ("sessions", "sent", "new", "known", "refused", "diverged", "bytes_in", "bytes_out")
    every = asdict(report)
    return {name: every[name] for name in chosen}


async def work() -> None:
    """Answer the driver until it has no more to say."""
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            node = Node(nursery, stack)
            handlers: dict[str, Callable[[Fields], Awaitable[Fields]]] = {
                name: getattr(node, name) for name in ("open", "serve", "served", "replicate")
            }
            await answer_beside(handlers)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(work)
