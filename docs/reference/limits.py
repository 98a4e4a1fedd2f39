"""limits.md: every limit with its value, and the comment above it as its reason."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from docs.reference import quantities
from docs.reference.comments import Constant, Group, Section, sections
from docs.reference.markdown import prose, table

_HEAD = """# Limits

Written from the comments of the program by `python -m docs.reference`. What an operator may set
is in [settings.md](settings.md); the defaults and the bounds of that are here. Which attack meets
which limit is in [security.md](security.md).
"""
_UNITS = frozenset({"KIB", "MIB", "GIB", "TIB"})
_CONSTANT = re.compile("[A-Z]+(_[A-Z]+)+")
_IS_TIME = re.compile("_(SECONDS|TIMEOUT|GRACE)$")
_IS_SIZE = re.compile("_(SIZE|BYTES)$")


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(_of_module(module) for module in modules())])


def modules() -> Iterator[ModuleType]:
    """Ours, then the guest's."""
    yield importlib.import_module("setsync.limits")
    guest = importlib.import_module("bamboo_compat")
    for found in pkgutil.walk_packages(guest.__path__, "bamboo_compat."):
        if found.name.endswith(".limits"):
            yield importlib.import_module(found.name)


def limits_of(module: ModuleType) -> list[Section]:
    """What a module limits. Units, and names that begin with an underscore, are no limits."""
    found = sections(inspect.getsource(module))
    kept = [Section(one.title, tuple(map(_public, one.groups))) for one in found]
    return [
        Section(one.title, tuple(group for group in one.groups if group.constants)) for one in kept
    ]


def _public(group: Group) -> Group:
    kept = (one for one in group.constants if one.name not in _UNITS and one.name[0] != "_")
    return Group(tuple(kept), group.comment)


def _of_module(module: ModuleType) -> str:
    path = Path(*module.__name__.split(".")).as_posix() + ".py"
    about = " ".join((module.__doc__ or "").split())
    parts = [f"## `{path}`\n\n{prose(about)}\n"]
    sizes = _sizes(module)
    for section in limits_of(module):
        rows = [_row(group, module, sizes) for group in section.groups]
        title = f"### {section.title[0].upper()}{section.title[1:]}\n\n" if section.title else ""
        if rows:
            parts.append(title + table(("limit", "value", "why"), rows))
    return "\n".join(parts)


def _row(group: Group, module: ModuleType, sizes: frozenset[str]) -> tuple[str, str, str]:
    values = [_shown(one.name, getattr(module, one.name), sizes) for one in group.constants]
    names = [f"`{one.name}`" for one in group.constants]
    return "<br>".join(names), "<br>".join(values), prose(_CONSTANT.sub("`\\g<0>`", group.comment))


def _sizes(module: ModuleType) -> frozenset[str]:
    """Names of constants that are bytes: written in units of bytes, or by others that are."""
    known = _imported_sizes(module) | _UNITS
    constants: list[Constant] = [
        constant
        for section in sections(inspect.getsource(module))
        for group in section.groups
        for constant in group.constants
    ]
    for constant in constants:
        names = {node.id for node in _names(constant.source)}
        if names & known or _IS_SIZE.search(constant.name):
            known |= {constant.name}
    return known


def _imported_sizes(module: ModuleType) -> frozenset[str]:
    if module.__name__ == "setsync.limits":
        return frozenset()
    ours = importlib.import_module("setsync.limits")
    values: Mapping[str, object] = vars(module)
    return frozenset(name for name in _sizes(ours) if values.get(name) == vars(ours)[name])


def _names(source: str) -> Iterator[ast.Name]:
    for node in ast.walk(ast.parse(source, mode="eval")):
        if isinstance(node, ast.Name):
            yield node


def _shown(name: str, value: float, sizes: frozenset[str]) -> str:
    if _IS_TIME.search(name):
        return quantities.time(value)
    if name.endswith("_MS"):
        return quantities.time(value / 1000)
    if name in sizes and isinstance(value, int):
        return quantities.size(value)
    return quantities.count(value)
