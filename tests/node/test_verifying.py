"""Processes that verify: real ones, also such that are killed, stopped, or no such thing."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
import trio
import trio.testing

from setsync.errors import InvalidEntryError
from setsync.model.checking import Outcome
from setsync.model.entry import Entry, UnverifiedEntry
from setsync.node import verifying, writer
from setsync.node.local import in_thread, inline
from setsync.node.verifying import Job, Verifiers, beside, parts, usual_count
from setsync.node.writer import Ticket, Writer
from setsync.store import pace
from setsync.store.contract import Added, Origin, Origins, Quotas
from setsync.store.memory import MemoryStore
from tests.helpers import entries

T = TypeVar("T")
COUNT = 2
children_of_others: set[int] = set()


def bare(some: Sequence[Entry]) -> list[UnverifiedEntry]:
    """What somebody says of entries."""
    return [UnverifiedEntry(one.collection, one.header, one.payload) for one in some]


def mixed(count: int) -> list[UnverifiedEntry]:
    """Every tenth entry is not valid."""
    some = bare(entries(count))
    return [
        UnverifiedEntry(one.collection, one.header, b"other") if at % 10 == 9 else one
        for at, one in enumerate(some)
    ]


def told(outcomes: Sequence[Outcome]) -> list[object]:
    """Ids of the good ones, reasons of the others."""
    return [one.id if isinstance(one, Entry) else one.reason for one in outcomes]


def expected(count: int) -> list[object]:
    """Of `mixed`."""
    return ["bad_payload_size" if at % 10 == 9 else one.id for at, one in enumerate(entries(count))]


async def verdicts(jobs: Sequence[Job]) -> list[Outcome]:
    """On all entries of some jobs."""
    found: list[Outcome] = []
    for job in jobs:
        await job.wait()
        found += job.outcomes()
    return found


@pytest.fixture(autouse=True)
def only_ours() -> None:
    """Nothing that another test left running, such as the resource tracker of multiprocessing,
    is counted among the processes of a test."""
    children_of_others.clear()
    children_of_others.update(children())


@pytest.fixture(autouse=True)
def small_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten entries each."""
    monkeypatch.setattr(verifying, "VERIFY_JOB_ENTRIES", 10)


def with_verifiers(
    work: Callable[[Verifiers], Awaitable[None]], ended: list[None], count: int = COUNT
) -> None:
    """Run something beside some processes, which are gone afterwards."""

    async def main() -> None:
        verifiers = Verifiers(count, partial(ended.append, None))
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(verifiers.run)
                await trio.testing.wait_all_tasks_blocked()
                await work(verifiers)
                nursery.cancel_scope.cancel()

    trio.run(main)
    assert not children()


def children() -> set[int]:
    """The processes that a test has started and that live."""
    found: set[int] = set()
    for file in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread may have ended
            found.update(map(int, file.read_text().split()))
    return found - children_of_others


async def gone() -> None:
    """Wait until all of them have ended."""
    for process in children():
        with contextlib.suppress(ProcessLookupError):
            ended = os.pidfd_open(process)
            await trio.lowlevel.wait_readable(ended)
            os.close(ended)


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


@linux
def test_every_entry_gets_its_verdict_in_order() -> None:
    async def work(verifiers: Verifiers) -> None:
        jobs = verifiers.submit(mixed(95))
        assert len(jobs) == 10
        assert told(await verdicts(jobs)) == expected(95)
        assert len(children()) == COUNT

    with_verifiers(work, [])


@linux
def test_without_processes_the_verdict_is_found_here() -> None:
    async def work(verifiers: Verifiers) -> None:
        assert told(await verdicts(verifiers.submit(mixed(25)))) == expected(25)
        assert not children()

    with_verifiers(work, [], count=0)


