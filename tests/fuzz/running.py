"""One run of a target: inputs made, given to the decoder, and what came of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fuzz.mutation import mutate
from tests.fuzz.target import MAX_INPUT, FindingError, Target, examine

Keeper = Callable[[bytes], Path]
Clock = Callable[[], float]

_MOST_KEPT = 2_000
# One fault shows in many ways; whoever repairs it runs this again.
_MOST_FINDINGS = 10


@dataclass
class Run:
    """What came of it. `kept`: inputs that were answered in a new way; `answers`: how often
    each answer was given; `slowest`: seconds that one input took."""

    target: str
    runs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    kept: list[bytes] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    findings: list[FindingError] = field(default_factory=list)

    @property
    def taken(self) -> int:
        """How many inputs were no refusal."""
        return self.answers["taken"]


def fuzz(
    target: Target,
    seeds: Sequence[bytes],
    *,
    runs: int,
    seed: int,
    seconds: float = float("inf"),
    clock: Clock = time.monotonic,
) -> Run:
    """The seeds as they are, then changed ones, until there were so many runs or it took so
    long, or enough is found. The same arguments make the same inputs."""
    chance = Random(f"{target.name} {seed}")
    run, signs = Run(target.name), set[str]()
    pool = list(seeds) or [b""]
    begun = clock()
    for at in range(runs):
        data = pool[at] if at < len(seeds) else _next(pool, len(seeds), chance)
        before = clock()
        if before - begun >= seconds or len(run.findings) >= _MOST_FINDINGS:
            break
        try:
            answer = examine(target, data)
        except FindingError as finding:
            if finding.sign not in signs:
                signs.add(finding.sign)
                run.findings.append(finding)
        else:
            if not run.answers[answer] and at >= len(seeds) and len(run.kept) < _MOST_KEPT:
                run.kept.append(data)
                pool.append(data)
            run.answers[answer] += 1
        run.slowest = max(run.slowest, clock() - before)
        run.runs += 1
    run.seconds = clock() - begun
    return run


def shrink(target: Target, finding: FindingError) -> FindingError:
    """The same fault from fewer bytes: pieces are left out as long as it stays."""
    size = max(1, len(finding.data) // 2)
    while size:
        at = 0
        while at < len(finding.data):
            fewer = finding.data[:at] + finding.data[at + size :]
            smaller = _again(target, fewer, finding.sign)
            if smaller is None:
                at += size
            else:
                finding = smaller
        size //= 2
    return finding


def _again(target: Target, data: bytes, sign: str) -> FindingError | None:
    try:
        examine(target, data)
    except FindingError as finding:
        return finding if finding.sign == sign else None
    return None


def _next(pool: Sequence[bytes], samples: int, chance: Random) -> bytes:
    """Half the time from the seeds, so that what was kept does not crowd them out."""
    if samples and chance.random() < 0.5:
        base = pool[chance.randrange(samples)]
    else:
        base = chance.choice(pool)
    return mutate(base, chance.choice(pool), chance)[:MAX_INPUT]
