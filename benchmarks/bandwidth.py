"""What it costs to find and settle a difference: setsync and others, in one run.

    python -m benchmarks.bandwidth                 the whole grid, the better part of an hour
    python -m benchmarks.bandwidth --quick         10 k entries, within two minutes
    python -m benchmarks.bandwidth --logs          sets made of logs: setsync and log heights
    python -m benchmarks.bandwidth --targets       the figures to reach, 10 seeds
    python -m benchmarks.bandwidth --quick --rtt 100ms --rate 10mbit

Every system gets the same numbers of entries of the same size, with the same timestamps, drawn
from the same seeds, over real TCP through a counting proxy (QUIC: counted on the interface). A
setsync session's report must agree with the proxy to the byte, or nothing is measured.

Rows called "dry run" only reconcile; "full" rows move the entries too. Byte counts hold anywhere.
Times compare only within one run.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from benchmarks import grid, plots, targets
from benchmarks.peer_setsync import SYSTEMS
from benchmarks.results import Result, averaged, environment, read, show, write
from benchmarks.workload import parse_count
from setsync.bench.link import Link, parse_duration, parse_rate

OTHERS = {"nostr": grid.nostr, "iroh": grid.iroh, "logs": grid.logs}
TARGET_SEEDS = 10
CPU_DIFFERENCE = 200


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def run(plan: grid.Plan, systems: Sequence[str], cache: Path) -> Iterator[Result]:
    """Every result of a plan, as it comes."""
    if "setsync" in systems:
        yield from grid.setsync(plan, cache, say)
    for name, measure in OTHERS.items():
        if name in systems:
            yield from measure(plan, cache, say)


def run_targets(seeds: int, cache: Path) -> Iterator[Result]:
    """Dry runs of setsync alone, at the sizes for which there is a figure to reach."""
    for n in sorted({target.n for target in targets.TARGETS}):
        differences = [target.d for target in targets.TARGETS if target.n == n]
        plan = grid.Plan((n,), differences, (), seeds=seeds)
        yield from grid.dry_runs(plan, cache, say)


# --- pictures ------------------------------------------------------------------------------------


def draw(results: Sequence[Result], folder: Path) -> list[Path]:
    """Reconciling bytes per difference, CPU of the whole exchange, and bytes on logs: of these
    three pictures those for which there are results.

    One series a system, of the same look in both. Of ours the dry runs give the bytes and the
    full ones the CPU; the others reconcile the same bytes either way.
    """
    even = [row for row in results if not _has_shape(row) and not grid.is_of_logs(row)]
    found = [_named(row) for row in even if _is_for_bytes(row)]
    spent = [_named(row) for row in even if "full" in row.variant]
    looks = plots.styles(map(plots.label, [*found, *spent]))
    paths = []
    if any(row.bytes_per_difference for row in found):
        paths += plots.draw_bytes(found, folder / "bytes", n=_largest(found), looks=looks)
    if any(row.cpu and row.d for row in spent):
        d = CPU_DIFFERENCE if any(row.d == CPU_DIFFERENCE for row in spent) else None
        paths += plots.draw_cpu(spent, folder / "cpu", d=d, looks=looks)
    on_logs = [_by_shape(row) for row in results if _is_unforked(row)]
    if any(row.d for row in on_logs):
        paths += plots.draw_logs(on_logs, folder / "logs")
    return paths


def _largest(results: Sequence[Result]) -> int:
    """The picture is of the largest sets: there the systems are furthest apart."""
    return max(row.n for row in results if row.bytes_per_difference)


def _is_for_bytes(row: Result) -> bool:
    ours = row.system in SYSTEMS.values()
    return row.reconcile_bytes is not None and ("dry run" in row.variant or not ours)


def _has_shape(row: Result) -> bool:
    return any(name in row.variant for name, _ in grid.SHAPES)


def _is_unforked(row: Result) -> bool:
    return grid.is_of_logs(row) and "full" in row.variant and "forked" not in row.variant


def _by_shape(row: Result) -> Result:
    """A record whose label is its system, and how many logs there are of how many entries."""
    shape = row.variant.rpartition("logs ")[2].replace(",", "")
    authors, logs, entries = map(int, shape.split(" x "))
    return replace(row, variant=f"{authors * logs:,} logs of {entries:,}")


def _named(row: Result) -> Result:
    """A record whose label is its system, and where the news lie if that matters."""
    names = {"scattered": "news scattered in time", "recent": "all news recent"}
    layout = next((words for name, words in names.items() if name in row.variant), "")
    return replace(row, variant=layout)


# --- command line --------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and write what was asked for."""
    options = _options(argv)
    if options.load:
        results = read(options.load)
    else:
        with cache_folder(options.cache, options.quick) as cache:
            results = _measure(options, cache)
    if options.targets:
        found = targets.verdicts(results)
        show_verdicts(found)
        return 0
    show_all(results)
    if options.plots is not None:
        for path in draw(results, options.plots):
            say(f"wrote {path}")
    return 0


