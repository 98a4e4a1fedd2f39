"""Coded symbols: the mapping as stated, sums that add up over sets, counts that estimate."""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import TypedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsync.reconcile import sketch
from setsync.reconcile.sketch import U64, SketchKey, Symbols, encode

UNIVERSAL = SketchKey.UNIVERSAL
SESSION = SketchKey.derive(bytes(range(32)))
MASK = 2**64 - 1
IDS = st.sets(st.integers(0, MASK), max_size=60)
KEYS = st.sampled_from([UNIVERSAL, SESSION])


class Golden(TypedDict):
    """What a key makes of four ids: hexadecimal words, and the cells of each id."""

    words: list[str]
    seeds: list[str]
    checks: list[str]
    cells: list[list[int]]


def array(ids: Iterable[int]) -> U64:
    return np.array(sorted(ids), np.uint64)


def random_ids(count: int, seed: int = 1) -> U64:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def same(a: Symbols, b: Symbols) -> bool:
    return (a.key, a.start, a.stop) == (b.key, b.start, b.stop) and all(
        np.array_equal(*pair)
        for pair in ((a.sums, b.sums), (a.checks, b.checks), (a.counts, b.counts))
    )


def mix(z: int) -> int:
    """The stated mixer, in plain integers."""
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def plain_cells(short_id: int, stop: int, key: SketchKey) -> list[int]:
    """The stated walk, in plain Python integers and floats."""
    draw = mix(mix(short_id ^ key.words[0]) + key.words[1] & MASK) | 1
    place, cells = 2.0, list[int]()
    while place < stop + 2:
        cells.append(int(place) - 2)
        draw = draw * 0xF1357AEA2E62A9C5 & MASK
        leap = 2.0**26 / math.sqrt(float(draw >> 12) + 1.0)
        place = float(math.floor(place * leap)) + 1.0
    return cells


def plain_encode(
    ids: Iterable[int], start: int, stop: int, key: SketchKey
) -> list[tuple[int, int, int]]:
    sums, checks, counts = [0] * stop, [0] * stop, [0] * stop
    for short_id in ids:
        check = mix(mix(short_id ^ key.words[0]) + key.words[2] & MASK) >> 32
        for cell in plain_cells(short_id, stop, key):
            sums[cell] ^= short_id
            checks[cell] ^= check
            counts[cell] += 1
    return list(zip(sums, checks, counts, strict=True))[start:]


@given(IDS, KEYS, st.integers(0, 40), st.integers(0, 300))
def test_encode_is_the_stated_definition(
    ids: set[int], key: SketchKey, start: int, length: int
) -> None:
    symbols = encode(array(ids), start, start + length, key)
    rows = zip(symbols.sums.tolist(), symbols.checks.tolist(), symbols.counts.tolist(), strict=True)
    assert list(rows) == plain_encode(ids, start, start + length, key)


@pytest.mark.parametrize("key", ["universal", "session"])
def test_golden_vectors(key: str) -> None:
    golden = GOLDEN[key]
    sketch_key = {"universal": UNIVERSAL, "session": SESSION}[key]
    ids = np.array([0, 1, 0x0123456789ABCDEF, MASK], np.uint64)
    assert [f"{word:016x}" for word in sketch_key.words] == golden["words"]
    assert [f"{seed:016x}" for seed in sketch_key.seeds(ids).tolist()] == golden["seeds"]
    assert [f"{check:08x}" for check in sketch_key.checksums(ids).tolist()] == golden["checks"]
    for short_id, cells in zip(ids.tolist(), golden["cells"], strict=True):
        assert plain_cells(short_id, 100_000, sketch_key) == cells
        found = [
            cell
            for _, part in sketch.hits(sketch_key.seeds(ids[ids == short_id]), 0, 100_000)
            for cell in part.tolist()
        ]
        assert sorted(found) == cells


