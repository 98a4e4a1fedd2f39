"""How often somebody may try an invite: a few times at once, then once a minute.

Only tries that fail count, so that a room full of guests behind one address gets in. Loopback
has no number of its own, as at the door. Time comes in as an argument, in seconds of any clock.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from setsync import limits
from setsync.node.door import crowd_of


@dataclass(slots=True)
class _Allowance:
    """Tries that are left of `most`, of which one comes back every `seconds`."""

    most: int
    left: float
    seen: float

    def refill(self, now: float, seconds: float) -> None:
        """A clock that goes back brings nothing and takes nothing."""
        passed = max(0.0, now - self.seen)
        self.left = min(self.most, self.left + passed / seconds)
        self.seen += passed


class Tries:
    """Counts tries, of each address and in all; may be asked by several threads."""

    def __init__(
        self,
        per_address: int = limits.INVITE_TRIES_PER_ADDRESS,
        total: int = limits.INVITE_TRIES,
        seconds: float = limits.INVITE_TRY_SECONDS,
    ) -> None:
        self._per_address, self._total, self._seconds = per_address, total, seconds
        self._lock = threading.Lock()
        self._all: _Allowance | None = None
        self._by_address: dict[str, _Allowance] = {}

    def allow(self, address: str, now: float) -> bool:
        """Whether an IP address ("" if it is not known) may try now; if so, that is counted.

        An address that is over its number costs the others nothing of theirs.
        """
        crowd = _crowd(address)
        with self._lock:
            return self._count(crowd, now)

    def _count(self, crowd: str, now: float) -> bool:
        if self._all is None:
            self._all = _Allowance(self._total, self._total, now)
        self._all.refill(now, self._seconds)
        own = self._own(crowd, now) if crowd else None
        if self._all.left < 1 or (own is not None and own.left < 1):
            return False
        self._all.left -= 1
        if own is not None:
            own.left -= 1
            self._by_address[crowd] = own
        return True

    def give_back(self, address: str) -> None:
        """The try was a good one."""
        with self._lock:
            for allowance in (self._all, self._by_address.get(_crowd(address))):
                if allowance is not None:
                    allowance.left = min(allowance.most, allowance.left + 1)

    def _own(self, crowd: str, now: float) -> _Allowance:
        """Who has all of its tries is not kept; each of the others took one of all within the
        time that bringing its own back takes, which bounds how many there are."""
        for allowance in self._by_address.values():
            allowance.refill(now, self._seconds)
        self._by_address = {at: one for at, one in self._by_address.items() if one.left < one.most}
        return self._by_address.get(crowd) or _Allowance(self._per_address, self._per_address, now)


def _crowd(address: str) -> str:
    return crowd_of(address) if address else ""
