"""Whatever call of the disk fails while a store is compacted, all that is in it stays in it.

For each write, truncation and sync that it makes: the error is a sentence, or the process dies in
the middle of the call; what is there afterwards is the old file or the new one, and says what the
old one said.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from setsync.store.check import check
from setsync.store.environment import ClosedFile, verify_file
from setsync.store.lmdb_store import Store
from setsync.store.presence import DRAFT
from tests.faults.forks import Forks
from tests.faults.shim import Fault, before
from tests.faults.work import CAPACITY, batch, open_store

_BATCHES = 25
_FAILING = [fault for fault in Fault if fault is not Fault.KILLED]

Rows = dict[bytes, list[tuple[bytes, bytes]]]


def rows(path: Path) -> Rows:
    """Everything that a closed store says."""
    with ClosedFile(path) as file:
        return {table: list(file.rows(table)) for table in file.tables()}


class Disk:
    """Compacts copies of one store while something fails, and looks at what is left."""

    def __init__(self, forks: Forks, folder: Path) -> None:
        self._forks = forks
        self._folder = folder
        self._store = folder / "store"
        with open_store(self._store) as store:
            for number in range(_BATCHES):
                store.add_many(batch(number))
            store.drop_many([(one.collection, one.id) for one in batch(2) + batch(7)])
        self._rows = rows(self._store)
        self.refused = self.killed = 0

    def calls(self) -> int:
        """How many calls of the disk there are, when none fails."""
        [told] = [self._forks.call("compact_it", str(self._copy()), 0, Fault.EIO, False).result]
        assert told["kind"] == ""
        return int(told["calls"])

    def fail(self, at: int, fault: Fault, *, lasting: bool = False) -> None:
        trial = (at, fault, lasting)
        store = self._copy()
        ended = self._forks.call("compact_it", str(store), at, fault, lasting)
        assert ended.traceback == "", trial
        if fault is Fault.KILLED:
            assert ended.signal == 9, trial
            self.killed += 1
        else:
            assert ended.signal == 0, trial
            assert ended.result["kind"] in ("StoreError", "StoreFullError", ""), trial
            self.refused += bool(ended.result["kind"])
            assert not (store / DRAFT).exists(), trial
        self._says_the_same(store)

    def _copy(self) -> Path:
        store = self._folder / "copy"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(self._store, store)
        return store

    def _says_the_same(self, path: Path) -> None:
        with Store.open(path, create=False, leaf_capacity=CAPACITY) as store:
            assert check(store, sample=0).findings == []
        assert not (path / DRAFT).exists()
        verify_file(path)
        assert rows(path) == self._rows


@pytest.fixture
def disk(shim: Path, tmp_path: Path) -> Iterator[Disk]:
    with Forks("tests.faults.compacting", before(shim)) as forks:
        yield Disk(forks, tmp_path)


def test_a_kill_in_any_call_of_the_disk_leaves_all_that_was_there(disk: Disk) -> None:
    calls = disk.calls()
    for at in range(1, calls + 1):
        disk.fail(at, Fault.KILLED)
    assert disk.killed == calls > 30


def test_whatever_call_of_the_disk_fails_the_error_is_a_sentence_and_nothing_is_lost(
    disk: Disk,
) -> None:
    """A sample of them; the soak takes all."""
    calls, chance = disk.calls(), random.Random(20_261_123)
    for _ in range(60):
        at, fault = chance.randint(1, calls), chance.choice(_FAILING)
        disk.fail(at, fault, lasting=chance.choice([False, True]))
    assert disk.refused > 50


@pytest.mark.soak
def test_every_call_of_the_disk_may_fail_in_every_way(disk: Disk) -> None:
    for at in range(1, disk.calls() + 1):
        for fault in _FAILING:
            disk.fail(at, fault)
            disk.fail(at, fault, lasting=True)
