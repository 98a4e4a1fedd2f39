"""Words and tables that the commands about logs share."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click

from bamboo_compat.core.yamf import PREFIX
from setsync.cli.common import printable

# Exit codes of every command that judges entries or logs.
REFUSED = 7
FORKED = 8
_UNTOLD = 100  # columns, where nobody says how wide the terminal is


@dataclass(frozen=True, slots=True)
class Column:
    """A title and a cell a row; numbers stand to the right."""

    title: str
    cells: Sequence[str]
    right: bool = False

    @property
    def width(self) -> int:
        """Of the widest cell."""
        return max(len(printable(cell)) for cell in (self.title, *self.cells))


def print_table(columns: Sequence[Column]) -> None:
    """On standard output."""
    for line in table(columns):
        click.echo(line)


def table(columns: Sequence[Column]) -> list[str]:
    """The titles and the rows, columns two blanks apart."""
    shown = [_aligned(column) for column in columns]
    return ["  ".join(row).rstrip() for row in zip(*shown, strict=True)]


def _aligned(column: Column) -> list[str]:
    """A line break in a stranger's text would begin a row of its own, so none is left."""
    size = column.width
    cells = [printable(cell) for cell in (column.title, *column.cells)]
    return [cell.rjust(size) if column.right else cell.ljust(size) for cell in cells]


def width() -> int:
    """Columns of the terminal, or as many as most have."""
    return shutil.get_terminal_size((_UNTOLD, 24)).columns


def speaks(characters: str) -> bool:
    """Whether standard output can show these."""
    try:
        characters.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def counted(count: int, one: str, many: str = "") -> str:
    """A number and its noun."""
    plural = many or (one[:-1] + "ies" if one.endswith("y") else one + "s")
    return f"{count} {one if count == 1 else plural}"


def short(digest: bytes, digits: int = 16) -> str:
    """The beginning of a key or a hash, for eyes."""
    plain = digest[PREFIX:] if len(digest) in (34, 66) else digest
    return plain.hex()[:digits]


def standings(entries: int, verified: int, waiting: int, broken: int, inherited: int) -> str:
    """How many stand how."""
    if verified == entries:
        return f"{counted(entries, 'entry')}, {'all ' if entries > 1 else ''}verified"
    parts = [
        f"{verified} verified" if verified else "",
        f"{waiting} waiting" if waiting else "",
        f"{broken} broken" if broken else "",
    ]
    told = ", ".join(filter(None, parts))
    only = f" ({inherited} only for what they stand on)" if inherited else ""
    return f"{counted(entries, 'entry')}, {told}{only}"
