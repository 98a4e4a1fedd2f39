"""`setsync home migrate`: moving to another home."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bamboo_compat.cli.home_common import (
    author_option,
    check_in_place,
    confirm,
    myself,
    road_of,
    yes_option,
)
from setsync.cli import common

if TYPE_CHECKING:
    from bamboo_compat.homes.joining import Me
    from bamboo_compat.homes.marriages import Marriage
    from bamboo_compat.homes.migration import Step
    from bamboo_compat.homes.roads import Road


@click.command(epilog="Example: setsync home migrate setsync://KEY@example.org:7717 CODE")
@click.argument("url")
@click.argument("code", required=False)
@click.option("--dry-run", is_flag=True, help="Show the steps, and try what can be asked.")
@click.option("--abandon", is_flag=True, help="Forget a move that is under way.")
@yes_option
@author_option
@common.data_option
@common.json_option
def migrate(
    url: str,
    code: str | None,
    dry_run: bool,
    abandon: bool,
    yes: bool,
    key_file: Path | None,
    data: Path,
    as_json: bool,
) -> None:
    """Move to the home at URL with a CODE of its operator: goodbye, archive, hello, entries,
    and a look whether all arrived.

    It may be stopped anywhere; the same command goes on where it stood.
    """
    from bamboo_compat.homes import migration
    from setsync.errors import UsageError
    from setsync.node.address import SCHEME
    from setsync.node.invites import parse_code

    with myself(data, key_file) as me:
        if abandon:
            was_under_way = migration.abandon(me)
            _tell([], as_json, "Forgot the move." if was_under_way else "No move was under way.")
            return
        if code is None:
            raise UsageError("The code of an invite is missing.")
        if not url.startswith(SCHEME):
            raise UsageError("Entries are brought over the secure channel: give setsync://KEY@...")
        check_in_place(me)
        ways = _Ways(me, yes)
        if dry_run:
            steps = migration.preview(me, ways, url, parse_code(code))
            _tell(steps, as_json, "Nothing was changed. These steps would be taken:")
            for step in () if as_json else steps:
                common.say(f"  {step.value}: {migration.WORDS[step]}")
            return
        steps = migration.migrate(me, ways, url, parse_code(code), _show)
    _tell(steps, as_json, f"You are at home at {url} now.")


def _show(step: Step) -> None:
    from bamboo_compat.homes.migration import STEPS, WORDS

    number = STEPS.index(step) + 1
    common.say(f"{number}/{len(STEPS)} {step.value}: {WORDS[step]}")


def _tell(steps: list[Step], as_json: bool, sentence: str) -> None:
    if as_json:
        common.print_json({"steps": [step.value for step in steps]})
    else:
        common.say(sentence)


@dataclass(frozen=True)
class _Ways:
    """See `migration.Ways`."""

    me: Me
    yes: bool

    def road(self, url: str) -> Road:
        return road_of(self.me.directory, url)

    def bring(self, url: str) -> None:
        """One session with the new home, both ways."""
        from functools import partial

        from setsync.cli.loop import run_stoppable
        from setsync.node.client import Options
        from setsync.node.dialling import Dialler
        from setsync.node.node import open_local
        from setsync.node.report import Report

        directory = self.me.directory
        key = directory.node_key()
        dialler = Dialler(key, directory.peers, network=directory.network_key())
        target = dialler.find(url)

        async def main() -> Report:
            local = open_local(
                self.me.store,
                node_id=key.public,
                max_payload=common.settings(directory.path).max_payload,
                policy=directory.policy.read,
                groups=directory.groups_of,
            )
            async with local as here:
                return await dialler.session(target, here, Options())

        if run_stoppable(partial(main)) is None:
            raise KeyboardInterrupt

    def divorce(self, home: Marriage, reason: str) -> None:
        from bamboo_compat.homes.dangers import Act

        confirm(Act.DIVORCE, f"{home.place} does not say what it has ({reason})", self.yes)
