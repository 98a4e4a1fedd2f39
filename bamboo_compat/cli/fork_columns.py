"""Two texts next to each other, fitted to a terminal. Knows nothing of forks."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from setsync.cli.common import printable

NARROWEST = 80
# The eye finds no way back from the end of longer lines.
WIDEST = 240
_BETWEEN = " | "
_INDENT = 2


def terminal_width() -> int:
    """Of the terminal, or what COLUMNS says; 80 where there is none."""
    return max(NARROWEST, min(WIDEST, shutil.get_terminal_size().columns))


def column_width(width: int) -> int:
    """How wide each of two columns is."""
    return (width - len(_BETWEEN)) // 2


def ruler(width: int) -> str:
    """A line under the heads of two columns."""
    dashes = "-" * column_width(width)
    return f"{dashes}-+-{dashes}"


def side_by_side(blocks: Iterable[tuple[Sequence[str], Sequence[str]]], width: int) -> list[str]:
    """Pairs of blocks as lines of at most `width` cells. What is one pair begins on one line;
    a line that is too long goes on in the next, as far in as it began."""
    column = column_width(width)
    lines = []
    for left, right in blocks:
        pairs = zip_longest(wrapped(left, column), wrapped(right, column), fillvalue="")
        lines += [f"{padded(one, column)}{_BETWEEN}{two}".rstrip() for one, two in pairs]
    return lines


def wrapped(lines: Iterable[str], width: int) -> list[str]:
    """Lines of at most `width` cells, each made printable first."""
    return [part for line in lines for part in _wrap(printable(line), width)]


def _wrap(line: str, width: int) -> list[str]:
    # No more than our own lines have: the blanks after them may be a stranger's.
    indent = " " * min(_INDENT, len(line) - len(line.lstrip(" ")))
    room = width - len(indent)
    found, current = [], ""
    for word in re.findall(r" *[^ ]+", line.lstrip(" ")):
        if current and cells(current + word) <= room:
            current += word
            continue
        if current:
            found.append(current)
        *whole, current = _pieces(word.lstrip(" "), room)
        found += whole
    return [indent + text for text in (*found, current)]


def _pieces(word: str, room: int) -> list[str]:
    """A word that may be longer than a line."""
    pieces, current, used = [], "", 0
    for character in word:
        size = cells(character)
        if used + size > room:
            pieces.append(current)
            current, used = "", 0
        current += character
        used += size
    return [*pieces, current]


def padded(text: str, width: int) -> str:
    """With blanks after it, up to so many cells."""
    return text + " " * (width - cells(text))


def cells(text: str) -> int:
    """How many columns of a terminal it takes: East Asian characters two, accents none."""
    if text.isascii():
        return len(text)
    return sum(_cell(character) for character in text)


def _cell(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
