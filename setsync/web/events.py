"""What open pages are told: that something has changed, never what.

A page that hears a topic asks again for the part that shows it. So a listener is a set of
topics and nothing can pile up: a page that reads slowly hears of a topic once, and the node
never waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from setsync.errors import UsageError
from setsync.limits import MAX_WEB_LISTENERS

ENTRIES = "entries"
PEERS = "peers"
SAMPLES = "samples"


class Listener:
    """One open page."""

    def __init__(self) -> None:
        self._topics: set[str] = set()
        self._changed = trio.Event()

    def hear(self, topic: str) -> None:
        """Note a topic for later."""
        self._topics.add(topic)
        self._changed.set()

    async def next(self) -> list[str]:
        """The topics of what has changed since the last look; waits for one."""
        await self._changed.wait()
        self._changed = trio.Event()
        topics, self._topics = self._topics, set()
        return sorted(topics)


class Events:
    """Tells all pages. Topics are names in the code: "entries", "peers", "samples", a guest's."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    def publish(self, topic: str) -> None:
        """Something of this topic has changed. Never waits; call it from the event loop."""
        for listener in self._listeners:
            listener.hear(topic)

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """One more page, inside the block. Raises UsageError when there are too many."""
        if len(self._listeners) >= MAX_WEB_LISTENERS:
            raise UsageError(f"More than {MAX_WEB_LISTENERS} pages are open.")
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def __len__(self) -> int:
        return len(self._listeners)
