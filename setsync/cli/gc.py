"""`setsync gc`: payloads that are old, large or too many go; entries stay."""

from __future__ import annotations

import re
from pathlib import Path

import click

from setsync.cli.common import (
    data_option,
    json_option,
    opened,
    print_columns,
    print_json,
    printable,
    progress_option,
)
from setsync.cli.policy import parse_size
from setsync.cli.progress import showing, size
from setsync.errors import UsageError
from setsync.model.collection import Pattern
from setsync.node.local import now
from setsync.node.progress import OnProgress, Progress
from setsync.store.retention import Collected, OnSteps, Rules, Stays, Tally, collect

_UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
# More lines than this help nobody; --json has them all.
_COLLECTIONS_SHOWN = 20
_WHY = {
    Stays.OWN: "stay because no other node brought them, or this node's author signed them: --own",
    Stays.NEEDED: "stay because this node needs them",
    Stays.UNKNOWN: "stay because no installed package knows their format",
}


def _milliseconds(context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """What 90m, 12h, 7d or 2w mean. Raises click.BadParameter."""
    if text is None:
        return None
    found = re.fullmatch("([0-9]{1,6})([mhdw])", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no time like 90m, 12h, 7d or 2w.", context, option)
    return 1_000 * int(found[1]) * _UNITS[found[2]]


def _bytes(context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    return None if text is None else parse_size(text)


def _patterns(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> tuple[Pattern, ...]:
    return tuple(Pattern(value) for value in values)


@click.command()
@click.option(
    "--older-than",
    "age",
    callback=_milliseconds,
    metavar="TIME",
    help="Payloads of entries that came here longer ago: 90m, 12h, 30d, 8w. What an entry says "
    "of its time does not count.",
)
@click.option(
    "--larger-than", callback=_bytes, metavar="SIZE", help="Payloads of more bytes: 500k, 1MiB."
)
@click.option(
    "--keep-bytes",
    callback=_bytes,
    metavar="SIZE",
    help="The oldest, until those that are left fit into so many bytes: 10GiB.",
)
@click.option(
    "--collection",
    "collections",
    callback=_patterns,
    multiple=True,
    metavar="PATTERN",
    help="Only in collections like this: 'logs/**'. Repeatable.",
)
@click.option(
    "--own",
    is_flag=True,
    help="Also what this node's author signed, and what no other node brought: it may be nowhere "
    "else.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would go.")
@data_option
@json_option
@progress_option
def gc(
    age: int | None,
    larger_than: int | None,
    keep_bytes: int | None,
    collections: tuple[Pattern, ...],
    own: bool,
    dry_run: bool,
    data: Path,
    as_json: bool,
    progress: str,
) -> None:
    """Drop payloads that are old, large or too many from this node. Entries stay.

    At least one rule has to be given, and with several a payload goes only if all of them say
    so. What is dropped is as after 'payload drop': it is not fetched again until 'payload
    restore', and other nodes keep theirs. The node may go on serving meanwhile. The file stays
    as large as it is until 'compact'.

    \b
    Examples:
      setsync gc --older-than 90d --dry-run
      setsync gc --collection 'pictures/**' --keep-bytes 10GiB
    """
    if (age, larger_than, keep_bytes) == (None, None, None) and not collections:
        raise UsageError(
            "Say what may go: --older-than, --larger-than, --keep-bytes, --collection."
        )
    with opened(data) as (directory, store), showing(progress) as on_progress:
        rules = Rules(
            before=None if age is None else now() - age,
            larger_than=larger_than,
            keep_bytes=keep_bytes,
            collections=collections,
            own=None if own else directory.author_key().public,
        )
        found = collect(store, rules, dry_run=dry_run, on_steps=_steps(on_progress))
    if as_json:
        print_json(_as_json(found, dry_run=dry_run))
    else:
        _print(found, rules, dry_run=dry_run)


def _steps(on_progress: OnProgress) -> OnSteps:
    def heard(phase: str, done: int, total: int) -> None:
        on_progress(Progress(phase, done, total, "entries"))

    return heard


def _as_json(found: Collected, *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "dropped": _tally(found.dropped),
        "collections": [
            {"collection": name} | _tally(tally) for name, tally in _by_bytes(found.collections)
        ],
        "kept": {why.value: _tally(tally) for why, tally in found.stays.items()},
        "left": _tally(_left(found)),
    }


def _tally(tally: Tally) -> dict[str, object]:
    return {"entries": tally.entries, "bytes": tally.bytes}


def _left(found: Collected) -> Tally:
    return Tally(found.here.entries - found.dropped.entries, found.here.bytes - found.dropped.bytes)


def _by_bytes(collections: dict[str, Tally]) -> list[tuple[str, Tally]]:
    return sorted(collections.items(), key=lambda item: (-item[1].bytes, item[0]))


def _print(found: Collected, rules: Rules, *, dry_run: bool) -> None:
    rows = _by_bytes(found.collections)
    if rows:
        print_columns(
            (printable(name), f"{tally.entries:,}", size(tally.bytes))
            for name, tally in rows[:_COLLECTIONS_SHOWN]
        )
    if len(rows) > _COLLECTIONS_SHOWN:
        click.echo(f"... and {len(rows) - _COLLECTIONS_SHOWN:,} more collections.")
    left = _left(found)
    click.echo(
        f"{'Would drop' if dry_run else 'Dropped'}: {_words(found.dropped)}. "
        f"{'Would be left' if dry_run else 'Left'}: {_words(left)}."
    )
    for why, tally in found.stays.items():
        if tally.entries:
            click.echo(f"{_words(tally)} {_WHY[why]}.")
    if rules.keep_bytes is not None and left.bytes > rules.keep_bytes:
        click.echo(f"That is more than {size(rules.keep_bytes)}, and nothing else may go.")


def _words(tally: Tally) -> str:
    return f"{tally.entries:,} payloads, {size(tally.bytes)}"
