"""Who cannot write is told why and by whom; stopped, killed and busy writers, in real processes.

The limit is set to a fifth of a second where a writer never goes on, and left at half a minute
where one must be waited for, so that a slow machine fails nothing.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from setsync import limits
from setsync.errors import StoreBusyError
from setsync.limits import MIB
from setsync.store.check import check
from setsync.store.environment import TURNS_FILE, Environment, SlowSnapshots, Transaction
from setsync.store.lmdb_store import Store
from setsync.store.turns import Turns, describe
from tests.helpers import entries
from tests.store.processes import hear, say, start_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is looked for")

LONG = 60
_SHORT = 0.2

_STOPS_WHILE_IT_WRITES = """
import os, signal, sys
from setsync.store.lmdb_store import Store, _Batch
from tests.helpers import entries
run = _Batch.run
def stopping(batch):
    added = run(batch)
    os.kill(os.getpid(), signal.SIGSTOP)
    return added
with Store.open(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    _Batch.run = stopping
    store.add_many(entries(20))
    print("written", flush=True)
"""

_WRITES_WITHOUT_PAUSE = """
import select, sys
from pathlib import Path
from setsync.store.environment import Environment
env = Environment(Path(sys.argv[1]), map_size=1 << 20)
env.open_tables([b"t"])
number = 0
def work(transaction):
    for _ in range(2_000):
        transaction.put(b"count", number.to_bytes(8, "big"), db=env.table(b"t"))
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    number += 1
    env.write(work)
print(number, flush=True)
"""

_STOPS_AT_THE_GATE = """
import os, signal, sys
from setsync.store import presence
from setsync.store.lmdb_store import Store
arrive = presence._pass
def stopping(gate, store):
    arrive(gate, store)
    os.kill(os.getpid(), signal.SIGSTOP)
presence._pass = stopping
with Store.open(sys.argv[1]) as store:
    print(len(list(store)), flush=True)
"""

_WAITS = """
import sys
from setsync.store.lmdb_store import Store
from tests.helpers import entries
with Store.open(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    print(len(store.add_many(entries(30)).new), flush=True)
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here waits longer than a fifth of a second."""
    monkeypatch.setattr(limits, "WRITE_LOCK_SECONDS", _SHORT)


@contextmanager
def stopped(code: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is told to go on until it stops itself."""
    with start_python(code, folder) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_stopped(process: subprocess.Popen[str]) -> None:
    """Returns once the kernel says so, and not before."""
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


def go_on(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGCONT)


@contextmanager
def stopped_writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that was stopped between the last change and the commit of 20 entries."""
    with stopped(_STOPS_WHILE_IT_WRITES, folder) as process:
        assert hear(process) == "ready"
        say(process)
        wait_until_stopped(process)
        yield process


def is_next(folder: Path, process: int) -> bool:
    """Whether a process waits for its turn: it holds the second byte, as the kernel tells."""
    inode = (folder / TURNS_FILE).stat().st_ino
    lines = Path("/proc/locks").read_text().splitlines()
    return any(re.search(rf" {process} \S+:{inode} 1 1$", line) for line in lines)


# --- a writer that was stopped ------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_a_write_behind_a_stopped_process_ends_with_its_number_and_reads_go_on(
    tmp_path: Path,
) -> None:
    with Store.open(tmp_path) as store:
        store.add_many(entries(5))
        with stopped_writer(tmp_path) as writer:
            for _ in range(2):
                with pytest.raises(
                    StoreBusyError, match=f"for 0.2 s: process {writer.pid} .* is stopped"
                ) as caught:
                    store.add_many(entries(30))
                assert str(tmp_path) in str(caught.value)
                assert caught.value.exit_code == 5
                assert "kill -CONT" in caught.value.advice
            assert len(list(store)) == 5
            with store.snapshot() as snapshot:
                assert snapshot.entry_count == 5
            go_on(writer)
            assert hear(writer) == "written"
        assert len(store.add_many(entries(30)).new) == 10
        assert {entry.id for entry in store} == {entry.id for entry in entries(30)}
        assert not check(store).damage


@pytest.mark.usefixtures("impatient")
def test_whoever_opens_the_store_or_copies_it_behind_a_stopped_writer_is_told_too(
    tmp_path: Path,
) -> None:
    with Store.open(tmp_path / "store") as store, stopped_writer(tmp_path / "store") as writer:
        told = f"process {writer.pid} holds it and is stopped"
        with pytest.raises(StoreBusyError, match=told):
            store.copy(tmp_path / "copy")
        store.copy(tmp_path / "compact", compact=True)  # for this LMDB waits for nobody
        store.close()
        with pytest.raises(StoreBusyError, match=told):
            Store.open(tmp_path / "store")
        go_on(writer)
        assert hear(writer) == "written"
    with Store.open(tmp_path / "compact") as copy:
        assert list(copy) == []
    with Store.open(tmp_path / "store") as again:
        again.copy(tmp_path / "another")
        assert len(list(again)) == 20


def test_who_waits_within_the_limit_writes_once_the_writer_goes_on(tmp_path: Path) -> None:
    with (
        Store.open(tmp_path) as store,
        stopped_writer(tmp_path) as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        waiting = pool.submit(store.add_many, entries(30))
        while not is_next(tmp_path, os.getpid()):
            pass
        go_on(writer)
        assert len(waiting.result(LONG).new) == 10
        assert hear(writer) == "written"


def test_a_writer_that_is_killed_delays_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is none at all: the first try has to do."""
    monkeypatch.setattr(limits, "WRITE_LOCK_SECONDS", 0.0)
    with Store.open(tmp_path) as store:
        for _ in range(3):
            with stopped_writer(tmp_path) as writer:
                writer.kill()
                writer.wait(LONG)
                assert store.add_many(entries(30)) is not None
        assert len(list(store)) == 30
        assert not check(store).damage


@pytest.mark.usefixtures("impatient")
def test_a_process_that_is_stopped_while_it_waits_holds_up_nobody(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, stopped(_WAITS, tmp_path) as waiting:
        assert hear(waiting) == "ready"
        turns = threading.Event()

        def work(_: Transaction) -> None:
            say(waiting)
            while not is_next(tmp_path, waiting.pid):
                pass
            waiting.send_signal(signal.SIGSTOP)
            wait_until_stopped(waiting)
            turns.set()

        store.environment.write(work)
        assert turns.is_set()
        for count in (10, 20):
            assert len(store.add_many(entries(count)).new) == 10
        go_on(waiting)
        assert hear(waiting) == "10"


@pytest.mark.usefixtures("impatient")
def test_who_is_stopped_while_it_opens_the_store_is_named_to_others(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.add_many(entries(5))
        with stopped(_STOPS_AT_THE_GATE, tmp_path) as at_the_gate:
            wait_until_stopped(at_the_gate)
            store.add_many(entries(6))  # who is inside feels nothing of it
            store.close()
            with pytest.raises(StoreBusyError, match=f"process {at_the_gate.pid} .* is stopped"):
                Store.open(tmp_path)
            go_on(at_the_gate)
            assert hear(at_the_gate) == "6"
    with Store.open(tmp_path) as store:
        assert len(list(store)) == 6


# --- turns --------------------------------------------------------------------------------


def test_a_process_that_writes_without_a_pause_lets_others_in(tmp_path: Path) -> None:
    """Counted: how often it was faster. About once for each write; without courtesy, ten times
    and more."""
    env = Environment(tmp_path, map_size=MIB)
    env.open_tables([b"t"])

    def count(transaction: Transaction) -> int:
        return int.from_bytes(transaction.get(b"count", db=env.table(b"t")) or b"", "big")

    def seen() -> int:
        with env.read() as transaction:
            return count(transaction)

    overtaken = 0
    with start_python(_WRITES_WITHOUT_PAUSE, tmp_path) as other:
        assert hear(other) == "ready"
        for _ in range(50):
            before = last = seen()
            while before == last:  # until the other has its turns again
                before = seen()
            overtaken += env.write(count) - before
        say(other)
        assert int(hear(other)) > 0
    assert overtaken <= 50 * 10
    print(f"overtaken {overtaken} times in 50 writes")
    env.close()


def test_a_child_made_by_fork_takes_its_parents_turn_neither_away_nor_along(
    tmp_path: Path,
) -> None:
    mine = Turns(tmp_path / TURNS_FILE, lambda: 0.0)
    assert mine.take(0.0)
    with start_python(_TRIES, tmp_path) as other:
        assert hear(other) == "False"
        child = os.fork()
        if not child:
            mine.close()
            os._exit(0)
        os.waitpid(child, 0)
        say(other)
        assert hear(other) == "False"
        mine.give_back()
        say(other)
        assert hear(other) == "True"
        other.communicate(timeout=LONG)
    mine.close()
    mine.close()


_TRIES = """
import sys
from pathlib import Path
from setsync.store.environment import TURNS_FILE
from setsync.store.turns import Turns
turns = Turns(Path(sys.argv[1]) / TURNS_FILE, lambda: 0.0)
for _ in range(3):
    print(turns.take(0.0), flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize(
    ("letters", "words"),
    [("S", ""), ("ST", "is stopped"), ("t", "debugger"), ("SD", "waits for the disk"), ("", "")],
)
def test_what_a_process_does_is_told_as_the_kernel_has_it(
    tmp_path: Path, letters: str, words: str
) -> None:
    (tmp_path / "17").mkdir()
    for number, letter in enumerate(letters):
        task = tmp_path / "17" / "task" / str(number)
        task.mkdir(parents=True)
        (task / "stat").write_text(f"{number} (a) T (b) {letter} 1 2 3")
    assert describe(17, tmp_path).startswith("process 17 holds it")
    assert words in describe(17, tmp_path)
    assert ("and" in describe(17, tmp_path)) == bool(words)
    assert describe(18, tmp_path) == describe(0) == describe(-1) == "another process holds it"


# --- a write of this process --------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_a_write_that_hangs_in_this_process_is_told_to_who_waits_and_is_not_ended(
    tmp_path: Path,
) -> None:
    now = [1_000.0]
    env = Environment(tmp_path, map_size=MIB, clock=lambda: now[0])
    env.open_tables([b"t"])
    begun, go = threading.Event(), threading.Event()

    def hang(transaction: Transaction) -> str:
        begun.set()
        assert go.wait(LONG)
        transaction.put(b"slow", b"disk", db=env.table(b"t"))
        return "written"

    assert env.writing_seconds() == 0.0
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(env.write, hang)
        assert begun.wait(LONG)
        now[0] += 77
        assert env.writing_seconds() == 77.0
        with pytest.raises(StoreBusyError, match="this process began 77 s ago and has not ended"):
            env.write(lambda _: None)
        with env.read() as transaction:
            assert transaction.get(b"slow", db=env.table(b"t")) is None
        go.set()
        assert slow.result(LONG) == "written"
    assert env.writing_seconds() == 0.0
    env.write(lambda transaction: transaction.put(b"next", b"one", db=env.table(b"t")))
    with env.read() as transaction:
        assert transaction.get(b"slow", db=env.table(b"t")) == b"disk"
    env.close()


# --- snapshots that last too long ---------------------------------------------------------


def test_snapshots_over_the_limit_are_counted_once_they_end_and_while_they_last(
    tmp_path: Path,
) -> None:
    now = [0.0]
    env = Environment(tmp_path, map_size=MIB, clock=lambda: now[0])

    def read(seconds: float) -> None:
        with env.read():
            now[0] += seconds

    def fail(seconds: float) -> None:
        with env.read():
            now[0] += seconds
            raise ZeroDivisionError

    none = SlowSnapshots(0, 0.0)
    read(limits.SNAPSHOT_SECONDS)
    assert env.slow_snapshots() == none
    read(6)
    with pytest.raises(ZeroDivisionError):
        fail(8)
    assert env.slow_snapshots() == SlowSnapshots(2, 8.0)
    assert env.slow_snapshots() == none
    with env.read():
        now[0] += 100
        assert env.slow_snapshots() == SlowSnapshots(1, 100.0)
    assert env.slow_snapshots() == SlowSnapshots(1, 100.0)
    assert env.slow_snapshots() == none
    env.close()
