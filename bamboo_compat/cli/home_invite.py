"""`setsync home invite`: letting authors make this server their home."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from setsync.cli import common
from setsync.cli.common import moment
from setsync.cli.peers import _seconds as parse_seconds
from setsync.limits import MAX_INVITE_USES

if TYPE_CHECKING:
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
@click.option(
    "--uses",
    type=click.IntRange(1, MAX_INVITE_USES),
    default=1,
    show_default=True,
    help="How many authors it is for.",
)
@click.option(
    "--expires",
    callback=parse_seconds,
    default="7d",
    show_default=True,
    metavar="TIME",
    help="For how long: 90m, 12h, 7d, 2w.",
)
@click.option("--name", default="", help="What you call whoever comes with it.")
@click.option("--at", metavar="HOST:PORT", help="Where others reach this node, to be printed.")
@common.data_option
@common.json_option
def create(uses: int, expires: int, name: str, at: str | None, data: Path, as_json: bool) -> None:
    """Make an invite, and print its code: here and now, and never again."""
    from setsync.node.address import Address, split_address
    from setsync.node.config import DataDirectory
    from setsync.node.invites import show_code

    directory = DataDirectory.open(data)
    address = Address.to_fill_in(directory.node_key().public)
    if at is not None:
        address = Address(*split_address(at), address.key)
    new, code = make_invite(directory, uses, expires, name)
    line = f"setsync home join {address} {show_code(code)}"
    if as_json:
        told = {"code": show_code(code), "url": str(address), "command": line}
        common.print_json(invite_json(new, new.made) | told)
        return
    common.print_columns(
        [
            ("invite", new.id),
            ("uses", f"{uses:,}"),
            ("expires", moment(new.expires)),
            ("code", show_code(code)),
            ("author types", line),
        ]
    )


@invite.command("list", epilog="Example: setsync home invite list")
@common.data_option
@common.json_option
def list_invites(data: Path, as_json: bool) -> None:
    """List invites, also those that were used up, revoked or expired lately."""
    from bamboo_compat.homes.book import homes_file
    from setsync.node.config import DataDirectory
    from setsync.node.local import now

    at = now()
    kept = homes_file(DataDirectory.open(data).path).read().invites.all()
    invites = [one for one in kept if not one.is_forgotten(at)]
    if as_json:
        common.print_json({"invites": [invite_json(one, at) for one in invites]})
    elif invites:
        rows = [
            (one.id, one.standing(at).value, f"{one.uses:,}", moment(one.expires), one.name)
            for one in invites
        ]
        common.print_columns([("INVITE", "STATE", "USES", "EXPIRES", "NAME"), *rows])
    else:
        common.say("There is no invite. 'setsync home invite create' makes one.")


@invite.command(epilog="Example: setsync home invite revoke 1f2e3d4c")
@click.argument("id_", metavar="ID")
@common.data_option
@common.json_option
def revoke(id_: str, data: Path, as_json: bool) -> None:
    """Take an invite back. Who came with it already stays at home."""
    from setsync.node.config import DataDirectory

    revoke_invite(DataDirectory.open(data), id_.lower())
    if as_json:
        common.print_json({"revoked": id_.lower()})
    else:
        common.say(f"Revoked {id_.lower()}.")


if TYPE_CHECKING:
    from setsync.node.config import DataDirectory


def make_invite(
    directory: DataDirectory, uses: int, seconds: int, name: str = ""
) -> tuple[Invite, bytes]:
    """A new invite that is kept, and its code, which is not. Raises UsageError, HomesFileError."""
    from bamboo_compat.homes.book import homes_file
    from setsync.node import invites
    from setsync.node.local import now

    code, made = os.urandom(invites.CODE_BYTES), now()
    new = invites.Invite(invites.digest_of(code), made, made + 1000 * seconds, uses, name)
    with homes_file(directory.path).changing() as draft:
        draft.value.invites.add(new, made)
    return new, code


def revoke_invite(directory: DataDirectory, id_: str) -> None:
    """Raises NoSuchInviteError, HomesFileError."""
    from bamboo_compat.homes.book import homes_file
    from setsync.node.local import now

    with homes_file(directory.path).changing() as draft:
        draft.value.invites.revoke(id_, now())


def invite_json(one: Invite, at: int) -> dict[str, object]:
    """See docs/json/home-invite.json."""
    return {
        "id": one.id,
        "state": one.standing(at).value,
        "uses": one.uses,
        "made": one.made,
        "expires": one.expires,
        "name": one.name,
    }
