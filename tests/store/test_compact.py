"""A compacted store says what it said before, in less room, whatever happens meanwhile.

Other processes are real, and killed where it is said; nobody waits for time to pass.
"""

from __future__ import annotations

import itertools
import os
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from setsync import limits
from setsync.errors import (
    DamagedStoreError,
    DataDirectoryError,
    StoreError,
    StoreFullError,
    StoreInUseError,
)
from setsync.limits import GIB, MIB, TIB
from setsync.model.entry import Entry, make_entry
from setsync.store import compact as compacting
from setsync.store.check import check
from setsync.store.compact import compact, sizes
from setsync.store.contract import Origin
from setsync.store.environment import DATA_FILE, LOCK_FILE, ClosedFile, verify_file
from setsync.store.lmdb_store import Store
from setsync.store.presence import DRAFT, FOLDER
from setsync.store.turns import had_within
from tests.bamboo.histories import member
from tests.bamboo.logs import Author
from tests.helpers import MIDNIGHT, entries, keys, some_bytes
from tests.store.processes import hear, run_python, say, start_python

PATIENCE = 60.0
PEER = some_bytes("peer", "anna")

_KILLED = """
import os, signal, sys
from pathlib import Path
from setsync.store import compact
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
where, phase = sys.argv[2], None
if where in ("exporting", "checking"):
    phase = where
elif where.startswith("after "):
    before = getattr(compact, where[6:])
    def and_die(*arguments):
        before(*arguments)
        die()
    setattr(compact, where[6:], and_die)
else:
    setattr(compact, where, die)
compact.compact(Path(sys.argv[1]), lambda now, done, total: die() if now == phase else None)
"""

_WITHOUT_SPACE = """
import resource, sys
from pathlib import Path
from setsync.store.compact import compact
resource.setrlimit(resource.RLIMIT_AS, (100 << 30, 100 << 30))
assert compact(Path(sys.argv[1])).after
"""

_HAS_IT_OPEN = """
import sys
from setsync.store.lmdb_store import Store
with Store.open(sys.argv[1]):
    print("open", flush=True)
    sys.stdin.readline()
"""

_LMDB_HAS_IT_OPEN = """
import sys, lmdb
with lmdb.open(sys.argv[1], max_dbs=32, map_size=1 << 30):
    print("open", flush=True)
    sys.stdin.readline()
"""

_COMES_AND_DOES_NOT_WAIT = """
import sys
from setsync import limits
from setsync.errors import StoreBusyError
from setsync.store.lmdb_store import Store
limits.WRITE_LOCK_SECONDS = 0.2
try:
    Store.open(sys.argv[1])
except StoreBusyError as error:
    print(error)
"""

_COMES_AND_ADDS = """
import sys
from setsync.store.lmdb_store import Store
from tests.helpers import entries
print("here", flush=True)
with Store.open(sys.argv[1]) as store:
    print(len(store.add_many(entries(30, "later")).new), flush=True)
"""

_LMDB_COMES = """
import sys, lmdb
try:
    lmdb.open(sys.argv[1], max_dbs=32, map_size=1 << 30)
    print("open")
except lmdb.Error:
    print("refused")
"""


def some_entries(count: int, size: int = 300) -> list[Entry]:
    (author,) = keys(1)
    return [
        make_entry(author, f"notes/{at % 3}", some_bytes(at, length=size), MIDNIGHT + at)
        for at in range(count)
    ]


def grown(path: Path, count: int = 600, size: int = 300) -> list[Entry]:
    """A store that many small batches grew, a third of whose payloads were dropped since."""
    some = some_entries(count, size)
    with Store.open(path) as store:
        for at in range(0, count, 20):
            store.add_many(some[at : at + 20], [(0, Origin(MIDNIGHT + at, PEER))])
        store.drop_many([(one.collection, one.id) for one in some[::3]])
    return some


def rows(path: Path) -> dict[bytes, list[tuple[bytes, bytes]]]:
    """Everything that a closed store says."""
    with ClosedFile(path) as file:
        return {table: list(file.rows(table)) for table in file.tables()}


def is_whole(path: Path, wanted: dict[bytes, list[tuple[bytes, bytes]]]) -> None:
    """Nothing is lost, nothing damaged, and nothing of ours left over."""
    with Store.open(path, create=False) as store:
        assert check(store).findings == []
    verify_file(path)
    assert rows(path) == wanted
    assert {item.name for item in path.iterdir()} <= {
        DATA_FILE,
        LOCK_FILE,
        "writer.lock",
        FOLDER,
    }