@linux
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_process_that_was_killed_had_is_verified_here(how: signal.Signals) -> None:
    async def work(verifiers: Verifiers) -> None:
        await verdicts(verifiers.submit(mixed(30)))
        for process in children():
            os.kill(process, signal.SIGSTOP)
        jobs = verifiers.submit(mixed(95))
        await trio.testing.wait_all_tasks_blocked()
        for process in children():
            os.kill(process, how)
            os.kill(process, signal.SIGCONT)
        assert told(await verdicts(jobs)) == expected(95)
        # It was an accident: the next ones start others.
        assert told(await verdicts(verifiers.submit(mixed(35)))) == expected(35)
        assert verifiers.count == COUNT

    ended: list[None] = []
    with_verifiers(work, ended)
    assert len(ended) == COUNT


@linux
def test_a_process_that_does_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(verifiers: Verifiers) -> None:
        await verdicts(verifiers.submit(mixed(30)))
        monkeypatch.setattr(verifying, "VERIFY_SECONDS", 0.2)
        for process in children():
            os.kill(process, signal.SIGSTOP)
        assert told(await verdicts(verifiers.submit(mixed(95)))) == expected(95)

    monkeypatch.setattr(verifying, "VERIFIER_END_SECONDS", 0.1)
    ended: list[None] = []
    with_verifiers(work, ended)
    assert len(ended) == COUNT


@linux
@pytest.mark.parametrize(
    "command", [("-c", "raise SystemExit(3)"), ("-c", "import os; os.abort()")]
)
def test_processes_that_never_answer_are_not_tried_again_at_once(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(verifying, "_COMMAND", command)

    async def work(verifiers: Verifiers) -> None:
        assert told(await verdicts(verifiers.submit(mixed(95)))) == expected(95)
        await trio.testing.wait_all_tasks_blocked()
        assert not verifiers.are_available
        assert told(await verdicts(verifiers.submit(mixed(15)))) == expected(15)

    ended: list[None] = []
    with_verifiers(work, ended)
    assert 1 <= len(ended) <= COUNT


@linux
def test_processes_that_could_not_be_started_are_tried_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verifying, "VERIFIER_RETRY_SECONDS", 0.0)

    async def work(verifiers: Verifiers) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/nowhere/python")
            assert told(await verdicts(verifiers.submit(mixed(95)))) == expected(95)
        assert not children()
        assert told(await verdicts(verifiers.submit(mixed(95)))) == expected(95)
        assert len(children()) == COUNT

    with_verifiers(work, [])


@linux
def test_what_comes_after_the_end_is_verified_here() -> None:
    kept: list[Verifiers] = []

    async def work(verifiers: Verifiers) -> None:
        kept.append(verifiers)

    with_verifiers(work, [])

    async def after() -> None:
        kept[0].start()
        assert told(await verdicts(kept[0].submit(mixed(15)))) == expected(15)

    trio.run(after)
    assert not children()


@linux
def test_ctrl_c_in_a_terminal_is_not_for_the_processes() -> None:
    async def work(verifiers: Verifiers) -> None:
        verifiers.start()
        await verdicts(verifiers.submit(mixed(95)))
        assert {os.getpgid(process) for process in children()} == children()

    with_verifiers(work, [])


@linux
def test_a_program_that_is_not_there_costs_nothing_but_speed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    async def work(verifiers: Verifiers) -> None:
        assert told(await verdicts(verifiers.submit(mixed(95)))) == expected(95)

    with_verifiers(work, [])


@linux
def test_processes_without_work_end_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "VERIFIER_IDLE_SECONDS", 0.05)

    async def work(verifiers: Verifiers) -> None:
        for _ in range(3):
            assert told(await verdicts(verifiers.submit(mixed(45)))) == expected(45)
            await gone()
            assert not verifiers.are_running

    ended: list[None] = []
    with_verifiers(work, ended)
    assert ended == []


def test_jobs_have_a_bounded_size_or_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    some = bare(entries(30))
    assert [len(part) for part in parts(some)] == [10, 10, 10]
    assert list(parts([])) == []
    monkeypatch.setattr(verifying, "VERIFY_JOB_BYTES", 3 * some[0].size)
    assert [len(part) for part in parts(some[:7])] == [3, 3, 1]
    monkeypatch.setattr(verifying, "VERIFY_JOB_BYTES", 1)
    assert list(parts(some[:3])) == [[one] for one in some[:3]]


