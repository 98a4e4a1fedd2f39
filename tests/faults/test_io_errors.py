"""The disk fails one call, or every call for a while, or the process dies in the middle of one.

For each call that LMDB makes of the disk during an ingest, from making the store on: the error
is a sentence that names the store; what is on the disk then are the acknowledged batches, at
most one more, and nothing else; and the same process goes on, as the sentence told it to.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from setsync.errors import StoreError
from tests.faults.conftest import Opener
from tests.faults.forks import Forks
from tests.faults.shim import Fault
from tests.faults.work import open_store

_KINDS = {"StoreError", "StoreFullError"}
_FAILING = [fault for fault in Fault if fault is not Fault.KILLED]

# The very first write makes the file; cut short, it leaves one that nothing opens again. Its
# own test is below.
_MAKING = (1, Fault.SHORT)

Trial = tuple[int, Fault, bool]
"""Which call, how it goes wrong, and whether those after it do too."""


class Disk:
    """Runs ingests whose disk fails, and looks at what is left."""

    def __init__(self, behind: Forks, open_it: Opener, folder: Path, batches: int) -> None:
        self._behind = behind
        self._open = open_it
        self._folder = folder
        self._batches = batches
        self.reopened = 0
        self.failed = 0

    def calls(self) -> int:
        """How many calls of the disk an ingest makes."""
        store = self._folder / "counted"
        ended = self._behind.call("ingest", str(store), self._batches, 0, Fault.EIO, False)
        assert ended.result["errors"] == []
        return int(ended.result["calls"])

    def fail(self, trial: Trial) -> None:
        at, fault, lasting = trial
        store = self._folder / f"{at}-{fault.name}-{lasting}"
        ended = self._behind.call("ingest", str(store), self._batches, at, fault, lasting)
        assert (ended.signal, ended.traceback) == (0, ""), trial
        told = ended.result
        for kind, sentence in told["errors"]:
            assert kind in _KINDS, (trial, kind)
            assert str(store) in sentence, (trial, sentence)
        self.failed += bool(told["errors"])
        self.reopened += told["opened_again"]
        left = store.with_suffix(".left")
        if left.exists():
            self._holds(left, told["durable_at_first_error"], 1, trial)
        self._holds(store / "data.mdb", self._batches, 0, trial)
        self._tidy(store)

    def kill(self, at: int) -> None:
        trial = (at, Fault.KILLED, False)
        store = self._folder / f"{at}-killed"
        ended = self._behind.call("ingest", str(store), self._batches, *trial)
        assert ended.signal == 9, ended
        durable = store.with_suffix(".durable").stat().st_size
        if (store / "data.mdb").exists():
            self._holds(store / "data.mdb", durable, 1, trial)
        self._tidy(store)

    def _tidy(self, store: Path) -> None:
        """A thousand stores that were as they should be are not worth a gigabyte."""
        shutil.rmtree(store, ignore_errors=True)
        for suffix in (".left", ".durable"):
            store.with_suffix(suffix).unlink(missing_ok=True)

    def _holds(self, data: Path, durable: int, under_way: int, trial: Trial) -> None:
        """The first `durable` batches, at most `under_way` more, and all of it clean."""
        ended = self._open(data.read_bytes(), self._batches)
        assert (ended.signal, ended.traceback) == (0, ""), trial
        told = ended.result
        if durable <= 0 and told["outcome"] == "refused":
            return  # it was still being made, and held nothing
        assert told["outcome"] == "opened", (trial, told)
        assert told["damage"] == 0, (trial, told)
        assert told["batches"] is not None, (trial, "a part of a batch")
        assert durable <= told["batches"] <= durable + under_way, (trial, told)


def _all(calls: int) -> Iterator[Trial]:
    """Every call, every way."""
    for at, fault in itertools.product(range(1, calls + 1), _FAILING):
        if (at, fault) != _MAKING:
            yield at, fault, False
            yield at, fault, True


def _run(disk: Disk, trials: Iterable[Trial]) -> None:
    done = 0
    for trial in trials:
        disk.fail(trial)
        done += 1
    print(f"{done} trials, {disk.failed} met an error, {disk.reopened} opened the store again")
    assert disk.failed


def test_whatever_call_of_the_disk_fails_the_error_is_a_sentence_and_the_work_goes_on(
    behind: Forks, open_after_a_crash: Opener, tmp_path: Path
) -> None:
    disk = Disk(behind, open_after_a_crash, tmp_path, 8)
    trials = random.Random(20_261_122).sample(list(_all(disk.calls())), 25)
    _run(disk, trials)


def test_a_process_killed_in_the_middle_of_a_call_loses_nothing_that_was_acknowledged(
    behind: Forks, open_after_a_crash: Opener, tmp_path: Path
) -> None:
    disk = Disk(behind, open_after_a_crash, tmp_path, 8)
    for at in random.Random(20_261_122).sample(range(1, disk.calls() + 1), 20):
        disk.kill(at)


@pytest.fixture
def no_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python itself syncs, fails: folders, and copies. LMDB's own calls are as ever."""

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)


@pytest.mark.usefixtures("no_syncs")
def test_a_store_that_cannot_say_it_is_open_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written: Input/output error"):
        open_store(tmp_path / "store")


def test_a_new_store_whose_folder_cannot_be_synced_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("setsync.store.presence.sync_to_disk", lambda folder: None)
    request.getfixturevalue("no_syncs")
    with pytest.raises(StoreError):
        open_store(tmp_path / "store")


def test_a_copy_that_cannot_be_synced_is_refused_in_words(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with open_store(tmp_path / "store") as store:
        request.getfixturevalue("no_syncs")
        with pytest.raises(StoreError):
            store.copy(tmp_path / "copy")


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_every_call_of_the_disk_fails_in_every_way(
    behind: Forks, open_after_a_crash: Opener, tmp_path: Path
) -> None:
    disk = Disk(behind, open_after_a_crash, tmp_path, 20)
    _run(disk, _all(disk.calls()))
    assert disk.reopened, "a page of metadata that was not written ends LMDB's work"


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_five_hundred_kills_in_the_middle_of_a_call_lose_nothing(
    behind: Forks, open_after_a_crash: Opener, tmp_path: Path
) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    disk, chance = Disk(behind, open_after_a_crash, tmp_path, 24), random.Random(seed)
    calls = disk.calls()
    for _ in range(500):
        disk.kill(chance.randrange(1, calls + 1))
