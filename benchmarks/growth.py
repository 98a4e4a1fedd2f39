"""What the size of a set does to its costs: inserting, the root, a split, reconciling.

    python -m benchmarks.growth            10 k, 100 k and 1 M entries, about three minutes
    python -m benchmarks.growth --all      10 M as well: a quarter of an hour, 15 GB of disk
    python -m benchmarks.growth --quick    10 k and 100 k, under a minute

One store grows through all sizes, by imports as `setsync import` does them; at each size copies of
it are asked, added to and reconciled. Entries have 300 bytes and, but for the news between two
stores, made-up signatures: verifying is measured elsewhere. Everything comes from one fixed seed.
A figure "at n" is that of the last tenth of the inserts. Rows, pages and bytes are exact and
repeat; of times compare those of one run, and CPU rather than wall.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.growth_node import ORDERED_BATCH
from benchmarks.peer_setsync import Nodes
from benchmarks.plots import PlotError
from benchmarks.results import Result, count, environment, size
from benchmarks.store import ENTRY_BYTES, SEED, opening
from benchmarks.stores import Pair
from benchmarks.usage import Meter
from benchmarks.workers import Fields, PeerError, Worker, WorkerError
from benchmarks.workload import Workload, parse_count
from setsync.limits import MIB
from setsync.store.environment import DATA_FILE
from setsync.store.lmdb_store import Store

SIZES, QUICK_SIZES, MOST = (10_000, 100_000, 1_000_000), (10_000, 100_000), 10_000_000
# What takes a second is done as often, and its medians are shown.
REPEATS, REPEATED = 5, 100_000
BATCH, BATCHES = 1_000, 7
DIFFERENT, TURNS, DRY_RUNS = 200, 3, 3
OPENINGS = 7
NODE, PEER = "benchmarks.growth_node", "benchmarks.setsync_node"
PATIENCE = 7_200.0
NARROWEST = 130

# To reach. Bytes at 1 M are those of benchmarks/targets.py.
MOST_TIMES = 2.0
MOST_MEMORY = 200_000_000
MOST_BYTES = 7_000
MOST_DISK, DISK_AT = 160, 1_000_000

ARRIVALS = ("random", "by id")
WAYS = ("import, random order", f"in the order of ids, {ORDERED_BATCH:,} at once")

Row = TypeVar("Row", "Filled", "More")


# --- what is found -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Filled:
    """What a store of `entries` took to be filled: the mean of all, and at that size.

    Microseconds an entry; entries in a commit; bytes of disk beyond an entry's own; anonymous
    memory in bytes of the process since the size before.
    """

    arrival: str
    entries: int
    us: float
    cpu_us: float
    us_at: float
    cpu_us_at: float
    in_commit: float
    disk_beyond: float
    memory: int


@dataclass(frozen=True)
class More:
    """One more commit of BATCH random entries: microseconds an entry, the median of several."""

    entries: int
    us: float
    cpu_us: float


@dataclass(frozen=True)
class Asked:
    """What questions to a store of `entries` take.

    open_ms      from nothing to the root in a fresh process, imports aside
    split_us     to answer a split, a range of two digits: the median of many
    *_rows       rows read for an answer, the most of all
    *_pages      pages of LMDB's trees on the way to them
    insert_*     nodes of the trie that one more entry reads and writes, up to the new root: most
                 and mean
    """

    entries: int
    open_ms: float
    split_us: float
    root_rows: int
    root_pages: int
    split_rows: int
    split_pages: int
    insert_read: int
    insert_read_mean: float
    insert_written: int
    insert_written_mean: float


@dataclass(frozen=True)
class Reconciled:
    """Two stores of `entries` common ones made equal, `different` scattered over both sides.

    Seconds, and CPU of both sides together: medians. `cold`: a dry run of nodes that have just
    started, whose files the kernel has not cached. Bytes: means. `memory_*`: anonymous memory at
    most.
    """

    entries: int
    different: int
    reconcile_bytes: float
    all_bytes: float
    round_trips: int
    dry_cpu: float
    dry_wall: float
    cold_cpu: float
    cold_wall: float
    cpu: float
    wall: float
    memory_initiator: int
    memory_responder: int


@dataclass(frozen=True)
class Growth:
    """Everything, in order of size."""

    filled: list[Filled] = field(default_factory=list)
    more: list[More] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    reconciled: list[Reconciled] = field(default_factory=list)

    def arrived(self, arrival: str) -> list[Filled]:
        """Those of one order of arrival."""
        return [row for row in self.filled if row.arrival == arrival]

    def inserts(self) -> dict[str, dict[int, float]]:
        """CPU of an insert at each size, in microseconds, by what was done."""
        found = {
            name: {row.entries: row.cpu_us_at for row in self.arrived(arrival)}
            for name, arrival in zip(WAYS, ARRIVALS, strict=True)
        }
        return found | {f"{BATCH:,} more at once": {row.entries: row.cpu_us for row in self.more}}

    def wholes(self) -> dict[str, dict[int, float]]:
        """The same, the mean of all inserts from the empty store to each size."""
        return {
            f"{name}, all from none": {row.entries: row.cpu_us for row in self.arrived(arrival)}
            for name, arrival in zip(WAYS, ARRIVALS, strict=True)
        }


@dataclass(frozen=True)
class Decade:
    """How a cost at one size stands to that at a tenth of it."""

    what: str
    low: int
    high: int
    times: float

    @property
    def passes(self) -> bool:
        """Whether it has at most doubled."""
        return self.times <= MOST_TIMES


def decades(inserts: dict[str, dict[int, float]]) -> list[Decade]:
    """Of every way to insert, between each size and the next."""
    return [
        Decade(what, low, high, costs[high] / costs[low])
        for what, costs in inserts.items()
        for low, high in pairwise(sorted(costs))
    ]


# --- measuring ---------------------------------------------------------------------------------

Say = Callable[[str], None]


def measure(scratch: Path, sizes: Sequence[int], say: Say) -> Growth:
    """Everything at each size, in ascending order, in a folder that is left as it was."""
    growth = Growth()
    with _folder(scratch) as folder:
        for row in _imports(folder / "store", sizes, say):
            growth.filled.append(row)
            growth.asked.append(asked(folder / "store", row.entries))
            growth.more.append(more(folder, row.entries))
            say(f"{row.entries:,}: reconciling")
            growth.reconciled.append(reconciled(folder, row.entries))
    for entries in sizes:
        say(f"{entries:,}: in the order of ids")
        runs = [_in_order(scratch, entries) for _ in range(_times(entries))]
        growth.filled.append(_medians(runs))
    return growth


@contextmanager
def _folder(above: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="growth-", dir=above) as name:
        yield Path(name)


def _times(entries: int) -> int:
    return REPEATS if entries <= REPEATED else 1


def _medians(rows: Sequence[Row]) -> Row:
    """One row for several of the same size."""
    first = rows[0]
    names = [one.name for one in fields(first) if one.name not in ("arrival", "entries")]
    return replace(
        first, **{name: statistics.median(getattr(row, name) for row in rows) for name in names}
    )


def _imports(store: Path, sizes: Sequence[int], say: Say) -> Iterator[Filled]:
    """Import up to each size into one store; small ones also into others, which are gone."""
    small = [entries for entries in sizes if entries <= REPEATED]
    others: list[list[Filled]] = []
    for _ in range(REPEATS - 1 if small else 0):
        with _folder(store.parent) as folder:
            others.append(list(_import(folder, small)))
    for place, row in enumerate(_import(store, sizes)):
        say(f"{row.entries:,}: imported at {row.us_at:.1f} us an entry")
        yield _medians([row, *(rows[place] for rows in others if place < len(rows))])


def _import(store: Path, sizes: Sequence[int]) -> Iterator[Filled]:
    before, pieces = 0, list[Fields]()
    for entries in sizes:
        marks = [mark for mark in (entries * 9 // 10, entries) if mark > before]
        found, memory = _run("fill", folder=str(store), low=before, marks=marks)
        pieces += found["pieces"]
        before = entries
        yield _filled("random", entries, pieces, found["disk"], memory)


def _in_order(above: Path, entries: int) -> Filled:
    """A store of its own, since the first tenth of the ids is no smaller set of the same kind."""
    with _folder(above) as folder:
        file = str(folder / "order")
        _run("order", file=file, entries=entries)
        store, marks = str(folder / "store"), [entries * 9 // 10, entries]
        found, memory = _run("fill_in_order", folder=store, file=file, marks=marks)
        return _filled("by id", entries, found["pieces"], found["disk"], memory)


def _run(do: str, **words: Any) -> tuple[Fields, int]:
    """What a process of its own answers, and its anonymous memory at most."""
    with Worker(NODE) as node:
        node.ask("ready")
        with Meter(node=node.pid) as meter:
            found = node.ask(do, within=PATIENCE, **words)
        return found, meter.usage["node"].peak_anon


def _filled(arrival: str, entries: int, pieces: Sequence[Fields], disk: int, memory: int) -> Filled:
    last = pieces[-1]
    return Filled(
        arrival,
        entries,
        us=1e6 * sum(piece["wall"] for piece in pieces) / entries,
        cpu_us=1e6 * sum(piece["cpu"] for piece in pieces) / entries,
        us_at=1e6 * last["wall"] / last["entries"],
        cpu_us_at=1e6 * last["cpu"] / last["entries"],
        in_commit=last["entries"] / last["commits"],
        disk_beyond=disk / entries - ENTRY_BYTES,
        memory=memory,
    )


def asked(store: Path, entries: int) -> Asked:
    """Questions to a store that nobody writes."""
    found, _ = _run("ask", folder=str(store))
    return Asked(entries, open_ms=opening(store, OPENINGS), **found)


def more(folder: Path, entries: int) -> More:
    """Batches into copies of a store, none of which grows by more than a tenth, or a batch."""
    in_copy = min(BATCHES, max(1, entries // 10 // BATCH))
    took: list[Fields] = []
    while len(took) < BATCHES:
        with _folder(folder) as place:
            copy(folder / "store", place / "copy")
            words = {"batch": BATCH, "batches": in_copy}
            took += _run("add", folder=str(place / "copy"), **words)[0]["took"]
    each = 1e6 / BATCH
    return More(
        entries,
        statistics.median(one["wall"] for one in took) * each,
        statistics.median(one["cpu"] for one in took) * each,
    )


def copy(store: Path, target: Path) -> None:
    """A copy, in the kernel's cache as the store itself."""
    with Store.open(store, create=False) as opened:
        opened.copy(target)
    _warm(target)


