"""A fork as a page for people: who and where, what is shared, then two columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from bamboo_compat.cli.fork_columns import (
    column_width,
    ruler,
    side_by_side,
    terminal_width,
    wrapped,
)
from bamboo_compat.cli.fork_show import Page, Shown, Side
from bamboo_compat.cli.fork_view import END
from bamboo_compat.cli.fork_words import branch_words, where_it_parts
from bamboo_compat.cli.payloads import told
from bamboo_compat.cli.wording import counted, short
from bamboo_compat.core.report import Fork, ForkKind

_LABEL = 10
_BRANCHES_SHOWN = 20
# "  create (v1) " stands before a schema, and this is no longer read than its beginning.
_BEFORE_SCHEMA = 14
_LONGEST_SCHEMA = 1024


def print_page(page: Page, *, whole_names: bool) -> None:
    """All of it, fitted to the terminal. `whole_names`: schemas are not cut short."""
    width = terminal_width()
    longest = _LONGEST_SCHEMA if whole_names else column_width(width) - _BEFORE_SCHEMA
    click.echo(f"fork {page.fork.id.hex()}")
    for label, text in _head(page):
        _print_field(label, text, width)
    click.echo()
    if all(side.number != END for side in page.sides):
        _print_common(page, width, longest)
    heads, entries = _heads(page), _entries(page, longest)
    for line in (*side_by_side(heads, width), ruler(width), *side_by_side(entries, width)):
        click.echo(line)


# --- the head -----------------------------------------------------------------------------


def _head(page: Page) -> Iterable[tuple[str, str]]:
    fork = page.fork
    yield "kind", fork.kind
    yield "author", fork.author.hex()
    yield "what", where_it_parts(fork, with_author=False, longest=_LONGEST_SCHEMA)
    yield "trusted", _trusted(page.sides)
    for label, text in zip(("decision", *[""] * len(page.decision)), page.decision, strict=False):
        yield label, text
    for label, text in zip(("history", *[""] * len(page.history)), page.history, strict=False):
        yield label, text
    yield "seen here", page.origin
    if page.no_proof:
        yield "proof", page.no_proof
    else:
        yield "proof", f"setsync fork proof {page.short_id} --output fork.proof"
    if fork.kind is ForkKind.AFTER_END:
        yield "the end", f"entry {fork.seq_num - 1}, {short(fork.parent)}"
    for number, branch in enumerate(fork.branches[:_BRANCHES_SHOWN], start=1):
        yield f"branch {number}", branch_words(fork, branch)
    if len(fork.branches) > _BRANCHES_SHOWN:
        yield "", f"and {len(fork.branches) - _BRANCHES_SHOWN} more; --json has them"


def _trusted(sides: Sequence[Side]) -> str:
    """Of each log that is shown the part that no fork puts in doubt."""
    logs = {side.branch.log_id: side.trusted for side in sides}
    return "; ".join(
        f"log {log_id} up to entry {number}" if number else f"no entry of log {log_id}"
        for log_id, number in logs.items()
    )


def _print_field(label: str, text: str, width: int) -> None:
    first, *more = wrapped([text], width - _LABEL)
    click.echo(f"{label:{_LABEL}}{first}")
    for line in more:
        click.echo(" " * _LABEL + line)


# --- what both share ----------------------------------------------------------------------


def _print_common(page: Page, width: int, longest: int) -> None:
    fork = page.fork
    if page.common is not None:
        lines = ["what all branches share last:", *_indented(_entry(page.common, longest))]
    elif fork.parent:
        lines = [f"entry {fork.seq_num - 1}, which all share, is not here: {short(fork.parent)}"]
    else:
        return
    for line in wrapped(lines, width):
        click.echo(line)
    click.echo()


# --- the columns --------------------------------------------------------------------------


_Block = tuple[list[str], list[str]]


def _heads(page: Page) -> list[_Block]:
    one, two = page.sides
    return [
        ([_title(one, page.fork)], [_title(two, page.fork)]),
        ([f"here since {one.origin}"], [f"here since {two.origin}"]),
    ]


def _entries(page: Page, longest: int) -> list[_Block]:
    """Entry beside entry, with an empty line between two."""
    one, two = page.sides
    blocks: list[_Block] = []
    for place in range(max(len(one.entries), len(two.entries))):
        blocks += [(_at(one, place, longest), _at(two, place, longest)), ([""], [])]
    rest = _rest(one), _rest(two)
    return [*blocks, rest] if any(rest) else blocks[:-1]


def _title(side: Side, fork: Fork) -> str:
    if side.number == END:
        return f"the end of log {fork.log_id}"
    length = counted(side.branch.length, "entry", "entries")
    aside = ", set aside" if side.set_aside else ""
    return f"branch {side.number} of log {side.branch.log_id}, {length}{aside}"


def _at(side: Side, place: int, longest: int) -> list[str]:
    return _entry(side.entries[place], longest) if place < len(side.entries) else []


def _entry(shown: Shown, longest: int) -> list[str]:
    standing = "broken by what it stands on" if shown.inherited else shown.standing
    end = ", ends the log" if shown.end_of_log else ""
    first = f"entry {shown.seq_num}  {short(shown.hash)}  {standing}{end}"
    return [first, *_indented(told(shown.payload, longest))]


def _rest(side: Side) -> list[str]:
    more = side.branch.length - len(side.entries)
    return [f"and {more} more, to head {short(side.branch.head)}"] if more else []


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]
