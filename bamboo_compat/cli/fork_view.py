"""What commands say of decisions: in words, and for programs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bamboo_compat.cli.fork_words import moment
from bamboo_compat.cli.wording import short
from bamboo_compat.core.report import Fork
from bamboo_compat.decisions.book import Policy, Record
from bamboo_compat.decisions.ruling import By, Ruling
from bamboo_compat.decisions.view import View, open_indexes
from bamboo_compat.set.layout import Node
from bamboo_compat.statements.format import Statement
from bamboo_compat.statements.kinds import Decide, Undecide
from setsync.cli.common import opened

if TYPE_CHECKING:
    from setsync.node.config import DataDirectory
    from setsync.store.contract import EntryStore, Snapshot

# The number of what comes before the branches of an after_end: the end of the log itself.
END = 0


@contextlib.contextmanager
def opened_view(data: Path) -> Iterator[tuple[DataDirectory, Snapshot, View]]:
    """The directory, one moment of its store, and what is decided at that moment.

    Print after it is closed, as with `opened_reader`. Raises also ForksFileError.
    """
    with opened(data) as (directory, store), view_of(directory, store) as (snapshot, view):
        yield directory, snapshot, view


@contextlib.contextmanager
def view_of(directory: DataDirectory, store: EntryStore) -> Iterator[tuple[Snapshot, View]]:
    """The same of a store that is open."""
    open_indexes(store)
    with store.snapshot() as snapshot:
        yield snapshot, View.of(directory.path, snapshot, directory.node_key().public)


# --- for people ---------------------------------------------------------------------------


def number_of(view: View, fork: Fork, node: Node | None) -> int | None:
    """Which branch begins with an entry: as 'fork show' counts them."""
    if node is None:
        return None
    hash_ = view.reader.shelf.hash(node)
    if fork.parent and node.id == fork.parent[2:]:
        return END
    numbers = (n for n, branch in enumerate(fork.branches, start=1) if branch.hash == hash_)
    return next(numbers, None)


def branch_name(number: int | None, hash_: bytes) -> str:
    """A branch in a sentence."""
    if number is None:
        return f"the branch that begins with {short(hash_)}"
    return f"branch {number}" if number != END else "the end"


def decision_words(view: View, fork: Fork) -> list[str]:
    """What is decided of a fork, by whom, and what stands against it; nothing if nobody said
    anything."""
    ruling = view.ruling(fork.id)
    if ruling is None:
        return []
    lines = [*_who_decided(view, fork, ruling)]
    if ruling.by is None and view.is_moot(fork.id):
        lines.append("settled by the decision about another fork of this log")
    if ruling.is_waiting and ruling.authors is not None:
        lines.append(
            f"the author decided for the branch that begins with {short(ruling.authors.named)}, "
            "which is not here yet"
        )
    if ruling.is_overruled and ruling.ours is not None:
        name = branch_name(number_of(view, fork, ruling.ours.node), ruling.ours.named)
        lines.append(f"decided here for {name}, against the author, whose decision holds")
    if ruling.chain_forked:
        lines.append(
            "the author signed two statements with one count, and the one with the smaller id "
            "holds; 'setsync fork show' names both"
        )
    return lines


def _who_decided(view: View, fork: Fork, ruling: Ruling) -> Iterator[str]:
    if ruling.chosen is None:
        return
    number = number_of(view, fork, ruling.chosen)
    name = branch_name(number, view.reader.shelf.hash(ruling.chosen))
    match ruling.by:
        case By.AUTHOR if ruling.statement is not None:
            said = ruling.statement.said
            because = _because(said.reason) if isinstance(said, Decide) else ""
            yield f"{name} is right, the author says{because}"
        case By.HERE if ruling.record is not None:
            record = ruling.record
            whom = f" by {record.who}" if record.who else ""
            because = _because(record.reason)
            yield f"{name} is right, as decided here{whom}, {moment(record.at)}{because}"
        case _ if ruling.policy is Policy.IGNORE:
            yield f"{name} is right by policy: it was here first"
        case _:
            yield f"{name} is right by policy: it came through the author's home"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


# --- for programs -------------------------------------------------------------------------


def decision_json(view: View, fork: Fork) -> dict[str, object]:
    """See docs/json/fork-list.json."""
    ruling = view.ruling(fork.id)
    assert ruling is not None
    state = "decided" if ruling.by is not None else "undecided"
    if ruling.by is None and view.is_moot(fork.id):
        state = "moot"
    chosen = ruling.chosen
    waits = ruling.authors.named.hex() if ruling.is_waiting and ruling.authors else None
    return {
        "state": state,
        "by": ruling.by,
        "branch": number_of(view, fork, chosen),
        "hash": view.reader.shelf.hash(chosen).hex() if chosen is not None else None,
        "policy": ruling.policy,
        "waiting_for": waits,
        "overruled": ruling.is_overruled,
        "chain_forked": ruling.chain_forked,
    }


def history_json(view: View, fork: Fork) -> list[dict[str, object]]:
    """Everything that was said about a fork, here and by the author; the newest last."""
    said = [
        *((record.at, _record_json(view, fork, record)) for record in view.records(fork.id)),
        *((one.timestamp, _said_json(view, fork, one)) for one in view.said(fork.id, fork.author)),
    ]
    return [as_json for _, as_json in sorted(said, key=lambda pair: pair[0])]


def _record_json(view: View, fork: Fork, record: Record) -> dict[str, object]:
    return {
        "by": By.HERE,
        "at": record.at,
        "who": record.who,
        "did": record.did,
        **_branch_json(view, fork, record.branch),
        "reason": record.reason,
        "statement": None,
        "count": None,
    }


def _said_json(view: View, fork: Fork, one: Statement) -> dict[str, object]:
    said = one.said
    assert isinstance(said, Decide | Undecide)
    return {
        "by": By.AUTHOR,
        "at": one.timestamp,
        "who": one.author.hex(),
        "did": said.kind.name.lower(),
        **_branch_json(view, fork, said.branch if isinstance(said, Decide) else b""),
        "reason": said.reason,
        "statement": one.id.hex(),
        "count": one.count,
    }


def _branch_json(view: View, fork: Fork, named: bytes) -> dict[str, object]:
    row = view.reader.fork_row(fork.id)
    node = view.side(row, named) if row is not None and named else None
    return {"branch": number_of(view, fork, node), "hash": named.hex() or None}


def chain_json(view: View, author: bytes) -> dict[str, object]:
    """What is to be said of the order of an author's decisions."""
    chain = view.chain(author)
    return {
        "statements": len(chain.statements),
        "latest": chain.latest.id.hex() if chain.latest is not None else None,
        "forks": [[one.id.hex() for one in fork] for fork in chain.forks],
        "missing": [id_.hex() for id_ in chain.missing],
    }


