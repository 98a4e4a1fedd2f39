"""Negentropy v1 as other people run it: nostr-sdk's client against its local relay, LMDB on disk.

Both run in a process of their own, joined through the counting proxy; what the websocket carries is
told apart by message label (NIP-01, NIP-77). Databases of common events are generated once, signed
and all, and kept in a cache folder; each run works on copies.

    python -m benchmarks.peer_nostr --n 100k --d 0 20 2000 --cache DIR --json nostr.json

Needs `nostr-sdk==0.44.8` (optional). 0.45.1 refuses sets of 100 k. In 0.44.8 frames of negentropy
are limited to 60,000 bytes on both sides, before hexadecimal doubles them, and cannot be changed.

Negentropy's messages travel as hexadecimal digits in JSON, so they cost twice their own size here.
An event of 162 bytes of content is 300 bytes of binary fields (id 32, author 32, signature 64,
second 8, kind 2, content 162) and about 500 bytes of JSON, which is what travels.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import workload as workloads
from benchmarks.folders import copy_settled
from benchmarks.nostr_node import SYNC_SECONDS
from benchmarks.results import Result, environment, per_difference, show, size, write
from benchmarks.usage import Meter, Usage
from benchmarks.websocket import Tally
from benchmarks.workers import Fields, PeerError, Worker, WorkerError
from benchmarks.workload import Part, Workload
from setsync.bench.counts import Direction
from setsync.bench.link import Link, parse_duration, parse_rate
from setsync.bench.proxy import CountingProxy

SYSTEM = "nostr-sdk 0.44.8"
RECONCILE_LABELS = ("NEG-OPEN", "NEG-MSG", "NEG-CLOSE", "NEG-ERR")
ENTRY_LABELS = ("EVENT", "OK", "REQ", "EOSE", "CLOSE", "CLOSED")
BUILD_SECONDS = 1_800.0
LEAVE_SECONDS = 20.0


# --- databases ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cache:
    """Databases of common events, by number, layout, seed and content size."""

    folder: Path

    def common(self, workload: Workload) -> Path:
        """The database that holds just the common part, built if it is not there yet."""
        w = workload
        name = f"nostr-{w.n}-{w.layout.value}-{w.seed}-{w.content_bytes}"
        place = self.folder / name
        if not place.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=name, dir=self.folder))
            spent = fill(fresh, workload, Part.COMMON)
            fresh.rename(place)
            print(
                f"built {name}: signing {spent['signing']:.1f} s, saving {spent['saving']:.1f} s",
                file=sys.stderr,
            )
        return place

    @contextmanager
    def pair(self, workload: Workload) -> Iterator[tuple[Path, Path]]:
        """Folders of the initiator's and the responder's database, gone after the block."""
        common = self.common(workload)
        with tempfile.TemporaryDirectory(prefix="run-", dir=self.folder) as run:
            sides = []
            for part in (Part.INITIATOR, Part.RESPONDER):
                side = Path(run) / part.name.lower()
                copy_settled(common, side, "lock.mdb")
                if workload.size(part):
                    fill(side, workload, part)
                sides.append(side)
            yield sides[0], sides[1]


def fill(folder: Path, workload: Workload, part: Part) -> Fields:
    """Save one part of a workload into the database in a folder, in a process of its own."""
    with _worker() as worker:
        worker.ask("open", folder=str(folder))
        return worker.ask(
            "fill", within=BUILD_SECONDS, workload=workload.to_fields(), part=part.value
        )


def _worker() -> Worker:
    return Worker("benchmarks.nostr_node")


# --- measuring ---------------------------------------------------------------------------------


@dataclass
class Wire:
    """What went over one connection, told apart by direction and label."""

    tallies: dict[Direction, Tally] = field(
        default_factory=lambda: {direction: Tally() for direction in Direction}
    )

    def observe(self, direction: Direction, chunk: bytes) -> None:
        """The proxy's observer."""
        self.tallies[direction].feed(chunk)

    def size_of(self, labels: tuple[str, ...]) -> int:
        """Bytes in both directions under any of these labels."""
        return sum(tally.size_of(labels) for tally in self.tallies.values())

    @property
    def rounds(self) -> int:
        """Reconciling answers of the relay, each of which the client waited for."""
        return self.tallies[Direction.DOWN].messages["NEG-MSG"]


