"""`setsync peers`: whom this node knows, and who may talk to it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import click

from setsync.cli import common, invites
from setsync.cli.common import moment
from setsync.cli.progress import size
from setsync.errors import NoSuchPeerError, UsageError
from setsync.node.address import SCHEME, Address, is_key, parse_key
from setsync.node.config import DataDirectory
from setsync.node.dialling import peer_named
from setsync.node.groups import group_names
from setsync.node.invites import show_code
from setsync.node.live import PeerState
from setsync.node.local import now
from setsync.node.peers import Book, Peer, Rule
from setsync.node.states import read_states


@click.group(short_help="Say who may talk to this node.", epilog="Example: setsync peers list")
def peers() -> None:
    """Say who may talk to this node, and where others are.

    A node is its key. 'serve' talks to those that are listed here, unless --access says
    otherwise; what is changed here holds from the next connection on.
    """


_group_option = click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME",
    help="Put it into this group and no other; a-z, 0-9 and -. Repeatable.",
)
_no_groups_option = click.option("--no-groups", is_flag=True, help="Take it out of all groups.")


def _groups(known: Peer, groups: tuple[str, ...], no_groups: bool) -> tuple[str, ...]:
    """The groups that a peer is in from now on. Raises UsageError."""
    if groups and no_groups:
        raise UsageError("Either --group or --no-groups.")
    return group_names(groups) if groups or no_groups else known.groups


@peers.command(epilog="Example: setsync peers add setsync://KEY@example.org:7717 --name anna")
@click.argument("node", metavar="ADDRESS|KEY")
@click.option("--name", default="", help="What you call it; 'sync NAME' then finds it.")
@_group_option
@_no_groups_option
@common.data_option
@common.json_option
def add(
    node: str, name: str, groups: tuple[str, ...], no_groups: bool, data: Path, as_json: bool
) -> None:
    """List a node: it may talk to this one, and is remembered where it is."""
    key = parse_key(node)
    address = Address.parse(node) if node.startswith(SCHEME) else None
    with DataDirectory.open(data).peers.changing() as book:
        known = book.peers.get(key, Peer(key))
        book.put(
            replace(
                known,
                rule=Rule.ALLOWED,
                name=name or known.name,
                address=address or known.address,
                groups=_groups(known, groups, no_groups),
            )
        )
        told = book.peers[key]
    _tell(told, as_json)


@peers.command(epilog="Example: setsync peers allow anna")
@click.argument("node", metavar="ADDRESS|KEY|NAME")
@_group_option
@_no_groups_option
@common.data_option
@common.json_option
def allow(node: str, groups: tuple[str, ...], no_groups: bool, data: Path, as_json: bool) -> None:
    """Let a node talk to this one again, or for the first time."""
    _set_rule(node, Rule.ALLOWED, data, as_json, groups, no_groups)


@peers.command(epilog="Example: setsync peers block anna")
@click.argument("node", metavar="ADDRESS|KEY|NAME")
@common.data_option
@common.json_option
def block(node: str, data: Path, as_json: bool) -> None:
    """Never talk to a node, whatever --access says."""
    _set_rule(node, Rule.BLOCKED, data, as_json)


def _set_rule(
    node: str,
    rule: Rule,
    data: Path,
    as_json: bool,
    groups: tuple[str, ...] = (),
    no_groups: bool = False,
) -> None:
    with DataDirectory.open(data).peers.changing() as book:
        key = _meant(book, node)
        known = book.peers.get(key, Peer(key))
        book.put(replace(known, rule=rule, groups=_groups(known, groups, no_groups)))
        told = book.peers[key]
    _tell(told, as_json)


@peers.command(epilog="Example: setsync peers remove anna")
@click.argument("node", metavar="ADDRESS|KEY|NAME")
@common.data_option
@common.json_option
def remove(node: str, data: Path, as_json: bool) -> None:
    """Forget a node, and the places where it was trusted at first sight."""
    with DataDirectory.open(data).peers.changing() as book:
        key = _meant(book, node)
        if not book.remove(key):
            raise NoSuchPeerError(f"No peer has the key {key.hex()}.")
    if as_json:
        common.print_json({"removed": key.hex()})
    else:
        common.say(f"Forgot {key.hex()}.")


def _meant(book: Book, node: str) -> bytes:
    """The key of whom an operator means. Raises NoSuchPeerError, UsageError."""
    if is_key(node):
        return parse_key(node)
    named = peer_named(book, node)
    if named is not None:
        return named.key
    if ":" not in node:
        raise NoSuchPeerError(f"No peer is named {node!r}, and a key has 64 hex digits.")
    return parse_key(node)


@peers.command("list", epilog="Example: setsync peers list --json")
@common.data_option
@common.json_option
def list_(data: Path, as_json: bool) -> None:
    """List the nodes that are known here, and how it stands with them.

    How it stands is what the process that serves has written, at most some seconds ago.
    """
    directory = DataDirectory.open(data)
    book, states = directory.peers.read(), read_states(directory.states_path)
    if as_json:
        common.print_json(
            {
                "peers": [_as_json(peer) for _, peer in sorted(book.peers.items())],
                "pins": {place: key.hex() for place, key in sorted(book.pins.items())},
                "states": {key: asdict(state) for key, state in sorted(states.items())},
            }
        )
        return
    rows = [_row(peer) for _, peer in sorted(book.peers.items())]
    rows += [
        (key.hex(), "trusted at first sight", "", place, "")
        for place, key in sorted(book.pins.items())
    ]
    if rows:
        common.print_columns([("KEY", "RULE", "NAME", "ADDRESS", "GROUPS"), *rows])
    else:
        common.say("No peer is known here. 'setsync peers add ADDRESS' lists one.")
    if states:
        click.echo("")
        common.print_columns([_STATE_TITLES, *(_state_row(*one) for one in states.items())])


_STATE_TITLES = (
    "PEER",
    "STATE",
    "SINCE",
    "LAST OK",
    "LAG",
    "SENT",
    "GOT",
    "BYTES OUT",
    "BYTES IN",
    "",
)


def _state_row(key: str, state: PeerState) -> tuple[str, ...]:
    return (
        key[:16],
        state.phase.value,
        moment(state.since),
        moment(state.last_ok) if state.last_ok else "never",
        "?" if state.lag is None else f"{state.lag:,}",
        f"{state.entries_sent:,}",
        f"{state.entries_received:,}",
        size(state.bytes_sent),
        size(state.bytes_received),
        state.last_error,
    )


def _row(peer: Peer) -> tuple[str, ...]:
    place = peer.address.place if peer.address is not None else ""
    return peer.key.hex(), peer.rule.value, peer.name, place, " ".join(peer.groups)


def _tell(peer: Peer, as_json: bool) -> None:
    if as_json:
        common.print_json(_as_json(peer))
    else:
        common.print_columns([_row(peer)])


def _as_json(peer: Peer) -> dict[str, object]:
    return {
        "key": peer.key.hex(),
        "rule": peer.rule.value,
        "name": peer.name,
        "address": str(peer.address) if peer.address is not None else None,
        "groups": list(peer.groups),
    }


# --- invites ------------------------------------------------------------------------------


@peers.group(
    short_help="Let others list themselves, by a code.",
    epilog="Example: setsync peers invite create --name anna",
)
def invite() -> None:
    """Let others list themselves, by a code that you hand them.

    Whoever shows the code to 'serve --access invited' is listed by it, as by 'peers add'.
    """


@invite.command(epilog="Example: setsync peers invite create --uses 12 --expires 2d --group course")
@invites.uses_option("How many nodes it lists.")
@invites.expires_option
@invites.name_option
@click.option(
    "--group", "groups", multiple=True, metavar="NAME", help="Groups for them. Repeatable."
)
@invites.at_option
@common.data_option
@common.json_option
def create(
    uses: int,
    expires: int,
    name: str,
    groups: tuple[str, ...],
    at: str | None,
    data: Path,
    as_json: bool,
) -> None:
    """Make an invite, and print its code: here and now, and never again."""
    directory = DataDirectory.open(data)
    address = invites.address_at(directory, at)
    new, code = invites.new_invite(uses, expires, name, group_names(groups))
    with directory.peers.changing() as book:
        book.invites.add(new, new.made)
    line = f"setsync sync {address} --invite {show_code(code)}"
    if as_json:
        told = {"code": show_code(code), "address": str(address), "command": line}
        common.print_json(new.as_json(new.made, groups=True) | told)
    else:
        invites.tell_new(new, code, line, "guest")


@invite.command("list", epilog="Example: setsync peers invite list")
@common.data_option
@common.json_option
def list_invites(data: Path, as_json: bool) -> None:
    """List invites, also those that were used up, revoked or expired lately."""
    kept = DataDirectory.open(data).peers.read().invites.all()
    invites.tell_all(kept, "setsync peers invite", as_json=as_json, with_groups=True)


@invite.command(epilog="Example: setsync peers invite revoke 1f2e3d4c")
@click.argument("id_", metavar="ID")
@common.data_option
@common.json_option
def revoke(id_: str, data: Path, as_json: bool) -> None:
    """Take an invite back. Who came with it already stays listed."""
    with DataDirectory.open(data).peers.changing() as book:
        book.invites.revoke(id_.lower(), now())
    invites.tell_revoked(id_.lower(), as_json=as_json)
