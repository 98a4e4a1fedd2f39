"""Wants name exactly what is wanted, and nothing of what was left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setsync.limits import KIB, MAX_ARRAY
from setsync.reconcile import wants
from setsync.reconcile.idlist import keyed_ids, truncate
from setsync.reconcile.questions import Range
from setsync.reconcile.sketch import short_ids
from setsync.reconcile.view import IdArray, ListView, id_array
from setsync.reconcile.wants import ALL, SHORT_IDS, But, Wanted, resolve, without
from tests.helpers import ids

KEY = b"k" * 32
EVERYTHING = Range(0, "")


def _array(some: set[bytes]) -> IdArray:
    return id_array(b"".join(sorted(some)))


def _named(wanted: Wanted, there: set[bytes]) -> set[bytes]:
    """What a responder with these ids sends for a want, after it has travelled."""
    arrived = Wanted.from_wire(wanted.to_wire())
    view = ListView(list(there))
    rows = view.ids(arrived.range.prefix) if arrived.kind == ALL else resolve(arrived, view, KEY)
    return {row.tobytes() for row in rows}


def _wanting(kind: str, some: set[bytes]) -> list[Wanted]:
    rows = _array(some)
    match kind:
        case "whole":
            return list(wants.want_ids(EVERYTHING, rows))
        case "short":
            return list(wants.want_numbers(EVERYTHING, SHORT_IDS, np.sort(short_ids(rows))))
        case "keyed":
            values, _ = truncate(keyed_ids(rows, KEY), 60)
            return list(wants.want_numbers(EVERYTHING, 60, values))
        case _:
            return [Wanted(EVERYTHING, ALL, len(some))]


@settings(max_examples=200)
@given(
    st.sets(ids(), max_size=60),
    st.sets(ids(), max_size=60),
    st.sampled_from(["whole", "short", "keyed", "all"]),
    st.data(),
)
def test_what_is_left_out_does_not_come_and_all_else_does(
    lacking: set[bytes], elsewhere: set[bytes], kind: str, data: st.DataObject
) -> None:
    anything = sorted(lacking | elsewhere)
    unwanted = data.draw(
        st.sets(st.sampled_from(anything), max_size=40) if anything else st.just(set())
    )
    left = [
        part for want in _wanting(kind, lacking) for part in without(want, _array(unwanted), KEY)
    ]
    came = set[bytes]().union(*(_named(part, lacking) for part in left))
    beginnings = {id_[:8] for id_ in unwanted} if kind == "short" else set()
    alike = {id_ for id_ in lacking - unwanted if id_[:8] in beginnings}
    assert came == lacking - unwanted - alike
    assert sum(part.count for part in left) <= len(came)


@given(st.sets(ids(), min_size=1, max_size=200), st.data())
def test_more_than_fits_into_an_item_is_left_out_of_smaller_ranges(
    there: set[bytes], data: st.DataObject
) -> None:
    unwanted = data.draw(st.sets(st.sampled_from(sorted(there)), max_size=200))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wants, "MAX_WANTED_IDS", 3)
        left = list(without(Wanted(EVERYTHING, ALL, len(there)), _array(unwanted), KEY))
        parts = [_named(part, there) for part in left]
        assert all(part.left_out <= 3 for part in left)
    assert sum(map(len, parts)) == len(there - unwanted)
    assert set[bytes]().union(*parts) == there - unwanted


@pytest.mark.parametrize("kind", ["whole", "short"])
@given(st.sets(ids(), min_size=1, max_size=60), st.text("0123456789abcdef", max_size=2))
def test_nothing_outside_the_range_is_named_in_whichever_way_it_is_looked_for(
    kind: str, there: set[bytes], prefix: str
) -> None:
    """One value in a range that is looked up, and many in a range that is read."""
    inside = {id_ for id_ in there if id_.hex().startswith(prefix)}
    for lookup_ids in (0, len(there)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wants, "LOOKUP_IDS", lookup_ids)
            for want in _wanting(kind, there):
                ranged = replace(want, range=Range(0, prefix))
                assert _named(ranged, there) == inside


@given(st.sets(ids(), max_size=50), st.integers(0, 50))
def test_a_range_is_streamed_as_it_is_resolved(there: set[bytes], count: int) -> None:
    unwanted = set(sorted(there)[:count])
    for part in without(Wanted(EVERYTHING, ALL, len(there)), _array(unwanted), KEY):
        rows = ListView(list(there)).ids("")
        streamed = But.of(part, KEY).keep(rows) if part.is_all_but else rows
        assert {row.tobytes() for row in streamed} == there - unwanted


@pytest.mark.parametrize("kind", [65, 99, 101, 128, 193, 254])
def test_a_kind_of_wanting_that_is_none_is_refused(kind: int) -> None:
    with pytest.raises(ValueError, match="no kind"):
        Wanted.from_wire((0, b"\x00", kind, 0, b""))


def test_what_is_left_out_of_a_million_takes_about_four_bytes_each() -> None:
    rng = np.random.default_rng(7)
    unwanted = rng.integers(0, 256, (10_000, 32), np.uint8)
    (part,) = without(Wanted(EVERYTHING, ALL, 1_000_000), unwanted, KEY)
    assert (part.count, part.left_out) == (990_000, 10_000)
    assert len(part.values) < 4.0 * 10_000


@given(st.lists(st.integers(0, 300_000), max_size=30), st.integers(0, 9_000))
def test_wants_in_messages_are_all_there_in_order_and_none_is_too_large(
    sizes: list[int], small: int
) -> None:
    wanted = [Wanted(EVERYTHING, ALL, at, bytes(size)) for at, size in enumerate(sizes)]
    wanted += [Wanted(EVERYTHING, ALL, at) for at in range(small)]
    messages = wants.in_messages(wanted)
    assert [want for part in messages for want in part] == wanted
    for part in messages:
        assert 0 < len(wants.items_of(part)) <= MAX_ARRAY
        # It was not full before the last one came.
        assert sum(len(want.values) for want in part[:-1]) < 256 * KIB
