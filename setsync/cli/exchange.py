"""`setsync export` and `setsync import`: entries in one file, to carry about."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from setsync.cli.common import (
    check_since,
    data_option,
    from_here,
    json_option,
    opened,
    print_json,
    progress_option,
    say,
)
from setsync.cli.common import settings as read_settings
from setsync.cli.loop import look_for_circles_seldom
from setsync.cli.progress import showing
from setsync.errors import NoSuchEntryError
from setsync.limits import MAX_COLLECTIONS, VERIFIERS_FROM
from setsync.model.collection import Pattern
from setsync.node.progress import OnProgress, Progress
from setsync.node.room import check_own_room
from setsync.node.verifying import Verifiers, beside
from setsync.store.contract import StoredEntry
from setsync.store.exchange import (
    Choice,
    Exported,
    OnCount,
    chosen,
    entries_promised,
    read_export,
    write_export,
)
from setsync.store.importing import import_entries
from setsync.store.lmdb_store import Store

_LONGEST_ID_LINE = 70


# --- export -------------------------------------------------------------------------------


@click.command()
@click.argument("file", type=click.Path(allow_dash=True), metavar="FILE|-")
@click.option(
    "--collection",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only these collections: a name, '*' for one segment, '**' for any. Repeatable.",
)
@click.option(
    "--ids",
    "ids_file",
    type=click.File("rb"),
    metavar="FILE|-",
    help="Only these entries: whole ids, one a line.",
)
@click.option(
    "--since",
    type=click.IntRange(0),
    default=0,
    metavar="ARRIVAL",
    help="Only what arrived after this number; an export tells the number to go on from.",
)
@data_option
@json_option
@progress_option
def export(
    file: str,
    patterns: tuple[str, ...],
    ids_file: BinaryIO | None,
    since: int,
    data: Path,
    as_json: bool,
    progress: str,
) -> None:
    """Write entries and their payloads into FILE, or to standard output with '-'.

    All entries, unless options choose; several options must all hold. A file appears under
    its name only when it is complete. Any node can import it; nobody needs to trust it.

    \b
    Examples:
      setsync export all.setsync
      setsync export - --collection 'notes/**' | ssh other setsync import -
      setsync export news.setsync --since 1200
    """
    if as_json and file == "-":
        raise click.UsageError("--json and the export cannot both go to standard output.")
    choice = Choice(tuple(Pattern(text) for text in patterns), since)
    with opened(data) as (_, store), showing(progress) as on_progress:
        last = store.last_arrival()
        check_since(since, last)
        if ids_file is None:
            entries = chosen(store, choice, _arrivals(on_progress, since, last))
        else:
            entries = (entry for entry in _named(store, ids_file) if choice.takes(entry))
        with _target(file) as target:
            done = write_export(target, entries)
    _tell(file, done, last, as_json)


def _arrivals(on_progress: OnProgress, since: int, last: int) -> OnCount:
    def heard(arrival: int) -> None:
        on_progress(Progress("exporting", arrival - since, last - since, "entries"))

    return heard


def _tell(file: str, done: Exported, last: int, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "file": file,
                "entries": done.entries,
                "bytes": done.size,
                "digest": done.digest.hex(),
                "last_arrival": last,
            }
        )
    else:
        say(f"{done.entries} entries exported. For what comes later: --since {last}")


def _named(store: Store, ids_file: BinaryIO) -> Iterator[StoredEntry]:
    """The entries of a list of ids; one that is in many collections comes from each.

    Raises NoSuchEntryError, UsageError.
    """
    for id_ in _read_ids(ids_file):
        with store.snapshot() as snapshot:
            places = snapshot.find(id_.hex(), MAX_COLLECTIONS)
            found = [snapshot.entry(collection, id_) for collection, _ in places]
        if not found:
            raise NoSuchEntryError(f"There is no entry {id_.hex()} here.")
        yield from (entry for entry in found if entry is not None)


def _read_ids(ids_file: BinaryIO) -> Iterator[bytes]:
    """Raises UsageError for a line that is not an id."""
    for number, line in enumerate(iter(lambda: ids_file.readline(_LONGEST_ID_LINE), b""), start=1):
        text = line.strip()
        if not text:
            continue
        if not re.fullmatch(b"[0-9a-fA-F]{64}", text):
            raise click.UsageError(f"Line {number} of the ids is not one of 64 hex digits.")
        yield bytes.fromhex(text.decode("ascii"))


@contextlib.contextmanager
def _target(file: str) -> Iterator[BinaryIO]:
    """Where to write; a regular file gets its name only once it is whole and on the disk."""
    if file == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        return
    path = Path(file)
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        with path.open("wb") as special:
            yield special
        return
    draft = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        with draft.open("xb") as output:
            yield output
            output.flush()
            os.fsync(output.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


# --- import -------------------------------------------------------------------------------


@click.command("import")
@click.argument("file", type=click.File("rb"), metavar="FILE|-")
@data_option
@json_option
@progress_option
def import_(file: BinaryIO, data: Path, as_json: bool, progress: str) -> None:
    """Take the entries of an export FILE, or of standard input with '-'.

    Every signature and every payload is verified. It may be stopped at any moment and run
    again: what was committed stays, and nothing doubles.

    \b
    Example:
      setsync import all.setsync
    """
    settings = read_settings(data)
    look_for_circles_seldom()
    with opened(data) as (_, store), showing(progress) as on_progress:
        check_own_room(store.path)
        promised = entries_promised(file)
        heard = _commits(on_progress, promised)
        is_much = promised is not None and promised > VERIFIERS_FROM
        with beside(Verifiers(settings.verifiers), is_much=is_much) as verify:
            done = import_entries(
                store,
                read_export(file),
                settings.max_payload,
                heard,
                from_here(),
                verify=verify,
                clock=time.monotonic,
            )
    if as_json:
        print_json(
            {
                "entries": done.entries,
                "new": done.new,
                "known": done.known,
                "payloads": done.payloads,
            }
        )
    else:
        click.echo(f"{done.entries} entries: {done.new} new, {done.known} known.")
        if done.payloads:
            click.echo(f"{done.payloads} known entries got the payload they lacked.")


def _commits(on_progress: OnProgress, total: int | None) -> OnCount:
    on_progress(Progress("importing", 0, total, "entries"))

    def heard(entries: int) -> None:
        on_progress(Progress("importing", entries, total, "entries"))

    return heard
