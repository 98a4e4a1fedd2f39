"""`setsync backup`: a second data directory, from one moment of this one."""

from __future__ import annotations

from pathlib import Path

import click

from setsync.cli.common import data_option, json_option, opened, print_json, progress_option
from setsync.cli.progress import showing
from setsync.node.progress import Progress


@click.command()
@click.argument("target", type=click.Path(path_type=Path), metavar="DIR")
@data_option
@json_option
@progress_option
def backup(target: Path, data: Path, as_json: bool, progress: str) -> None:
    """Copy the data directory, keys included, into DIR, which must be missing or empty.

    The node may go on serving meanwhile: the copy shows one moment. It is a data directory
    itself, and holds the secret keys: keep it as you keep the original. Two nodes must not
    run with one identity at the same time.

    \b
    Example:
      setsync backup /media/disk/notes-backup
    """
    with opened(data) as (directory, store), showing(progress) as on_progress:
        # A compact copy leaves out free pages, so its size is known only at the end.
        on_progress(Progress("exporting", 0, None, "bytes"))
        directory.copy(store, target)
        size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
        on_progress(Progress("exporting", size, size, "bytes"))
    if as_json:
        print_json({"directory": str(target.absolute()), "bytes": size})
    else:
        click.echo(f"{target} is a copy of {data}.")