def _warm(store: Path) -> None:
    """Have the kernel cache the file page by page, as LMDB does. Read ahead, it would be cached in
    pieces of up to 2 MB, of which every page that is written later would cost twice as much."""
    with (store / DATA_FILE).open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        while file.read(MIB):
            pass


def reconciled(folder: Path, entries: int) -> Reconciled:
    """Two copies of a store, to which news are added several times."""
    dry: list[Result] = []
    whole: list[Result] = []
    anonymous: list[tuple[int, int]] = []
    with _folder(folder) as place:
        near, far = place / "initiator", place / "responder"
        copy(folder / "store", near)
        copy(folder / "store", far)
        for turn in range(TURNS):
            pair = _differing(near, far, entries, turn)
            if not turn:
                cold = _cold(pair)
                _warm(near)
                _warm(far)
            with _peers() as (one, other), Meter(near=one.pid, far=other.pid) as meter:
                nodes = Nodes(pair, one, other)
                dry += [nodes.session() for _ in range(DRY_RUNS)]
                whole.append(nodes.session(dry_run=False))
                meter.stop()
            usage = meter.usage
            anonymous.append((usage["near"].peak_anon, usage["far"].peak_anon))
    return Reconciled(
        entries,
        DIFFERENT,
        statistics.mean(row.reconcile_bytes or 0 for row in dry),
        statistics.mean(row.total_bytes or 0 for row in whole),
        max(row.round_trips or 0 for row in dry),
        *_middle(dry),
        *_middle([cold]),
        *_middle(whole),
        *map(max, zip(*anonymous, strict=True)),
    )


