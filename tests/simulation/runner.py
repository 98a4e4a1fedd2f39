"""`python -m tests.simulation`: many worlds, one line for each that fails, and what was covered.

`--seeds 10000 --jobs 2` is the long run; `--seed 4711 --verbose` shows one world, event by event.
A world is named by its kind and its seed; without `--kind` there are as many of each.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from tests.simulation.live_world import run_live_world
from tests.simulation.trace import merge
from tests.simulation.world import Outcome, run_world

# Worlds that a process runs before it tells what came of them.
_PORTION = 25
_PORTIONS_A_LINE = 20

KINDS: dict[str, Callable[..., Outcome]] = {
    "sessions": run_world,
    "live": run_live_world,
    "policies": partial(run_world, has_policies=True),
    "live-policies": partial(run_live_world, has_policies=True),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 when any world failed."""
    options = _parser().parse_args(arguments)
    kinds: list[str] = options.kind or list(KINDS)
    if options.seed is not None:
        return max(_show(kind, options.seed, options.verbose) for kind in kinds)
    return _run_many(kinds, range(options.first, options.first + options.seeds), options.jobs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", allow_abbrev=False)
    parser.add_argument("--kind", action="append", choices=KINDS, help="worlds of this kind")
    parser.add_argument("--seeds", type=int, default=100, help="how many worlds of each kind")
    parser.add_argument("--first", type=int, default=0, help="the first world's seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the work")
    parser.add_argument("--seed", type=int, help="run this world alone, and show it")
    parser.add_argument("--verbose", action="store_true", help="with --seed: every event")
    return parser


def _show(kind: str, seed: int, verbose: bool) -> int:
    outcome = KINDS[kind](seed, keep_all=verbose)
    if verbose or outcome.findings:
        print(*outcome.lines, sep="\n")
    _print_counts(outcome.counts)
    print(f"{kind} {seed}, trace {outcome.digest}")
    for finding in outcome.findings:
        print(f"FOUND {finding}")
    return int(bool(outcome.findings))


def _run_many(kinds: Sequence[str], seeds: range, jobs: int) -> int:
    total: Counter[str] = Counter()
    failed: list[str] = []
    for at, (kind, outcomes) in enumerate(_outcomes(kinds, seeds, jobs), start=1):
        for outcome in outcomes:
            merge(total, outcome.counts)
            if outcome.findings:
                failed.append(f"{kind}:{outcome.seed}")
                _print_failure(kind, outcome)
        if at % _PORTIONS_A_LINE == 0:
            print(f"{total['worlds']} worlds, {len(failed)} failed", flush=True)
    _print_counts(total)
    count = len(kinds) * len(seeds)
    print(f"{count} worlds, {len(failed)} failed{': ' if failed else '.'}", *failed[:50])
    return int(bool(failed))


def _outcomes(kinds: Sequence[str], seeds: range, jobs: int) -> Iterator[tuple[str, list[Outcome]]]:
    """In the order of the seeds. Processes are spawned: a store does not survive a fork."""
    starts = range(0, len(seeds), _PORTION)
    portions = [(kind, seeds[at : at + _PORTION]) for at in starts for kind in kinds]
    if jobs == 1:
        yield from map(_run_portion, portions)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        yield from pool.map(_run_portion, portions)


def _run_portion(portion: tuple[str, range]) -> tuple[str, list[Outcome]]:
    kind, seeds = portion
    return kind, [KINDS[kind](seed) for seed in seeds]


def _print_failure(kind: str, outcome: Outcome) -> None:
    print(f"{kind} {outcome.seed}:")
    for finding in itertools.islice(outcome.findings, 5):
        print(f"    {finding}")
    seen = f"--kind {kind} --seed {outcome.seed} --verbose"
    print(f"    python -m tests.simulation {seen}", flush=True)


def _print_counts(counts: Counter[str]) -> None:
    for what in sorted(counts):
        print(f"{what:<32} {counts[what]:>12,}")