def test_checksum_and_mapping_are_not_linear() -> None:
    """An XOR of ids must not carry the XOR of their checksums, or cells of three look pure."""
    ids = random_ids(3000).reshape(3, 1000)
    checks = [UNIVERSAL.checksums(part) for part in ids]
    whole = UNIVERSAL.checksums(ids[0] ^ ids[1] ^ ids[2])
    assert not (whole == checks[0] ^ checks[1] ^ checks[2]).any()
    flips = UNIVERSAL.seeds(ids[0]) ^ UNIVERSAL.seeds(ids[0] ^ np.uint64(1))
    assert len(np.unique(flips)) == 1000


@given(IDS, IDS, KEYS)
def test_what_is_common_cancels(a: set[int], b: set[int], key: SketchKey) -> None:
    whole = encode(array(a), 0, 50, key) - encode(array(b), 0, 50, key)
    parts = encode(array(a - b), 0, 50, key) - encode(array(b - a), 0, 50, key)
    assert same(whole, parts)
    assert whole.is_zero() == (a == b)


@given(IDS, IDS, KEYS)
def test_adding_and_removing_keep_up_with_encoding(
    a: set[int], b: set[int], key: SketchKey
) -> None:
    symbols = encode(array(a), 3, 40, key)
    symbols.add(array(b - a))
    assert same(symbols, encode(array(a | b), 3, 40, key))
    symbols.remove(array(a))
    assert same(symbols, encode(array(b - a), 3, 40, key))


@given(IDS, st.lists(st.integers(0, 200), min_size=3, max_size=3).map(sorted))
def test_intervals_cut_and_join(ids: set[int], cuts: list[int]) -> None:
    start, middle, stop = cuts
    whole = encode(array(ids), start, stop, UNIVERSAL)
    left, right = whole.slice(start, middle), whole.slice(middle, stop)
    assert same(right, encode(array(ids), middle, stop, UNIVERSAL))
    assert same(left.concat(right), whole)


def test_a_slice_does_not_follow_later_changes() -> None:
    symbols = encode(random_ids(10), 0, 8, UNIVERSAL)
    part = symbols.slice(0, 8)
    symbols.add(random_ids(5, seed=2))
    assert same(part, encode(random_ids(10), 0, 8, UNIVERSAL))


def test_chunks_join_up() -> None:
    """More ids than are handled at a time, against the sum of two halves."""
    ids = random_ids(40_000)
    halves = encode(ids[:9], 0, 64, UNIVERSAL)
    halves.add(ids[9:])
    assert same(halves, encode(ids, 0, 64, UNIVERSAL))


def test_the_symbols_of_two_sets_together_are_those_of_their_union() -> None:
    ids = random_ids(1_000)
    one, two = encode(ids[:300], 0, 64, UNIVERSAL), encode(ids[300:], 0, 64, UNIVERSAL)
    before = one.slice(0, 64)
    assert same(one + two, encode(ids, 0, 64, UNIVERSAL))
    assert same(one, before)


def test_mismatched_intervals_and_keys_are_refused() -> None:
    symbols = Symbols.empty(2, 6, UNIVERSAL)
    for other in (
        Symbols.empty(2, 7, UNIVERSAL),
        Symbols.empty(3, 7, UNIVERSAL),
        Symbols.empty(2, 6, SESSION),
    ):
        with pytest.raises(ValueError, match="not the same interval"):
            symbols - other
        with pytest.raises(ValueError, match="not the same interval"):
            symbols + other
    for other in (Symbols.empty(7, 8, UNIVERSAL), Symbols.empty(6, 8, SESSION)):
        with pytest.raises(ValueError, match="do not follow"):
            symbols.concat(other)
    with pytest.raises(ValueError, match="not within"):
        symbols.slice(1, 3)
    with pytest.raises(ValueError, match="the limit is"):
        Symbols.empty(0, 2**24 + 1, UNIVERSAL)
    with pytest.raises(ValueError, match="the limit is"):
        Symbols.empty(-1, 4, UNIVERSAL)
    with pytest.raises(ValueError, match="the limit is"):
        Symbols.empty(5, 4, UNIVERSAL)
    assert len(Symbols.empty(2**24 - 1, 2**24, UNIVERSAL)) == 1
    with pytest.raises(ValueError, match="32 bytes"):
        SketchKey.derive(b"short")


