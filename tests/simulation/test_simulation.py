"""Whole worlds: nodes that meet on bad networks, with all chance from one seed.

`python -m tests.simulation` runs any number of them and shows each that fails again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.simulation.node import MakeStore, memory_store
from tests.simulation.plan import make_plan
from tests.simulation.planted import a_hasty_writer, a_lying_responder, forgetful_store
from tests.simulation.runner import main
from tests.simulation.seeds import SEEDS
from tests.simulation.trace import merge
from tests.simulation.world import run_world

# In portions, so that a failure names few and a run in parallel has something to share out.
_PORTIONS = [range(at, at + 10) for at in range(0, 70, 10)]
_FAULT_SEEDS = 10


@pytest.mark.parametrize("seeds", _PORTIONS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_after_the_last_fault_all_connected_nodes_become_equal(seeds: range) -> None:
    for seed in seeds:
        assert not run_world(seed).findings, f"python -m tests.simulation --seed {seed} --verbose"


@pytest.mark.parametrize("seed", SEEDS)
def test_what_failed_once_holds(seed: int) -> None:
    assert not run_world(seed).findings, SEEDS[seed]


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_ten_thousand_worlds_end_well() -> None:
    assert main(["--kind", "sessions", "--seeds", "10000", "--jobs", "2"]) == 0


def test_the_plans_cover_what_they_are_for() -> None:
    """Every kind of step, topology and fault is among the first thousand seeds."""
    plans = [make_plan(seed) for seed in range(1_000)]
    kinds = Counter(type(step).__name__ for plan in plans for step in plan.steps)
    assert set(kinds) == {"Meet", "Put", "Fall", "ClockJump"}
    topologies = {plan.topology for plan in plans}
    assert topologies == {"line", "ring", "star", "full", "tree", "parted"}
    assert {len(plan.nodes) for plan in plans} == {2, 3, 4, 5, 6}
    on_disk = sum(any(node.on_disk for node in plan.nodes) for plan in plans)
    assert 30 < on_disk < 120


# --- the same seed, the same run ----------------------------------------------------------

# Among them a world on disk, and some with crashes.
_TWICE = (1, 14, 33, 46)


@pytest.mark.parametrize("seed", _TWICE)
def test_a_seed_gives_the_same_trace_again(seed: int) -> None:
    first, second = (run_world(seed, keep_all=True) for _ in range(2))
    assert first.lines == second.lines
    assert first.digest == second.digest


def test_a_seed_gives_the_same_trace_in_another_process() -> None:
    """Where sets of bytes and strings have another order."""
    seed = _TWICE[1]
    for hash_seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--kind", "sessions", "--seed", str(seed)],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        said = run.stdout.splitlines()[-1]
        assert said == f"sessions {seed}, trace {run_world(seed).digest}"


def test_seeds_differ() -> None:
    assert len({run_world(seed).digest for seed in range(5)}) == 5


# --- planted faults -----------------------------------------------------------------------


def _first_finding(make_store: MakeStore = memory_store) -> str:
    for seed in range(_FAULT_SEEDS):
        if findings := run_world(seed, make_store=make_store).findings:
            return findings[0]
    return ""


def test_a_store_that_loses_an_acknowledged_entry_is_caught() -> None:
    assert "acknowledged" in _first_finding(forgetful_store)


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        (a_lying_responder, "connected nodes differ"),
        (a_hasty_writer, "acknowledged"),
    ],
)
def test_a_node_that_breaks_its_promise_is_caught(
    fault: Callable[[], AbstractContextManager[None]], finding: str
) -> None:
    with fault():
        assert finding in _first_finding()


# --- the command --------------------------------------------------------------------------


def test_the_command_names_a_failing_seed_and_how_to_see_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with a_lying_responder():
        assert main(["--kind", "sessions", "--seeds", "3"]) == 1
    said = capsys.readouterr().out
    assert "python -m tests.simulation --kind sessions --seed 0 --verbose" in said
    assert main(["--kind", "sessions", "--seeds", "2", "--first", "5"]) == 0
    assert "2 worlds, 0 failed." in capsys.readouterr().out


def test_counts_of_worlds_add_up_and_their_largest_do_not() -> None:
    total: Counter[str] = Counter()
    for _ in range(2):
        merge(total, Counter({"sessions": 3, "most sweeps of a world": 2}))
    assert total == Counter({"sessions": 6, "most sweeps of a world": 2})