def test_a_compacted_store_says_the_same_in_less_room(tmp_path: Path) -> None:
    grown(tmp_path)
    before = rows(tmp_path)
    found = compact(tmp_path)
    assert found.after < found.before
    assert (tmp_path / DATA_FILE).stat().st_size == found.after
    is_whole(tmp_path, before)


def test_tables_of_guests_are_kept(tmp_path: Path) -> None:
    author = Author()
    with Store.open(tmp_path) as store:
        for record in author.grow(40):
            store.add_many([member(record)])
    before = rows(tmp_path)
    assert any(name.startswith(b"bamboo.") for name in before)
    compact(tmp_path)
    is_whole(tmp_path, before)


def test_what_small_payloads_took_is_given_back_though_it_frees_no_page(tmp_path: Path) -> None:
    """LMDB's own compact copy would keep the pages of the log as empty as they are."""
    some = grown(tmp_path, size=200)
    compact(tmp_path)
    with Store.open(tmp_path) as store:
        before = sizes(store).after
        store.drop_many([(one.collection, one.id) for one in some])
        copied = sizes(store).after
    freed = sum(len(one.payload or b"") for one in some[1::3] + some[2::3])
    assert before - copied < 0.1 * freed
    assert before - compact(tmp_path).after > 0.8 * freed


def test_what_compacting_would_save_at_least_is_told_beside_others(tmp_path: Path) -> None:
    grown(tmp_path, size=6_000)
    with Store.open(tmp_path) as store:
        told = sizes(store)
        assert told.before == store.bytes_on_disk
        store.copy(tmp_path / "copy", compact=True)
    assert (tmp_path / "copy" / DATA_FILE).stat().st_size == told.after
    # What each of a new file's transactions leaves free, a few pages.
    assert compact(tmp_path).after <= told.after + 16 * 4096


def test_a_second_time_there_is_nothing_to_give_back(tmp_path: Path) -> None:
    grown(tmp_path)
    after = compact(tmp_path).after
    inode = (tmp_path / DATA_FILE).stat().st_ino
    again = compact(tmp_path)
    assert (again.before, again.after) == (after, after)
    assert (tmp_path / DATA_FILE).stat().st_ino == inode


@pytest.mark.parametrize("map_size", [TIB, GIB])
def test_the_map_stays_as_it_was(tmp_path: Path, map_size: int) -> None:
    with Store.open(tmp_path, map_size=map_size) as store:
        store.add_many(some_entries(300))
    with ClosedFile(tmp_path) as file:
        assert file.map_size == map_size
    compact(tmp_path, map_size=map_size)
    with ClosedFile(tmp_path) as file:
        assert file.map_size == map_size


def test_a_map_that_is_nearly_full_does_not_keep_it_from_that(tmp_path: Path) -> None:
    some = some_entries(900, 900)
    with Store.open(tmp_path, map_size=MIB) as store:
        for at in range(0, len(some), 100):
            store.add_many(some[at : at + 100])
    before = rows(tmp_path)
    compact(tmp_path, map_size=MIB)
    is_whole(tmp_path, before)


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux alone")
def test_where_little_address_space_is_given_it_takes_less_of_it(tmp_path: Path) -> None:
    grown(tmp_path)
    before = rows(tmp_path)
    run_python(_WITHOUT_SPACE, tmp_path)
    is_whole(tmp_path, before)


