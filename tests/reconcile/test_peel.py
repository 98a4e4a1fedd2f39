"""Peeling: the difference or a typed reason why not, in bounded steps, whatever comes in."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from setsync.reconcile import peel, sketch
from setsync.reconcile.peel import Complete, Decoder, Hostile, HostileReason, NeedMore, Verdict
from setsync.reconcile.sketch import I64, U32, U64, SketchKey, Symbols, encode

KEY = SketchKey.derive(b"k" * 32)
IDS = st.sets(st.integers(0, 2**64 - 1), max_size=80)


def array(ids: Iterable[int]) -> U64:
    return np.array(sorted(ids), np.uint64)


def random_ids(count: int, seed: int = 1) -> U64:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def difference(theirs: U64, mine: U64, start: int, stop: int, key: SketchKey = KEY) -> Symbols:
    return encode(theirs, start, stop, key) - encode(mine, start, stop, key)


def place(ids: list[int], signs: list[int], cells: list[int], stop: int) -> Symbols:
    """A crafted sketch: ids put, with signs, into the cells named and nowhere else."""
    symbols, put = Symbols.empty(0, stop, KEY), np.array(ids, np.uint64)
    symbols.scatter(np.array(cells), put, KEY.checksums(put), np.array(signs))
    return symbols


def cells_of(short_id: int, stop: int) -> list[int]:
    seeds = KEY.seeds(np.array([short_id], np.uint64))
    return sorted(cell for _, part in sketch.hits(seeds, 0, stop) for cell in part.tolist())


@given(IDS, IDS, st.integers(0, 250), st.sampled_from([KEY, SketchKey.UNIVERSAL]))
def test_the_difference_or_a_call_for_more(
    a: set[int], b: set[int], cells: int, key: SketchKey
) -> None:
    mine = array(b)
    decoder = Decoder(key, lambda ids: np.isin(ids, mine))
    verdict = decoder.feed(difference(array(a), mine, 0, cells, key))
    if isinstance(verdict, Complete):
        assert cells == 0 or (set(verdict.theirs.tolist()), set(verdict.mine.tolist())) == (
            a - b,
            b - a,
        )
    else:
        assert isinstance(verdict, NeedMore)
        assert verdict.found <= min(verdict.cells, len(a ^ b))


@given(IDS, IDS, st.integers(1, 30))
def test_more_symbols_always_end_in_the_difference(a: set[int], b: set[int], step: int) -> None:
    decoder, stop = Decoder(KEY), 0
    verdict: Verdict = NeedMore(0, 0)
    while not isinstance(verdict, Complete):
        assert isinstance(verdict, NeedMore)
        assert stop < 1000
        verdict = decoder.feed(difference(array(a), array(b), stop, stop + step))
        stop += step
    assert set(verdict.theirs.tolist()) == a - b
    assert set(verdict.mine.tolist()) == b - a


@pytest.mark.parametrize("d", [1000, 20_000])
def test_large_differences_decode_from_the_symbols_stated(d: int) -> None:
    ids = random_ids(d)
    cells = sketch.symbols_for(d, 99)
    verdict = Decoder(KEY).feed(difference(ids[: d // 3], ids[d // 3 :], 0, cells))
    assert isinstance(verdict, Complete)
    assert (verdict.theirs == np.sort(ids[: d // 3])).all()
    assert (verdict.mine == np.sort(ids[d // 3 :])).all()


def test_rounds_give_what_one_round_gives() -> None:
    ids = random_ids(500)
    whole = difference(ids[:200], ids[200:], 0, 800)
    decoder = Decoder(KEY)
    verdicts = [decoder.feed(whole.slice(at, at + 100)) for at in range(0, 800, 100)]
    last, final = verdicts[-1], Decoder(KEY).feed(whole)
    assert isinstance(verdicts[0], NeedMore)
    assert isinstance(last, Complete)
    assert isinstance(final, Complete)
    assert (last.theirs == final.theirs).all()
    assert (last.mine == final.mine).all()


def test_feeding_does_not_change_what_it_is_given() -> None:
    ids = random_ids(40)
    first, second = difference(ids, ids[:0], 0, 20), difference(ids, ids[:0], 20, 90)
    kept = second.slice(20, 90)
    decoder = Decoder(KEY)
    decoder.feed(first)
    assert isinstance(decoder.feed(second), Complete)
    assert (kept - second).is_zero()


def test_the_zero_id_is_an_id_like_any_other() -> None:
    verdict = Decoder(KEY).feed(difference(array({0}), array({5}), 0, 30))
    assert isinstance(verdict, Complete)
    assert (verdict.theirs.tolist(), verdict.mine.tolist()) == ([0], [5])


def test_gaps_and_other_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="do not follow"):
        Decoder(KEY).feed(Symbols.empty(1, 4, KEY))
    with pytest.raises(ValueError, match="another key"):
        Decoder(KEY).feed(Symbols.empty(0, 4, SketchKey.UNIVERSAL))


def test_colliding_short_ids_on_one_side_call_for_more_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Real pairs, made by shortening: two ids of one short id cancel but for their count."""
    ids = np.random.default_rng(6).integers(0, 256, (400, 32), dtype=np.uint8)
    monkeypatch.setattr(sketch, "SHORT_DIGITS", 3)
    short = sketch.short_ids(ids)
    assert len(np.unique(short)) < len(short)
    verdict = Decoder(KEY).feed(difference(short, short[:0], 0, 4000))
    assert isinstance(verdict, NeedMore)
    assert verdict.found < len(short)


