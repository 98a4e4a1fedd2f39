"""Copies of prefilled databases, as they would lie there on another day."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def copy_settled(source: Path, target: Path, *without: str) -> None:
    """Copy a folder that nobody writes to, leaving out names, and wait until it is on the disk.

    A database whose pages are still on their way to the disk would make the first commit wait
    for all of them, which has nothing to do with what is measured.
    """
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*without))
    for path in target.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
