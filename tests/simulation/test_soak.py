"""A day of three nodes on disk, on the jumping clock: nothing that a node holds may creep.

Measured at every full hour, when no session runs and everybody is up: memory that is the
process's own (the map of the files is left out, the kernel takes it back when it likes), open
files, tasks, and slots in the stores' tables of readers. At the end, each file against a
compact copy of itself, which is what its live data takes.
"""

from __future__ import annotations

import dataclasses
import gc
import itertools
import random
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from setsync.limits import DEFAULT_MAX_PAYLOAD
from setsync.store.lmdb_store import Store
from tests.simulation.node import CAPACITY, memory_store
from tests.simulation.plan import NodePlan, Plan, Put, Step, fall, meetings
from tests.simulation.scheduling import run_seeded
from tests.simulation.trace import Trace
from tests.simulation.world import World

_MIB = 1024 * 1024
_HOUR = 3_600.0
_HOURS = 24
# Caches of entries, of compiled patterns and of the stores' sketches fill in these.
_WARM_UP = 6
_PUTS_AN_HOUR = 40
_SESSIONS_AN_HOUR = 30

_STATUS, _FILES = Path("/proc/self/status"), Path("/proc/self/fd")


@dataclass(frozen=True)
class Sample:
    """One full hour."""

    memory: int
    files: int
    tasks: int
    readers: tuple[int, ...]


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
        return Sample(
            memory=_own_memory(),
            files=len(list(_FILES.iterdir())),
            tasks=trio.lowlevel.current_statistics().tasks_living,
            readers=tuple(_readers(node.store) for node in self.nodes),
        )


def _own_memory() -> int:
    """Resident bytes of this process that no file lies behind."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("The kernel says nothing of RssAnon.")


def _readers(store: object) -> int:
    """Lines of the table of readers, under its head."""
    assert isinstance(store, Store)
    return len(str(store.environment._env.readers()).strip().splitlines())


def _slope(samples: list[Sample]) -> float:
    """Bytes an hour, by least squares."""
    hours = range(len(samples))
    return statistics.linear_regression(hours, [sample.memory for sample in samples]).slope


def _run(hours: int) -> tuple[list[Sample], list[float], Trace]:
    """The samples, and for each node its file's size by what its live data takes."""
    trace = Trace()
    with tempfile.TemporaryDirectory() as name:
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


@pytest.mark.skipif(not _STATUS.exists(), reason="memory is read as Linux tells it")
@pytest.mark.soak
@pytest.mark.timeout(0)
def test_nothing_creeps_in_a_day() -> None:
    samples, sizes, trace = _run(_HOURS)
    print(*samples, sizes, trace.counts, _slope(samples[_WARM_UP:]), sep="\n")
    assert not trace.findings
    later = samples[_WARM_UP:]
    assert _slope(later) <= 1 * _MIB
    assert {(sample.files, sample.tasks) for sample in later} == {(later[0].files, later[0].tasks)}
    assert max(max(sample.readers) for sample in later) <= max(later[0].readers)
    assert max(sizes) <= 1.3
