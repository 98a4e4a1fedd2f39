"""`serve`: let other nodes sync with this one, until told to stop."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from setsync.cli import common, logging
from setsync.cli.policy import parse_share
from setsync.cli.services import ServiceCommand
from setsync.cli.serving import Serving, remove
from setsync.cli.settings_options import flags_of, parameter_of, settings_options
from setsync.cli.web_options import READY_FILE, page_options
from setsync.errors import UsageError
from setsync.model.collection import Pattern
from setsync.node.address import Address, split_address
from setsync.node.config import DataDirectory
from setsync.node.dialling import Dialler
from setsync.node.hooks import split_command
from setsync.node.policy import WithShares
from setsync.node.settings import (
    FILE,
    Plain,
    Setting,
    Settled,
    all_settings,
    read_file,
    settle,
)


@click.command(
    cls=ServiceCommand,
    epilog="Example: setsync serve --listen 0.0.0.0:7717 --interest 'notes/**'",
    short_help="Let other nodes sync with this one.",
)
@settings_options
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Gets the address once the node listens; removed at start and at the end.",
)
@READY_FILE
@click.option("--plain", is_flag=True, help="Unencrypted, loopback addresses only; for measuring.")
@common.data_option
@common.json_option
def serve(
    ready_file: Path | None,
    web_ready_file: Path | None,
    plain: bool,
    data: Path,
    as_json: bool,
    **values: Any,
) -> None:
    """Answer other nodes until Ctrl-C or SIGTERM, which end the sessions in order.

    Entries that other commands put into this directory meanwhile are noticed within a second.
    What most options say may also stand in DIR/setsync.toml; SIGHUP reads it anew ('config').
    """
    table = all_settings()
    reread = partial(_settings, table, data, flags_of(table, values))
    settings = reread()
    logging.configure(settings.needed("log"))
    if settings.switch("discover") and plain:
        raise UsageError("What is announced is a key, and with --plain nobody can prove one.")
    address = Address(*split_address(settings.needed("listen")))
    assert isinstance(serve, ServiceCommand)
    services = serve.asked_for(
        values | {parameter_of(one): settings[one.name].value for one in table}
    )
    command = settings.text("on-entry")
    words = split_command(command) if command is not None else ()
    web = page_options(settings, web_ready_file)
    for file in (ready_file, web_ready_file):
        if file is not None:
            remove(file)
    directory = DataDirectory.open(data)
    dialler = Dialler(directory.node_key(), directory.peers, plain, directory.network_key())
    serving = Serving(
        directory,
        address,
        ready_file,
        table,
        settings,
        reread,
        dialler,
        services,
        words,
        _policy(directory, settings.texts("shares")),
        web=web,
    )
    totals = serving.run()
    if as_json:
        common.print_json(totals.as_json())


def _settings(table: Sequence[Setting], data: Path, flags: Mapping[str, Plain]) -> Settled:
    """What holds now. Raises SettingsFileError, UsageError, InvalidNameError."""
    return settle(
        table, flags=flags, environment=os.environ, file=read_file(data), path=data / FILE
    )


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
