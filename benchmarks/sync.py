"""A whole sync, from connecting to done: bytes by what they were for, round trips, CPU, wall.

    python -m benchmarks.sync             100 k common entries, 0, 20 and 2,000 different
    python -m benchmarks.sync --quick     10 k common entries
    python -m benchmarks.sync --channel   everything to an empty node, over TLS and plain

Entries have 300 bytes, header and payload; the difference is spread evenly over both sides. Both
stores are on disk and both ends run already, each in a process of its own; what Python's imports
take is in the note below the table. Bytes are those that a proxy on the line counts.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import channel
from benchmarks.bandwidth import cache_folder, say
from benchmarks.peer_setsync import running
from benchmarks.results import Result, count, environment, number, size, write
from benchmarks.stores import ENTRY_BYTES, Cache, Pair
from benchmarks.workers import PeerError, WorkerError

N, QUICK_N = 100_000, 10_000
DIFFERENCES = (0, 20, 2_000)
REPEATS = 3
NARROWEST = 130


def measure(n: int, cache: Path, repeats: int) -> Iterator[Result]:
    """One record a difference: bytes of the last run, medians of the times."""
    with Cache(cache).pair(n) as pair:
        for d in DIFFERENCES:
            say(f"{n:,} common, {d:,} different")
            pair.grow(d // 2, d - d // 2)
            yield _median([_once(pair) for _ in range(repeats)])


def _once(pair: Pair) -> Result:
    with pair.copy() as copy, running(copy) as nodes:
        return nodes.session(dry_run=False)


def _median(runs: Sequence[Result]) -> Result:
    return replace(
        runs[-1],
        cpu_initiator=statistics.median(run.cpu_initiator or 0.0 for run in runs),
        cpu_responder=statistics.median(run.cpu_responder or 0.0 for run in runs),
        wall=statistics.median(run.wall or 0.0 for run in runs),
    )


def overhead(result: Result) -> float | None:
    """All bytes over the bytes of the entries themselves; None if none were moved."""
    content = ENTRY_BYTES * result.d
    return result.total_bytes / content if content and result.total_bytes is not None else None


def table(results: Sequence[Result]) -> Table:
    """What `docs/benchmarks.md` shows."""
    caption = f"entries of {ENTRY_BYTES} bytes; CPU: initiator + responder; medians of the times"
    grid = Table(title="A whole sync", caption=caption, box=box.SIMPLE_HEAD, pad_edge=False)
    headings = ["n", "d", "handshake", "reconcile", "entries", "close", "all", "all / content"]
    for heading in [*headings, "trips", "CPU s", "wall s"]:
        grid.add_column(heading, justify="right", no_wrap=True)
    for row in results:
        grid.add_row(
            count(row.n),
            count(row.d),
            size(row.handshake_bytes),
            size(row.reconcile_bytes),
            size(row.entry_bytes),
            size(row.close_bytes),
            size(row.total_bytes),
            number(overhead(row), ".3f"),
            number(row.round_trips, "d"),
            f"{number(row.cpu_initiator, '.3f')} + {number(row.cpu_responder, '.3f')}",
            number(row.wall, ".3f"),
        )
    return grid


def show_channel(bulk: channel.Bulk) -> None:
    """What both channels came to."""
    for name, seconds in (("plain", bulk.plain), ("TLS", bulk.secure)):
        rate = bulk.entries / statistics.median(seconds)
        print(f"{name}: {bulk.entries:,} entries to an empty node, {rate:,.0f} a second")
    print(f"TLS to plain: {bulk.ratio:.2f} (to reach: {channel.TARGET})")


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sync", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="10 k entries, one run each")
    parser.add_argument("--channel", action="store_true", help="over TLS and plain, in turn")
    parser.add_argument("--repeats", type=int, default=None, metavar="N", help="runs of each row")
    parser.add_argument("--cache", type=Path, help="folder of prefilled stores, kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    options = parser.parse_args(argv)
    n, repeats = (QUICK_N, 1) if options.quick else (N, REPEATS)
    if options.channel:
        show_channel(channel.measure(n, options.repeats or repeats))
        return 0
    try:
        with cache_folder(options.cache, options.quick) as cache:
            results = list(measure(n, cache, options.repeats or repeats))
    except (PeerError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    screen = Console()
    screen = screen if screen.is_terminal else Console(width=NARROWEST)
    screen.print(table(results))
    screen.print(f"[dim]{results[-1].note}[/dim]", highlight=False)
    if options.json:
        write(options.json, results, environment(datetime.now(UTC), "setsync"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
