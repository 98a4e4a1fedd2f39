"""What is left of a log once forks are decided. A pure function of the log's links, of its
forks and of the branch that was chosen of each; it does not matter in which order these came.

A decided fork sets aside the branches that were not chosen, with all that stands on them. A fork
of which fewer than two sides are left is moot: nobody needs to decide it. What is left ends in
`tips`; with one of them, that is the log's head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bamboo_compat.core.lipmaa import lipmaa
from bamboo_compat.core.report import ForkKind, Standing
from bamboo_compat.core.yamf import PREFIX
from bamboo_compat.set.layout import LINK_BYTES, Node

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


class Resolver:
    """One log's forks, and what they set aside."""

    def __init__(self, ground: Ground, forks: Sequence[LogFork]) -> None:
        self._ground = ground
        self._forks = forks
        self._decided = [fork for fork in forks if fork.chosen is not None]
        self._known: dict[tuple[bytes, int], Node | None] = {}

    def resolve(self, heads: Sequence[Node], *, is_whole: bool = True) -> Resolution:
        """`heads`: the entries of the log that no backlink leads to."""
        undecided = [fork for fork in self._forks if fork.chosen is None]
        moot = {fork.id for fork in undecided if self._is_moot(fork)}
        still = [fork for fork in undecided if fork.id not in moot]
        tips = self._tips(heads)
        return Resolution(
            tips,
            self._trusted(tips, min((fork.seq_num for fork in still), default=None)),
            tuple(fork.id for fork in still),
            tuple(fork.id for fork in self._decided),
            tuple(fork.id for fork in undecided if fork.id in moot),
            is_whole,
        )

    def set_aside_by(self, node: Node) -> bytes | None:
        """The id of the fork whose decision sets an entry aside, of several the lowest."""
        cut = self._cut(node)
        return None if cut is None else cut[1]

    # --- what is set aside ----------------------------------------------------------------

    def _cut(self, node: Node) -> tuple[int, bytes] | None:
        """From which number on the way to an entry is set aside, and by which fork."""
        cuts = [
            (fork.seq_num, fork.id)
            for fork in self._decided
            if node.seq_num >= fork.seq_num and self._is_cut(node, fork)
        ]
        return min(cuts, default=None)

    def _is_cut(self, node: Node, fork: LogFork) -> bool:
        chosen = fork.chosen
        assert chosen is not None
        match fork.kind:
            case ForkKind.DOUBLE_SCHEMA:
                return chosen.log != node.log
            case ForkKind.AFTER_END:
                # That the log goes on sets nothing aside: how it does is a fork of its own.
                at = self._ancestor(node, fork.seq_num - 1)
                is_after = at is not None and at.id == _family(fork)
                return is_after and chosen.id == _family(fork)
            case ForkKind.BRANCH:
                at = self._ancestor(node, fork.seq_num)
                if at is None or at.id == chosen.id:
                    return False
                return not fork.parent or at.backlink == _family(fork)

    def _is_moot(self, fork: LogFork) -> bool:
        left = (node for node in fork.sides if self._cut(node) is None)
        if fork.kind is ForkKind.BRANCH:
            return len(_first(left, _FEWEST)) < _FEWEST
        # Of an after_end they all stand on the marker; of a double_schema this log has one.
        return not _first(left, 1)

    # --- the way down ---------------------------------------------------------------------

    def _ancestor(self, node: Node, seq_num: int) -> Node | None:
        """The entry with a number that a node stands on, by the shortest way that is here."""
        if node.seq_num < seq_num or seq_num < 1:
            return None
        key = node.id, seq_num
        if key not in self._known:
            at: Node | None = node
            while at is not None and at.seq_num > seq_num:
                at = self._step(at, seq_num)
            self._known[key] = at
        return self._known[key]

    def _step(self, node: Node, goal: int) -> Node | None:
        if lipmaa(node.seq_num) >= goal:
            target = self._ground.lipmaa_target(node)
            if target is not None:
                return target
        return self._ground.parent(node)

    # --- what is left ---------------------------------------------------------------------

    def _tips(self, heads: Sequence[Node]) -> tuple[Node, ...]:
        tips: dict[bytes, Node] = {}
        stumps: dict[bytes, Node] = {}
        for head in heads:
            found = self._left_of(head)
            if found is not None:
                (tips if found is head else stumps)[found.key] = found
        for stump in sorted(stumps.values(), key=lambda node: -node.seq_num):
            if not any(self._stands_on(tip, stump) for tip in tips.values()):
                tips[stump.key] = stump
        return tuple(sorted(tips.values(), key=lambda node: (-node.seq_num, node.id)))

    def _left_of(self, head: Node) -> Node | None:
        """The highest entry on the way down from a head that is not set aside."""
        at: Node | None = head
        while at is not None and (cut := self._cut(at)):
            at = self._ancestor(at, cut[0] - 1)
        return at

    def _stands_on(self, node: Node, other: Node) -> bool:
        found = self._ancestor(node, other.seq_num)
        return found is not None and found.id == other.id

    def _trusted(self, tips: Sequence[Node], doubt: int | None) -> int:
        """Below each tip, and before the doubt, the first that is verified."""
        found = 0
        for tip in tips:
            at = tip if doubt is None or tip.seq_num < doubt else self._ancestor(tip, doubt - 1)
            while at is not None and at.standing is not Standing.VERIFIED:
                at = self._ground.parent(at)
            found = max(found, at.seq_num if at is not None else 0)
        return found


def _family(fork: LogFork) -> bytes:
    """The digest of the parent, as entries keep their backlinks; of an after_end the marker's."""
    return fork.parent[PREFIX : PREFIX + LINK_BYTES]


def _first(nodes: Iterator[Node], most: int) -> list[Node]:
    found: list[Node] = []
    for node in nodes:
        found.append(node)
        if len(found) == most:
            break
    return found
