"""`setsync bamboo verify`: do these logs hold?"""

from __future__ import annotations

import os
from pathlib import Path

import click

from bamboo_compat.cli.options import files_argument, jobs_option
from bamboo_compat.cli.wording import FORKED, REFUSED, counted, short
from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.core.report import Finding, Fork, ForkKind, LogState, Problem
from bamboo_compat.files.sources import Kind, Source
from bamboo_compat.files.verifying import Verified, verify_files
from setsync.cli.common import (
    json_option,
    print_columns,
    print_json,
    printable,
    progress_option,
    say,
    unused_data_option,
)
from setsync.cli.progress import showing
from setsync.node.progress import Progress

# For people; --json lists all.
SHOWN = 40


@click.command()
@files_argument
@click.option(
    "--partial",
    is_flag=True,
    help="Entries may be missing: a link to one is no fault, and certificate pools verify.",
)
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    help="Whose meaning of log ids; by default aquadoggo for its databases, else rfc0001.",
)
@jobs_option
@unused_data_option
@json_option
@progress_option
def verify(
    files: tuple[Path, ...],
    partial: bool,
    profile: str | None,
    jobs: int | None,
    as_json: bool,
    progress: str,
) -> int:
    """Check signatures, payloads and links of Bamboo logs, and look for forks.

    FILE is JSON lines with 'entry' and 'payload' in hex, or entries one after the other, or
    the SQLite database of an aquadoggo node, or a directory of these. All files are looked
    at together; no store is touched. Exit codes: 0 all verified, 7 something refused or
    not verified, 8 a log forked, 1 a file cannot be read.

    \b
    Examples:
      setsync bamboo verify logs.jsonl
      setsync bamboo verify --partial --json pool.bamboo
    """
    with showing(progress) as on_progress:
        verified = verify_files(
            files,
            partial=partial,
            profile=PROFILES[profile] if profile is not None else None,
            workers=jobs or os.cpu_count() or 1,
            on_entries=lambda done: on_progress(Progress("checking", done, None, "entries")),
        )
    if verified.sources.left_out:
        say(f"Left out for their names: {counted(verified.sources.left_out, 'file')}.")
    if as_json:
        print_json(_as_json(verified))
    else:
        _print(verified)
    return exit_code(verified)


def exit_code(verified: Verified) -> int:
    """0 all verified, 7 something was not, 8 forked, whatever else there is."""
    if verified.report.forked:
        return FORKED
    return 0 if verified.report.all_verified else REFUSED


# --- for programs -------------------------------------------------------------------------


def _as_json(verified: Verified) -> dict[str, object]:
    report = verified.report
    return {
        "all_verified": report.all_verified,
        "forked": report.forked,
        "profile": verified.profile.name,
        "partial": verified.partial,
        "files": [str(source.path) for source in verified.sources.files],
        "entries": report.entries,
        "known": report.known,
        "verified": report.verified,
        "waiting": report.waiting,
        "broken": report.broken,
        "inherited": report.inherited,
        "refused": report.refused,
        "withheld": report.withheld,
        "problems": [_problem_json(verified, problem) for problem in report.problems],
        "logs": [_log_json(state) for state in report.logs],
        "forks": [_fork_json(fork) for fork in report.forks],
    }


def _problem_json(verified: Verified, problem: Problem) -> dict[str, object]:
    source, position = verified.sources.place(problem.where)
    return {
        "file": str(source.path),
        "position": position,
        "unit": source.kind.value,
        "id": problem.verdict.id.hex(),
        "author": problem.author.hex() if problem.author is not None else None,
        "log_id": problem.log_id,
        "seq_num": problem.seq_num,
        "standing": problem.verdict.standing,
        "rest_unread": _ends_reading(source, problem),
        **_finding_json(problem.verdict.findings[0]),
        "findings": [_finding_json(finding) for finding in problem.verdict.findings],
    }


def _finding_json(finding: Finding) -> dict[str, object]:
    return {"reason": finding.reason, "expected": finding.expected, "found": finding.found}


def _log_json(state: LogState) -> dict[str, object]:
    return {
        "author": state.author.hex(),
        "log_id": state.log_id,
        "entries": state.entries,
        "height": state.height,
        "heads": [{"seq_num": head.seq_num, "hash": head.hash.hex()} for head in state.heads],
        "gaps": [list(gap) for gap in state.gaps],
        "ended": state.ended,
        "verified": state.verified,
        "waiting": state.waiting,
        "broken": state.broken,
        "inherited": state.inherited,
        "withheld": state.withheld,
        "trusted": state.trusted,
        "schemas": list(state.schemas),
        "forks": [fork.hex() for fork in state.forks],
    }


