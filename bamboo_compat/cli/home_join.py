"""`setsync home join` and `leave`: marrying a server, and leaving it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bamboo_compat.cli.home_common import (
    author_option,
    check_in_place,
    confirm,
    marriage_json,
    myself,
    road_of,
    yes_option,
)
from setsync.cli import common

if TYPE_CHECKING:
    from bamboo_compat.homes.joining import Left


@click.command(epilog="Example: setsync home join setsync://KEY@example.org:7717 CODE")
@click.argument("url")
@click.argument("code")
@author_option
@common.data_option
@common.json_option
def join(url: str, code: str, key_file: Path | None, data: Path, as_json: bool) -> None:
    """Be at home on the server at URL, with the CODE that its operator made.

    URL is setsync://KEY@HOST:PORT, or https://HOST where its page is; what you sign and what
    the server signs is known to every node after a sync. Joining again does no harm.
    """
    from bamboo_compat.homes import joining
    from setsync.node.invites import parse_code

    with myself(data, key_file) as me:
        check_in_place(me)
        mine = joining.join(me, road_of(me.directory, url), parse_code(code))
    if as_json:
        common.print_json(
            {"author": mine.author.hex(), "server": mine.server.hex(), "url": mine.url}
        )
    else:
        common.print_columns(
            [("author", mine.author.hex()), ("home", mine.url), ("node", mine.server.hex())]
        )


@click.command(epilog="Example: setsync home leave")
@click.option("--without-server", is_flag=True, help="The home is gone: do not ask it.")
@click.option("--reason", default="", metavar="TEXT", help="Said to everybody, with the goodbye.")
@yes_option
@author_option
@common.data_option
@common.json_option
def leave(
    without_server: bool,
    reason: str,
    yes: bool,
    key_file: Path | None,
    data: Path,
    as_json: bool,
) -> None:
    """Say goodbye to my home; to all of them, where there are several.

    The home hears of it now, and everybody else with the next sync.
    """
    from bamboo_compat.homes import joining
    from bamboo_compat.homes.dangers import Act
    from bamboo_compat.homes.marriages import open_homes

    with myself(data, key_file) as me:
        check_in_place(me)
        homes = open_homes(joining.my_marriages(me))
        noted = joining.my_home(me)
        if without_server and homes:
            places = " and ".join(one.place for one in homes)
            confirm(Act.DIVORCE, f"You leave {places}.", yes)
        if without_server or not homes:
            told = [joining.leave(me, None, reason)]
        else:
            told = []
            for one in homes:
                is_noted = noted is not None and noted.server == one.server
                url = noted.url if noted is not None and is_noted else one.url
                told.append(joining.leave(me, road_of(me.directory, url), reason, one.server))
    _tell_left(told, as_json)


def _tell_left(told: list[Left], as_json: bool) -> None:
    left = [one for each in told for one in each.homes]
    untold = [each.untold for each in told if each.untold]
    if as_json:
        common.print_json({"left": [marriage_json(one) for one in left], "untold": untold})
        return
    for one in left:
        common.say(f"Left {one.place}.")
    for why in untold:
        common.say(f"The goodbye holds; the home did not take it: {common.printable(why)}")
    if not left:
        common.say("You had left already.")
