"""One function over many jobs, in as many processes as one likes, answers in order.

Signatures take nearly all the time of whatever is done here. This process hands over, and
whenever all others have enough to do, it takes a job itself.
"""

from __future__ import annotations

import gc
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import Generic, NamedTuple, TypeVar

from bamboo_compat.files.sources import Job
from bamboo_compat.limits import JOB_BYTES, JOBS_AHEAD, JOBS_ALONE, JOBS_BEHIND
from setsync.errors import LocalError
from setsync.node.spawned import begin

A = TypeVar("A")
# New objects between two looks for circles, in a process that does jobs.
_SELDOM = 100_000


class ProcessEndedError(LocalError):
    """It may have been stopped from outside, or memory ran out; run it again, perhaps with
    --jobs 1."""

    code = "process_ended"


class _UnderWay(NamedTuple, Generic[A]):
    size: int
    answer: Future[A] | A


def in_order(function: Callable[[Job], A], work: Iterable[Job], workers: int) -> Iterator[A]:
    """Every job's answer, in the order of the jobs: logs then mostly come in theirs.

    Jobs are taken as answers are, so that what is under way has a bound; whoever stops
    taking answers closes the iterator, and the other processes end. `function` has to be one
    that another process can import. Raises ProcessEndedError.
    """
    work = iter(work)
    first = list(islice(work, JOBS_ALONE + 1))
    if workers < 2 or len(first) <= JOBS_ALONE:
        yield from map(function, chain(first, work))
        return
    # Spawned, never forked: the caller may have threads, and an open store.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers - 1, mp_context=context, initializer=_begin) as pool:
        under_way: deque[_UnderWay[A]] = deque()
        try:
            yield from _answers(pool, function, chain(first, work), workers, under_way)
        except BrokenProcessPool as error:
            raise ProcessEndedError("A process that checks signatures has ended.") from error
        finally:
            for one in under_way:
                if isinstance(one.answer, Future):
                    one.answer.cancel()


def _begin() -> None:
    """A job's answer is thousands of objects without a circle among them, so looking for
    circles often finds nothing."""
    begin()
    gc.freeze()
    gc.set_threshold(_SELDOM)


def _answers(
    pool: ProcessPoolExecutor,
    function: Callable[[Job], A],
    work: Iterable[Job],
    workers: int,
    under_way: deque[_UnderWay[A]],
) -> Iterator[A]:
    most = JOBS_BEHIND * workers * JOB_BYTES
    for job in work:
        yield from _ready(under_way, most)
        waiting = sum(_is_open(one.answer) for one in under_way)
        ahead = waiting < JOBS_AHEAD * (workers - 1)
        answer = pool.submit(function, job) if ahead else function(job)
        # A job of empty rows counts too: at the end, 0 left means that all are told.
        under_way.append(_UnderWay(max(1, job.size), answer))
    yield from _ready(under_way, 0)


def _is_open(answer: Future[A] | A) -> bool:
    return isinstance(answer, Future) and not answer.done()


def _ready(under_way: deque[_UnderWay[A]], most: int) -> Iterator[A]:
    """Takes what is ready off the front; waits for more where over `most` bytes are left."""
    left = sum(one.size for one in under_way)
    while under_way:
        size, answer = under_way[0]
        if isinstance(answer, Future):
            if left <= most and not answer.done():
                return
            answer = answer.result()
        under_way.popleft()
        left -= size
        yield answer
