"""What a page tells on every other page, kept: how many things wait there for the operator."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeVar

import trio

from bamboo_compat.web.limits import LOOK_SECONDS, PAUSE_SECONDS, PAUSE_SHARE
from setsync.errors import SetsyncError
from setsync.web.guests import Web

T = TypeVar("T")


class Kept(Generic[T]):
    """A value that is made again when what it is made of has changed.

    `mark` says of what it would be made, `make` makes it; both are called in threads. Open pages
    hear `topic` when there is another value than before.
    """

    def __init__(
        self, web: Web, topic: str, mark: Callable[[], Hashable], make: Callable[[], T]
    ) -> None:
        self.last: T | None = None
        self._web, self._topic = web, topic
        self._mark, self._make = mark, make
        self._seen: Hashable = None
        self._lock = trio.Lock()

    async def now(self) -> T:
        """As it is. Raises what making it raises."""
        async with self._lock:
            mark = await self._web.offload(self._mark)
            if self.last is None or mark != self._seen:
                made = await self._web.offload(self._make)
                is_new = made != self.last
                self.last, self._seen = made, mark
                if is_new:
                    self._web.events.publish(self._topic)
            return self.last

    async def follow(self) -> None:
        """Keep it until cancelled, at the pace of what it costs."""
        told = ""
        while True:
            heard = self._web.local.writer.news.next()
            began = trio.current_time()
            try:
                await self.now()
                told = ""
            except SetsyncError as error:
                if error.message != told:
                    self._web.warn("web_page_failed", page=self._topic, reason=error.message)
                told = error.message
            took = trio.current_time() - began
            await trio.sleep(max(PAUSE_SECONDS, PAUSE_SHARE * took))
            with trio.move_on_after(LOOK_SECONDS):
                await heard.wait()


def mark_of(path: Path) -> Hashable:
    """Whether a file is another than before; None where there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns
