"""`setsync fork show`: one fork, two of its branches side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from bamboo_compat.cli.fork_proof import NoProofError, expect, make_proof
from bamboo_compat.cli.fork_view import (
    END,
    chain_json,
    chain_words,
    decision_json,
    decision_words,
    history_json,
    history_words,
    opened_view,
)
from bamboo_compat.cli.fork_words import (
    branch_json,
    find_fork,
    fork_json,
    found_at,
    id_prefix,
    local_json,
    origin_words,
    short_id,
)
from bamboo_compat.cli.payloads import BRIEF, FULL, Described, describe
from bamboo_compat.core.report import Branch, Fork, ForkKind, Standing
from bamboo_compat.decisions.view import View
from bamboo_compat.set.layout import Flag, Node
from setsync.cli.common import data_option, json_option, print_json
from setsync.store.contract import Snapshot

_ENTRIES = 5
_MOST_ENTRIES = 100


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry as it is shown. `inherited`: broken because of what it stands on."""

    seq_num: int
    id: bytes
    hash: bytes
    standing: Standing
    inherited: bool
    end_of_log: bool
    payload: Described

    def as_json(self) -> dict[str, object]:
        """See docs/json/fork-show.json."""
        return {
            "seq_num": self.seq_num,
            "id": self.id.hex(),
            "hash": self.hash.hex(),
            "standing": self.standing,
            "inherited": self.inherited,
            "end_of_log": self.end_of_log,
            "payload": self.payload.as_json(),
        }


