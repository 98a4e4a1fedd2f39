"""Hostile or unlucky sets end in the truth by the next rung of the ladder, or in a refusal."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setsync.errors import PeerError
from setsync.reconcile import sketch
from setsync.reconcile.labels import FULL, SHORT
from setsync.reconcile.policy import FIRST_COUNTS, Closer, choose
from setsync.reconcile.questions import Answer, AskChildren, AskList, AskSketch, Question
from setsync.reconcile.rounds import Initiator, answer
from setsync.reconcile.sketch import Symbols
from setsync.reconcile.sketching import Held
from setsync.reconcile.view import ListView, SetView, encode_view
from setsync.reconcile.wants import ALL, resolve
from tests.helpers import some_bytes

KEY = b"k" * 32
MOST_ROUNDS = 80

Change = Callable[[Question, Answer], Answer]


def ids_of(n: int, what: object = 0) -> list[bytes]:
    """Ids, the same in every run."""
    return [some_bytes("id", what, i) for i in range(n)]


class Talked:
    """A whole reconciliation between two lists, and what it found."""

    def __init__(
        self,
        mine: Sequence[bytes],
        theirs: Sequence[bytes],
        *,
        width: int = SHORT,
        key: bytes = KEY,
        change: Change = lambda question, given: given,
    ) -> None:
        here, there = ListView(mine), ListView(theirs)
        initiator = Initiator(key, width)
        initiator.open(0, len(theirs))
        held = Held()
        self.questions: list[Question] = []
        self.bytes = 0
        while questions := initiator.ask({0: here}):
            assert len(self.questions) < MOST_ROUNDS * 300
            self.questions += questions
            answers = [change(q, answer(q, {0: there}, key, held)) for q in questions]
            self.bytes += sum(len(given.blob) for given in answers)
            initiator.take(answers, {0: here})
        found = initiator.difference
        self.there = {
            row.tobytes() for parts in found.missing_there.values() for ids in parts for row in ids
        } | {row.tobytes() for place, _ in found.push for row in here.ids(place.prefix)}
        self.here = {
            row.tobytes()
            for wanted in found.missing_here
            for row in (
                there.ids(wanted.range.prefix)
                if wanted.kind == ALL
                else resolve(wanted, there, key)
            )
        }

    def used(self, kind: type) -> int:
        """How many questions of a kind there were."""
        return sum(isinstance(question, kind) for question in self.questions)


def assert_truth(talked: Talked, mine: Sequence[bytes], theirs: Sequence[bytes]) -> None:
    assert talked.there == set(mine) - set(theirs)
    assert talked.here - set(mine) == set(theirs) - set(mine)


@settings(max_examples=40, deadline=None)
@given(
    common=st.integers(0, 1_500),
    mine=st.integers(0, 400),
    theirs=st.integers(0, 400),
    seed=st.integers(0, 5),
)
def test_any_two_sets_are_told_apart_exactly(
    common: int, mine: int, theirs: int, seed: int
) -> None:
    both = ids_of(common, seed)
    here = both + ids_of(mine, ("mine", seed))
    there = both + ids_of(theirs, ("theirs", seed))
    assert_truth(Talked(here, there), here, there)


@pytest.mark.parametrize(("common", "d"), [(50_000, 300), (30_000, 12_000), (0, 50_000)])
def test_large_sets_are_told_apart_exactly_as_well(common: int, d: int) -> None:
    both = ids_of(common)
    mine, theirs = both + ids_of(d // 2, "mine"), both + ids_of(d // 2, "theirs")
    assert_truth(Talked(mine, theirs), mine, theirs)


@pytest.mark.parametrize("d", [2, 20, 200, 2_000])
def test_a_scattered_difference_costs_about_twenty_bytes_each(d: int) -> None:
    both = ids_of(20_000)
    mine, theirs = both + ids_of(d // 2, "mine"), both + ids_of(d // 2, "theirs")
    talked = Talked(mine, theirs)
    assert_truth(talked, mine, theirs)
    assert talked.used(AskSketch) == len(talked.questions)
    assert talked.bytes <= 450 + 32 * d


def test_ground_pairs_on_one_side_cancel_in_the_sketch_and_are_found_by_splitting() -> None:
    """Two ids of one author with the same 8 bytes in front: their sum is zero, their count two."""
    both = ids_of(3_000)
    pairs = [some_bytes("pair", i, length=8) + some_bytes(i, side, length=24)
             for i in range(3) for side in "ab"]  # fmt: skip
    mine, theirs = [*both, *pairs], [*both, *ids_of(10, "theirs")]
    talked = Talked(mine, theirs)
    assert_truth(talked, mine, theirs)
    assert talked.used(AskSketch)
    assert talked.used(AskChildren)


def test_ground_twins_hide_from_the_sketch_and_not_from_whole_digests() -> None:
    """One id here, another there, the same 8 bytes in front: the sketch sees neither. The
    digests compared at the end do, and the last rung compares whole ids."""
    both = ids_of(3_000)
    front = some_bytes("front", length=8)
    mine, theirs = [*both, front + b"a" * 24], [*both, front + b"b" * 24]
    assert Talked(mine, theirs).there == set()
    assert_truth(Talked(mine, theirs, width=FULL), mine, theirs)


@pytest.mark.parametrize("digits", [2, 3, 4])
def test_with_short_ids_cut_down_the_last_rung_still_finds_the_truth(
    monkeypatch: pytest.MonkeyPatch, digits: int
) -> None:
    monkeypatch.setattr(sketch, "SHORT_DIGITS", digits)
    both = ids_of(2_000)
    mine, theirs = both + ids_of(150, "mine"), both + ids_of(150, "theirs")
    Talked(mine, theirs)  # ends, whatever it finds
    assert_truth(Talked(mine, theirs, width=FULL), mine, theirs)


def test_a_responder_whose_symbols_are_noise_is_found_out_and_the_truth_found() -> None:
    chance = random.Random(1)

    def noise(question: Question, given: Answer) -> Answer:
        if not isinstance(question, AskSketch):
            return given
        sums = 12 * (question.stop - question.start)
        return Answer(given.numbers, chance.randbytes(sums) + given.blob[sums:])

    both = ids_of(3_000)
    mine, theirs = both + ids_of(20, "mine"), both + ids_of(20, "theirs")
    talked = Talked(mine, theirs, change=noise)
    assert_truth(talked, mine, theirs)
    assert talked.used(AskSketch) <= 200
    assert talked.used(AskChildren)


def test_symbols_that_would_peel_for_ever_end_in_a_split() -> None:
    """The two-cell loop of the plain decoder: one id in cell 0, and cell 1 empty."""

    def loop(question: Question, given: Answer) -> Answer:
        if not isinstance(question, AskSketch):
            return given
        sums = bytearray(given.blob[: 12 * (question.stop - question.start)])
        sums[8:16] = b"\0" * 8
        return Answer(given.numbers, bytes(sums) + given.blob[len(sums) :])

    both = ids_of(3_000)
    mine, theirs = [*both, *ids_of(1, "mine")], both
    assert_truth(Talked(mine, theirs, change=loop), mine, theirs)


def test_a_sketch_that_claims_ids_of_ours_that_we_do_not_have_is_not_believed() -> None:
    """Coded symbols of another set altogether decode, if they are few, to ids that are not ours."""
    both = ids_of(3_000)
    other = ListView([*both, some_bytes("not mine")])

    def swap(question: Question, given: Answer) -> Answer:
        if isinstance(question, AskSketch) and not question.range.prefix:
            honest = answer(question, {0: other}, KEY, Held())
            return Answer(honest.numbers, honest.blob)
        return given

    mine, theirs = [*both, *ids_of(2, "mine")], [*both, *ids_of(2, "theirs")]
    talked = Talked(mine, theirs, change=swap)
    assert talked.there <= set(mine)


def test_a_range_with_too_many_ids_to_encode_is_split_and_neither_side_encodes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ids under one digit cost their author sixteen hashes each."""
    most = 15_000
    encoded: list[int] = []

    def encode(view: SetView, prefix: str) -> Symbols:
        encoded.append(view.summary(prefix).count if prefix else 0)
        return encode_view(view, prefix)

    monkeypatch.setattr("setsync.reconcile.sketching.MAX_ENCODED_IDS", most)
    monkeypatch.setattr("setsync.reconcile.view.encode_view", encode)
    both, few, many, others = [
        [bytes([id_[0] & 15]) + id_[1:] for id_ in ids_of(count, what)]
        for count, what in ((12_000, "both"), (1_000, "few"), (9_000, "many"), (9_000, "others"))
    ]
    for mine, theirs in ((few, many), (many, others)):
        talked = Talked(both + mine, both + theirs)
        assert_truth(talked, both + mine, both + theirs)
        assert talked.used(AskSketch)
        assert talked.used(AskChildren)
    assert max(encoded) <= most


