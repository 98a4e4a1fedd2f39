"""What it costs to put Bamboo logs into the set: time, memory and disk.

    python -m benchmarks.ingest [--logs 10000] [--entries 100] [--chain 100000]

Makes logs from a fixed seed, 10 a file, their entries taking turns, as JSON lines with payloads.
Then the command itself, `setsync bamboo ingest`, in a process of its own: entries a second, and
the most anonymous memory (RssAnon, sampled) of it and of the processes it starts, together. Then
one long log, added to a store in order, backwards and shuffled: what an order of arrival costs.
Linux only.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bamboo_compat.core.entry import decode
from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.set.format import collection_of
from benchmarks.bamboo import LOGS_A_FILE, make_log, write_files
from benchmarks.usage import SAMPLE_SECONDS, anonymous
from setsync.limits import COMMIT_ENTRIES
from setsync.model.entry import Entry, UnverifiedEntry, trusted
from setsync.store.lmdb_store import Store

PROFILE = "rfc0001"
TARGET_MIB = 300


@dataclass(frozen=True, slots=True)
class Ingest:
    """One run of the command."""

    entries: int
    seconds: float
    anonymous: int
    disk: int


@dataclass(frozen=True, slots=True)
class Chain:
    """One long log in one order of arrival: microseconds an entry, and the longest batch."""

    order: str
    each: float
    longest: float


def make_files(folder: Path, logs: int, length: int) -> None:
    """The logs, in as many processes as there are cores."""
    for name in ("lines", "alone"):
        (folder / name).mkdir()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        firsts = range(0, logs, LOGS_A_FILE)
        list(pool.map(write_files, [folder] * len(firsts), firsts, [length] * len(firsts)))


def run_command(folder: Path, data: Path, entries: int) -> Ingest:
    """Ingest the files, and look at the process and its children meanwhile."""
    setsync = [sys.executable, "-m", "setsync"]
    subprocess.run([*setsync, "init", "--data", str(data)], check=True, capture_output=True)
    command = [*setsync, "bamboo", "ingest", "--data", str(data), "--profile", PROFILE, "--json"]
    start, most = time.perf_counter(), 0
    with subprocess.Popen(
        [*command, "--progress", "none", str(folder / "lines")], stdout=subprocess.PIPE
    ) as process:
        while process.poll() is None:
            time.sleep(SAMPLE_SECONDS)
            most = max(most, anonymous(process.pid))
        took = time.perf_counter() - start
        assert process.stdout is not None
        report = json.loads(process.stdout.read())
    assert (report["new"], report["verified"]) == (entries, entries), report
    return Ingest(entries, took, most, (data / "store" / "data.mdb").stat().st_size)


def run_chain(length: int) -> list[Chain]:
    """One log into a new store, in three orders."""
    entries = [_member(data, payload) for data, payload in make_log(0, length)]
    shuffled = entries.copy()
    random.Random(1).shuffle(shuffled)
    orders = {"in order": entries, "backwards": entries[::-1], "shuffled": shuffled}
    return [_add(order, some) for order, some in orders.items()]


def _member(data: bytes, payload: bytes) -> Entry:
    collection = collection_of(PROFILES[PROFILE], decode(data), payload)
    return trusted(UnverifiedEntry(collection, data, payload))


def _add(order: str, entries: Sequence[Entry]) -> Chain:
    longest = 0.0
    with tempfile.TemporaryDirectory(prefix="bamboo-") as folder, Store.open(folder) as store:
        start = time.perf_counter()
        for at in range(0, len(entries), COMMIT_ENTRIES):
            begun = time.perf_counter()
            store.add_many(entries[at : at + COMMIT_ENTRIES])
            longest = max(longest, time.perf_counter() - begun)
        took = time.perf_counter() - start
    return Chain(order, 1e6 * took / len(entries), longest)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--logs", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=100)
    parser.add_argument("--chain", type=int, default=100_000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    found: dict[str, Any] = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="bamboo-") as name:
        folder = Path(name)
        make_files(folder, arguments.logs, arguments.entries)
        done = run_command(folder, folder / "node", arguments.logs * arguments.entries)
    print(
        f"{done.entries:,} entries: {done.entries / done.seconds:,.0f} a second, "
        f"{done.anonymous / 2**20:.0f} MiB of memory at most (to reach: {TARGET_MIB}), "
        f"{done.disk / done.entries:.0f} bytes of disk each"
    )
    found["ingest"] = {
        "entries": done.entries,
        "per_second": done.entries / done.seconds,
        "anonymous_mib": done.anonymous / 2**20,
        "disk_bytes_each": done.disk / done.entries,
    }
    chains = run_chain(arguments.chain)
    for chain in chains:
        print(
            f"one log of {arguments.chain:,}, {chain.order}: {chain.each:.1f} us an entry, "
            f"longest batch {chain.longest:.2f} s"
        )
    found["chain"] = {chain.order: [chain.each, chain.longest] for chain in chains}
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
