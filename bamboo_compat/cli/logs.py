"""`setsync bamboo logs`: which logs are here, and how they stand."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bamboo_compat.cli.authors import U64_MAX, author_prefix, logs_of
from bamboo_compat.cli.fork_view import opened_view
from bamboo_compat.cli.wording import Column, counted, print_table, short, standings, width
from setsync.cli.common import data_option, json_option, print_json

if TYPE_CHECKING:
    from bamboo_compat.core.report import Head
    from bamboo_compat.decisions.view import View
    from bamboo_compat.set.layout import LogRow

SHOWN = 200
# Of one log so many heads and forks are told of; there may be any number.
MANY = 1_000
_KEY = re.compile("([0-9a-f]{64}):([0-9]{1,20})")
_NARROWEST_SCHEMA = 12
_WIDE = 110  # columns


def _log_key(ctx: click.Context, param: click.Parameter, value: str | None) -> bytes:
    """AUTHOR:LOG_ID as the index has it."""
    if value is None:
        return b""
    found = _KEY.fullmatch(value.lower())
    if found is None or int(found[2]) > U64_MAX:
        raise click.BadParameter(f"{value!r} is not AUTHOR:LOG_ID, with all 64 digits of AUTHOR.")
    return bytes.fromhex(found[1]) + int(found[2]).to_bytes(8, "big")


@click.command()
@click.argument("author", required=False, callback=author_prefix)
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help=f"At most N logs. [default: {SHOWN}; with --json all]",
)
@click.option(
    "--after", callback=_log_key, metavar="KEY", help="Only logs after this one: AUTHOR:LOG_ID."
)
@data_option
@json_option
def logs(author: str, limit: int | None, after: bytes, data: Path, as_json: bool) -> None:
    """List the Bamboo logs that are here, one a line.

    AUTHOR, the first digits of a public key, chooses. TRUSTED is the highest verified entry
    before the earliest fork that is not decided.

    \b
    Examples:
      setsync bamboo logs
      setsync bamboo logs ca93 --limit 20
    """
    if limit is None and not as_json:
        limit = SHOWN
    with opened_view(data) as (_, _, view):
        page = _read(view, author, after, limit)
    if as_json:
        print_json(_as_json(page))
    else:
        _print(page, author, after)


@dataclass(frozen=True, slots=True)
class _Line:
    """What is told of one log. `tips`: the heads that decisions leave; `undecided`: of the
    forks those that are left to decide."""

    author: bytes
    log_id: int
    row: LogRow
    heads: list[Head]
    tips: list[Head]
    trusted: int
    forks: list[bytes]
    undecided: list[bytes]
    schemas: list[str]

    @property
    def missing(self) -> int:
        return self.row.height - self.row.numbers


@dataclass(slots=True)
class _Sums:
    """Over all logs that were asked for, whatever the page."""

    logs: int = 0
    authors: int = 0
    entries: int = 0
    missing: int = 0
    verified: int = 0
    waiting: int = 0
    broken: int = 0
    inherited: int = 0
    withheld: int = 0
    forked: int = 0
    undecided: int = 0
    ended: int = 0

    def add(self, row: LogRow, *, forked: bool, undecided: bool) -> None:
        self.logs += 1
        self.missing += row.height - row.numbers
        self.forked += forked
        self.undecided += undecided
        self.ended += bool(row.ended)
        for name in ("entries", "verified", "waiting", "broken", "inherited", "withheld"):
            setattr(self, name, getattr(self, name) + getattr(row, name))


@dataclass(slots=True)
class _Page:
    lines: list[_Line] = field(default_factory=list)
    sums: _Sums = field(default_factory=_Sums)
    is_last: bool = True


def _read(view: View, prefix: str, after: bytes, limit: int | None) -> _Page:
    page, reader = _Page(), view.reader
    before = b""
    for author, log_id, row in logs_of(reader, prefix):
        forked = reader.doubt(row) is not None
        undecided = forked and bool(view.resolve(row).undecided)
        page.sums.add(row, forked=forked, undecided=undecided)
        page.sums.authors += author != before
        before = author
        if author + log_id.to_bytes(8, "big") <= after:
            continue
        if limit is not None and len(page.lines) == limit:
            page.is_last = False
            continue
        page.lines.append(_line(view, author, log_id, row, forked=forked))
    return page


def _line(view: View, author: bytes, log_id: int, row: LogRow, *, forked: bool) -> _Line:
    reader = view.reader
    heads, schemas = reader.heads(row, MANY), reader.schemas(row)
    if not forked:
        return _Line(author, log_id, row, heads, heads, reader.trusted(row), [], [], schemas)
    found = view.resolve(row)
    tips, undecided = view.tips(found, MANY), list(found.undecided[:MANY])
    forks = reader.forks_of(row, MANY)
    return _Line(author, log_id, row, heads, tips, found.trusted, forks, undecided, schemas)


def _key(line: _Line) -> str:
    return f"{line.author.hex()}:{line.log_id}"


# --- for programs -------------------------------------------------------------------------


def _as_json(page: _Page) -> dict[str, object]:
    sums = page.sums
    return {
        "logs": [_log_json(line) for line in page.lines],
        "next": None if page.is_last else _key(page.lines[-1]),
        "sums": {name: getattr(sums, name) for name in _Sums.__slots__},
    }


def _log_json(line: _Line) -> dict[str, object]:
    row = line.row
    return {
        "author": line.author.hex(),
        "log_id": line.log_id,
        "entries": row.entries,
        "height": row.height,
        "missing": line.missing,
        "heads": [{"seq_num": head.seq_num, "hash": head.hash.hex()} for head in line.heads],
        "effective_heads": [
            {"seq_num": head.seq_num, "hash": head.hash.hex()} for head in line.tips
        ],
        "ended": bool(row.ended),
        "verified": row.verified,
        "waiting": row.waiting,
        "broken": row.broken,
        "inherited": row.inherited,
        "withheld": row.withheld,
        "trusted": line.trusted,
        "schemas": line.schemas,
        "forks": [fork.hex() for fork in line.forks],
        "undecided": [fork.hex() for fork in line.undecided],
    }


# --- for people ---------------------------------------------------------------------------


def _print(page: _Page, prefix: str, after: bytes) -> None:
    if not page.sums.logs:
        whose = f" of an author whose key begins with {prefix}" if prefix else ""
        click.echo(f"There is no Bamboo log{whose} here.")
        return
    if page.lines:
        print_table(_columns(page.lines))
    elif after:
        click.echo("There is no log after that one.")
    click.echo(_summary(page.sums))
    if not page.is_last:
        shown = counted(len(page.lines), "log")
        click.echo(f"Only {shown} shown here; go on with --after {_key(page.lines[-1])}")


def _columns(lines: list[_Line]) -> list[Column]:
    """Narrow terminals get fewer digits, and schemas if there is room for them."""
    digits = 16 if width() >= _WIDE else 8
    found = [
        Column("AUTHOR", [line.author.hex()[:digits] for line in lines]),
        Column("LOG", [str(line.log_id) for line in lines], right=True),
        Column("ENTRIES", [str(line.row.entries) for line in lines], right=True),
        Column("HEIGHT", [str(line.row.height) for line in lines], right=True),
        Column("TRUSTED", [str(line.trusted) for line in lines], right=True),
        Column("HEAD", [_head(line, digits) for line in lines]),
    ]
    notes = Column("NOTES", [_notes(line) for line in lines])
    if any(notes.cells):
        found.append(notes)
    left = width() - sum(column.width + 2 for column in found)
    if left >= _NARROWEST_SCHEMA and any(line.schemas for line in lines):
        found.append(Column("SCHEMA", [_schemas(line.schemas, left) for line in lines]))
    return found


def _head(line: _Line, digits: int) -> str:
    heads = len(line.tips)
    if heads > 1:
        return f"{heads}{'+' if heads == MANY else ''} heads"
    if not line.tips:
        return "set aside"
    return short(line.tips[0].hash, digits) + (", end" if line.row.ended else "")


def _notes(line: _Line) -> str:
    """What is not as one would wish; a log of which all is here and verified has none."""
    row = line.row
    inherited = f" ({row.inherited} inherited)" if row.inherited else ""
    parts = [
        _forks(line),
        f"{row.broken} broken{inherited}" if row.broken else "",
        f"{row.waiting} waiting" if row.waiting else "",
        f"{line.missing} missing" if line.missing else "",
        f"{row.withheld} withheld" if row.withheld else "",
        "ended" if row.ended and len(line.tips) > 1 else "",
    ]
    return ", ".join(filter(None, parts))


def _forks(line: _Line) -> str:
    if not line.forks:
        return ""
    many = "+" if len(line.forks) == MANY else ""
    told = f"{len(line.forks)}{many} fork{'s' if len(line.forks) > 1 else ''}"
    if not line.undecided:
        return f"{told} decided"
    if len(line.undecided) < len(line.forks):
        return f"{told}, {len(line.undecided)} undecided"
    return told


def _schemas(schemas: list[str], left: int) -> str:
    if not schemas:
        return ""
    more = f" and {len(schemas) - 1} more" if len(schemas) > 1 else ""
    text, room = schemas[0], max(left - len(more), _NARROWEST_SCHEMA)
    return (text if len(text) <= room else text[: room - 3] + "...") + more


def _summary(sums: _Sums) -> str:
    told = f"{counted(sums.logs, 'log')} of {counted(sums.authors, 'author')}: "
    told += standings(sums.entries, sums.verified, sums.waiting, sums.broken, sums.inherited)
    parts = [
        f"{sums.missing} missing below a head" if sums.missing else "",
        f"{sums.withheld} without their payload" if sums.withheld else "",
        f"{counted(sums.forked, 'log')} forked{_decided(sums)}" if sums.forked else "",
        f"{counted(sums.ended, 'log')} ended" if sums.ended else "",
    ]
    return textwrap.fill("; ".join([told, *filter(None, parts)]) + ".", width())


def _decided(sums: _Sums) -> str:
    if sums.undecided == sums.forked:
        return ""
    return f", {sums.undecided} of them undecided" if sums.undecided else ", all decided"
