"""What a node that runs for months tells of its store: what lasts too long."""

from __future__ import annotations

from collections.abc import Callable

import trio

from setsync import limits
from setsync.store.environment import Environment, SlowSnapshots


async def watch_snapshots(
    environment: Environment, on_slow: Callable[[SlowSnapshots], None]
) -> None:
    """Tell once a minute of read transactions that lasted too long, until cancelled."""
    while True:
        await trio.sleep(limits.SNAPSHOT_REPORT_SECONDS)
        slow = environment.slow_snapshots()
        if slow.count:
            on_slow(slow)


async def watch_writes(environment: Environment, on_slow: Callable[[float], None]) -> None:
    """Tell of a write that does not end, again and again while it lasts, until cancelled.

    `on_slow` gets its seconds so far. Nothing is ended: a disk may be slow and work.
    """
    while True:
        await trio.sleep(limits.WRITE_LOCK_SECONDS)
        seconds = environment.writing_seconds()
        if seconds >= limits.WRITE_LOCK_SECONDS:
            on_slow(seconds)
