"""Who is measured on what: the grid, and one way to run each system over it.

A case is a pair of sets. Every system gets the same cases; those that are not installed, or
cannot be isolated here, say so and are left out.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import logs as log_cases
from benchmarks import peer_heights, peer_nostr, stores
from benchmarks.log_stores import LogCache
from benchmarks.logs import LogWorkload
from benchmarks.peer_setsync import running
from benchmarks.results import Result, read
from benchmarks.workers import PeerError, WorkerError
from benchmarks.workload import Layout, Workload
from setsync.bench.link import Link

NUMBERS = (10_000, 100_000, 1_000_000)
DIFFERENCES = (0, 2, 20, 200, 2_000, 20_000)
# What is not spread evenly: one side has nothing, or nothing that the other lacks.
SHAPES = (("one side empty", (0, 0, 10_000)), ("subset", (100_000, 0, 2_000)))
QUICK_NUMBERS = (10_000,)
QUICK_DIFFERENCES = (0, 2, 20, 200, 2_000)
QUICK_SHAPES = (("one side empty", (0, 0, 1_000)), ("subset", (10_000, 0, 200)))
# Others take minutes to fill a database of more, and half a minute a session.
MOST_IROH = 100_000
MOST_RECENT = 100_000
IROH_SECONDS = 3_600.0

# Between what was done and the shape of the logs.
_ON_LOGS = ", logs "

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What to measure: numbers of common entries, differences, other shapes, on which line."""

    numbers: Sequence[int] = NUMBERS
    differences: Sequence[int] = DIFFERENCES
    shapes: Sequence[tuple[str, tuple[int, int, int]]] = SHAPES
    most_recent: int = MOST_RECENT
    logs: Sequence[LogWorkload] = log_cases.CASES
    seeds: int = 1
    link: Link | None = None

    def even(self, seed: int = 1) -> Iterator[Workload]:
        """The grid proper."""
        for n in self.numbers:
            for d in self.differences:
                yield Workload.even(n, d, seed=seed)

    def shaped(self) -> Iterator[tuple[str, Workload]]:
        """The other shapes, by name."""
        for name, sides in self.shapes:
            yield name, Workload(*sides)


QUICK = Plan(
    QUICK_NUMBERS, QUICK_DIFFERENCES, QUICK_SHAPES, most_recent=0, logs=log_cases.QUICK_CASES
)


# --- setsync -------------------------------------------------------------------------------------


def setsync(plan: Plan, cache: Path, say: Say) -> Iterator[Result]:
    """setsync, split and plain lists, and the naive exchange.

    Reconciling by dry runs, on stores between which the difference grows, for every seed; the
    whole exchange on copies, for the first seed.
    """
    for pair in _growing(plan, cache, say):
        first = pair.workload.seed == 1
        yield from _dry(pair, plan, everything=first)
        if first:
            yield from _whole(pair, plan)
    for name, work in plan.shaped():
        say(f"setsync, {name}")
        with stores.Cache(cache).pair(work.n) as pair:
            pair.grow(work.only_initiator, work.only_responder)
            for result in (*_dry(pair, plan, everything=True), *_whole(pair, plan)):
                yield replace(result, variant=f"{result.variant}, {name}")


def dry_runs(plan: Plan, cache: Path, say: Say) -> Iterator[Result]:
    """setsync alone, reconciling alone."""
    for pair in _growing(plan, cache, say):
        yield from _dry(pair, plan, everything=False)


