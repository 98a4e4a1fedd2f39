"""Id lists: what a range holds, as short as a sorted list can be.

The closer for small ranges and for large shares of difference. The responder lists its ids and the
initiator compares with its own, on the spot; nothing goes back but what follows from it. Pure
functions over numpy arrays; this room must never know entries, peers, ranges or time, and keeps no
state. The sizes of both sets are known from the summaries exchanged before.

Each 32-byte id is hashed under the session's key to 64 bits and cut to b bits; the list is these
values sorted, as Golomb-Rice coded gaps (in the manner of the filters of BIP 158, laid out as
`golomb.py` says). The key is drawn after the ids exist, so no author can prepare a collision; one
by chance costs a round, because the digests compared at the end decide, never this list. Sorted
short ids as they are (`sketch.short_ids`) are coded by the same functions, at 64 bits.

Cost: with `truncation_bits`, about log2(n) + 11.5 bits per id listed, where n is how many ids the
initiator holds: 3.1 bytes at ten thousand ids on both sides and 4 at a million.

Duplicates after truncation are kept, as gaps of zero: the list has exactly as many values as the
responder has ids.
"""

from __future__ import annotations

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from setsync.reconcile import golomb

U64 = NDArray[np.uint64]
Positions = NDArray[np.int64]

ID_BYTES = 32
KEY_BYTES = 32
MAX_BITS = 64
SPARE_BITS = 10
_KEY_CONTEXT = "setsync 1 id list multilinear key"
_WORDS = 8


def keyed_ids(ids: NDArray[np.uint8], key: bytes) -> U64:
    """Hash ids (n, 32) under a 32-byte key to 64 bits each, (n,) in the order given.

    Multilinear hashing (Lemire and Kaser, "Strongly universal string hashing is fast", 2014), twice
    with independent keys: an id is eight big-endian 32-bit words w_1..w_8, and each half of the
    result is the top 32 bits of k_0 + k_1 w_1 + ... + k_8 w_8 mod 2^64. The 18 key words are
    BLAKE3 in derive-key mode over `key`, read as big-endian 64-bit words, nine for the upper half
    and then nine for the lower.

    Why two ids x != y, fixed before the key is drawn, agree with probability 2^-64 exactly: let
    them differ in word j, by t with 0 < |t| < 2^32, so t = 2^v * odd with v <= 31. Over a random
    k_j, k_j t mod 2^64 is even over the multiples of 2^v, and so is the difference of the two
    sums, whatever the other key words are. k_0 makes the first sum even over all values and
    independent of that difference; hence the pair of top 64 - v >= 33 bits is even over all
    pairs, and so are the pairs of top 32 bits: they agree with probability 2^-32. The halves are
    independent. The same holds for the top b bits of the result: 2^-b.

    Raises ValueError when a shape or the key's length is wrong.
    """
    if ids.shape != (len(ids), ID_BYTES):
        raise ValueError(f"ids must have the shape (n, {ID_BYTES}), found {ids.shape}")
    if len(key) != KEY_BYTES:
        raise ValueError(f"the key of an id list has {KEY_BYTES} bytes, found {len(key)}")
    key_words = _key_words(key)
    words = np.ascontiguousarray(ids).view(">u4").astype(np.uint64)
    sums: U64 = words @ key_words[1:] + key_words[0]
    return (sums[:, 0] >> np.uint64(32) << np.uint64(32)) | (sums[:, 1] >> np.uint64(32))


def truncation_bits(n_a: int, n_b: int, spare: int = SPARE_BITS) -> int:
    """How many bits of a keyed id to send so that 2^-spare false matches are expected in a list.

    Of the n_a n_b pairs of ids of both sides, those of different ids agree in b bits with
    probability 2^-b each (`keyed_ids`), so at most n_a n_b 2^-b false matches are expected:
    b = ceil(log2(n_a n_b)) + spare brings that to 2^-spare or less, by default to one in 1,024
    lists. Where 2^k lists of one round share that allowance, each needs k spare bits more. The
    result is kept within 1..64; by default 64 is too few beyond 2^54 pairs (134 million ids a
    side).
    """
    pairs = max(1, n_a) * max(1, n_b)
    return max(1, min(MAX_BITS, (pairs - 1).bit_length() + spare))


def truncate(keyed: U64, bits: int) -> tuple[U64, Positions]:
    """The list of a set: the top `bits` of each keyed id, sorted, and the order that sorts.

    Value p of the list belongs to the id at order[p] of the array given.
    """
    _check_bits(bits)
    values = keyed >> np.uint64(64 - bits)
    order = np.argsort(values, kind="stable").astype(np.int64)
    return values[order], order


def encode_ids(values: U64, bits: int) -> bytes:
    """Code a sorted list of values below 2^bits. The count travels beside it, not in it."""
    _check_bits(bits)
    if not len(values):
        return b""
    gaps = np.diff(values, prepend=np.uint64(0))
    return golomb.encode(gaps, _widths(1 << bits, len(values)))


def decode_ids(data: bytes, count: int, bits: int) -> U64:
    """Read the `count` (declared, checked against len(data) first) values of a list.

    Raises ValueError for anything that `encode_ids` does not write.
    """
    _check_bits(bits)
    _check_room(data, count, 1 << bits)
    values = np.cumsum(golomb.decode(data, _widths(1 << bits, count)), dtype=np.uint64)
    # No wrap can hide. Take the first gap that leaves the range: the value before it is below
    # 2^bits, so the sum either does not wrap and is 2^bits or more, or wraps to less than it was
    # (the gap is below 2^64). At 64 bits only the second can be. Shifted as a plain integer,
    # since C leaves undefined what a word shifted by its whole length is.
    if int(values.max(initial=0)) >> bits or (values[1:] < values[:-1]).any():
        raise ValueError(f"a value of the id list does not fit {bits} bits")
    return values


def _key_words(key: bytes) -> U64:
    """Key words as columns, (9, 2): column 0 makes the upper half, column 1 the lower."""
    stream = blake3(key, derive_key_context=_KEY_CONTEXT).digest(length=2 * (_WORDS + 1) * 8)
    words = np.frombuffer(stream, ">u8").astype(np.uint64)
    return np.ascontiguousarray(words.reshape(2, _WORDS + 1).T)


def _widths(universe: int, count: int) -> NDArray[np.int64]:
    return np.full(count, golomb.best_width(universe, count), np.int64)


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"an id list is cut to 1..{MAX_BITS} bits, found {bits}")


def _check_room(data: bytes, count: int, universe: int) -> None:
    """A value takes at least its width and a bit: refuse a larger count before making room."""
    least = golomb.best_width(universe, count) + 1
    if not 0 <= count * least <= 8 * len(data):
        raise ValueError(f"{count} values cannot stand in {len(data)} bytes")
