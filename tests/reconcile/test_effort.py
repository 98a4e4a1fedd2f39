"""What comparing may cost is far from what it costs the honest, and is never bought by claims."""

from __future__ import annotations

import pytest

from setsync import limits
from setsync.errors import PeerError
from setsync.reconcile.effort import Answering, Asking, answer_steps, told_bytes
from setsync.reconcile.labels import FULL, SHORT
from setsync.reconcile.questions import AskSketch, Range
from setsync.reconcile.rounds import Initiator, answer
from setsync.reconcile.sketching import Held
from setsync.reconcile.view import ListView
from tests.helpers import some_bytes

KEY = some_bytes("key")
LARGE = [some_bytes("effort", at) for at in range(20_000)]
POOL = LARGE[:6_000]

SHAPES = {
    "a few differ": (POOL[:3_000], POOL[5:3_005]),
    "nothing in common": (POOL[:3_000], POOL[3_000:]),
    "theirs is many times ours": (POOL[:20], POOL),
    "ours is many times theirs": (POOL, POOL[:20]),
    "half": (POOL[:4_000], POOL[2_000:]),
}


@pytest.mark.parametrize("what", SHAPES)
@pytest.mark.parametrize("width", [SHORT, FULL])
@pytest.mark.parametrize("sketches", [True, False])
def test_the_honest_need_a_fraction_of_what_is_allowed(
    what: str, width: int, sketches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of it, with an eighth of the usual steps and bytes to spare."""
    monkeypatch.setattr(limits, "SPARE_STEPS", limits.SPARE_STEPS // 8)
    monkeypatch.setattr(limits, "MIN_TOLD_BYTES", limits.MIN_TOLD_BYTES // 8)
    mine, theirs = SHAPES[what]
    asking, answering, held = Asking(), Answering(), Held()
    initiator = Initiator(KEY, width, sketches=sketches, effort=asking)
    initiator.open(0, len(theirs))
    here, there = {0: ListView(mine)}, {0: ListView(theirs)}
    while questions := initiator.ask(here):
        answers = []
        for question in questions:
            encoded = held.encoded
            answers.append(answer(question, there, KEY, held))
            steps = answer_steps(question, answers[-1], held.encoded - encoded)
            answering.charge(steps, told_bytes(answers[-1]), len(theirs), 1)
        initiator.take(answers, here)
    assert 4 * asking.steps <= asking.allowed
    allowed = limits.STEPS_PER_ID * len(theirs) + limits.SPARE_STEPS
    assert 4 * answering.steps <= allowed
    assert answering.told <= max(2 * 32 * len(theirs), limits.MIN_TOLD_BYTES) * 3 / 4


def test_a_range_that_is_encoded_again_and_again_uses_up_what_a_session_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the responder does not keep is as much work each time, however cheap the questions
    are between which it is forgotten."""
    monkeypatch.setattr(limits, "SPARE_STEPS", limits.SPARE_STEPS // 8)
    ids = [bytes([id_[0] & 15]) + id_[1:] for id_ in LARGE]
    views, held, answering = {0: ListView(ids)}, Held(), Answering()
    pushed_out = [Range(0, f"f{at:03x}") for at in range(limits.HELD_SKETCHES)]

    def ask(times: int = 1) -> None:
        for place in times * [Range(0, "0"), *pushed_out]:
            question, encoded = AskSketch(place, 0, 1, 0, 0), held.encoded
            given = answer(question, views, KEY, held)
            steps = answer_steps(question, given, held.encoded - encoded)
            answering.charge(steps, told_bytes(given), len(ids), 1)

    ask()
    assert held.encoded == len(ids)
    allowed = limits.STEPS_PER_ID * len(ids) + limits.SPARE_STEPS
    with pytest.raises(PeerError, match="More was asked"):
        ask(allowed // len(ids))
    assert held.encoded <= allowed + len(ids)


def test_passes_over_the_same_sets_buy_nothing_more() -> None:
    asking = Asking()
    for _ in range(4):
        asking.begin()
        asking.allow(1_000)
    assert asking.allowed == limits.SPARE_STEPS + 1_000 * limits.STEPS_PER_ID + (
        2 * limits.STEPS_PER_COLLECTION
    )


def test_what_is_over_the_allowance_is_refused() -> None:
    with pytest.raises(PeerError, match="More was asked"):
        Answering().charge(0, limits.MIN_TOLD_BYTES + 1, 1, 1)
    with pytest.raises(PeerError, match="More was asked"):
        Answering().charge(2 * limits.SPARE_STEPS, 0, 1, 1)
    with pytest.raises(PeerError, match="more work"):
        Asking().charge(2 * limits.SPARE_STEPS, 0)
