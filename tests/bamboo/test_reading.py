"""Files as entries with their bytes, and the other processes that help with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from bamboo_compat.core.examining import Member, examine
from bamboo_compat.core.report import Problem, Reason
from bamboo_compat.files import sources
from bamboo_compat.files.processes import ProcessEndedError, in_order
from bamboo_compat.files.reading import read_files
from bamboo_compat.files.sources import Job, Kind, UnreadableError, find_sources
from bamboo_compat.files.work import Accepted, Answer, Unreadable, examine_job, read_job
from bamboo_compat.limits import JOB_BYTES, JOBS_ALONE, JOBS_BEHIND
from tests.bamboo.logs import Author, Record, signed
from tests.bamboo.test_verify import WRITERS, bare, lines

SMALL = 3000


@pytest.fixture
def small_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short log is then many jobs."""
    monkeypatch.setattr(sources, "JOB_BYTES", SMALL)


def a_log(count: int = 60) -> list[Record]:
    """Entries of which one is refused: number 31."""
    log = Author().grow(count)
    log[30] = signed(2, log[30][0][:-64]), log[30][1]
    return log


@pytest.mark.usefixtures("small_jobs")
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("write", WRITERS)
def test_every_entry_comes_in_order_with_its_bytes_and_its_place(
    tmp_path: Path, write: Any, workers: int
) -> None:
    log = a_log()
    found = find_sources([write(tmp_path / "one", log[:40]), write(tmp_path / "two", log[40:])])
    read = list(chain.from_iterable(read_files(found, workers=workers)))
    assert len(read) == len(log)
    for number, (one, (entry, payload)) in enumerate(zip(read, log, strict=True)):
        place = found.place(one.where)
        assert place.source is found.files[number >= 40]
        if place.source.kind is not Kind.BARE:
            assert place.position == number % 40 + 1
        if isinstance(one, Problem):
            assert (number, one.verdict.reason) == (30, Reason.BAD_SIGNATURE)
            continue
        given = None if write is bare else payload
        assert (one.entry, one.payload) == (entry, given)
        assert one.member == examine(entry, given, one.where)


@pytest.mark.usefixtures("small_jobs")
@pytest.mark.parametrize("workers", [1, 2])
def test_what_cannot_be_read_is_told_after_what_could(tmp_path: Path, workers: int) -> None:
    path = lines(tmp_path / "file", a_log())
    with path.open("a", encoding="ascii") as file:
        file.write('{"entry": 7}\n' * 40)
    before: list[Accepted | Problem] = []
    batches = chain.from_iterable(read_files(find_sources([path]), workers=workers))
    with pytest.raises(UnreadableError, match="line 61, is not an object"):
        before.extend(batches)
    assert len(before) == 60


@pytest.mark.usefixtures("small_jobs")
def test_an_iterator_that_is_closed_leaves_no_process_behind(tmp_path: Path) -> None:
    found = find_sources([lines(tmp_path / "file", a_log())])
    with contextlib.closing(read_files(found, workers=3)) as batches:
        assert next(iter(batches))
    assert not multiprocessing.active_children()


def test_no_more_is_read_ahead_than_the_limit_says(tmp_path: Path) -> None:
    most = JOBS_BEHIND * 2 * JOB_BYTES
    size = most // 4
    taken = 0

    def work() -> Any:
        nonlocal taken
        for _ in range(40):
            taken += 1
            yield Job(Kind.LINES, 0, size, b"")

    for done, _ in enumerate(in_order(examine_job, work(), 2), start=1):
        assert taken - done <= max(5, JOBS_ALONE)


# Says when the first answer has come, which is another process's; then works until stopped.
SCRIPT = """
import sys
from pathlib import Path
from bamboo_compat.files import sources
from bamboo_compat.files.reading import read_files

sources.JOB_BYTES = 3000
found = sources.find_sources([Path(sys.argv[1])] * 2000)
for _ in read_files(found, workers=2):
    print("started", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="a terminal's group of processes")
def test_an_interrupt_of_all_processes_is_told_once(tmp_path: Path) -> None:
    path = lines(tmp_path / "file", a_log())
    words = [sys.executable, "-c", SCRIPT, str(path)]
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "started\n"
        os.killpg(started.pid, signal.SIGINT)
        _, complaint = started.communicate(timeout=60)
    assert started.returncode == -signal.SIGINT
    assert complaint.count("Traceback") == 1
    assert complaint.endswith("KeyboardInterrupt\n")


def _end(job: Job) -> None:
    if multiprocessing.parent_process() is not None:
        os._exit(1)


def test_jobs_of_nothing_are_answered_too() -> None:
    many = [Job(Kind.LINES, 0, 0, b"")] * 20
    assert list(in_order(examine_job, many, 2)) == [[]] * 20


def test_a_process_that_ends_is_an_error_that_says_so() -> None:
    many = [Job(Kind.LINES, 0, 0, b"")] * 20
    with pytest.raises(ProcessEndedError, match="has ended"):
        list(in_order(_end, many, 2))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_an_answer_is_the_same_on_the_other_side(tmp_path: Path, count: int) -> None:
    content = lines(tmp_path / "file", Author().grow(count)).read_bytes()
    answer = examine_job(Job(Kind.LINES, 7, len(content), content))
    assert [type(one) for one in answer] == [Member] * count
    mixed = Answer([*answer, Unreadable(3, "is not JSON")])
    for one in (answer, mixed):
        other = pickle.loads(pickle.dumps(one))
        assert (type(other), other) == (Answer, one)
        assert [type(inner) for inner in other] == [type(inner) for inner in one]


def test_both_ways_to_do_a_job_find_the_same(tmp_path: Path) -> None:
    content = lines(tmp_path / "file", a_log()).read_bytes() + b"{}"
    job = Job(Kind.LINES, 1, len(content), content)
    read = [one.member if isinstance(one, Accepted) else one for one in read_job(job)]
    assert read == examine_job(job)
    assert isinstance(read[-1], Unreadable)
