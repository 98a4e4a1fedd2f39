"""The branches of a log as a small tree of lines.

    NUMBERS         ENTRIES  STANDING  LAST ENTRY
    1-10                 10  verified  83a1c2d4
    ├─ 11-20             10  verified  3f9a11c0    head
    └─ 11-12              2  verified  5b21e6aa
       ├─ 13-15           3  verified  c04d7f12    head
       └─ 13-14           2  verified  90aa3e5b    head

A line is a run of entries that simply follow each other; it is drawn as far in as the log
has parted before it. What follows with another standing is the next line, just as far in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bamboo_compat.cli.wording import Column, speaks


@dataclass(frozen=True, slots=True)
class Run:
    """A segment in words; `number`, `parent`, `before` and `followers` as in `Segment`."""

    number: int
    parent: int | None
    before: int
    first: int
    last: int
    followers: int
    standing: str
    last_entry: str
    note: str
    is_astray: bool  # its backlink leads to something that is here, in the wrong place


@dataclass(frozen=True, slots=True)
class Strokes:
    """What lines are drawn with."""

    fork: str
    last: str
    down: str
    gap: str


DRAWN = Strokes("├─ ", "└─ ", "│  ", "╎  ")
PLAIN = Strokes("|- ", "`- ", "|  ", ":  ")
_BLANK = "   "
# A log that parts within branches of branches is not drawn ever further to the right.
_FARTHEST = 30


@dataclass(frozen=True, slots=True)
class _Row:
    drawn: str
    entries: str = ""
    standing: str = ""
    last_entry: str = ""
    note: str = ""


def tree(runs: Sequence[Run]) -> list[Column]:
    """The columns to print. `runs` by number: with each all that it stands on, but perhaps
    not all that follow."""
    strokes = DRAWN if speaks("├─└│╎") else PLAIN
    rows = list(_Tree(runs, strokes).rows())
    return [
        Column("NUMBERS", [row.drawn for row in rows]),
        Column("ENTRIES", [row.entries for row in rows], right=True),
        Column("STANDING", [row.standing for row in rows]),
        Column("LAST ENTRY", [row.last_entry for row in rows]),
        Column("", [row.note for row in rows]),
    ]


class _Tree:
    def __init__(self, runs: Sequence[Run], strokes: Strokes) -> None:
        self._strokes = strokes
        self._roots = [run for run in runs if run.parent is None]
        self._after: dict[int, list[Run]] = {}
        for run in runs:
            if run.parent is not None:
                self._after.setdefault(run.parent, []).append(run)

    def rows(self) -> Iterator[_Row]:
        """Whatever begins on its own, each with all that follows."""
        firsts = [run for run in self._roots if run.first == 1]
        yield from self._side_by_side(firsts, "", 0) if len(firsts) > 1 else self._all(firsts)
        told = 0
        for run in self._roots[len(firsts) :]:
            if run.first != told:
                yield from self._gap(run)
            told = run.first
            yield from self._from(run, "", "")

    def _all(self, runs: list[Run]) -> Iterator[_Row]:
        for run in runs:
            yield from self._from(run, "", "")

    def _from(self, run: Run, prefix: str, below: str) -> Iterator[_Row]:
        """A run and what follows; `below`: what its next lines begin with."""
        numbers = _numbers(run.first, run.last)
        count = str(run.last - run.first + 1)
        yield _Row(_cut(prefix) + numbers, count, run.standing, run.last_entry, run.note)
        after = self._after.get(run.number, [])
        missing = run.followers - len(after)
        if run.followers > 1:
            yield from self._side_by_side(after, below, missing)
        elif missing:
            yield _Row(f"{_cut(below)}... goes on")
        else:
            yield from (row for one in after for row in self._from(one, below, below))

    def _side_by_side(self, runs: list[Run], prefix: str, missing: int) -> Iterator[_Row]:
        strokes = self._strokes
        for at, run in enumerate(runs, start=1):
            if at < len(runs) or missing:
                yield from self._from(run, prefix + strokes.fork, prefix + strokes.down)
            else:
                yield from self._from(run, prefix + strokes.last, prefix + _BLANK)
        if missing:
            yield _Row(f"{_cut(prefix)}{strokes.last}... {missing} more")

    def _gap(self, run: Run) -> Iterator[_Row]:
        """What is missing before a run that begins on its own."""
        first, last = run.before + 1, run.first - 1
        if first <= last:
            numbers = _numbers(first, last)
            yield _Row(self._strokes.gap + numbers, str(last - first + 1), "missing")
        elif not run.is_astray:
            yield _Row(f"{self._strokes.gap}{last}", "1", "another one, missing")


def _numbers(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _cut(prefix: str) -> str:
    return prefix if len(prefix) <= _FARTHEST else f"... {prefix[4 - _FARTHEST :]}"
