"""Many entries at once: a file taken in, and the first sync of an empty node.

    python -m benchmarks.bulk [--entries 1000000] [--json FILE] [--dir DIR]

Everything is the commands as users run them, each in processes of their own, on the cores that
all of them share; the times are those of the whole command, its start included. What they are
compared with is PyNaCl verifying these signatures and doing nothing else, in one process a core,
before and after each run: the machine may be busier at one moment than at another.

Entries have 300 bytes, header and payload, of 100 authors, and payloads that do not compress.
They are signed before the clock runs. Linux only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from nacl.signing import VerifyKey
from rich.console import Console
from rich.table import Table

from benchmarks.usage import SAMPLE_SECONDS, anonymous
from setsync.model.entry import make_entry
from setsync.model.keys import SecretKey
from setsync.store.contract import StoredEntry
from setsync.store.exchange import read_export, write_export

ENTRY_BYTES = 300
COLLECTION = "benchmark"
AUTHORS = 100
FIRST_MS = 1_600_000_000_000
PART = 5_000
BARE_ENTRIES = 20_000
PATIENCE = 60.0
# To look at all threads of three processes takes half a millisecond of the cores that they share.
LOOK_SECONDS = 0.1

# At a million entries.
TARGET_IMPORT = 0.7
TARGET_SYNC = 0.5
TARGET_ANONYMOUS = 200_000_000
TARGET_DISK = 160


class BulkError(Exception):
    """A command did not do what it was asked."""


@dataclass(frozen=True, slots=True)
class Run:
    """One command over all entries. `bare`: what PyNaCl verifies meanwhile, a second, on all
    cores. `cpu`: seconds of each side with the processes it started, `anonymous`: the most
    RssAnon of each side, bytes, likewise. `beyond`: bytes on the disk that are not the entries'
    own, an entry."""

    what: str
    entries: int
    wall: float
    bare: float
    cpu: tuple[float, ...]
    anonymous: tuple[int, ...]
    beyond: float

    @property
    def rate(self) -> float:
        """Entries a second."""
        return self.entries / self.wall

    @property
    def ratio(self) -> float:
        """Of the bare rate."""
        return self.rate / self.bare


# --- entries ------------------------------------------------------------------------------


def signed(first: int, last: int) -> list[tuple[bytes, bytes, bytes]]:
    """Header, payload and id of the entries of these numbers."""
    keys = [SecretKey(hashlib.sha256(b"author %d" % n).digest()) for n in range(AUTHORS)]
    size = ENTRY_BYTES - len(make_entry(keys[0], COLLECTION, b"", FIRST_MS).header)
    found: list[tuple[bytes, bytes, bytes]] = []
    for number in range(first, last):
        payload = hashlib.shake_128(b"payload %d" % number).digest(size)
        entry = make_entry(keys[number % AUTHORS], COLLECTION, payload, FIRST_MS + number)
        found.append((entry.header, payload, entry.id))
    return found


def write_file(path: Path, entries: int) -> None:
    """An export file, signed in as many processes as there are cores."""
    starts = range(0, entries, PART)
    ends = [min(start + PART, entries) for start in starts]
    with _pool() as pool, path.open("wb") as file:
        rows = (row for part in pool.map(signed, starts, ends) for row in part)
        write_export(
            file, (StoredEntry(id_, 0, COLLECTION, header, own) for header, own, id_ in rows)
        )


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn"))


# --- the bare rate ------------------------------------------------------------------------


class Bare:
    """PyNaCl alone, on all cores, on entries of a file."""

    def __init__(self, path: Path) -> None:
        self._jobs: list[list[tuple[bytes, bytes]]] = [[] for _ in range(os.cpu_count() or 1)]
        with path.open("rb") as file:
            for number, entry in enumerate(read_export(file)):
                if number == BARE_ENTRIES:
                    break
                header = entry.header
                self._jobs[number % len(self._jobs)].append(
                    (header[1:33], header[-64:] + header[:-64])
                )
        self._pool = _pool()

    def rate(self) -> float:
        """Signatures a second, of all cores together while all are at it."""
        each = list(self._pool.map(verify_all, self._jobs))
        return sum(count / seconds for count, seconds in each)

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown()


def verify_all(signatures: Sequence[tuple[bytes, bytes]]) -> tuple[int, float]:
    """How many were verified, and in how many seconds."""
    keys = {key: VerifyKey(key) for key, _ in signatures}
    start = time.perf_counter()
    for key, message in signatures:
        keys[key].verify(message)
    return len(signatures), time.perf_counter() - start


# --- the commands -------------------------------------------------------------------------


class Command:
    """A command of setsync in a process of its own, watched until it ends."""

    def __init__(self, *words: object) -> None:
        self._words = " ".join(map(str, words))
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `stop`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "setsync", *map(str, words)],
            stdout=self._said,
            stderr=self._said,
        )
        self.anonymous = 0
        self.cpu = 0.0
        self._code: int | None = None

    def is_running(self) -> bool:
        """Whether it runs still; takes a sample of its memory, with all below it."""
        if self._code is None:
            self.anonymous = max(self.anonymous, anonymous(self._process.pid))
            ended, status, used = os.wait4(self._process.pid, os.WNOHANG)
            if ended:
                self._process.returncode = self._code = os.waitstatus_to_exitcode(status)
                # Of all that it started and waited for, too.
                self.cpu = used.ru_utime + used.ru_stime
        return self._code is None

    def finish(self, *beside: Command) -> str:
        """Wait for its end, watching others too; what it said. Raises BulkError."""
        while self.is_running():
            for other in beside:
                if not other.is_running():
                    raise BulkError(f"setsync {other._words} has ended: {other._output()}")
            time.sleep(LOOK_SECONDS)
        if self._code:
            raise BulkError(f"setsync {self._words} failed: {self._output()}")
        return self._output()

    def stop(self) -> None:
        """Have it end in order."""
        if self.is_running():
            self._process.terminate()
            while self.is_running():
                time.sleep(SAMPLE_SECONDS)
        self._said.close()

    def _output(self) -> str:
        self._said.seek(0)
        return self._said.read().strip()


@contextmanager
def command(*words: object) -> Iterator[Command]:
    """A command that is gone at the end of the block."""
    running = Command(*words)
    try:
        yield running
    finally:
        running.stop()


def address_in(ready: Path, is_running: Callable[[], bool]) -> str:
    """The address that a node writes into a file when it listens. Raises BulkError."""
    deadline = time.monotonic() + PATIENCE
    while not ready.exists():
        if not is_running() or time.monotonic() > deadline:
            raise BulkError("the node does not listen")
        time.sleep(SAMPLE_SECONDS)
    return ready.read_text(encoding="ascii").strip()


def new_node(folder: Path) -> Path:
    """An empty data directory."""
    with command("init", "--data", folder) as running:
        running.finish()
    return folder


def run_import(file: Path, data: Path, entries: int, bare: Bare) -> Run:
    """Take in a file."""
    new_node(data)
    before, start = bare.rate(), time.perf_counter()
    with command("import", file, "--data", data, "--progress", "none", "--json") as running:
        said = json.loads(running.finish())
    wall = time.perf_counter() - start
    if said["new"] != entries:
        raise BulkError(f"of {entries} entries {said['new']} are new")
    return Run(
        "import",
        entries,
        wall,
        statistics.mean([before, bare.rate()]),
        (running.cpu,),
        (running.anonymous,),
        _beyond(data, entries),
    )


def run_sync(full: Path, data: Path, entries: int, bare: Bare) -> Run:
    """Let an empty node fetch everything over the secure channel. Both have just started."""
    new_node(data)
    ready = full / "address"
    before = bare.rate()
    with command(
        *("serve", "--data", full, "--listen", "127.0.0.1:0"),
        *("--access", "open", "--ready-file", ready),
    ) as server:
        address = address_in(ready, server.is_running)
        start = time.perf_counter()
        with command(
            "sync", address, "--data", data, "--trust-first", "--progress", "none", "--json"
        ) as client:
            client.finish(server)
        wall = time.perf_counter() - start
    return Run(
        "first sync",
        entries,
        wall,
        statistics.mean([before, bare.rate()]),
        (server.cpu, client.cpu),
        (server.anonymous, client.anonymous),
        _beyond(data, entries),
    )


def _beyond(data: Path, entries: int) -> float:
    return (data / "store" / "data.mdb").stat().st_size / entries - ENTRY_BYTES


# --- all of it ----------------------------------------------------------------------------


def measure(folder: Path, entries: int) -> list[Run]:
    """Both, one after the other."""
    file = folder / "all.setsync"
    write_file(file, entries)
    bare = Bare(file)
    try:
        imported = run_import(file, folder / "full", entries, bare)
        synced = run_sync(folder / "full", folder / "empty", entries, bare)
    finally:
        bare.close()
    return [imported, synced]


def show(runs: Sequence[Run], console: Console) -> None:
    """A table, with the figures to reach."""
    table = Table(title=f"Entries of {ENTRY_BYTES} bytes, {os.cpu_count()} cores")
    headings = ("", "entries", "s", "a second", "bare", "of bare", "to reach", "CPU, us each")
    for heading in (*headings, "RssAnon, MB", "beyond, B each"):
        table.add_column(heading, justify="right")
    targets = {"import": TARGET_IMPORT, "first sync": TARGET_SYNC}
    for run in runs:
        table.add_row(
            run.what,
            f"{run.entries:,}",
            f"{run.wall:.1f}",
            f"{run.rate:,.0f}",
            f"{run.bare:,.0f}",
            f"{run.ratio:.2f}",
            f">= {targets[run.what]}",
            " + ".join(f"{1e6 * cpu / run.entries:.1f}" for cpu in run.cpu),
            " + ".join(f"{size / 1e6:.0f}" for size in run.anonymous),
            f"{run.beyond:.0f}",
        )
    console.print(table)
    console.print(
        f"To reach at a million: RssAnon <= {TARGET_ANONYMOUS / 1e6:.0f} MB on either side, "
        f"<= {TARGET_DISK} bytes beyond an entry's own."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="100,000 entries")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--dir", type=Path, help="where the nodes are made (default: temporary)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="setsync-bulk-", dir=options.dir))
    load = os.getloadavg()[0]
    try:
        runs = measure(folder, 100_000 if options.quick else options.entries)
    finally:
        shutil.rmtree(folder)
    console = Console()
    show(runs, console if console.is_terminal else Console(width=120))
    if options.json:
        result = {
            "date": time.strftime("%Y-%m-%d"),
            "cores": os.cpu_count(),
            "load": load,
            "python": platform.python_version(),
            "entry_bytes": ENTRY_BYTES,
            "runs": [asdict(run) | {"rate": run.rate, "ratio": run.ratio} for run in runs],
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
