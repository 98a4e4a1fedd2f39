"""setsync measured like the others: two processes, each on its own store, through the proxy.

    python -m benchmarks.peer_setsync --n 100k --d 0 20 2000 --cache DIR

Bytes are the proxy's; what they were for is the session's own report, which must agree with the
proxy to the byte. Reconciling begins at the end of both HELLOs. CPU and memory are read from
outside over the session; what Python's imports take is in the note. Both ends have opened their
store and had one session before, unless `--cold`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import peer_naive
from benchmarks import workload as workloads
from benchmarks.results import Result, environment, per_difference, show, size, write
from benchmarks.setsync_node import VARIANTS, use_variant
from benchmarks.stores import Cache, Pair
from benchmarks.usage import Meter
from benchmarks.workers import Fields, PeerError, Worker, WorkerError
from benchmarks.workload import Workload
from setsync.bench.counts import Counts
from setsync.bench.link import Link, parse_duration, parse_rate
from setsync.bench.proxy import CountingProxy
from setsync.bench.session import Phases

__all__ = ["Nodes", "main", "running", "use_variant"]

SYSTEMS = {"setsync": "setsync", "rbsr": "RBSR (split, lists)", "naive": "naive ids"}
SESSION_SECONDS = 600.0
LEAVE_SECONDS = 30.0


class Nodes:
    """Two workers on the folders of a pair: the responder serves, the initiator waits."""

    def __init__(self, pair: Pair, near: Worker, far: Worker, *, cold: bool = False) -> None:
        self._pair = pair
        self._near, self._far = near, far
        self._cold = cold
        opened = [
            worker.ask("open", folder=str(folder), cold=cold)
            for worker, folder in ((near, pair.near), (far, pair.far))
        ]
        self._imports = statistics.mean(each["imports"] for each in opened)
        self._port: int = far.ask("serve")["port"]
        self._ids_port: int = far.ask("serve_ids")["port"]
        near.ask("prepare")

    def session(
        self, variant: str = "setsync", *, dry_run: bool = True, link: Link | None = None
    ) -> Result:
        """One session between them. Raises PeerError when it did not do what it should."""
        for worker in (self._near, self._far):
            worker.ask("use", variant=variant)
        if not self._cold:
            self._ask_to_sync(("127.0.0.1", self._port), dry_run=True)
        before = self._hold()
        with (
            CountingProxy(("127.0.0.1", self._port), link=link) as proxy,
            Meter(initiator=self._near.pid, responder=self._far.pid) as meter,
        ):
            answer = self._ask_to_sync(proxy.address, dry_run=dry_run)
            _settle(proxy)
            meter.stop()
            counts = proxy.counts
        report = answer["report"]
        phases = Phases.of(report["bytes"], counts)
        self._check(report, counts, dry_run, before)
        reconcile = phases.after_handshake if dry_run else phases.reconcile
        result = self._result(SYSTEMS[variant], counts, meter, dry_run, link, answer["wall"])
        return replace(
            result,
            reconcile_bytes=reconcile,
            entry_bytes=phases.entries,
            handshake_bytes=phases.handshake,
            close_bytes=0 if dry_run else phases.close,
            bytes_per_difference=per_difference(reconcile, result.d),
            round_trips=report["round_trips"],
        )

    def exchange_ids(self, *, link: Link | None = None) -> Result:
        """A naive exchange of all ids between the same stores."""
        with (
            CountingProxy(("127.0.0.1", self._ids_port), link=link) as proxy,
            Meter(initiator=self._near.pid, responder=self._far.pid) as meter,
        ):
            host, port = proxy.address
            answer = self._near.ask("exchange_ids", within=SESSION_SECONDS, host=host, port=port)
            _settle(proxy)
            meter.stop()
            counts = proxy.counts
        self._check_found(answer)
        self._check_naive_bytes(counts)
        result = self._result(SYSTEMS["naive"], counts, meter, True, link, answer["wall"])
        return replace(
            result,
            reconcile_bytes=counts.total,
            entry_bytes=0,
            bytes_per_difference=per_difference(counts.total, result.d),
            round_trips=counts.round_trips if link is None else 1,
        )

    def _ask_to_sync(self, address: tuple[str, int], *, dry_run: bool) -> Fields:
        host, port = address
        return self._near.ask("sync", within=SESSION_SECONDS, host=host, port=port, dry_run=dry_run)

    def _hold(self) -> list[Fields]:
        return [worker.ask("holds") for worker in (self._near, self._far)]

    def _result(
        self,
        system: str,
        counts: Counts,
        meter: Meter,
        dry_run: bool,
        link: Link | None,
        wall: float,
    ) -> Result:
        """The columns that every exchange has."""
        work = self._pair.workload
        near, far = meter.usage["initiator"], meter.usage["responder"]
        return Result(
            system=system,
            n=work.n,
            d=work.d,
            variant=_variant(dry_run, link, self._cold),
            bytes_up=counts.up,
            bytes_down=counts.down,
            cpu_initiator=near.cpu,
            cpu_responder=far.cpu,
            wall=wall,
            peak_rss_initiator=near.peak_rss,
            peak_rss_responder=far.peak_rss,
            seed=work.seed,
            note=f"peak RssAnon {size(near.peak_anon)} + {size(far.peak_anon)}, "
            f"imports {self._imports:.2f} s of CPU a process, not counted",
        )

    # --- what must be true of every session --------------------------------------------------

    def _check(self, report: Fields, counts: Counts, dry_run: bool, before: list[Fields]) -> None:
        self._check_found(report)
        # Each wait of the initiator turns the line around, and the handshake is one more.
        if dry_run and report["round_trips"] + 1 > counts.round_trips:
            raise PeerError(
                f"{report['round_trips']} round trips and a greeting were reported, "
                f"and the line turned {counts.turns} times"
            )
        after = self._hold()
        if dry_run and after != before:
            raise PeerError("a dry run changed a store")
        if not dry_run and (not report["in_sync"] or after[0] != after[1]):
            raise PeerError(f"the stores differ after the session: {after}")

    def _check_found(self, found: Fields) -> None:
        work = self._pair.workload
        missing = (found["missing_here"], found["missing_there"])
        if missing != (work.only_responder, work.only_initiator):
            raise PeerError(f"expected the difference of {work}, found {missing}")

    def _check_naive_bytes(self, counts: Counts) -> None:
        work = self._pair.workload
        expected = 16 + peer_naive.ID_BYTES * (2 * work.n + work.d)
        if counts.total != expected:
            raise PeerError(f"expected {expected} bytes, the proxy counted {counts.total}")


def _settle(proxy: CountingProxy) -> None:
    if not proxy.wait_idle(LEAVE_SECONDS):
        raise PeerError("a connection stayed open after the session")


def _variant(dry_run: bool, link: Link | None, cold: bool) -> str:
    parts = ["dry run" if dry_run else "full"] + ["cold"] * cold
    if link is not None and not link.is_plain:
        rate = "" if link.rate is None else f" {link.rate / 1e6:g} Mbit/s"
        parts.append(f"rtt {link.rtt * 1e3:g} ms{rate}")
    return ", ".join(parts)


@contextmanager
def running(pair: Pair, *, cold: bool = False) -> Iterator[Nodes]:
    """Nodes on a pair of folders, for as long as the block lasts."""
    module = "benchmarks.setsync_node"
    with Worker(module) as near, Worker(module) as far:
        yield Nodes(pair, near, far, cold=cold)


def measure(
    workload: Workload,
    cache: Cache,
    *,
    variant: str = "setsync",
    dry_run: bool = False,
    link: Link | None = None,
    cold: bool = False,
) -> Result:
    """One session on stores and processes of its own."""
    with cache.pair(workload.n, workload.seed) as pair:
        pair.grow(workload.only_initiator, workload.only_responder)
        with running(pair, cold=cold) as nodes:
            if variant == "naive":
                return nodes.exchange_ids(link=link)
            return nodes.session(variant, dry_run=dry_run, link=link)


# --- command line --------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Measure the workloads chosen, each as a dry run and as a whole exchange."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peer_setsync")
    workloads.add_arguments(parser)
    parser.add_argument("--cache", type=Path, required=True, help="folder of prefilled stores")
    parser.add_argument("--variant", choices=[*VARIANTS, "naive"], default="setsync")
    parser.add_argument("--dry-run", action="store_true", help="only reconcile")
    parser.add_argument("--full", action="store_true", help="only the whole exchange")
    parser.add_argument("--cold", action="store_true", help="nothing cached, no session before")
    parser.add_argument("--rtt", type=parse_duration, default=0.0, metavar="100ms")
    parser.add_argument("--rate", type=parse_rate, default=None, metavar="10mbit")
    parser.add_argument("--json", type=Path, default=None, help="write the results here")
    options = parser.parse_args(argv)
    try:
        results = list(_measure_all(options))
    except (PeerError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    show(results, title="setsync")
    if options.json:
        write(options.json, results, environment(datetime.now(UTC), "setsync"))
    return 0


def _measure_all(options: argparse.Namespace) -> Iterator[Result]:
    link = Link(options.rtt, options.rate)
    runs = [True] * (not options.full) + [False] * (not options.dry_run)
    if options.variant == "naive":
        runs = [True]
    for workload in workloads.chosen(options):
        for dry_run in runs:
            yield measure(
                workload,
                Cache(options.cache),
                variant=options.variant,
                dry_run=dry_run,
                link=link,
                cold=options.cold,
            )


if __name__ == "__main__":
    raise SystemExit(main())