def test_taking_one_id_uncovers_another() -> None:
    """Cell 1 holds one id of two and cell 0 both: the second shows when the first is gone."""
    ids = random_ids(200)
    inside = [int(x) for x in ids if 1 in cells_of(int(x), 2)]
    outside = [int(x) for x in ids if 1 not in cells_of(int(x), 2)]
    verdict = Decoder(KEY).feed(difference(array({inside[0]}), array({outside[0]}), 0, 2))
    assert isinstance(verdict, Complete)
    assert (verdict.theirs.tolist(), verdict.mine.tolist()) == ([inside[0]], [outside[0]])


@pytest.mark.parametrize("field", ["sums", "checks", "counts"])
def test_complete_only_when_everything_is_zero(field: str) -> None:
    left = Symbols.empty(0, 9, KEY)
    getattr(left, field)[4] = 7
    assert Decoder(KEY).feed(left) == NeedMore(0, 9)


# Attack A, two cells: x alone in cell 0 and kept out of another of its cells. The plain loop takes
# x out of cell 0, which leaves -x in the other, and so on for ever.
@pytest.mark.parametrize("sign", [1, -1])
def test_an_id_kept_out_of_a_cell_is_taken_once(sign: int) -> None:
    verdict = Decoder(KEY).feed(place([77], [sign], [0], max(cells_of(77, 50)) + 1))
    assert verdict == Hostile(HostileReason.TAKEN_TWICE)


# Attack B: x and -y where only one can be.
def test_ids_with_opposing_signs_end() -> None:
    verdict = Decoder(KEY).feed(place([77, 78], [1, -1], [0, 1], 2))
    assert isinstance(verdict, NeedMore | Hostile)


def test_an_id_in_a_cell_that_it_does_not_map_to_is_left_alone() -> None:
    stranger = next(cell for cell in range(1, 50) if cell not in cells_of(77, 50))
    verdict = Decoder(KEY).feed(place([77], [1], [stranger], 50))
    assert verdict == NeedMore(0, 50)


def test_a_stranger_in_a_cell_does_not_disturb_the_others() -> None:
    """Its sign is not taken for that of the next id, which is found beside it."""
    own = {*cells_of(77, 50), *cells_of(78, 50)}
    stranger = next(cell for cell in range(50) if cell not in own)
    symbols = difference(array(()), array({78}), 0, 50)
    decoder = Decoder(KEY, lambda ids: ids == np.uint64(78))
    assert decoder.feed(symbols - place([77], [-1], [stranger], 50)) == NeedMore(1, 50)


def test_strangers_among_many_take_nothing_from_any_of_them() -> None:
    """Whatever is taken in one pass with a stranger has its own sign and its own cells."""
    stop = 60
    theirs, mine = array(range(100, 107)), array(range(200, 207))
    honest = difference(theirs, mine, 0, stop)
    for stranger in range(300, 320):
        free = [
            cell
            for cell in range(stop)
            if cell not in cells_of(stranger, stop) and not honest.counts[cell]
        ]
        symbols = difference(theirs, mine, 0, stop)
        crafted = place([stranger], [1], [free[stranger % len(free)]], stop)
        symbols.sums ^= crafted.sums
        symbols.checks ^= crafted.checks
        symbols.counts += crafted.counts
        decoder = Decoder(KEY, lambda ids: np.isin(ids, mine))
        found = decoder.feed(symbols)
        assert isinstance(found, NeedMore)
        assert (decoder._left - crafted).is_zero() == (found.found == 14)
        assert found.found in (13, 14)


def test_more_ids_than_cells_are_refused() -> None:
    """A second guard: sketches that get so far take ids whose checksums were ground to cancel.

    So the test starts from a decoder that has taken 39 ids, and has room for one more, not two.
    """
    symbols = difference(array({1, 2}), array(()), 0, 40)
    decoder = Decoder(KEY)
    decoder._ids, decoder._signs = random_ids(39), np.ones(39, np.int64)
    decoder._ids.sort()
    decoder._left = Symbols.empty(0, 0, KEY)
    symbols.add(decoder._ids)
    assert decoder.feed(symbols) == Hostile(HostileReason.TOO_MANY)


