"""Nodes that break a promise on purpose, so that the world's checks can be seen to fail."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from unittest import mock

from setsync.model.entry import Entry
from setsync.node import server, writer
from setsync.store.contract import Added, EntryStore, Origins
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.simulation.node import CAPACITY


class _Forgetful(MemoryStore):
    """Says that every entry is durable, and drops the first of each third batch."""

    batches = 0

    def add_many(self, entries: Sequence[Entry], origins: Origins = ()) -> Added:
        self.batches += 1
        if self.batches % 3 or not entries:
            return super().add_many(entries, origins)
        kept = super().add_many(entries[1:])
        return Added((entries[0].id, *kept.new), kept.known, kept.payloads)


def forgetful_store() -> EntryStore:
    """A store that loses entries it has acknowledged."""
    return _Forgetful(leaf_capacity=CAPACITY)


@contextlib.contextmanager
def a_lying_responder() -> Iterator[None]:
    """Whatever the digest of the initiator's collections is, the responder's is the same."""

    async def say_same(self: server._Responding, message: m.Catalog) -> None:
        self._turn += 1
        await self._connection.send(m.Same())

    with mock.patch.object(server._Responding, "_compare_catalogue", say_same):
        yield


@contextlib.contextmanager
def a_hasty_writer() -> Iterator[None]:
    """Tickets are settled when a batch begins; the disk has it later, if at all."""

    async def run(self: writer.Writer) -> None:
        while True:
            tickets = await self._next_batch()
            for ticket in tickets:
                ticket.settle(Added((), len(ticket.entries), 0))
            await self._offload(writer._commit, self._store, tickets)

    with mock.patch.object(writer.Writer, "run", run):
        yield
