"""One session, measured from outside: through the counting proxy, checked against the report.

The node's own report says what the bytes were for, the proxy says how many there were. Where
the two disagree nothing is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from setsync.bench.counts import Counts, Ledger
from setsync.bench.forward import Address, serve
from setsync.bench.link import Link
from setsync.errors import LocalError, PeerGoneError, PeerUnreachableError
from setsync.limits import SHUTDOWN_GRACE
from setsync.node.address import join_address
from setsync.node.client import Options, run_initiator
from setsync.node.connection import most_telling
from setsync.node.local import Local
from setsync.node.node import check_loopback, connect
from setsync.node.progress import OnProgress, ignore
from setsync.node.report import Report

ID_BYTES = 32
# What a slow line still holds when the session is over must have arrived before counting ends.
_SETTLE_SECONDS = 20.0 + SHUTDOWN_GRACE


class MiscountError(LocalError):
    """This is a defect of setsync: please report it, with both numbers."""

    code = "miscount"


@dataclass(frozen=True, slots=True)
class Phases:
    """Bytes of both directions, by what they were for."""

    handshake: int
    reconcile: int
    entries: int
    close: int

    @classmethod
    def of(cls, reported: Mapping[str, Any], counts: Counts) -> Phases:
        """From the `bytes` object of a report, if it agrees with the proxy to the byte.

        Raises MiscountError if it does not.
        """
        said = reported["sent"], reported["received"]
        if said != (counts.up, counts.down):
            raise MiscountError(
                f"The node reports {said[0]} bytes sent and {said[1]} received, "
                f"the proxy counted {counts.up} and {counts.down}."
            )
        names = ("handshake", "reconcile", "entries", "close")
        return cls(*(reported[name]["sent"] + reported[name]["received"] for name in names))

    @property
    def after_handshake(self) -> int:
        """All that a dry run sends from the end of both HELLOs on."""
        return self.reconcile + self.entries + self.close


@dataclass(frozen=True, slots=True)
class Measured:
    """What a session came to, and what the proxy counted. `here` are entries before it."""

    report: Report
    counts: Counts
    phases: Phases

    @property
    def here(self) -> int:
        """Entries of this side before the session."""
        return sum(summary.count for summary in self.report.before.values())

    @property
    def there(self) -> int:
        """Entries of the other side before it, of the collections both want."""
        return self.here - self.report.missing_there + self.report.missing_here

    @property
    def difference(self) -> int:
        """Entries that only one side held."""
        return self.report.missing_here + self.report.missing_there

    def to_json(self) -> dict[str, Any]:
        """One of the sessions in `bench --json`; its schema is docs/json/bench.json."""
        report = self.report.to_json()
        chosen = ("in_sync", "missing_here", "missing_there", "round_trips", "seconds", "bytes")
        spent = self.phases.reconcile
        return {
            "here": self.here,
            "there": self.there,
            **{name: report[name] for name in chosen},
            "bytes_per_difference": spent / self.difference if self.difference else None,
            "naive_bytes": ID_BYTES * (self.here + self.there),
        }


async def measure(
    local: Local,
    address: Address,
    options: Options,
    *,
    link: Link | None = None,
    on_progress: OnProgress = ignore,
) -> Measured:
    """One session with the node at `address`, through a proxy that may pretend to be slow.

    Raises what a session raises, UsageError for an address that is not loopback, MiscountError.
    """
    await check_loopback(address[0])  # the proxy would hide whom it talks to
    ledger = Ledger()
    try:
        async with trio.open_nursery() as nursery:
            proxy: Address = await nursery.start(partial(serve, address, ledger, link=link))
            stream = await connect(*proxy)
            report = await run_initiator(stream, local, options, on_progress)
            # Counts are final once both connections have ended.
            await trio.to_thread.run_sync(ledger.wait_idle, _SETTLE_SECONDS, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        error = most_telling(group)
        if isinstance(error, PeerGoneError) and not ledger.counts.total:
            # The proxy could not reach the node, and hung up.
            where = join_address(*address)
            raise PeerUnreachableError(f"Nobody answers at {where}.") from None
        raise error from None
    return Measured(report, ledger.counts, Phases.of(report.to_json()["bytes"], ledger.counts))
