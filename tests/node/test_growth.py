"""Sets that grow while they are being compared and moved, at every step of a session."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setsync import limits
from setsync.model.entry import Entry
from setsync.node.client import Options
from setsync.reconcile import policy, rounds
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.helpers import entries
from tests.node.ends import (
    Interleaved,
    Peer,
    Side,
    face_responder,
    greet_as_initiator,
    members,
    roots,
    signed_pool,
    sync_in_memory,
)

_MORE = (*entries(30, "notes", seed=7), *entries(10, "system/late"), *entries(10, "late"))

_subsets = st.lists(st.sampled_from(signed_pool()), unique_by=lambda e: e.id, max_size=50)
_plans = st.lists(
    st.tuples(st.integers(1, 60), st.booleans(), st.sampled_from(_MORE)),
    unique_by=lambda each: each[2].id,
    max_size=25,
)


def _stores(mine: list[Entry], theirs: list[Entry]) -> tuple[MemoryStore, MemoryStore]:
    here, there = MemoryStore(leaf_capacity=2), MemoryStore(leaf_capacity=2)
    here.add_many(mine)
    there.add_many(theirs)
    return here, there


@settings(max_examples=150, deadline=None)
@given(_subsets, _subsets, _plans)
def test_with_inserts_on_both_sides_what_differs_at_the_end_arrived_meanwhile(
    mine: list[Entry], theirs: list[Entry], plan: list[tuple[int, bool, Entry]]
) -> None:
    here, there = _stores(mine, theirs)
    steps: dict[int, list[tuple[MemoryStore, Entry]]] = {}
    for step, is_mine, entry in plan:
        steps.setdefault(step, []).append((here if is_mine else there, entry))
    offload = Interleaved(steps)
    met = sync_in_memory(Side(here, offload=offload), Side(there, offload=offload))
    late = {(entry.collection, entry.id) for entry in offload.added}
    differing = members(here) ^ members(there)
    assert met.report.in_sync
    assert differing <= late
    assert met.report.newer <= len(differing)
    again = sync_in_memory(here, there)
    assert (again.report.in_sync, again.report.newer) == (True, 0)
    assert roots(here) == roots(there)


@settings(max_examples=40, deadline=None)
@given(_subsets, _subsets, _plans, st.sampled_from([m.PUSH, m.PULL]))
def test_one_way_sessions_are_in_sync_when_nothing_old_is_missing_at_their_goal(
    mine: list[Entry],
    theirs: list[Entry],
    plan: list[tuple[int, bool, Entry]],
    direction: int,
) -> None:
    here, there = _stores(mine, theirs)
    source, goal = (here, there) if direction == m.PUSH else (there, here)
    before = members(source)
    late = {(entry.collection, entry.id) for _, _, entry in plan}
    steps: dict[int, list[tuple[MemoryStore, Entry]]] = {}
    for step, is_mine, entry in plan:
        steps.setdefault(step, []).append((here if is_mine else there, entry))
    offload = Interleaved(steps)
    met = sync_in_memory(
        Side(here, offload=offload), Side(there, offload=offload), Options(direction=direction)
    )
    assert met.report.in_sync
    assert before <= members(goal)
    assert members(source) - before <= late, "a one-way session brought something back"


def test_a_set_that_never_stops_growing_is_in_sync_as_of_the_sessions_begin() -> None:
    """One entry on each side at every step: the session ends all the same, and says how many
    are newer."""
    here, there = _stores(list(entries(20)), list(entries(25, seed=1)))
    stock = {id(here): list(entries(400, seed=3)), id(there): list(entries(400, seed=4))}
    old = members(here) | members(there)

    def grow(_: str) -> None:
        for store in (here, there):
            store.add_many([stock[id(store)].pop()])

    offload = Interleaved(each=grow)
    met = sync_in_memory(Side(here, offload=offload), Side(there, offload=offload))
    assert met.report.in_sync
    assert 0 < met.report.newer <= len(members(here) ^ members(there))
    assert old <= members(here) & members(there)


def test_sets_that_became_equal_by_themselves_meanwhile_end_in_sync() -> None:
    """Another session may bring the only missing entry after the catalogues were compared."""
    for late_step in range(1, 12):
        here, there = _stores(list(entries(10)), list(entries(11)))
        offload = Interleaved({late_step: [(here, entries(11)[10])]})
        met = sync_in_memory(Side(here, offload=offload), Side(there, offload=offload))
        assert (met.report.in_sync, met.report.newer) == (True, 0)
        assert roots(here) == roots(there)


def test_a_range_that_outgrew_a_list_is_split_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The responder's set grows far over what one list may hold, between the listing and
    the question, or between the list and the wants."""
    assert policy.MOST_LISTED < limits.MAX_LIST_IDS
    monkeypatch.setattr(policy, "MOST_LISTED", 12)
    monkeypatch.setattr(rounds, "MAX_LIST_IDS", 16)
    for late_step in range(1, 14):
        here, there = _stores(list(entries(5)), list(entries(8, seed=1)))
        flood = [(there, entry) for entry in entries(60, seed=2)]
        offload = Interleaved({late_step: flood})
        met = sync_in_memory(Side(here, offload=offload), Side(there, offload=offload))
        assert met.report.in_sync
        assert (members(here) ^ members(there)) <= {(e.collection, e.id) for _, e in flood}


def test_the_budget_of_a_session_grows_with_the_set() -> None:
    """A responder that was empty when the pass began serves all it got since."""
    store = MemoryStore()
    store.add_many(entries(1))

    async def script(peer: Peer) -> None:
        assert await greet_as_initiator(peer) == [("notes", 1)]
        store.add_many(entries(3_000))
        await peer.say(m.Totals(0, 1), m.Want(((0, b"\0", 0, 0, b""),), 0), m.Sent())
        await peer.hear_a(m.Sent)
        await peer.say(m.Close(bytes(32)))
        await peer.hear_a(m.Closed)
        await peer.say(m.Done())

    faced = face_responder(store, script)
    assert faced.error is None
    assert faced.served.entries_sent == 3_000