def test_ids_must_be_on_the_side_that_their_sign_says() -> None:
    mine = array({1, 2, 3})

    def is_mine(ids: U64) -> NDArray[np.bool_]:
        return np.isin(ids, mine)

    lie = Symbols.empty(0, 20, KEY) - encode(array({9}), 0, 20, KEY)
    assert Decoder(KEY, is_mine).feed(lie) == Hostile(HostileReason.NOT_MINE)
    theft = encode(array({2}), 0, 20, KEY)
    assert Decoder(KEY, is_mine).feed(theft) == Hostile(HostileReason.NOT_MINE)
    among_others = difference(array({9}), array({2, 5}), 0, 40)
    assert Decoder(KEY, is_mine).feed(among_others) == Hostile(HostileReason.NOT_MINE)
    honest = Decoder(KEY, is_mine).feed(difference(array({9}), array({2}), 0, 20))
    assert isinstance(honest, Complete)


def test_a_hostile_sketch_stays_hostile() -> None:
    decoder = Decoder(KEY)
    stop = max(cells_of(77, 50)) + 1
    first = decoder.feed(place([77], [1], [0], stop))
    assert decoder.feed(Symbols.empty(stop, stop + 5, KEY)) == first
    assert decoder.feed(Symbols.empty(0, 1, SketchKey.UNIVERSAL)) == first


def test_passes_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peel, "PASS_LIMIT", 2)
    ids = random_ids(300)
    decoder = Decoder(KEY)
    assert isinstance(decoder.feed(difference(ids, ids[:0], 0, 600)), NeedMore)
    monkeypatch.undo()
    assert isinstance(decoder.feed(Symbols.empty(600, 600, KEY)), Complete)


class CountingSymbols:
    """Counts the hits that a decoder scatters and the cells that it examines."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hits = self.examined = 0
        scatter, pure = Symbols.scatter, Decoder._pure

        def counting_scatter(
            symbols: Symbols, cells: I64, ids: U64, checks: U32, signs: I64 | int
        ) -> None:
            self.hits += len(cells)
            scatter(symbols, cells, ids, checks, signs)

        def counting_pure(decoder: Decoder, suspects: I64) -> peel._Find:
            self.examined += len(suspects)
            return pure(decoder, suspects)

        monkeypatch.setattr(Symbols, "scatter", counting_scatter)
        monkeypatch.setattr(Decoder, "_pure", counting_pure)


@st.composite
def hostile_sketches(draw: st.DrawFn) -> Symbols:
    """Ids in cells of their own, in some of them, in others', with signs and counts that lie."""
    stop = draw(st.integers(1, 40))
    pool = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8, unique=True))
    symbols = Symbols.empty(0, stop, KEY)
    for short_id in pool:
        own = cells_of(short_id, stop)
        cells = draw(
            st.one_of(
                st.just(own),
                st.lists(st.sampled_from(own), max_size=6),
                st.lists(st.integers(0, stop - 1), max_size=6),
            )
        )
        ids = np.full(len(cells), short_id, np.uint64)
        sign = draw(st.sampled_from([1, -1]))
        symbols.scatter(np.array(cells, np.int64), ids, KEY.checksums(ids), sign)
    for _ in range(draw(st.integers(0, 3))):
        symbols.counts[draw(st.integers(0, stop - 1))] = draw(
            st.sampled_from([-(2**48), -2, -1, 0, 1, 2, 2**48])
        )
    return symbols


@settings(max_examples=400)
@given(hostile_sketches())
def test_every_hostile_sketch_ends_in_a_verdict_within_bounds(symbols: Symbols) -> None:
    with pytest.MonkeyPatch.context() as patch:
        counted = CountingSymbols(patch)
        verdict = Decoder(KEY).feed(symbols)
    assert isinstance(verdict, Complete | NeedMore | Hostile)
    assert counted.hits <= len(symbols) * len(symbols)
    assert counted.examined <= len(symbols) + counted.hits
    if isinstance(verdict, Complete):
        rebuilt = difference(verdict.theirs, verdict.mine, 0, len(symbols))
        assert (rebuilt - symbols).is_zero()


def test_random_cells_are_left_alone() -> None:
    rng = np.random.default_rng(8)
    noise = Symbols(
        KEY,
        0,
        random_ids(500),
        rng.integers(0, 2**32, 500, dtype=np.uint32),
        rng.integers(-1, 2, 500),
    )
    assert Decoder(KEY).feed(noise) == NeedMore(0, 500)
