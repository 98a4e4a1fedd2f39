"""Signatures on every core: processes of our own that verify what is handed to them.

Threads do not help: libsodium lets go of Python's lock for 50 microseconds and then waits for it.
The processes are started when enough entries wait, and end when nothing has come for a while, so
a node that has little to do is one process. What one of them cannot answer, because it was killed,
stopped or cannot be started, is verified in this process instead: slower, and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import NoReturn

import trio

from setsync.limits import (
    KIB,
    MAX_VERIFIERS,
    VERIFIER_END_SECONDS,
    VERIFIER_IDLE_SECONDS,
    VERIFIER_RETRY_SECONDS,
    VERIFIERS_FROM,
    VERIFY_JOB_BYTES,
    VERIFY_JOB_ENTRIES,
    VERIFY_JOBS_AHEAD,
    VERIFY_SECONDS,
)
from setsync.model.checking import LENGTH, Outcome, outcomes, pack_job, verify_here
from setsync.model.entry import UnverifiedEntry
from setsync.store.importing import Verify

_COMMAND = ("-P", "-m", "setsync.node.verifier")
_READ = 256 * KIB
# Jobs for each process that a thread has behind it, so that there are some when it comes back
# from a commit.
_JOBS_DONE = 4


class Job:
    """Entries on their way to their verdict."""

    def __init__(self, entries: Sequence[UnverifiedEntry]) -> None:
        self.entries = entries
        self._done = trio.Event()
        self._answered: bytes | None = None

    async def wait(self) -> None:
        """Until there is a verdict, or it is known that `outcomes` has to find it."""
        await self._done.wait()

    @property
    def is_done(self) -> bool:
        """Whether `wait` would return at once."""
        return self._done.is_set()

    def settle(self, answered: bytes | None) -> None:
        """With a process's answer, or without one."""
        self._answered = answered
        self._done.set()

    def outcomes(self) -> Iterable[Outcome]:
        """The verdict on each entry, in order; if nobody else did, they are verified here while
        this is gone through."""
        if self._answered is None:
            return map(verify_here, self.entries)
        return outcomes(self.entries, self._answered)


