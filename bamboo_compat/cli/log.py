"""`setsync bamboo log`: one log, its branches, gaps and faults."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bamboo_compat.cli.authors import LOG_ID, SEQ_NUM, U64_MAX, author_prefix, find_log
from bamboo_compat.cli.fork_view import opened_view
from bamboo_compat.cli.wording import Column, counted, print_table, short, standings, width
from setsync.cli.common import data_option, json_option, print_json, printable

if TYPE_CHECKING:
    from bamboo_compat.cli.log_reading import Branches, EntryLine, ForkLine, Overview, Page, Part
    from bamboo_compat.core.report import Finding
    from bamboo_compat.set.findings import Told

# For people. A program gets about so many entries an object, and asks again from 'next' on.
SHOWN = 200
BRANCHES_SHOWN = 100
FORKS_SHOWN = 10
ENTRIES_TOLD = 10_000
BRANCHES_TOLD = 1_000
_INDENT = "    "


@click.command()
@click.argument("author", callback=author_prefix)
@click.argument("log_id", type=LOG_ID)
@click.option("--from", "first", type=SEQ_NUM, metavar="SEQ", help="Show entries from here on.")
@click.option("--to", "last", type=SEQ_NUM, metavar="SEQ", help="Show entries up to this one.")
@click.option("--payload", is_flag=True, help="Show payloads too, as far as there is room.")
@data_option
@json_option
def log(
    author: str,
    log_id: int,
    first: int | None,
    last: int | None,
    payload: bool,
    data: Path,
    as_json: bool,
) -> None:
    """Show log LOG_ID of AUTHOR: how it stands, and where it parts.

    AUTHOR are the first digits of a public key. The branches are drawn as a tree, a line
    for entries that simply follow each other. With --from, --to or --payload each entry has
    a line of its own instead.

    \b
    Examples:
      setsync bamboo log ca93 1024
      setsync bamboo log ca93 1024 --from 11 --to 20 --payload
    """
    if first is not None and last is not None and first > last:
        raise click.UsageError("--from is not above --to.")
    whole = first is None and last is None
    numbers = (first or 1, last or U64_MAX)
    with opened_view(data) as (_, snapshot, view):
        # Loaded here: only to read a log, and not for help.
        from bamboo_compat.cli import log_json, log_reading
        from bamboo_compat.cli.payloads import BRIEF

        key, row = find_log(view.reader, author, log_id)
        overview = log_reading.read_overview(view, key, log_id, row)
        branches = page = None
        if whole and (as_json or not payload):
            most = BRANCHES_TOLD if as_json else BRANCHES_SHOWN
            branches = log_reading.read_branches(view, row, most)
        if as_json or branches is None:
            most = ENTRIES_TOLD if as_json else SHOWN
            characters = BRIEF if payload else 0
            page = log_reading.read_entries(view, snapshot, row, numbers, most, characters)
    if as_json:
        assert page is not None
        print_json(log_json.as_json(overview, branches, page))
        return
    _print_overview(overview)
    if branches is not None:
        _print_branches(branches)
    if page is not None:
        _print_entries(page)


# --- for people: the log ------------------------------------------------------------------


def _print_overview(overview: Overview) -> None:
    from bamboo_compat.cli.payloads import shortened

    row = overview.row
    click.echo(f"Log {overview.log_id}")
    click.echo(f"author {overview.author.hex()}")
    for schema in overview.schemas[:FORKS_SHOWN]:
        click.echo(shortened(printable(f"schema {schema}"), width()))
    click.echo(f"{standings(row.entries, row.verified, row.waiting, row.broken, row.inherited)}.")
    click.echo(textwrap.fill(" ".join(_sentences(overview)), width()))
    for fork in overview.forks[:FORKS_SHOWN]:
        click.echo(shortened(printable(_fork_line(fork)), width()))
    _more(len(overview.forks) - FORKS_SHOWN, "fork")
    click.echo()


def _sentences(overview: Overview) -> list[str]:
    row, missing = overview.row, overview.row.height - overview.row.numbers
    return [
        f"Height {row.height}, {f'{missing} missing below' if missing else 'nothing missing'}.",
        f"{_heads(overview)}.",
        *(["It has ended."] if row.ended else []),
        *([f"{counted(row.withheld, 'payload')} not here."] if row.withheld else []),
        f"Trusted up to entry {overview.trusted}." if overview.trusted else "Nothing is trusted.",
    ]


def _heads(overview: Overview) -> str:
    if len(overview.tips) > 1:
        return f"{len(overview.tips)} heads"
    aside = len(overview.heads) - 1
    if not overview.tips:
        return "All of it is set aside"
    head = f"Head {short(overview.tips[0].hash)}"
    return f"{head}, {counted(aside, 'other')} set aside" if aside else head


def _fork_line(fork: ForkLine) -> str:
    state = "" if fork.state == "undecided" else f", {fork.state}"
    name = f"fork {short(fork.id)}, {fork.kind}{state}:"
    match fork.kind.value:
        case "double_schema":
            return f"{name} more than one log for {fork.subject}"
        case "after_end":
            return f"{name} it goes on after its end, entry {fork.seq_num - 1}"
        case _:
            return f"{name} several entries have number {fork.seq_num}"


# --- for people: the branches -------------------------------------------------------------


def _print_branches(branches: Branches) -> None:
    from bamboo_compat.cli.log_tree import Run, tree

    digits = _digits()
    runs = [
        Run(
            part.segment.number,
            part.segment.parent,
            part.segment.before,
            part.segment.first,
            part.segment.last,
            part.segment.followers,
            _part_standing(part, branches.parts),
            short(part.last, digits),
            _part_note(part),
            any(finding.reason == "bad_backlink" for finding in part.told.findings),
        )
        for part in branches.parts
    ]
    print_table(tree(runs))
    _more(branches.parts_left_out, "run", "--json, or --from and --to, tell of them")
    if branches.faults:
        click.echo()
    for fault in branches.faults[:SHOWN]:
        click.echo(f"entry {fault.seq_num} {short(fault.hash, digits)} is broken")
        _print_findings(fault.findings)
    left_out = max(len(branches.faults) - SHOWN, 0) + branches.faults_left_out
    _more(left_out, "broken entry", "--from and --to tell of them")


def _part_standing(part: Part, parts: list[Part]) -> str:
    """Verified, though nothing verified is right before it: then it is by the other link."""
    follows, standing = part.segment.parent, part.told.standing
    before = parts[follows].told.standing if follows is not None else None
    by_lipmaalink = standing == "verified" != before and part.segment.first > 1
    return f"{_standing(part.told)}{' by lipmaalink' if by_lipmaalink else ''}"


def _standing(told: Told) -> str:
    if told.stands_on is not None:
        return f"broken, stands on entry {told.stands_on}"
    return ", ".join([told.standing, *(finding.reason for finding in told.findings)])


def _part_note(part: Part) -> str:
    segment = part.segment
    notes = [
        "" if segment.followers else "head",
        "set aside" if segment.look.set_aside else "",
        "end of log" if segment.ended else "",
        f"{segment.withheld} withheld" if segment.withheld else "",
    ]
    return ", ".join(filter(None, notes))


# --- for people: entries ------------------------------------------------------------------


def _print_entries(page: Page) -> None:
    if not page.entries:
        click.echo("No entry here has one of these numbers.")
        return
    digits = _digits()
    head, *lines = _rows(page, digits)
    click.echo(head)
    for line, entry in zip(lines, page.entries, strict=True):
        click.echo(line)
        _print_findings(entry.told.findings)
        if entry.belongs is not None:
            click.echo(printable(f"{_INDENT}misfiled: in {entry.collection}"))
            click.echo(printable(f"{_INDENT}belongs in    {entry.belongs}"))
        _print_payload(entry)
    _more(page.left_out, "entry", "some numbers have very many")
    if page.next is not None:
        click.echo(f"Only {len(page.entries)} are shown; go on with --from {page.next}")


def _rows(page: Page, digits: int) -> list[str]:
    from bamboo_compat.cli.wording import table

    entries = page.entries
    return table(
        [
            Column("NUMBER", [str(entry.seq_num) for entry in entries], right=True),
            Column("ENTRY", [short(entry.hash, digits) for entry in entries]),
            Column("STANDING", [_standing(entry.told) for entry in entries]),
            Column("PAYLOAD", [_size(entry) for entry in entries], right=True),
            Column("", [_entry_note(entry) for entry in entries]),
        ]
    )


def _entry_note(entry: EntryLine) -> str:
    notes = ("end of log" if entry.end_of_log else "", "set aside" if entry.set_aside else "")
    return ", ".join(filter(None, notes))


def _size(entry: EntryLine) -> str:
    where = "dropped here, " if entry.dropped else "withheld, " if entry.withheld else ""
    return f"{where}{entry.payload_size} B"


def _print_payload(entry: EntryLine) -> None:
    from bamboo_compat.cli.payloads import told

    if entry.payload is not None and not entry.withheld:
        for line in told(entry.payload):
            click.echo(f"{_INDENT}{printable(line)}")


# --- for people: lines --------------------------------------------------------------------


def _digits() -> int:
    return 16 if width() >= 100 else 8


def _print_findings(findings: tuple[Finding, ...]) -> None:
    for finding in findings:
        click.echo(f"{_INDENT}{finding.reason}: expected {finding.expected},")
        click.echo(f"{_INDENT}    found {finding.found}")


def _more(count: int, what: str, how: str = "--json tells of them") -> None:
    if count > 0:
        click.echo(f"... and {count} more {counted(count, what).partition(' ')[2]}; {how}.")
