"""Files as logs: everything that holds of all entries in them together."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from bamboo_compat.core.log import Logbook
from bamboo_compat.core.profiles import PROFILES, Profile
from bamboo_compat.core.report import LogReport
from bamboo_compat.files.processes import in_order
from bamboo_compat.files.reading import unreadable
from bamboo_compat.files.sources import Kind, Sources, UnreadableError, find_sources, jobs
from bamboo_compat.files.work import Unreadable, examine_job
from bamboo_compat.limits import MAX_ENTRIES, MAX_PROBLEMS


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read, how, and what was found."""

    report: LogReport
    sources: Sources
    profile: Profile
    partial: bool


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
    `on_entries` is told how many are done. Raises UnreadableError, ProcessEndedError, OSError.
    """
    sources = find_sources(paths)
    if profile is None:
        databases = all(source.kind is Kind.DATABASE for source in sources.files)
        profile = PROFILES["aquadoggo" if databases else "rfc0001"]
    with _nothing_thrown_away():
        report = _gather(sources, workers, on_entries).report(partial=partial, profile=profile)
    if not report.entries:
        raise UnreadableError(f"There is no entry in {', '.join(map(str, paths))}.")
    return Verified(report, sources, profile, partial)


def _gather(sources: Sources, workers: int, on_entries: Callable[[int], None]) -> Logbook:
    book = Logbook(MAX_PROBLEMS)
    done = 0
    for found in in_order(examine_job, chain.from_iterable(map(jobs, sources.files)), workers):
        for examined in found:
            if isinstance(examined, Unreadable):
                raise unreadable(sources, examined)
            book.add(examined)
        done += len(found)
        on_entries(done)
        if len(book) > MAX_ENTRIES:
            raise UnreadableError(f"There are over {MAX_ENTRIES:,} entries; verify fewer at once.")
    return book


@contextlib.contextmanager
def _nothing_thrown_away() -> Iterator[None]:
    """Without Python's search for garbage: what is gathered stays until the report is made,
    and looking through all of it again and again takes as long as gathering."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            _let_grow_old()
            gc.enable()


def _let_grow_old() -> None:
    """Else the next object made anywhere would start a search through everything gathered,
    before anyone has seen the report. Of old objects the next full search takes care."""
    if not gc.get_freeze_count():  # what somebody else has frozen stays so
        gc.freeze()
        gc.unfreeze()
