"""commands.md: every command as its own help tells it, and every exit code."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import click

from docs.reference.markdown import plain
from setsync.cli.main import cli
from setsync.errors import SetsyncError

PACKAGES = ("setsync", "bamboo_compat")
_HEAD = """# Commands and exit codes

Written from the program by `python -m docs.reference`; `setsync COMMAND -h` says the same.
"""
_EXIT_CODES = """## Exit codes

0 is success. Otherwise a command says in one sentence what happened and in another what to do,
and ends with a code; with `--json` the word stands in `error.code`. 9 is no failure: a session
ended, and the sets are not the same yet.
[Running a node](operations.md#when-something-is-refused) tells more of each.

| exit code | word | what to do |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    sections = [_section(context) for context in _contexts(_context(cli, None, "setsync"))]
    return "\n".join([_HEAD, *sections, _EXIT_CODES + "".join(_exit_codes())])


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """A command, and what it groups, in the order of the help."""
    yield context
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None, name
            yield from _contexts(_context(command, context, name))


def _context(command: click.Command, parent: click.Context | None, name: str) -> click.Context:
    return click.Context(command, parent, name, help_option_names=["-h", "--help"])


def _section(context: click.Context) -> str:
    command = context.command
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"## `{context.command_path}`", f"```\n{context.command_path} {usage}\n```"]
    parts += _paragraphs(command.help or "")
    if isinstance(command, click.Group):
        parts.append(_table("command", _members(command, context)))
    parts.append(_table("option", _options(command, context)))
    parts += _paragraphs(command.epilog or "")
    return "\n\n".join(part for part in parts if part) + "\n"


def _paragraphs(text: str) -> Iterator[str]:
    """What follows click's mark for text that is not to be wrapped is shown as it stands."""
    for paragraph in text.split("\n\n"):
        lines = [line for line in paragraph.splitlines() if line.strip()]
        if lines and lines[0].strip() == "\b":
            title, *rest = lines[1:]
            shown = "\n".join(line.strip() for line in rest)
            yield f"{plain(title.strip())}\n\n```\n{shown}\n```" if rest else plain(title)
        elif lines:
            yield plain(" ".join(line.strip() for line in lines))


def _members(group: click.Group, context: click.Context) -> list[tuple[str, str]]:
    rows = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        path = f"{context.command_path} {name}"
        anchor = path.replace(" ", "-")
        rows.append((f"[`{path}`](#{anchor})", plain(command.get_short_help_str(200))))
    return rows


def _options(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    # click makes the option for help once, by the names of whichever context asked first.
    asks = command.get_help_option(context)
    options = (one for one in command.get_params(context) if one is not asks)
    records = (option.get_help_record(context) for option in options)
    return [
        (f"`{names.replace('|', chr(92) + '|')}`", plain(told))
        for names, told in (record for record in records if record is not None)
        if not names.startswith("-h") and (told or names.startswith("-"))
    ]


def _table(name: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    lines = [f"| {name} | |", "|---|---|", *(f"| {left} | {right} |" for left, right in rows)]
    return "\n".join(lines)


def _exit_codes() -> Iterator[str]:
    found = {(kind.exit_code, kind.code): kind for kind in _errors()}
    for (exit_code, code), kind in sorted(found.items(), key=lambda one: one[0]):
        advice = " ".join((kind.__doc__ or "").split())
        yield f"| {exit_code} | `{code}` | {plain(advice)} |\n"


def _errors() -> list[type[SetsyncError]]:
    """Every kind of failure that has a word of its own, guests' included."""
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(path, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    kinds, todo = list[type[SetsyncError]](), [SetsyncError]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if "code" in vars(kind) and kind.__module__.split(".")[0] in PACKAGES:
            kinds.append(kind)
    return kinds
