"""`serve`: let other nodes sync with this one, until told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from setsync.cli import common, logging
from setsync.cli.policy import parse_share
from setsync.cli.services import ServiceCommand
from setsync.cli.serving import Serving, remove
from setsync.cli.web_options import PageOptions, web_options
from setsync.errors import UsageError
from setsync.model.collection import EVERYTHING, Pattern
from setsync.node.access import Mode
from setsync.node.address import Address, split_address
from setsync.node.config import DataDirectory
from setsync.node.dialling import Dialler
from setsync.node.hooks import split_command
from setsync.node.policy import WithShares


@click.command(
    cls=ServiceCommand,
    epilog="Example: setsync serve --listen 0.0.0.0:7717 --interest 'notes/**'",
    short_help="Let other nodes sync with this one.",
)
@click.option(
    "--listen",
    "address",
    default="127.0.0.1:7717",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen; port 0 picks a free one.",
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Gets the address once the node listens; removed at start and at the end.",
)
@click.option(
    "--interest",
    "interests",
    multiple=True,
    metavar="PATTERN",
    help="Only collections like this; everything by default. Repeatable.",
)
@click.option(
    "--share",
    "shares",
    multiple=True,
    metavar="[GROUP:]PATTERN",
    help="For this run also share collections like this, with a group of peers or everybody; "
    "from the first share on nothing else is. Repeatable; see 'policy share'.",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="ADDRESS|NAME",
    help="Keep up with this node: catch up, then exchange what is new as it comes. Repeatable.",
)
@click.option(
    "--access",
    type=click.Choice([mode.value for mode in Mode]),
    default=Mode.LISTED.value,
    show_default=True,
    help="Whom to talk to: everybody but the blocked, those whom 'peers' lists, or those and "
    "who brings an invite.",
)
@click.option(
    "--discover",
    is_flag=True,
    help="Announce this node in the local network, and keep up with those that 'peers' lists "
    "and that are found there.",
)
@web_options
@click.option("--plain", is_flag=True, help="Unencrypted, loopback addresses only; for measuring.")
@click.option(
    "--on-entry",
    "command",
    metavar="COMMAND",
    help="Run this once and hand it new entries, a JSON object a line on its standard input. "
    "Split into words like a shell would, and not expanded.",
)
@click.option(
    "--log",
    type=click.Choice(logging.CHOICES),
    default="auto",
    show_default=True,
    help="How to tell what happens, on standard error; auto: pretty on a terminal, else JSON.",
)
@common.data_option
@common.json_option
def serve(
    address: str,
    ready_file: Path | None,
    interests: tuple[str, ...],
    shares: tuple[str, ...],
    peers: tuple[str, ...],
    access: str,
    discover: bool,
    plain: bool,
    command: str | None,
    web: PageOptions | None,
    log: str,
    data: Path,
    as_json: bool,
    **guests: Any,
) -> None:
    """Answer other nodes until Ctrl-C or SIGTERM, which end the sessions in order.

    Entries that other commands put into this directory meanwhile are noticed within a second.
    """
    logging.configure(log)
    if discover and plain:
        raise UsageError("What is announced is a key, and with --plain nobody can prove one.")
    host, port = split_address(address)
    assert isinstance(serve, ServiceCommand)
    services = serve.asked_for(guests)
    words = split_command(command) if command is not None else ()
    patterns = tuple(Pattern(text).text for text in interests or (EVERYTHING,))
    if ready_file is not None:
        remove(ready_file)
    directory = DataDirectory.open(data)
    if web is not None and web.ready_file is not None:
        remove(web.ready_file)
    dialler = Dialler(directory.node_key(), directory.peers, plain, directory.network_key())
    serving = Serving(
        directory,
        Address(host, port),
        ready_file,
        patterns,
        dialler,
        [dialler.find(peer) for peer in peers],
        Mode(access),
        services,
        words,
        _policy(directory, shares),
        discovers=discover,
        web=web,
    )
    totals = serving.run()
    if as_json:
        common.print_json(totals.as_json())


def _policy(directory: DataDirectory, texts: tuple[str, ...]) -> WithShares:
    """The directory's rules with the shares of this run. Raises UsageError, InvalidNameError,
    PolicyFileError, NewerFormatError: a node whose rules cannot be read does not start."""
    shares: dict[str, tuple[Pattern, ...]] = {}
    for text in texts:
        group, pattern = parse_share(text)
        shares[group] = (*shares.get(group, ()), pattern)
    policy = WithShares(directory.policy.read, shares)
    policy()
    return policy
