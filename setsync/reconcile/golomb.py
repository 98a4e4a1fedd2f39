"""Golomb-Rice codes for whole arrays: small non-negative integers in, few bytes out.

The room for bits, shared by the sketches (`symbolwire.py`) and the id lists (`idlist.py`). It must
never know what the integers mean. How many there are and how wide each is comes from the caller,
and is held against the bytes at hand first, so that no number a peer claims decides an allocation.

A value v of width k is split into a *low part* of k bits and a quotient v >> k in unary (Rice and
Plaunt 1971). BIP 158 writes both parts of a value side by side; here all low parts come first and
then all quotients, because both sections can then be read by numpy without a loop over values:

    section    length                  content
    low parts  sum of the widths, bits bit planes, highest first: plane b holds, in the order of the
                                       values, bit b of every value whose width exceeds b
    quotients  sum(min(q, 32) + 1)     min(q, 32) one bits, then a zero bit, per value
    padding    0 to 7 bits             zeros up to the next whole byte
    escapes    8 bytes each            every quotient >= 32 again in full, big endian

Bits fill bytes from the most significant end. The escape bounds a value at 64 + 33 + 64 bits
whatever it is; with a width that suits the values it costs nothing and is never taken.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
Bits = NDArray[np.uint8]

ESCAPE = 32
MAX_WIDTH = 63
# ln of the golden ratio, as a fraction, so that `best_width` is exact integer arithmetic.
_LN_PHI_NUMERATOR = 481_211_825
_LN_PHI_DENOMINATOR = 1_000_000_000


def best_width(universe: int, count: int) -> int:
    """The width for the gaps between `count` sorted values spread evenly over `universe` places.

    Such gaps are geometric with mean m = universe / count, and cost, with x = exp(-2^k / m),
    k + 1 + x / (1 - x) bits at width k. The step from k to k + 1 adds 1 - x / (1 - x^2), which is
    negative just while x^2 + x > 1, that is while 2^k < m ln(phi), phi the golden ratio (Kiely,
    "Selecting the Golomb Parameter in Rice Coding", IPN Progress Report 42-159, 2004).
    """
    if count <= 0:
        return 0
    width = 0
    while (
        width < MAX_WIDTH and (count << width) * _LN_PHI_DENOMINATOR < universe * _LN_PHI_NUMERATOR
    ):
        width += 1
    return width


def encode(values: U64, widths: NDArray[np.int64]) -> bytes:
    """Code `values` (n,) with `widths` (n,), each in 0..63. Total: every uint64 has a code."""
    quotients = values >> widths.astype(np.uint64)
    bits = np.concatenate([*_low_parts(values, widths), _unary(np.minimum(quotients, ESCAPE))])
    escaped = quotients[quotients >= ESCAPE]
    return np.packbits(bits).tobytes() + escaped.astype(">u8").tobytes()


def decode(data: bytes, widths: NDArray[np.int64]) -> U64:
    """Read the values of these widths (n,) back: exactly what `encode` wrote, or ValueError.

    The code is canonical: of all byte strings only `encode(values, widths)` decodes to `values`.
    Memory: 8 bytes a byte of data and about 32 bytes a value.
    """
    low_bits, count = int(widths.sum()), len(widths)
    if 8 * len(data) < low_bits + count:
        raise ValueError(
            f"{count} coded values need {low_bits + count} bits at least, found {8 * len(data)}"
        )
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    quotients, end = _read_unary(bits, low_bits, count)
    stop = -(-end // 8)
    if bits[end : 8 * stop].any():
        raise ValueError("the padding after the coded values is not zero")
    quotients = _read_escapes(data[stop:], quotients, widths)
    return (quotients << widths.astype(np.uint64)) | _read_low_parts(bits, widths)


def _low_parts(values: U64, widths: NDArray[np.int64]) -> Iterator[Bits]:
    for plane, chosen in _planes(widths):
        yield ((values[chosen] >> np.uint64(plane)) & np.uint64(1)).astype(np.uint8)


def _read_low_parts(bits: Bits, widths: NDArray[np.int64]) -> U64:
    values, offset = np.zeros(len(widths), np.uint64), 0
    for plane, chosen in _planes(widths):
        size = len(widths[chosen])
        values[chosen] |= bits[offset : offset + size].astype(np.uint64) << np.uint64(plane)
        offset += size
    return values


def _planes(widths: NDArray[np.int64]) -> Iterator[tuple[int, slice | NDArray[np.bool_]]]:
    """Each bit plane, highest first, with the values that reach up to it."""
    narrowest = int(widths.min(initial=MAX_WIDTH))
    for plane in reversed(range(int(widths.max(initial=0)))):
        yield plane, slice(None) if plane < narrowest else widths > plane


def _unary(quotients: U64) -> Bits:
    ends = np.cumsum(quotients.astype(np.int64) + 1)
    bits = np.ones(int(ends[-1]) if len(ends) else 0, np.uint8)
    bits[ends - 1] = 0
    return bits


def _read_unary(bits: Bits, start: int, count: int) -> tuple[U64, int]:
    """The `count` unary numbers from bit `start` on, and the bit after them."""
    zeros = np.flatnonzero(bits[start:] == 0)[:count]
    if len(zeros) < count:
        raise ValueError(f"the coded values end after {len(zeros)} quotients of {count}")
    quotients = np.diff(zeros, prepend=-1) - 1
    if quotients.max(initial=0) > ESCAPE:
        raise ValueError(f"a quotient runs over {ESCAPE} one bits")
    return quotients.astype(np.uint64), start + (int(zeros[-1]) + 1 if count else 0)


def _read_escapes(tail: bytes, quotients: U64, widths: NDArray[np.int64]) -> U64:
    """Put the full quotients in the place of the escape marks; `tail` holds nothing else."""
    marked = quotients == ESCAPE
    expected = 8 * int(np.count_nonzero(marked))
    if len(tail) != expected:
        raise ValueError(f"expected {expected} bytes of escaped quotients, found {len(tail)}")
    full = np.frombuffer(tail, ">u8").astype(np.uint64)
    if (full < ESCAPE).any():
        raise ValueError(f"an escaped quotient is below {ESCAPE} and needs no escape")
    quotients[marked] = full
    # A quotient of a 64-bit value of width k has at most 64 - k bits: else bits would fall off,
    # and one value would have many spellings. That holds for short quotients of wide values too.
    if (quotients >> (MAX_WIDTH - widths).astype(np.uint64) > 1).any():
        raise ValueError("a quotient belongs to no 64-bit value")
    return quotients
