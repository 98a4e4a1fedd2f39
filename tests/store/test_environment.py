"""LMDB opened the one safe way: growth, readers, threads, fork, its errors in our words."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import lmdb
import pytest

from setsync.errors import DamagedStoreError, StoreError, StoreFullError
from setsync.limits import KIB, MIB
from setsync.model.entry import Entry, make_entry
from setsync.store import environment, lmdb_store
from setsync.store.environment import Environment, Transaction
from setsync.store.lmdb_store import LmdbSnapshot, Store
from tests.helpers import MIDNIGHT, entries, keys, sorted_ids
from tests.store.laws import check_laws
from tests.store.processes import hear, run_python, say, start_python

PREFIXES = ["", "0", "ab", "abc"]
LONG = 60
DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Environment]:
    opened = Environment(tmp_path, map_size=MIB)
    opened.open_tables([b"t"])
    yield opened
    opened.close()


def put(env: Environment, key: bytes, value: bytes) -> None:
    env.write(lambda transaction: transaction.put(key, value, db=env.table(b"t")))


def get(env: Environment, key: bytes) -> bytes | None:
    with env.read() as transaction:
        return transaction.get(key, db=env.table(b"t"))


def big(n: int, size: int) -> list[Entry]:
    """Entries with payloads of `size` bytes."""
    return [make_entry(keys(1)[0], "notes", bytes([i]) * size, MIDNIGHT + i) for i in range(n)]


def check_notes(snapshot: LmdbSnapshot, some: tuple[Entry, ...]) -> None:
    view = snapshot.view("notes")
    assert view is not None
    check_laws(view, sorted_ids(some), prefixes=PREFIXES)


def all_done(*futures: Future[None]) -> None:
    for future in futures:
        future.result(timeout=LONG)


# --- growth -------------------------------------------------------------------------------


def _grow(folder: Path, start: int, doublings: int, value: int) -> None:
    env = Environment(folder, map_size=start)
    env.open_tables([b"t"])
    written = 0
    while env.map_size < start << doublings:
        put(env, written.to_bytes(4, "big"), written.to_bytes(4, "big") * (value // 4))
        written += 1
        for number in {0, written // 2, written - 1}:
            found = get(env, number.to_bytes(4, "big"))
            assert found == number.to_bytes(4, "big") * (value // 4)
    env.close()


def test_a_small_map_doubles_eleven_times_and_the_caller_sees_nothing_of_it(
    tmp_path: Path,
) -> None:
    _grow(tmp_path, 64 * KIB, 11, 2 * MIB)


@pytest.mark.soak
def test_a_map_of_1_mib_doubles_eleven_times_and_the_caller_sees_nothing_of_it(
    tmp_path: Path,
) -> None:
    _grow(tmp_path, MIB, 11, 16 * MIB)


def test_a_batch_that_needs_several_doublings_arrives_whole(tmp_path: Path) -> None:
    with Store.open(tmp_path, map_size=MIB) as store:
        store.add_many(entries(50))
        assert len(store.add_many(big(60, 200_000)).new) == 60
        assert store.map_size >= 16 * MIB
        with store.snapshot() as snapshot:
            assert snapshot.entry_count == 110
            assert [one.payload for one in snapshot.since(50, 100)] == [
                entry.payload for entry in big(60, 200_000)
            ]


@pytest.fixture
def growing(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set as soon as somebody wants to move the map."""
    event = threading.Event()
    original = Environment._resize

    def announced(env: Environment, size: int) -> None:
        event.set()
        original(env, size)

    monkeypatch.setattr(Environment, "_resize", announced)
    return event


def test_growth_waits_for_a_reader_in_flight_which_reads_on_undisturbed(
    tmp_path: Path, growing: threading.Event
) -> None:
    some = entries(200)
    with Store.open(tmp_path, map_size=MIB) as store, ThreadPoolExecutor(2) as pool:
        store.add_many(some)
        reading, written = threading.Event(), threading.Event()

        def read() -> None:
            with store.snapshot() as snapshot:
                reading.set()
                assert growing.wait(LONG)
                check_notes(snapshot, some)
                with store.snapshot() as second:  # who reads already may read more
                    check_notes(second, some)
                assert not written.is_set()

        def write() -> None:
            assert reading.wait(LONG)
            store.add_many(big(40, 100_000))
            written.set()

        all_done(pool.submit(read), pool.submit(write))
        assert written.is_set()
        with store.snapshot() as snapshot:
            assert snapshot.entry_count == 240


