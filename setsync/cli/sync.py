"""`sync` and `diff`: one session with another node, as its initiator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from setsync.cli import common
from setsync.cli.loop import run_stoppable
from setsync.cli.progress import showing, size
from setsync.errors import UsageError
from setsync.model.collection import EVERYTHING, Pattern
from setsync.node.client import Options
from setsync.node.dialling import Dialler
from setsync.node.invites import parse_code
from setsync.node.node import DIRECTIONS, open_local
from setsync.node.report import Report
from setsync.node.verifying import Verifiers

_plain_option = click.option(
    "--plain", is_flag=True, help="Unencrypted, loopback addresses only; for measuring."
)
_trust_option = click.option(
    "--trust-first",
    is_flag=True,
    help="Trust whatever key is at HOST:PORT this time, and only that one from then on.",
)
_collection_option = click.option(
    "--collection",
    "collections",
    multiple=True,
    metavar="PATTERN",
    help="Only collections like this: a name, * for one segment, ** for any. Repeatable.",
)


@click.command(
    epilog="Example: setsync sync setsync://KEY@example.org:7717 --collection 'notes/**'",
    short_help="Make this node's set and another's equal.",
)
@click.argument("address")
@_collection_option
@click.option(
    "--direction",
    type=click.Choice(list(DIRECTIONS)),
    default="both",
    show_default=True,
    help="push only sends, pull only receives.",
)
@click.option("--dry-run", is_flag=True, help="Find the differences and move nothing.")
@click.option(
    "--invite",
    default="",
    metavar="CODE",
    help="Shown to a node that does not list this one yet; needed once.",
)
@_trust_option
@_plain_option
@common.data_option
@common.json_option
@common.progress_option
def sync(
    address: str,
    collections: tuple[str, ...],
    direction: str,
    dry_run: bool,
    invite: str,
    trust_first: bool,
    plain: bool,
    data: Path,
    as_json: bool,
    progress: str,
) -> int:
    """Make this node's set and the one at ADDRESS equal.

    ADDRESS is setsync://KEY@HOST:PORT, as the other operator gave it, or the name of a peer
    ('setsync peers list'); HOST:PORT alone says nothing of who is there and wants
    --trust-first once. Ends with 0 when both are in sync, as far as --direction asks, 9 when
    the session ended and they are not, 3 when the other side refused, 4 when it is not there.
    What arrived before a failure is kept.
    """
    code = _code(invite, trust_first=trust_first, plain=plain) if invite else b""
    options = Options(_patterns(collections), DIRECTIONS[direction], dry_run, invite=code)
    report = _session(address, data, options, progress, trust_first=trust_first, plain=plain)
    if as_json:
        common.print_json(report.to_json())
    else:
        _print_report(report, direction, dry_run=dry_run)
    return 0 if report.in_sync or dry_run else common.NOT_IN_SYNC


@click.command(
    epilog="Example: setsync diff setsync://KEY@example.org:7717",
    short_help="List what each side lacks, and move nothing.",
)
@click.argument("address")
@_collection_option
@_trust_option
@_plain_option
@common.data_option
@common.json_option
@common.progress_option
def diff(
    address: str,
    collections: tuple[str, ...],
    trust_first: bool,
    plain: bool,
    data: Path,
    as_json: bool,
    progress: str,
) -> None:
    """List what each side lacks: '<' is missing here, '>' is missing there."""
    options = Options(_patterns(collections), dry_run=True, list_ids=True)
    report = _session(address, data, options, progress, trust_first=trust_first, plain=plain)
    if as_json:
        common.print_json(_diff_json(report))
        return
    rows = [("<", name, id_.hex()) for name, id_ in report.ids_here]
    rows += [(">", name, id_.hex()) for name, id_ in report.ids_there]
    common.print_columns(sorted(rows, key=lambda row: (row[1], row[2])))
    common.say(f"{len(report.ids_here):,} missing here, {len(report.ids_there):,} missing there.")


def _code(invite: str, *, trust_first: bool, plain: bool) -> bytes:
    """An invite's code, if it goes to whom it is from. Raises UsageError."""
    if trust_first or plain:
        raise UsageError(
            "An invite is shown to the key in an address, not to whoever answers: give the "
            "address that begins with setsync://, and neither --trust-first nor --plain."
        )
    return parse_code(invite)


def _patterns(texts: tuple[str, ...]) -> tuple[Pattern, ...]:
    return tuple(Pattern(text) for text in texts or (EVERYTHING,))


def _session(
    address: str, data: Path, options: Options, progress: str, *, trust_first: bool, plain: bool
) -> Report:
    """Run one session. Raises KeyboardInterrupt when it was stopped."""
    with common.opened(data) as (directory, store), showing(progress) as on_progress:
        key = directory.node_key()
        dialler = Dialler(key, directory.peers, plain, directory.network_key())
        target = dialler.find(address, trust_first=trust_first)
        settings = common.settings(data)

        async def main() -> Report:
            async with open_local(
                store,
                node_id=key.public,
                max_payload=settings.max_payload,
                policy=directory.policy.read,
                groups=directory.groups_of,
                verifiers=Verifiers(settings.verifiers),
            ) as local:
                return await dialler.session(target, local, options, on_progress)

        report = run_stoppable(main)
    if report is None:
        raise KeyboardInterrupt
    return report


def _diff_json(report: Report) -> dict[str, Any]:
    def listed(found: list[tuple[str, bytes]]) -> list[dict[str, str]]:
        return [{"collection": name, "id": id_.hex()} for name, id_ in sorted(found)]

    return {
        "state": report.state,
        "peer": report.peer,
        "missing_here": listed(report.ids_here),
        "missing_there": listed(report.ids_there),
    }


def _print_report(report: Report, direction: str, *, dry_run: bool) -> None:
    common.print_columns(_rows(report, _verdict(report, direction), dry_run=dry_run))


def _verdict(report: Report, direction: str) -> str:
    if not report.in_sync:
        return "not in sync"
    verdict = "in sync"
    refused = [
        f"{count:,} {which}"
        for count, which in (
            (report.refused_here, "not wanted here"),
            (report.refused_there, "not wanted there"),
        )
        if count
    ]
    if refused:
        verdict = f"in sync, but for {' and '.join(refused)}"
    if report.newer:
        verdict = f"in sync as of the session's begin, {report.newer:,} newer"
    return verdict if direction == "both" else f"{verdict}, as far as {direction} asks"


def _rows(report: Report, verdict: str, *, dry_run: bool) -> list[tuple[str, str]]:
    sent, received = report.counters.sent, report.counters.received
    rows = [
        ("peer", report.peer),
        ("result", verdict),
        ("missing here", f"{report.missing_here:,}"),
        ("missing there", f"{report.missing_there:,}"),
        ("round trips", str(report.round_trips)),
        ("seconds", f"{report.seconds:.3f}"),
    ]
    for phase in sent:
        ways = f"{size(sent[phase])} sent, {size(received[phase])} received"
        rows.append((f"bytes, {phase}", ways))
    if not dry_run:
        ways = f"{report.entries_sent:,} sent, {report.entries_received:,} received"
        rows.append(("entries", ways))
    return rows
