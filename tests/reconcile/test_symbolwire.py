"""Symbols on the wire: canonical, strict, bounded, and about 13 bytes each."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsync.reconcile import sketch, symbolwire
from setsync.reconcile.sketch import U64, SketchKey, Symbols, encode

UNIVERSAL = SketchKey.UNIVERSAL
SESSION = SketchKey.derive(bytes(range(32)))
IDS = st.sets(st.integers(0, 2**64 - 1), max_size=60)


def array(ids: Iterable[int]) -> U64:
    return np.array(sorted(ids), np.uint64)


def same(a: Symbols, b: Symbols) -> bool:
    return (a.key, a.start, a.stop) == (b.key, b.start, b.stop) and (a - b).is_zero()


def test_golden_bytes() -> None:
    symbols = encode(np.arange(1, 11, dtype=np.uint64), 0, 6, UNIVERSAL)
    assert symbolwire.pack(symbols, 10).hex() == GOLDEN_BYTES


@given(IDS, st.integers(0, 30), st.integers(0, 80), st.integers(0, 2**48 - 100))
def test_symbols_come_back_from_the_wire(ids: set[int], start: int, length: int, more: int) -> None:
    """Whatever size is declared (that of the set or more), however unlikely the counts then."""
    symbols = encode(array(ids), start, start + length, SESSION)
    stop, size = start + length, len(ids) + more
    data = symbolwire.pack(symbols, size)
    assert same(symbolwire.unpack(data, start, stop, size, SESSION), symbols)
    counts = symbolwire.unpack_counts(symbolwire.pack_counts(symbols, size), start, stop, size)
    sums = symbolwire.pack_sums(symbols)
    assert same(symbolwire.unpack_sums(sums, start, counts, SESSION), symbols)


@given(IDS, st.integers(0, 30), st.integers(1, 30), st.data())
def test_changed_symbols_are_other_symbols_or_refused(
    ids: set[int], start: int, length: int, data: st.DataObject
) -> None:
    stop, size = start + length, len(ids)
    packed = bytearray(symbolwire.pack(encode(array(ids), start, stop, SESSION), size))
    for _ in range(data.draw(st.integers(0, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.one_of(st.just(len(packed)), st.integers(0, len(packed))))
    changed = bytes(packed[:cut]) + data.draw(st.binary(max_size=2))
    try:
        read = symbolwire.unpack(changed, start, stop, size, SESSION)
    except ValueError:
        return
    assert symbolwire.pack(read, size) == changed


@given(st.binary(max_size=200), st.integers(0, 20), st.integers(0, 20), st.integers(0, 10**6))
def test_any_bytes_are_canonical_symbols_or_refused(
    data: bytes, start: int, length: int, size: int
) -> None:
    try:
        read = symbolwire.unpack(data, start, start + length, size, SESSION)
    except ValueError:
        return
    assert symbolwire.pack(read, size) == data


def test_forged_intervals_and_sizes_are_refused_before_room_is_made() -> None:
    with pytest.raises(ValueError, match="16777216 symbols need"):
        symbolwire.unpack(b"short", 0, 2**24, 10, SESSION)
    with pytest.raises(ValueError, match="16777216 counts cannot stand in 5 bytes"):
        symbolwire.unpack_counts(b"short", 0, 2**24, 10)
    for start, stop, size in ((0, 2**24 + 1, 10), (5, 4, 10), (-1, 1, 10), (0, 1, 2**60)):
        with pytest.raises(ValueError, match="no symbols of cells"):
            symbolwire.unpack_counts(bytes(2**22), start, stop, size)
    with pytest.raises(ValueError, match="1 sums and checksums have 12 bytes, found 3"):
        symbolwire.unpack_sums(b"abc", 0, np.zeros(1, np.int64), SESSION)


@pytest.mark.parametrize("count", [-(2**62), -1, 11, 2**62])
def test_a_count_that_no_set_of_the_size_has_is_refused(count: int) -> None:
    lie = Symbols.empty(3, 4, SESSION)
    lie.counts[0] = count
    with pytest.raises(ValueError, match=r"not within 0\.\.10"):
        symbolwire.unpack(symbolwire.pack(lie, 10), 3, 4, 10, SESSION)


def test_a_symbol_costs_what_the_docstring_says() -> None:
    """Counts drawn from their distribution at a million ids stand for a million ids."""
    rng, n = np.random.default_rng(4), 10**6
    limits = [(0, 16, 13.4), (16, 64, 13.35), (300, 800, 13.1), (3000, 4000, 12.9)]
    for start, stop, limit in limits:
        symbols = Symbols.empty(start, stop, UNIVERSAL)
        symbols.counts[:] = rng.binomial(n, sketch.density(start, stop))
        assert len(symbolwire.pack(symbols, n)) <= limit * (stop - start)


GOLDEN_BYTES = (
    "000000000000000b000000000000000300000000000000070000000000000002000000000000000500000000"
    "000000027a3d2505b5360860f0c7c869a7395a3d7b31669fd89630318aa4"
)
