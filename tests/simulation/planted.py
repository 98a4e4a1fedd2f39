"""Nodes that break a promise on purpose, so that the world's checks can be seen to fail."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import trio

from setsync.model.entry import Entry
from setsync.node import live, pushing, server, writer
from setsync.node.report import Report
from setsync.store.contract import Added, EntryStore, Origins, Quotas
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.simulation.node import CAPACITY


class _Forgetful(MemoryStore):
    """Says that every entry is durable, and drops the first of each third batch."""

    batches = 0

    def add_many(
        self, entries: Sequence[Entry], origins: Origins = (), quotas: Quotas | None = None
    ) -> Added:
        self.batches += 1
        if self.batches % 3 or not entries:
            return super().add_many(entries, origins, quotas)
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
            await self._offload(self._commit, tickets)

    with mock.patch.object(writer.Writer, "run", run):
        yield


@contextlib.contextmanager
def mute_nodes() -> Iterator[None]:
    """Live nodes that tell no news, so that only comparing again brings them."""

    async def say_nothing(self: pushing.Pushing) -> None:
        await trio.sleep_forever()

    with mock.patch.object(pushing.Pushing, "_push", say_nothing):
        yield


@contextlib.contextmanager
def keepers_that_give_up() -> Iterator[None]:
    """One session, and none after it."""
    one = live.Keeper._one

    async def only_one(self: live.Keeper, report: Report, seconds: float) -> bool:
        if self.state.sessions:
            await trio.sleep_forever()
        return await one(self, report, seconds)

    with mock.patch.object(live.Keeper, "_one", only_one):
        yield


@contextlib.contextmanager
def nodes_that_repeat_themselves() -> Iterator[None]:
    """Live nodes that begin with everything they have, instead of what is new."""
    begin = pushing.Pushing.__init__

    def begin_early(self: pushing.Pushing, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        self._after = 0

    with mock.patch.object(pushing.Pushing, "__init__", begin_early):
        yield


@contextlib.contextmanager
def a_lax_writer() -> Iterator[None]:
    """Authors that the policy refuses are taken all the same."""
    with mock.patch.object(writer._Part, "refuse"):
        yield