@pytest.mark.parametrize("size", [0, 1, 3_030, 2**40])
def test_a_responder_that_says_no_sketch_is_asked_for_smaller_ranges(size: int) -> None:
    def none(question: Question, given: Answer) -> Answer:
        return Answer((size,)) if isinstance(question, AskSketch) else given

    both = ids_of(3_000)
    mine, theirs = both + ids_of(30, "mine"), both + ids_of(30, "theirs")
    talked = Talked(mine, theirs, change=none)
    assert talked.used(AskSketch) <= 17
    assert talked.there >= set(mine) - set(theirs)
    if size > 1:
        assert_truth(talked, mine, theirs)


@pytest.mark.parametrize("factor", [0, 3, 1_000])
def test_a_size_that_lies_ends_in_a_refusal_or_the_truth(factor: int) -> None:
    def lie(question: Question, given: Answer) -> Answer:
        if isinstance(question, AskSketch | AskList):
            return Answer((given.numbers[0] * factor,), given.blob)
        return given

    both = ids_of(3_000)
    mine, theirs = both + ids_of(30, "mine"), both + ids_of(30, "theirs")
    try:
        talked = Talked(mine, theirs, change=lie)
    except PeerError:
        return
    assert talked.there <= set(mine)


@pytest.mark.parametrize("mangled", ["cut", "longer", "numbers", "empty"])
def test_an_answer_that_does_not_fit_is_a_peer_error(mangled: str) -> None:
    def mangle(question: Question, given: Answer) -> Answer:
        match mangled:
            case "cut":
                return Answer(given.numbers, given.blob[:-1])
            case "longer":
                return Answer(given.numbers, given.blob + b"\0")
            case "numbers":
                return Answer((*given.numbers, 1), given.blob)
            case _:
                return Answer()

    both = ids_of(3_000)
    with pytest.raises(PeerError, match="does not fit"):
        Talked([*both, *ids_of(9, "mine")], both, change=mangle)