def _middle(rows: Sequence[Result]) -> tuple[float, float]:
    """Medians of CPU and wall."""
    return (
        statistics.median(row.cpu or 0.0 for row in rows),
        statistics.median(row.wall or 0.0 for row in rows),
    )


def _differing(near: Path, far: Path, entries: int, turn: int) -> Pair:
    """Add to both what the other lacks."""
    low = DIFFERENT * turn
    _run("add_signed", folders=[str(near), str(far)], low=low, high=low + DIFFERENT)
    common = entries + DIFFERENT * turn
    return Pair(near, far, Workload.even(common, DIFFERENT))


def _cold(pair: Pair) -> Result:
    with _peers() as (near, far):
        return Nodes(pair, near, far, cold=True).session()


@contextmanager
def _peers() -> Iterator[tuple[Worker, Worker]]:
    with Worker(PEER) as near, Worker(PEER) as far:
        yield near, far


# --- what is shown -----------------------------------------------------------------------------


def tables(growth: Growth) -> Iterator[Table]:
    """What docs/benchmarks.md shows."""
    yield _table(
        "Filling a store, us an entry",
        "arrival, n, CPU, CPU at n, wall, wall at n, in a commit, disk beyond, memory",
        map(_filled_cells, growth.filled),
    )
    yield _table(
        f"{BATCH:,} more entries into a store of n, and questions to it",
        "n, batch CPU us each, wall us, root ms, rows, pages, split us, rows, pages, "
        "an entry reads, writes",
        map(_asked_cells, growth.more, growth.asked),
    )
    yield _table(
        f"Reconciling {DIFFERENT} differences; CPU of both sides",
        "n, bytes, trips, dry CPU ms, wall ms, cold CPU ms, wall ms, sync bytes, CPU ms, wall ms, "
        "memory",
        map(_reconciled_cells, growth.reconciled),
    )


def _filled_cells(row: Filled) -> list[str]:
    times = (row.cpu_us, row.cpu_us_at, row.us, row.us_at)
    return [
        row.arrival,
        count(row.entries),
        *(f"{us:.1f}" for us in times),
        f"{row.in_commit:,.0f}",
        f"{row.disk_beyond:.0f} B",
        size(round(row.memory)),
    ]


