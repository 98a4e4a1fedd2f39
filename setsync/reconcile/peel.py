"""Peeling: from the symbols of a difference to its ids, or to a reason why not, in bounded steps.

The decoder of `sketch.py`. It must never know who sent the symbols or what its verdict leads to;
it trusts nothing about them. Remote symbols less local symbols go in, as many rounds of adjacent
intervals as the caller likes; after each comes one of three verdicts.

A cell is *pure* when it holds one id: count +1 (theirs) or -1 (mine), and the checksum of its sum
is its check. Every pass takes all pure cells out at once, which makes others pure.

**Why it always ends** (the plain loop runs for ever on two crafted cells: an id in the first that
maps to both, nothing in the second; taking it out of one puts it back into the other):

1. An id counts only in a cell that it maps to; a "pure" cell that fails this is left alone. (Not
   hostile by itself: a sum of several honest ids passes the checksum once in 2^32.)
2. No id is taken twice. Of an honest difference each id is there once; twice is hostile.
3. No more ids are taken than cells were received: each takes a pure cell out of an honest sketch
   for good, since whatever is in that cell has been taken.
4. With `is_mine`, ids of my sign are in my range and ids of theirs are not; else hostile.

A pass that takes nothing is the last, so by 2 and 3 there are at most m passes over m cells, and at
most PASS_LIMIT are made in a round (honest differences took 185 at d = 10,000 with the very least
symbols that decode them, and 25 with 5 per cent more). A cell is examined once at the start of a
round and then at most once per hit of an id taken. An id has about 2 ln(m) - 1.8 hits in m cells,
and never over m. So a round costs O(m log m) unless ids were ground, and O(m^2) at the worst.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from setsync.reconcile.sketch import I64, U64, SketchKey, Symbols, hits

PASS_LIMIT = 512


class HostileReason(enum.Enum):
    """The rule that no honest sketch breaks."""

    TAKEN_TWICE = "an id was peeled a second time"
    TOO_MANY = "more ids were peeled than cells received"
    NOT_MINE = "an id of my sign is not in my set, or one of theirs is"


@dataclass(frozen=True, slots=True)
class Complete:
    """Every cell is zero: the short ids only they have and only I have, (n,) and (m,)."""

    theirs: U64
    mine: U64


@dataclass(frozen=True, slots=True)
class NeedMore:
    """Peeling stopped short; how many ids were found so far, out of how many cells."""

    found: int
    cells: int


@dataclass(frozen=True, slots=True)
class Hostile:
    """The sketch was crafted (or an honest one hit by a chance below 2^-32)."""

    reason: HostileReason


Verdict = Complete | NeedMore | Hostile


@dataclass(frozen=True, slots=True)
class _Find:
    """Ids taken in one pass, sorted and distinct, their signs, and all their hits."""

    ids: U64
    signs: I64
    rows: I64
    cells: I64


class Decoder:
    """Peels the difference of two sets, theirs minus mine, from symbols that come in rounds.

    `is_mine` maps short ids (n,) to whether my range holds them (n,), for rule 4.
    """

    def __init__(
        self, key: SketchKey, is_mine: Callable[[U64], NDArray[np.bool_]] | None = None
    ) -> None:
        self._left = Symbols.empty(0, 0, key)
        self._is_mine = is_mine
        self._ids = np.zeros(0, np.uint64)
        self._signs = np.zeros(0, np.int64)
        self._hostile: Hostile | None = None

    def feed(self, difference: Symbols) -> Verdict:
        """Peel on with more cells, which must begin where the last ended (ValueError otherwise).

        A hostile sketch stays hostile, whatever follows.
        """
        if self._hostile is not None:
            return self._hostile
        longer = self._left.concat(difference)
        fresh = longer.slice(difference.start, difference.stop)
        fresh.remove(self._ids[self._signs > 0])
        fresh.add(self._ids[self._signs < 0])
        self._left = self._left.concat(fresh)
        return self._peel()

    def _peel(self) -> Verdict:
        suspects = np.arange(len(self._left))
        for _ in range(PASS_LIMIT):
            find = self._pure(suspects)
            if not len(find.ids):
                break
            reason = self._take(find)
            if reason is not None:
                self._hostile = Hostile(reason)
                return self._hostile
            suspects = np.unique(find.cells)
        return self._verdict()

    def _verdict(self) -> Verdict:
        if self._left.is_zero():
            return Complete(self._ids[self._signs > 0], self._ids[self._signs < 0])
        return NeedMore(len(self._ids), len(self._left))

    def _pure(self, suspects: I64) -> _Find:
        """What the pure cells among the suspects hold, after rule 1."""
        left = self._left
        single = suspects[np.abs(left.counts[suspects]) == 1]
        right = left.key.checksums(left.sums[single]) == left.checks[single]
        ids, first = np.unique(left.sums[single[right]], return_index=True)
        found_in = single[right][first]
        rows, cells = _all_hits(ids, left)
        maps = np.zeros(len(ids), np.bool_)
        maps[rows[cells == found_in[rows]]] = True
        signs = left.counts[found_in]
        if maps.all():
            return _Find(ids, signs, rows, cells)
        kept = maps[rows]
        return _Find(ids[maps], signs[maps], (np.cumsum(maps) - 1)[rows[kept]], cells[kept])

    def _take(self, find: _Find) -> HostileReason | None:
        """Take ids out of all their cells, unless a rule is broken."""
        at = np.searchsorted(self._ids, find.ids)
        known = at < len(self._ids)
        if (self._ids[at[known]] == find.ids[known]).any():
            return HostileReason.TAKEN_TWICE
        if len(self._ids) + len(find.ids) > len(self._left):
            return HostileReason.TOO_MANY
        if self._is_mine is not None and (self._is_mine(find.ids) != (find.signs < 0)).any():
            return HostileReason.NOT_MINE
        self._ids = np.insert(self._ids, at, find.ids)
        self._signs = np.insert(self._signs, at, find.signs)
        checks = self._left.key.checksums(find.ids)
        rows = find.rows
        self._left.scatter(find.cells, find.ids[rows], checks[rows], -find.signs[rows])
        return None


def _all_hits(ids: U64, symbols: Symbols) -> tuple[I64, I64]:
    """Rows and cells of all hits of ids (n,) in the interval of the symbols."""
    parts = list(hits(symbols.key.seeds(ids), symbols.start, symbols.stop))
    return (
        np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(cells for _, cells in parts)]),
    )
