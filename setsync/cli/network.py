"""`setsync network`: the key that the nodes of a network share and strangers do not know.

Like an author's key it appears on standard output when `--secret` says that it may, and it is
never taken from the command line, which every program on the machine can read.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from setsync.cli.common import data_option, json_option, print_json, say
from setsync.errors import NetworkKeyFileError, UsageError
from setsync.node.config import DataDirectory
from setsync.node.network import (
    NetworkKey,
    key_text,
    parse_key_text,
    read_network_key,
    write_network_key,
)

_MOST = 256


@click.group(
    short_help="Keep strangers out with a shared key.", epilog="Example: setsync network new"
)
def network() -> None:
    """Keep strangers out with a key that all nodes of a network share.

    A node with a key says nothing to a node without it: no handshake, no certificate. Who may
    do what is still up to 'peers'. What is changed here holds when 'serve' is started next.
    """


@network.command(epilog="Example: setsync network new")
@data_option
@json_option
def new(data: Path, as_json: bool) -> None:
    """Make a key for a new network, and let this node belong to it.

    Prints the network's name, by which operators compare what they have. 'setsync network show
    --secret' prints the key itself, to be carried to the others over a way that you trust.
    """
    directory = DataDirectory.open(data)
    key = NetworkKey(os.urandom(32))
    write_network_key(directory.network_key_path, key)
    _tell(key, as_json)


@network.command(epilog="Example: setsync network show --secret | ssh host setsync network join -")
@click.argument("file", metavar="FILE|-")
@data_option
@json_option
def join(file: str, data: Path, as_json: bool) -> None:
    """Let this node belong to the network whose key is in FILE, or on standard input.

    The key is what 'setsync network show --secret' prints. With '-' on a terminal it is asked
    for and not shown.
    """
    directory = DataDirectory.open(data)
    key = _read(file)
    write_network_key(directory.network_key_path, key)
    _tell(key, as_json)


@network.command(epilog="Example: setsync network show")
@click.option("--secret", is_flag=True, help="Yes, print the secret on standard output.")
@data_option
@json_option
def show(secret: bool, data: Path, as_json: bool) -> None:
    """Print the name of the network that this node belongs to.

    Two nodes with the same name have the same key. The key cannot be told from the name.
    """
    if secret and as_json:
        raise click.UsageError("--json prints no secrets.")
    key = DataDirectory.open(data).network_key()
    if secret:
        if key is None:
            raise NetworkKeyFileError("This node belongs to no network with a key.")
        click.echo(key_text(key), nl=False)
    else:
        _tell(key, as_json)


@network.command(epilog="Example: setsync network leave")
@data_option
@json_option
def leave(data: Path, as_json: bool) -> None:
    """Forget the network's key: this node is open to all that 'serve --access' lets in."""
    path = DataDirectory.open(data).network_key_path
    try:
        path.unlink()
    except FileNotFoundError as error:
        raise NetworkKeyFileError("This node belongs to no network with a key.") from error
    except OSError as error:
        raise NetworkKeyFileError(f"{path} cannot be removed: {error.strerror}.") from error
    _tell(None, as_json)


def _read(file: str) -> NetworkKey:
    """Raises KeyFileError, UsageError; neither repeats what might be a key."""
    if file == "-":
        return parse_key_text(_from_stdin(), "Standard input")
    if _looks_like_a_key(file):
        raise UsageError(
            "A key on the command line can be read by every program here. "
            "Hand it over on standard input: setsync network join -"
        )
    key = read_network_key(Path(file))
    if key is None:
        raise NetworkKeyFileError(f"{file} does not exist.")
    return key


def _from_stdin() -> bytes:
    if sys.stdin.isatty():
        typed: str = click.prompt("Network key", hide_input=True, err=True)
        return typed.encode()
    return sys.stdin.buffer.read(_MOST)


def _looks_like_a_key(text: str) -> bool:
    last = text.split()[-1:] or [""]
    return len(last[0]) == 64 and all(digit in "0123456789abcdef" for digit in last[0].lower())


def _tell(key: NetworkKey | None, as_json: bool) -> None:
    name = key.name if key is not None else None
    if as_json:
        print_json({"network": name})
    elif name is not None:
        click.echo(name)
    else:
        say("This node belongs to no network with a key.")
