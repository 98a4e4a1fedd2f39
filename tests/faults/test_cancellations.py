"""Whoever is cancelled, and when: the writer never hangs, and readers give their slots back.

A write transaction that ended on another thread than its own, or not at all, would hold
LMDB's lock for ever. So cancellations are aimed at every step of a commit, as its thread goes
through it, and at every step of those who wait for it.

A hung writer cannot be cancelled; what ends such a test is the time limit of the whole suite.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import cast

import pytest
import trio
import trio.lowlevel
import trio.to_thread

from setsync.model.entry import Entry, UnverifiedEntry
from setsync.model.indexes import Index
from setsync.node.local import in_thread
from setsync.node.writer import Writer
from setsync.store.check import check
from setsync.store.contract import Added, EntryStore, Origins, Quotas, Snapshot
from setsync.store.lmdb_store import Store
from tests.helpers import entries

BRINGERS = 3
_EACH = 4
_CHECKPOINTS = 24
_PATIENCE = 60.0
LEFT_ALONE = -1


class Stepped:
    """A store that counts the steps (calls and returns) of its commits, and can act at one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.steps = 0
        self.at = LEFT_ALONE
        self.act: Callable[[], object] = lambda: None

    def add_many(
        self, entries: Sequence[Entry], origins: Origins = (), quotas: Quotas | None = None
    ) -> Added:
        sys.setprofile(self._step)
        try:
            return self._store.add_many(entries, origins, quotas)
        finally:
            sys.setprofile(None)

    def _step(self, frame: FrameType, event: str, argument: object) -> None:
        self.steps += 1
        if self.steps == self.at:
            self.act()

    def open_index(self, index: Index) -> None:
        self._store.open_index(index)

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        return self._store.snapshot()


def claims(some: Sequence[Entry]) -> list[UnverifiedEntry]:
    return [UnverifiedEntry(entry.collection, entry.header, entry.payload) for entry in some]


class Node:
    """A writer, those who bring entries to it, and who is cancelled."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self.store = Stepped(store)
        self.chance = chance
        self.acknowledged: set[bytes] = set()
        self.stopped = 0
        self._finished = 0

    async def count_steps(self) -> int:
        """How many steps the commits of one turn take."""
        await self.turn(-1, LEFT_ALONE)
        return self.store.steps

    async def turn(self, number: int, step: int) -> None:
        """Entries are brought, and somebody is cancelled: at a step of the commit's thread, or
        (step 0) after some checkpoints of the loop."""
        self.store.steps, self.store.at = 0, step
        self._finished = 0
        token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            writer = Writer(cast(EntryStore, self.store), in_thread)
            nursery.start_soon(writer.run)
            scopes = [trio.CancelScope() for _ in range(BRINGERS)]
            # The whole node stops, or one peer's session does.
            alone = self.chance.random() < 0.5
            victim = scopes[0] if alone else nursery.cancel_scope
            self.store.act = lambda: token.run_sync_soon(victim.cancel)
            if step == 0:
                nursery.start_soon(self._cancel_soon, victim, self.chance.randrange(_CHECKPOINTS))
            async with trio.open_nursery() as bringing:
                for who, scope in enumerate(scopes):
                    some = entries(_EACH, "notes", seed=number * BRINGERS + who)
                    bringing.start_soon(self._bring, writer, some, scope)
            nursery.cancel_scope.cancel()
        self.stopped += self._finished < BRINGERS
        assert not alone or self._finished >= BRINGERS - 1, "one session took others with it"

    async def _cancel_soon(self, victim: trio.CancelScope, checkpoints: int) -> None:
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()
        victim.cancel()

    async def _bring(self, writer: Writer, some: Sequence[Entry], scope: trio.CancelScope) -> None:
        with scope:
            ticket = await writer.submit(claims(some))
            await ticket.wait()
            self.acknowledged |= {entry.id for entry in some}
            self._finished += 1

    async def write_at_once(self, number: int) -> None:
        """The next write, of a new writer on the same store, is not kept waiting."""
        self.store.at = LEFT_ALONE
        some = entries(1, "after", seed=number)
        with trio.fail_after(_PATIENCE):
            async with trio.open_nursery() as nursery:
                writer = Writer(cast(EntryStore, self.store), in_thread)
                nursery.start_soon(writer.run)
                added = await (await writer.submit(claims(some))).wait()
                nursery.cancel_scope.cancel()
        assert added.new == (some[0].id,)


def _cancel_ingests(folder: Path, turns: int, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    with Store.open(folder) as store:
        node = Node(store, chance)

        async def main() -> None:
            steps = await node.count_steps()
            for number in range(turns):
                step = chance.randrange(1, steps) if chance.random() < 0.7 else 0
                await node.turn(number, step)
                await node.write_at_once(number)

        trio.run(main)
        print(f"{turns} turns, in {node.stopped} of them somebody was stopped in his work")
        assert node.stopped > turns // 2
        held = {entry.id for entry in store}
        assert node.acknowledged <= held
        assert (len(held) - turns) % _EACH == 0, "a ticket is stored whole or not at all"
        assert check(store).damage == 0


def test_sixty_cancellations_of_an_ingest_leave_a_writer_that_writes(tmp_path: Path) -> None:
    _cancel_ingests(tmp_path, 60, 20_261_122)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_a_thousand_cancellations_of_an_ingest_leave_a_writer_that_writes(tmp_path: Path) -> None:
    _cancel_ingests(tmp_path, 1_000, random.SystemRandom().getrandbits(32))


# --- readers ------------------------------------------------------------------------------


def slots(store: Store) -> int:
    """Slots taken in LMDB's table of readers."""
    return len(str(store.environment._env.readers()).splitlines()) - 1


def _read(store: Store, how: int, cancel: Callable[[], object]) -> int:
    """Read in a worker thread. A third fails half way, a third is cancelled meanwhile."""
    with store.snapshot() as snapshot:
        view = snapshot.view("notes")
        assert view is not None
        if how == 0:
            raise ZeroDivisionError
        if how == 1:
            cancel()
        return len(view.ids("")) + len(snapshot.since(0, 5))


def _cancel_reads(folder: Path, rounds: int) -> None:
    kept: list[BaseException] = []
    cancelled = 0

    async def read(store: Store, how: int) -> None:
        nonlocal cancelled
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:
            try:
                await in_thread(_read, store, how, lambda: token.run_sync_soon(scope.cancel))
                await trio.lowlevel.checkpoint()
            except ZeroDivisionError as error:
                kept.append(error)  # its traceback holds what the thread held
        cancelled += scope.cancelled_caught

    async def main(store: Store) -> int:
        for _ in range(rounds):
            async with trio.open_nursery() as nursery:
                for number in range(30):
                    nursery.start_soon(read, store, number % 3)
        return int(trio.to_thread.current_default_thread_limiter().total_tokens)

    with Store.open(folder) as store:
        store.add_many(entries(40))
        threads = trio.run(main, store)
        assert len(kept) == 10 * rounds
        assert cancelled == 10 * rounds
        assert slots(store) <= threads


def test_two_thousand_reads_cancelled_and_failed_ones_among_them_give_their_slots_back(
    tmp_path: Path,
) -> None:
    _cancel_reads(tmp_path, 67)


@pytest.mark.soak
def test_thirty_thousand_reads_of_which_twenty_fail_or_are_cancelled(tmp_path: Path) -> None:
    _cancel_reads(tmp_path, 1_000)
