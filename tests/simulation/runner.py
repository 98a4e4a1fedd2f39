"""`python -m tests.simulation`: many worlds, one line for each that fails, and what was covered.

`--seeds 10000 --jobs 2` is the long run; `--seed 4711 --verbose` shows one world, event by event.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence

from tests.simulation.trace import merge
from tests.simulation.world import Outcome, run_world

# Worlds that a process runs before it tells what came of them.
_PORTION = 25
_PORTIONS_A_LINE = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 when any world failed."""
    options = _parser().parse_args(arguments)
    if options.seed is not None:
        return _show(options.seed, options.verbose)
    return _run_many(range(options.first, options.first + options.seeds), options.jobs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=100, help="how many worlds to run")
    parser.add_argument("--first", type=int, default=0, help="the first world's seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the work")
    parser.add_argument("--seed", type=int, help="run this world alone, and show it")
    parser.add_argument("--verbose", action="store_true", help="with --seed: every event")
    return parser


def _show(seed: int, verbose: bool) -> int:
    outcome = run_world(seed, keep_all=verbose)
    if verbose or outcome.findings:
        print(*outcome.lines, sep="\n")
    _print_counts(outcome.counts)
    print(f"trace {outcome.digest}")
    for finding in outcome.findings:
        print(f"FOUND {finding}")
    return int(bool(outcome.findings))


def _run_many(seeds: range, jobs: int) -> int:
    total: Counter[str] = Counter()
    failed: list[int] = []
    for at, outcomes in enumerate(_outcomes(seeds, jobs), start=1):
        for outcome in outcomes:
            merge(total, outcome.counts)
            if outcome.findings:
                failed.append(outcome.seed)
                _print_failure(outcome)
        if at % _PORTIONS_A_LINE == 0:
            print(f"{total['worlds']} worlds, {len(failed)} failed", flush=True)
    _print_counts(total)
    print(f"{len(seeds)} worlds, {len(failed)} failed{': ' if failed else '.'}", *failed[:50])
    return int(bool(failed))


def _outcomes(seeds: range, jobs: int) -> Iterator[list[Outcome]]:
    """In the order of the seeds. Processes are spawned: a store does not survive a fork."""
    portions = [seeds[at : at + _PORTION] for at in range(0, len(seeds), _PORTION)]
    if jobs == 1:
        yield from map(_run_portion, portions)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        yield from pool.map(_run_portion, portions)


def _run_portion(seeds: range) -> list[Outcome]:
    return [run_world(seed) for seed in seeds]


def _print_failure(outcome: Outcome) -> None:
    print(f"seed {outcome.seed}:")
    for finding in itertools.islice(outcome.findings, 5):
        print(f"    {finding}")
    print(f"    python -m tests.simulation --seed {outcome.seed} --verbose", flush=True)


def _print_counts(counts: Counter[str]) -> None:
    for what in sorted(counts):
        print(f"{what:<32} {counts[what]:>12,}")