def test_short_ids_are_prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.arange(64, dtype=np.uint8).reshape(2, 32)
    assert sketch.short_ids(ids).tolist() == [0x0001020304050607, 0x2021222324252627]
    assert sketch.short_prefix(0x0001020304050607) == "0001020304050607"
    monkeypatch.setattr(sketch, "SHORT_DIGITS", 3)
    assert sketch.short_ids(ids).tolist() == [0, 0x2020000000000000]
    assert sketch.short_prefix(0x2020000000000000) == "202"


def test_the_density_is_that_of_the_mapping() -> None:
    """Counts of 200,000 random ids against n p, in standard deviations."""
    n, cells = 200_000, 3000
    counts = encode(random_ids(n), 0, cells, UNIVERSAL).counts[1:]
    p = sketch.density(1, cells)
    scores = (counts - n * p) / np.sqrt(n * p * (1 - p))
    assert sketch.density(0, 3).tolist() == [1.0, 5 / 9, 7 / 16]
    assert abs(scores).max() < 5
    assert abs(scores.mean()) < 4 / math.sqrt(cells)
    assert abs(scores.std() - 1) < 4 / math.sqrt(2 * cells)


def test_the_density_of_an_interval_is_a_part_of_the_whole() -> None:
    whole = sketch.density(0, 9).tolist()
    for start in range(9):
        assert sketch.density(start, 9).tolist() == whole[start:]


def test_a_leap_is_from_1_to_2_to_the_26th_and_ignores_the_low_bits() -> None:
    draws = np.array([0, 2**12 - 1, 2**12, 3 << 12, MASK], np.uint64)
    assert sketch._leaps(draws).tolist() == [2.0**26, 2.0**26, 2.0**26 / 2**0.5, 2.0**25, 1.0]


def test_the_cells_of_an_id_are_independent() -> None:
    """Pairs of early cells are hit together as often as their densities say."""
    n = 100_000
    hit = np.zeros((n, 12), np.bool_)
    for low in range(0, n, 10_000):
        for rows, cells in sketch.hits(UNIVERSAL.seeds(random_ids(10_000, seed=low)), 0, 12):
            hit[low + rows, cells] = True
    p = sketch.density(0, 12)
    for i in range(1, 12):
        for j in range(1, i):
            q = p[i] * p[j]
            both = np.count_nonzero(hit[:, i] & hit[:, j])
            assert abs(both - n * q) < 5 * math.sqrt(n * q * (1 - q)), (i, j)


@pytest.mark.parametrize(
    ("d", "surplus", "deviation"),
    [(20, 0, 0.23), (20, 20, 0.23), (200, 100, 0.19), (5000, 0, 0.19), (5000, 5000, 0.19)],
)
def test_the_estimate_is_unbiased_and_as_sharp_as_stated(
    d: int, surplus: int, deviation: float
) -> None:
    trials, more = 150, (d + surplus) // 2
    raw: list[float] = []
    for seed in range(trials):
        ids = random_ids(d, seed)
        difference = encode(ids[:more], 0, 64, UNIVERSAL) - encode(ids[more:], 0, 64, UNIVERSAL)
        estimate = sketch.estimate_difference(difference.counts, 0, surplus)
        assert estimate >= abs(surplus)
        assert estimate == sketch.estimate_difference(difference.counts[1:], 1, surplus)
        p = sketch.density(1, 64)
        squares = (difference.counts[1:] - surplus * p) ** 2 / (p * (1 - p))
        raw.append(float(squares.mean()) / d)
    assert abs(np.mean(raw) - 1) < 4 * deviation / math.sqrt(trials)
    assert np.std(raw) < 1.25 * deviation


def test_the_estimate_knows_the_surplus_without_counts() -> None:
    assert sketch.estimate_difference(np.zeros(1, np.int64), 0, -7) == 7.0
    assert sketch.estimate_difference(np.zeros(63, np.int64), 1, 0) == 0.0


