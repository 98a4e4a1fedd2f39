"""Several processes on one store, processes that die, and directories that are not ours."""

from __future__ import annotations

import errno
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from setsync.errors import (
    DamagedStoreError,
    DataDirectoryError,
    NewerFormatError,
    StoreError,
)
from setsync.limits import MIB
from setsync.reconcile.digest import summarise
from setsync.store import layout, presence
from setsync.store.environment import verify_file
from setsync.store.lmdb_store import Store
from setsync.store.presence import Presence, refuse_network_filesystem
from tests.helpers import entries, sorted_ids
from tests.store.processes import hear, run_python, say, start_python

PAGE = 4096

_HOLDS = """
import sys
from setsync.store.lmdb_store import Store
from tests.helpers import entries
with Store.open(sys.argv[1]) as store:
    store.add_many(entries(100))
    print("ready", flush=True)
    sys.stdin.readline()
"""

_WRITES = """
import sys
from setsync.store.lmdb_store import Store
from tests.helpers import entries
low, high, step = map(int, sys.argv[2:])
some = entries(high)[low:]
print("ready", flush=True)
sys.stdin.readline()
with Store.open(sys.argv[1]) as store:
    for at in range(0, len(some), step):
        store.add_many(some[at:at + step])
"""


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The stores whose pages were walked on opening."""
    walked: list[Path] = []

    def verify(store: Path) -> None:
        walked.append(store)
        verify_file(store)

    monkeypatch.setattr(presence, "verify_file", verify)
    return walked


def die_holding(folder: Path) -> None:
    """A process opens the store, adds a hundred entries, and is killed."""
    with start_python(_HOLDS, folder) as process:
        assert hear(process) == "ready"
        process.send_signal(signal.SIGKILL)


def marks(folder: Path) -> list[Path]:
    return [path for path in (folder / "open").iterdir() if path.name != "gate"]


# --- several at once ----------------------------------------------------------------------


def test_two_processes_that_write_at_once_lose_nothing_and_agree(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with (
        start_python(_WRITES, folder, 0, 300, 7) as one,
        start_python(_WRITES, folder, 200, 500, 11) as two,
    ):
        for process in (one, two):
            assert hear(process) == "ready"
        for process in (one, two):
            say(process)
        for process in (one, two):
            assert process.wait(120) == 0
    with Store.open(folder, create=False) as store, store.snapshot() as snapshot:
        assert snapshot.collections() == [("notes", summarise(sorted_ids(entries(500))))]
        stored = snapshot.since(0, 1000)
        assert len(stored) == snapshot.entry_count == 500
        assert len({one.arrival for one in stored}) == 500
        assert stored[-1].arrival == snapshot.last_arrival


def test_what_another_process_added_is_seen_by_the_next_snapshot(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.add_many(entries(20))
        run_python(
            "import sys; from setsync.store.lmdb_store import Store\n"
            "from tests.helpers import entries\n"
            "with Store.open(sys.argv[1], create=False) as store: store.add_many(entries(50))",
            tmp_path,
        )
        with store.snapshot() as snapshot:
            assert snapshot.entry_count == 50
        assert store.add_many(entries(60)).known == 50


# --- unclean stops ------------------------------------------------------------------------


def test_a_store_that_was_left_in_order_is_opened_without_walking_its_pages(
    tmp_path: Path, verified: list[Path]
) -> None:
    for _ in range(2):
        with Store.open(tmp_path) as store:
            store.add_many(entries(10))
            assert len(marks(tmp_path)) == 1
        assert marks(tmp_path) == []
    assert verified == []


def test_after_a_kill_the_pages_are_walked_once_and_nothing_is_lost(
    tmp_path: Path, verified: list[Path]
) -> None:
    die_holding(tmp_path)
    assert len(marks(tmp_path)) == 1
    with Store.open(tmp_path, create=False) as store, store.snapshot() as snapshot:
        assert snapshot.collections() == [("notes", summarise(sorted_ids(entries(100))))]
    assert verified == [tmp_path]
    Store.open(tmp_path).close()
    assert verified == [tmp_path]


def test_after_a_kill_a_damaged_file_is_refused_every_time_and_never_mapped(
    tmp_path: Path, verified: list[Path]
) -> None:
    die_holding(tmp_path)
    path = tmp_path / "data.mdb"
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // PAGE):
        content[page * PAGE + 10] ^= 0x40  # the flags that say what kind of page it is
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(DamagedStoreError, match="not closed in order"):
            Store.open(tmp_path)
    assert len(verified) == 2
    assert path.read_bytes() == content
    assert len(marks(tmp_path)) == 1, "the dead one's mark, and none of ours"


def test_who_died_beside_a_living_process_is_tidied_away_without_a_walk(
    tmp_path: Path, verified: list[Path]
) -> None:
    with Store.open(tmp_path):
        die_holding(tmp_path)
        assert len(marks(tmp_path)) == 2
        with start_python(_HOLDS, tmp_path) as third:
            assert hear(third) == "ready"
            assert len(marks(tmp_path)) == 2
            say(third)
    assert marks(tmp_path) == []
    assert verified == []


def test_who_leaves_in_order_while_we_look_does_not_hide_who_died(
    tmp_path: Path, verified: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    die_holding(tmp_path)
    leaver = tmp_path / "open" / "999-leaves"
    leaver.touch()
    original = presence._state

    def leaves(path: Path) -> object:
        if path == leaver:
            leaver.unlink()
        return original(path)

    monkeypatch.setattr(presence, "_state", leaves)
    Store.open(tmp_path).close()
    assert verified == [tmp_path]


def test_a_presence_is_left_once_and_by_its_own_process_alone(tmp_path: Path) -> None:
    here = Presence(tmp_path)
    here._pid += 1  # as in a child made by fork()
    here.leave()
    assert len(marks(tmp_path)) == 1
    here._pid -= 1
    here.leave()
    here.leave()
    assert marks(tmp_path) == []


def test_who_could_not_open_a_store_is_nowhere_counted_as_somebody_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    Store.open(tmp_path).close()
    with monkeypatch.context() as disk:
        disk.setattr(presence, "sync_to_disk", fails)
        for _ in range(3):
            with pytest.raises(StoreError, match="Input/output error"):
                Presence(tmp_path)
    assert presence.look(tmp_path) == ([], [])
    assert marks(tmp_path) == []


def _damage(content: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(content)
    kind = chance.choice(["flip", "flips", "cut", "zeros", "swap"])
    if kind == "cut":
        return bytes(damaged[: chance.randrange(len(damaged))])
    if kind == "zeros":
        at = chance.randrange(len(damaged))
        damaged[at : at + 512] = bytes(len(damaged[at : at + 512]))
    elif kind == "swap":
        one, two = (chance.randrange(len(content) // PAGE) * PAGE for _ in range(2))
        damaged[one : one + PAGE] = content[two : two + PAGE]
    else:
        for _ in range(1 if kind == "flip" else 30):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


_OPENS = """
import sys
from pathlib import Path
from setsync.errors import StoreError
from setsync.store.lmdb_store import Store
from tests.helpers import entries
for folder in sorted(Path(sys.argv[1]).iterdir()):
    try:
        with Store.open(folder, leaf_capacity=4) as store:
            with store.snapshot() as snapshot:
                for name, _ in snapshot.collections():
                    view = snapshot.view(name)
                    view.ids(""), view.children("a"), snapshot.find("ab")
                snapshot.since(0, 1000)
            store.add_many(entries(230))
        print("opened")
    except StoreError as error:
        print(type(error).__name__)