def test_who_may_read_the_file_may_read_it_afterwards(tmp_path: Path) -> None:
    grown(tmp_path)
    (tmp_path / DATA_FILE).chmod(0o640)
    compact(tmp_path)
    assert stat.S_IMODE((tmp_path / DATA_FILE).stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_compacts_still_belongs_to_whom_it_belonged(tmp_path: Path) -> None:
    grown(tmp_path)
    os.chown(tmp_path / DATA_FILE, 12_345, 23_456)
    compact(tmp_path)
    about = (tmp_path / DATA_FILE).stat()
    assert (about.st_uid, about.st_gid) == (12_345, 23_456)


# --- alone --------------------------------------------------------------------------------


def refused(path: Path, match: str) -> None:
    """It is refused, and the file is the same one."""
    inode, size = (about := (path / DATA_FILE).stat()).st_ino, about.st_size
    with pytest.raises(StoreInUseError, match=match):
        compact(path)
    about = (path / DATA_FILE).stat()
    assert (about.st_ino, about.st_size) == (inode, size)


def test_it_is_refused_while_another_process_has_the_store_open(tmp_path: Path) -> None:
    grown(tmp_path)
    with start_python(_HAS_IT_OPEN, tmp_path) as process:
        assert hear(process) == "open"
        refused(tmp_path, f"is open in process {process.pid}\\.")
        say(process)
    found = compact(tmp_path)
    assert found.after < found.before


def test_it_is_refused_while_a_stopped_process_has_the_store_open(tmp_path: Path) -> None:
    grown(tmp_path)
    with start_python(_HAS_IT_OPEN, tmp_path) as process:
        assert hear(process) == "open"
        process.send_signal(signal.SIGSTOP)
        refused(tmp_path, str(process.pid))
        process.kill()
    before = rows(tmp_path)
    compact(tmp_path)
    is_whole(tmp_path, before)


def test_it_is_refused_while_this_process_has_the_store_open(tmp_path: Path) -> None:
    grown(tmp_path)
    with Store.open(tmp_path), pytest.raises(StoreError):
        compact(tmp_path)


def test_it_is_refused_while_another_program_has_the_file_open(tmp_path: Path) -> None:
    grown(tmp_path)
    with start_python(_LMDB_HAS_IT_OPEN, tmp_path) as process:
        assert hear(process) == "open"
        refused(tmp_path, "a program that is not setsync")
        say(process)
    assert compact(tmp_path).after > 0


def once(phase: str, work: Callable[[], None]) -> compacting.OnSteps:
    """Does something at the first step of a phase."""
    phases: set[str] = set()

    def heard(now: str, done: int, total: int) -> None:
        if now == phase and now not in phases:
            phases.add(now)
            work()

    return heard


@pytest.mark.parametrize("phase", ["exporting", "checking"])
def test_who_comes_meanwhile_does_not_get_in_and_is_told_by_whom(
    tmp_path: Path, phase: str
) -> None:
    grown(tmp_path)
    told: list[str] = []
    compact(
        tmp_path, once(phase, lambda: told.append(run_python(_COMES_AND_DOES_NOT_WAIT, tmp_path)))
    )
    assert f"process {os.getpid()} holds it" in told[0]
    assert "verifies or compacts it" in told[0]


def test_who_comes_meanwhile_waits_and_goes_on_in_the_new_file(tmp_path: Path) -> None:
    grown(tmp_path)
    came = []

    def come() -> None:
        came.append(start_python(_COMES_AND_ADDS, tmp_path))
        assert hear(came[0]) == "here"

    compact(tmp_path, once("exporting", come))
    with came[0] as process:
        assert hear(process) == "30"
    with Store.open(tmp_path) as store:
        assert len(list(store)) == 630
        assert check(store).findings == []


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who waits for a lock")
def test_another_program_that_waits_for_lmdbs_lock_gets_no_old_file(tmp_path: Path) -> None:
    """It would go on counting transactions where the old file was."""
    grown(tmp_path)
    before = rows(tmp_path)
    came = []

    def come() -> None:
        came.append(start_python(_LMDB_COMES, tmp_path))
        assert had_within(PATIENCE, lambda: _waits_for_a_lock(came[0].pid))

    compact(tmp_path, once("checking", come))
    with came[0] as process:
        assert hear(process) == "refused"
    is_whole(tmp_path, before)


def _waits_for_a_lock(process: int) -> bool:
    lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    return any("->" in line and f" {process} " in line for line in lines)


# --- whatever happens ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [
        "_refuse_small_disk",
        "exporting",
        "_finish",
        "after _finish",
        "checking",
        "after _verify_pages",
        "after _compare",
        "sync_to_disk",
        "after sync_to_disk",
        "remove_draft",
    ],
)
def test_a_kill_at_any_point_leaves_one_whole_file_and_the_next_run_tidies_up(
    tmp_path: Path, where: str
) -> None:
    grown(tmp_path)
    before = rows(tmp_path)
    with start_python(_KILLED, tmp_path, where) as process:
        process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL
    is_whole(tmp_path, before)
    compact(tmp_path)
    is_whole(tmp_path, before)


