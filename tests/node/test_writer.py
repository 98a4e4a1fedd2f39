"""The one writer: batches, order, tickets that stand for themselves, an inbox with an end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import trio
import trio.lowlevel
import trio.testing

from setsync import limits
from setsync.errors import InvalidEntryError, StoreFullError, StoreLimitError
from setsync.model.entry import Entry, UnverifiedEntry
from setsync.node.local import in_thread, inline
from setsync.node.writer import Ticket, Writer
from setsync.store.contract import Added, Origin, Origins, Quotas
from setsync.store.memory import MemoryStore
from tests.helpers import entries
from tests.node.ends import simulate


def _claims(some: Sequence[Entry]) -> list[UnverifiedEntry]:
    return [UnverifiedEntry(entry.collection, entry.header, entry.payload) for entry in some]


class _Watched(MemoryStore):
    """Remembers the sizes of the batches it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def add_many(
        self, entries: Sequence[Entry], origins: Origins = (), quotas: Quotas | None = None
    ) -> Added:
        self.batches.append(len(entries))
        return super().add_many(entries, origins, quotas)


async def _with_writer(
    store: MemoryStore,
    work: Callable[[Writer], object],
    offload: object = inline,
) -> None:
    async with trio.open_nursery() as nursery:
        writer = Writer(store, offload)  # type: ignore[arg-type]
        nursery.start_soon(writer.run)
        await work(writer)  # type: ignore[misc]
        nursery.cancel_scope.cancel()


def test_what_comes_while_a_batch_is_written_is_the_next_batch_in_its_order() -> None:
    store = _Watched()

    async def slowly(work: Callable[..., object], *arguments: object) -> object:
        await trio.sleep(1)
        return work(*arguments)

    async def work(writer: Writer) -> None:
        tickets = [await writer.submit(_claims([entry])) for entry in entries(20)]
        for ticket, entry in zip(tickets, entries(20), strict=True):
            assert (await ticket.wait()).new == (entry.id,)

    simulate(_with_writer, store, work, slowly)
    assert sum(store.batches) == 20
    assert len(store.batches) <= 3
    with store.snapshot() as snapshot:
        assert [entry.id for entry in snapshot.since(0, 99)] == [e.id for e in entries(20)]


def test_an_invalid_entry_refuses_its_ticket_and_no_other() -> None:
    store = MemoryStore()
    good = _claims(entries(6))
    bad = UnverifiedEntry("notes", good[5].header, b"other")

    async def work(writer: Writer) -> None:
        tickets = [await writer.submit(part) for part in (good[:2], [good[2], bad], [], good[3:5])]
        assert len((await tickets[0].wait()).new) == 2
        with pytest.raises(InvalidEntryError):
            await tickets[1].wait()
        assert (await tickets[2].wait()).new == ()
        assert len((await tickets[3].wait()).new) == 2

    simulate(_with_writer, store, work)
    with store.snapshot() as snapshot:
        assert {entry.id for entry in snapshot.since(0, 99)} == {
            e.id for at, e in enumerate(entries(6)) if at in (0, 1, 3, 4)
        }


def test_an_entry_that_two_bring_is_new_for_the_first() -> None:
    async def work(writer: Writer) -> None:
        (claim,) = _claims(entries(1))
        first, second = [await writer.submit([claim, claim]) for _ in range(2)]
        assert await first.wait() == Added((entries(1)[0].id,), 1, 0)
        assert await second.wait() == Added((), 2, 0)

    simulate(_with_writer, MemoryStore(), work)


def test_a_store_that_fails_tells_everybody_and_the_writer_goes_on() -> None:
    class Failing(MemoryStore):
        is_full = True

        def add_many(
            self, entries: Sequence[Entry], origins: Origins = (), quotas: Quotas | None = None
        ) -> Added:
            if self.is_full:
                raise StoreFullError("Full.")
            return super().add_many(entries, origins, quotas)

    store = Failing()

    async def work(writer: Writer) -> None:
        tickets = [await writer.submit(_claims([entry])) for entry in entries(3)]
        for ticket in tickets:
            with pytest.raises(StoreFullError):
                await ticket.wait()
        store.is_full = False
        assert (await (await writer.submit(_claims(entries(3)))).wait()).known == 0

    simulate(_with_writer, store, work)


def test_who_is_over_a_limit_of_the_store_does_not_take_others_with_him() -> None:
    class Limited(MemoryStore):
        def add_many(
            self, entries: Sequence[Entry], origins: Origins = (), quotas: Quotas | None = None
        ) -> Added:
            if any(entry.collection == "over" for entry in entries):
                raise StoreLimitError("Too many collections.")
            return super().add_many(entries, origins, quotas)

    async def work(writer: Writer) -> None:
        over, good = (_claims(entries(2, name)) for name in ("over", "notes"))
        first, second, third = [await writer.submit(some) for some in (good[:1], over, good[1:])]
        assert len((await first.wait()).new) == 1
        with pytest.raises(StoreLimitError):
            await second.wait()
        assert len((await third.wait()).new) == 1

    simulate(_with_writer, Limited(), work)


def test_a_full_inbox_makes_whoever_brings_more_wait() -> None:
    claim = UnverifiedEntry("notes", b"h", bytes(limits.WRITER_INBOX_BYTES // 4))

    async def main() -> None:
        writer = Writer(MemoryStore(), inline)
        tickets: list[Ticket] = []

        async def bring() -> None:
            for _ in range(20):
                tickets.append(await writer.submit([claim]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(bring)
            await trio.sleep(1)
            held = len(tickets)
            assert held <= 5
            nursery.start_soon(writer.run)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(InvalidEntryError):
                await tickets[0].wait()
            await trio.lowlevel.checkpoint()
            assert len(tickets) > held
            nursery.cancel_scope.cancel()

    async def bounded() -> None:
        with trio.fail_after(30):
            await main()

    trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0))


def test_what_is_tiny_fills_the_inbox_too() -> None:
    """Each entry is an object or two in memory, however few bytes somebody sent for it."""
    tiny = [UnverifiedEntry("notes", bytes([at % 256, at // 256]), None) for at in range(4_096)]

    async def work(writer: Writer) -> None:
        ticket = await writer.submit(tiny, Origin(0, bytes(32)))
        assert ticket.size >= 100 * len(tiny)

    simulate(_with_writer, MemoryStore(), work)


def test_a_batch_under_way_is_finished_when_the_writer_is_cancelled() -> None:
    """A commit is never abandoned half way: it runs in a thread, to its end."""
    store = _Watched()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            writer = Writer(store, in_thread)
            nursery.start_soon(writer.run)
            ticket = await writer.submit(_claims(entries(10)))
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        del ticket

    trio.run(main)
    assert store.batches in ([], [10])