def test_a_write_inside_a_snapshot_of_its_own_thread_is_refused_when_the_map_must_grow(
    tmp_path: Path,
) -> None:
    with Store.open(tmp_path, map_size=MIB) as store:
        store.add_many(entries(20))
        with store.snapshot() as snapshot:
            with pytest.raises(StoreFullError, match="open snapshot keeps it"):
                store.add_many(big(20, 100_000))
            check_notes(snapshot, entries(20))
        assert len(store.add_many(big(20, 100_000)).new) == 20


_GROWS = """
import sys
from setsync.store.lmdb_store import Store
from tests.store.test_environment import big
with Store.open(sys.argv[1]) as store:
    for line in sys.stdin:
        print(len(store.add_many(big(int(line), 100_000)).new), flush=True)
"""


def test_a_map_that_another_process_grew_is_adopted_by_many_readers_at_once_and_by_writers(
    tmp_path: Path,
) -> None:
    with Store.open(tmp_path, map_size=MIB) as store, start_python(_GROWS, tmp_path) as other:
        store.add_many(entries(50))
        say(other, "40")
        assert hear(other) == "40"
        together = threading.Barrier(8)

        def read() -> None:
            together.wait(LONG)
            with store.snapshot() as snapshot:
                assert snapshot.entry_count == 90

        with ThreadPoolExecutor(8) as pool:
            all_done(*[pool.submit(read) for _ in range(8)])
        say(other, "100")
        assert hear(other) == "60"
        store.add_many(entries(60))
        assert store.last_arrival() >= 160
        other.communicate(timeout=LONG)


def test_who_reads_while_another_thread_has_adopted_a_grown_map_and_writes_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find the map too small at one moment, and the writer is faster."""
    adopting, writing, read = threading.Event(), threading.Event(), threading.Event()
    original = Environment._resize

    def late(env: Environment, size: int) -> None:
        if not adopting.is_set():
            adopting.set()
            assert writing.wait(LONG)
        original(env, size)

    with Store.open(tmp_path, map_size=MIB) as store, start_python(_GROWS, tmp_path) as other:
        store.add_many(entries(50))
        say(other, "40")
        assert hear(other) == "40"
        monkeypatch.setattr(Environment, "_resize", late)

        def count() -> None:
            with store.snapshot() as snapshot:
                assert snapshot.entry_count == 90
            read.set()

        def work(transaction: Transaction) -> None:
            writing.set()
            assert read.wait(LONG)

        def write() -> None:
            assert adopting.wait(LONG)
            store.environment.write(work)

        with ThreadPoolExecutor(2) as pool:
            all_done(pool.submit(count), pool.submit(write))
        other.communicate(timeout=LONG)


def test_where_the_system_denies_the_address_space_less_is_reserved(tmp_path: Path) -> None:
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (64 << 30, 64 << 30))
from setsync.store.lmdb_store import Store
with Store.open(sys.argv[1]) as store:
    print(store.map_size)
"""
    size = int(run_python(code, tmp_path))
    assert 4 << 30 <= size < 64 << 30


# --- readers ------------------------------------------------------------------------------


def slots(env: Environment) -> int:
    """Slots taken in the reader table."""
    return len(str(env._env.readers()).splitlines()) - 1


def test_ten_thousand_reads_failed_ones_among_them_give_their_slots_back(tmp_path: Path) -> None:
    kept: list[object] = []
    with Store.open(tmp_path) as store:
        store.add_many(entries(40))
        for n in range(10_000):
            try:
                with store.snapshot() as snapshot:
                    view = snapshot.view("notes")
                    assert view is not None
                    walk = view.nodes.leaves_from(bytes(32))
                    next(walk)
                    kept += [snapshot, view, walk] if n % 10 == 0 else []
                    if n % 3 == 0:
                        raise ValueError(n)
            except ValueError as error:
                kept.append(error)  # its traceback holds the snapshot
        assert len(kept) > 5_000
        assert slots(store.environment) <= 10
        check_notes_now(store)


