"""`python -m tests.mutation`: how many small faults do the tests notice?

A run that is asked for a sample prints the seed it was drawn with. Ends with 1 when less than
nine tenths of what was tried was killed.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.mutation.mutants import Mutant, mutants
from tests.mutation.running import Fate, ToolError, Tree
from tests.mutation.targets import EQUIVALENT, TARGETS, Target

PROJECT = Path(__file__).parents[2]
BAR = 0.9


def main(arguments: Sequence[str] | None = None) -> int:
    """Mutate, and tell."""
    options = _parser().parse_args(arguments)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"seed {seed}")
    chosen = [one for one in TARGETS if any(word in one.module for word in options.module or [""])]
    if not chosen:
        print("No such module; see tests/mutation/targets.py.", file=sys.stderr)
        return 2
    killed = tried = 0
    for target in chosen:
        try:
            fates = _examine(target, seed, options.count, options.jobs)
        except ToolError as error:
            print(error, file=sys.stderr)
            return 2
        killed += sum(fate is not Fate.SURVIVED for fate in fates)
        tried += len(fates)
    print(f"all: {_share(killed, tried)}")
    return int(killed < BAR * tried)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument(
        "--module", action="append", help="a part of a module's path; may be repeated"
    )
    parser.add_argument("--seed", type=int, help="draw the sample that this number draws")
    parser.add_argument("--count", type=int, default=80, help="mutants of each module (80)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (1)")
    return parser


def _examine(target: Target, seed: int, count: int, jobs: int) -> list[Fate]:
    """Try a sample of a module's mutants, and print those that survive and the figures."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        trees = [
            Tree(PROJECT, Path(folder, str(n)), target.module, target.tests) for n in range(jobs)
        ]
        took = max([tree.measure() for tree in trees])
        found = mutants(trees[0].original, target.leave)
        real = [mutant for mutant in found if not is_equivalent(target.module, mutant)]
        sample = random.Random(seed).sample(real, min(count, len(real)))
        print(f"{target.module}: {len(sample)} of {len(real)} mutants, tests of {took:.1f} s")
        fates: list[Fate] = []
        for mutant, fate in _fates(trees, sample):
            fates.append(fate)
            if fate is Fate.SURVIVED:
                print(f"  {target.module}:{mutant.line}: survived")
                print(f"    - {mutant.before}\n    + {mutant.after}", flush=True)
    by_deadline = sum(fate is Fate.HUNG for fate in fates)
    killed = sum(fate is not Fate.SURVIVED for fate in fates)
    print(
        f"  {_share(killed, len(fates))}, {by_deadline} of them by the deadline; "
        f"{len(found) - len(real)} equivalent ones left out",
        flush=True,
    )
    return fates


def _fates(trees: list[Tree], sample: list[Mutant]) -> Iterator[tuple[Mutant, Fate]]:
    """The fate of each, as they become known in the order of the lines."""
    free: SimpleQueue[Tree] = SimpleQueue()
    for tree in trees:
        free.put(tree)

    def judge(mutant: Mutant) -> tuple[Mutant, Fate]:
        tree = free.get()
        try:
            return mutant, tree.judge(mutant.source)
        finally:
            free.put(tree)

    with ThreadPoolExecutor(len(trees)) as pool:
        yield from pool.map(judge, sorted(sample, key=lambda mutant: mutant.line))


def is_equivalent(module: str, mutant: Mutant) -> bool:
    """Whether the table says that the fault is none."""
    place = (module, mutant.before, mutant.after)
    return any(place == (one.module, one.before, one.after) for one in EQUIVALENT)


def _share(killed: int, tried: int) -> str:
    return f"killed {killed} of {tried}, {100 * killed / max(tried, 1):.1f} %"


if __name__ == "__main__":
    sys.exit(main())