@dataclass(frozen=True, slots=True)
class Side:
    """One column. `origin` and `local` are of the first entry; `trusted`: up to which number
    the log is; `set_aside`: a decision says that the branch is no part of it."""

    number: int
    branch: Branch
    trusted: int
    set_aside: bool
    entries: tuple[Shown, ...]
    origin: str
    local: dict[str, object]

    def as_json(self) -> dict[str, object]:
        """See docs/json/fork-show.json."""
        return {
            "branch": self.number,
            **branch_json(self.branch),
            "trusted": self.trusted,
            "set_aside": self.set_aside,
            "entries": [entry.as_json() for entry in self.entries],
            "local": self.local,
        }


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that is shown; it does not need the snapshot any more.

    `common`: what the branches share, where that is here. `no_proof`: why none can be made.
    """

    fork: Fork
    short_id: str
    origin: str
    common: Shown | None
    sides: tuple[Side, Side]
    no_proof: str
    decision: list[str]
    history: list[str]
    told: dict[str, object]

    def as_json(self) -> dict[str, object]:
        """See docs/json/fork-show.json."""
        return {
            **self.told,
            "common": self.common.as_json() if self.common is not None else None,
            "sides": [side.as_json() for side in self.sides],
            "proof": {"available": not self.no_proof, "reason": self.no_proof or None},
        }


@click.command()
@click.argument("id_", metavar="ID", callback=id_prefix)
@click.option(
    "--branch",
    "numbers",
    type=click.IntRange(0),
    multiple=True,
    metavar="NUMBER",
    help="Show this branch; given twice. By default the first two; 0 is an end of the log.",
)
@click.option(
    "--entries",
    "count",
    type=click.IntRange(1, _MOST_ENTRIES),
    default=_ENTRIES,
    show_default=True,
    metavar="N",
    help="At most N entries of each branch.",
)
@click.option("--payload", is_flag=True, help="More of each payload: 4,000 characters, not 200.")
@data_option
@json_option
def show(
    id_: str, numbers: tuple[int, ...], count: int, payload: bool, data: Path, as_json: bool
) -> None:
    """Show the fork whose id begins with ID, two branches side by side.

    What stands in the entries was written by others. An entry's whole payload, byte for
    byte, is what 'setsync get' prints.

    \b
    Examples:
      setsync fork show 3f9a11c0
      setsync fork show 3f9a11c0 --branch 1 --branch 3 --entries 20
    """
    with opened_view(data) as (_, snapshot, view):
        fork = find_fork(view.reader, id_)
        chosen = _choose(fork, numbers)
        page = _Gathering(view, snapshot, count, FULL if payload else BRIEF).page(fork, chosen)
    if as_json:
        print_json(page.as_json())
        return
    from bamboo_compat.cli.fork_page import print_page

    print_page(page, whole_names=payload)


def _choose(fork: Fork, numbers: tuple[int, ...]) -> tuple[int, int]:
    """The numbers of the two columns. Raises UsageError."""
    first = END if fork.kind is ForkKind.AFTER_END else 1
    if not numbers:
        return first, first + 1
    if len(numbers) != 2 or numbers[0] == numbers[1]:
        raise click.UsageError("--branch goes with two different numbers, each with its --branch.")
    one, two = numbers
    if min(numbers) < first or max(numbers) > len(fork.branches):
        raise click.UsageError(f"This fork has the branches {first} to {len(fork.branches)}.")
    return one, two


class _Gathering:
    """Reads what is shown, from one snapshot."""

    def __init__(self, view: View, snapshot: Snapshot, count: int, most: int) -> None:
        self._view = view
        self._reader = view.reader
        self._snapshot = snapshot
        self._count = count
        self._most = most

    def page(self, fork: Fork, numbers: tuple[int, int]) -> Page:
        """Everything about one fork."""
        arrival = found_at(self._reader, fork)
        parent = self._reader.find(fork.parent) if fork.parent else None
        one, two = (self._side(fork, number) for number in numbers)
        name = short_id(self._reader, fork.id)
        undecided = f"none; setsync fork decide {name} --branch N"
        return Page(
            fork=fork,
            short_id=name,
            origin=origin_words(self._snapshot.origin(arrival), arrival),
            common=self._shown(parent) if parent is not None else None,
            sides=(one, two),
            no_proof=self._no_proof(fork),
            decision=[
                *(decision_words(self._view, fork) or [undecided]),
                *chain_words(self._view, fork.author),
            ],
            history=history_words(self._view, fork),
            told={
                **fork_json(self._reader, self._snapshot, fork),
                "decision": decision_json(self._view, fork),
                "history": history_json(self._view, fork),
                "chain": chain_json(self._view, fork.author),
            },
        )

    def _side(self, fork: Fork, number: int) -> Side:
        if number == END:
            end = Branch(fork.log_id, fork.seq_num - 1, fork.parent, 1, fork.parent)
            first = expect(self._reader, fork.parent)
            return self._told(number, end, first, [first])
        branch = fork.branches[number - 1]
        first = expect(self._reader, branch.hash)
        return self._told(number, branch, first, self._reader.way(first, self._count))

    def _told(self, number: int, branch: Branch, first: Node, way: list[Node]) -> Side:
        return Side(
            number=number,
            branch=branch,
            trusted=self._view.resolve(self._reader.shelf.log(first.log)).trusted,
            set_aside=self._view.is_set_aside(self._reader.shelf.log(first.log), first),
            entries=tuple(self._shown(node) for node in way),
            origin=origin_words(self._snapshot.origin(first.arrival), first.arrival),
            local=local_json(self._snapshot, first.arrival),
        )

    def _shown(self, node: Node) -> Shown:
        size = self._reader.shelf.decoded(node).payload_size
        _, payload = self._reader.shelf.entry(node)
        return Shown(
            seq_num=node.seq_num,
            id=node.id,
            hash=self._reader.shelf.hash(node),
            standing=node.standing,
            inherited=node.has(Flag.INHERITED),
            end_of_log=node.has(Flag.END_OF_LOG),
            payload=describe(payload, size, self._most),
        )

    def _no_proof(self, fork: Fork) -> str:
        """Only making it tells; that takes a tenth of a second at most."""
        try:
            make_proof(self._reader, fork)
        except NoProofError as error:
            return error.message
        return ""


def page_of(
    view: View, snapshot: Snapshot, fork: Fork, numbers: tuple[int, int], count: int, most: int
) -> Page:
    """Two branches of a fork by their numbers, with `count` entries of each and `most` characters
    of a payload; for whoever shows it otherwise than this command."""
    return _Gathering(view, snapshot, count, most).page(fork, numbers)
