"""Arguments and options that the commands about files share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def files_argument(command: Command) -> Command:
    """`FILE...`, given to the command as `files: tuple[Path, ...]`."""
    return click.argument(
        "files",
        nargs=-1,
        required=True,
        metavar="FILE...",
        type=click.Path(path_type=Path, exists=True),
    )(command)


def jobs_option(command: Command) -> Command:
    """`--jobs N`, given to the command as `jobs: int | None`."""
    return click.option(
        "--jobs",
        type=click.IntRange(1, 256),
        metavar="N",
        help="Processes that check signatures; by default one a core.",
    )(command)
