"""Running a world so that the same seed gives the same run, on a clock that jumps.

trio draws the order in which ready tasks run from a generator of its own, and sorts them
first only if it was told to: that is the hook which trio itself gives to Hypothesis
(`trio._core._run._hypothesis_plugin_setup`). There is no public way to it, and Hypothesis
offers none to its seeding either, so the two names are used here and nowhere else. A test
that runs each seed in two processes would notice if they stopped working.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import trio
import trio.testing
from trio._core import _run

T = TypeVar("T")

# The module under a type that lets its constants be set.
_scheduler: Any = _run


def run_seeded(seed: int, main: Callable[..., Awaitable[T]], *arguments: object) -> T:
    """`trio.run` on a jumping clock that starts at 0, the order of tasks drawn from `seed`."""
    with _order_from(seed):
        return trio.run(main, *arguments, clock=trio.testing.MockClock(autojump_threshold=0))


@contextlib.contextmanager
def _order_from(seed: int) -> Iterator[None]:
    """Left as it was found: other tests in this process may have their own order."""
    chance: random.Random = _scheduler._r
    before = chance.getstate()
    was_sorted = _scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    _scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    chance.seed(seed)
    try:
        yield
    finally:
        chance.setstate(before)
        _scheduler._ALLOW_DETERMINISTIC_SCHEDULING = was_sorted
