"""Coded symbols as bytes: about 13 for a symbol, and about 1 where only its count is wanted.

The wire form of `sketch.py`'s symbols, strict and canonical: one value, one byte string. It must
never know who sends or why. Interval, set size and key are known to both sides beforehand and are
not repeated here; the room made is bounded by the bytes received, never by a number claimed.

    part       length            content
    sums       8 bytes a cell    XOR of short ids, big endian, cell after cell
    checks     4 bytes a cell    XOR of checksums, big endian, cell after cell
    counts     see `golomb.py`   zigzag of count - floor(n p + 0.5), width from n and p

A count c of a set of n ids is binomial with the cell's density p, so what is worth sending is its
distance from n p, about normal with deviation s = sqrt(n p (1 - p)): 2.05 + log2(s) bits of
entropy, sent in 2.1 to 2.2 + log2(s). In all, a symbol of a set of a million takes 13.2 bytes at
cells 16..63, 13.05 at 300, 12.9 at 3,000 and 12.7 at 30,000. Ground ids can make a count unlikely
and its code long, but never over 97 bits beyond its width (`golomb.py`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from setsync.reconcile import golomb
from setsync.reconcile.sketch import I64, INDEX_LIMIT, SketchKey, Symbols, density

SIZE_LIMIT = 1 << 48
SUM_BYTES = 8
CHECK_BYTES = 4
_POWERS_OF_FOUR = 4.0 ** np.arange(golomb.MAX_WIDTH)


def pack(symbols: Symbols, size: int) -> bytes:
    """The symbols of a set of `size` ids: `pack_sums`, then `pack_counts`."""
    return pack_sums(symbols) + pack_counts(symbols, size)


def unpack(data: bytes, start: int, stop: int, size: int, key: SketchKey) -> Symbols:
    """Read the symbols of cells start..stop-1 of a set of `size` ids; ValueError if malformed."""
    split = (SUM_BYTES + CHECK_BYTES) * max(0, stop - start)
    if len(data) < split:
        raise ValueError(f"{stop - start} symbols need {split} bytes and more, found {len(data)}")
    counts = unpack_counts(data[split:], start, stop, size)
    return unpack_sums(data[:split], start, counts, key)


def pack_sums(symbols: Symbols) -> bytes:
    """Sums and checksums alone, for cells whose counts went ahead."""
    return symbols.sums.astype(">u8").tobytes() + symbols.checks.astype(">u4").tobytes()


def unpack_sums(data: bytes, start: int, counts: I64, key: SketchKey) -> Symbols:
    """Join sums and checksums to the counts (k,) that went ahead; ValueError if malformed."""
    split, size = SUM_BYTES * len(counts), (SUM_BYTES + CHECK_BYTES) * len(counts)
    if len(data) != size:
        raise ValueError(f"{len(counts)} sums and checksums have {size} bytes, found {len(data)}")
    sums = np.frombuffer(data[:split], ">u8").astype(np.uint64)
    checks = np.frombuffer(data[split:], ">u4").astype(np.uint32)
    return Symbols(key, start, sums, checks, counts.copy())


def pack_counts(symbols: Symbols, size: int) -> bytes:
    """Counts alone, of the symbols of a set of `size` ids (not of a difference)."""
    expected, widths = _count_model(symbols.start, symbols.stop, size)
    residues = symbols.counts - expected
    return golomb.encode(((residues << 1) ^ (residues >> 63)).view(np.uint64), widths)


def unpack_counts(data: bytes, start: int, stop: int, size: int) -> I64:
    """Read the counts of cells start..stop-1 (k,). ValueError: malformed, or not in 0..size."""
    if not 0 <= start <= stop <= INDEX_LIMIT or not 0 <= size <= SIZE_LIMIT:
        raise ValueError(f"no symbols of cells {start}..{stop} of a set of {size}")
    if stop - start > 8 * len(data):
        raise ValueError(f"{stop - start} counts cannot stand in {len(data)} bytes")
    expected, widths = _count_model(start, stop, size)
    codes = golomb.decode(data, widths)
    half = (codes >> np.uint64(1)).view(np.int64)
    residues = np.where(codes & np.uint64(1), ~half, half)
    # Compared before they are added, so that no sum can wrap.
    if ((residues < -expected) | (residues > size - expected)).any():
        raise ValueError(f"a count is not within 0..{size}, the size of its set")
    return expected + residues


def _count_model(start: int, stop: int, size: int) -> tuple[I64, NDArray[np.int64]]:
    """What counts to expect, floor(n p + 0.5), and the width of the code of their residues.

    A residue of deviation s has a zigzag code of mean 1.6 s, which costs k + 1/2 + 1.6 s / 2^k bits
    at width k; another bit of width pays off while 2^k < 0.8 s, that is 4^k < 0.64 n p (1 - p).
    """
    p = density(start, stop)
    widths = np.searchsorted(_POWERS_OF_FOUR, 0.64 * size * p * (1.0 - p)).astype(np.int64)
    return np.floor(size * p + 0.5).astype(np.int64), widths
