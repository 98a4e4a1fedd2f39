"""`setsync fork`: the group. Its commands are loaded when they are used."""

from __future__ import annotations

import click

from bamboo_compat.cli.group import LazyGroup
from setsync.cli.main import Lazy

COMMANDS = {
    "check-proof": Lazy(
        "bamboo_compat.cli.check_proof:check_proof",
        "Check the proof of a fork; needs nothing but the file.",
    ),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def fork() -> None:
    """Show where authors contradict their logs."""
