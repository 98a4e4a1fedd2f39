"""Verifying files: examines entries in as many processes as there are cores, links them here.

Signatures take nearly all the time. This process reads, hands over, keeps what a log needs
of each entry, and whenever all others have enough to do, it takes a share itself.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from bamboo_compat.cli.sources import (
    POSITION_BITS,
    Job,
    Kind,
    Source,
    UnreadableError,
    find_sources,
    jobs,
)
from bamboo_compat.cli.work import Examined, Unreadable, do
from bamboo_compat.core.log import Logbook
from bamboo_compat.core.profiles import PROFILES, Profile
from bamboo_compat.core.report import LogReport
from bamboo_compat.limits import JOBS_AHEAD, JOBS_ALONE, JOBS_BEHIND, MAX_ENTRIES, MAX_PROBLEMS


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read, how, and what was found."""

    report: LogReport
    sources: list[Source]
    left_out: int
    profile: Profile
    partial: bool

    def place(self, where: int) -> tuple[Source, int]:
        """The file and the position in it that a report speaks of."""
        return self.sources[where >> POSITION_BITS], where & ((1 << POSITION_BITS) - 1)


def verify_files(
    paths: Sequence[Path],
    *,
    partial: bool = False,
    profile: Profile | None = None,
    workers: int = 1,
    on_entries: Callable[[int], None] = lambda _: None,
) -> Verified:
    """Verify every entry of every file, all of them together.

    Without a profile: aquadoggo if every file is a database of one, else rfc0001.
    `on_entries` is told how many are done. Raises UnreadableError, OSError.
    """
    sources, left_out = find_sources(paths)
    if profile is None:
        databases = all(source.kind is Kind.DATABASE for source in sources)
        profile = PROFILES["aquadoggo" if databases else "rfc0001"]
    book = Logbook(MAX_PROBLEMS)
    done = 0
    for batch in _examine(chain.from_iterable(map(jobs, sources)), workers):
        for examined in batch:
            if isinstance(examined, Unreadable):
                raise _unreadable(sources, examined)
            book.add(examined)
        done += len(batch)
        on_entries(done)
        if len(book) > MAX_ENTRIES:
            raise UnreadableError(f"There are over {MAX_ENTRIES:,} entries; verify fewer at once.")
    if not done:
        raise UnreadableError(f"There is no entry in {', '.join(map(str, paths))}.")
    report = book.report(partial=partial, profile=profile)
    return Verified(report, sources, left_out, profile, partial)


def _unreadable(sources: list[Source], found: Unreadable) -> UnreadableError:
    source = sources[found.where >> POSITION_BITS]
    position = found.where & ((1 << POSITION_BITS) - 1)
    return UnreadableError(f"{source.path}, {source.kind.value} {position}, {found.what}.")


def _examine(work: Iterable[Job], workers: int) -> Iterator[list[Examined]]:
    """Every job's answer, in the order of the jobs: logs then mostly come in theirs."""
    work = iter(work)
    first = list(islice(work, JOBS_ALONE + 1))
    if workers < 2 or len(first) <= JOBS_ALONE:
        yield from map(do, chain(first, work))
        return
    # Spawned, never forked: the caller may have threads, and an open store.
    context = multiprocessing.get_context("spawn")
    others = workers - 1
    with ProcessPoolExecutor(others, mp_context=context) as pool:
        answers: deque[Future[list[Examined]] | list[Examined]] = deque()
        try:
            for job in chain(first, work):
                yield from _ready(answers, at_most=JOBS_BEHIND * workers)
                waiting = sum(isinstance(one, Future) and not one.done() for one in answers)
                ahead = waiting < JOBS_AHEAD * others
                answers.append(pool.submit(do, job) if ahead else do(job))
            yield from _ready(answers, at_most=0)
        finally:
            for one in answers:
                if isinstance(one, Future):
                    one.cancel()


def _ready(
    answers: deque[Future[list[Examined]] | list[Examined]], at_most: int
) -> Iterator[list[Examined]]:
    """Takes what is ready off the front; waits for more where over `at_most` are left."""
    while answers:
        first = answers[0]
        if isinstance(first, Future):
            if len(answers) <= at_most and not first.done():
                return
            first = first.result()
        answers.popleft()
        yield first
