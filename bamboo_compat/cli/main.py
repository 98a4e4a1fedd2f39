"""`setsync bamboo`: the group. Its commands are loaded when they are used."""

from __future__ import annotations

import click

from setsync.cli.main import Lazy

COMMANDS = {
    "verify": Lazy("bamboo_compat.cli.verify:verify", "Check logs in files; touches no store."),
}


class BambooGroup(click.Group):
    """As setsync's own group, but without its guests: this is one of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command; None when there is none."""
        return COMMANDS[cmd_name].load() if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.summary) for name, lazy in COMMANDS.items()])


@click.group(cls=BambooGroup)
def bamboo() -> None:
    """Check and carry Bamboo logs."""
