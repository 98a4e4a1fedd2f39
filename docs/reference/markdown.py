"""Pieces of Markdown, and pages in which a part is made and the rest is written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

_PART = re.compile(r"<!-- generated: ([a-z ]+) -->\n(.*?)<!-- end -->", re.DOTALL)


def plain(text: str) -> str:
    """Text in which Markdown sees no marks of its own."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return text


def prose(text: str) -> str:
    """A sentence of a comment or a docstring for a cell: its `code` stays code."""
    pieces = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(
        piece.replace("|", "\\|") if piece.startswith("`") else plain(piece) for piece in pieces
    )


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells, which are Markdown already, in lines that end."""
    rule = "|---" * len(titles) + "|\n"
    return _line(titles) + rule + "".join(map(_line, rows))


def _line(cells: Sequence[str]) -> str:
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells) + "\n"


def with_parts(page: str, parts: Mapping[str, str]) -> str:
    """A page with each part anew between its marks. Raises ValueError unless it has all of them."""
    there = [found[1] for found in _PART.finditer(page)]
    if sorted(there) != sorted(parts):
        raise ValueError(f"The page has places for {there}, and not for {sorted(parts)}.")
    return _PART.sub(
        lambda found: f"<!-- generated: {found[1]} -->\n{parts[found[1]]}<!-- end -->", page
    )