# --- the cost model -----------------------------------------------------------------------

M = 1_000_000


@pytest.mark.parametrize(
    ("mine", "theirs", "expected", "closer"),
    [
        (0, 0, None, Closer.PUSH_ALL),
        (5, 0, None, Closer.PUSH_ALL),
        (10 * M, 0, None, Closer.PUSH_ALL),
        (0, 5, None, Closer.WANT_ALL),
        (0, 10 * M, None, Closer.WANT_ALL),
        (1, 1, None, Closer.LIST),
        (40, 41, None, Closer.LIST),
        (200, 200, None, Closer.LIST),
        (1_000, 1_000, None, Closer.SKETCH),
        (1_000, 1_000, 20, Closer.SKETCH),
        (1_000, 1_000, 500, Closer.LIST),
        (1, 1_000, None, Closer.LIST),
        (10_000, 10_000, None, Closer.SKETCH),
        (10_000, 10_000, 2_000, Closer.LIST),
        (100_000, 100_000, 2_000, Closer.SKETCH),
        (M, M, None, Closer.SKETCH),
        (M, M, 2, Closer.SKETCH),
        (M, M, 2_000, Closer.SKETCH),
        (M, M, 20_000, Closer.SPLIT_SKETCH),
        (10 * M, 10 * M, 20, Closer.SKETCH),
        (10 * M, 10 * M, 10 * M, Closer.SPLIT_SKETCH),
    ],
)
def test_the_closer_is_the_cheapest_of_the_model(
    mine: int, theirs: int, expected: float | None, closer: Closer
) -> None:
    assert choose(mine, theirs, 0, expected) is closer


@given(n=st.integers(1, 10 * M), d=st.integers(1, 10 * M), more=st.integers(0, M))
def test_a_larger_difference_never_turns_a_list_back_into_a_sketch(
    n: int, d: int, more: int
) -> None:
    """Monotone: in d the order is sketch, then list or more sketches."""
    if choose(n, n, 0, d) is not Closer.SKETCH:
        assert choose(n, n, 0, d + more) is not Closer.SKETCH


@given(
    mine=st.integers(0, 10 * M),
    theirs=st.integers(0, 10 * M),
    depth=st.integers(0, 64),
    expected=st.none() | st.floats(1, 10 * M),
    sketches=st.booleans(),
)
def test_every_situation_has_a_closer_that_is_possible(
    mine: int, theirs: int, depth: int, expected: float | None, sketches: bool
) -> None:
    closer = choose(mine, theirs, depth, expected, sketches=sketches)
    assert (closer is Closer.PUSH_ALL) == (theirs == 0)
    assert (closer is Closer.WANT_ALL) == (mine == 0 < theirs)
    if not sketches:
        assert closer not in (Closer.SKETCH, Closer.SPLIT_SKETCH)
    if closer in (Closer.SPLIT, Closer.SPLIT_TWICE, Closer.SPLIT_SKETCH):
        assert depth + 2 <= 64


def test_the_first_question_about_a_million_is_sixteen_symbols_and_counts() -> None:
    """Some 0.4 KB, whatever the sets."""
    both = ids_of(5_000)
    talked = Talked([*both, *ids_of(1, "mine")], [*both, *ids_of(1, "theirs")])
    first = talked.questions[0]
    assert isinstance(first, AskSketch)
    assert (first.start, first.stop, first.known, first.counted) == (0, 16, 0, FIRST_COUNTS)
    assert len(talked.questions) == 1
    assert talked.bytes <= 450