def measure(
    workload: Workload, cache: Cache, *, dry_run: bool = False, link: Link | None = None
) -> Result:
    """Make two databases equal, or with `dry_run` find their difference; both ends warm and up.

    Raises PeerError or WorkerError when the systems did not end up where they should.
    """
    with cache.pair(workload) as (near, far), _worker() as client, _worker() as relay:
        for worker, folder in ((client, near), (relay, far)):
            worker.ask("open", folder=str(folder))
        url = relay.ask("serve")["url"]
        client.ask("prepare")
        wire = Wire()
        with (
            CountingProxy(_address(url), link=link, observe=wire.observe) as proxy,
            Meter(initiator=client.pid, responder=relay.pid) as meter,
        ):
            through = "ws://{}:{}".format(*proxy.address)
            report = client.ask("sync", within=SYNC_SECONDS, url=through, dry_run=dry_run)
            meter.stop()
            client.ask("leave")
            if not proxy.wait_idle(LEAVE_SECONDS):
                raise PeerError("the client did not hang up")
            counts = proxy.counts
        _check(workload, dry_run, report)
        held = [worker.ask("count", within=SYNC_SECONDS)["events"] for worker in (client, relay)]
        _check_held(workload, dry_run, held)
    initiator, responder = meter.usage["initiator"], meter.usage["responder"]
    reconcile = wire.size_of(RECONCILE_LABELS)
    return Result(
        system=SYSTEM,
        n=workload.n,
        d=workload.d,
        variant=_variant(workload, dry_run, link),
        bytes_up=counts.up,
        bytes_down=counts.down,
        reconcile_bytes=reconcile,
        entry_bytes=wire.size_of(ENTRY_LABELS),
        bytes_per_difference=per_difference(reconcile, workload.d),
        round_trips=wire.rounds,
        cpu_initiator=initiator.cpu,
        cpu_responder=responder.cpu,
        wall=report["wall"],
        peak_rss_initiator=initiator.peak_rss,
        peak_rss_responder=responder.peak_rss,
        note=_note(initiator, responder),
    )


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("ws://").rstrip("/").rpartition(":")
    return host, int(port)


def _variant(workload: Workload, dry_run: bool, link: Link | None) -> str:
    parts = [workload.layout.value, "dry run" if dry_run else "full"]
    if link is not None and not link.is_plain:
        rate = "" if link.rate is None else f" {link.rate / 1e6:g} Mbit/s"
        parts.append(f"rtt {link.rtt * 1e3:g} ms{rate}")
    return ", ".join(parts)


def _note(initiator: Usage, responder: Usage) -> str:
    return f"peak RssAnon {size(initiator.peak_anon)} + {size(responder.peak_anon)}"


def _check(workload: Workload, dry_run: bool, report: Fields) -> None:
    """The client must have found the whole difference, and moved it unless told not to."""
    found = (report["local"], report["remote"])
    expected = (workload.only_initiator, workload.only_responder)
    if found != expected:
        raise PeerError(f"expected a difference of {expected}, the client found {found}")
    moved = (report["sent"], report["received"])
    if not dry_run and moved != expected:
        raise PeerError(f"expected {expected} to be moved, the client moved {moved}")


def _check_held(workload: Workload, dry_run: bool, held: list[int]) -> None:
    """After a whole exchange both hold the union, after a dry run what they held."""
    near = workload.n + workload.only_initiator + (0 if dry_run else workload.only_responder)
    far = workload.n + workload.only_responder + (0 if dry_run else workload.only_initiator)
    if held != [near, far]:
        raise PeerError(f"expected {near} and {far} events after the exchange, found {held}")


# --- command line ------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Measure the workloads chosen, each as a dry run and as a whole exchange."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peer_nostr")
    workloads.add_arguments(parser)
    parser.add_argument("--cache", type=Path, default=None, help="folder of generated databases")
    parser.add_argument("--dry-run", action="store_true", help="only reconcile")
    parser.add_argument("--full", action="store_true", help="only the whole exchange")
    parser.add_argument("--rtt", type=parse_duration, default=0.0, metavar="100ms")
    parser.add_argument("--rate", type=parse_rate, default=None, metavar="10mbit")
    parser.add_argument("--json", type=Path, default=None, help="write the results here")
    options = parser.parse_args(argv)
    try:
        show(_measure_all(options), title="negentropy v1 through nostr-sdk")
    except (PeerError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _measure_all(options: argparse.Namespace) -> list[Result]:
    """Every workload chosen, the file written anew after each so that a break loses little."""
    link = Link(options.rtt, options.rate)
    about = environment(datetime.now(UTC), "nostr-sdk")
    runs = [True] * (not options.full) + [False] * (not options.dry_run)
    results: list[Result] = []
    with _cache_folder(options.cache) as folder:
        for workload, dry_run in itertools.product(workloads.chosen(options), runs):
            results.append(measure(workload, Cache(folder), dry_run=dry_run, link=link))
            if options.json:
                write(options.json, results, about)
    return results


@contextmanager
def _cache_folder(chosen: Path | None) -> Iterator[Path]:
    """The folder named, which stays, or a temporary one."""
    if chosen is not None:
        yield chosen
        return
    with tempfile.TemporaryDirectory(prefix="nostr-") as folder:
        yield Path(folder)


if __name__ == "__main__":
    raise SystemExit(main())
