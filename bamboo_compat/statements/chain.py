"""An author's statements on a topic, in order, and what is wrong with the order.

A pure function of the statements that are known. An author who signs two statements of one count
has forked the chain; both are told, and which one holds is the same on every node: see
`Statement.rank`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from bamboo_compat.statements.format import FIRST, Statement
from bamboo_compat.statements.kinds import Decide, Topic, Undecide


@dataclass(frozen=True, slots=True)
class Chain:
    """`statements` by rank, so that the last one holds. `forks`: statements that have one count,
    the one that holds last. `missing`: ids that a statement names as the one before, and that
    are not among these. `astray`: statements whose named one before has another count.
    `is_whole`: the author's older statements were not left out."""

    author: bytes
    topic: Topic
    statements: tuple[Statement, ...] = ()
    forks: tuple[tuple[Statement, ...], ...] = ()
    missing: tuple[bytes, ...] = ()
    astray: tuple[Statement, ...] = ()
    is_whole: bool = True

    @property
    def latest(self) -> Statement | None:
        """The statement that the next one goes after."""
        return self.statements[-1] if self.statements else None

    @property
    def is_sound(self) -> bool:
        """Whether nothing is missing, forked or astray."""
        return not (self.forks or self.missing or self.astray)

    def decisions(self) -> dict[bytes, bytes]:
        """Of each fork that is decided, by its id, the branch: as the last statement about it
        says."""
        found: dict[bytes, bytes] = {}
        for one in self.statements:
            if isinstance(one.said, Decide):
                found[one.said.fork] = one.said.branch
            elif isinstance(one.said, Undecide):
                found.pop(one.said.fork, None)
        return found

    def find(self, id_: bytes) -> Statement | None:
        """A statement of this chain."""
        return next((one for one in self.statements if one.id == id_), None)


def chain_of(
    author: bytes, topic: Topic, statements: Iterable[Statement], *, is_whole: bool = True
) -> Chain:
    """The chain that these statements make, in whatever order they are given."""
    found = {one.id: one for one in statements if (one.author, one.topic) == (author, topic)}
    ordered = tuple(sorted(found.values(), key=lambda one: one.rank))
    levels = [tuple(level) for _, level in groupby(ordered, key=lambda one: one.count)]
    lowest = ordered[0].count if ordered else 0
    named = {one.previous for one in ordered if one.previous != FIRST}
    # Of a chain that was cut the oldest name what was left out.
    if not is_whole:
        named = {one.previous for one in ordered if one.count > lowest}
    return Chain(
        author,
        topic,
        ordered,
        tuple(level for level in levels if len(level) > 1),
        tuple(sorted(named - found.keys())),
        tuple(
            one
            for one in ordered
            if (before := found.get(one.previous)) is not None and before.count != one.count - 1
        ),
        is_whole,
    )
