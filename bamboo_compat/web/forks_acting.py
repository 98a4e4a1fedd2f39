"""Deciding on the page: what would happen, said before it is done, and then done.

What somebody says yes to is what was shown: `Plan.seen` is of that, and a plan that would say
something else by now is shown again.
"""

from __future__ import annotations

import enum
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from bamboo_compat.cli.fork_view import branch_name, number_of
from bamboo_compat.cli.fork_words import find_fork
from bamboo_compat.core.report import Fork
from bamboo_compat.decisions.acting import decide_here, set_policy, undecide_here
from bamboo_compat.decisions.book import Book, Did, Policy, Record
from bamboo_compat.decisions.errors import NoSuchBranchError
from bamboo_compat.decisions.foresight import foresee
from bamboo_compat.decisions.limits import MAX_REASON
from bamboo_compat.decisions.ruling import By, Ruling
from bamboo_compat.decisions.view import View
from bamboo_compat.set.layout import Node
from bamboo_compat.statements.kinds import is_printable
from bamboo_compat.web.forks_reading import Choice, State, Survey, choices
from setsync.errors import UsageError
from setsync.store.contract import Snapshot


class Do(enum.StrEnum):
    """The three buttons."""

    DECIDE = "decide"
    IGNORE = "ignore"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants done with a fork. `branch`: the tagged hash of its first entry in hex,
    of a decision. Raises UsageError."""

    do: Do
    branch: str = ""
    reason: str = ""

    @classmethod
    def of(cls, do: str, branch: str, reason: str) -> Wish:
        """As it came in a form."""
        if do not in set(Do):
            raise UsageError(f"What can be done with a fork: {', '.join(Do)}.")
        is_short = len(reason.encode("utf-8", "replace")) <= MAX_REASON
        if not is_short or not is_printable(reason):
            raise UsageError(f"A reason is one line of at most {MAX_REASON} bytes.")
        return cls(Do(do), branch if do == Do.DECIDE else "", reason)


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done. `right` and `others` are branches with their hashes, `sentences` what
    would happen; `own`: a branch that would be set aside was brought at this machine."""

    fork: Fork
    wish: Wish
    title: str
    right: Choice | None
    others: tuple[Choice, ...]
    sentences: tuple[str, ...]
    own: bool

    @property
    def seen(self) -> str:
        """64 hex digits: of all that is shown."""
        shown = [
            self.fork.id.hex(),
            self.wish.do,
            self.right.hash if self.right is not None else "",
            *(one.hash for one in self.others),
            *self.sentences,
        ]
        return hashlib.sha256(json.dumps(shown).encode("ascii")).hexdigest()

    def as_json(self) -> dict[str, object]:
        """See docs/json/web-fork-plan.json."""
        return {
            "fork": self.fork.id.hex(),
            "do": self.wish.do,
            "right": self.right.hash if self.right is not None else None,
            "others": [one.hash for one in self.others],
            "sentences": list(self.sentences),
            "own": self.own,
            "seen": self.seen,
        }


# --- before -------------------------------------------------------------------------------


def plan(
    view: View, snapshot: Snapshot, node_id: bytes, prefix: str, wish: Wish, survey: Survey
) -> Plan:
    """What a wish would do. Raises NoSuchForkError, AmbiguousForkError, NoSuchBranchError."""
    fork = find_fork(view.reader, prefix)
    if wish.do is Do.DECIDE:
        node = _named(view, fork, wish.branch)
        name = branch_name(number_of(view, fork, node), bytes.fromhex(wish.branch))
        foresight = foresee(view, fork, node, as_author=False)
        title = f"{name[0].upper()}{name[1:]} is right?"
        return _plan(view, fork, wish, title, node, foresight.sentences, foresight.own)
    later = View(snapshot, _book_after(view.book, fork, wish), node_id, view.reader)
    ruling = later.ruling(fork.id)
    assert ruling is not None
    more = _others(survey, fork, wish.do)
    if wish.do is Do.ASK:
        sentences = (*_asking(view, later, fork, ruling), *more)
        title = "Keep asking?"
        return _plan(view, fork, wish, title, ruling.chosen, sentences, own=False)
    foresight = foresee(later, fork, ruling.chosen, as_author=False)
    sentences = (*_ignoring(later, fork, ruling), *more, *foresight.sentences)
    return _plan(view, fork, wish, "Ignore the rest?", ruling.chosen, sentences, foresight.own)


