"""What is left of a log once forks are decided. A pure function of the log's links, of its
forks and of the branch that was chosen of each; it does not matter in which order these came.

A decided fork sets aside the branches that were not chosen, with all that stands on them. A fork
of which fewer than two sides are left is moot: nobody needs to decide it. What is left ends in
`tips`; with one of them, that is the log's head.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from bamboo_compat.core.lipmaa import lipmaa
from bamboo_compat.core.report import ForkKind, Standing
from bamboo_compat.set.layout import Node, link_of, link_to

_FEWEST = 2


class Ground(Protocol):
    """The links of a log, as far as they lead to their place."""

    def parent(self, node: Node) -> Node | None:
        """The entry that the backlink names."""

    def lipmaa_target(self, node: Node) -> Node | None:
        """The entry that the lipmaalink names."""


@dataclass(frozen=True, slots=True)
class LogFork:
    """A fork as one of its logs sees it. `seq_num`: from where on the log is in doubt.

    `parent` as in `Fork`. `sides`: the first entries of the branches in this log; `chosen`: the
    first entry of the branch that is right, of an after_end perhaps the marker, of a
    double_schema perhaps in another log; None: it is undecided.
    """

    id: bytes
    kind: ForkKind
    seq_num: int
    parent: bytes
    sides: tuple[Node, ...]
    chosen: Node | None


@dataclass(frozen=True, slots=True)
class Resolution:
    """A log as decisions leave it.

    `tips`: where what is left ends, the highest number first. `trusted`: the highest verified
    number before the lowest fork in `undecided`; 0: none. `moot`: forks that other decisions
    have settled. `is_whole`: there were not too many heads to tell.
    """

    tips: tuple[Node, ...]
    trusted: int
    undecided: tuple[bytes, ...] = ()
    decided: tuple[bytes, ...] = ()
    moot: tuple[bytes, ...] = ()
    is_whole: bool = True

    @property
    def head(self) -> Node | None:
        """The one entry that the log ends with, where that is certain."""
        return self.tips[0] if len(self.tips) == 1 and self.is_whole else None


class _Cut(NamedTuple):
    """From which number on the way to an entry is set aside, and by which fork. `stump`: the
    entry just below, where the way leads over it."""

    seq_num: int
    fork: bytes
    stump: Node | None = None


class _Known(NamedTuple):
    """What the ways down from an entry say. `cut`: of the entry itself; `cut_above`: of what
    stands on it. `is_whole`: one of the ways has no gap before the lowest fork."""

    cut: _Cut | None
    cut_above: _Cut | None
    is_whole: bool


class Resolver:
    """One log's forks, and what they set aside.

    The ways down from many entries soon run together. So each entry on them is looked at once:
    what is known of those that its links lead to says all about it.
    """

    def __init__(self, ground: Ground, forks: Sequence[LogFork]) -> None:
        self._ground = ground
        self._forks = forks
        self._decided = [fork for fork in forks if fork.chosen is not None]
        self._verdicts = _Verdicts(self._decided)
        self._steps = _steps(forks)
        self._known: dict[bytes, _Known] = {}

    def resolve(self, heads: Sequence[Node], *, is_whole: bool = True) -> Resolution:
        """`heads`: the entries of the log that no backlink leads to."""
        undecided = [fork for fork in self._forks if fork.chosen is None]
        moot = {fork.id for fork in undecided if self._is_moot(fork)}
        still = [fork for fork in undecided if fork.id not in moot]
        tips, passed = self._tips(heads)
        return Resolution(
            tips,
            self._trusted(passed, min((fork.seq_num for fork in still), default=None), tips),
            tuple(fork.id for fork in still),
            tuple(fork.id for fork in self._decided),
            tuple(fork.id for fork in undecided if fork.id in moot),
            is_whole,
        )

    def set_aside_by(self, node: Node) -> bytes | None:
        """The id of the fork whose decision sets an entry aside, of several the lowest."""
        cut = self._cut(node)
        return None if cut is None else cut.fork

    def _is_moot(self, fork: LogFork) -> bool:
        left = (node for node in fork.sides if self._cut(node) is None)
        if fork.kind is ForkKind.BRANCH:
            return len(_first(left, _FEWEST)) < _FEWEST
        # Of an after_end they all stand on the marker; of a double_schema this log has one.
        return not _first(left, 1)

    # --- what is set aside ----------------------------------------------------------------

    def _cut(self, node: Node) -> _Cut | None:
        work = [node]
        while work:
            missing = self._settle(work[-1])
            if missing is None:
                work.pop()
            else:
                work.append(missing)
        return self._known[node.id].cut

    def _settle(self, node: Node) -> Node | None:
        """Note what is known of an entry; or that to which a link leads, and of which nothing is
        known yet."""
        if node.id in self._known:
            return None
        found: _Cut | None = None
        is_whole = self._is_lowest(node)
        for target in self._down(node):
            known = self._known.get(target.id)
            if known is None:
                return target
            found = _lower(found, known.cut_above)
            is_whole = is_whole or known.is_whole
        cut = _lower(found, self._verdicts.of(node, self._ground))
        self._known[node.id] = _Known(cut, _lower(cut, self._verdicts.above(node)), is_whole)
        return None

    # --- the ways down --------------------------------------------------------------------

    def _is_lowest(self, node: Node) -> bool:
        return not self._steps or node.seq_num <= self._steps[0]

    def _down(self, node: Node) -> Iterator[Node]:
        """What the next steps down lead to: the shortest way to the next number that matters,
        and where the way from there has a gap, over it."""
        if self._is_lowest(node):
            return
        goal = self._steps[bisect_left(self._steps, node.seq_num) - 1]
        jump = lipmaa(node.seq_num)
        target = self._ground.lipmaa_target(node) if jump >= goal else None
        if target is None:
            target = self._ground.parent(node)
        if target is not None:
            yield target
            known = self._known.get(target.id)
            if known is not None and known.is_whole:
                return
        if jump < goal and (other := self._ground.lipmaa_target(node)) is not None:
            yield other

    # --- what is left ---------------------------------------------------------------------

    def _tips(self, heads: Sequence[Node]) -> tuple[tuple[Node, ...], dict[bytes, Node]]:
        """Where what is left ends, and what the ways down from there lead over."""
        tips: list[Node] = []
        stumps: dict[bytes, Node] = {}
        for head in heads:
            cut = self._cut(head)
            if cut is None:
                tips.append(head)
            elif cut.stump is not None:
                stumps[cut.stump.id] = cut.stump
        passed: dict[bytes, Node] = {}
        for tip in tips:
            self._pass(tip, passed)
        for stump in sorted(stumps.values(), key=lambda node: -node.seq_num):
            if stump.id not in passed:
                tips.append(stump)
                self._pass(stump, passed)
        return tuple(sorted(tips, key=lambda node: (-node.seq_num, node.id))), passed

    def _pass(self, tip: Node, passed: dict[bytes, Node]) -> None:
        """Add what the ways down from a tip lead over."""
        work = [tip]
        while work:
            node = work.pop()
            if node.id not in passed:
                passed[node.id] = node
                work += self._down(node)

    def _trusted(self, passed: dict[bytes, Node], doubt: int | None, tips: Sequence[Node]) -> int:
        """Below each tip, and before the doubt, the first that is verified."""
        if doubt is None:
            work = list(tips)
        else:
            work = [tip for tip in tips if tip.seq_num < doubt]
            work += [node for node in passed.values() if node.seq_num == doubt - 1]
        found = 0
        seen: set[bytes] = set()
        while work:
            node = work.pop()
            if node.id in seen:
                continue
            seen.add(node.id)
            if node.standing is Standing.VERIFIED:
                found = max(found, node.seq_num)
            elif (parent := self._ground.parent(node)) is not None:
                work.append(parent)
        return found


class _Verdicts:
    """What decided forks say of the entry that a way leads over, each at its own number."""

    def __init__(self, decided: Sequence[LogFork]) -> None:
        self._branches: dict[tuple[int, bytes], LogFork] = {}
        self._ends: dict[bytes, _Cut] = {}
        elsewhere: list[tuple[int, bytes]] = []
        for fork in decided:
            chosen = fork.chosen
            assert chosen is not None
            match fork.kind:
                case ForkKind.BRANCH:
                    self._branches[fork.seq_num, link_of(fork.parent) if fork.parent else b""] = (
                        fork
                    )
                case ForkKind.AFTER_END:
                    # That the log goes on sets nothing aside: how it does is a fork of its own.
                    if link_to(chosen.id) == link_of(fork.parent):
                        self._ends[chosen.id] = _Cut(fork.seq_num, fork.id, chosen)
                case ForkKind.DOUBLE_SCHEMA:
                    if any(side.log != chosen.log for side in fork.sides):
                        elsewhere.append((fork.seq_num, fork.id))
        self._elsewhere = min(elsewhere, default=None)

    def of(self, node: Node, ground: Ground) -> _Cut | None:
        """That it is set aside itself."""
        found: _Cut | None = None
        for family in {node.backlink, b""}:
            fork = self._branches.get((node.seq_num, family))
            if fork is not None and fork.chosen is not None and fork.chosen.id != node.id:
                found = _lower(found, _Cut(fork.seq_num, fork.id, ground.parent(node)))
        if self._elsewhere is not None and node.seq_num >= self._elsewhere[0]:
            found = _lower(found, _Cut(*self._elsewhere))
        return found

    def above(self, node: Node) -> _Cut | None:
        """That what stands on it is set aside."""
        found = self._ends.get(node.id)
        if self._elsewhere is not None and node.seq_num == self._elsewhere[0] - 1:
            found = _lower(found, _Cut(*self._elsewhere, node))
        return found


def _steps(forks: Sequence[LogFork]) -> list[int]:
    """The numbers at which something is said of a way, ascending: where it parts, and the one
    before, with which it would end."""
    numbers = {number for fork in forks for number in (fork.seq_num - 1, fork.seq_num)}
    return sorted(numbers - {0})


def _lower(one: _Cut | None, other: _Cut | None) -> _Cut | None:
    """The lower of two; of the same the one that knows its stump."""
    if one is None or other is None:
        return one or other
    first = min(one, other, key=lambda cut: cut[:2])
    return other if one[:2] == other[:2] and one.stump is None else first


def _first(nodes: Iterator[Node], most: int) -> list[Node]:
    found: list[Node] = []
    for node in nodes:
        found.append(node)
        if len(found) == most:
            break
    return found
