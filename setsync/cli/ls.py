"""`setsync ls`: what is here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from setsync.cli.common import (
    data_option,
    json_option,
    moment,
    opened,
    payload_note,
    print_columns,
    print_json,
    printable,
)
from setsync.errors import NoSuchCollectionError
from setsync.limits import IDS_PER_READ
from setsync.model.formats import format_of
from setsync.reconcile.digest import Summary
from setsync.store.contract import StoredEntry
from setsync.store.lmdb_store import Store


def _whole_id(ctx: click.Context, param: click.Parameter, value: str | None) -> bytes | None:
    """64 hex digits, as 32 bytes."""
    if value is None:
        return None
    if not re.fullmatch("[0-9a-fA-F]{64}", value):
        raise click.BadParameter(f"{value!r} is not an id of 64 hex digits.")
    return bytes.fromhex(value)


@click.command()
@click.argument("collection", required=False)
@click.option("--ids", "ids_only", is_flag=True, help="Bare ids, one a line.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most N entries.")
@click.option("--after", callback=_whole_id, metavar="ID", help="Only ids above this one.")
@data_option
@json_option
def ls(
    collection: str | None,
    ids_only: bool,
    limit: int | None,
    after: bytes | None,
    data: Path,
    as_json: bool,
) -> None:
    """List the collections, or the entries of COLLECTION in the order of their ids.

    Whoever pages gives the last id of a page as --after of the next.

    \b
    Examples:
      setsync ls
      setsync ls notes --ids
      setsync ls notes --limit 100 --after ID
    """
    if collection is None and (ids_only or limit is not None or after is not None):
        raise click.UsageError("--ids, --limit and --after go with a COLLECTION.")
    with opened(data) as (_, store):
        if collection is None:
            _show_collections(store, as_json)
            return
        summary = _summary(store, collection)
        ids = _ids(store, collection, after or b"", limit)
        if as_json:
            content: dict[str, object] = {"collection": collection} | summary_json(summary)
            if ids_only:
                content["ids"] = [id_.hex() for id_ in ids]
            else:
                content["entries"] = [
                    _entry_json(entry) for entry in _entries(store, collection, ids)
                ]
            print_json(content)
        elif ids_only:
            for id_ in ids:
                click.echo(id_.hex())
        else:
            for entry in _entries(store, collection, ids):
                click.echo(_entry_line(entry))


def summary_json(summary: Summary) -> dict[str, object]:
    """A collection's count and digest."""
    return {"count": summary.count, "digest": summary.digest.hex()}


def _show_collections(store: Store, as_json: bool) -> None:
    with store.snapshot() as snapshot:
        collections = snapshot.collections()
    if as_json:
        print_json({"collections": {name: summary_json(found) for name, found in collections}})
    elif collections:
        print_columns((name, str(found.count), found.digest.hex()) for name, found in collections)


def _summary(store: Store, collection: str) -> Summary:
    with store.snapshot() as snapshot:
        view = snapshot.view(collection)
        if view is None:
            raise NoSuchCollectionError(f"There is no collection {printable(collection)!r} here.")
        return view.summary("")


def _ids(store: Store, collection: str, after: bytes, limit: int | None) -> Iterator[bytes]:
    """A collection's ids in order, in short snapshots."""
    left = limit
    while left is None or left > 0:
        wanted = IDS_PER_READ if left is None else min(left, IDS_PER_READ)
        with store.snapshot() as snapshot:
            view = snapshot.view(collection)
            ids = [] if view is None else [row.tobytes() for row in view.ids("", after, wanted)]
        if not ids:
            return
        yield from ids
        after = ids[-1]
        left = None if left is None else left - len(ids)


def _entries(store: Store, collection: str, ids: Iterator[bytes]) -> Iterator[StoredEntry]:
    for id_ in ids:
        with store.snapshot() as snapshot:
            entry = snapshot.entry(collection, id_)
        if entry is not None:
            yield entry


def _entry_json(entry: StoredEntry) -> dict[str, object]:
    claims = format_of(entry.header).decode(entry.header)
    return {
        "id": entry.id.hex(),
        "author": claims.author.hex(),
        "timestamp": claims.timestamp,
        "payload_size": claims.payload_size,
        "payload_here": entry.payload is not None,
        "arrival": entry.arrival,
    }


def _entry_line(entry: StoredEntry) -> str:
    """Id, when, who (shortened), how large. The id stands whole, for copying."""
    claims = format_of(entry.header).decode(entry.header)
    size = f"{claims.payload_size} B" + payload_note(entry)
    return f"{entry.id.hex()}  {moment(claims.timestamp)}  {claims.author.hex()[:16]}  {size}"
