"""What a decision would do, before it is made: in sentences, for whoever is about to make it."""

from __future__ import annotations

from dataclasses import dataclass

from bamboo_compat.core.report import Branch, Fork, ForkKind
from bamboo_compat.decisions.ruling import By, Ruling
from bamboo_compat.decisions.view import View
from bamboo_compat.set.layout import Node

_TOLD = 5


@dataclass(frozen=True, slots=True)
class Foresight:
    """`own`: a branch that would be set aside was brought at this machine. `sentences`: what
    would happen, each one complete."""

    own: bool
    sentences: tuple[str, ...]


def foresee(view: View, fork: Fork, chosen: Node | None, *, as_author: bool) -> Foresight:
    """What deciding a fork would do. `chosen`: the first entry of the branch; None: the author
    names one that is not here."""
    ruling = view.ruling(fork.id)
    assert ruling is not None
    lost = _lost(view, fork, chosen) if chosen is not None else []
    own = [branch for branch in lost if _is_from_here(view, branch)]
    sentences = [
        f"{_span(fork, branch)} would be set aside: kept and readable, and no part of the log."
        for branch in lost[:_TOLD]
    ]
    if len(lost) > _TOLD:
        sentences.append(f"{len(lost) - _TOLD} more branches would be set aside.")
    if chosen is None:
        sentences.append("Nothing changes here until the branch is here: nobody here has it.")
    if own:
        sentences.append(
            "Among them is what was brought at this machine, so perhaps your own work: whoever "
            "has read it will see it set aside."
        )
    sentences += _whom(ruling, as_author=as_author)
    return Foresight(bool(own), tuple(sentences))


def _whom(ruling: Ruling, *, as_author: bool) -> list[str]:
    if as_author:
        return [
            "The decision is signed and travels: it binds every node that it reaches, and can be "
            "revised, not taken out of the world."
        ]
    found = ["It binds this node only."]
    if ruling.by is By.AUTHOR:
        found.append("The author has decided this fork, and that holds as long as it stands.")
    return found


def _lost(view: View, fork: Fork, chosen: Node) -> list[Branch]:
    """The branches that were not chosen. That a log goes on after its end sets nothing aside."""
    kept = view.reader.shelf.hash(chosen)
    if fork.kind is ForkKind.AFTER_END:
        return list(fork.branches) if chosen.id == fork.parent[2:] else []
    return [branch for branch in fork.branches if branch.hash != kept]


def _is_from_here(view: View, branch: Branch) -> bool:
    node = view.reader.find(branch.hash)
    return node is not None and view.was_brought_here(node)


def _span(fork: Fork, branch: Branch) -> str:
    last = branch.seq_num + branch.length - 1
    entries = f"Entries {branch.seq_num} to {last}" if branch.length > 1 else f"Entry {last}"
    return f"{entries} of log {branch.log_id} (head {branch.head[2:10].hex()})"
