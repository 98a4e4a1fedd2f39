"""`setsync fork list`: where authors contradict their logs, as far as this node knows."""

from __future__ import annotations

import heapq
import re
from dataclasses import dataclass
from pathlib import Path

import click

from bamboo_compat.cli.fork_view import decision_json, decision_words, opened_view
from bamboo_compat.cli.fork_words import (
    branch_words,
    fork_json,
    found_at,
    origin_words,
    short_id,
    where_it_parts,
)
from bamboo_compat.cli.wording import counted
from bamboo_compat.core.report import Fork, ForkKind
from bamboo_compat.decisions.view import View
from bamboo_compat.set.branches import KINDS_BY_NUMBER
from bamboo_compat.set.reading import Reader
from setsync.cli.common import data_option, json_option, print_json, printable
from setsync.store.contract import Snapshot

# Of each fork, for people; --json has all.
BRANCHES_SHOWN = 8
_DEFAULT_LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class Told:
    """A fork with what is said of it, made while the snapshot lasted."""

    fork: Fork
    short_id: str
    origin: str
    decision: list[str]
    as_json: dict[str, object]


def _author_prefix(ctx: click.Context, param: click.Parameter, value: str) -> str:
    prefix = value.lower()
    if not re.fullmatch("[0-9a-f]{0,64}", prefix):
        raise click.BadParameter(f"{value!r} is not the beginning of a public key in hex.")
    return prefix


@click.command("list")
@click.option(
    "--author",
    default="",
    callback=_author_prefix,
    metavar="PREFIX",
    help="Only authors whose public key begins with these hex digits.",
)
@click.option(
    "--kind", type=click.Choice([kind.value for kind in ForkKind]), help="Only forks of this kind."
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=_DEFAULT_LIMIT,
    show_default=True,
    metavar="N",
    help="At most N forks.",
)
@data_option
@json_option
def list_(author: str, kind: str | None, limit: int, data: Path, as_json: bool) -> None:
    """List the forks that the entries here show, by author, log and number.

    Every node with the same entries has the same forks under the same ids. When and through
    whom one was seen is what this node knows. Exit code 0, whether there are forks or not.

    \b
    Examples:
      setsync fork list
      setsync fork list --author 3f9a11c0 --kind branch
    """
    with opened_view(data) as (_, snapshot, view):
        total, chosen = _choose(view.reader, author, kind, limit)
        found = tell(view, snapshot, chosen)
    if as_json:
        print_json({"total": total, "forks": [one.as_json for one in found]})
    elif found:
        print_forks(found)
        click.echo(_last_line(total, found))
    elif author or kind is not None:
        click.echo("No fork here is like that.")
    else:
        click.echo("No forks: no author contradicts a log, as far as the entries here show.")


def _choose(reader: Reader, author: str, kind: str | None, limit: int) -> tuple[int, list[bytes]]:
    """How many there are, and the ids of the first of them."""
    places = []
    for fork in reader.fork_ids():
        row = reader.fork_row(fork)
        if row is None:
            continue
        found = KINDS_BY_NUMBER[row.kind]
        whose, log_id, seq_num = reader.place(row)
        if whose.hex().startswith(author) and kind in (None, found):
            places.append((whose, log_id, seq_num, found, fork))
    return len(places), [place[-1] for place in heapq.nsmallest(limit, places)]


def tell(view: View, snapshot: Snapshot, ids: list[bytes]) -> list[Told]:
    """Everything that is said of these forks; it does not need the snapshot any more."""
    found = []
    reader = view.reader
    for fork in reader.forks(ids):
        arrival = found_at(reader, fork)
        origin = origin_words(snapshot.origin(arrival), arrival)
        as_json = {
            **fork_json(reader, snapshot, fork),
            "decision": decision_json(view, fork),
        }
        words = decision_words(view, fork)
        found.append(Told(fork, short_id(reader, fork.id), origin, words, as_json))
    return found


# --- for people ---------------------------------------------------------------------------


def print_forks(found: list[Told], *, with_author: bool = True) -> None:
    """A few lines for each, under its id."""
    width = max(len(one.short_id) for one in found)
    kinds = max(len(one.fork.kind) for one in found)
    for one in found:
        fork, margin = one.fork, " " * width
        sentence = where_it_parts(fork, with_author=with_author)
        click.echo(printable(f"{one.short_id:{width}}  {fork.kind:{kinds}}  {sentence}"))
        for number, branch in enumerate(fork.branches[:BRANCHES_SHOWN], start=1):
            click.echo(f"{margin}    branch {number}: {branch_words(fork, branch)}")
        if len(fork.branches) > BRANCHES_SHOWN:
            more = len(fork.branches) - BRANCHES_SHOWN
            click.echo(f"{margin}    and {counted(more, 'more branch', 'more branches')}")
        click.echo(f"{margin}    seen here: {one.origin}")
        for line in one.decision:
            click.echo(printable(f"{margin}    decision: {line}"))
        click.echo()


def _last_line(total: int, found: list[Told]) -> str:
    authors = len({one.fork.author for one in found})
    shown = counted(len(found), "fork")
    if len(found) < total:
        return f"{shown} of {total}; --limit {total} lists all."
    return f"{shown} of {counted(authors, 'author')}. 'setsync fork show ID' shows one."
