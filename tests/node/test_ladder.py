"""Whole sessions end equal although short ids or labels collide, or sketches are never used."""

from __future__ import annotations

import pytest

from setsync import limits
from setsync.node.client import Options
from setsync.reconcile import policy, sketch
from setsync.store.memory import MemoryStore
from tests.helpers import entries
from tests.node.ends import roots, sync_in_memory


def two(common: int, each: int) -> tuple[MemoryStore, MemoryStore]:
    """Two stores that share `common` entries and have `each` of their own."""
    a, b = MemoryStore(), MemoryStore()
    for store, seed in ((a, 1), (b, 2)):
        store.add_many(entries(common))
        store.add_many(entries(each, seed=seed))
    return a, b


@pytest.mark.parametrize("digits", [1, 2, 3, 4])
@pytest.mark.parametrize("each", [1, 40, 300])
def test_with_colliding_short_ids_a_session_still_ends_equal(
    monkeypatch: pytest.MonkeyPatch, digits: int, each: int
) -> None:
    monkeypatch.setattr(sketch, "SHORT_DIGITS", digits)
    a, b = two(900, each)
    met = sync_in_memory(a, b)
    assert met.report.in_sync
    assert roots(a) == roots(b)


@pytest.mark.parametrize("each", [1, 300, 700])
def test_splits_and_lists_alone_end_equal_as_well(each: int) -> None:
    a, b = two(900, each)
    met = sync_in_memory(a, b, Options(sketches=False))
    assert met.report.in_sync
    assert roots(a) == roots(b)


@pytest.mark.parametrize("closer", list(policy.Closer))
def test_every_closer_forced_in_turn_ends_equal(
    monkeypatch: pytest.MonkeyPatch, closer: policy.Closer
) -> None:
    """Wherever the model allows a choice at all, the choice is `closer`."""
    honest = policy.choose

    def forced(
        mine: int, theirs: int, depth: int, expected: float | None = None, **more: object
    ) -> policy.Closer:
        chosen = honest(mine, theirs, depth, expected, **more)  # type: ignore[arg-type]
        free = mine and theirs and depth < 8
        wants_sketch = closer in (policy.Closer.SKETCH, policy.Closer.SPLIT_SKETCH)
        possible = more["sketches"] if wants_sketch else True
        entries_only = closer in (policy.Closer.PUSH_ALL, policy.Closer.WANT_ALL)
        return closer if free and possible and not entries_only else chosen

    monkeypatch.setattr("setsync.reconcile.rounds.choose", forced)
    # Splitting down to the last digits is more work than a session is allowed.
    monkeypatch.setattr(limits, "SPARE_STEPS", 16 * limits.SPARE_STEPS)
    a, b = two(600, 50)
    met = sync_in_memory(a, b)
    assert met.report.in_sync
    assert roots(a) == roots(b)
