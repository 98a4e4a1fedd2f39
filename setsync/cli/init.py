"""`setsync init`: a data directory and the keys in it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from setsync.cli.common import data_option, json_option, print_columns, print_json


@click.command()
@data_option
@json_option
def init(data: Path, as_json: bool) -> None:
    """Make a data directory, with a key for the node and one for you as an author.

    The directory must be missing or empty. Both key files are readable by you alone. The
    address is what to hand to other operators, with this machine's name or number for HOST.

    \b
    Example:
      setsync init --data ~/notes
    """
    from setsync.model.keys import SecretKey
    from setsync.node.address import Address
    from setsync.node.config import DataDirectory
    from setsync.web.token import ensure_token

    node, author = SecretKey(os.urandom(32)), SecretKey(os.urandom(32))
    directory = DataDirectory.init(data, node, author)
    ensure_token(directory.web_token_path)
    place = str(directory.path.absolute())
    address = str(Address.to_fill_in(node.public))
    if as_json:
        print_json(
            {
                "directory": place,
                "node_id": node.public.hex(),
                "author": author.public.hex(),
                "address": address,
            }
        )
    else:
        print_columns(
            [
                ("node id", node.public.hex()),
                ("author", author.public.hex()),
                ("directory", place),
                ("address", address),
            ]
        )
