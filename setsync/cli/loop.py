"""Running something on trio from a command: until it is done, or somebody says stop."""

from __future__ import annotations

import gc
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from setsync.cli.common import most_telling

T = TypeVar("T")

_STOP = (signal.SIGINT, signal.SIGTERM)
# New objects between two searches for circles among them, which are rare here. The usual 700 are
# made by every few entries, and a search then takes as much time as an entry.
_SELDOM = 50_000


def look_for_circles_seldom() -> None:
    """For a process that makes many objects and hardly any circles of them."""
    gc.set_threshold(_SELDOM)


def run_stoppable(main: Callable[[], Awaitable[T]]) -> T | None:
    """Run `main`; on Ctrl-C or SIGTERM cancel it, let it say goodbye, and return None.

    Raises what `main` raises, the most telling exception of a group.
    """

    async def guarded() -> T | None:
        result: T | None = None
        with trio.open_signal_receiver(*_STOP) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_on_signal, signals, nursery.cancel_scope)
                result = await main()
                nursery.cancel_scope.cancel()
        return result

    look_for_circles_seldom()
    try:
        return trio.run(guarded)
    except BaseExceptionGroup as group:
        raise most_telling(group) from None


async def _cancel_on_signal(signals: object, scope: trio.CancelScope) -> None:
    async for _ in signals:  # type: ignore[attr-defined]
        scope.cancel()
