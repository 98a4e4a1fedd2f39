"""Who may come in at one moment: numbers and rates of connections, and nothing else.

Two crowds are kept apart. Who is through has a key that is let in, and is one of a number that is
enough for every honest use. Who is not through yet has shown nothing but that it can open a
connection, or a key that anybody can make; there are few such places, and when they are taken the
one that has stood there longest goes, so that a flood of half-open connections cannot keep a quick
handshake out.

Several programs share a loopback address (a proxy, or all nodes of a test), so the numbers per
address do not hold for it; the ones over all do. A whole /64 of IPv6 counts as one address,
since that is what one subscriber is given.

Time comes in as an argument. Nothing here waits, and nothing here knows a socket.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from setsync import limits
from setsync.errors import Abort, PeerError


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers; `limits` has the reasons."""

    pending: int = limits.MAX_PENDING
    pending_per_address: int = limits.MAX_PENDING_PER_ADDRESS
    connections: int = limits.MAX_CONNECTIONS
    per_address: int = limits.MAX_CONNECTIONS_PER_ADDRESS
    per_key: int = limits.MAX_CONNECTIONS_PER_KEY
    rate: float = limits.ACCEPTS_PER_SECOND
    rate_per_address: float = limits.ACCEPTS_PER_SECOND_PER_ADDRESS


@dataclass(eq=False, slots=True)
class Visit:
    """One connection, from the moment it was accepted. `drop` ends it from outside."""

    address: str
    drop: Callable[[], None]
    key: bytes | None = None
    is_through: bool = False
    was_dropped: bool = False


@dataclass(slots=True)
class _Bucket:
    """Tokens that come back at `rate` a second; as many as two seconds bring may be saved up."""

    rate: float
    tokens: float = field(init=False)
    seen: float

    def __post_init__(self) -> None:
        self.tokens = 2 * self.rate

    def refill(self, now: float) -> None:
        """A clock that goes back brings nothing and takes nothing."""
        passed = max(0.0, now - self.seen)
        self.tokens = min(2 * self.rate, self.tokens + self.rate * passed)
        self.seen += passed

    @property
    def is_full(self) -> bool:
        return self.tokens >= 2 * self.rate


class Door:
    """Says of every connection whether it may come in, and keeps count until it leaves."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules if rules is not None else Rules()
        # In order of arrival: the first is the oldest.
        self._inside: dict[Visit, None] = {}
        self._all = _Bucket(self.rules.rate, 0.0)
        self._by_address: dict[str, _Bucket] = {}
        self._telling = _Bucket(1.0, 0.0)

    def arrive(self, address: str, now: float, drop: Callable[[], None]) -> Visit:
        """A connection was accepted; it is pending until `let_through`.

        `drop` of another pending one is called when this one takes its place.
        Raises PeerError with BUSY and the reason; the connection is then none of ours.
        """
        crowd = crowd_of(address)
        self._count_arrival(crowd, now)
        if crowd:
            self._make_room(crowd, self.rules.pending_per_address)
        self._make_room(None, self.rules.pending)
        visit = Visit(crowd, drop)
        self._inside[visit] = None
        return visit

    def let_through(self, visit: Visit, key: bytes | None) -> None:
        """It has shown its key and may talk to us (without a key: on the plain channel).

        Raises PeerError with BUSY and the reason; it then stays pending until it leaves.
        """
        through = [other for other in self._inside if other.is_through]
        if len(through) >= self.rules.connections:
            raise _busy(f"This node has all {self.rules.connections} connections that it takes")
        here = sum(other.address == visit.address for other in through)
        if visit.address and here >= self.rules.per_address:
            raise _busy(f"This node takes {self.rules.per_address} connections from one address")
        same = sum(other.key == key for other in through)
        if key is not None and same >= self.rules.per_key:
            raise _busy(f"This node takes {self.rules.per_key} connections from one key")
        visit.key, visit.is_through = key, True

    def leave(self, visit: Visit) -> None:
        """The connection has ended; leaving twice does no harm."""
        self._inside.pop(visit, None)

    def is_time_to_tell(self, now: float) -> bool:
        """Whether the operator shall hear of one that was turned away: once a second, or so.
        A flood of connections must not become one of lines in a log."""
        self._telling.refill(now)
        if self._telling.tokens < 1:
            return False
        self._telling.tokens -= 1
        return True

    def admit(self, connections: int) -> None:
        """So many may be through from now on; who is through already stays."""
        self.rules = replace(self.rules, connections=connections)

    @property
    def pending(self) -> int:
        """Connections that are not through."""
        return sum(not visit.is_through for visit in self._inside)

    @property
    def through(self) -> int:
        """Connections that are."""
        return len(self._inside) - self.pending

    # --- rates ----------------------------------------------------------------------------

    def _count_arrival(self, crowd: str, now: float) -> None:
        """An address that is over its rate costs the others nothing of theirs."""
        own = self._bucket(crowd, now) if crowd else None
        if own is not None and own.tokens < 1:
            raise _busy("Too many connections a second came from this address")
        self._all.refill(now)
        if self._all.tokens < 1:
            raise _busy("Too many connections a second came")
        self._all.tokens -= 1
        if own is not None:
            own.tokens -= 1
            self._by_address[crowd] = own

    def _bucket(self, crowd: str, now: float) -> _Bucket:
        """A full bucket says no more than a missing one, so those are not kept.

        Who has no bucket yet gets one only with a token of the common one, and is full again
        two seconds later: at most four seconds' arrivals are ever in the table after a sweep.
        """
        if len(self._by_address) > 8 * self.rules.rate:
            for bucket in self._by_address.values():
                bucket.refill(now)
            self._by_address = {at: one for at, one in self._by_address.items() if not one.is_full}
        bucket = self._by_address.get(crowd) or _Bucket(self.rules.rate_per_address, now)
        bucket.refill(now)
        return bucket

    # --- places ---------------------------------------------------------------------------

    def _make_room(self, crowd: str | None, places: int) -> None:
        waiting = [visit for visit in self._inside if _is_pending(visit, crowd)]
        self._drop(waiting[: max(0, len(waiting) - places + 1)])

    def _drop(self, visits: Iterable[Visit]) -> None:
        for visit in visits:
            visit.was_dropped = True
            del self._inside[visit]
            visit.drop()


def _is_pending(visit: Visit, crowd: str | None) -> bool:
    return not visit.is_through and crowd in (None, visit.address)


def crowd_of(address: str) -> str:
    """What of an IP address is counted together; nothing for a loopback address.

    Raises ValueError for what is none.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return ""
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


def _busy(reason: str) -> PeerError:
    return PeerError(f"{reason}; try later.", Abort.BUSY)
