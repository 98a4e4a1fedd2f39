"""Compacting a store while the disk fails: plain functions for `tests.faults.forks`."""

from __future__ import annotations

from pathlib import Path

from setsync.errors import SetsyncError
from setsync.store import compact as compacting
from setsync.store.compact import compact
from tests.faults.shim import Fault, arm, counted
from tests.faults.work import Told


def warm_up() -> None:
    """Small transactions, so that there are many."""
    compacting._BATCH_BYTES = 20_000


def compact_it(folder: str, at: int, fault: int, lasting: bool) -> Told:
    """Compact a store while the `at`-th call of the disk fails."""
    arm(at, Fault(fault), lasting=lasting)
    try:
        compact(Path(folder))
    except SetsyncError as error:
        return {"calls": counted(), "kind": type(error).__name__, "message": str(error)}
    return {"calls": counted(), "kind": "", "message": ""}
