"""What comments say of the constants below them, read from a module's source."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_TITLE = re.compile("# --- (.+?) -*")


@dataclass(frozen=True, slots=True)
class Constant:
    """One assignment: its name, the expression as it is written, and where it stands."""

    name: str
    source: str
    line: int


@dataclass(frozen=True, slots=True)
class Group:
    """Constants one below the other, and the comment above the first of them; "" if none."""

    constants: tuple[Constant, ...]
    comment: str


@dataclass(frozen=True, slots=True)
class Section:
    """Groups below a line `# --- title ---`; "" before the first."""

    title: str
    groups: tuple[Group, ...]


def sections(source: str) -> list[Section]:
    """The constants of a module, in order."""
    remarks = _remarks(source)
    titles = {line: title[1] for line, text in remarks.items() if (title := _TITLE.fullmatch(text))}
    for line in titles:
        del remarks[line]
    made = groups(ast.parse(source).body, remarks)
    starts = [0, *sorted(titles)]
    ends = [*starts[1:], source.count("\n") + 1]
    found = [
        Section(titles.get(start, ""), tuple(one for one in made if start < _line(one) < end))
        for start, end in zip(starts, ends, strict=True)
    ]
    return [section for section in found if section.groups]


def members(source: str, name: str) -> list[Group]:
    """The constants of a class. Raises StopIteration if the module has none of that name."""
    body = next(
        node.body
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == name
    )
    return groups(body, _remarks(source))


def groups(body: Sequence[ast.stmt], remarks: dict[int, str]) -> list[Group]:
    """A comment holds for the constants below it up to the next comment or empty line."""
    found: list[Group] = []
    end = -1
    for node in body:
        for name, value in _assigned(node):
            constant = Constant(name, ast.unparse(value), node.lineno)
            comment = _above(node.lineno, remarks)
            if found and not comment and node.lineno == end + 1:
                found[-1] = Group((*found[-1].constants, constant), found[-1].comment)
            else:
                found.append(Group((constant,), comment))
            end = node.end_lineno or node.lineno
    return found


def _assigned(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            yield name, value
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield name, value


def _line(group: Group) -> int:
    return group.constants[0].line


def _remarks(source: str) -> dict[int, str]:
    """Comments that have a line of their own, by its number."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string
        for token in tokens
        if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#")
    }


def _above(line: int, remarks: dict[int, str]) -> str:
    """The comment that ends in the line before, as one text."""
    start = line
    while start - 1 in remarks:
        start -= 1
    return " ".join(remarks[one].removeprefix("#").strip() for one in range(start, line))
