"""`setsync status`: the node at a glance. Loads nothing that it does not need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from setsync.cli.common import data_option, json_option, opened, print_columns, print_json
from setsync.reconcile.digest import Summary


@click.command()
@data_option
@json_option
def status(data: Path, as_json: bool) -> None:
    """Show who this node is, what it holds and what that takes on the disk.

    Equal digests mean equal sets: compare them with another node's.

    \b
    Example:
      setsync status --data ~/notes
    """
    from setsync.node.config import FORMAT_VERSION

    with opened(data) as (directory, store):
        with store.snapshot() as snapshot:
            collections = snapshot.collections()
            entries, last_arrival = snapshot.entry_count, snapshot.last_arrival
        found: dict[str, object] = {
            "node_id": directory.node_key().public.hex(),
            "author": directory.author_key().public.hex(),
            "directory": str(directory.path.absolute()),
            "format": FORMAT_VERSION,
            "entries": entries,
            "last_arrival": last_arrival,
            "bytes_on_disk": store.bytes_on_disk,
            "map": {"used": store.map_used, "size": store.map_size},
        }
    if as_json:
        print_json(
            found
            | {
                "collections": {
                    name: {"count": summary.count, "digest": summary.digest.hex()}
                    for name, summary in collections
                }
            }
        )
    else:
        _print(found, collections)


def _print(found: dict[str, object], collections: Sequence[tuple[str, Summary]]) -> None:
    plain = [(name.replace("_", " "), str(value)) for name, value in found.items() if name != "map"]
    usage = found["map"]
    if isinstance(usage, dict):
        share = 100 * usage["used"] / usage["size"]
        plain.append(("map use", f"{usage['used']} of {usage['size']} bytes ({share:.2f} %)"))
    print_columns(plain)
    if collections:
        click.echo()
        print_columns(
            (name, str(summary.count), summary.digest.hex()) for name, summary in collections
        )
