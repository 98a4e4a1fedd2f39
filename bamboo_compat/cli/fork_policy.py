"""`setsync fork policy`: what holds of forks that nobody has decided."""

from __future__ import annotations

import re
from pathlib import Path

import click

from bamboo_compat.cli.fork_decide import now_, reason_option, who
from bamboo_compat.decisions.book import DecisionsFile, Policy
from setsync.cli.common import data_option, json_option, print_json

_WORDS = {
    Policy.ASK: "ask: a log is trusted up to its first undecided fork",
    Policy.PREFER_HOME: "prefer-home: the branch is right that came through the author's home",
    Policy.IGNORE: "ignore: the branch is right that was here first",
}
_DEFAULT = "default"


def _key(ctx: click.Context, param: click.Parameter, value: str | None) -> bytes:
    if value is None:
        return b""
    if not re.fullmatch("[0-9a-fA-F]{64}", value):
        raise click.BadParameter(f"{value!r} is not an author's key of 64 hex digits.")
    return bytes.fromhex(value)


@click.command()
@click.argument(
    "policy", required=False, type=click.Choice([*(one.value for one in Policy), _DEFAULT])
)
@click.option(
    "--author", callback=_key, metavar="KEY", help="Only of this author's forks; 64 hex digits."
)
@reason_option
@data_option
@json_option
def policy(policy: str | None, author: bytes, reason: str, data: Path, as_json: bool) -> None:
    """Set what holds of undecided forks at this node, or show it.

    ask: a log is trusted up to its first undecided fork. prefer-home: the branch is right that
    came through the author's home, where exactly one did. ignore: the branch is right that was
    here first. What people decide goes before every policy. With --author, 'default' makes an
    author like all others again.

    \b
    Examples:
      setsync fork policy
      setsync fork policy prefer-home
      setsync fork policy ignore --author KEY
    """
    from bamboo_compat.decisions.acting import set_policy
    from setsync.node.config import DataDirectory

    folder = DataDirectory.open(data).path
    if policy == _DEFAULT and not author:
        raise click.UsageError("'default' goes with --author; the default itself is 'ask'.")
    if policy is not None:
        chosen = Policy(policy) if policy != _DEFAULT else None
        set_policy(folder, chosen, author, who=who(), at=now_(), reason=reason)
    book = DecisionsFile(folder).read()
    own = {key.hex(): one for key, one in sorted(book.policies().items())}
    if as_json:
        authors = [{"author": key, "policy": one} for key, one in own.items()]
        print_json({"policy": book.policy(), "authors": authors})
        return
    click.echo(_WORDS[book.policy()])
    for key, one in own.items():
        click.echo(f"author {key}: {one}")