def _fork_json(fork: Fork) -> dict[str, object]:
    return {
        "id": fork.id.hex(),
        "kind": fork.kind,
        "author": fork.author.hex(),
        "log_id": fork.log_id,
        "seq_num": fork.seq_num,
        "parent": fork.parent.hex() or None,
        "subject": fork.subject or None,
        "branches": [
            {
                "log_id": branch.log_id,
                "seq_num": branch.seq_num,
                "hash": branch.hash.hex(),
                "length": branch.length,
                "head": branch.head.hex(),
            }
            for branch in fork.branches
        ],
    }


# --- for people ---------------------------------------------------------------------------


def _print(verified: Verified) -> None:
    report = verified.report
    _print_logs(report.logs)
    for problem in report.problems[:SHOWN]:
        click.echo(printable(_problem_line(verified, problem)))
    _more(report.refused + report.broken - report.inherited, "refused or broken entries")
    if report.inherited:
        click.echo(f"Broken because of what they stand on: {counted(report.inherited, 'entry')}.")
    for fork in report.forks[:SHOWN]:
        _print_fork(fork)
    _more(len(report.forks), "forks")
    click.echo(_summary(verified))


def _print_logs(logs: tuple[LogState, ...]) -> None:
    rows: list[tuple[str, ...]] = [
        ("AUTHOR", "LOG", "ENTRIES", "HEIGHT", "VERIFIED", "TRUSTED TO", "HEAD")
    ]
    for state in logs[:SHOWN]:
        head = short(state.heads[0].hash)
        heads = f"{head} and {len(state.heads) - 1} more" if len(state.heads) > 1 else head
        counts = (state.entries, state.height, state.verified, state.trusted)
        rows.append((short(state.author), str(state.log_id), *map(str, counts), heads))
    if logs:
        print_columns(rows)
    _more(len(logs), "logs")


def _problem_line(verified: Verified, problem: Problem) -> str:
    place = verified.sources.place(problem.where)
    said = "; ".join(
        f"{finding.reason}: expected {finding.expected}, found {finding.found}"
        for finding in problem.verdict.findings
    )
    rest = "; nothing after it could be read" if _ends_reading(place.source, problem) else ""
    return f"{place}: {problem.verdict.standing}, {said}{rest}"


def _ends_reading(source: Source, problem: Problem) -> bool:
    """Where entries stand one after the other, one that has no end ends the reading."""
    return source.kind is Kind.BARE and problem.author is None


def _print_fork(fork: Fork) -> None:
    what = f"fork {fork.id.hex()[:16]}, {fork.kind}: author {fork.author.hex()}"
    match fork.kind:
        case ForkKind.DOUBLE_SCHEMA:
            click.echo(printable(f"{what}, more than one log for {fork.subject}"))
        case ForkKind.AFTER_END:
            click.echo(f"{what}, log {fork.log_id} goes on after its end, entry {fork.seq_num - 1}")
        case ForkKind.BRANCH:
            parent = f"after {fork.parent.hex()}" if fork.parent else "with no common entry here"
            first = " the first entry" if fork.seq_num == 1 else f" entry {fork.seq_num} {parent}"
            click.echo(f"{what}, log {fork.log_id} parts at{first}")
    for branch in fork.branches[:SHOWN]:
        click.echo(
            f"  log {branch.log_id} entry {branch.seq_num} {branch.hash.hex()}, "
            f"{branch.length} long, head {short(branch.head)}"
        )
    _more(len(fork.branches), "branches")


def _summary(verified: Verified) -> str:
    report = verified.report
    entries = report.entries - report.known
    logs = counted(len(report.logs), "log")
    if report.all_verified and not report.forked:
        told = f"All of {counted(entries, 'entry')} in {logs} verified"
    else:
        counts = {
            "verified": report.verified,
            "waiting for missing ones": report.waiting,
            "broken": report.broken,
            "refused": report.refused,
        }
        parts = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        told = f"Of {counted(entries, 'entry')} in {logs}: {parts}"
    if report.forks:
        told += f"; {counted(len(report.forks), 'fork')}, by profile {verified.profile.name}"
    withheld = f" {report.withheld} came without their payload." if report.withheld else ""
    return f"{told}.{withheld}"


def _more(count: int, what: str) -> None:
    if count > SHOWN:
        click.echo(f"... and {count - SHOWN} more {what}; --json tells up to all of them.")
