"""`setsync home invite`: letting authors make this server their home."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from setsync.cli import common, invites

if TYPE_CHECKING:
    from setsync.node.config import DataDirectory
    from setsync.node.invites import Invite


@click.group(
    short_help="Be a home: make invites for authors.",
    epilog="Example: setsync home invite create --uses 1 --expires 7d",
)
def invite() -> None:
    """Let authors make this server their home, by a code that you hand them.

    A code is printed once and kept nowhere. It is used up by whoever joined with it, and by
    nobody who was refused.
    """


@invite.command(epilog="Example: setsync home invite create --expires 2d --at example.org:7717")
@invites.uses_option("How many authors it is for.")
@invites.expires_option
@invites.name_option
@invites.at_option
@common.data_option
@common.json_option
def create(uses: int, expires: int, name: str, at: str | None, data: Path, as_json: bool) -> None:
    """Make an invite, and print its code: here and now, and never again."""
    from setsync.node.config import DataDirectory
    from setsync.node.invites import show_code

    directory = DataDirectory.open(data)
    address = invites.address_at(directory, at)
    new, code = make_invite(directory, uses, expires, name)
    line = f"setsync home join {address} {show_code(code)}"
    if as_json:
        told = {"code": show_code(code), "url": str(address), "command": line}
        common.print_json(new.as_json(new.made) | told)
    else:
        invites.tell_new(new, code, line, "author")


@invite.command("list", epilog="Example: setsync home invite list")
@common.data_option
@common.json_option
def list_invites(data: Path, as_json: bool) -> None:
    """List invites, also those that were used up, revoked or expired lately."""
    from bamboo_compat.homes.book import homes_file
    from setsync.node.config import DataDirectory

    kept = homes_file(DataDirectory.open(data).path).read().invites.all()
    invites.tell_all(kept, "setsync home invite", as_json=as_json, with_groups=False)


@invite.command(epilog="Example: setsync home invite revoke 1f2e3d4c")
@click.argument("id_", metavar="ID")
@common.data_option
@common.json_option
def revoke(id_: str, data: Path, as_json: bool) -> None:
    """Take an invite back. Who came with it already stays at home."""
    from setsync.node.config import DataDirectory

    revoke_invite(DataDirectory.open(data), id_.lower())
    invites.tell_revoked(id_.lower(), as_json=as_json)


def make_invite(
    directory: DataDirectory, uses: int, seconds: int, name: str = ""
) -> tuple[Invite, bytes]:
    """A new invite that is kept, and its code, which is not. Raises UsageError, HomesFileError."""
    from bamboo_compat.homes.book import homes_file

    new, code = invites.new_invite(uses, seconds, name)
    with homes_file(directory.path).changing() as draft:
        draft.value.invites.add(new, new.made)
    return new, code


def revoke_invite(directory: DataDirectory, id_: str) -> None:
    """Raises NoSuchInviteError, HomesFileError."""
    from bamboo_compat.homes.book import homes_file
    from setsync.node.local import now

    with homes_file(directory.path).changing() as draft:
        draft.value.invites.revoke(id_, now())