def test_one_core_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "other")
    for cores, count in ((1, 0), (2, 2), (4, 4), (64, 4), (None, 0)):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        assert usual_count() == count


# --- from a thread ------------------------------------------------------------------------


@linux
@pytest.mark.parametrize(
    ("count", "is_much", "few"), [(0, False, 0), (COUNT, True, 999), (COUNT, False, 30)]
)
def test_a_thread_gets_the_verdicts_on_many_batches_in_order(
    monkeypatch: pytest.MonkeyPatch, count: int, is_much: bool, few: int
) -> None:
    monkeypatch.setattr(verifying, "VERIFIERS_FROM", few)
    seen: set[int] = set()

    some = mixed(200)
    found: list[Outcome] = []
    with beside(Verifiers(count), is_much=is_much) as verify:
        for outcomes in verify(some[at : at + 10] for at in range(0, 200, 10)):
            found += outcomes
            seen.update(children())
    assert told(found) == expected(200)
    assert len(seen) == count
    assert not children()


@linux
def test_a_few_entries_are_not_worth_a_process() -> None:
    with beside(Verifiers(COUNT)) as verify:
        found = [outcome for outcomes in verify([mixed(20), mixed(20)]) for outcome in outcomes]
        assert not children()
    assert told(found) == expected(20) * 2


@linux
@pytest.mark.parametrize("reason", [InvalidEntryError("bad_id", "No."), KeyboardInterrupt()])
def test_a_thread_that_stops_half_way_leaves_no_process(reason: BaseException) -> None:
    def work() -> None:
        with beside(Verifiers(COUNT), is_much=True) as verify:
            for _ in verify([mixed(40)]):
                raise reason

    threads = {thread.name for thread in threading.enumerate()}
    with pytest.raises(type(reason)):
        work()
    assert not children()
    left = {thread.name for thread in threading.enumerate()} - threads
    assert not [name for name in left if "Trio" not in name]


def test_a_thread_hears_why_there_can_be_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(trio, "run", fail)
    with pytest.raises(OSError, match="too many"), beside(Verifiers(COUNT)):
        pass


# --- the writer ---------------------------------------------------------------------------


@linux
def test_the_writer_has_much_verified_ahead_and_keeps_everybodys_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer, "VERIFIERS_FROM", 20)
    store = MemoryStore()
    some = bare(entries(300))
    brought = {bytes([peer]) * 32: some[peer::3] for peer in range(3)}

    async def bring(writing: Writer, peer: bytes) -> None:
        mine = brought[peer]
        tickets = [
            await writing.submit(mine[at : at + 25], Origin(1, peer)) for at in range(0, 100, 25)
        ]
        for ticket in tickets:
            assert (await ticket.wait()).known == 0

    async def main() -> None:
        verifiers = Verifiers(COUNT)
        writing = Writer(store, in_thread, verifiers=verifiers)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                async with trio.open_nursery() as peers:
                    for peer in brought:
                        peers.start_soon(bring, writing, peer)
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.start_soon(writing.run)
                own = await writing.submit(bare(entries(1, "own")))
                await own.wait()
                assert verifiers.are_running
                nursery.cancel_scope.cancel()

    trio.run(main)
    with store.snapshot() as snapshot:
        arrived = [entry.header for entry in snapshot.since(0, 999)]
    assert len(arrived) == 301
    for mine in brought.values():
        headers = {entry.header for entry in mine}
        assert [header for header in arrived if header in headers] == [e.header for e in mine]


@linux
def test_an_invalid_entry_refuses_its_ticket_and_no_other_also_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer, "VERIFIERS_FROM", 1)
    some = mixed(60)
    store = MemoryStore()

    async def main() -> None:
        writing = Writer(store, in_thread, verifiers=Verifiers(COUNT))
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(writing.run)
                good = await writing.submit(bare(entries(60))[:30], Origin(1, b"a" * 32))
                bad = await writing.submit(some[30:], Origin(1, b"a" * 32))
                few = await writing.submit(some[:3], Origin(1, b"b" * 32))
                assert len((await good.wait()).new) == 30
                with pytest.raises(InvalidEntryError):
                    await bad.wait()
                assert (await few.wait()).known == 3
                nursery.cancel_scope.cancel()

    trio.run(main)
    with store.snapshot() as snapshot:
        assert snapshot.entry_count == 30