"""


@pytest.mark.parametrize("seed", range(2))
def test_whatever_happened_to_the_file_opening_after_an_unclean_stop_ends_in_words(
    tmp_path: Path, seed: int
) -> None:
    """No signal, no foreign exception. What the walk cannot see (bytes inside an entry) is
    what `check` is for."""
    original = tmp_path / "original"
    with Store.open(original, leaf_capacity=4) as store:
        for low in range(0, 200, 20):
            store.add_many(entries(200)[low : low + 20])
    content = (original / "data.mdb").read_bytes()
    chance = random.Random(seed)
    for n in range(60):
        folder = tmp_path / "damaged" / f"{n:03}"
        (folder / "open").mkdir(parents=True)
        (folder / "open" / "1-died").touch()
        (folder / "data.mdb").write_bytes(_damage(content, chance))
    said = run_python(_OPENS, tmp_path / "damaged").splitlines()
    assert len(said) == 60
    assert set(said) == {"opened", "DamagedStoreError"}


# --- directories that are not ours --------------------------------------------------------


def test_six_processes_that_make_the_same_store_at_once_all_get_it(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet" / "here"
    processes = [start_python(_WRITES, folder, n, n + 20, 20) for n in range(6)]
    try:
        for process in processes:
            assert hear(process) == "ready"
        for process in processes:
            say(process)
        assert [process.wait(120) for process in processes] == [0] * 6
    finally:
        for process in processes:
            process.communicate()
    with Store.open(folder, create=False) as store, store.snapshot() as snapshot:
        assert snapshot.entry_count == 25


def test_a_store_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    Store.open(folder).close()
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "data.mdb").stat().st_mode & 0o077 == 0


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Path]:
    """A directory with somebody else's file in it, which must stay as it is."""
    (tmp_path / "letter.txt").write_text("mine")
    yield tmp_path
    assert (tmp_path / "letter.txt").read_text() == "mine"


