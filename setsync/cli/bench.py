"""`bench`: what a session costs, counted by a proxy on the line; by default on made-up sets."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio

from setsync.bench.link import Link, parse_duration, parse_rate
from setsync.bench.scratch import ENTRY_BYTES, fill, made_up, part_of
from setsync.bench.session import Measured, measure
from setsync.cli import common
from setsync.cli.loop import run_stoppable
from setsync.cli.progress import showing, size
from setsync.errors import UsageError
from setsync.model.collection import EVERYTHING, Pattern
from setsync.node.address import split_address
from setsync.node.client import Options
from setsync.node.node import DIRECTIONS, open_local, serve
from setsync.node.progress import OnProgress, Progress
from setsync.store.lmdb_store import Store

COMMON = 10_000
DIFFERENCES = (0, 2, 20, 200, 2_000)


Read = Callable[[object, object, str | None], float | None]


def _quantity(parse: Callable[[str], float]) -> Read:
    """A click callback that reads an option with its unit."""

    def read(_context: object, _parameter: object, text: str | None) -> float | None:
        try:
            value = parse(text) if text is not None else None
            if value == 0:
                raise ValueError("more than 0 is needed")
            return value
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return read


@click.command(
    epilog="Example: setsync bench --against 127.0.0.1:7000 --rtt 100ms --rate 10mbit",
    short_help="Measure what a session costs.",
)
@click.option(
    "--against",
    metavar="HOST:PORT",
    help="A dry run with the node there, on the entries of --data.",
)
@click.option(
    "--fraction",
    type=click.FloatRange(0.0, 1.0),
    metavar="0.99",
    help="A sync of a scratch copy of --data, with that part of its entries, from --data.",
)
@click.option("--rtt", callback=_quantity(parse_duration), metavar="100ms", help="Of a slow line.")
@click.option("--rate", callback=_quantity(parse_rate), metavar="10mbit", help="Of a slow line.")
@common.data_option
@common.json_option
@common.progress_option
def bench(
    against: str | None,
    fraction: float | None,
    rtt: float | None,
    rate: float | None,
    data: Path,
    as_json: bool,
    progress: str,
) -> None:
    """Measure sessions; the bytes are those that a proxy on the line counts.

    Without --against and --fraction, nodes of 10,000 made-up entries are compared that differ
    in 0 to 2,000. No directory is ever changed by this command.
    """
    link = Link(rtt or 0.0, rate)
    with showing(progress) as on_progress:
        if against is not None and fraction is not None:
            raise UsageError("--against and --fraction are two different measurements.")
        if against is not None:
            found = [_against(against, data, link, on_progress)]
        elif fraction is not None:
            found = [_fraction(fraction, data, link, on_progress)]
        else:
            found = _grid(link, on_progress)
    if as_json:
        common.print_json(_as_json(found, link))
    elif len(found) == 1:
        _print_one(found[0])
    else:
        _print_table(found)


# --- the three measurements ---------------------------------------------------------------


def _against(address: str, data: Path, link: Link, on_progress: OnProgress) -> Measured:
    """A dry run with a running node."""
    host, port = split_address(address)
    with common.opened(data) as (directory, store):
        node_id = directory.node_key().public
        most = common.settings(data).max_payload

        async def main() -> Measured:
            async with open_local(store, node_id=node_id, max_payload=most) as local:
                options = Options(dry_run=True)
                return await measure(
                    local, (host, port), options, link=link, on_progress=on_progress
                )

        return _finished(run_stoppable(main))


def _fraction(fraction: float, data: Path, link: Link, on_progress: OnProgress) -> Measured:
    """A whole sync of a scratch copy, which only pulls: the original stays as it is."""
    with common.opened(data) as (_, store), _scratch_store() as copy:
        _fill(on_progress, int(fraction * _count(store)), [copy], part_of(store, fraction))
        most = common.settings(data).max_payload

        async def main() -> Measured:
            options = Options((Pattern(EVERYTHING),), DIRECTIONS["pull"])
            async with (
                _serving(store, most) as address,
                open_local(copy, max_payload=most) as local,
            ):
                return await measure(local, address, options, link=link)

        return _finished(run_stoppable(main))


def _grid(link: Link, on_progress: OnProgress) -> list[Measured]:
    """Dry runs of two scratch nodes, between which the difference grows."""
    found: list[Measured] = []
    with _scratch_store() as near, _scratch_store() as far:
        _fill(on_progress, COMMON, [near, far], made_up(0, COMMON))

        async def main() -> Measured:
            options = Options(dry_run=True)
            async with _serving(far, ENTRY_BYTES) as address, open_local(near) as local:
                return await measure(local, address, options, link=link)

        next_number, before = COMMON, 0
        for differing in DIFFERENCES:
            each = (differing - before) // 2
            for store in (near, far):
                fill([store], made_up(next_number, each), lambda _: None)
                next_number += each
            before = differing
            found.append(_finished(run_stoppable(main)))
    return found


# --- what they need -----------------------------------------------------------------------


@contextlib.contextmanager
def _scratch_store() -> Iterator[Store]:
    with (
        tempfile.TemporaryDirectory(prefix="setsync-bench-") as folder,
        Store.open(Path(folder) / "store") as store,
    ):
        yield store


def _count(store: Store) -> int:
    with store.snapshot() as snapshot:
        return snapshot.entry_count


def _fill(on_progress: OnProgress, total: int, stores: list[Store], entries: Iterator[Any]) -> None:
    def show(filled: int) -> None:
        on_progress(Progress("filling", filled, max(total, filled), "entries"))

    show(0)
    fill(stores, entries, show)


@contextlib.asynccontextmanager
async def _serving(store: Store, most: int) -> AsyncIterator[tuple[str, int]]:
    """A node on a free port of this machine for as long as the block lasts."""
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(partial(serve, store, max_payload=most))
        yield addresses[0]
        nursery.cancel_scope.cancel()


def _finished(measured: Measured | None) -> Measured:
    if measured is None:
        raise KeyboardInterrupt
    return measured


# --- the result ---------------------------------------------------------------------------


def _as_json(found: list[Measured], link: Link) -> dict[str, Any]:
    """The object of `bench --json`; its schema is docs/json/bench.json."""
    return {
        "state": "done",
        "link": {"rtt": link.rtt, "rate": link.rate},
        "sessions": [measured.to_json() for measured in found],
    }


def _print_table(found: list[Measured]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    caption = "Counted by a proxy on the line. d: what one side lacks; naive: all ids."
    table = Table(caption=caption, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("here", "there", "d", "reconcile", "per d", "trips", "all", "s", "naive"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        session = one.to_json()
        table.add_row(
            f"{one.here:,}",
            f"{one.there:,}",
            f"{one.difference:,}",
            size(one.phases.reconcile),
            _per_difference(session),
            str(session["round_trips"]),
            size(one.counts.total),
            f"{session['seconds']:.3f}",
            size(session["naive_bytes"]),
        )
    Console().print(table)


def _print_one(measured: Measured) -> None:
    session, phases = measured.to_json(), measured.phases
    rows = [
        ("entries here", f"{measured.here:,}"),
        ("entries there", f"{measured.there:,}"),
        ("missing here", f"{session['missing_here']:,}"),
        ("missing there", f"{session['missing_there']:,}"),
        ("bytes, handshake", size(phases.handshake)),
        ("bytes, reconcile", f"{size(phases.reconcile)}, a difference {_per_difference(session)}"),
        ("bytes, entries", size(phases.entries)),
        ("bytes, close", size(phases.close)),
        ("bytes, all", f"{size(measured.counts.total)}, as a proxy on the line counted them"),
        ("all ids would be", size(session["naive_bytes"])),
        ("round trips", str(session["round_trips"])),
        ("seconds", f"{session['seconds']:.3f}"),
    ]
    common.print_columns(rows)


def _per_difference(session: dict[str, Any]) -> str:
    each = session["bytes_per_difference"]
    return "-" if each is None else f"{each:,.1f} B"
