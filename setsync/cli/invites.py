"""Invites on the command line: what `peers invite` and the invites of guests have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from setsync.cli import common
from setsync.cli.common import moment
from setsync.errors import UsageError
from setsync.limits import MAX_INVITE_USES

if TYPE_CHECKING:
    from setsync.node.address import Address
    from setsync.node.config import DataDirectory
    from setsync.node.invites import Invite

Command = TypeVar("Command", bound=Callable[..., Any])


def _parse_seconds(context: click.Context, option: click.Parameter, text: str) -> int:
    """Raises click.BadParameter."""
    from setsync.node.invites import seconds_of

    try:
        return seconds_of(text)
    except UsageError as error:
        raise click.BadParameter(error.message, context, option) from error


def uses_option(words: str) -> Callable[[Command], Command]:
    """--uses, as `uses`; `words` say of what."""
    return click.option(
        "--uses",
        type=click.IntRange(1, MAX_INVITE_USES),
        default=1,
        show_default=True,
        help=words,
    )


def expires_option(command: Command) -> Command:
    """--expires, as `expires` in seconds."""
    option = click.option(
        "--expires",
        callback=_parse_seconds,
        default="7d",
        show_default=True,
        metavar="TIME",
        help="For how long: 90m, 12h, 7d, 2w.",
    )
    return option(command)


def name_option(command: Command) -> Command:
    """--name, as `name`."""
    return click.option("--name", default="", help="What you call whoever comes with it.")(command)


def at_option(command: Command) -> Command:
    """--at, as `at`: see `address_at`."""
    option = click.option(
        "--at", metavar="HOST:PORT", help="Where others reach this node, to be printed."
    )
    return option(command)


def address_at(directory: DataDirectory, at: str | None) -> Address:
    """This node's address; without `at` its place is left to be filled in. Raises UsageError."""
    from setsync.node.address import Address, split_address

    key = directory.node_key().public
    return Address.to_fill_in(key) if at is None else Address(*split_address(at), key)


def new_invite(
    uses: int, seconds: int, name: str = "", groups: tuple[str, ...] = ()
) -> tuple[Invite, bytes]:
    """An invite that begins now, to be kept, and its code, which is not. Raises UsageError."""
    from setsync.node import invites
    from setsync.node.local import now

    code, made = os.urandom(invites.CODE_BYTES), now()
    expires = made + 1000 * seconds
    return invites.Invite(invites.digest_of(code), made, expires, uses, name, groups), code


def tell_new(invite: Invite, code: bytes, line: str, typist: str) -> None:
    """What `create` prints: `line` is what the `typist` types."""
    from setsync.node.invites import show_code

    common.print_columns(
        [
            ("invite", invite.id),
            ("uses", f"{invite.uses:,}"),
            ("expires", moment(invite.expires)),
            ("code", show_code(code)),
            (f"{typist} types", line),
        ]
    )


def tell_all(kept: Iterable[Invite], path: str, *, as_json: bool, with_groups: bool) -> None:
    """What `list` prints of those that are not forgotten; `path` is the group of commands."""
    from setsync.node.local import now

    at = now()
    invites = [one for one in kept if not one.is_forgotten(at)]
    if as_json:
        common.print_json({"invites": [one.as_json(at, groups=with_groups) for one in invites]})
    elif invites:
        groups = ("GROUPS",) if with_groups else ()
        titles = ("INVITE", "STATE", "USES", "EXPIRES", "NAME", *groups)
        common.print_columns([titles, *(_row(one, at, with_groups) for one in invites)])
    else:
        common.say(f"There is no invite. '{path} create' makes one.")


def _row(one: Invite, at: int, with_groups: bool) -> tuple[str, ...]:
    groups = (" ".join(one.groups),) if with_groups else ()
    state, uses = one.standing(at).value, f"{one.uses:,}"
    return one.id, state, uses, moment(one.expires), one.name, *groups


def tell_revoked(id_: str, *, as_json: bool) -> None:
    """What `revoke` prints."""
    if as_json:
        common.print_json({"revoked": id_})
    else:
        common.say(f"Revoked {id_}.")
