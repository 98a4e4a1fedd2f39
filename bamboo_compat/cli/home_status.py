"""`setsync home status` and `adopt`: where am I at home, and may this directory sign?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bamboo_compat.cli.home_common import (
    author_option,
    confirm,
    evidence,
    marriage_json,
    myself,
    yes_option,
)
from setsync.cli import common

if TYPE_CHECKING:
    from bamboo_compat.homes.joining import Me
    from bamboo_compat.homes.marriages import Marriage
    from bamboo_compat.homes.publishing import DirectoryState


@click.command(epilog="Example: setsync home status --json")
@author_option
@common.data_option
@common.json_option
def status(key_file: Path | None, data: Path, as_json: bool) -> None:
    """Show my home, since when, who else claims me, and what is wrong with it.

    All of it is what was signed, as far as it is here; 'setsync sync' brings more.
    """
    with myself(data, key_file) as me:
        found = status_of(me)
    if as_json:
        common.print_json(found)
        return
    home = found["home"]
    assert home is None or isinstance(home, dict)
    rows = [("author", str(found["author"]))]
    if home is None:
        rows.append(("home", "none"))
    else:
        rows += [
            ("home", str(home["url"])),
            ("node", str(home["server"])),
            ("since", common.moment(int(home["since"]))),
        ]
    if found["move"]:
        rows.append(("moving", str(found["move"])))
    common.print_columns(rows)
    warnings = found["warnings"]
    assert isinstance(warnings, list)
    for sentence in warnings:
        common.say(f"Warning: {sentence}")


def status_of(me: Me) -> dict[str, object]:
    """See docs/json/home-status.json."""
    from bamboo_compat.homes.joining import my_marriages
    from bamboo_compat.homes.marriages import open_homes
    from bamboo_compat.homes.migration import state_file
    from bamboo_compat.homes.publishing import DirectoryState

    found, state = my_marriages(me), DirectoryState.of(me.directory)
    homes = open_homes(found)
    home = marriage_json(homes[0]) if len(homes) == 1 else None
    move = state_file(me.directory.path).read()
    return {
        "author": me.author.hex(),
        "home": home,
        "here": len(homes) == 1 and homes[0].server == state.node,
        "claims": [marriage_json(one) for one in found],
        "move": f"to {move.url}, at step {move.step.value!r}" if move is not None else None,
        "warnings": warnings_of(homes, found, state, me.author),
    }


def warnings_of(
    homes: list[Marriage], found: list[Marriage], state: DirectoryState, author: bytes
) -> list[str]:
    """A sentence for each thing that is not as it should be."""
    said: list[str] = []
    if len(homes) > 1:
        both = "; ".join(evidence(one) for one in homes)
        said.append(f"There are {len(homes)} open marriages: {both}.")
    said += [
        f"{one.place} has not answered the hello {one.hello.id.hex()}."
        for one in found
        if one.welcome is None and one.goodbye is None
    ]
    joined = state.mine.get(author)
    if joined is not None and joined not in {one.server for one in homes}:
        said.append(f"You joined {joined.hex()} from here, and have left it elsewhere.")
    if not state.is_in_place:
        said.append("This data directory is a copy; nothing is signed in it.")
    return said


@click.command(epilog="Example: setsync home adopt --yes")
@yes_option
@common.data_option
@common.json_option
def adopt(yes: bool, data: Path, as_json: bool) -> None:
    """Sign with a data directory that was copied, restored or moved to another machine.

    Do it where the other one is gone for good, and after a sync with whoever may have what was
    signed there last.
    """
    from bamboo_compat.homes.dangers import Act
    from setsync.node.config import DataDirectory
    from setsync.node.place import record_place

    directory = DataDirectory.open(data)
    was_copied = not _is_in_place(directory.path)
    if was_copied:
        confirm(Act.ADOPT, f"{directory.path} is not where it was made.", yes)
        record_place(directory.path)
    if as_json:
        common.print_json({"adopted": was_copied})
    elif was_copied:
        common.say("This directory may sign now.")
    else:
        common.say("This directory is where it was made; there is nothing to adopt.")


def _is_in_place(path: Path) -> bool:
    """A note of the place that cannot be read is to be written anew."""
    from setsync.errors import PlaceFileError
    from setsync.node.place import is_in_place

    try:
        return is_in_place(path)
    except PlaceFileError:
        return False
