"""What every command shares: options, output, and the one place where errors become words.

A command returns its exit code, or None for 0; it prints its result last, so that with
`--json` exactly one object reaches standard output: the result, or the failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from setsync.errors import (
    LocalError,
    PeerError,
    PeerGoneError,
    PeerTimeoutError,
    SetsyncError,
    StoreError,
    UsageError,
)

if TYPE_CHECKING:
    from setsync.node.config import DataDirectory, Settings
    from setsync.store.contract import Origin, StoredEntry
    from setsync.store.lmdb_store import Store

FAILED = 1
USAGE = 2
DAMAGED = 6
NOT_IN_SYNC = 9
INTERRUPTED = 130

Command = TypeVar("Command", bound=Callable[..., Any])


# --- options ------------------------------------------------------------------------------


def _default_data() -> Path:
    from setsync.node.config import default_directory

    return default_directory()


def data_option(command: Command) -> Command:
    """`--data DIR`, given to the command as `data: Path`."""
    return click.option(
        "--data",
        type=click.Path(path_type=Path),
        envvar="SETSYNC_DATA",
        default=_default_data,
        show_default="SETSYNC_DATA, or the platform's data folder",
        metavar="DIR",
        help="The node's data directory.",
    )(command)


def unused_data_option(command: Command) -> Command:
    """`--data DIR` for a command that needs no directory, so that scripts may always pass it."""
    return click.option(
        "--data", expose_value=False, metavar="DIR", help="Accepted and not needed here."
    )(command)


def json_option(command: Command) -> Command:
    """`--json`, given to the command as `as_json: bool`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on standard output."
    )(command)


def progress_option(command: Command) -> Command:
    """`--progress`, given to the command as `progress: str`; see `setsync.cli.progress`."""
    return click.option(
        "--progress",
        type=click.Choice(["auto", "plain", "json", "none"]),
        default="auto",
        show_default=True,
        help="How to show progress on standard error; auto: a bar on a terminal, else lines.",
    )(command)


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for JSON, though it may be too broken to be parsed."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


# --- the node's directory -----------------------------------------------------------------


def settings(data: Path) -> Settings:
    """What the directory's file and the environment set. Raises SettingsFileError, UsageError."""
    from setsync.node.config import Settings

    return Settings.read(data, os.environ)


@contextlib.contextmanager
def opened(data: Path) -> Iterator[tuple[DataDirectory, Store]]:
    """The directory and its open store.

    Raises StoreError and its kinds, UsageError, SettingsFileError.
    """
    from setsync.node.config import DataDirectory

    directory = DataDirectory.open(data)
    with directory.open_store(settings(data)) as store:
        yield directory, store


def check_since(since: int, last: int) -> None:
    """Raises UsageError for an arrival number that is beyond the last one: whoever goes on from
    there would miss, unnoticed, what comes until then."""
    if since > last:
        raise UsageError(f"The last arrival has number {last}, and {since} is beyond it.")


def from_here() -> Origin:
    """The origin of what somebody at this machine brings now."""
    from setsync.store.contract import Origin

    # Not `setsync.node.local.now`, which brings the network's machinery along.
    return Origin(time.time_ns() // 1_000_000)


# --- output -------------------------------------------------------------------------------


def print_json(value: object) -> None:
    """One object on one line of standard output, in ASCII, whatever the terminal speaks."""
    click.echo(json.dumps(value))


def say(text: str) -> None:
    """Sentences for the operator, on standard error. The line breaks have to be our own: who quotes
    others makes their words `printable` first."""
    click.echo("\n".join(printable(line) for line in text.split("\n")), err=True)


def moment(timestamp: int | None) -> str:
    """Milliseconds since 1970 in UTC; as a bare number when no calendar has it."""
    if timestamp is None:
        return "-".ljust(24)
    try:
        when = datetime.fromtimestamp(timestamp / 1000, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return str(timestamp).ljust(24)
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{timestamp % 1000:03}Z"


def printable(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal would obey: names and sentences come
    from other people."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def print_columns(rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns on standard output, two blanks apart."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


# --- failures -----------------------------------------------------------------------------


class Failure(NamedTuple):
    """An error as the operator gets it."""

    code: str
    message: str
    advice: str = ""
    exit_code: int = FAILED
    state: str = "failed"

    def as_json(self) -> dict[str, object]:
        """See docs/json/error.json."""
        return {"state": self.state, "error": {"code": self.code, "message": self.message}}


def report(error: BaseException, *, as_json: bool) -> int:
    """Say what went wrong, on standard error and as JSON if asked for; the exit code."""
    if os.environ.get("SETSYNC_DEBUG") == "1":
        import traceback

        say("".join(traceback.format_exception(error)).rstrip())
    told = most_telling(error)
    if isinstance(told, BrokenPipeError):
        _let_go_of_stdout()
        return FAILED
    failure = failure_of(told)
    say(f"setsync: {printable(failure.message)}")
    if failure.advice:
        say(failure.advice)
    if as_json:
        print_json(failure.as_json())
        sys.stdout.flush()
    return failure.exit_code


def most_telling(error: BaseException) -> BaseException:
    """Of an exception group, the one that explains the others; else the error itself.

    When one task fails its siblings are cut off, so a cut connection may be an effect, and
    an interruption is what the operator did.
    """
    return min(_leaves(error), key=_rank)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _rank(error: BaseException) -> int:
    match error:
        case KeyboardInterrupt():
            return 0
        case StoreError() | LocalError():
            return 1
        case PeerGoneError() | PeerTimeoutError():
            return 4
        case PeerError():
            return 2
        case _:
            return 3


def failure_of(error: BaseException) -> Failure:
    """What to tell of one exception."""
    match error:
        case SetsyncError():
            return Failure(error.code, error.message, error.advice, error.exit_code)
        case click.UsageError():
            # On one line: some of click's are lists.
            message = " ".join(error.format_message().split())
            return Failure("usage", message, _usage_advice(error), USAGE)
        case click.ClickException():
            return Failure("failed", error.format_message())
        case KeyboardInterrupt() | click.Abort():
            return Failure(
                "interrupted",
                "Interrupted.",
                "What was committed before is kept; run it again to go on.",
                INTERRUPTED,
                state="cancelled",
            )
        case OSError():
            return Failure("system", _system_sentence(error))
        case _:
            return Failure(
                "bug",
                f"An unforeseen error: {type(error).__name__}: {error}",
                "Please report it with what SETSYNC_DEBUG=1 shows; nothing committed is lost.",
            )


def _usage_advice(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx is not None else "setsync"
    return f"Run '{path} -h' to see how it is meant."


def _system_sentence(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {what}." if error.filename is not None else f"{what}."


def _let_go_of_stdout() -> None:
    """Whoever read our output has gone: nothing more may be said when the process ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def payload_note(entry: StoredEntry) -> str:
    """What follows the size of an entry whose payload is not here."""
    if entry.payload is not None:
        return ""
    return ", dropped" if entry.dropped else ", withheld"
