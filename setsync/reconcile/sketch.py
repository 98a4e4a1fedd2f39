"""Sketches: a set as an endless row of coded symbols, of which a difference needs only the first.

A rateless invertible Bloom lookup table (Yang, Gilad and Alizadeh, "Practical Rateless Set
Reconciliation", SIGCOMM 2024, arXiv 2402.02668) over 8-byte short ids. Pure functions of numpy
arrays; this room must never know entries, peers, stores or time. `peel.py` decodes, and
`symbolwire.py` writes symbols as bytes.

Cell i holds the XOR of the short ids mapped to it, the XOR of their 4-byte checksums, and their
count. All three add up over sets, so the symbols of A minus those of B are those of the difference,
whatever the two have in common, and one stream serves every peer.

**Mapping.** An id's seed is a nonlinear mix of it under the key (`SketchKey`). Write t = i + 2 for
the place of cell i. Every id is in cell 0, t = 2; from place t it goes on to floor(t w) + 1, with
w = 1/sqrt(u) and u, even over (0, 1], the next draw of a multiplicative congruential generator that
starts from the seed. So P(next > s) = P(t w >= s) = P(u <= (t/s)^2) = (t/s)^2 for s >= t.

**Density**, exactly. (t/s)^2 is the product over r = t+1..s of ((r-1)/r)^2: the odds of passing all
those places if each is hit by itself with probability 1 - ((r-1)/r)^2. So the cells of an id are
independent, and

    p(0) = 1,    p(i) = (2t - 1) / t^2  with t = i + 2,   about 2/i,

up to the 52-bit grain of u. (The paper's 1/(1 + i/2) has the same tail, on which the overhead for
large differences depends.) An id has about 2 ln(m) - 1.8 of its cells below m: 15 at 4,096.

**Overhead.** `SYMBOLS_NEEDED` and `symbols_for` tell how many symbols a difference of d takes: 3 at
d = 2, 1.6 d at 20, 1.42 d at 200, 1.37 d at 2,000, 1.36 d at 10,000, and in the limit, as the paper
derives for a density with this tail, 1.35 d.

**Estimate.** With D = n_a - n_b, a difference of d leaves cell i a count of mean D p and variance
d p (1 - p), p = p(i), however d is split. `estimate_difference` averages (c - D p)^2 / (p (1 - p))
over K cells: unbiased, and with a variance, since the cells are independent, of
d^2 (2 + (mean of 1 / (p (1 - p)) - 6) / d) / K. Over cells 1..63 that is a deviation of 0.18 d for
large d, 0.20 d at d = 20 and 0.34 d at d = 2, as measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

INDEX_LIMIT = 1 << 24
# Hex digits of a short id. Tests lower it, so that short ids collide as if they were ground.
SHORT_DIGITS = 16
KEY_BYTES = 32
_KEY_CONTEXT = "setsync 1 sketch key"

# Finaliser constants of SplitMix64 (Steele, Lea and Flood 2014; Stafford's variant 13).
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
# A multiplier of good spectrum mod 2^64 (Steele and Vigna 2021); `_BLOCK` draws are made at once.
_STEP = 0xF1357AEA2E62A9C5
_BLOCK = 8
_STEPS = np.array([[pow(_STEP, g + 1, 1 << 64)] for g in range(_BLOCK)], np.uint64)
_GRAIN_BITS = 12
_FIRST_PLACE = 2
# Ids handled at a time: working memory stays near 10 MiB (600 bytes an id), about a core's cache.
_CHUNK = 1 << 14

# (d, m50, m95, m99): the first m symbols decode that many per cent of differences of d random ids.
# Quantiles over 4,000 (d = 2), 400 (1,000, 10,000), 250 trials (20,000) of this very mapping.
SYMBOLS_NEEDED = (
    (1, 1, 1, 1),
    (2, 3, 7, 10),
    (5, 8, 15, 20),
    (10, 16, 26, 34),
    (20, 31, 43, 51),
    (50, 74, 89, 98),
    (100, 144, 165, 174),
    (200, 282, 307, 321),
    (500, 693, 732, 747),
    (1000, 1375, 1433, 1452),
    (2000, 2736, 2815, 2843),
    (5000, 6809, 6924, 6967),
    (10000, 13580, 13751, 13790),
    (20000, 27124, 27346, 27426),
)
_QUANTILES = (50, 95, 99)
_LIMIT_OVERHEAD = 1.36


@dataclass(frozen=True, slots=True)
class SketchKey:
    """Three 64-bit words that key both the checksum and the mapping of short ids.

    With mix(z): z ^= z >> 30; z *= MIX_1; z ^= z >> 27; z *= MIX_2; z ^= z >> 31 (mod 2^64), and
    y = mix(x XOR words[0]) for a short id x,

        seed(x)  = mix(y + words[1]) | 1        checksum(x) = mix(y + words[2]) >> 32

    Multiplications make both nonlinear over XOR: the sum of several ids does not carry the sum
    of their checksums. This is no MAC: whoever knows the key can search for bad ids. Nobody knows
    a session's key in advance, and the ladder of `docs/protocol.md` catches the universal one.
    """

    words: tuple[int, int, int]
    UNIVERSAL: ClassVar[SketchKey]

    @classmethod
    def derive(cls, secret: bytes) -> SketchKey:
        """The key of a session: 24 bytes of BLAKE3 in derive-key mode, as big-endian words."""
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a sketch key is derived from {KEY_BYTES} bytes, found {len(secret)}")
        stream = blake3(secret, derive_key_context=_KEY_CONTEXT).digest(length=24)
        first, second, third = (int.from_bytes(stream[i : i + 8]) for i in (0, 8, 16))
        return cls((first, second, third))

    def seeds(self, ids: U64) -> U64:
        """Odd generator seeds (n,) of short ids (n,)."""
        return _mix(self._common(ids) + np.uint64(self.words[1])) | np.uint64(1)

    def checksums(self, ids: U64) -> U32:
        """4-byte checksums (n,) of short ids (n,)."""
        mixed = _mix(self._common(ids) + np.uint64(self.words[2]))
        return (mixed >> np.uint64(32)).astype(np.uint32)

    def _common(self, ids: U64) -> U64:
        return _mix(ids ^ np.uint64(self.words[0]))


# The first 192 bits of the fraction of pi: nothing up the sleeve.
SketchKey.UNIVERSAL = SketchKey((0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0))


def short_ids(ids: NDArray[np.uint8]) -> U64:
    """The first 8 bytes of ids (n, 32), big endian; with SHORT_DIGITS lowered, fewer."""
    whole = np.ascontiguousarray(ids[:, :8]).view(">u8").astype(np.uint64).ravel()
    spare = np.uint64(64 - 4 * SHORT_DIGITS)
    return whole >> spare << spare


def short_prefix(short_id: int) -> str:
    """The hex digits with which an id of this short id begins."""
    return f"{short_id:016x}"[:SHORT_DIGITS]


@dataclass(eq=False, slots=True)
class Symbols:
    """The coded symbols of cells start..stop-1 of one set, or of the difference of two."""

    key: SketchKey
    start: int
    sums: U64
    checks: U32
    counts: I64

    @classmethod
    def empty(cls, start: int, stop: int, key: SketchKey) -> Symbols:
        """The symbols of the empty set. ValueError unless 0 <= start <= stop <= INDEX_LIMIT."""
        if not 0 <= start <= stop <= INDEX_LIMIT:
            raise ValueError(f"no cells {start}..{stop}: the limit is {INDEX_LIMIT}")
        size = stop - start
        return cls(
            key,
            start,
            np.zeros(size, np.uint64),
            np.zeros(size, np.uint32),
            np.zeros(size, np.int64),
        )

    @property
    def stop(self) -> int:
        return self.start + len(self.sums)

    def __len__(self) -> int:
        return len(self.sums)

    def add(self, ids: U64) -> None:
        """Put ids (n,) into the set, in place. The caller keeps ids distinct."""
        self._toggle(ids, 1)

    def remove(self, ids: U64) -> None:
        """Take ids (n,) out of the set, in place."""
        self._toggle(ids, -1)

    def scatter(self, cells: I64, ids: U64, checks: U32, signs: I64 | int) -> None:
        """For each hit XOR an id and its checksum into a cell, and add its sign to the count."""
        at = cells - self.start
        np.bitwise_xor.at(self.sums, at, ids)
        np.bitwise_xor.at(self.checks, at, checks)
        np.add.at(self.counts, at, signs)

    def slice(self, start: int, stop: int) -> Symbols:
        """A copy of cells start..stop-1, which must lie within."""
        if not self.start <= start <= stop <= self.stop:
            raise ValueError(f"cells {start}..{stop} are not within {self.start}..{self.stop}")
        part = np.s_[start - self.start : stop - self.start]
        return Symbols(
            self.key,
            start,
            self.sums[part].copy(),
            self.checks[part].copy(),
            self.counts[part].copy(),
        )

    def concat(self, other: Symbols) -> Symbols:
        """These cells and, right behind them, the other's."""
        if (self.key, self.stop) != (other.key, other.start):
            raise ValueError(
                f"cells from {other.start} do not follow cells up to {self.stop}, "
                "or have another key"
            )
        return Symbols(
            self.key,
            self.start,
            np.concatenate([self.sums, other.sums]),
            np.concatenate([self.checks, other.checks]),
            np.concatenate([self.counts, other.counts]),
        )

    def __add__(self, other: Symbols) -> Symbols:
        """The symbols of two sets together that have no id in common."""
        self._check_same_cells(other)
        return Symbols(
            self.key,
            self.start,
            self.sums ^ other.sums,
            self.checks ^ other.checks,
            self.counts + other.counts,
        )

    def __sub__(self, other: Symbols) -> Symbols:
        """The symbols of the difference: +1 for ids only here, -1 for ids only in the other."""
        self._check_same_cells(other)
        return Symbols(
            self.key,
            self.start,
            self.sums ^ other.sums,
            self.checks ^ other.checks,
            self.counts - other.counts,
        )

    def _check_same_cells(self, other: Symbols) -> None:
        if (self.key, self.start, self.stop) != (other.key, other.start, other.stop):
            raise ValueError(
                f"cells {self.start}..{self.stop} with {other.start}..{other.stop}: "
                "not the same interval and key"
            )

    def is_zero(self) -> bool:
        """Whether every sum, checksum and count is zero."""
        return not (self.sums.any() or self.checks.any() or self.counts.any())

    def _toggle(self, ids: U64, sign: int) -> None:
        for low in range(0, len(ids), _CHUNK):
            chunk = ids[low : low + _CHUNK]
            checks = self.key.checksums(chunk)
            for rows, cells in hits(self.key.seeds(chunk), self.start, self.stop):
                self.scatter(cells, chunk[rows], checks[rows], sign)


