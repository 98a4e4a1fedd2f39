"""Worlds whose nodes keep up with each other, as `serve --peer`, and worlds of nodes that do not
all want the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.simulation.live_plan import make_live_plan
from tests.simulation.live_world import run_live_world
from tests.simulation.plan import make_plan
from tests.simulation.planted import (
    a_lax_writer,
    forgetful_store,
    keepers_that_give_up,
    mute_nodes,
    nodes_that_repeat_themselves,
)
from tests.simulation.policies import KINDS, with_policies
from tests.simulation.runner import KINDS as WORLDS
from tests.simulation.runner import main
from tests.simulation.seeds import MENDED
from tests.simulation.world import run_world

_PORTIONS = [range(at, at + 4) for at in range(0, 12, 4)]


def _ids(seeds: range) -> str:
    return f"{seeds[0]}-{seeds[-1]}"


@pytest.mark.parametrize("seeds", _PORTIONS, ids=_ids)
def test_nodes_that_keep_up_become_equal_by_themselves_and_then_are_silent(seeds: range) -> None:
    for seed in seeds:
        found = run_live_world(seed).findings
        assert not found, f"python -m tests.simulation --kind live --seed {seed} --verbose"


@pytest.mark.parametrize(("kind", "seed"), MENDED)
def test_what_failed_once_holds(kind: str, seed: int) -> None:
    assert not WORLDS[kind](seed).findings, MENDED[kind, seed]


@pytest.mark.parametrize("seeds", [range(6), range(6, 13)], ids=_ids)
def test_between_nodes_that_want_different_things_nothing_differs_but_what_one_refuses(
    seeds: range,
) -> None:
    for seed in seeds:
        found = run_world(seed, has_policies=True).findings
        assert not found, f"python -m tests.simulation --kind policies --seed {seed} --verbose"


def test_that_holds_for_nodes_that_keep_up_too() -> None:
    for seed in range(2):
        found = run_live_world(seed, has_policies=True).findings
        assert not found, f"python -m tests.simulation --kind live-policies --seed {seed} --verbose"


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_two_thousand_worlds_of_each_kind_end_well() -> None:
    kinds = [word for kind in ("live", "policies", "live-policies") for word in ("--kind", kind)]
    assert main([*kinds, "--seeds", "2000", "--jobs", "2"]) == 0


def test_the_plans_cover_what_they_are_for() -> None:
    plans = [make_live_plan(seed) for seed in range(500)]
    steps = {type(step).__name__ for plan in plans for step in plan.steps}
    falls = {"Put", "PutBehind", "Fall", "ClockJump"}
    assert steps == falls | {"Cut", "HalfClose", "Stall", "Outage"}
    knobs = Counter({"secure": 0, "brisk": 0, "notices": 0, "tight": 0})
    for plan in plans:
        knobs.update(knob for knob in list(knobs) if getattr(plan, knob))
    assert all(50 < count < 450 for count in knobs.values())
    assert any(len(plan.keepers) > len(plan.edges) for plan in plans)
    refused = {kind for seed in range(100) for kind in with_policies(make_plan(seed)).kinds}
    assert refused == set(KINDS)


# The second is over the secure channel, the third has nodes that refuse entries.
@pytest.mark.parametrize(("seed", "has_policies"), [(1, False), (2, False), (1, True)])
def test_a_seed_gives_the_same_trace_again(seed: int, has_policies: bool) -> None:
    first, second = (
        run_live_world(seed, keep_all=True, has_policies=has_policies) for _ in range(2)
    )
    assert make_live_plan(2).secure
    assert first.lines == second.lines
    assert first.digest == second.digest


# --- planted faults -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        (mute_nodes, "news were not everywhere"),
        (keepers_that_give_up, "connected nodes differ"),
        (nodes_that_repeat_themselves, "both had it when it began"),
    ],
)
def test_a_node_that_does_not_keep_up_as_promised_is_caught(
    fault: Callable[[], AbstractContextManager[None]], finding: str
) -> None:
    with fault():
        worlds = (run_live_world(seed).findings for seed in range(8))
        assert any(finding in each for findings in worlds for each in findings)


def test_a_store_that_loses_an_acknowledged_entry_is_caught() -> None:
    worlds = (run_live_world(seed, make_store=forgetful_store).findings for seed in range(8))
    assert any("acknowledged" in each for findings in worlds for each in findings)


def test_a_node_that_takes_what_its_policy_refuses_is_caught() -> None:
    with a_lax_writer():
        worlds = (run_world(seed, has_policies=True).findings for seed in range(8))
        assert any("keeps what it refuses" in each for findings in worlds for each in findings)
