"""`setsync put`: payloads become signed entries."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from setsync.cli.common import (
    data_option,
    from_here,
    json_option,
    opened,
    print_json,
    progress_option,
    say,
)
from setsync.cli.common import settings as read_settings
from setsync.cli.progress import showing
from setsync.errors import PayloadTooLargeError
from setsync.limits import COMMIT_ENTRIES, KIB, MIB
from setsync.model.entry import Entry, make_entry
from setsync.node.progress import OnProgress, Progress
from setsync.node.room import check_own_room
from setsync.store.contract import Added
from setsync.store.lmdb_store import Store

# What waits for its commit, besides the number of entries: a payload may be large.
_BATCH_BYTES = 4 * MIB
# A read takes this much at a time, so that a limit of 16 MiB costs memory only when used.
_PIECE = 64 * KIB


@click.command()
@click.argument("collection")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--lines", is_flag=True, help="One entry a line, without its newline.")
@click.option(
    "--timestamp",
    type=click.IntRange(0, 2**64 - 1),
    metavar="MS",
    help="Milliseconds since 1970 that the entries claim. [default: now]",
)
@click.option(
    "--author",
    "author_file",
    type=click.Path(path_type=Path),
    metavar="KEYFILE",
    help="Sign with this key. [default: the directory's author.key]",
)
@data_option
@json_option
@progress_option
def put(
    collection: str,
    file: BinaryIO,
    lines: bool,
    timestamp: int | None,
    author_file: Path | None,
    data: Path,
    as_json: bool,
    progress: str,
) -> None:
    """Add what FILE (or standard input) holds to COLLECTION and print the ids.

    The whole file is one payload, empty or not; with --lines every line is one, byte for
    byte as it stands. An entry's bytes decide its id: with the same author, collection and
    timestamp two equal lines are one entry, and putting a file twice adds nothing. Ids are
    printed once their entries are safely on the disk.

    \b
    Examples:
      echo hello | setsync put notes
      setsync put events --lines events.jsonl --timestamp 1767225600000
    """
    from setsync.model.collection import check_name
    from setsync.model.keys import read_key_file

    check_name(collection)
    limit = read_settings(data).max_payload
    when = time.time_ns() // 1_000_000 if timestamp is None else timestamp
    shown = progress if lines and not _scrolls(progress, as_json) else "none"
    with opened(data) as (directory, store), showing(shown) as on_progress:
        key = directory.author_key() if author_file is None else read_key_file(author_file)
        payloads = _lines(file, limit) if lines else iter([_whole(file, limit)])
        entries = (make_entry(key, collection, payload, when) for payload in payloads)
        committed = _committed(store, entries, on_progress)
        if not as_json:
            _print_ids(committed)
            return
        results = list(committed)
    print_json(
        {
            "collection": collection,
            "author": key.public.hex(),
            "timestamp": when,
            "ids": [entry.id.hex() for batch, _ in results for entry in batch],
            "new": sum(len(added.new) for _, added in results),
            "known": sum(added.known for _, added in results),
        }
    )


def _print_ids(committed: Iterator[tuple[list[Entry], Added]]) -> None:
    """Raises BrokenPipeError when nobody reads them any more, after having said what that means."""
    try:
        for batch, _ in committed:
            click.echo("\n".join(entry.id.hex() for entry in batch))
    except BrokenPipeError:
        say("Nobody reads the ids any more: what was committed is kept, and the rest is left out.")
        raise


def _scrolls(progress: str, as_json: bool) -> bool:
    """Whether ids run over the terminal that a bar would stand on: they are progress enough."""
    return progress == "auto" and not as_json and sys.stdout.isatty()


def _committed(
    store: Store, entries: Iterator[Entry], on_progress: OnProgress
) -> Iterator[tuple[list[Entry], Added]]:
    """The entries in batches, each yielded when it is durable."""
    done = 0
    for batch in _batches(entries):
        check_own_room(store.path)
        added = store.add_many(batch, [(0, from_here())])
        done += len(batch)
        on_progress(Progress("filling", done, None, "entries", batch[0].collection))
        yield batch, added


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += entry.size
        if len(batch) == COMMIT_ENTRIES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


# --- payloads -----------------------------------------------------------------------------


def _whole(file: BinaryIO, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := file.read(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise PayloadTooLargeError(f"The payload is over the limit of {limit} bytes.")
    return b"".join(pieces)


def _lines(file: BinaryIO, limit: int) -> Iterator[bytes]:
    """Lines without their newline. A file is looked through first, so that one line that is
    too long leaves nothing half put; a pipe can be read only once."""
    if file.seekable():
        start = file.tell()
        for _ in _checked_lines(file, limit, "Nothing was put."):
            pass
        file.seek(start)
    return _checked_lines(file, limit, "Lines before it were put; their ids are above.")


def _checked_lines(file: BinaryIO, limit: int, consequence: str) -> Iterator[bytes]:
    for number, line in enumerate(iter(lambda: file.readline(limit + 2), b""), start=1):
        payload = line.removesuffix(b"\n")
        if len(payload) > limit:
            raise PayloadTooLargeError(
                f"Line {number} is over the limit of {limit} bytes for a payload. {consequence}"
            )
        yield payload