def encode(ids: U64, start: int, stop: int, key: SketchKey) -> Symbols:
    """The symbols of cells start..stop-1 of a set of distinct short ids (n,), in any order."""
    symbols = Symbols.empty(start, stop, key)
    symbols.add(ids)
    return symbols


def hits(seeds: U64, start: int, stop: int) -> Iterator[tuple[I64, I64]]:
    """Walk all seeds (n,) through their cells; yield (rows, cells), each hit in start..stop-1 once.

    Exactly, per draw, in IEEE-754 double precision and in this order, every operation rounded to
    nearest: r = r * STEP mod 2^64 (an integer); w = 2^26 / sqrt(float(r >> 12) + 1.0);
    t = floor(t * w) + 1.0. r >> 12 is below 2^52, so its conversion and the sum are exact, and
    sqrt, /, * are correctly rounded everywhere: every machine walks alike.

    The walk ends: w >= 1 because the root is at most 2^26, so t * w >= t and every step is up.
    """
    if start == 0 < stop:
        yield np.arange(len(seeds)), np.zeros(len(seeds), np.int64)
    end = float(stop + _FIRST_PLACE)
    rows, places = np.arange(len(seeds)), np.full(len(seeds), float(_FIRST_PLACE))
    while len(rows):
        draws = seeds * _STEPS
        walk = _leaps(draws)
        for step in walk:
            np.multiply(places, step, out=step)
            np.floor(step, out=step)
            places = np.add(step, 1.0, out=step)
        inside = (walk < end) & (walk >= start + _FIRST_PLACE)
        yield (
            np.broadcast_to(rows, walk.shape)[inside],
            walk[inside].astype(np.int64) - _FIRST_PLACE,
        )
        going = places < end
        rows, places, seeds = rows[going], places[going], draws[-1][going]


