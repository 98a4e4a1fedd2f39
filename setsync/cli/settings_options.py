"""The flags of `serve` that are settings, made from the table of settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from setsync.node.settings import SETTINGS, Kind, Plain, Setting


def option_of(setting: Setting) -> click.Option:
    """The flag of a setting. Its value is None, or () for a list, where it was not given."""
    assert setting.flag is not None
    declared = f"{setting.flag}/--no-{setting.flag[2:]}"
    return click.Option(
        [declared if setting.kind is Kind.SWITCH else setting.flag, parameter_of(setting)],
        type=_type(setting),
        default=None,
        multiple=setting.kind.is_list,
        metavar=setting.metavar or None,
        help=_help(setting),
    )


def parameter_of(setting: Setting) -> str:
    """The name under which a command gets the flag's value."""
    return setting.name.replace("-", "_")


def _type(setting: Setting) -> Any:
    match setting.kind:
        case Kind.CHOICE:
            return click.Choice(list(setting.choices))
        case Kind.PATH:
            return click.Path(path_type=Path, dir_okay=False)
        case Kind.SWITCH:
            return None
        case _:
            return click.STRING


def _help(setting: Setting) -> str:
    """The sentence, and what holds where nothing says otherwise, as click would put it."""
    default = setting.default if isinstance(setting.default, str) else ""
    if setting.kind is Kind.CHOICE and setting.default is None:
        default = setting.empty
    repeatable = " Repeatable." if setting.kind.is_list else ""
    return setting.sentence + repeatable + (f"  [default: {default}]" if default else "")


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Every flag of our own settings, in the order of the table; see `flags_of`."""
    ours = [option_of(setting) for setting in SETTINGS if setting.flag is not None]
    if not hasattr(command, "__click_params__"):
        command.__click_params__ = []  # type: ignore[attr-defined]
    # Where click's decorators keep them, last first.
    command.__click_params__ += reversed(ours)  # type: ignore[attr-defined]
    return command


def flags_of(table: Iterable[Setting], values: Mapping[str, Any]) -> dict[str, Plain]:
    """What was given on the command line, by the setting's name."""
    found = {
        setting.name: values.get(parameter_of(setting))
        for setting in table
        if setting.flag is not None
    }
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in found.items()
        if value is not None and value != ()
    }