def _plan(
    view: View,
    fork: Fork,
    wish: Wish,
    title: str,
    right: Node | None,
    sentences: tuple[str, ...],
    own: bool,
) -> Plan:
    kept = view.reader.shelf.hash(right).hex() if right is not None else ""
    found = choices(view, fork)
    chosen = next((one for one in found if one.hash == kept), None)
    others = tuple(one for one in found if one.hash != kept)
    return Plan(fork, wish, title, chosen, others, sentences, own)


def _named(view: View, fork: Fork, text: str) -> Node:
    row = view.reader.fork_row(fork.id)
    try:
        node = view.side(row, bytes.fromhex(text)) if row is not None and text else None
    except ValueError:
        node = None
    if node is None or view.reader.shelf.hash(node).hex() != text:
        raise NoSuchBranchError("No branch of this fork begins with an entry of that hash.")
    return node


def _book_after(book: Book, fork: Fork, wish: Wish) -> Book:
    """What would be said here then."""
    policy = Policy.IGNORE if wish.do is Do.IGNORE else Policy.ASK
    added = [
        Record(0, "", Did.UNDECIDE, fork=fork.id),
        Record(0, "", Did.POLICY, author=fork.author, policy=policy),
    ]
    return Book([*book.records, *added])


def _ignoring(later: View, fork: Fork, ruling: Ruling) -> list[str]:
    if ruling.by is By.POLICY:
        number = number_of(later, fork, ruling.chosen)
        first = "The end of the log" if number == 0 else f"Branch {number}"
        found = [f"{first} is right, since it was here first."]
    else:
        found = []
    return [
        *found,
        "So it is at this node with every fork of this author that nobody decides, those to come "
        "included: the branch that was here first is right, and the rest is ignored.",
    ]


def _asking(view: View, later: View, fork: Fork, ruling: Ruling) -> list[str]:
    found = ["Forks of this author that nobody decides stay open, and are asked about."]
    if view.book.decision(fork.id) is not None:
        found.append("What was decided here about this fork holds no longer; the history stays.")
    if ruling.by is By.AUTHOR:
        found.append("The author has decided this fork, and that holds as long as it stands.")
        return found
    for log_id in sorted({fork.log_id, *(branch.log_id for branch in fork.branches)}):
        row = later.reader.log(fork.author, log_id)
        if row is not None:
            trusted = later.resolve(row).trusted
            upto = f"is trusted up to entry {trusted}" if trusted else "is trusted nowhere"
            found.append(f"Log {log_id} {upto}.")
    return found


def _others(survey: Survey, fork: Fork, do: Do) -> tuple[str, ...]:
    """How many more forks of the author a policy is about, of those here."""
    settled = (State.POLICY,) if do is Do.ASK else (State.UNDECIDED, State.WAITING)
    count = sum(
        row.author == fork.author and row.id != fork.id and row.state in settled
        for row in survey.rows
    )
    if not count:
        return ()
    forks = "1 more fork" if count == 1 else f"{count:,} more forks"
    return (f"That is about {forks} of this author here.",)


# --- doing --------------------------------------------------------------------------------


def act(folder: Path, plan: Plan, *, who: str, at: int) -> None:
    """Do it. Raises ForksFileError."""
    fork, wish = plan.fork, plan.wish
    if wish.do is Do.DECIDE:
        branch = bytes.fromhex(wish.branch)
        decide_here(folder, fork.id, branch, who=who, at=at, reason=wish.reason)
        return
    undecide_here(folder, fork.id, who=who, at=at, reason=wish.reason)
    policy = Policy.IGNORE if wish.do is Do.IGNORE else Policy.ASK
    set_policy(folder, policy, fork.author, who=who, at=at, reason=wish.reason)
