"""How fast `setsync bamboo verify` is, beside nothing but checking the same signatures.

    python -m benchmarks.bamboo [--logs 1000] [--entries 100] [--rounds 5]

Makes logs from a fixed seed and writes them twice, 10 logs a file: as JSON lines with their
payloads, and the entries alone, one after the other. Then, turn by turn in one run: PyNaCl's
`crypto_sign_open` on exactly the signed bytes of these entries, in as many processes as there
are cores, nothing read and nothing looked up; and the whole command's work on each kind of
file, from opening them to the report, in as many processes. Starting the processes counts
against the command, not against PyNaCl. The command would end with its report; here what it
gathered is thrown away before the next turn, off the clock.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2
import nacl.bindings
from blake3 import blake3

from bamboo_compat.core import entry, yamf
from bamboo_compat.core.lipmaa import lipmaa
from bamboo_compat.files.verifying import verify_files

LOGS_A_FILE = 10
TARGET = 0.7
SCHEMA = "message_0020" + "ab" * 32


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of one turn, and of the processor."""

    pynacl: float
    lines: float
    lines_cpu: float
    alone: float
    alone_cpu: float


def make_log(number: int, length: int) -> list[tuple[bytes, bytes]]:
    """The entries of one log, each with its payload; the same for the same number."""
    seed = blake3(b"benchmark log" + number.to_bytes(8, "big")).digest()
    made: list[tuple[bytes, bytes]] = []
    hashes = [b""]
    for seq_num in range(1, length + 1):
        payload = cbor2.dumps([1, 0, SCHEMA, {"message": f"entry {seq_num} of log {number}"}])
        data = entry.sign(
            seed,
            1024,
            seq_num,
            payload,
            backlink=hashes[-1] or None,
            lipmaalink=hashes[lipmaa(seq_num)] or None,
        )
        hashes.append(yamf.hash_of(yamf.Flavour.YASMF, data))
        made.append((data, payload))
    return made


def write_files(folder: Path, first: int, length: int) -> Path:
    """LOGS_A_FILE logs, their entries taking turns, in both kinds of file."""
    path = folder / "lines" / f"{first:06d}.jsonl"
    alone = folder / "alone" / f"{first:06d}.bamboo"
    logs = [make_log(number, length) for number in range(first, first + LOGS_A_FILE)]
    with path.open("w", encoding="ascii") as file, alone.open("wb") as other:
        for row in zip(*logs, strict=True):
            for data, payload in row:
                other.write(data)
                file.write(json.dumps({"entry": data.hex(), "payload": payload.hex()}) + "\n")
    return path


_triples: list[tuple[bytes, bytes]] = []


def load(paths: list[Path]) -> int:
    """In a worker, before the clock: the signatures of its share of the files."""
    for path in paths:
        for line in path.read_bytes().splitlines():
            data = bytes.fromhex(json.loads(line)["entry"])
            _triples.append((data[-64:] + data[:-64], data[1:33]))
    return len(_triples)


def check_loaded() -> int:
    """In a worker: check every loaded signature."""
    for signed, public in _triples:
        nacl.bindings.crypto_sign_open(signed, public)
    return len(_triples)


def run(folder: Path, logs: int, length: int, rounds: int) -> list[Round]:
    """Make the files, then measure turn by turn."""
    cores = os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    (folder / "lines").mkdir()
    (folder / "alone").mkdir()
    with ProcessPoolExecutor(cores, mp_context=context) as pool:
        firsts = range(0, logs, LOGS_A_FILE)
        many = len(firsts)
        paths = list(pool.map(write_files, [folder] * many, firsts, [length] * many))
    # One process a pool, so that each keeps its own share from call to call.
    pools = [ProcessPoolExecutor(1, mp_context=context) for _ in range(cores)]
    try:
        shares = [pool.submit(load, paths[at::cores]) for at, pool in enumerate(pools)]
        assert sum(share.result() for share in shares) == logs * length
        return [_round(pools, folder, logs * length, cores) for _ in range(rounds)]
    finally:
        for pool in pools:
            pool.shutdown()


def _round(pools: list[ProcessPoolExecutor], folder: Path, count: int, cores: int) -> Round:
    start = time.perf_counter()
    assert sum(f.result() for f in [pool.submit(check_loaded) for pool in pools]) == count
    pynacl = time.perf_counter() - start
    both = [_verify(folder / kind, count, cores) for kind in ("lines", "alone")]
    return Round(pynacl, *both[0], *both[1])


def _verify(folder: Path, count: int, cores: int) -> tuple[float, float]:
    start, cpu = time.perf_counter(), _cpu()
    report = verify_files([folder], workers=cores).report
    took, used = time.perf_counter() - start, _cpu() - cpu
    gc.collect()
    assert report.verified == count
    assert not report.forked
    return took, used


def _cpu() -> float:
    """Seconds of this process and of those it started that have ended."""
    both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    usages = [resource.getrusage(who) for who in both]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def summary(rounds: list[Round], count: int) -> dict[str, Any]:
    """Medians over the rounds. Ratios are taken round by round, since load comes and goes."""
    found: dict[str, Any] = {
        "entries": count,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "pynacl_per_second": count / statistics.median(one.pynacl for one in rounds),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    for kind in ("lines", "alone"):
        walls = [getattr(one, kind) for one in rounds]
        ratios = [one.pynacl / wall for one, wall in zip(rounds, walls, strict=True)]
        cpu = statistics.median(getattr(one, f"{kind}_cpu") for one in rounds)
        found[kind] = {
            "per_second": count / statistics.median(walls),
            "ratio": statistics.median(ratios),
            "ratios": [round(ratio, 3) for ratio in ratios],
            "cpu_us_each": 1e6 * cpu / count,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--logs", type=int, default=1000)
    parser.add_argument("--entries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bamboo-") as folder:
        rounds = run(Path(folder), arguments.logs, arguments.entries, arguments.rounds)
    found = summary(rounds, arguments.logs * arguments.entries)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    from rich.console import Console  # not above: every worker imports this module
    from rich.table import Table

    table = Table("", "a second", "of PyNaCl's", "to reach", "CPU, us each", title="Verification")
    table.add_row("PyNaCl alone", f"{found['pynacl_per_second']:,.0f}", "1")
    for kind, name in (("lines", "JSON lines with payloads"), ("alone", "entries alone")):
        row = found[kind]
        rate, ratio, cpu = row["per_second"], row["ratio"], row["cpu_us_each"]
        table.add_row(name, f"{rate:,.0f}", f"{ratio:.2f}", f">= {TARGET}", f"{cpu:.0f}")
    console = Console()
    console.print(table)
    console.print(f"{found['cores']} cores, load {found['load']:.1f}")
    console.print(f"peak memory of this process {found['peak_rss_mib']:.0f} MiB")


if __name__ == "__main__":
    main()
