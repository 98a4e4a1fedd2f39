"""`setsync key`: the keys that authors sign with.

A secret is only ever written into a new file of mode 0600; on standard output it appears
when `--secret` says in so many words that it may.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from setsync.cli.common import data_option, json_option, print_json, unused_data_option
from setsync.model.keys import SecretKey, key_file_text, read_key_file, write_key_file


@click.group()
def key() -> None:
    """Make, show and carry author keys.

    \b
    Example:
      setsync key new anna.key
      setsync put notes --author anna.key letter.txt
    """


@key.command()
@click.argument("file", type=click.Path(path_type=Path))
@unused_data_option
@json_option
def new(file: Path, as_json: bool) -> None:
    """Make a new key in FILE, readable by you alone, and print its public half.

    \b
    Example:
      setsync key new anna.key
    """
    secret = SecretKey(os.urandom(32))
    write_key_file(file, secret)
    _print_public(secret, file, as_json)


@key.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@data_option
@json_option
def show(file: Path | None, data: Path, as_json: bool) -> None:
    """Print the public half of the key in FILE, or of the directory's own author.

    \b
    Example:
      setsync key show anna.key
    """
    place = _place(file, data)
    _print_public(read_key_file(place), place, as_json)


@key.command()
@click.argument("target", type=click.Path(path_type=Path, allow_dash=True), metavar="TARGET|-")
@click.option(
    "--key",
    "file",
    type=click.Path(path_type=Path),
    metavar="KEYFILE",
    help="The key to export. [default: the directory's author.key]",
)
@click.option("--secret", is_flag=True, help="Yes, print the secret on standard output.")
@data_option
@json_option
def export(target: Path, file: Path | None, secret: bool, data: Path, as_json: bool) -> None:
    """Copy an author's secret key into the new file TARGET, readable by you alone.

    Whoever has the file can sign as this author. With '-' as TARGET the key is printed,
    and only if --secret is given too.

    \b
    Example:
      setsync key export /media/stick/author.key
    """
    to_stdout = str(target) == "-"
    if to_stdout != secret:
        raise click.UsageError("Printing a key takes both '-' and --secret.")
    if to_stdout and as_json:
        raise click.UsageError("--json prints no secrets; export into a file.")
    loaded = read_key_file(_place(file, data))
    if to_stdout:
        click.echo(key_file_text(loaded), nl=False)
    else:
        write_key_file(target, loaded)
        _print_public(loaded, target, as_json)


def _place(file: Path | None, data: Path) -> Path:
    if file is not None:
        return file
    from setsync.node.config import DataDirectory

    return DataDirectory.open(data).author_key_path


def _print_public(secret: SecretKey, file: Path, as_json: bool) -> None:
    if as_json:
        print_json({"public": secret.public.hex(), "file": str(file)})
    else:
        click.echo(secret.public.hex())