def check_notes_now(store: Store) -> None:
    with store.snapshot() as snapshot:
        check_notes(snapshot, entries(40))


def test_a_snapshot_that_is_over_says_so(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.add_many(entries(40))
        with store.snapshot() as snapshot:
            view = snapshot.view("notes")
        assert view is not None
        for use in (lambda: snapshot.entry_count, lambda: view.ids(""), lambda: view.children("")):
            with pytest.raises(RuntimeError, match="snapshot is over"):
                use()


def test_more_readers_than_there_are_slots_is_a_clear_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "MAX_READERS", 3)
    env = Environment(tmp_path, map_size=MIB)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(env.read())
        with pytest.raises(StoreError, match="More than 3 readers"):
            stack.enter_context(env.read())
    with env.read():
        pass
    env.close()


# --- writing ------------------------------------------------------------------------------


def test_an_exception_inside_a_write_leaves_nothing_and_the_next_write_goes_on(
    env: Environment,
) -> None:
    def work(transaction: Transaction) -> None:
        transaction.put(b"half", b"done", db=env.table(b"t"))
        raise ZeroDivisionError

    for _ in range(100):
        with pytest.raises(ZeroDivisionError):
            env.write(work)
    assert get(env, b"half") is None
    with ThreadPoolExecutor(1) as pool:
        all_done(pool.submit(put, env, b"next", b"one"))
    assert get(env, b"next") == b"one"


def test_a_write_that_fails_ends_while_many_others_go_on_reading(tmp_path: Path) -> None:
    readers, reads = 6, 4_000
    reading, over = threading.Semaphore(0), threading.Event()
    with Store.open(tmp_path) as store, ThreadPoolExecutor(readers) as pool:
        store.add_many(entries(200))

        def read() -> bool:
            """Whether the write was over before the last of many reads."""
            for n in range(reads):
                with store.snapshot() as snapshot:
                    view = snapshot.view("notes")
                    assert view is not None
                    view.ids("7")
                if n == 200:
                    reading.release()
                if over.is_set():
                    return True
            return False

        def fail(transaction: Transaction) -> None:
            for _ in range(readers):
                assert reading.acquire(timeout=LONG)
            raise ZeroDivisionError

        done = [pool.submit(read) for _ in range(readers)]
        with pytest.raises(ZeroDivisionError):
            store.environment.write(fail)
        over.set()
        assert [future.result(LONG) for future in done] == [True] * readers


