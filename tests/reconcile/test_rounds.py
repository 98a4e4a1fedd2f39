"""Any two sets, however small the trie's leaves and however long the common prefixes: the
difference found is the difference; and sets that grow meanwhile do no harm."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setsync.errors import PeerError
from setsync.limits import MAX_ROUNDS
from setsync.reconcile import policy, rounds
from setsync.reconcile.labels import FULL, SHORT
from setsync.reconcile.questions import Answer, from_wire, to_wire
from setsync.reconcile.rounds import Initiator, answer
from setsync.reconcile.sketching import Held
from setsync.reconcile.view import EmptyView, ListView, SetView
from setsync.reconcile.wants import ALL, resolve
from tests.helpers import id_sets, ids, some_bytes

KEY = some_bytes("key")


def _view(members: Sequence[bytes], capacity: int) -> SetView:
    return ListView(sorted(members), capacity)


class Grown:
    """Two lists of collections that may grow between the steps of a reconciliation."""

    def __init__(
        self, mine: Sequence[Sequence[bytes]], theirs: Sequence[Sequence[bytes]], capacity: int
    ) -> None:
        self.mine = [set(some) for some in mine]
        self.theirs = [set(some) for some in theirs]
        self.capacity = capacity

    def views(self, sets: Sequence[set[bytes]]) -> dict[int, SetView]:
        """What a side sees now."""
        return {
            at: _view(sorted(some), self.capacity) if some else EmptyView()
            for at, some in enumerate(sets)
        }

    def compare(
        self, width: int, late: Sequence[tuple[int, bool, int, bytes]] = ()
    ) -> tuple[list[set[bytes]], list[set[bytes]]]:
        """(missing here, missing there) by collection. `late` ids arrive before a step."""
        initiator = Initiator(KEY, width)
        for at, (mine, theirs) in enumerate(zip(self.mine, self.theirs, strict=True)):
            if mine != theirs:
                initiator.open(at, len(theirs))
        held, step = Held(), 0

        def grow() -> None:
            nonlocal step
            step += 1
            for when, is_mine, at, id_ in late:
                if when == step:
                    (self.mine if is_mine else self.theirs)[at % len(self.mine)].add(id_)

        while True:
            grow()
            questions = initiator.ask(self.views(self.mine))
            if not questions:
                break
            assert step < 2 * MAX_ROUNDS
            grow()
            views = self.views(self.theirs)
            given = [answer(from_wire(to_wire(q)), views, KEY, held) for q in questions]
            initiator.take(given, self.views(self.mine))
        return self._found(initiator)

    def _found(self, initiator: Initiator) -> tuple[list[set[bytes]], list[set[bytes]]]:
        here: list[set[bytes]] = [set() for _ in self.mine]
        there: list[set[bytes]] = [set() for _ in self.mine]
        mine, theirs = self.views(self.mine), self.views(self.theirs)
        for place, _ in initiator.difference.push:
            there[place.collection] |= {
                row.tobytes() for row in mine[place.collection].ids(place.prefix)
            }
        for at, parts in initiator.difference.missing_there.items():
            there[at] |= {row.tobytes() for part in parts for row in part}
        for wanted in initiator.difference.missing_here:
            view = theirs[wanted.range.collection]
            rows = (
                view.ids(wanted.range.prefix) if wanted.kind == ALL else resolve(wanted, view, KEY)
            )
            here[wanted.range.collection] |= {row.tobytes() for row in rows}
        return here, there


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(id_sets(), id_sets(), id_sets()), min_size=1, max_size=3),
    st.sampled_from([1, 2, 32]),
)
def test_whole_ids_find_exactly_the_difference(
    collections: list[tuple[list[bytes], list[bytes], list[bytes]]], capacity: int
) -> None:
    """The last rung trusts nothing shorter than an id: no chance is involved."""
    mine = [sorted({*a, *both}) for a, _, both in collections]
    theirs = [sorted({*b, *both}) for _, b, both in collections]
    here, there = Grown(mine, theirs, capacity).compare(FULL)
    assert here == [set(b) - set(a) for a, b in zip(mine, theirs, strict=True)]
    assert there == [set(a) - set(b) for a, b in zip(mine, theirs, strict=True)]


@settings(max_examples=100, deadline=None)
@given(id_sets(), id_sets(), id_sets(), st.sampled_from([1, 2, 32]))
def test_the_first_rung_never_names_what_is_not_missing(
    a: list[bytes], b: list[bytes], both: list[bytes], capacity: int
) -> None:
    """Short lists may overlook one in a thousand times; and what they name as missing there
    is missing there, unless two ids share a value."""
    mine, theirs = {*a, *both}, {*b, *both}
    (here,), (there,) = Grown([sorted(mine)], [sorted(theirs)], capacity).compare(SHORT)
    assert there <= mine - theirs
    assert theirs - mine >= here - mine
    # Fixed keys and examples: an oversight would be the same in every run of an example.
    assert len((mine ^ theirs) - here - there) <= 2


@settings(max_examples=150, deadline=None)
@given(
    id_sets(),
    id_sets(),
    st.lists(st.tuples(st.integers(1, 12), st.booleans(), st.integers(0, 1), ids()), max_size=12),
    st.sampled_from([1, 2, 32]),
    st.sampled_from([SHORT, FULL]),
)
def test_sets_that_grow_between_rounds_end_all_the_same(
    a: list[bytes],
    b: list[bytes],
    late: list[tuple[int, bool, int, bytes]],
    capacity: int,
    width: int,
) -> None:
    """Whatever was missing at the begin and still is, is found; nothing else is named but what
    arrived meanwhile."""
    grown = Grown([a, []], [b, []], capacity)
    old_here, old_there = set(b) - set(a), set(a) - set(b)
    (here, _), (there, _) = grown.compare(width, late)
    new = {id_ for *_, id_ in late}
    assert there - old_there <= new
    assert here - old_here <= new | (set(a) & set(b))
    if width == FULL:
        assert old_here - here <= new
        assert old_there - there <= new


def test_lists_that_were_outgrown_lead_to_smaller_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """A responder whose range has become too long for a list says how long it is."""
    monkeypatch.setattr(rounds, "MAX_LIST_IDS", 100)
    monkeypatch.setattr(policy, "MOST_LISTED", 95)
    mine = [some_bytes("mine", at) for at in range(90)]
    theirs = [some_bytes("theirs", at) for at in range(90)]
    late = [(2, False, 0, some_bytes("late", at)) for at in range(3_000)]
    (here,), (there,) = Grown([mine], [theirs], 32).compare(FULL, late)
    assert there == set(mine)
    assert here >= set(theirs)


def test_another_number_of_answers_than_of_questions_is_refused() -> None:
    views = {0: _view([some_bytes(0)], 32)}
    for count in (0, 2):
        initiator = Initiator(KEY)
        initiator.open(0, 1)
        assert len(initiator.ask(views)) == 1
        with pytest.raises(PeerError):
            initiator.take([Answer((1,), bytes(4))] * count, views)
