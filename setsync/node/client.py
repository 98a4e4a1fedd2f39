"""The initiator of a session: finds the difference, moves the entries, checks the end.

A pass is: catalogue, rounds of comparing, transfer, digests. If the digests differ after
it (somebody wrote meanwhile, or a short label lied), another pass follows, under a fresh
key and at last with whole ids. What still differs after the last and is younger than the
session is "newer"; anything older means that the session did not reach its end.
"""

from __future__ import annotations

import trio

from setsync import limits
from setsync.node.comparing import Comparing
from setsync.node.connection import Connection
from setsync.node.greeting import LIVE
from setsync.node.local import Local
from setsync.node.moving import exchange_payloads, transfer
from setsync.node.progress import OnProgress, ignore
from setsync.node.pushing import Pushing
from setsync.node.report import Report
from setsync.node.talk import Options, Talk
from setsync.node.transfer import Receiver
from setsync.session.table import Role
from setsync.wire import messages as m

__all__ = ["Options", "run_initiator"]


async def run_initiator(
    stream: trio.abc.Stream,
    local: Local,
    options: Options,
    on_progress: OnProgress = ignore,
    report: Report | None = None,
    *,
    peer: bytes | None = None,
) -> Report:
    """One session on a connected stream, which is closed afterwards.

    `peer` is the key that the other side has proven to hold.

    Raises PeerError, StoreError; `report` then holds what was known until then.
    """
    report = report if report is not None else Report()
    connection = Connection(stream, Role.INITIATOR)
    report.counters = connection.session.counters
    session = _Initiating(Talk(connection, local, options, on_progress, report), peer)
    started = trio.current_time()
    try:
        await connection.run(lambda _: session.run())
        report.state = "done"
    except trio.Cancelled:
        report.state = "cancelled"
        raise
    finally:
        report.seconds = trio.current_time() - started
    return report


class _Initiating:
    """One session's story."""

    def __init__(self, talk: Talk, peer: bytes | None) -> None:
        self._talk = talk
        self._peer = peer
        self._options, self._report = talk.options, talk.report
        self._comparing = Comparing(talk)

    async def run(self) -> None:
        """Greet, pass after pass until nothing is left to do, and part."""
        talk, report = self._talk, self._report
        talk.show("connecting")
        await talk.greet(self._peer)
        report.before = await self._comparing.collections()
        report.in_sync = await self._make_equal()
        if report.in_sync and not self._options.dry_run:
            if self._options.direction != m.PULL:
                report.note_told(self._comparing.compared)
            await self._exchange_payloads()
        if self._options.live is not None and LIVE in talk.agreement.responder.features:
            await self._stay(self._options.live)
        talk.show("closing")
        await talk.connection.send(m.Done())
        report.after = await self._comparing.collections()
        talk.show("done")

    async def _make_equal(self) -> bool:
        """Whether both sides were left in sync (as of the session's begin)."""
        report, comparing = self._report, self._comparing
        for turn in range(limits.MAX_PASSES + 1):
            self._talk.show("comparing")
            now = await comparing.begin(turn)
            if now is None:
                return True
            if self._options.peek:
                return False
            await comparing.compare(now)
            if not turn or self._options.dry_run:
                report.missing_here = now.missing_here
                report.missing_there = now.missing_there
            report.refused_here = now.refused_here
            report.refused_there = now.refused_there
            if not now.found and turn < limits.MAX_PASSES:
                continue  # the catalogues differ, and nothing was found: look again, closer
            if self._options.list_ids:
                await comparing.list_ids(now)
            relevant = now.relevant(self._options.direction)
            if self._options.dry_run or not relevant:
                return not relevant
            if turn == limits.MAX_PASSES:
                return await comparing.is_only_newer(now)
            await transfer(self._talk, now)
            if await comparing.is_equal():
                return True
        return True

    async def _exchange_payloads(self) -> None:
        compared = self._comparing.compared
        if await exchange_payloads(self._talk):
            await self._comparing.is_equal()
            # These digests decide nothing, so what has arrived since the last pass is news yet.
            self._comparing.compared = compared

    async def _stay(self, seconds: float) -> None:
        """Both sides send what is new, until it is time to compare again."""
        if not self._report.in_sync:
            return  # the sets cannot be made equal by talking on
        talk = self._talk
        await talk.connection.send(m.Live())
        talk.show("live")
        pushing = Pushing(
            talk.connection,
            talk.local,
            talk.peer,
            Receiver.of(talk.agreement.responder),
            talk.agreement.initiator.max_payload,
            talk.agreement.is_mutual,
            self._comparing.compared,
            self._report.count_sent,
            self._report.count_received,
            self._report.count_refused,
            self._report.note_told,
        )
        with trio.move_on_after(seconds):
            await pushing.run()