def test_ctrl_c_in_the_middle_of_a_batch_leaves_nothing_and_frees_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(tmp_path) as store:
        store.add_many(entries(10))
        original = lmdb_store._Batch._log_entries

        def interrupted(batch: lmdb_store._Batch, order: list[int]) -> None:
            original(batch, order)
            signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(lmdb_store._Batch, "_log_entries", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.add_many(entries(20))
        monkeypatch.undo()
        with store.snapshot() as snapshot:
            assert snapshot.entry_count == 10
            check_notes(snapshot, entries(10))
        with ThreadPoolExecutor(1) as pool:
            assert len(pool.submit(store.add_many, entries(20)).result(LONG).new) == 10


def test_threads_write_and_read_at_once_and_every_read_is_one_moment(tmp_path: Path) -> None:
    some = entries(400)
    with Store.open(tmp_path) as store, ThreadPoolExecutor(6) as pool:

        def write(first: int) -> None:
            for low in range(first, 400, 80):
                store.add_many(some[low : low + 20])

        def read() -> None:
            for _ in range(30):
                with store.snapshot() as snapshot:
                    count = snapshot.entry_count
                    assert count % 20 == 0
                    assert len(snapshot.since(0, 1000)) == count
                    assert sum(summary.count for _, summary in snapshot.collections()) == count

        writers = [pool.submit(write, first) for first in (0, 20, 40, 60)]
        all_done(*writers, pool.submit(read), pool.submit(read))
        with store.snapshot() as snapshot:
            check_notes(snapshot, some)


def test_closing_waits_for_who_reads_in_another_thread(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.add_many(entries(40))
    reading, closing = threading.Event(), threading.Event()
    order: list[str] = []

    def read() -> None:
        with store.snapshot() as snapshot:
            reading.set()
            assert closing.wait(LONG)
            check_notes(snapshot, entries(40))
            order.append("read")

    def close() -> None:
        assert reading.wait(LONG)
        closing.set()
        store.close()
        order.append("closed")

    with ThreadPoolExecutor(2) as pool:
        all_done(pool.submit(read), pool.submit(close))
    assert order == ["read", "closed"]
    store.close()
    with pytest.raises(StoreError), store.snapshot():
        pass
    with pytest.raises(StoreError):
        store.add_many(entries(1))


# --- LMDB's errors in our words -----------------------------------------------------------


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="the system does not tell")
def test_an_opening_that_fails_at_its_end_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(env: Environment) -> int:
        raise StoreError("the disk failed")

    Environment(tmp_path, map_size=MIB).close()
    before = len(list(DESCRIPTORS.iterdir()))
    monkeypatch.setattr(Environment, "check_readers", fails)
    for _ in range(3):
        with pytest.raises(StoreError, match="the disk failed"):
            Environment(tmp_path, map_size=MIB)
    assert len(list(DESCRIPTORS.iterdir())) == before


def test_a_second_open_in_one_process_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        with pytest.raises(StoreError, match="already open"):
            Store.open(tmp_path)
        assert len(store.add_many(entries(3)).new) == 3
        assert len(list((tmp_path / "open").iterdir())) == 2


@pytest.mark.parametrize(
    ("error", "free", "kind", "words"),
    [
        (lmdb.DiskError("mdb_txn_commit: Input/output error"), 4 * KIB, StoreFullError, "is full"),
        (lmdb.DiskError("mdb_txn_commit: Input/output error"), 1 << 40, StoreError, "failed"),
        (lmdb.Error("mdb_put: No space left on device"), 1 << 40, StoreFullError, "is full"),
        (lmdb.MapFullError("mdb_put"), 1 << 40, StoreFullError, "map of"),
        (lmdb.CorruptedError("mdb_get"), 1 << 40, DamagedStoreError, "is damaged"),
        (lmdb.PageNotFoundError("mdb_get"), 1 << 40, DamagedStoreError, "is damaged"),
        (lmdb.PanicError("mdb_txn_begin"), 1 << 40, StoreError, "open the store again"),
    ],
)
def test_every_kind_of_failure_has_its_own_sentence_and_names_the_place(
    env: Environment,
    monkeypatch: pytest.MonkeyPatch,
    error: lmdb.Error,
    free: int,
    kind: type[StoreError],
    words: str,
) -> None:
    class Usage:
        def __init__(self) -> None:
            self.free = free

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage())

    def fail(_: Transaction) -> None:
        raise error

    def fail_reading(_: Transaction) -> None:
        with env.read():
            raise error

    ways: list[Callable[[], object]] = [lambda: fail_reading(None)]  # type: ignore[arg-type]
    if not isinstance(error, lmdb.MapFullError):  # that one is answered by growing
        ways.append(lambda: env.write(fail))
    for way in ways:
        with pytest.raises(StoreError, match=words) as caught:
            way()
        assert type(caught.value) is kind
        assert str(env.path) in str(caught.value)
        assert caught.value.__cause__ is error


# --- fork ---------------------------------------------------------------------------------


def test_after_fork_the_child_can_do_nothing_and_takes_nothing_from_its_parent(
    tmp_path: Path,
) -> None:
    code = """
import os, sys
from pathlib import Path
from setsync.errors import StoreError
from setsync.store.lmdb_store import Store
from tests.helpers import entries
store = Store.open(sys.argv[1])
store.add_many(entries(5))
child = os.fork()
if not child:
    refused = 0
    for use in (store.last_arrival, lambda: store.add_many(entries(6)), store.check_readers,
                lambda: store.map_size, lambda: store.copy(Path(sys.argv[1] + '-copy'))):
        try:
            use()
        except StoreError as error:
            refused += "before fork()" in str(error)
    store.close()
    os._exit(refused)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 5, status
here = [path.name for path in Path(sys.argv[1], "open").iterdir() if path.name != "gate"]
assert len(here) == 1, here
assert len(store.add_many(entries(7)).new) == 2
store.close()
assert not [path for path in Path(sys.argv[1], "open").iterdir() if path.name != "gate"]
print("good")
"""
    assert run_python(code, tmp_path / "store").endswith("good")
