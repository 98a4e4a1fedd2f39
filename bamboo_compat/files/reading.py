"""Files as entries, each with its bytes and examined: for whoever puts them somewhere."""

from __future__ import annotations

from collections.abc import Generator
from itertools import chain

from bamboo_compat.core.report import Problem
from bamboo_compat.files.processes import in_order
from bamboo_compat.files.sources import Sources, UnreadableError, jobs
from bamboo_compat.files.work import Accepted, Unreadable, read_job


def read_files(
    sources: Sources, *, workers: int = 1
) -> Generator[list[Accepted | Problem], None, None]:
    """Everything in the files, in their order, a part of one at a time.

    What each is, is checked in `workers` processes, this one among them; of an entry that is
    refused there is the problem, and it says where. A part is read when it is asked for or
    shortly before, so memory has a bound whatever the size of the files. Close it
    to stop early (contextlib.closing). Raises UnreadableError once everything before what
    cannot be read has been given, ProcessEndedError, OSError.
    """
    work = chain.from_iterable(map(jobs, sources.files))
    for found in in_order(read_job, work, workers):
        yield [one for one in found if not isinstance(one, Unreadable)]
        if found and isinstance(last := found[-1], Unreadable):
            raise unreadable(sources, last)


def unreadable(sources: Sources, found: Unreadable) -> UnreadableError:
    """What to raise for what is no entry in any spelling."""
    return UnreadableError(f"{sources.place(found.where)}, {found.what}.")
