"""`setsync home clients`: who is at home on this server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bamboo_compat.cli.home_common import evidence, marriage_json
from setsync.cli import common

if TYPE_CHECKING:
    from setsync.node.config import DataDirectory
    from setsync.store.contract import EntryStore


@click.command(epilog="Example: setsync home clients --json")
@common.data_option
@common.json_option
def clients(data: Path, as_json: bool) -> None:
    """List the authors that are at home here, and those that left or have another home too."""
    with common.opened(data) as (directory, store):
        found = clients_of(directory, store)
    if as_json:
        common.print_json({"clients": found})
        return
    if not found:
        common.say("Nobody is at home here. 'setsync home invite create' invites somebody.")
        return
    rows = [
        (str(one["author"]), str(one["state"]), str(one["name"]), str(one["invite"]))
        for one in found
    ]
    common.print_columns([("AUTHOR", "STATE", "NAME", "INVITE"), *rows])
    for one in found:
        if one["warning"]:
            common.say(f"Warning: {one['warning']}")


def clients_of(directory: DataDirectory, store: EntryStore) -> list[dict[str, object]]:
    """See docs/json/home-clients.json."""
    from bamboo_compat.homes.book import homes_file
    from bamboo_compat.homes.marriages import (
        clients_of as said_hello,
    )
    from bamboo_compat.homes.marriages import (
        marriages,
        open_homes,
        statements_in,
    )
    from bamboo_compat.statements.reading import open_statements

    me = directory.node_key().public
    kept = homes_file(directory.path).read().clients
    open_statements(store)
    found: list[dict[str, object]] = []
    with store.snapshot() as snapshot:
        reader = statements_in(snapshot)
        authors = dict.fromkeys([*kept, *said_hello(reader, me)])
        for author in authors:
            said = marriages(reader, author)
            homes = open_homes(said)
            here = any(one.server == me for one in homes)
            warning = ""
            if here and len(homes) > 1:
                both = "; ".join(evidence(one) for one in homes)
                warning = f"Author {author.hex()} has {len(homes)} homes: {both}."
            client = kept.get(author)
            found.append(
                {
                    "author": author.hex(),
                    "state": _state(here, warning, [one for one in said if one.server == me]),
                    "name": client.name if client is not None else "",
                    "invite": client.invite if client is not None else "",
                    "joined": client.joined if client is not None else None,
                    "marriages": [marriage_json(one) for one in said],
                    "warning": warning,
                }
            )
    return found


def _state(here: bool, warning: str, said: list[object]) -> str:
    if warning:
        return "two homes"
    if here:
        return "at home"
    from bamboo_compat.homes.marriages import Marriage

    goodbyes = [one for one in said if isinstance(one, Marriage) and one.goodbye is not None]
    return "left" if goodbyes else "said hello"
