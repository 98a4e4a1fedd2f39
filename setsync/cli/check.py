"""`setsync check`: is everything on the disk what it says it is?"""

from __future__ import annotations

from pathlib import Path

import click

from setsync.cli.common import (
    DAMAGED,
    data_option,
    json_option,
    opened,
    print_json,
    printable,
    progress_option,
    settings,
)
from setsync.cli.loop import look_for_circles_seldom
from setsync.cli.progress import showing
from setsync.node.progress import OnProgress, Progress
from setsync.node.verifying import Verifiers, beside
from setsync.store.check import MAX_FINDINGS, OnSteps, Report
from setsync.store.check import check as check_store


@click.command()
@click.option(
    "--sample",
    type=click.IntRange(0),
    metavar="N",
    help="Check signature and payload of N entries only, chosen at random.",
)
@data_option
@json_option
@progress_option
def check(sample: int | None, data: Path, as_json: bool, progress: str) -> int:
    """Recompute every id, signature, payload hash and trie node, and compare.

    The node may go on serving meanwhile. Signatures take most of the time; with --sample
    only some of them are checked, and everything else all the same. Exit code 6 when there
    is damage.

    \b
    Examples:
      setsync check
      setsync check --sample 1000
    """
    verifiers = Verifiers(settings(data).verifiers)
    look_for_circles_seldom()
    with (
        opened(data) as (_, store),
        showing(progress) as on_progress,
        beside(verifiers) as verify,
    ):
        report = check_store(store, sample=sample, verify=verify, on_steps=_steps(on_progress))
    if as_json:
        print_json(_as_json(report))
    else:
        _print(report)
    return DAMAGED if report.damage else 0


def _steps(on_progress: OnProgress) -> OnSteps:
    def heard(phase: str, done: int, total: int) -> None:
        on_progress(Progress(phase, done, total, "entries"))

    return heard


def _as_json(report: Report) -> dict[str, object]:
    return {
        "clean": not report.damage,
        "entries": report.entries,
        "signatures": report.signatures,
        "nodes": report.nodes,
        "unknown_formats": report.unknown,
        "damage": report.damage,
        "findings": [
            {"kind": finding.kind.value, "message": finding.sentence} for finding in report.findings
        ],
    }


def _print(report: Report) -> None:
    for finding in report.findings:
        click.echo(f"{finding.kind}: {printable(finding.sentence)}")
    if report.damage > MAX_FINDINGS:
        click.echo(f"... and {report.damage - MAX_FINDINGS} more.")
    click.echo(
        f"{report.entries} entries, {report.signatures} signatures, {report.nodes} trie nodes: "
        + (f"{report.damage} findings." if report.damage else "all is well.")
    )
    if report.unknown:
        click.echo(f"{report.unknown} entries are of formats that no installed package knows.")
    if report.damage:
        click.echo(
            "Keep this directory for study, and restore a backup or sync into a fresh one.",
            err=True,
        )
