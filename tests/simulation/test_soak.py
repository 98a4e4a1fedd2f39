"""A day of three nodes on disk, on the jumping clock: nothing that a node holds may creep.

Measured at every full hour, when no session runs and everybody is up: what Python's objects
take, to the byte; what is in use of the C library's heap; how much memory is resident (the map
of the files is left out, the kernel takes it back when it likes); open files, tasks, and slots in
the stores' tables of readers. At the end, each file against a compact copy of itself, which is
what its live data takes.

Caches fill and then are full, a leak goes on: so the slope after the warm-up is judged. The
test's own books are made before the first hour and never grow. docs/simulation.md says what the
slopes are made of.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import itertools
import random
import statistics
import tempfile
import tracemalloc
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from setsync.limits import DEFAULT_MAX_PAYLOAD
from setsync.node.connection import Connection
from setsync.session.table import Role
from setsync.store.lmdb_store import Store
from tests.simulation.material import entry
from tests.simulation.node import CAPACITY, memory_store
from tests.simulation.plan import NodePlan, Plan, Put, Step, fall, meetings
from tests.simulation.scheduling import run_seeded
from tests.simulation.tap import Name
from tests.simulation.trace import Trace
from tests.simulation.world import World

_MIB = 1024 * 1024
_HOUR = 3_600.0
_HOURS = 24
# Caches of entries, of compiled patterns and of the stores' sketches fill in these, and the
# interpreter's tables have found their sizes.
_WARM_UP = 12
_PUTS_AN_HOUR = 40
_SESSIONS_AN_HOUR = 30

# Objects may creep by so much an hour. A leak of 1 KiB a session is four times that: an hour has
# about 48 sessions.
_OBJECTS_AN_HOUR = 12 * 1024
# LMDB keeps the pages of its largest transaction, numpy up to seven freed blocks of each size
# under 1 KiB, 3.6 MiB in all. Both fill with the sets for longer than a day.
_HEAP_AN_HOUR = 128 * 1024
_RESIDENT_AN_HOUR = 1024 * 1024

_STATUS, _FILES = Path("/proc/self/status"), Path("/proc/self/fd")


class _Use(ctypes.Structure):
    """glibc's struct mallinfo2: ten sizes."""

    _fields_ = (
        ("_before", ctypes.c_size_t * 4),
        ("mapped", ctypes.c_size_t),
        ("_between", ctypes.c_size_t * 2),
        ("used", ctypes.c_size_t),
        ("_after", ctypes.c_size_t * 2),
    )
    mapped: int
    used: int


def _has_glibc() -> bool:
    return hasattr(ctypes.CDLL(None), "mallinfo2")


def _heap() -> int:
    """Bytes of the C library's heap that are in use: LMDB's, and Python's large objects."""
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = _Use
    use: _Use = ask()
    return use.mapped + use.used


@dataclass(frozen=True)
class Sample:
    """One full hour; memory in bytes."""

    objects: int
    heap: int
    resident: int
    files: int
    tasks: int
    readers: tuple[int, ...]


class Book(MutableMapping[Name, bool]):
    """What a node has promised, in memory that is there from the beginning: `pages` says which
    name has which place."""

    def __init__(self, pages: Mapping[Name, int]) -> None:
        self._pages = pages
        self._marks = bytearray(len(pages))

    def __getitem__(self, name: Name) -> bool:
        if not self._marks[self._pages[name]]:
            raise KeyError(name)
        return self._marks[self._pages[name]] == 2

    def __setitem__(self, name: Name, with_payload: bool) -> None:
        self._marks[self._pages[name]] = 2 if with_payload else 1

    def __delitem__(self, name: Name) -> None:
        raise AssertionError("Nobody takes a promise back.")

    def __iter__(self) -> Iterator[Name]:
        return (name for name, place in self._pages.items() if self._marks[place])

    def __len__(self) -> int:
        return len(self._marks) - self._marks.count(0)