def density(start: int, stop: int) -> F64:
    """p(i) for i in start..stop-1: the probability that an id is in cell i (module docstring)."""
    places = np.arange(start, stop, dtype=np.float64) + _FIRST_PLACE
    densities = (2.0 * places - 1.0) / (places * places)
    densities[: max(0, 1 - start)] = 1.0
    return densities


def symbols_for(d: int, percent: int = 95) -> int:
    """Symbols that decode a difference of d in 50, 95 or 99 per cent of cases.

    Straight lines between the rows of `SYMBOLS_NEEDED`; beyond them 1.36 more for each more id.
    """
    column = 1 + _QUANTILES.index(percent)
    last = SYMBOLS_NEEDED[-1]
    if d >= last[0]:
        return last[column] + math.ceil(_LIMIT_OVERHEAD * (d - last[0]))
    return math.ceil(
        np.interp(d, [row[0] for row in SYMBOLS_NEEDED], [row[column] for row in SYMBOLS_NEEDED])
    )


def estimate_difference(counts: I64, start: int, surplus: int) -> float:
    """Estimate d from the counts of a difference in cells start, start + 1, ... (k,).

    `surplus` is the known n_a - n_b of the sides subtracted. At least abs(surplus), which is all
    that cell 0 can say: it is left out. Bias and error: module docstring.
    """
    start, counts = max(start, 1), counts[max(0, 1 - start) :]
    if not len(counts):
        return float(abs(surplus))
    p = density(start, start + len(counts))
    centred = counts - surplus * p
    return max(float(abs(surplus)), float(np.mean(centred * centred / (p * (1.0 - p)))))


def _mix(z: U64) -> U64:
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


def _leaps(draws: U64) -> F64:
    """w = 1/sqrt(u) of every draw, u = ((r >> 12) + 1) / 2^52: from 1 to 2^26."""
    grains = (draws >> np.uint64(_GRAIN_BITS)).view(np.int64).astype(np.float64)
    return 2.0**26 / np.sqrt(grains + 1.0)
