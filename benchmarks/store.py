"""What the store costs: time of an insert, bytes on disk, opening.

    python -m benchmarks.store            10 k, 100 k and 1 M entries, about three minutes
    python -m benchmarks.store --quick    10 k and 100 k, about twenty seconds

Entries have 300 bytes (header and payload) and made-up signatures, since verifying is
measured elsewhere; they are made outside the clock. Everything comes from one fixed seed.
Each row fills one store; a figure at n is the mean of all n inserts, commits included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from setsync.model.entry import Entry, UnverifiedEntry, entry_id, make_entry, trusted
from setsync.model.keys import SecretKey
from setsync.store.lmdb_store import Store

SEED = 20_261_122
ENTRY_BYTES = 300
COLLECTION = "benchmark"
ROWS = [("random", 1_000), ("random", 10_000), ("by id", 1_000), ("by id", 10_000)]
# At 1 M entries, microseconds each; from the design's table of figures to reach.
TARGETS = {("random", 1_000): 60.0, ("random", 10_000): 25.0, ("by id", 10_000): 25.0}
TARGET_DISK = 160.0
TARGET_OPEN_MS = 50.0


@dataclass(frozen=True)
class Filled:
    """What filling a store to `entries` cost."""

    arrival: str
    batch: int
    entries: int
    us_each: float
    cpu_us_each: float
    disk_bytes_beyond_entry: float


class Maker:
    """Entries by number, the same in every run."""

    def __init__(self) -> None:
        model = make_entry(SecretKey(bytes(32)), COLLECTION, b"", 0)
        payload = bytes(ENTRY_BYTES - len(model.header))
        model = make_entry(SecretKey(bytes(32)), COLLECTION, payload, 0)
        self._head = model.header[:-64]
        self._payload = payload

    def header(self, number: int) -> bytes:
        """A header with a number where its signature would be."""
        return self._head + number.to_bytes(64, "big")

    def entry(self, number: int) -> Entry:
        """The entry of a number."""
        return trusted(UnverifiedEntry(COLLECTION, self.header(number), self._payload))

    def order(self, arrival: str, entries: int) -> list[int]:
        """In which order the numbers below `entries` arrive."""
        numbers = list(range(entries))
        if arrival == "by id":
            numbers.sort(key=lambda number: entry_id(self.header(number)))
        else:
            random.Random(SEED).shuffle(numbers)
        return numbers


def fill(folder: Path, arrival: str, batch: int, sizes: list[int]) -> Iterator[Filled]:
    """Fill one store to the largest of `sizes`, with a figure at each.

    In the order of ids each size is a store of its own, since the first tenth of the ids is
    not a smaller set of the same kind.
    """
    maker = Maker()
    runs = [sizes] if arrival == "random" else [[size] for size in sizes]
    for run in runs:
        shutil.rmtree(folder, ignore_errors=True)
        numbers = maker.order(arrival, run[-1])
        seconds = cpu = 0.0
        with Store.open(folder) as store:
            for low in range(0, len(numbers), batch):
                entries = [maker.entry(number) for number in numbers[low : low + batch]]
                start, cpu_start = time.perf_counter(), time.process_time()
                store.add_many(entries)
                seconds += time.perf_counter() - start
                cpu += time.process_time() - cpu_start
                done = low + len(entries)
                if done in run:
                    beyond = store.bytes_on_disk / done - ENTRY_BYTES
                    each = 1e6 / done
                    yield Filled(arrival, batch, done, seconds * each, cpu * each, beyond)


_OPEN = """
import sys, time
from setsync.store.lmdb_store import Store
start = time.perf_counter()
with Store.open(sys.argv[1], create=False) as store, store.snapshot() as snapshot:
    snapshot.collections()[0][1].digest
    print((time.perf_counter() - start) * 1e3)
"""


def opening(folder: Path, times: int = 7) -> float:
    """Milliseconds from nothing to the root, imports aside: the median of fresh processes."""
    found = [
        subprocess.run(
            [sys.executable, "-c", _OPEN, str(folder)], check=True, capture_output=True, text=True
        ).stdout
        for _ in range(times)
    ]
    return statistics.median(map(float, found))


def show(filled: list[Filled], opened: dict[int, float], console: Console) -> None:
    """The tables, with the figures to reach where there are some."""
    table = Table(title=f"Filling a store, entries of {ENTRY_BYTES} bytes")
    for heading in (
        "arrival",
        "batch",
        "entries",
        "us each",
        "to reach",
        "CPU us",
        "disk beyond, B",
        "to reach",
    ):
        table.add_column(heading, justify="right")
    for row in filled:
        million = row.entries == 1_000_000
        target = TARGETS.get((row.arrival, row.batch)) if million else None
        disk = TARGET_DISK if million and (row.arrival, row.batch) == ("random", 1_000) else None
        table.add_row(
            row.arrival,
            f"{row.batch:,}",
            f"{row.entries:,}",
            f"{row.us_each:.1f}",
            "" if target is None else f"<= {target:.0f}",
            f"{row.cpu_us_each:.1f}",
            f"{row.disk_bytes_beyond_entry:.0f}",
            "" if disk is None else f"<= {disk:.0f}",
        )
    console.print(table)
    for entries, milliseconds in opened.items():
        console.print(
            f"Opening a store of {entries:,} and answering its root: {milliseconds:.1f} ms"
            f" (to reach at 1 M: <= {TARGET_OPEN_MS:.0f} ms)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="10 k and 100 k only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--dir", type=Path, help="where the stores are made (default: temporary)")
    options = parser.parse_args()
    sizes = [10_000, 100_000] if options.quick else [10_000, 100_000, 1_000_000]
    console = Console()
    if not console.is_terminal:
        console = Console(width=100)
    filled: list[Filled] = []
    opened: dict[int, float] = {}
    with tempfile.TemporaryDirectory(dir=options.dir) as scratch:
        folder = Path(scratch) / "store"
        for arrival, batch in ROWS:
            for row in fill(folder, arrival, batch, sizes):
                filled.append(row)
                console.print(f"{arrival}, batches of {batch:,}: {row.entries:,} done", style="dim")
            if (arrival, batch) == ROWS[0]:
                opened[sizes[-1]] = opening(folder)
    show(filled, opened, console)
    if options.json:
        result = {
            "date": time.strftime("%Y-%m-%d"),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "seed": SEED,
            "entry_bytes": ENTRY_BYTES,
            "filled": [asdict(row) for row in filled],
            "opening_ms": {str(entries): ms for entries, ms in opened.items()},
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
