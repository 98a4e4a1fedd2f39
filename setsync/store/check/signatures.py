"""Signatures and payloads, on as many cores as there are: they take most of the time."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context

from setsync.errors import InvalidEntryError
from setsync.model.entry import UnverifiedEntry, verify
from setsync.store.check.report import Kind, Report


@dataclass(frozen=True, slots=True)
class Claim:
    """An entry whose signature and payload are to be checked."""

    arrival: int
    entry: UnverifiedEntry


Verdict = tuple[int, str, str]
"""Arrival number, the reason's name, the reason in words."""


def verify_claims(claims: Sequence[Claim]) -> list[Verdict]:
    """The verdict on each entry that is not good. Runs in this process or in another."""
    bad: list[Verdict] = []
    for claim in claims:
        try:
            verify(claim.entry)
        except InvalidEntryError as error:
            bad.append((claim.arrival, error.reason, error.message))
    return bad


class Verifier(ExitStack):
    """Verifies batches, in other processes if there are several, and reports in order."""

    def __init__(self, report: Report, workers: int) -> None:
        super().__init__()
        self._report = report
        self._most = 2 * workers
        self._pool: ProcessPoolExecutor | None = None
        self._running: list[Future[list[Verdict]]] = []
        if workers > 1:
            # Spawned, since an open LMDB must not be taken through a fork.
            self._pool = ProcessPoolExecutor(workers, get_context("spawn"), _leave_ctrl_c_to_parent)
            self.callback(self._pool.shutdown, cancel_futures=True)

    def verify(self, claims: Sequence[Claim]) -> None:
        """Verify a batch, now or soon."""
        self._report.signatures += len(claims)
        if self._pool is None:
            self._note(verify_claims(claims))
            return
        self._running.append(self._pool.submit(verify_claims, claims))
        if len(self._running) > self._most:
            self._note(self._running.pop(0).result())

    def finish(self) -> None:
        """Wait for all verdicts."""
        while self._running:
            self._note(self._running.pop(0).result())

    def _note(self, verdicts: Sequence[Verdict]) -> None:
        for arrival, reason, sentence in verdicts:
            if reason == "unknown_format":
                self._report.unknown += 1
            else:
                self._report.found(
                    Kind.ENTRY, f"Entry with arrival number {arrival}: {sentence} ({reason})"
                )


def _leave_ctrl_c_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