def test_some_of_those_kills_leave_something_to_tidy_up(tmp_path: Path) -> None:
    grown(tmp_path)
    with start_python(_KILLED, tmp_path, "after _finish") as process:
        process.communicate(timeout=PATIENCE)
    assert (tmp_path / DRAFT / DATA_FILE).stat().st_size > 0
    with Store.open(tmp_path):
        assert not (tmp_path / DRAFT).exists()


def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    grown(tmp_path)
    before, inode = rows(tmp_path), (tmp_path / DATA_FILE).stat().st_ino

    def interrupt() -> None:
        raise KeyboardInterrupt

    for phase in ("exporting", "checking"):
        with pytest.raises(KeyboardInterrupt):
            compact(tmp_path, once(phase, interrupt))
        assert (tmp_path / DATA_FILE).stat().st_ino == inode
        assert not (tmp_path / DRAFT).exists()
        is_whole(tmp_path, before)


def test_a_disk_without_room_for_the_new_file_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown(tmp_path)
    inode = (tmp_path / DATA_FILE).stat().st_ino
    monkeypatch.setattr(compacting, "OWN_RESERVE", 2**62)
    with pytest.raises(StoreFullError, match="beside the old one"):
        compact(tmp_path)
    assert (tmp_path / DATA_FILE).stat().st_ino == inode
    assert not (tmp_path / DRAFT).exists()


@pytest.mark.parametrize("what", ["payload", "page"])
def test_a_new_file_that_the_disk_spoils_never_takes_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A flipped bit of a payload leaves all of LMDB's structure as it should be."""
    some = grown(tmp_path)
    before = rows(tmp_path)
    finish = compacting._finish

    def spoil(file: Path, like: os.stat_result) -> None:
        content = bytearray(file.read_bytes())
        at = content.index(some[1].payload or b"")
        # A page begins with its own number.
        content[at if what == "payload" else at // 4096 * 4096] ^= 1
        file.write_bytes(content)
        finish(file, like)

    monkeypatch.setattr(compacting, "_finish", spoil)
    with pytest.raises(StoreError, match="new file"):
        compact(tmp_path)
    is_whole(tmp_path, before)


def test_a_link_in_place_of_the_file_is_left_alone(tmp_path: Path) -> None:
    grown(tmp_path / "here")
    (tmp_path / "here" / DATA_FILE).rename(tmp_path / "there")
    (tmp_path / "here" / DATA_FILE).symlink_to(tmp_path / "there")
    with pytest.raises(StoreError, match="is a link"):
        compact(tmp_path / "here")
    assert (tmp_path / "here" / DATA_FILE).is_symlink()


def test_what_is_no_store_or_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryError):
        compact(tmp_path)
    with lmdb.open(str(tmp_path / "other"), max_dbs=2, map_size=MIB) as environment:
        environment.open_db(b"theirs")
    with pytest.raises(DataDirectoryError):
        compact(tmp_path / "other")
    grown(tmp_path / "store")
    with start_python(_KILLED, tmp_path / "store", "exporting") as process:
        process.communicate(timeout=PATIENCE)
    (tmp_path / "store" / FOLDER / "1-dead").touch()
    with (tmp_path / "store" / DATA_FILE).open("r+b") as file:
        file.truncate(5 * 4096)
    with pytest.raises(DamagedStoreError):
        compact(tmp_path / "store")


def test_while_it_runs_it_is_told_how_far_it_is(tmp_path: Path) -> None:
    grown(tmp_path)
    steps: list[tuple[str, int, int]] = []
    compact(tmp_path, lambda *step: steps.append(step))
    total = sum(map(len, rows(tmp_path).values()))
    assert {step[2] for step in steps} == {total}
    for phase, told in itertools.groupby(steps, key=lambda step: step[0]):
        done = [step[1] for step in told]
        assert done == sorted(done), phase
        assert done[-1] == total
    assert [phase for phase, _ in itertools.groupby(steps, key=lambda step: step[0])] == [
        "exporting",
        "checking",
    ]


def test_the_gate_is_free_again_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grown(tmp_path)
    compact(tmp_path)
    monkeypatch.setattr(limits, "WRITE_LOCK_SECONDS", 0.0)
    with Store.open(tmp_path) as store:
        assert len(store.add_many(entries(3, "later")).new) == 3
