"""`setsync home`: the group. Its commands are loaded when they are used."""

from __future__ import annotations

import click

from bamboo_compat.cli.group import LazyGroup
from setsync.cli.main import Lazy

COMMANDS = {
    "join": Lazy("bamboo_compat.cli.home_join:join", "Be at home on a server, by an invite."),
    "status": Lazy("bamboo_compat.cli.home_status:status", "Where is my home?"),
    "leave": Lazy("bamboo_compat.cli.home_join:leave", "Say goodbye to my home."),
    "migrate": Lazy("bamboo_compat.cli.home_migrate:migrate", "Move to another home."),
    "export": Lazy("bamboo_compat.cli.home_archive:export", "Write all that I signed into a file."),
    "import": Lazy("bamboo_compat.cli.home_archive:import_", "Take such a file."),
    "adopt": Lazy("bamboo_compat.cli.home_status:adopt", "Sign with a directory that was copied."),
    "receipts": Lazy("bamboo_compat.cli.publish:receipts", "What my home has signed that it has."),
    "invite": Lazy("bamboo_compat.cli.home_invite:invite", "Be a home: make invites for authors."),
    "clients": Lazy("bamboo_compat.cli.home_clients:clients", "Who is at home on this server?"),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def home() -> None:
    """Marry authors to the server they publish through.

    An author who publishes one log through two servers forks it. So an author has one home; every
    node knows it after one sync, and nobody else publishes for that author.
    """
