"""`setsync home export` and `import`: an author's archive."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from bamboo_compat.cli.home_common import author_option, confirm, myself, yes_option
from setsync.cli import common

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bamboo_compat.homes.archive import Consequence, Contents
    from setsync.store.contract import EntryStore

PASSPHRASE_VARIABLE = "SETSYNC_PASSPHRASE"


@click.command(epilog="Example: setsync home export anna.archive --with-key")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--with-key", is_flag=True, help="Also the secret key, under a passphrase.")
@author_option
@common.data_option
@common.json_option
def export(file: Path, with_key: bool, key_file: Path | None, data: Path, as_json: bool) -> None:
    """Write all that I signed into FILE: entries, payloads, statements, and where my home is.

    The passphrase is asked for, or taken from SETSYNC_PASSPHRASE. Whoever has both the file and
    the passphrase is you.
    """
    from bamboo_compat.homes import archive
    from bamboo_compat.homes.sealing import NONCE_BYTES, SALT_BYTES, seal

    with myself(data, key_file) as me:
        sealed = None
        if with_key:
            passphrase = _passphrase(twice=True)
            sealed = seal(me.key, passphrase, os.urandom(SALT_BYTES + NONCE_BYTES))

        def write(target: BinaryIO) -> Contents:
            return archive.export(
                me.store, me.directory.path, me.author, target, me.clock(), sealed
            )

        contents = archive.write_file(file, write)
    _tell(contents, as_json, new=None)


@click.command("import", epilog="Example: setsync home import anna.archive --key-file anna.key")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--key-file",
    "target",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the secret key there; never over another file.",
)
@yes_option
@common.data_option
@common.json_option
def import_(file: Path, target: Path | None, yes: bool, data: Path, as_json: bool) -> None:
    """Take what FILE holds, once all of it was checked; what is here already is left alone.

    Says what would fork where this node is not the author's home, and which numbers it would
    hold for used without their entries. With --key-file the passphrase
    is asked for, or taken from SETSYNC_PASSPHRASE.
    """
    from bamboo_compat.homes import archive
    from bamboo_compat.homes.dangers import Act
    from bamboo_compat.homes.errors import ArchiveError
    from bamboo_compat.homes.sealing import unseal
    from setsync.errors import KeyFileError
    from setsync.model.keys import write_key_file
    from setsync.node.room import check_own_room

    with common.opened(data) as (directory, store), _opened(file) as source:
        check_own_room(store.path)
        contents = archive.check_archive(source)
        key = None
        if target is not None:
            if contents.sealed is None:
                raise ArchiveError("There is no key in this archive.")
            if target.exists():
                raise KeyFileError(f"{target} exists already; a key is never written over.")
            key = unseal(contents.sealed, _passphrase(twice=False))
            if key.public != contents.about.author:
                raise ArchiveError("The key in this archive is not its author's.")
        why = _reasons(directory.node_key().public, store, contents, source)
        if why:
            confirm(Act.IMPORT_AWAY, " ".join(why), yes)
        bare = archive.unproven(store, contents)
        if bare:
            confirm(Act.IMPORT_HEADS, _told(bare), yes)
        source.seek(0)
        new = archive.take(store, directory.path, contents, source, common.from_here().at)
        if key is not None and target is not None:
            write_key_file(target, key)
    _tell(contents, as_json, new)


def _opened(file: Path) -> BinaryIO:
    from bamboo_compat.homes.errors import ArchiveError

    try:
        return file.open("rb")
    except OSError as error:
        raise ArchiveError(f"{file} cannot be read: {error.strerror}.") from error


def _reasons(node: bytes, store: EntryStore, contents: Contents, source: BinaryIO) -> list[str]:
    """What speaks against taking it here, in sentences."""
    from bamboo_compat.homes.archive import consequences

    about, said = contents.about, []
    if about.server not in (bytes(32), node):
        said.append(f"The author's home is {about.url} (node {about.server.hex()}).")
    source.seek(0)
    found = consequences(store, contents, source)
    return [*said, _told(found)] if found else said


def _told(found: Sequence[Consequence]) -> str:
    """The first ten."""
    return " ".join(one.what for one in found[:10])


def _passphrase(*, twice: bool) -> str:
    """From the environment, or typed unseen. Raises UsageError."""
    from setsync.errors import UsageError

    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise UsageError(
            f"Nobody can be asked for a passphrase; {PASSPHRASE_VARIABLE} may hold it."
        )
    try:
        typed: str = click.prompt(
            "Passphrase", hide_input=True, confirmation_prompt=twice, err=True
        )
    except click.Abort as error:
        raise UsageError(f"No passphrase was given; {PASSPHRASE_VARIABLE} may hold it.") from error
    return typed


def _tell(contents: Contents, as_json: bool, new: int | None) -> None:
    about = contents.about
    if as_json:
        common.print_json(
            {
                "author": about.author.hex(),
                "home": about.url or None,
                "server": about.server.hex() if any(about.server) else None,
                "made": about.made,
                "entries": contents.entries,
                "payloads": contents.payloads,
                "statements": contents.statements,
                "logs": len(contents.heads),
                "has_key": contents.sealed is not None,
                **({} if new is None else {"new": new}),
            }
        )
        return
    rows = [
        ("author", about.author.hex()),
        ("home", about.url or "none"),
        ("entries", f"{contents.entries:,}"),
        ("logs", f"{len(contents.heads):,}"),
        ("key", "under a passphrase" if contents.sealed is not None else "not in it"),
    ]
    if new is not None:
        rows.append(("new here", f"{new:,}"))
    common.print_columns(rows)