@pytest.mark.parametrize("looks", range(8))
def test_entries_come_through_whenever_the_processes_end(looks: int) -> None:
    """They may be there when the one who commits looks, and gone when the one looks who has
    verified ahead: whoever looks last has to see to it."""

    class Ending(Verifiers):
        left = looks

        @property
        def are_running(self) -> bool:
            self.left -= 1
            return self.left >= 0

    async def main() -> None:
        writing = Writer(MemoryStore(), inline, verifiers=Ending(COUNT))
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(writing.run)
                await trio.testing.wait_all_tasks_blocked()
                ticket = await writing.submit(bare(entries(3)), Origin(1, b"a" * 32))
                assert len((await ticket.wait()).new) == 3
                nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_entries_come_through_when_processes_may_be_tried_again_during_a_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who verifies ahead looked before that moment, and who commits looks after it."""
    monkeypatch.setattr(writer, "VERIFIERS_FROM", 1)
    again = 0.0

    class Later(Verifiers):
        @property
        def are_available(self) -> bool:
            return trio.current_time() >= again

        def submit(self, entries: Sequence[UnverifiedEntry]) -> list[Job]:
            job = Job(entries)
            job.settle(None)
            return [job]

    async def slowly(work: Callable[..., T], *arguments: object) -> T:
        await trio.sleep(1)
        return work(*arguments)

    async def main() -> None:
        nonlocal again
        again = trio.current_time() + 0.5
        writing = Writer(MemoryStore(), slowly, verifiers=Later(COUNT))
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(writing.run)
                await writing.submit(bare(entries(1, "own")))
                await trio.sleep(0.1)
                ticket = await writing.submit(bare(entries(3)), Origin(1, b"a" * 32))
                assert len((await ticket.wait()).new) == 3
                nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@linux
def test_a_disk_that_stands_still_stops_the_peers_and_fills_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some = bare(entries(20))
    size = sum(entry.size for entry in some)
    monkeypatch.setattr(writer, "VERIFIERS_FROM", 20)
    monkeypatch.setattr(writer, "VERIFY_JOB_ENTRIES", 10)
    monkeypatch.setattr(writer, "WRITER_PEER_BYTES", 2 * size)
    monkeypatch.setattr(writer, "WRITER_INBOX_BYTES", 8 * size)
    monkeypatch.setattr(pace, "FIRST_COMMIT", 40)
    stands, goes = threading.Event(), threading.Event()

    class Disk(MemoryStore):
        def add_many(
            self, entries: Sequence[Entry], origins: Origins = (), quotas: Quotas | None = None
        ) -> Added:
            stands.set()
            assert goes.wait(60)
            return super().add_many(entries, origins, quotas)

    accepted: list[Ticket] = []

    async def bring(writing: Writer, peer: int) -> None:
        while len(accepted) < 1_000:
            accepted.append(await writing.submit(some, Origin(1, bytes([peer]) * 32)))

    async def main() -> None:
        writing = Writer(Disk(), in_thread, verifiers=Verifiers(COUNT))
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(writing.run)
                for peer in range(4):
                    nursery.start_soon(bring, writing, peer)
                await trio.to_thread.run_sync(stands.wait)
                # What is under way ends; then nothing moves any more.
                for ticket in list(accepted):
                    for job in ticket.jobs or ():
                        await job.wait()
                await trio.testing.wait_all_tasks_blocked(0.05)
                held = len(accepted)
                goes.set()
                nursery.cancel_scope.cancel()
        # The inbox, each peer's own, one commit under way, and what is verified ahead.
        assert held <= 8 + 4 * 3 + 2 + (40 + 2 * 2 * 10) // 20 + 2

    trio.run(main)