def history_words(view: View, fork: Fork) -> list[str]:
    """A line for each thing that was said, the newest last."""
    lines = []
    for one in history_json(view, fork):
        at, hash_ = one["at"], one["hash"]
        number, reason = one["branch"], one["reason"]
        assert isinstance(at, int)
        whom = "the author" if one["by"] is By.AUTHOR else "here"
        name = f" by {one['who']}" if one["by"] is By.HERE and one["who"] else ""
        what = "decided nothing any more"
        if isinstance(hash_, str):
            known = number if isinstance(number, int) else None
            what = f"decided for {branch_name(known, bytes.fromhex(hash_))}"
        lines.append(f"{moment(at)} {whom}{name}: {what}{_because(str(reason))}")
    return lines


def chain_words(view: View, author: bytes) -> list[str]:
    """What is wrong with the order of an author's decisions."""
    chain = view.chain(author)
    lines = [
        f"the author signed {len(fork)} statements with the count {fork[-1].count}: "
        f"{', '.join(short(one.id) for one in fork)}; {short(fork[-1].id)} holds before the others"
        for fork in chain.forks
    ]
    if chain.missing:
        lines.append(
            f"{len(chain.missing)} of the author's statements are named and not here: "
            f"{', '.join(short(id_) for id_ in chain.missing[:4])}"
        )
    return lines