def test_a_directory_that_holds_something_else_is_refused_and_left_alone(foreign: Path) -> None:
    with pytest.raises(DataDirectoryError, match=r"holds 'letter\.txt'"):
        Store.open(foreign)
    assert [path.name for path in foreign.iterdir()] == ["letter.txt"]


def test_a_file_and_a_missing_directory_are_refused(foreign: Path) -> None:
    for path in (foreign / "letter.txt", foreign / "letter.txt" / "store"):
        with pytest.raises(DataDirectoryError, match="cannot be used"):
            Store.open(path)
    with pytest.raises(DataDirectoryError, match="no store in"):
        Store.open(foreign / "missing", create=False)
    assert not (foreign / "missing").exists()


def test_what_a_store_leaves_that_died_while_it_was_made_is_ours(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "1-died").touch()
    (tmp_path / "lock.mdb").touch()
    (tmp_path / "data.mdb").touch()
    with Store.open(tmp_path) as store:
        assert store.add_many(entries(3)).known == 0


def test_an_lmdb_file_of_another_program_is_refused_and_not_changed(tmp_path: Path) -> None:
    with (
        lmdb.open(str(tmp_path), max_dbs=2, map_size=MIB) as other,
        other.begin(write=True) as transaction,
    ):
        transaction.put(b"key", b"value", db=other.open_db(b"table", txn=transaction))
    before = (tmp_path / "data.mdb").read_bytes()
    with pytest.raises(DataDirectoryError, match="not a setsync store"):
        Store.open(tmp_path)
    assert (tmp_path / "data.mdb").read_bytes() == before


def test_a_file_that_is_no_lmdb_file_is_damage(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"something else entirely " * 1000)
    with pytest.raises(DamagedStoreError):
        Store.open(tmp_path)


def test_a_store_of_a_newer_format_is_refused_and_not_changed(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        env = store.environment
        env.write(
            lambda transaction: transaction.put(
                layout.STATE_FORMAT, (2).to_bytes(4, "big"), db=env.table(layout.STATE)
            )
        )
    before = (tmp_path / "data.mdb").read_bytes()
    with pytest.raises(NewerFormatError, match="has format 2"):
        Store.open(tmp_path)
    assert (tmp_path / "data.mdb").read_bytes() == before
    assert marks(tmp_path) == []


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /mnt rw - tmpfs tmpfs rw
31 30 0:26 / /mnt/far\\040away rw,relatime shared:9 master:2 - nfs4 server:/export rw
32 31 0:27 / /mnt/far\\040away/near rw - ext4 /dev/vdb rw
33 30 0:28 / /mnt/hidden rw - cifs //server/share rw
34 33 0:29 / /mnt/hidden rw - xfs /dev/vdc rw
"""


@pytest.mark.parametrize(
    ("place", "refused"),
    [
        ("/var/lib/setsync", False),
        ("/mnt/store", False),
        ("/mnt/far away", True),
        ("/mnt/far away/a/b", True),
        ("/mnt/far away/near/store", False),
        ("/mnt/far", False),
        ("/mnt/hidden/store", False),
    ],
)
def test_a_network_filesystem_is_refused(tmp_path: Path, place: str, refused: bool) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    if refused:
        with pytest.raises(StoreError, match=r"network filesystem \(nfs4\)"):
            refuse_network_filesystem(Path(place), mounts)
    else:
        refuse_network_filesystem(Path(place), mounts)


def test_where_the_system_does_not_tell_of_mounts_nothing_is_refused(tmp_path: Path) -> None:
    refuse_network_filesystem(Path("/mnt"), tmp_path / "missing")
