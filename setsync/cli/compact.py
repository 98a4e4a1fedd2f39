"""`setsync compact`: the store's file written anew, and smaller."""

from __future__ import annotations

from pathlib import Path

import click

from setsync.cli.common import (
    data_option,
    json_option,
    opened,
    print_json,
    progress_option,
    settings,
)
from setsync.cli.progress import showing, size
from setsync.node.config import DataDirectory
from setsync.node.progress import OnProgress, Progress
from setsync.store.compact import OnSteps, Sizes, sizes
from setsync.store.compact import compact as compact_store


@click.command()
@click.option(
    "--dry-run", is_flag=True, help="Only tell what it would save; may run beside others."
)
@data_option
@json_option
@progress_option
def compact(dry_run: bool, data: Path, as_json: bool, progress: str) -> None:
    """Rewrite the store's file without free pages and half empty ones.

    What is stored is the same afterwards. Nobody else may have the store open: end 'serve'
    first. Whoever comes meanwhile waits, and is told so after 30 s. A new file is written beside
    the old one, compared with it, and then put in its place: that much room has to be free, and
    whatever interrupts it leaves the one or the other.

    \b
    Examples:
      setsync compact --dry-run
      setsync compact
    """
    if dry_run:
        with opened(data) as (_, store):
            found = sizes(store)
    else:
        directory = DataDirectory.open(data)
        with showing(progress) as on_progress:
            found = compact_store(
                directory.store_path, _steps(on_progress), settings(data).map_size
            )
    if as_json:
        print_json(
            {
                "dry_run": dry_run,
                "before": found.before,
                "after": found.after,
                "freed": found.before - found.after,
            }
        )
    else:
        _tell(found, dry_run=dry_run)


def _steps(on_progress: OnProgress) -> OnSteps:
    def heard(phase: str, done: int, total: int) -> None:
        on_progress(Progress(phase, done, total, "rows"))

    return heard


def _tell(found: Sizes, *, dry_run: bool) -> None:
    freed = size(found.before - found.after)
    if dry_run:
        click.echo(
            f"The store's file has {found.before:,} bytes, {freed} of them in free pages. How "
            "much is in pages that are not full is known afterwards."
        )
    else:
        click.echo(
            f"The store's file had {found.before:,} bytes and has {found.after:,} now, "
            f"{freed} less."
        )