class Day(World):
    """A world whose trouble lasts a day."""

    def __init__(self, trace: Trace, folder: Path, hours: int) -> None:
        self._chance = random.Random(20_261_122)
        self._numbers = itertools.count()
        self._hours = hours
        self.samples: list[Sample] = []
        nodes = tuple(
            NodePlan(True, skew, DEFAULT_MAX_PAYLOAD, 0.02, ()) for skew in (0, 10**10, -(10**10))
        )
        edges = ((0, 1), (0, 2), (1, 2))
        pool = hours * _PUTS_AN_HOUR * 8
        plan = Plan(0, "full", nodes, edges, (), False, True, False, pool)
        super().__init__(plan, trace, folder, memory_store)
        made = (entry(number, plan.many) for number in range(pool))
        names = dict.fromkeys((each.collection, each.id) for each in made)
        pages = {name: place for place, name in enumerate(names)}
        for node in self.nodes:
            node.promised = Book(pages)  # type: ignore[assignment]

    async def _trouble(self, lives: trio.Nursery) -> None:
        for hour in range(self._hours):
            async with trio.open_nursery() as nursery:
                for step in self._steps():
                    await trio.sleep_until(max(trio.current_time(), hour * _HOUR + step.at))
                    self._take(step, nursery, lives)
            await trio.sleep_until(max(trio.current_time(), (hour + 1) * _HOUR))
            self.samples.append(self._sample())

    def _steps(self) -> list[Step]:
        """One hour's: plans speak of the first twenty seconds of a world, so stretch them."""
        steps: list[Step] = list(self._puts())
        for _ in range(_SESSIONS_AN_HOUR):
            steps += meetings(self._chance, self.plan.edges)
        steps.append(fall(self._chance, len(self.nodes)))
        spread = [
            dataclasses.replace(step, at=step.at * 150 + self._chance.random() * 300)
            for step in steps
        ]
        return sorted(spread, key=lambda step: step.at)

    def _puts(self) -> Iterator[Put]:
        for _ in range(_PUTS_AN_HOUR):
            numbers = tuple(itertools.islice(self._numbers, self._chance.randint(1, 8)))
            yield Put(self._chance.uniform(0, 20), self._chance.randrange(3), numbers)

    def _sample(self) -> Sample:
        gc.collect()  # what only waits to be collected does not creep
        ctypes.CDLL(None).malloc_trim(0)  # nor what the allocator only keeps for later
        return Sample(
            objects=tracemalloc.get_traced_memory()[0],
            heap=_heap(),
            resident=_resident(),
            files=len(list(_FILES.iterdir())),
            tasks=trio.lowlevel.current_statistics().tasks_living,
            readers=tuple(_readers(node.store) for node in self.nodes),
        )


def _resident() -> int:
    """Resident bytes of this process that no file lies behind."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("The kernel says nothing of RssAnon.")


def _readers(store: object) -> int:
    """Lines of the table of readers, under its head."""
    assert isinstance(store, Store)
    return len(str(store.environment._env.readers()).strip().splitlines())


_MOST = {
    "objects": _OBJECTS_AN_HOUR,
    "heap": _HEAP_AN_HOUR,
    "resident": _RESIDENT_AN_HOUR,
}


def _slopes(samples: list[Sample]) -> dict[str, float]:
    """Bytes an hour, by least squares."""
    hours = range(len(samples))
    return {
        name: statistics.linear_regression(
            hours, [getattr(sample, name) for sample in samples]
        ).slope
        for name in _MOST
    }


def _creeping(samples: list[Sample]) -> set[str]:
    """What grows more than it may, once the caches are full."""
    found = _slopes(samples[_WARM_UP:])
    return {name for name, most in _MOST.items() if found[name] > most}


@contextlib.contextmanager
def _traced() -> Iterator[None]:
    """Let the interpreter count the bytes of its objects."""
    tracemalloc.start(1)
    try:
        yield
    finally:
        tracemalloc.stop()


def _run(hours: int) -> tuple[list[Sample], list[float], Trace]:
    """The samples, and for each node its file's size by what its live data takes."""
    trace = Trace()
    with _traced(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        day = Day(trace, folder, hours)
        run_seeded(0, day.run)
        sizes: list[float] = []
        for node in day.nodes:
            assert isinstance(node.store, Store)
            node.store.copy(folder / f"copy{node.number}", compact=True)
            with Store.open(folder / f"copy{node.number}", leaf_capacity=CAPACITY) as copy:
                sizes.append(node.store.bytes_on_disk / copy.bytes_on_disk)
            node.close()
    return day.samples, sizes, trace


pytestmark = pytest.mark.skipif(
    not _STATUS.exists() or not _has_glibc(), reason="memory is read as Linux and glibc tell it"
)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_nothing_creeps_in_a_day() -> None:
    samples, sizes, trace = _run(_HOURS)
    later = samples[_WARM_UP:]
    print(*samples, sizes, trace.counts, _slopes(samples), _slopes(later), sep="\n")
    assert not trace.findings
    assert not _creeping(samples)
    assert {(sample.files, sample.tasks) for sample in later} == {(later[0].files, later[0].tasks)}
    assert max(max(sample.readers) for sample in later) <= max(later[0].readers)
    assert max(sizes) <= 1.3


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_planted_leak_of_1_kib_a_session_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    leaked: list[bytes] = []
    run = Connection.run

    async def leaking(self: Connection, decide: Any) -> Any:
        if self.session.role is Role.INITIATOR:
            leaked.append(bytes(1_024))
        return await run(self, decide)

    monkeypatch.setattr(Connection, "run", leaking)
    samples, _, trace = _run(_HOURS)
    print(len(leaked), _slopes(samples[_WARM_UP:]))
    assert not trace.findings
    assert "objects" in _creeping(samples)
