"""`setsync get`: one entry, found by the first digits of its id."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import click

from setsync.cli.common import data_option, json_option, opened, print_columns, print_json
from setsync.errors import (
    AmbiguousPrefixError,
    NoSuchEntryError,
    PayloadDroppedError,
    PayloadWithheldError,
)
from setsync.model.formats import Claims, format_of
from setsync.store.contract import Snapshot, StoredEntry
from setsync.store.lmdb_store import Store

_SHORTEST = 8
_HEX = re.compile("[0-9a-f]{8,64}")


def id_prefix(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """8 to 64 hex digits; upper case is lowered."""
    prefix = value.lower()
    if not _HEX.fullmatch(prefix):
        raise click.BadParameter(f"{value!r} is not {_SHORTEST} to 64 hex digits of an id.")
    return prefix


@click.command()
@click.argument("id_", metavar="ID", callback=id_prefix)
@click.option("--header", is_flag=True, help="Print what the entry's header says instead.")
@data_option
@json_option
def get(id_: str, header: bool, data: Path, as_json: bool) -> None:
    """Print the payload of the entry whose id begins with ID, byte for byte.

    With --json the header's fields and the payload, in base64, make one object; with
    --header --json the payload is left out.

    \b
    Example:
      setsync get 3f9a11c0
      setsync get 3f9a11c0 --header
    """
    with opened(data) as (_, store):
        entry = find_entry(store, id_)
    claims = format_of(entry.header).decode(entry.header)
    fields = header_fields(entry, claims)
    if as_json:
        print_json(fields if header else fields | {"payload": _encoded(entry.payload)})
    elif header:
        print_columns(_words(fields))
    elif entry.dropped:
        raise PayloadDroppedError(f"The payload of {entry.id.hex()} was dropped.")
    elif entry.payload is None:
        raise PayloadWithheldError(f"The payload of {entry.id.hex()} is not here.")
    else:
        click.echo(entry.payload, nl=False)


def find_entry(store: Store, prefix: str) -> StoredEntry:
    """The one entry whose id begins with `prefix`.

    Raises NoSuchEntryError, AmbiguousPrefixError.
    """
    with store.snapshot() as snapshot:
        found = _distinct(snapshot, prefix)
        if not found:
            raise NoSuchEntryError(f"No entry's id begins with {prefix}.")
        if len(found) > 1:
            first, second = sorted(found)[:2]
            raise AmbiguousPrefixError(
                f"More than one id begins with {prefix}: {first.hex()}, {second.hex()}."
            )
        [(id_, collection)] = found.items()
        entry = snapshot.entry(collection, id_)
    if entry is None:
        raise NoSuchEntryError(f"No entry's id begins with {prefix}.")
    return entry


def _distinct(snapshot: Snapshot, prefix: str) -> dict[bytes, str]:
    """Ids that begin with `prefix`, two at least if there are two, each with a collection.

    One entry may be in many collections, so a few finds may all be the same id.
    """
    limit = 2
    while True:
        found = snapshot.find(prefix, limit)
        distinct = {id_: collection for collection, id_ in reversed(found)}
        if len(distinct) > 1 or len(found) < limit:
            return distinct
        limit *= 8


def header_fields(entry: StoredEntry, claims: Claims) -> dict[str, object]:
    """What docs/json/get.json describes, without the payload."""
    return {
        "id": entry.id.hex(),
        "collection": entry.collection,
        "format": claims.format,
        "author": claims.author.hex(),
        "timestamp": claims.timestamp,
        "links": [link.hex() for link in claims.links],
        "payload_size": claims.payload_size,
        "payload_hash": claims.payload_hash.hex(),
        "payload_here": entry.payload is not None,
        "payload_dropped": entry.dropped,
        "signature": claims.signature.hex(),
        "arrival": entry.arrival,
    }


def _encoded(payload: bytes | None) -> str | None:
    return None if payload is None else base64.b64encode(payload).decode("ascii")


def _words(fields: dict[str, object]) -> list[tuple[str, str]]:
    """The fields for people."""
    words = {True: "yes", False: "no", None: "-"}
    return [
        (
            name.replace("_", " "),
            " ".join(value) or "-"
            if isinstance(value, list)
            else words[value]
            if value is None or isinstance(value, bool)
            else str(value),
        )
        for name, value in fields.items()
    ]
