"""Whose entries are taken next, when more wait than one commit holds.

In order of arrival, ten peers that flood a node leave an eleventh less than a tenth. Here half of
what is taken goes to whoever had least of late: a peer that comes when others have been at it for
a while has that half to itself, until it has had as much as they. The other half goes round from
peer to peer: new keys, which may cost nothing, never take everything.

What one peer brings stays in its order. There is no clock: "of late" is counted in what was
taken. Nothing here waits, and nothing here knows an entry.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

from setsync import limits

T = TypeVar("T")


class Turns(Generic[T]):
    """Items that wait, each with who brought it and what it costs to take it.

    What each had is halved for all whenever it comes to `memory` in all, or is of more than
    `most` peers.
    """

    def __init__(
        self, memory: int = limits.TURNS_MEMORY, most: int = limits.MAX_TURNS_REMEMBERED
    ) -> None:
        self._memory, self._most = memory, most
        # Whose turn it is in the half that goes round comes first. No queue is empty.
        self._queues: OrderedDict[bytes, deque[tuple[T, int]]] = OrderedDict()
        self._had: dict[bytes, int] = {}
        self._all = 0
        # What the least served had more than those who went round; large items overshoot.
        self._ahead = 0

    def __bool__(self) -> bool:
        """Whether something waits."""
        return bool(self._queues)

    def put(self, peer: bytes, item: T, cost: int) -> None:
        """Let an item wait behind others of the same peer. A cost is at least 1."""
        self._queues.setdefault(peer, deque()).append((item, cost))

    def take(self, most: int) -> list[T]:
        """Items that cost `most`, and at most one more; all that wait, if they cost less."""
        taken: list[T] = []
        spent = 0
        while self._queues and spent < most:
            if self._ahead <= 0:
                item, cost = self._pop(self._least_served())
                self._ahead += cost
            else:
                item, cost = self._pop(next(iter(self._queues)))
                self._ahead -= cost
            taken.append(item)
            spent += cost
        self._forget()
        return taken

    def _least_served(self) -> bytes:
        """Of equals the one whose turn it would be."""
        return min(self._queues, key=lambda peer: self._had.get(peer, 0))

    def _pop(self, peer: bytes) -> tuple[T, int]:
        queue = self._queues[peer]
        item, cost = queue.popleft()
        if queue:
            self._queues.move_to_end(peer)
        else:
            del self._queues[peer]
        self._had[peer] = self._had.get(peer, 0) + cost
        self._all += cost
        return item, cost

    def _forget(self) -> None:
        while self._all > self._memory or len(self._had) > self._most:
            self._had = {peer: had // 2 for peer, had in self._had.items() if had > 1}
            self._all = sum(self._had.values())
