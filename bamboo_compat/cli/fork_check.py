"""`setsync fork check`: is my log forked?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bamboo_compat.cli.fork_list import Told, print_forks, tell
from bamboo_compat.cli.fork_view import opened_view
from bamboo_compat.cli.wording import FORKED, counted
from setsync.cli.common import data_option, json_option, print_json

if TYPE_CHECKING:
    from bamboo_compat.decisions.view import View
    from setsync.node.config import DataDirectory

_PUBLIC_KEY = re.compile("[0-9a-fA-F]{64}")
# The first of them are reason enough, for programs and for people.
_MOST = 1_000
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class _Author:
    """What is here of one author. `forked_logs` of the logs have parted; `undecided` of the forks
    are left to decide."""

    key: bytes
    logs: int
    entries: int
    forked_logs: int
    forks: tuple[bytes, ...]
    undecided: tuple[bytes, ...]


@click.command()
@click.option("--me", is_flag=True, help="The author whose key is in the data directory.")
@click.option(
    "--author",
    metavar="KEYFILE|PUBLICKEY",
    help="Another author: a key file, or a public key of 64 hex digits.",
)
@data_option
@json_option
def check(me: bool, author: str | None, data: Path, as_json: bool) -> int:
    """Say whether the logs of one author are forked, as far as the entries here show.

    Exit codes: 0 they are not, or every fork is decided; 8 one is.

    \b
    Examples:
      setsync fork check --me
      setsync fork check --me --author anna.key
    """
    if not me and author is None:
        raise click.UsageError("Whose logs? Give --me or --author.")
    with opened_view(data) as (directory, snapshot, view):
        found = _look(view, _key(directory, author))
        forks = tell(view, snapshot, list(found.forks[:_MOST]))
    if as_json:
        print_json(_as_json(found, forks))
    elif found.undecided:
        _print_forked(found, forks)
    elif forks:
        _print_decided(found, forks)
    else:
        _print_not_forked(found)
    return FORKED if found.undecided else 0


def _key(directory: DataDirectory, author: str | None) -> bytes:
    """The public key that is meant. Raises KeyFileError."""
    if author is None:
        return directory.author_key().public
    if _PUBLIC_KEY.fullmatch(author):
        return bytes.fromhex(author)
    from setsync.model.keys import read_key_file

    return read_key_file(Path(author)).public


def _look(view: View, key: bytes) -> _Author:
    """Over the author's logs. A double_schema is in several of them, and one fork."""
    rows = [row for _, _, row in view.reader.logs(key)]
    forks: dict[bytes, None] = {}
    undecided: dict[bytes, None] = {}
    forked = 0
    for row in rows:
        of_log = view.reader.forks_of(row)
        forks.update(dict.fromkeys(of_log))
        forked += bool(of_log)
        if of_log:
            undecided.update(dict.fromkeys(view.resolve(row).undecided))
    entries = sum(row.entries for row in rows)
    return _Author(key, len(rows), entries, forked, tuple(forks), tuple(undecided))


def _as_json(found: _Author, forks: list[Told]) -> dict[str, object]:
    return {
        "author": found.key.hex(),
        "forked": bool(found.forks),
        "logs": found.logs,
        "entries": found.entries,
        "forked_logs": found.forked_logs,
        "total": len(found.forks),
        "undecided": len(found.undecided),
        "forks": [one.as_json for one in forks],
    }


# --- for people ---------------------------------------------------------------------------


def _print_not_forked(found: _Author) -> None:
    if found.logs:
        click.echo(f"No. Author {found.key.hex()}")
        click.echo(f"has {_amount(found)} here, and no fork.")
    else:
        click.echo(f"No, but no entry is here of author {found.key.hex()}:")
        click.echo("nothing could show a fork. Sync with a node that has the author's logs.")


def _amount(found: _Author) -> str:
    entries = counted(found.entries, "entry", "entries")
    return f"{counted(found.logs, 'log')} with {entries}"


def _print_decided(found: _Author, forks: list[Told]) -> None:
    click.echo(f"No longer. Author {found.key.hex()}")
    click.echo(f"has {_amount(found)} here, of which {_forked(found)};")
    click.echo("it is decided of every fork which branch is right:")
    click.echo()
    _print_some(found, forks)


def _print_forked(found: _Author, forks: list[Told]) -> None:
    click.echo(f"Yes. Author {found.key.hex()}")
    click.echo(f"has {_amount(found)} here, of which {_forked(found)}:")
    click.echo()
    _print_some(found, forks)
    click.echo("What it means: with this key somebody signed entries that cannot all be true.")
    click.echo("That happens when a key is used on two machines or through two servers, when an")
    click.echo("old copy of a machine is started again, or when somebody else has the key.")
    click.echo("Nothing is lost: every branch is kept. But nobody can know which one to trust.")
    click.echo()
    click.echo("What to do: publish nothing with this key until you know how it happened, and")
    click.echo("look at the branches side by side:")
    open_ = next((one for one in forks if one.fork.id in found.undecided), forks[0])
    click.echo(f"  setsync fork show {open_.short_id}")
    click.echo("Then say which one is right, for every node that hears of it:")
    click.echo(f"  setsync fork decide {open_.short_id} --branch N --as-author KEYFILE")


def _forked(found: _Author) -> str:
    return f"{found.forked_logs} {'is' if found.forked_logs == 1 else 'are'} forked"


def _print_some(found: _Author, forks: list[Told]) -> None:
    print_forks(forks[:_SHOWN], with_author=False)
    if len(found.forks) > _SHOWN:
        click.echo(f"and {counted(len(found.forks) - _SHOWN, 'more fork')}.")
        click.echo()