def _growing(plan: Plan, cache: Path, say: Say) -> Iterator[stores.Pair]:
    """The grid's pairs, each good until the next.

    One set of common entries serves all seeds of a size; what differs is each seed's own.
    """
    for n in plan.numbers:
        for seed in range(1, plan.seeds + 1):
            with stores.Cache(cache).pair(n) as pair:
                pair.workload = replace(pair.workload, seed=seed)
                for d in sorted(plan.differences):
                    say(f"setsync, {n:,} common, {d:,} different, seed {seed}")
                    pair.grow(d // 2, d - d // 2)
                    yield pair


def _dry(pair: stores.Pair, plan: Plan, *, everything: bool) -> Iterator[Result]:
    with running(pair) as nodes:
        yield nodes.session("setsync", link=plan.link)
        if everything:
            yield nodes.session("rbsr", link=plan.link)
            yield nodes.exchange_ids(link=plan.link)


def _whole(pair: stores.Pair, plan: Plan) -> Iterator[Result]:
    for variant in ("setsync", "rbsr"):
        with pair.copy() as copy, running(copy) as nodes:
            yield nodes.session(variant, dry_run=False, link=plan.link)


# --- sets made of logs ---------------------------------------------------------------------------


def logs(plan: Plan, cache: Path, say: Say) -> Iterator[Result]:
    """setsync and log heights on the same logs: a dry run of ours, and both whole exchanges."""
    for work in plan.logs:
        say(f"setsync and log heights, {work.name}, {work.new:,} new")
        with LogCache(cache).pair(work) as pair:
            with peer_heights.running(pair) as nodes:
                found = [nodes.session("setsync", link=plan.link)]
            with pair.copy() as copy:
                found.append(peer_heights.measure_setsync(copy, work, plan.link))
            # What a variant says of the line is the same for both.
            variant = found[-1].variant
            with pair.copy() as copy:
                by_heights = peer_heights.measure_heights(copy, work, plan.link)
        found.append(replace(by_heights, variant=variant))
        for result in found:
            yield replace(result, variant=f"{result.variant}{_ON_LOGS}{work.name}")


def is_of_logs(row: Result) -> bool:
    """Whether a result is one of `logs`."""
    return _ON_LOGS in row.variant


# --- the others ----------------------------------------------------------------------------------


def nostr(plan: Plan, cache: Path, say: Say) -> Iterator[Result]:
    """negentropy v1 through nostr-sdk: the whole exchange, timestamps scattered and recent."""
    if importlib.util.find_spec("nostr_sdk") is None:
        say("nostr-sdk is not installed and is left out: pip install 'setsync[bench]'")
        return
    cases = [(replace(work, layout=layout), "") for layout in Layout for work in plan.even()]
    cases += [(work, f", {name}") for name, work in plan.shaped()]
    for work, shape in cases:
        if work.layout is Layout.EQUAL or (
            work.layout is Layout.RECENT and (work.n > plan.most_recent or not work.d)
        ):
            continue
        say(f"nostr-sdk, {work.n:,} common, {work.d:,} different, {work.layout.value}{shape}")
        try:
            found = _nostr(work, plan, cache, say)
        except (PeerError, WorkerError) as error:
            say(f"nostr-sdk failed: {error}")
            continue
        yield replace(found, variant=found.variant + shape)


def _nostr(work: Workload, plan: Plan, cache: Path, say: Say) -> Result:
    """The whole exchange; or, where not everything arrives in it, at least the reconciling."""
    databases = peer_nostr.Cache(cache)
    try:
        return peer_nostr.measure(work, databases, link=plan.link)
    except PeerError as error:
        say(f"nostr-sdk did not move everything: {error}")
        found = peer_nostr.measure(work, databases, dry_run=True, link=plan.link)
        return replace(found, note=f"{found.note}; the whole exchange was not whole: {error}")


def iroh(plan: Plan, cache: Path, say: Say) -> Iterator[Result]:
    """iroh-docs: the whole exchange, in a network of its own."""
    if importlib.util.find_spec("iroh") is None:
        say("iroh is not installed and is left out: pip install 'setsync[bench]'")
        return
    if shutil.which("unshare") is None:
        say("iroh is left out: without unshare it would call its relays")
        return
    if plan.link is not None and not plan.link.is_plain:
        say("iroh is left out: no proxy fits into the way of QUIC")
        return
    for n in plan.numbers:
        if n > MOST_IROH:
            say(f"iroh is left out at {n:,}: filling its documents would take minutes")
            continue
        for d in plan.differences:
            say(f"iroh, {n:,} common, {d:,} different")
            with tempfile.NamedTemporaryFile(suffix=".json") as out:
                words = ["--n", str(n), "--d", str(d), "--cache", str(cache), "--json", out.name]
                run = subprocess.run(
                    [sys.executable, "-m", "benchmarks.peer_iroh", *words],
                    capture_output=True,
                    check=False,
                    text=True,
                    timeout=IROH_SECONDS,
                )
                if run.returncode:
                    reason = run.stderr.strip().splitlines()[-1:] or ["it said nothing"]
                    say(f"iroh failed: {reason[0]}")
                    return
                yield from read([Path(out.name)])
