"""Who is kept waiting, or out, for what they did: by key, in memory, until the node stops.

Keys cost nothing where everybody is let in, so this is no wall. It is for the peer that is
listed and broken, and would come back with the same invalid entry every second.

Time comes in as an argument, in seconds of a clock that does not go back. Nothing here waits.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from setsync import limits
from setsync.errors import Abort, PeerRefusedError

# Of a reason, so that what goes around it fits into an ABORT as well.
_MOST_OF_A_REASON = 200
# Promised to one key. At most two of its connections wait at a time; who goes before its turn
# has used up that turn.
_MOST_RESTS = 4


@dataclass(frozen=True, slots=True)
class _Penalty:
    until: float
    reason: str


class Penalties:
    """Keys that misbehaved, and when each key begins its last session. Holds `most` of either."""

    def __init__(
        self,
        seconds: float = limits.PENALTY_SECONDS,
        rest: float = limits.REST_SECONDS,
        most: int = limits.MAX_PENALTIES,
    ) -> None:
        self._seconds, self._rest, self._most = seconds, rest, most
        # The first ends first, or within a few rests of it.
        self._penalties: OrderedDict[bytes, _Penalty] = OrderedDict()
        self._began: OrderedDict[bytes, float] = OrderedDict()

    def punish(self, key: bytes, reason: str, now: float) -> None:
        """Refuse a key from now on. `reason` is a sentence, which the key's holder will read.

        Doing it again begins the time anew.
        """
        self._forget(now)
        self._penalties.pop(key, None)
        self._penalties[key] = _Penalty(now + self._seconds, reason[:_MOST_OF_A_REASON])
        while len(self._penalties) > self._most:
            self._penalties.popitem(last=False)

    def check(self, key: bytes, now: float) -> None:
        """Raises PeerRefusedError, saying for how long yet and why."""
        found = self._penalties.get(key)
        if found is not None and now < found.until:
            raise PeerRefusedError(
                f"This node does not talk to you for another {_in_words(found.until - now)}, "
                f"because of your last session: {found.reason}"
            )

    def rest(self, key: bytes, now: float) -> float:
        """Seconds until this key may begin its next session; 0 is at once."""
        began = self._began.get(key)
        return max(0.0, began + self._rest - now) if began is not None else 0.0

    def begin(self, key: bytes, now: float) -> float:
        """Promise this key the next session, and return the seconds to wait until it begins.

        Several may wait at a time, and each begins a rest after the one before. Raises
        PeerRefusedError with BUSY when too many are promised.
        """
        self._forget(now)
        wait = self.rest(key, now)
        if wait > _MOST_RESTS * self._rest:
            raise PeerRefusedError("This key begins sessions too often; try later.", Abort.BUSY)
        self._began.pop(key, None)
        self._began[key] = now + wait
        while len(self._began) > self._most:
            self._began.popitem(last=False)
        return wait

    def __len__(self) -> int:
        """How much is remembered."""
        return len(self._penalties) + len(self._began)

    def _forget(self, now: float) -> None:
        """Drop what has no effect any more."""
        while self._penalties and next(iter(self._penalties.values())).until <= now:
            self._penalties.popitem(last=False)
        while self._began and next(iter(self._began.values())) + self._rest <= now:
            self._began.popitem(last=False)


def _in_words(seconds: float) -> str:
    """At least as long as it takes: "10 minutes", "1 second"."""
    count, unit = math.ceil(seconds), "second"
    if count > 60:
        count, unit = math.ceil(count / 60), "minute"
    return f"{count} {unit}" + ("s" if count > 1 else "")
