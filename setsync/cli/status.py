"""`setsync status`: the node at a glance. Loads nothing that it does not need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from setsync.cli.common import data_option, json_option, opened, print_columns, print_json
from setsync.reconcile.digest import Summary


@click.command()
@click.option(
    "--against",
    metavar="ADDRESS|NAME",
    help="Ask another node instead: which collections are not the same here and there?",
)
@click.option("--trust-first", is_flag=True, help="As of 'sync'.")
@click.option("--plain", is_flag=True, help="As of 'sync'.")
@data_option
@json_option
def status(
    against: str | None, trust_first: bool, plain: bool, data: Path, as_json: bool
) -> int | None:
    """Show who this node is, what it holds and what that takes on the disk.

    Equal digests mean equal sets: compare them with another node's, or let --against do it,
    which takes one round trip and moves nothing. It exits 0 if all is the same, 9 if not.

    \b
    Examples:
      setsync status --data ~/notes
      setsync status --against setsync://KEY@example.org:7717
    """
    from setsync.node.config import FORMAT_VERSION

    if against is not None:
        from setsync.cli.against import compare  # the network's machinery is slow to load

        return compare(against, data, trust_first=trust_first, plain=plain, as_json=as_json)

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
    return None


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
