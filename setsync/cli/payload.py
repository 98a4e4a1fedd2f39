"""`setsync payload`: what is not here, and what shall not be here any more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from setsync.cli import common
from setsync.cli.common import opened, print_columns, print_json, printable, say
from setsync.cli.get import find_entry, id_prefix
from setsync.cli.progress import size
from setsync.errors import NoSuchEntryError
from setsync.limits import MAX_COLLECTIONS, MAX_WITHHELD_LISTED
from setsync.store.contract import StoredEntry
from setsync.store.lmdb_store import Store

_LISTED = 100


@click.group(
    short_help="Drop payloads, or want them again.", epilog="Example: setsync payload missing"
)
def payload() -> None:
    """Drop payloads, want them again, and list those that are not here.

    An entry is its header, and a header stays for ever: sets could not be compared
    otherwise. What it carries, the payload, may be dropped at any node.
    """


@payload.command(epilog="Example: setsync payload drop 3f9a11c0 --yes")
@click.argument("id_", metavar="ID", callback=id_prefix)
@click.option("--collection", metavar="C", help="Only in this collection; else wherever it is.")
@click.option("--yes", is_flag=True, help="Do it; without this it is only told.")
@common.data_option
@common.json_option
def drop(id_: str, collection: str | None, yes: bool, data: Path, as_json: bool) -> None:
    """Remove the payload of the entry whose id begins with ID from this node.

    It is not fetched again until 'payload restore'. Other nodes keep theirs, and backups
    too. Its bytes are used again for other entries, and are not overwritten before.
    """
    with opened(data) as (_, store):
        copies = _copies(store, id_, collection)
        entry_id = copies[0].id
        if yes:
            store.drop_payloads([copy.collection for copy in copies], entry_id)
    freed = sum(_payload_size(copy) for copy in copies)
    if as_json:
        print_json(
            {
                "id": entry_id.hex(),
                "dropped": yes,
                "bytes": freed,
                "copies": [_copy_json(copy) for copy in copies],
            }
        )
        return
    for copy in copies:
        say(f"{'Dropped' if yes else 'Would drop'}: {entry_id.hex()} {_words(copy)}")
    if not yes:
        say("Nothing was changed. The same with --yes does it.")


@payload.command(epilog="Example: setsync payload restore 3f9a11c0")
@click.argument("id_", metavar="ID", callback=id_prefix)
@click.option("--collection", metavar="C", help="Only in this collection; else wherever it is.")
@common.data_option
@common.json_option
def restore(id_: str, collection: str | None, data: Path, as_json: bool) -> None:
    """Want a dropped payload again: the next sync with a node that has it brings it."""
    with opened(data) as (_, store):
        copies = _copies(store, id_, collection)
        entry_id = copies[0].id
        restored = [
            copy.collection for copy in copies if store.restore_payload(copy.collection, entry_id)
        ]
    if as_json:
        print_json({"id": entry_id.hex(), "restored": restored})
    elif restored:
        for name in restored:
            say(f"Wanted again: {entry_id.hex()} in {name!r}.")
    else:
        say(f"The payload of {entry_id.hex()} was not dropped here.")


@payload.command(epilog="Example: setsync payload missing --limit 1000 --json")
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_WITHHELD_LISTED),
    default=_LISTED,
    show_default=True,
    metavar="N",
    help="At most N of them.",
)
@click.option(
    "--after", type=click.IntRange(0), default=0, metavar="ARRIVAL", help="Where a page goes on."
)
@common.data_option
@common.json_option
def missing(limit: int, after: int, data: Path, as_json: bool) -> None:
    """List the payloads that are not here and that nobody dropped, by arrival."""
    with opened(data) as (_, store), store.snapshot() as snapshot:
        count = snapshot.withheld_count
        found = list(snapshot.withheld(after, limit + 1))
    page, rest = found[:limit], found[limit:]
    if as_json:
        print_json(
            {
                "count": count,
                "payloads": [
                    {
                        "id": one.id.hex(),
                        "collection": one.collection,
                        "size": one.size,
                        "arrival": one.arrival,
                    }
                    for one in page
                ],
                "next": page[-1].arrival if rest else None,
            }
        )
        return
    if page:
        print_columns([(one.id.hex(), f"{one.size} B", one.collection) for one in page])
    if rest:
        say(f"{count} payloads are not here; --after {page[-1].arrival} goes on.")
    elif not count:
        say("Every payload is here, but for those that were dropped.")


def _copies(store: Store, prefix: str, collection: str | None) -> Sequence[StoredEntry]:
    """The one entry whose id begins with `prefix`, in each of its collections or in one.

    Raises NoSuchEntryError, AmbiguousPrefixError.
    """
    id_ = find_entry(store, prefix).id
    with store.snapshot() as snapshot:
        places = sorted(name for name, _ in snapshot.find(id_.hex(), MAX_COLLECTIONS))
        if collection is not None:
            places = [name for name in places if name == collection]
        found = [snapshot.entry(name, id_) for name in places]
    copies = [entry for entry in found if entry is not None]
    if not copies:
        raise NoSuchEntryError(f"The entry {id_.hex()} is not in {printable(collection or '')!r}.")
    return copies


def _payload_size(copy: StoredEntry) -> int:
    return len(copy.payload or b"")


def _was(copy: StoredEntry) -> str:
    if copy.dropped:
        return "dropped"
    return "withheld" if copy.payload is None else "here"


def _copy_json(copy: StoredEntry) -> dict[str, object]:
    return {
        "collection": copy.collection,
        "bytes": _payload_size(copy),
        "was": _was(copy),
    }


def _words(copy: StoredEntry) -> str:
    what = {
        "here": f"{size(_payload_size(copy))}",
        "withheld": "not here, and not wanted any more",
        "dropped": "dropped before",
    }
    return f"in {copy.collection!r}, {what[_was(copy)]}."
