"""One target under Atheris, which watches the branches that each input takes.

A process of its own: libFuzzer never returns from its loop, and what it instruments has to
be imported under its eyes. `__main__` starts it and reads what it wrote.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Python code under libFuzzer is ten times slower; what takes this long stands still.
_HANG_SECONDS = 10
_MEMORY_MIB = 2048
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_REACHED = re.compile(r"cov: (\d+) ft: (\d+)")


@dataclass(frozen=True)
class Guided:
    """What libFuzzer counted. `findings` are files."""

    runs: int
    seconds: float
    edges: int
    findings: list[Path]
    failed: str


def is_installed() -> bool:
    """Whether Atheris is here; it is no dependency of setsync's."""
    return importlib.util.find_spec("atheris") is not None


def run(
    name: str, seeds: Sequence[bytes], folder: Path, seconds: int, runs: int, seed: int
) -> Guided:
    """Fuzz in a process of its own; findings are files in the corpus of the target."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    before, begun = set(place.iterdir()), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        for at, data in enumerate(seeds):
            (Path(scratch) / f"seed-{at}").write_bytes(data)
        done = subprocess.run(
            [
                sys.executable,
                *("-m", "tests.fuzz.guided", name, str(folder)),
                *(f"-max_total_time={seconds}", f"-runs={runs}", f"-seed={seed}"),
                *(f"-timeout={_HANG_SECONDS}", f"-rss_limit_mb={_MEMORY_MIB}", "-max_len=4096"),
                *("-print_final_stats=1", f"-artifact_prefix={place}/found-"),
                scratch,  # what it learns it writes here too, and that is thrown away
            ],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    executed, reached = _EXECUTED.findall(done.stderr), _REACHED.findall(done.stderr)
    return Guided(
        runs=int(executed[-1]) if executed else 0,
        seconds=time.monotonic() - begun,
        edges=int(reached[-1][0]) if reached else 0,
        findings=sorted(set(place.iterdir()) - before),
        failed=done.stderr[-2000:] if done.returncode else "",
    )


def _child(name: str, folder: Path, options: list[str]) -> None:
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["setsync", "bamboo_compat"]):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz import corpus
    from tests.fuzz.target import FindingError, examine

    target, keep, signs = TARGETS[name], corpus.keeper(name, folder), set[str]()

    def once(data: bytes) -> None:
        try:
            examine(target, data)
        except FindingError as finding:
            if finding.sign not in signs:
                signs.add(finding.sign)
                keep(data)

    atheris.Setup([sys.argv[0], *options], once)
    atheris.Fuzz()


if __name__ == "__main__":
    _child(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
