"""`setsync config`: what is set, and which source has the last word.

There is no command that changes the file: it is the operator's, comments and all.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from setsync.cli import common
from setsync.node.settings import (
    FILE,
    Origin,
    Plain,
    Setting,
    Settled,
    Value,
    all_settings,
    read_file,
    settle,
)


@click.group(short_help="Show what is set, and where.", epilog="Example: setsync config show")
def config() -> None:
    """Show what is set, and where.

    A flag of 'serve' is stronger than an environment variable, and that than DIR/setsync.toml;
    docs/settings.md has the list. 'kill -HUP' makes a running 'serve' read the file anew, and take
    over interests, peers and limits.
    """


@config.command(epilog="Example: setsync config show --origin")
@click.option("--origin", is_flag=True, help="Also say where each value comes from.")
@common.data_option
@common.json_option
def show(origin: bool, data: Path, as_json: bool) -> None:
    """Print every setting as the file and the environment have it, in the form of the file."""
    from setsync.node.config import DataDirectory

    DataDirectory.open(data)
    table = all_settings()
    settled = settled_in(data, table)
    if as_json:
        common.print_json(_as_json(data, settled))
        return
    rows = [(toml_line(name, value.value), _source(value)) for name, value in settled.items()]
    if not origin:
        click.echo("\n".join(line for line, _ in rows))
        return
    width = max(len(line) for line, _ in rows)
    click.echo("\n".join(f"{line.ljust(width)}  # {source}" for line, source in rows))


def settled_in(data: Path, table: tuple[Setting, ...]) -> Settled:
    """What holds without flags. Raises SettingsFileError, UsageError."""
    file = read_file(data)
    return settle(table, flags={}, environment=os.environ, file=file, path=data / FILE)


def _as_json(data: Path, settled: Settled) -> dict[str, object]:
    """See docs/json/config.json."""
    path = data / FILE
    return {
        "file": str(path.absolute()) if path.exists() else None,
        "settings": {
            name: {"value": value.value, "origin": value.origin.value, "where": value.where}
            for name, value in settled.items()
        },
    }


def _source(value: Value) -> str:
    if value.origin is Origin.DEFAULT:
        return str(value.origin.value)
    return common.printable(f"{value.origin.value}: {value.where}")


# --- TOML ---------------------------------------------------------------------------------


def toml_line(name: str, value: Plain) -> str:
    """A line of the file; a comment where nothing is set."""
    return f"# {name} is not set" if value is None else f"{name} = {_toml(value)}"


def _toml(value: str | int | bool | tuple[str, ...]) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return '"' + "".join(_character(one) for one in value) + '"'
        case _:
            return "[" + ", ".join(_toml(one) for one in value) + "]"


def _character(one: str) -> str:
    if one in '"\\':
        return "\\" + one
    return one if one.isprintable() else f"\\U{ord(one):08x}"
