"""`setsync fork decide` and `undecide`: which branch of a fork is right."""

from __future__ import annotations

import getpass
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bamboo_compat.cli.fork_view import (
    END,
    branch_name,
    decision_json,
    decision_words,
    number_of,
    view_of,
)
from bamboo_compat.cli.fork_words import find_fork, id_prefix, short_id
from bamboo_compat.cli.home_common import confirm
from bamboo_compat.cli.wording import short
from bamboo_compat.core.report import Fork, ForkKind
from bamboo_compat.decisions.errors import (
    NoSuchBranchError,
    NothingDecidedError,
    NotTheAuthorError,
)
from bamboo_compat.decisions.foresight import foresee
from bamboo_compat.decisions.limits import MAX_REASON, MAX_WHO
from bamboo_compat.homes.dangers import Act
from bamboo_compat.homes.errors import NotConfirmedError
from setsync.cli.common import data_option, json_option, opened, print_json, printable, say

if TYPE_CHECKING:
    from bamboo_compat.decisions.view import View
    from bamboo_compat.set.layout import Node
    from setsync.model.keys import SecretKey
    from setsync.node.config import DataDirectory
    from setsync.store.contract import EntryStore

_NUMBER = re.compile("[0-9]{1,4}")
_HASH = re.compile("[0-9a-f]{8,132}")
_WHOLE = re.compile("0020[0-9a-f]{64}|0040[0-9a-f]{128}")
_WORD = Act.DECIDE_AGAINST_OWN.value.word


def _reason(ctx: click.Context, param: click.Parameter, value: str) -> str:
    from bamboo_compat.statements.kinds import is_printable

    if len(value.encode("utf-8", "replace")) > MAX_REASON or not is_printable(value):
        raise click.BadParameter(f"a reason is one line of at most {MAX_REASON} bytes.")
    return value


def _branch(ctx: click.Context, param: click.Parameter, value: str) -> str:
    text = value.lower()
    if not _NUMBER.fullmatch(text) and not _HASH.fullmatch(text):
        raise click.BadParameter(
            f"{value!r} is neither a number nor at least 8 hex digits of a hash."
        )
    return text


_id_argument = click.argument("id_", metavar="ID", callback=id_prefix)
_author_option = click.option(
    "--as-author",
    "key_file",
    type=click.Path(path_type=Path),
    metavar="KEYFILE",
    help="Sign it with the author's key: then it binds every node that it reaches.",
)
reason_option = click.option(
    "--reason", default="", callback=_reason, metavar="TEXT", help="Why; it is kept with it."
)
_yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@dataclass(frozen=True, slots=True)
class _Done:
    """What is told afterwards."""

    fork: Fork
    short_id: str
    statement: bytes | None
    words: list[str]
    logs: list[str]
    as_json: dict[str, object]


@click.command()
@_id_argument
@click.option(
    "--branch",
    required=True,
    callback=_branch,
    metavar="N|HASH",
    help="The right one: its number in 'fork show', or digits of its first entry's hash.",
)
@_author_option
@reason_option
@_yes_option
@data_option
@json_option
def decide(
    id_: str,
    branch: str,
    key_file: Path | None,
    reason: str,
    yes: bool,
    data: Path,
    as_json: bool,
) -> None:
    """Say which branch of the fork whose id begins with ID is right.

    The others are set aside: they are kept, travel on and stay readable, but are no part of
    the log. A decision binds this node; with --as-author it is signed, travels, and binds
    every node that it reaches. Of an after_end branch 0 means that the log has ended. It can
    be revised at any time.

    \b
    Examples:
      setsync fork decide 3f9a11c0 --branch 2
      setsync fork decide 3f9a11c0 --branch 2 --as-author anna.key --reason 'my laptop'
    """
    from bamboo_compat.decisions.acting import decide_as_author, decide_here

    key = _read_key(key_file)
    with opened(data) as (directory, store):
        with view_of(directory, store) as (_, view):
            fork = find_fork(view.reader, id_)
            _check_author(fork, key)
            node, named = _find_branch(view, fork, branch, is_author=key is not None)
            foresight = foresee(view, fork, node, as_author=key is not None)
            name = branch_name(number_of(view, fork, node), named)
        if key is not None or foresight.own:
            what = f"To decide fork {short(fork.id)} for {name}"
            _confirm(what, foresight.sentences, yes=yes, as_json=as_json, own=foresight.own)
        statement = None
        if key is None:
            decide_here(directory.path, fork.id, named, who=who(), at=now_(), reason=reason)
        else:
            entry = decide_as_author(
                directory.path, store, key, fork.id, named, at=now_(), reason=reason
            )
            statement = entry.id
        done = _look(directory, store, fork, statement)
    _tell(done, as_json)


@click.command()
@_id_argument
@_author_option
@reason_option
@_yes_option
@data_option
@json_option
def undecide(
    id_: str, key_file: Path | None, reason: str, yes: bool, data: Path, as_json: bool
) -> None:
    """Take back what was decided about the fork whose id begins with ID.

    The history stays. Without --as-author this node's own decision is taken back; the
    author's is taken back by another signed statement.

    \b
    Examples:
      setsync fork undecide 3f9a11c0
      setsync fork undecide 3f9a11c0 --as-author anna.key
    """
    from bamboo_compat.decisions.acting import undecide_as_author, undecide_here

    key = _read_key(key_file)
    with opened(data) as (directory, store):
        with view_of(directory, store) as (_, view):
            fork = find_fork(view.reader, id_)
            _check_author(fork, key)
            ruling = view.ruling(fork.id)
        statement = None
        if key is None:
            if not undecide_here(directory.path, fork.id, who=who(), at=now_(), reason=reason):
                raise NothingDecidedError(f"Fork {short(fork.id)} is not decided at this node.")
        else:
            if ruling is None or ruling.authors is None:
                raise NothingDecidedError(f"The author has not decided fork {short(fork.id)}.")
            what = f"To take back the author's decision about fork {short(fork.id)}"
            sentences = ["On every node that this reaches the log is in doubt again."]
            _confirm(what, sentences, yes=yes, as_json=as_json)
            entry = undecide_as_author(
                directory.path, store, key, fork.id, at=now_(), reason=reason
            )
            statement = entry.id
        done = _look(directory, store, fork, statement)
    _tell(done, as_json)