def show_all(results: Sequence[Result]) -> None:
    """Print the tables: sets as such, and those made of logs in the order measured."""
    of_logs = [row for row in results if grid.is_of_logs(row)]
    others = [row for row in results if not grid.is_of_logs(row)]
    if others or not of_logs:
        show(averaged(others), title="To find and settle a difference", notes=False)
    if of_logs:
        show(of_logs, title="Sets made of logs")


def show_verdicts(found: Sequence[targets.Verdict]) -> None:
    """Print the table of targets."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120).print(targets.table(found))


def _measure(options: argparse.Namespace, cache: Path) -> list[Result]:
    """Every result, the file written anew after each so that a break loses little."""
    about = environment(datetime.now(UTC), "setsync")
    if options.targets:
        coming = run_targets(options.seeds or TARGET_SEEDS, cache)
    else:
        systems = ["logs"] if options.logs else options.systems
        coming = run(_plan(options), systems, cache)
    results: list[Result] = []
    for result in coming:
        results.append(result)
        if options.json:
            write(options.json, results, about)
    return results


def _plan(options: argparse.Namespace) -> grid.Plan:
    plan = grid.QUICK if options.quick else grid.Plan()
    link = Link(options.rtt, options.rate)
    has_size = bool(options.n or options.d)
    return replace(
        plan,
        numbers=options.n or plan.numbers,
        differences=options.d or plan.differences,
        shapes=() if has_size else plan.shapes,
        # Logs have sizes of their own.
        logs=() if has_size and not options.logs else plan.logs,
        seeds=options.seeds or 1,
        link=None if link.is_plain else link,
    )


@contextlib.contextmanager
def cache_folder(chosen: Path | None, quick: bool) -> Iterator[Path]:
    """The folder named or the user's own, which stay; a quick run leaves nothing behind."""
    if chosen is None and quick:
        with tempfile.TemporaryDirectory(prefix="setsync-benchmarks-") as folder:
            yield Path(folder)
        return
    yield chosen or Path(platformdirs.user_cache_dir("setsync-benchmarks", appauthor=False))


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bandwidth", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    systems = ["setsync", *OTHERS]
    parser.add_argument("--quick", action="store_true", help="10 k entries, two minutes")
    parser.add_argument("--logs", action="store_true", help="only sets made of logs")
    parser.add_argument("--targets", action="store_true", help="the figures to reach, pass or miss")
    parser.add_argument("--n", type=parse_count, nargs="+", help="common entries")
    parser.add_argument("--d", type=parse_count, nargs="+", help="differing entries")
    parser.add_argument("--seeds", type=int, metavar="N", help="of the entries that differ")
    parser.add_argument("--systems", nargs="+", choices=systems, default=systems)
    parser.add_argument("--rtt", type=parse_duration, default=0.0, metavar="100ms")
    parser.add_argument("--rate", type=parse_rate, default=None, metavar="10mbit")
    parser.add_argument("--cache", type=Path, help="folder of prefilled databases, kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw the pictures here")
    parser.add_argument("--load", type=Path, nargs="+", metavar="FILE", help="measure nothing")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
