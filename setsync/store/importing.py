"""Entries of a file into the set: verified, put in order and committed, batch by batch.

Entries arrive in any order, and ids are hashes, so that each goes to another leaf of the trie. A
commit of a few thousand entries then touches nearly as many pages, and as many stay free
afterwards. So entries are gathered in windows, and each commit takes a part of a window in the
order of ids: at a million entries that takes two thirds of the time, and half of the free pages.
What is kept with an index of its own stays in the order of the file: an index of logs wants
entries after those that they link to.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter

from setsync.errors import ExportFileError, InvalidEntryError, PayloadTooLargeError
from setsync.limits import (
    IMPORT_COMMIT_BYTES,
    IMPORT_WINDOW_BYTES,
    IMPORT_WINDOW_ENTRIES,
    LARGE_IMPORT_WINDOW_ENTRIES,
    LARGE_SET_ENTRIES,
    VERIFY_JOB_BYTES,
    VERIFY_JOB_ENTRIES,
)
from setsync.model.checking import Outcome, verify_here
from setsync.model.entry import ID_BYTES, Entry, UnverifiedEntry
from setsync.model.formats import formats
from setsync.store.contract import EntryStore, Origin
from setsync.store.pace import Pace

OnCount = Callable[[int], None]


def _silent(_: int) -> None:
    """For those who need no progress."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file brought: entries in it, those that were new or known, payloads that known
    entries had lacked."""

    entries: int = 0
    new: int = 0
    known: int = 0
    payloads: int = 0


Verify = Callable[[Iterable[Sequence[UnverifiedEntry]]], Iterator[Iterable[Outcome]]]
"""Some verdicts at a time on the entries of many batches, in their order."""


def verify_in_turn(batches: Iterable[Sequence[UnverifiedEntry]]) -> Iterator[Iterable[Outcome]]:
    """In this process, each entry when its verdict is asked for."""
    return (map(verify_here, batch) for batch in batches)


def import_entries(
    store: EntryStore,
    entries: Iterable[UnverifiedEntry],
    max_payload: int,
    on_commit: OnCount = _silent,
    origin: Origin | None = None,
    *,
    verify: Verify = verify_in_turn,
    clock: Callable[[], float] = lambda: 0.0,
) -> Imported:
    """Verify and add entries, batch by batch; `on_commit` hears how many are durable, and by
    `clock`, in seconds, it is found how many are best committed together.

    It may be stopped at any moment and run again: what was committed stays, and nothing
    doubles. Raises ExportFileError and PayloadTooLargeError once everything in front of the
    fault is committed; StoreError.
    """
    total = Imported()
    pace = Pace(clock)
    file = _File(entries, max_payload)
    with store.snapshot() as snapshot:
        here = snapshot.entry_count
    for batch in _Windows(pace, here).batches(file.good(verify)):
        pace.begin()
        added = store.add_many(batch, [(0, origin)])
        pace.note(len(batch))
        total = Imported(
            total.entries + len(batch),
            total.new + len(added.new),
            total.known + added.known,
            total.payloads + added.payloads,
        )
        on_commit(total.entries)
    if file.fault is not None:
        raise file.fault
    return total


class _File:
    """The entries of a file, up to the first fault, which is kept."""

    def __init__(self, entries: Iterable[UnverifiedEntry], max_payload: int) -> None:
        self._entries = entries
        self._max_payload = max_payload
        self.fault: ExportFileError | PayloadTooLargeError | None = None

    def good(self, verify: Verify) -> Iterator[list[Entry]]:
        """Those that are valid, some at a time."""
        count = 0
        for outcomes in verify(self._jobs()):
            some: list[Entry] = []
            for outcome in outcomes:
                if type(outcome) is not Entry:
                    assert isinstance(outcome, InvalidEntryError)
                    self.fault = ExportFileError(
                        f"The export is damaged: after {count + len(some)} good entries comes a "
                        f"bad one. {outcome.message}"
                    )
                    self.fault.__cause__ = outcome
                    yield some
                    return
                some.append(outcome)
            count += len(some)
            yield some

    def _jobs(self) -> Iterator[list[UnverifiedEntry]]:
        """Batches to be verified, of a bounded size each."""
        job: list[UnverifiedEntry] = []
        size = 0
        try:
            for count, entry in enumerate(self._entries):
                payload = len(entry.payload or b"")
                if payload > self._max_payload:
                    raise PayloadTooLargeError(
                        f"After {count} good entries comes a payload of {payload} bytes; this "
                        f"node takes up to {self._max_payload} (SETSYNC_MAX_PAYLOAD)."
                    )
                job.append(entry)
                size += payload + len(entry.header)
                if len(job) == VERIFY_JOB_ENTRIES or size >= VERIFY_JOB_BYTES:
                    yield job
                    job, size = [], 0
        except (ExportFileError, PayloadTooLargeError) as error:
            self.fault = error
        if job:
            yield job


class _Windows:
    """One window is filled while the one before it is committed, a part whenever as much has
    come; so about one window is in memory."""

    def __init__(self, pace: Pace, here: int) -> None:
        self._pace = pace
        self._here = here
        self._indexed = {tag for tag, one in formats().items() if one.index() is not None}
        self._in_order: list[Entry] = []
        self._filling: list[Entry] = []
        # In the descending order of ids, so that the next to go are at the end.
        self._sorted: list[Entry] = []
        self._largest = 0

    def batches(self, entries: Iterable[list[Entry]]) -> Iterator[list[Entry]]:
        """What to commit together, all of it in the end."""
        size = due = due_size = 0
        for some in entries:
            self._sort_out(some)
            sizes = _sizes(some)
            some_size = sum(sizes)
            self._largest = max(self._largest, max(sizes, default=0))
            size += some_size
            due += len(some)
            due_size += some_size
            if due >= self._pace.most or due_size >= IMPORT_COMMIT_BYTES:
                due = due_size = 0
                yield from self._all(self._in_order[::-1])
                self._in_order.clear()
                if self._sorted:
                    yield self._part(self._sorted)
            if len(self._filling) >= self._most() or size >= IMPORT_WINDOW_BYTES:
                size = 0
                yield from self._all(self._sorted)
                self._turn()
        yield from self._all(self._in_order[::-1])
        yield from self._all(self._sorted)
        self._turn()
        yield from self._all(self._sorted)

    def _sort_out(self, some: list[Entry]) -> None:
        if self._indexed.isdisjoint([entry.header[0] for entry in some]):
            self._filling += some
            return
        for entry in some:
            is_indexed = entry.header[0] in self._indexed
            (self._in_order if is_indexed else self._filling).append(entry)

    def _most(self) -> int:
        is_large = self._here >= LARGE_SET_ENTRIES
        return LARGE_IMPORT_WINDOW_ENTRIES if is_large else IMPORT_WINDOW_ENTRIES

    def _turn(self) -> None:
        import numpy as np  # which `setsync export`, at home in the same module, does not need

        self._here += len(self._filling)
        # By collection, and then by the first 8 bytes of the ids: a batch is put in order anyway.
        ids = b"".join([entry.id for entry in self._filling])
        order = np.frombuffer(ids, ">u8")[:: ID_BYTES // 8].argsort()[::-1]
        self._sorted = [self._filling[at] for at in order.tolist()]
        self._sorted.sort(key=attrgetter("collection"), reverse=True)
        self._filling = []

    def _all(self, entries: list[Entry]) -> Iterator[list[Entry]]:
        while entries:
            yield self._part(entries)

    def _part(self, entries: list[Entry]) -> list[Entry]:
        """Takes one commit's entries off the end."""
        part = entries[: -self._pace.most - 1 : -1]
        if len(part) * self._largest > IMPORT_COMMIT_BYTES:
            ends = list(accumulate(_sizes(part)))
            part = part[: bisect_left(ends, IMPORT_COMMIT_BYTES) + 1]
        del entries[-len(part) :]
        return part


def _sizes(entries: Sequence[Entry]) -> list[int]:
    return [
        len(entry.header) + (0 if entry.payload is None else len(entry.payload))
        for entry in entries
    ]
