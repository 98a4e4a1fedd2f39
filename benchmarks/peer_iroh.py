"""iroh-docs as a second peer that is not ours: two nodes, documents on disk, QUIC over loopback.

    unshare --map-root-user --net python -m benchmarks.peer_iroh --n 10k --d 20 --cache DIR

Needs `iroh==0.35.0`, the last version with documents (optional), Linux, and `unshare` or root. The
bindings offer no way to switch relays off, and a node looks for one at once. So this module works
only in a network namespace that has nothing but loopback; `main` moves itself into one.

What is compared: an iroh document entry names a blob by hash. Here all entries name the same blob,
which both sides hold, so that only entries travel; a key of 60 bytes makes the signed record about
300 bytes (namespace 32, author 32, two signatures 128, hash 32, length 8, second 8, key 60).

Bytes are UDP payload read from the interface, QUIC's own included. Reconciling and entries cannot
be told apart inside QUIC, so `reconcile_bytes` and `round_trips` stay empty.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import workload as workloads
from benchmarks.folders import copy_settled
from benchmarks.iroh_node import SYNC_SECONDS
from benchmarks.isolation import ISOLATED, isolate, raise_loopback, require_isolation
from benchmarks.lo_count import LoopbackCounter
from benchmarks.results import Result, environment, show, size, write
from benchmarks.usage import Meter
from benchmarks.workers import Fields, PeerError, Worker, WorkerError
from benchmarks.workload import Part, Workload

SYSTEM = "iroh-docs 0.35.0"
FILL_SECONDS = 1_800.0
INITIATOR_KEY, RESPONDER_KEY, BUILDER_KEY = 1, 2, 3


# --- folders -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cache:
    """Node folders whose document holds the common entries, by number and seed."""

    folder: Path

    def common(self, workload: Workload) -> Path:
        """The folder with just the common part, built if it is not there yet."""
        name = f"iroh-{workload.n}-{workload.seed}"
        place = self.folder / name
        if not place.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=name, dir=self.folder))
            seconds = _fill(fresh, workload, Part.COMMON)["seconds"]
            fresh.rename(place)
            print(f"built {name} in {seconds:.1f} s", file=sys.stderr)
        return place

    @contextmanager
    def pair(self, workload: Workload) -> Iterator[tuple[Path, Path]]:
        """The initiator's and the responder's folder, gone after the block."""
        common = self.common(workload)
        with tempfile.TemporaryDirectory(prefix="run-", dir=self.folder) as run:
            sides = []
            for part in (Part.INITIATOR, Part.RESPONDER):
                side = Path(run) / part.name.lower()
                copy_settled(common, side)
                if workload.size(part):
                    _fill(side, workload, part)
                sides.append(side)
            yield sides[0], sides[1]


def _fill(folder: Path, workload: Workload, part: Part) -> Fields:
    with _worker() as worker:
        worker.ask("open", folder=str(folder), key=BUILDER_KEY)
        spent = worker.ask(
            "fill", within=FILL_SECONDS, workload=workload.to_fields(), part=part.value
        )
        worker.ask("leave")
        return spent


def _worker() -> Worker:
    return Worker("benchmarks.iroh_node")


# --- measuring -----------------------------------------------------------------------------------


def measure(workload: Workload, cache: Cache) -> Result:
    """Make two documents equal; both nodes up and their folders in the page cache.

    Raises PeerError or WorkerError when the nodes did not end up where they should.
    """
    require_isolation()
    with cache.pair(workload) as (near, far), _worker() as client, _worker() as server:
        own = client.ask("open", folder=str(near), key=INITIATOR_KEY)
        peer = server.ask("open", folder=str(far), key=RESPONDER_KEY)
        server.ask("listen")
        client.ask("watch")
        with (
            LoopbackCounter(int(own["address"].rpartition(":")[2])) as counter,
            Meter(initiator=client.pid, responder=server.pid) as meter,
        ):
            report = client.ask("sync", within=SYNC_SECONDS + 10, **peer)
        _check(workload, client, server)
        for worker in (client, server):
            worker.ask("leave")
    initiator, responder = meter.usage["initiator"], meter.usage["responder"]
    return Result(
        system=SYSTEM,
        n=workload.n,
        d=workload.d,
        variant="full",
        bytes_up=counter.counts.up,
        bytes_down=counter.counts.down,
        cpu_initiator=initiator.cpu,
        cpu_responder=responder.cpu,
        wall=report["wall"],
        peak_rss_initiator=initiator.peak_rss,
        peak_rss_responder=responder.peak_rss,
        note="UDP payload, QUIC included; peak RssAnon "
        f"{size(initiator.peak_anon)} + {size(responder.peak_anon)}",
    )


def _check(workload: Workload, client: Worker, server: Worker) -> None:
    """Each side must hold what only the other one held."""
    for worker, part in ((client, Part.RESPONDER), (server, Part.INITIATOR)):
        fields = {"workload": workload.to_fields(), "part": part.value}
        missing = worker.ask("lacks", within=SYNC_SECONDS, **fields)["missing"]
        if missing:
            raise PeerError(f"{missing} entries of the {part.name.lower()} did not arrive")


# --- command line --------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Measure the workloads chosen, in a network namespace with nothing but loopback."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peer_iroh")
    workloads.add_arguments(parser)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--json", type=Path, default=None, help="write the results here")
    options = parser.parse_args(arguments)
    try:
        if ISOLATED not in os.environ:
            isolate("benchmarks.peer_iroh", arguments)
        raise_loopback()
        show(_measure_all(options), title="iroh-docs")
    except (PeerError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _measure_all(options: argparse.Namespace) -> list[Result]:
    """Every workload chosen, the file written anew after each so that a break loses little."""
    about = environment(datetime.now(UTC), "iroh")
    results: list[Result] = []
    for workload in workloads.chosen(options):
        results.append(measure(workload, Cache(options.cache)))
        if options.json:
            write(options.json, results, about)
    return results


if __name__ == "__main__":
    raise SystemExit(main())
