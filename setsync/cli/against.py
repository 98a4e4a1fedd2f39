"""`setsync status --against`: is this node up to date?"""

from __future__ import annotations

from pathlib import Path

import click

from setsync.cli import common
from setsync.cli.loop import run_stoppable
from setsync.node.client import Options
from setsync.node.dialling import Dialler
from setsync.node.node import open_local
from setsync.node.report import Report


def compare(address: str, data: Path, *, trust_first: bool, plain: bool, as_json: bool) -> int:
    """Ask another node which collections differ; the exit code.

    Raises KeyboardInterrupt when it was stopped, PeerError, UsageError.
    """
    with common.opened(data) as (directory, store):
        key = directory.node_key()
        dialler = Dialler(key, directory.peers, plain, directory.network_key())
        target = dialler.find(address, trust_first=trust_first)

        async def main() -> Report:
            async with open_local(
                store,
                node_id=key.public,
                policy=directory.policy.read,
                groups=directory.groups_of,
            ) as local:
                return await dialler.session(target, local, Options(peek=True))

        report = run_stoppable(main)
    if report is None:
        raise KeyboardInterrupt
    if as_json:
        common.print_json(
            {
                "peer": report.peer,
                "up_to_date": report.in_sync,
                "round_trips": report.round_trips,
                "differing": [
                    {"collection": name, "here": here, "there": there}
                    for name, here, there in report.differing
                ],
            }
        )
    elif report.in_sync:
        click.echo(f"All is the same here and at {report.peer}.")
    else:
        rows = [(name, str(here), str(there)) for name, here, there in sorted(report.differing)]
        common.print_columns([("COLLECTION", "HERE", "THERE"), *rows])
        common.say(f"Not the same here and at {report.peer}; 'setsync sync' makes it so.")
    return 0 if report.in_sync else common.NOT_IN_SYNC
