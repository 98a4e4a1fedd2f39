"""A power cut at any moment loses nothing that was acknowledged.

A process adds batches to a store behind the shim and says of each when it is durable. From
the log of its writes come images of what a disk could hold after a cut; each is opened, in a
process of its own, as the store opens what a dead process left. The control is the same with
commits that do not wait for the disk: a tool that cannot see the difference proves nothing.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.conftest import WORK, Opener
from tests.faults.forks import ROOT, Ended
from tests.faults.powerloss import SECTOR, Cut, Disk, cuts
from tests.faults.shim import Event, Mark, Sync, Truncate, Write, before, read_log

BATCHES = 24


def recorded(shim: Path, folder: Path, how: str = "synced") -> tuple[list[Event], bytes]:
    """The events of one ingest, and the data file that came of it."""
    log, store = folder / "log", folder / "recorded"
    hear, say = os.pipe()
    subprocess.run(
        [sys.executable, "-m", WORK, store, str(BATCHES), str(say), how],
        cwd=ROOT,
        env=os.environ | before(shim, log=log, mark=say),
        pass_fds=[say],
        check=True,
        timeout=120,
    )
    os.close(say)
    with os.fdopen(hear, "rb") as pipe:
        said = pipe.read()
    events = read_log(log)
    assert b"".join(event.data for event in events if isinstance(event, Mark)) == said
    assert said.split() == [b"open", *(b"%d" % number for number in range(BATCHES))]
    return events, (store / "data.mdb").read_bytes()


def verdict(cut: Cut, ended: Ended) -> str:
    """What became of an image: "sound", or what is wrong with it."""
    if ended.signal or ended.traceback:
        return f"signal {ended.signal}" if ended.signal else ended.traceback
    told = ended.result
    if told["outcome"] != "opened":
        # Until a store was made, and said so, there is nothing yet that could be opened.
        return "sound" if not cut.said and told["exit_code"] == 6 else "not opened"
    if told["damage"]:
        return "damaged"
    if told["batches"] is None:
        return "holds what was never a state of the store"
    # "open" was said first, then the batches.
    return "sound" if told["batches"] >= len(cut.said) - 1 else "lost"


def verdicts(
    events: Sequence[Event], count: int, seed: int, open_it: Opener, sample: int | None = None
) -> Counter[str]:
    """How many images came out which way."""
    print(f"seed {seed}")
    found: Counter[str] = Counter()
    for cut in cuts(events, count, random.Random(seed)):
        ended = open_it(cut.image, BATCHES, sample)
        found[what := verdict(cut, ended)] += 1
        if what != "sound" and found[what] <= 2:
            print(f"{what}: cut at event {cut.events}, {len(cut.said)} said, {ended}")
    print(dict(found))
    return found


# --- the tools themselves -----------------------------------------------------------------


def test_the_log_is_the_whole_story_of_the_file(shim: Path, tmp_path: Path) -> None:
    """Replayed to its end it gives the file that the process left, byte for byte; and there
    are the calls that LMDB is known to make."""
    events, left = recorded(shim, tmp_path)
    disk = Disk()
    for event in events:
        disk.apply(event)
    assert disk.image(random.Random(1)) == left
    writes = [event for event in events if isinstance(event, Write)]
    assert sum(write.durable for write in writes) >= BATCHES, "one page of metadata a commit"
    assert sum(isinstance(event, Sync) for event in events) >= BATCHES


def test_what_was_synced_survives_every_cut_and_what_was_not_only_some() -> None:
    disk, chance = Disk(), random.Random(2)
    disk.apply(Write(0, b"a" * 2 * SECTOR, durable=False))
    disk.apply(Sync())
    disk.apply(Write(SECTOR, b"b" * 2 * SECTOR, durable=False))
    disk.apply(Write(2 * SECTOR, b"c" * SECTOR, durable=False))
    disk.apply(Write(4 * SECTOR, b"d" * 10, durable=True))
    seen = Counter(disk.image(chance) for _ in range(400))
    sectors = [{image[at * SECTOR] for image in seen} for at in range(5)]
    assert [bytes(sorted(one)) for one in sectors] == [b"a", b"ab", b"\0bc", b"\0", b"d"]
    assert len(seen) == 2 * 3, "every combination"


def test_a_sector_holds_one_of_the_contents_it_had_never_a_mixture() -> None:
    disk, chance = Disk(), random.Random(3)
    for letter in (b"a", b"b"):
        disk.apply(Write(0, letter * SECTOR, durable=False))
    disk.begin(Write(100, b"c" * 100, durable=True))
    seen = {disk.image(chance).ljust(SECTOR, b"\0") for _ in range(400)}
    last = b"b" * 100 + b"c" * 100 + b"b" * (SECTOR - 200)
    assert seen == {bytes(SECTOR), b"a" * SECTOR, b"b" * SECTOR, last}


def test_a_file_cut_short_is_short_after_the_cut() -> None:
    disk = Disk()
    disk.apply(Write(0, b"a" * 2_000, durable=False))
    disk.apply(Truncate(700))
    assert disk.image(random.Random(4)) == b"a" * 700


# --- the promise --------------------------------------------------------------------------


def test_a_hundred_power_cuts_lose_nothing_that_was_acknowledged(
    shim: Path, tmp_path: Path, open_after_a_crash: Opener
) -> None:
    events, _ = recorded(shim, tmp_path)
    assert verdicts(events, 100, 20_261_122, open_after_a_crash, sample=20) == {"sound": 100}


def test_the_tool_sees_what_commits_that_do_not_wait_for_the_disk_lose(
    shim: Path, tmp_path: Path, open_after_a_crash: Opener
) -> None:
    events, _ = recorded(shim, tmp_path, "unsynced")
    found = verdicts(events, 40, 20_261_123, open_after_a_crash, sample=20)
    assert found["sound"] <= 20, "at least half of the images must be found out"


def test_the_tool_sees_a_commit_that_waited_for_all_but_its_last_page(
    shim: Path, tmp_path: Path, open_after_a_crash: Opener
) -> None:
    """The finest of such faults: no file is ever damaged, and some acknowledged batch is gone."""
    events, _ = recorded(shim, tmp_path, "half synced")
    found = verdicts(events, 40, 20_261_124, open_after_a_crash, sample=20)
    assert set(found) == {"sound", "lost"}
    assert found["lost"] >= 5


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_two_thousand_power_cuts_lose_nothing_that_was_acknowledged(
    shim: Path, tmp_path: Path, open_after_a_crash: Opener
) -> None:
    seed = random.SystemRandom().getrandbits(32)
    for part in range(4):
        folder = tmp_path / f"{part}"
        folder.mkdir()
        events, _ = recorded(shim, folder)
        assert verdicts(events, 500, seed + part, open_after_a_crash) == {"sound": 500}


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_of_four_hundred_cuts_without_waiting_for_the_disk_most_are_found_out(
    shim: Path, tmp_path: Path, open_after_a_crash: Opener
) -> None:
    events, _ = recorded(shim, tmp_path, "unsynced")
    seed = random.SystemRandom().getrandbits(32)
    found = verdicts(events, 400, seed, open_after_a_crash)
    assert found["sound"] <= 200