@pytest.mark.parametrize(("start", "surplus"), [(0, 3), (0, -40), (1, 3), (1, 0), (2, 3), (5, -2)])
def test_the_estimate_is_the_stated_mean_over_all_cells_but_the_first(
    start: int, surplus: int
) -> None:
    counts = np.array([3, -5, 7, 0, 2, 11], np.int64)
    terms: list[float] = []
    for cell, count in enumerate(counts.tolist(), start):
        p = (2 * (cell + 2) - 1) / (cell + 2) ** 2
        if cell:
            terms.append((count - surplus * p) ** 2 / (p * (1 - p)))
    wanted = max(abs(surplus), sum(terms) / len(terms))
    assert sketch.estimate_difference(counts, start, surplus) == pytest.approx(wanted, rel=1e-12)


def test_symbols_for_is_monotone_and_follows_the_table() -> None:
    sizes = [sketch.symbols_for(d) for d in range(30_000)]
    assert sizes[0] == sizes[1] == 1
    assert all(a <= b for a, b in pairwise(sizes))
    for d, *quantiles in sketch.SYMBOLS_NEEDED:
        assert [sketch.symbols_for(d, percent) for percent in (50, 95, 99)] == quantiles
    assert sketch.symbols_for(20_000 + 100) == 27_346 + 136
    assert 1.35 * 10**6 < sketch.symbols_for(10**6) < 1.4 * 10**6


GOLDEN: dict[str, Golden] = {
    "universal": {
        "words": ["243f6a8885a308d3", "13198a2e03707344", "a4093822299f31d0"],
        "seeds": ["2980f7175e0bf63f", "1ad098d37e0c9f1f", "566d8e5402b87cf7", "e159d2674f489f07"],
        "checks": ["88579cdc", "c5956703", "d72a3f15", "c6ceb1fe"],
        "cells": [
            [0, 1, 13, 14, 34, 43, 59, 76, 186, 424, 988, 1340, 1571, 1894, 31817, 78567, 88770],
            [0, 3, 6, 8, 14, 23, 44, 137, 390, 16882, 28742, 44941, 68003, 69148],
            [
                0,
                3,
                6,
                7,
                9,
                10,
                13,
                124,
                172,
                187,
                313,
                430,
                2042,
                6684,
                16606,
                20377,
                42013,
                61184,
            ],
            [
                0,
                2,
                19,
                22,
                50,
                108,
                118,
                281,
                323,
                388,
                422,
                570,
                667,
                686,
                8271,
                8521,
                17934,
                27314,
                32210,
                35098,
                53439,
                56315,
            ],
        ],
    },
    "session": {
        "words": ["e60d89b4d472f6e0", "b1568bf0943f9c73", "e97d3888dd406539"],
        "seeds": ["af1c68793d5163cd", "d660380cb98f0973", "4ccc447aeda640f3", "0bedf65677283389"],
        "checks": ["a9486c23", "aaf08edf", "2bc454c2", "6aee4837"],
        "cells": [
            [
                0,
                1,
                2,
                4,
                5,
                10,
                13,
                14,
                16,
                20,
                43,
                51,
                294,
                356,
                1103,
                7060,
                7095,
                8057,
                33941,
                52684,
            ],
            [
                0,
                3,
                4,
                6,
                16,
                22,
                56,
                66,
                69,
                91,
                114,
                207,
                221,
                260,
                663,
                667,
                1053,
                2328,
                4334,
                5456,
                6503,
                8314,
                8657,
                10529,
                17013,
                20778,
                30754,
                38207,
                80447,
            ],
            [
                0,
                1,
                2,
                5,
                16,
                36,
                44,
                55,
                194,
                201,
                319,
                729,
                868,
                1357,
                1982,
                4619,
                14673,
                46608,
                64984,
                76869,
            ],
            [
                0,
                1,
                7,
                37,
                90,
                107,
                113,
                117,
                199,
                202,
                489,
                505,
                820,
                876,
                2043,
                2351,
                3238,
                11581,
                14907,
                16840,
                19093,
                22543,
                40537,
                78153,
                93355,
            ],
        ],
    },
}
