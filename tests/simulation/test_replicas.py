"""Two or three replicas against Python sets: whatever is added, synced, cut and restarted."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from setsync.node.client import Options
from setsync.store.contract import EntryStore
from setsync.store.lmdb_store import Store
from setsync.wire import messages as m
from tests.node.ends import Met, meet, members, roots
from tests.simulation.link import Link
from tests.simulation.material import entry
from tests.simulation.node import CAPACITY, memory_store
from tests.simulation.plan import LinkPlan, Way
from tests.simulation.scheduling import run_seeded
from tests.simulation.tap import Name
from tests.simulation.trace import Trace

_NUMBERS = st.lists(st.integers(0, 39), min_size=1, max_size=12)
_PLACES = st.integers(0, 2)


class Replicas(RuleBasedStateMachine):
    """The last of the replicas is on disk. `model` says what each must hold: after a session
    that was cut, anything between what it had and what there was."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.stores: list[EntryStore] = []
        self.model: list[set[Name]] = []

    @initialize(count=st.integers(2, 3))
    def begin(self, count: int) -> None:
        self.stores = [memory_store() for _ in range(count - 1)] + [self._on_disk()]
        self.model = [set() for _ in range(count)]

    def teardown(self) -> None:
        if self.stores:
            self._close()
        shutil.rmtree(self.folder)

    def _on_disk(self) -> EntryStore:
        return Store.open(self.folder / "store", leaf_capacity=CAPACITY)

    def _close(self) -> None:
        store = self.stores[-1]
        assert isinstance(store, Store)
        store.close()

    # --- rules ----------------------------------------------------------------------------

    @rule(place=_PLACES, numbers=_NUMBERS)
    def ingest(self, place: int, numbers: list[int]) -> None:
        at = place % len(self.stores)
        added = self.stores[at].add_many([entry(number) for number in numbers])
        names = {(entry(number).collection, entry(number).id) for number in numbers}
        assert set(added.new) == {id_ for _, id_ in names - self.model[at]}
        self.model[at] |= names

    @rule(place=_PLACES, direction=st.sampled_from([m.BOTH, m.BOTH, m.PUSH, m.PULL]))
    def sync(self, place: int, direction: int) -> None:
        here, there = self._pair(place)
        met = self._meet(here, there, LinkPlan(place, 0.0), direction)
        assert (met.error, met.their_error) == (None, None)
        assert met.report.in_sync
        together = self.model[here] | self.model[there]
        if direction != m.PUSH:
            self.model[here] = set(together)
        if direction != m.PULL:
            self.model[there] = set(together)

    @rule(place=_PLACES, up=st.booleans(), at=st.integers(1, 6_000), narrow=st.booleans())
    def cut(self, place: int, up: bool, at: int, narrow: bool) -> None:
        here, there = self._pair(place)
        cut, calm = Way(cut_at=at), Way()
        plan = LinkPlan(at, 0.05, narrow, *((cut, calm) if up else (calm, cut)))
        self._meet(here, there, plan, m.BOTH)
        together = self.model[here] | self.model[there]
        for replica in (here, there):
            now = members(self.stores[replica])
            assert self.model[replica] <= now <= together
            self.model[replica] = now

    @rule()
    def restart(self) -> None:
        self._close()
        self.stores[-1] = self._on_disk()

    # --- what always holds ----------------------------------------------------------------

    @invariant()
    def every_replica_holds_its_set(self) -> None:
        for store, expected in zip(self.stores, self.model, strict=True):
            assert members(store) == expected

    @invariant()
    def equal_sets_have_equal_roots_and_no_others_do(self) -> None:
        for one, mine in zip(self.stores, self.model, strict=True):
            for other, theirs in zip(self.stores, self.model, strict=True):
                assert (roots(one) == roots(other)) == (mine == theirs)

    # --- sessions -------------------------------------------------------------------------

    def _pair(self, place: int) -> tuple[int, int]:
        count = len(self.stores)
        return place % count, (place + 1) % count

    def _meet(self, here: int, there: int, plan: LinkPlan, direction: int) -> Met:
        async def main() -> Met:
            link = Link("s", plan, Trace(), lambda data: None, lambda data: None)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run)
                ends = link.initiator, link.responder
                options = Options(direction=direction)
                met = await meet(self.stores[here], self.stores[there], options, streams=ends)
                link.reset()
            return met

        return run_seeded(0, main)


_SLOW = [HealthCheck.too_slow]
_FEW = settings(max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=_SLOW)
_MANY = settings(_FEW, max_examples=2_000, stateful_step_count=50)


class ManyReplicas(Replicas):
    """Two thousand runs of fifty steps."""


TestReplicas = Replicas.TestCase
TestReplicas.settings = _FEW
TestManyReplicas = pytest.mark.soak(pytest.mark.timeout(0)(ManyReplicas.TestCase))
TestManyReplicas.settings = _MANY
