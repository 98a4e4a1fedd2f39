"""`python -m tests.fuzz TARGET|--all`; docs/fuzzing.md tells what for."""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from tests.fuzz import corpus, guided
from tests.fuzz.running import fuzz, shrink
from tests.fuzz.target import FindingError, Target, examine
from tests.fuzz.targets import TARGETS

_ENDLESS = 2**31 - 1
_USUAL_SECONDS = 30


def main(arguments: list[str] | None = None) -> int:
    """1 if anything was found."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.target is not None and asked.target not in TARGETS:
        parser.error(f"There is no target {asked.target!r}; there are {', '.join(TARGETS)}.")
    if (asked.target is None) != asked.all or (asked.input is not None and asked.all):
        parser.error("Name a target, or say --all; --input goes with one target.")
    targets = list(TARGETS.values()) if asked.all else [TARGETS[asked.target]]
    if asked.make_corpus:
        for target in targets:
            print(f"{target.name}: {corpus.make(target, asked.corpus)} files")
        return 0
    if asked.input is not None:
        return _see(targets[0], asked.input)
    if asked.seconds is None and asked.runs is None:
        asked.seconds = _USUAL_SECONDS
    is_guided = guided.is_installed() and not asked.plain
    if not is_guided and not asked.plain:
        print("Atheris is not installed, so inputs are changed blindly, guided by answers alone.")
    found = [_guided(one, asked) if is_guided else _plainly(one, asked) for one in targets]
    return 1 if any(found) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", help="which decoder")
    parser.add_argument("--all", action="store_true", help="every decoder, one after the other")
    parser.add_argument("--seconds", type=int, help="how long, for each target")
    parser.add_argument("--runs", type=int, help="how many inputs, for each target")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other inputs")
    parser.add_argument("--plain", action="store_true", help="without Atheris")
    parser.add_argument("--input", type=Path, help="give this file to the target, and no other")
    parser.add_argument("--corpus", type=Path, default=corpus.FOLDER, help="another corpus")
    parser.add_argument("--make-corpus", action="store_true", help="write samples and answers anew")
    return parser


def _see(target: Target, path: Path) -> int:
    try:
        print(f"{target.name}: {examine(target, path.read_bytes())}")
    except FindingError as finding:
        traceback.print_exception(finding.__cause__)
        return 1
    return 0


def _plainly(target: Target, asked: argparse.Namespace) -> bool:
    run = fuzz(
        target,
        corpus.seeds(target, asked.corpus),
        runs=asked.runs or _ENDLESS,
        seed=asked.seed,
        seconds=asked.seconds or float("inf"),
    )
    print(
        f"{target.name}: {run.runs:,} runs in {run.seconds:.1f} s, {run.taken:,} taken, "
        f"{len(run.answers)} answers, slowest {1000 * run.slowest:.1f} ms, "
        f"{len(run.findings)} findings",
        flush=True,
    )
    keep = corpus.keeper(target.name, asked.corpus)
    for finding in run.findings:
        _tell(target, keep(shrink(target, finding).data), finding)
    return bool(run.findings)


def _guided(target: Target, asked: argparse.Namespace) -> bool:
    run = guided.run(
        target.name,
        corpus.seeds(target, asked.corpus),
        asked.corpus,
        seconds=asked.seconds or 0,
        runs=-1 if asked.runs is None else asked.runs,
        seed=asked.seed,
    )
    print(
        f"{target.name}: {run.runs:,} runs in {run.seconds:.1f} s with Atheris, "
        f"{run.edges:,} branches, {len(run.findings)} findings",
        flush=True,
    )
    if run.failed:
        print(run.failed, file=sys.stderr)
    for path in run.findings:
        try:
            examine(target, path.read_bytes())
        except FindingError as finding:
            _tell(target, path, finding)
        else:
            print(f"  {path}: took too long, or too much memory")
    return bool(run.findings) or bool(run.failed)


def _tell(target: Target, path: Path, finding: FindingError) -> None:
    print(f"  {finding}\n    python -m tests.fuzz {target.name} --input {path}")


if __name__ == "__main__":
    sys.exit(main())