def usual_count() -> int:
    """How many processes this machine has use for: a core each, up to MAX_VERIFIERS. None on a
    single core, where they would only wait for each other."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return 0 if cores < 2 or not sys.executable else min(cores, MAX_VERIFIERS)


class Verifiers:
    """Start `run` in a nursery, then `submit`. At most `count` processes, the usual number if
    that is None; with 0 every job is left to whoever asks for its outcomes. `on_ended` hears of
    one that ended by itself."""

    def __init__(self, count: int | None, on_ended: Callable[[], None] = lambda: None) -> None:
        self.count = usual_count() if count is None else count
        self._on_ended = on_ended
        self._nursery: trio.Nursery | None = None
        self._jobs, self._next = trio.open_memory_channel[Job](math.inf)
        self._processes = 0
        self._retry_at = -math.inf

    @property
    def are_available(self) -> bool:
        """Whether processes are there or can be started: for a while after one ended that had
        answered nothing, none can, as files or memory may be short, or Python not be whole."""
        return self.are_running or (self.count > 0 and trio.current_time() >= self._retry_at)

    @property
    def are_running(self) -> bool:
        """Whether processes are there, which costs nobody a start any more."""
        return self._processes > 0

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; the processes end with it. Started when it takes jobs."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def submit(self, entries: Sequence[UnverifiedEntry]) -> list[Job]:
        """Have entries verified; never waits, so that whoever calls it keeps the bounds."""
        jobs = [Job(part) for part in parts(entries)]
        for job in jobs:
            if self._nursery is None or not self.are_available:
                job.settle(None)
            else:
                self._jobs.send_nowait(job)
        if jobs:
            self.start()
        return jobs

    def start(self) -> None:
        """Start the processes now: there will be much to do."""
        if self._nursery is not None and trio.current_time() >= self._retry_at:
            while self._processes < self.count:
                self._processes += 1
                self._nursery.start_soon(self._work)

    async def _work(self) -> None:
        """One process, from its start until it has nothing to do."""
        working = _Working()
        left = False
        try:
            async with _process() as process, trio.open_nursery() as nursery:
                nursery.start_soon(working.receive, process)
                await working.send(process, self._next)
                # From here on nobody may count on this process, however long it takes to end.
                left = True
                self._processes -= 1
                nursery.cancel_scope.cancel()
        except* (OSError, trio.BrokenResourceError, trio.TooSlowError, _EndedError):
            self._on_ended()
            if not working.answered:
                self._retry_at = trio.current_time() + VERIFIER_RETRY_SECONDS
        finally:
            self._processes -= not left
            working.give_up()
            self._leave_nothing()

    def _leave_nothing(self) -> None:
        """Jobs for which no process is left are done without one."""
        while not self._processes:
            try:
                self._next.receive_nowait().settle(None)
            except trio.WouldBlock:
                return


class _EndedError(Exception):
    """A process ended, though nobody had asked it to."""


class _Working:
    """The jobs that one process has."""

    def __init__(self) -> None:
        self._sent: deque[Job] = deque()
        self._changed = trio.Condition()
        self.answered = 0

    async def send(self, process: trio.Process, jobs: trio.MemoryReceiveChannel[Job]) -> None:
        """Hand jobs over until none has come for VERIFIER_IDLE_SECONDS. Raises TooSlowError when
        the process does nothing with them."""
        assert process.stdin is not None
        while True:
            with trio.move_on_after(VERIFIER_IDLE_SECONDS) as idle:
                async with self._changed:
                    while len(self._sent) >= VERIFY_JOBS_AHEAD:
                        await self._changed.wait()
                job = await jobs.receive()
            if idle.cancelled_caught:
                if self._sent:
                    continue
                return
            self._sent.append(job)
            with trio.fail_after(VERIFY_SECONDS):
                await process.stdin.send_all(pack_job(job.entries))
            async with self._changed:
                self._changed.notify_all()

    async def receive(self, process: trio.Process) -> NoReturn:
        """Take the answers. Raises TooSlowError, _EndedError."""
        while True:
            async with self._changed:
                while not self._sent:
                    await self._changed.wait()
            with trio.fail_after(VERIFY_SECONDS):
                head = await _read(process, LENGTH.size)
                answered = await _read(process, *LENGTH.unpack(head))
            self._sent.popleft().settle(answered)
            self.answered += 1
            async with self._changed:
                self._changed.notify_all()

    def give_up(self) -> None:
        """What was not answered is left to whoever wants to know it."""
        while self._sent:
            self._sent.popleft().settle(None)


async def _read(process: trio.Process, size: int) -> bytes:
    assert process.stdout is not None
    found = bytearray()
    while len(found) < size:
        part = await process.stdout.receive_some(min(_READ, size - len(found)))
        if not part:
            raise _EndedError
        found += part
    return bytes(found)


@contextlib.asynccontextmanager
async def _process() -> AsyncIterator[trio.Process]:
    """A process that reads jobs. Afterwards it is gone."""
    # In a group of its own: the terminal's Ctrl-C is for the one who asks, which ends its input.
    process = await trio.lowlevel.open_process(
        [sys.executable, *_COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        _widen(process.stdin, process.stdout)
        yield process
    finally:
        with trio.CancelScope(shield=True):
            await process.stdin.aclose()
            with trio.move_on_after(VERIFIER_END_SECONDS):
                await process.wait()
            process.kill()
            await process.wait()
            await process.stdout.aclose()


def _widen(*pipes: object) -> None:
    """Let a pipe hold a whole job, where the system lets us: this thread and the other one then
    meet once a job instead of once every 64 KiB."""
    resize = getattr(fcntl, "F_SETPIPE_SZ", None)  # Linux
    for pipe in pipes:
        if resize is not None and isinstance(pipe, trio.lowlevel.FdStream):
            with contextlib.suppress(OSError):
                fcntl.fcntl(pipe.fileno(), resize, VERIFY_JOB_BYTES)


def parts(entries: Sequence[UnverifiedEntry]) -> Iterator[Sequence[UnverifiedEntry]]:
    """Entries in jobs of a bounded size, or of one entry."""
    sizes = [len(header) + len(payload or b"") for _, header, payload in entries]
    first = total = 0
    for at, size in enumerate(sizes):
        if at > first and (at - first == VERIFY_JOB_ENTRIES or total + size > VERIFY_JOB_BYTES):
            yield entries[first:at]
            first, total = at, 0
        total += size
    if first < len(entries):
        yield entries[first:]


@contextlib.contextmanager
def beside(verifiers: Verifiers, *, is_much: bool = False) -> Iterator[Verify]:
    """A way for this thread to have entries verified by the processes while it goes on with those
    that were verified before. Another thread looks after the processes, so that Ctrl-C reaches
    this one wherever it waits, be it for a disk or for whoever fills a pipe.

    `is_much`: it is known that this is worth processes, which then start beside what else is
    prepared.
    """
    started: Future[_Running] = Future()

    async def look_after() -> None:
        async with trio.open_nursery() as nursery:
            started.set_result((trio.lowlevel.current_trio_token(), nursery.cancel_scope))
            await nursery.start(verifiers.run)
            if is_much:
                verifiers.start()

    def run() -> None:
        try:
            trio.run(look_after)
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    # A daemon, so that a Ctrl-C at any point ends the command, and with it the processes.
    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        token, _ = started.result()
        yield partial(_verify_ahead, verifiers, token)
    finally:
        started.add_done_callback(_cancel)
        thread.join()


_Running = tuple[trio.lowlevel.TrioToken, trio.CancelScope]
"""How another thread reaches a loop, and what it cancels there."""


def _cancel(started: Future[_Running]) -> None:
    if started.exception() is None:
        token, scope = started.result()
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(scope.cancel)


def _verify_ahead(
    verifiers: Verifiers,
    token: trio.lowlevel.TrioToken,
    batches: Iterable[Sequence[UnverifiedEntry]],
) -> Iterator[Iterable[Outcome]]:
    """Jobs enough that no process stands still while the thread commits. What is not worth a
    process is verified here."""
    most = verifiers.count * (VERIFY_JOBS_AHEAD + _JOBS_DONE)
    under_way: deque[Job] = deque()
    seen = 0
    for batch in batches:
        seen += len(batch)
        if seen <= VERIFIERS_FROM and not verifiers.are_running:
            yield map(verify_here, batch)
            continue
        under_way += trio.from_thread.run_sync(verifiers.submit, batch, trio_token=token)
        while len(under_way) > most:
            yield _outcomes(under_way.popleft(), token)
    while under_way:
        yield _outcomes(under_way.popleft(), token)


def _outcomes(job: Job, token: trio.lowlevel.TrioToken) -> Iterable[Outcome]:
    if not job.is_done:
        trio.from_thread.run(job.wait, trio_token=token)
    return job.outcomes()
