"""Whose word holds about one fork. A pure function of what was said.

The author's own decision holds on every node that has it and the branch that it names. Where
there is none, what this node's people said holds here; and else the policy.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from bamboo_compat.decisions.book import Policy, Record
from bamboo_compat.set.layout import Node
from bamboo_compat.statements.format import Statement
from bamboo_compat.statements.kinds import Decide


class By(enum.StrEnum):
    """Who decided: the log's author, people at this node, or its policy."""

    AUTHOR = "author"
    HERE = "here"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class Side:
    """A branch that somebody named: `named` as they wrote it; `node` its first entry, or None
    where no such branch of the fork is here."""

    named: bytes
    node: Node | None


@dataclass(frozen=True, slots=True)
class Ruling:
    """What holds of a fork. `chosen`: the first entry of the branch that is right.

    `statement`: the author's latest about it; `record`: this node's decision; `authors`, `ours`:
    which branch each names. `chain_forked`: the author signed another statement with the count
    of that one.
    """

    fork: bytes
    policy: Policy
    by: By | None = None
    chosen: Node | None = None
    statement: Statement | None = None
    authors: Side | None = None
    record: Record | None = None
    ours: Side | None = None
    chain_forked: bool = False

    @property
    def is_waiting(self) -> bool:
        """Whether the author decided for a branch that is not here."""
        return self.authors is not None and self.authors.node is None

    @property
    def is_overruled(self) -> bool:
        """Whether this node decided otherwise than the author, whose decision holds."""
        if self.by is not By.AUTHOR or self.ours is None or self.chosen is None:
            return False
        return self.ours.node is None or self.ours.node.key != self.chosen.key


def rule(
    fork: bytes,
    policy: Policy,
    *,
    statement: Statement | None = None,
    authors: Side | None = None,
    record: Record | None = None,
    ours: Side | None = None,
    preferred: Node | None = None,
    chain_forked: bool = False,
) -> Ruling:
    """Who decides. `preferred`: what the policy would choose.

    `authors` goes with a statement that decides, and `ours` with a record.
    """
    by, chosen = None, None
    if authors is not None and authors.node is not None:
        by, chosen = By.AUTHOR, authors.node
    elif ours is not None and ours.node is not None:
        by, chosen = By.HERE, ours.node
    elif preferred is not None:
        by, chosen = By.POLICY, preferred
    return Ruling(
        fork, policy, by, chosen, statement, authors, record, ours, chain_forked=chain_forked
    )


def decided(statement: Statement | None) -> bytes | None:
    """The branch that the author's latest statement names; None where it names none."""
    if statement is None or not isinstance(statement.said, Decide):
        return None
    return statement.said.branch
