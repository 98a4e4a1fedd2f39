"""`setsync bamboo ingest`: logs from files into the set."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import click

from bamboo_compat.cli.options import files_argument, jobs_option
from bamboo_compat.cli.verify import SHOWN
from bamboo_compat.cli.wording import FORKED, REFUSED, counted
from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.core.report import Standing
from bamboo_compat.files.reading import read_files
from bamboo_compat.files.sources import Sources, find_sources
from bamboo_compat.set.ingest import Ingested, Refusal, ingest
from setsync.cli.common import (
    data_option,
    from_here,
    json_option,
    opened,
    print_json,
    printable,
    progress_option,
    say,
)
from setsync.cli.common import settings as read_settings
from setsync.cli.progress import showing
from setsync.node.progress import OnProgress, Progress
from setsync.node.room import check_own_room


@click.command("ingest")
@files_argument
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    required=True,
    help="Whose meaning of log ids and schemas: it names the collections.",
)
@jobs_option
@data_option
@json_option
@progress_option
def ingest_command(
    files: tuple[Path, ...],
    profile: str,
    jobs: int | None,
    data: Path,
    as_json: bool,
    progress: str,
) -> int:
    """Put the entries of Bamboo logs into the set.

    FILE is what 'setsync bamboo verify' reads. Entries may come in any order, twice, and
    without their payload; a broken link keeps none out. It may be stopped at any moment and
    run again: what was committed stays, and nothing doubles. Exit codes: 0 all taken, 7
    something was refused or is broken, 8 a fork came to light, 1 a file cannot be read.

    \b
    Examples:
      setsync bamboo ingest logs.jsonl --profile rfc0001
      setsync bamboo ingest aquadoggo.sqlite3 --profile aquadoggo
    """
    sources = find_sources(files)
    limit = read_settings(data).max_payload
    with opened(data) as (_, store), showing(progress) as on_progress:
        check_own_room(store.path)
        found = read_files(sources, workers=jobs or os.cpu_count() or 1)
        with contextlib.closing(found):
            done = ingest(
                store,
                found,
                PROFILES[profile],
                max_payload=limit,
                origin=from_here(),
                on_commit=_commits(on_progress),
            )
    if sources.left_out:
        say(f"Left out for their names: {counted(sources.left_out, 'file')}.")
    if as_json:
        print_json(_as_json(sources, profile, done))
    else:
        _print(sources, done)
    if done.forks:
        return FORKED
    return REFUSED if done.refused or done.standings[Standing.BROKEN] else 0


def _commits(on_progress: OnProgress) -> Callable[[Ingested], None]:
    def heard(done: Ingested) -> None:
        on_progress(Progress("ingesting", done.entries, None, "entries"))

    return heard


# --- for programs -------------------------------------------------------------------------


def _as_json(sources: Sources, profile: str, done: Ingested) -> dict[str, object]:
    return {
        "profile": profile,
        "files": [str(source.path) for source in sources.files],
        "entries": done.entries,
        "new": done.new,
        "known": done.known,
        "payloads": done.payloads,
        "withheld": done.withheld,
        "too_large": done.too_large,
        "refused": done.refused,
        "verified": done.standings[Standing.VERIFIED],
        "waiting": done.standings[Standing.WAITING],
        "broken": done.standings[Standing.BROKEN],
        "inherited": done.inherited,
        "refusals": [_refusal_json(sources, one) for one in done.refusals],
        "forks": [fork.hex() for fork in done.forks],
        "more_forks": done.more_forks,
    }


def _refusal_json(sources: Sources, refusal: Refusal) -> dict[str, object]:
    source, position = sources.place(refusal.where)
    return {
        "file": str(source.path),
        "position": position,
        "unit": source.kind.value,
        "id": refusal.id.hex(),
        "author": refusal.author.hex() if refusal.author is not None else None,
        "log_id": refusal.log_id,
        "seq_num": refusal.seq_num,
        "reason": refusal.reason,
        "expected": refusal.expected,
        "found": refusal.found,
    }


# --- for people ---------------------------------------------------------------------------


def _print(sources: Sources, done: Ingested) -> None:
    for refusal in done.refusals[:SHOWN]:
        click.echo(
            printable(
                f"{sources.place(refusal.where)}: refused, {refusal.reason}: "
                f"expected {refusal.expected}, found {refusal.found}"
            )
        )
    if done.refused > SHOWN:
        click.echo(f"... and {done.refused - SHOWN} more were refused; --json tells of them.")
    for fork in done.forks[:SHOWN]:
        click.echo(f"A fork came to light: setsync fork show {fork.hex()[:16]}")
    more = len(done.forks) + done.more_forks - SHOWN
    if more > 0:
        click.echo(f"... and {more} more; 'setsync fork list' has them all.")
    click.echo(f"{counted(done.entries, 'entry')}: {_came(done)}.")
    if stands := _stand(done):
        click.echo(f"They stand as {stands}.")


def _came(done: Ingested) -> str:
    parts = [f"{done.new} new", f"{done.known} known"]
    if done.payloads:
        parts.append(f"{done.payloads} of these got the payload they lacked")
    if done.withheld:
        parts.append(f"{done.withheld} new without their payload")
    if done.too_large:
        parts.append(f"{done.too_large} of these for being over SETSYNC_MAX_PAYLOAD")
    if done.refused:
        parts.append(f"{done.refused} refused")
    return ", ".join(parts)


def _stand(done: Ingested) -> str:
    counts = {
        "verified": done.standings[Standing.VERIFIED],
        "waiting for what is not here": done.standings[Standing.WAITING],
        "broken": done.standings[Standing.BROKEN] - done.inherited,
        "broken for standing on those": done.inherited,
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)
