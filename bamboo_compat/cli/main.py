"""`setsync bamboo`: the group. Its commands are loaded when they are used."""

from __future__ import annotations

import click

from bamboo_compat.cli.group import LazyGroup
from setsync.cli.main import Lazy

COMMANDS = {
    "verify": Lazy("bamboo_compat.cli.verify:verify", "Check logs in files; touches no store."),
    "ingest": Lazy("bamboo_compat.cli.ingest:ingest_command", "Put logs from files into the set."),
    "replicate": Lazy(
        "bamboo_compat.cli.replicate:replicate_command", "Replicate by log heights, once."
    ),
    "logs": Lazy("bamboo_compat.cli.logs:logs", "List the logs that are here."),
    "log": Lazy("bamboo_compat.cli.log:log", "Show one log: its branches, gaps and faults."),
    "append": Lazy("bamboo_compat.cli.append:append", "Add an entry to a log of yours."),
    "publish": Lazy("bamboo_compat.cli.publish:publish", "Publish an operation at your home."),
    "certificate": Lazy(
        "bamboo_compat.cli.certificate:certificate", "Give the few entries that verify one."
    ),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def bamboo() -> None:
    """Check and carry Bamboo logs."""