def _asked_cells(batch: More, row: Asked) -> list[str]:
    return [
        count(row.entries),
        f"{batch.cpu_us:.1f}",
        f"{batch.us:.1f}",
        f"{row.open_ms:.1f}",
        *map(str, (row.root_rows, row.root_pages)),
        f"{row.split_us:.0f}",
        *map(str, (row.split_rows, row.split_pages)),
        f"{row.insert_read_mean:.1f}, most {row.insert_read}",
        f"{row.insert_written_mean:.1f}, most {row.insert_written}",
    ]


def _reconciled_cells(row: Reconciled) -> list[str]:
    times = (row.dry_cpu, row.dry_wall, row.cold_cpu, row.cold_wall)
    return [
        count(row.entries),
        f"{row.reconcile_bytes:,.0f} B",
        str(row.round_trips),
        *(f"{1e3 * seconds:.1f}" for seconds in times),
        size(round(row.all_bytes)),
        *(f"{1e3 * seconds:.1f}" for seconds in (row.cpu, row.wall)),
        f"{size(row.memory_initiator)} + {size(row.memory_responder)}",
    ]


def _table(title: str, headings: str, rows: Iterable[Sequence[str]]) -> Table:
    grid = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings.split(", "):
        grid.add_column(heading, justify="right")
    for row in rows:
        grid.add_row(*row)
    return grid


def verdicts(growth: Growth) -> Iterator[str]:
    """A line for everything that is to be reached."""
    for one in decades(growth.inserts() | growth.wholes()):
        decade = f"{count(one.low)} to {count(one.high)}"
        yield _verdict(f"{one.what}, {decade}: {one.times:.2f} times the CPU", one.passes, "2")
    memory = max(
        *(row.memory for row in growth.filled),
        *(max(row.memory_initiator, row.memory_responder) for row in growth.reconciled),
    )
    yield _verdict(f"anonymous memory: {size(memory)}", memory <= MOST_MEMORY, size(MOST_MEMORY))
    most = max(row.reconcile_bytes for row in growth.reconciled)
    yield _verdict(f"bytes to reconcile: {most:,.0f}", most <= MOST_BYTES, f"{MOST_BYTES:,}")
    for row in growth.arrived("random"):
        if row.entries == DISK_AT:
            what = f"disk beyond an entry at {count(row.entries)}: {row.disk_beyond:.0f} B"
            yield _verdict(what, row.disk_beyond <= MOST_DISK, f"{MOST_DISK} B")


def _verdict(what: str, passes: bool, limit: str) -> str:
    word = "[green]yes[/green]" if passes else "[red]NO[/red]"
    return f"{word}  {what} (to reach: at most {limit})"


def write(path: Path, growth: Growth) -> None:
    """The figures as JSON."""
    about = environment(datetime.now(UTC), "setsync") | {"seed": SEED, "entry_bytes": ENTRY_BYTES}
    path.write_text(json.dumps({"about": about, **asdict(growth)}, indent=1) + "\n")


def read(path: Path) -> Growth:
    """The figures that `write` wrote."""
    found = json.loads(path.read_text())
    kinds = {"filled": Filled, "more": More, "asked": Asked, "reconciled": Reconciled}
    return Growth(**{name: [kind(**row) for row in found[name]] for name, kind in kinds.items()})


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when a process fails or a session finds something else."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="10 k and 100 k only")
    sizes.add_argument("--all", action="store_true", help="10 M as well")
    sizes.add_argument("--sizes", type=parse_count, nargs="+", metavar="N", help="these instead")
    sizes.add_argument("--read", type=Path, metavar="FILE", help="show what --json wrote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw growth.png and .svg there")
    parser.add_argument("--dir", type=Path, help="where the stores are made (default: temporary)")
    options = parser.parse_args(arguments)
    chosen = options.sizes or (QUICK_SIZES if options.quick else SIZES + (MOST,) * options.all)
    try:
        growth = read(options.read) if options.read else _measured(options.dir, sorted(chosen))
    except (PeerError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json:
        write(options.json, growth)
    screen = Console()
    screen = screen if screen.is_terminal else Console(width=NARROWEST)
    for table in tables(growth):
        screen.print(table)
    for line in verdicts(growth):
        screen.print(line, highlight=False)
    return _draw(growth, options.plots) if options.plots else 0


def _measured(above: Path | None, sizes: Sequence[int]) -> Growth:
    with tempfile.TemporaryDirectory(dir=above) as scratch:
        return measure(Path(scratch), sizes, lambda text: print(text, file=sys.stderr))


def _draw(growth: Growth, folder: Path) -> int:
    from benchmarks.growth_plot import draw

    try:
        for path in draw(growth, folder / "growth"):
            print(path)
    except PlotError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
