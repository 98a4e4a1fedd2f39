"""What the commands about homes share: whose home, how it is reached, and what is dangerous."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from setsync.cli import common

if TYPE_CHECKING:
    from bamboo_compat.homes.dangers import Act
    from bamboo_compat.homes.joining import Me
    from bamboo_compat.homes.marriages import Marriage
    from bamboo_compat.homes.roads import Road
    from setsync.errors import SetsyncError
    from setsync.model.keys import SecretKey
    from setsync.node.config import DataDirectory

Command = TypeVar("Command", bound=Callable[..., Any])


def author_option(command: Command) -> Command:
    """`--as KEYFILE`, given to the command as `key_file: Path | None`."""
    return click.option(
        "--as",
        "key_file",
        type=click.Path(path_type=Path),
        metavar="KEYFILE",
        help="Whose home.  [default: author.key of the data directory]",
    )(command)


def yes_option(command: Command) -> Command:
    """`--yes`, given to the command as `yes: bool`."""
    return click.option("--yes", is_flag=True, help="Do it though it is dangerous; do not ask.")(
        command
    )


@contextmanager
def myself(data: Path, key_file: Path | None) -> Iterator[Me]:
    """The author and its open directory. Raises KeyFileError, StoreError and its kinds."""
    from bamboo_compat.homes.joining import Me

    with common.opened(data) as (directory, store):
        yield Me(directory, store, author_key(directory, key_file))


def author_key(directory: DataDirectory, key_file: Path | None) -> SecretKey:
    """Raises KeyFileError."""
    from setsync.model.keys import read_key_file

    return directory.author_key() if key_file is None else read_key_file(key_file)


def check_in_place(me: Me) -> None:
    """Nothing is signed in a copied directory. Raises CopiedDirectoryError."""
    from bamboo_compat.homes.publishing import DirectoryState, check_place

    check_place(DirectoryState.of(me.directory))


def road_of(directory: DataDirectory, url: str) -> Road:
    """The way to a home. Raises UsageError, KeyFileError."""
    from bamboo_compat.homes.roads import road_to
    from setsync.node.identity import Identity

    return road_to(url, Identity.of(directory.node_key()), directory.network_key())


def confirm(act: Act, why: str, yes: bool, otherwise: SetsyncError | None = None) -> None:
    """Say what would happen, and go on only if that is wanted: by --yes, or at a terminal by the
    word. Raises NotConfirmedError, or `otherwise`."""
    from bamboo_compat.homes.errors import NotConfirmedError

    danger = act.value
    if yes or sys.stdin.isatty():
        common.say(f"Dangerous: {common.printable(why)} {danger.what}")
    if yes:
        return
    if sys.stdin.isatty():
        common.say(f"Type {danger.word!r} to do it all the same:")
        if sys.stdin.readline().strip() == danger.word:
            return
    if otherwise is not None:
        raise otherwise
    raise NotConfirmedError(f"{why} {danger.what}")


def marriage_json(one: Marriage) -> dict[str, object]:
    """A marriage with its statements' ids as evidence: 'setsync get ID --header' shows each."""
    return {
        "author": one.author.hex(),
        "server": one.server.hex(),
        "url": one.url,
        "open": one.is_open,
        "hello": one.hello.id.hex(),
        "since": one.hello.timestamp,
        "welcome": one.welcome.id.hex() if one.welcome is not None else None,
        "goodbye": one.goodbye.id.hex() if one.goodbye is not None else None,
    }


def evidence(one: Marriage) -> str:
    """For people: both statements."""
    welcome = one.welcome.id.hex() if one.welcome is not None else "none"
    return f"{one.place}: hello {one.hello.id.hex()}, welcome {welcome}"