# --- what is meant ------------------------------------------------------------------------


def _read_key(path: Path | None) -> SecretKey | None:
    from setsync.model.keys import read_key_file

    return None if path is None else read_key_file(path)


def _check_author(fork: Fork, key: SecretKey | None) -> None:
    if key is not None and key.public != fork.author:
        raise NotTheAuthorError(
            f"The fork is in a log of {fork.author.hex()}, and that key is {key.public.hex()}."
        )


def _find_branch(
    view: View, fork: Fork, text: str, *, is_author: bool
) -> tuple[Node | None, bytes]:
    """The branch's first entry and its tagged hash. An author may name one that is not here.

    Raises NoSuchBranchError.
    """
    if _NUMBER.fullmatch(text):
        hash_ = _by_number(fork, int(text))
    else:
        found = [one for one in _hashes(fork) if text in (one.hex()[: len(text)], _bare(one, text))]
        if not found and is_author and _WHOLE.fullmatch(text):
            return None, bytes.fromhex(text)
        if len(found) != 1:
            what = "No branch begins" if not found else "More than one branch begins"
            raise NoSuchBranchError(f"{what} with an entry whose hash begins with {text}.")
        [hash_] = found
    return view.reader.find(hash_), hash_


def _by_number(fork: Fork, number: int) -> bytes:
    if number == END and fork.kind is ForkKind.AFTER_END:
        return fork.parent
    if not 1 <= number <= len(fork.branches):
        first = END if fork.kind is ForkKind.AFTER_END else 1
        raise NoSuchBranchError(f"This fork has the branches {first} to {len(fork.branches)}.")
    return fork.branches[number - 1].hash


def _hashes(fork: Fork) -> list[bytes]:
    end = [fork.parent] if fork.kind is ForkKind.AFTER_END else []
    return [*end, *(branch.hash for branch in fork.branches)]


def _bare(tagged: bytes, text: str) -> str:
    """As many digits without the tag, which people do not see."""
    return tagged[2:].hex()[: len(text)]


def who() -> str:
    """Whoever is logged in, as far as that can be told."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
    return "".join(one for one in name if one.isprintable())[:MAX_WHO]


def now_() -> int:
    from setsync.node.local import now

    return now()


# --- asking -------------------------------------------------------------------------------


def _confirm(
    what: str, sentences: Sequence[str], *, yes: bool, as_json: bool, own: bool = False
) -> None:
    """Say what would happen, and go on only if that is wanted. `own`: it is against what was
    brought here, one of the dangerous actions. Raises NotConfirmedError."""
    if not as_json:
        for sentence in sentences:
            say(sentence)
    if yes:
        return
    why = f"{what}, it has to be confirmed."
    if own:
        confirm(Act.DECIDE_AGAINST_OWN, why, yes=False)
        return
    if as_json or not _is_asked():
        raise NotConfirmedError(why)
    typed = click.prompt(f"{what}, type {_WORD}", default="", show_default=False, err=True)
    if typed.strip() != _WORD:
        raise NotConfirmedError("That was another word.")


def _is_asked() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty()


# --- telling ------------------------------------------------------------------------------


def _look(
    directory: DataDirectory, store: EntryStore, fork: Fork, statement: bytes | None
) -> _Done:
    """How it stands now."""
    with view_of(directory, store) as (_, view):
        found = view.reader.fork(fork.id) or fork
        log_ids = sorted({fork.log_id, *(branch.log_id for branch in found.branches)})
        logs = [_log(view, fork.author, log_id) for log_id in log_ids]
        as_json: dict[str, object] = {
            "fork": fork.id.hex(),
            "statement": statement.hex() if statement is not None else None,
            "decision": decision_json(view, found),
            "logs": [log for _, log in logs],
        }
        words = decision_words(view, found)
        return _Done(
            found, short_id(view.reader, fork.id), statement, words, [w for w, _ in logs], as_json
        )


def _log(view: View, author: bytes, log_id: int) -> tuple[str, dict[str, object]]:
    row = view.reader.log(author, log_id)
    assert row is not None
    found = view.resolve(row)
    tip = found.tips[0] if found.tips else None
    head = view.reader.shelf.hash(tip) if tip is not None and found.head is not None else None
    told = f"log {log_id} is trusted up to entry {found.trusted}"
    if not found.trusted:
        told = f"nothing of log {log_id} is trusted"
    if head is not None:
        told += f", head {short(head)}"
    if found.undecided:
        told += f"; {len(found.undecided)} of its forks undecided"
    return told, {
        "log_id": log_id,
        "trusted": found.trusted,
        "head": head.hex() if head is not None else None,
        "undecided": [fork.hex() for fork in found.undecided[:MAX_TOLD]],
    }


MAX_TOLD = 1_000


def _tell(done: _Done, as_json: bool) -> None:
    if as_json:
        print_json(done.as_json)
        return
    for line in done.words or ["nothing is decided"]:
        click.echo(printable(f"fork {done.short_id}: {line}"))
    for line in done.logs:
        click.echo(line)
    if done.statement is not None:
        click.echo(f"signed as statement {done.statement.hex()}; it travels with the next syncs")
