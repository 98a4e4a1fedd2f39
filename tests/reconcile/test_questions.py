"""A question has one tuple that travels; no other tuple is a question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsync.reconcile.questions import (
    AskChildren,
    AskList,
    AskSketch,
    Question,
    Range,
    WireQuestion,
    from_wire,
    read_prefix,
    to_wire,
    wire_prefix,
)

_prefixes = st.text("0123456789abcdef", max_size=64)
_ranges = st.builds(Range, st.integers(0, 2**32 - 1), _prefixes)
_cells = st.lists(st.integers(0, 1_000), min_size=4, max_size=4)


def _sketch(place: Range, cells: list[int]) -> AskSketch:
    start, known, stop, counted = sorted(cells)
    return AskSketch(place, start, stop, known, counted)


QUESTIONS: st.SearchStrategy[Question] = st.one_of(
    st.builds(
        AskChildren,
        st.builds(Range, st.integers(0, 9), st.text("0123456789abcdef", max_size=62)),
        st.sampled_from([1, 2]),
        st.sampled_from([8, 32]),
    ),
    st.builds(AskList, _ranges, st.integers(0, 64)),
    st.builds(_sketch, _ranges, _cells),
)


@given(QUESTIONS)
def test_a_question_comes_back_as_it_went(question: Question) -> None:
    assert from_wire(to_wire(question)) == question


@given(
    st.tuples(
        st.integers(0, 5),
        st.integers(0, 3),
        st.one_of(st.binary(max_size=34), _prefixes.map(wire_prefix)),
        st.lists(st.one_of(st.integers(0, 70), st.integers(0, 2**32 - 1)), max_size=5).map(tuple),
    )
)
def test_any_tuple_is_the_one_of_a_question_or_a_value_error(wire: WireQuestion) -> None:
    try:
        question = from_wire(wire)
    except ValueError:
        return
    assert to_wire(question) == wire


@given(_prefixes)
def test_a_prefix_comes_back_as_it_went(prefix: str) -> None:
    assert read_prefix(wire_prefix(prefix)) == prefix
    assert len(wire_prefix(prefix)) == 1 + (len(prefix) + 1) // 2


@pytest.mark.parametrize(
    "wire", ["", "01", "010f", "0110aa", "0310", "ff", "41" + "00" * 33, "00aa", "03abcd"]
)
def test_a_prefix_has_one_spelling(wire: str) -> None:
    with pytest.raises(ValueError):
        read_prefix(bytes.fromhex(wire))


def test_children_are_asked_for_only_where_there_are_digits_left() -> None:
    for depth, levels in ((64, 1), (63, 2), (64, 2)):
        with pytest.raises(ValueError):
            from_wire((1, 0, wire_prefix("0" * depth), (levels, 8)))
    assert from_wire((1, 0, wire_prefix("0" * 63), (1, 8))) is not None
