"""`setsync fork`: the group. Its commands are loaded when they are used."""

from __future__ import annotations

import click

from bamboo_compat.cli.group import LazyGroup
from setsync.cli.main import Lazy

COMMANDS = {
    "list": Lazy("bamboo_compat.cli.fork_list:list_", "List the forks that are here."),
    "show": Lazy("bamboo_compat.cli.fork_show:show", "Show one, two branches side by side."),
    "decide": Lazy("bamboo_compat.cli.fork_decide:decide", "Say which branch is right."),
    "undecide": Lazy("bamboo_compat.cli.fork_decide:undecide", "Take a decision back."),
    "policy": Lazy("bamboo_compat.cli.fork_policy:policy", "What holds while nobody decides."),
    "check": Lazy("bamboo_compat.cli.fork_check:check", "Is my log forked?"),
    "proof": Lazy("bamboo_compat.cli.fork_proof:proof", "Write the proof of a fork."),
    "check-proof": Lazy(
        "bamboo_compat.cli.check_proof:check_proof",
        "Check the proof of a fork; needs nothing but the file.",
    ),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def fork() -> None:
    """Show where authors contradict their logs, and decide what is right."""
