"""Keeping up with other nodes: a session a peer, that stays, and comes back when it was cut.

Each begins by reconciling, so whatever was missed meanwhile is made up for first. Then it stays
and carries news both ways; after LIVE_SECONDS it ends and begins again, which heals what no
push has told. A peer that cannot be reached is tried again later and later, never in step with
others that lost it at the same moment.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import trio

from setsync import limits
from setsync.errors import PeerError, SetsyncError, StoreBusyError, StoreError, StoreFullError
from setsync.node.client import Options
from setsync.node.dialling import Dialler, Target
from setsync.node.local import Local
from setsync.node.progress import Progress
from setsync.node.report import Report

# What a node outlasts.
_PASSING = (StoreBusyError, StoreFullError)


class Phase(enum.StrEnum):
    """How it is with a peer."""

    CONNECTING = "connecting"
    CATCHING_UP = "catching up"
    LIVE = "live"
    WAITING = "waiting"


@dataclass(slots=True)
class PeerState:
    """What can be said of one peer. Times in milliseconds since 1970; 0: never.

    `told` is the arrival number up to which it was sent, or has, all that is here (0: not
    known); `lag` how many entries have arrived since, when somebody counted.
    """

    address: str
    phase: Phase = Phase.CONNECTING
    since: int = 0
    last_ok: int = 0
    last_error: str = ""
    sessions: int = 0
    entries_sent: int = 0
    entries_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    told: int = 0
    lag: int | None = None


@dataclass
class Keeper:
    """Keeps up with one peer until cancelled."""

    dialler: Dialler
    target: Target
    local: Local
    options: Options
    chance: random.Random = field(default_factory=random.SystemRandom)
    on_change: Callable[[PeerState], None] = lambda state: None
    # Hears of each session that is over: its report, and why it failed, if it did.
    on_session: Callable[[Report, str], None] = lambda report, reason: None

    def __post_init__(self) -> None:
        self.state = PeerState(str(self.target.address), since=self.local.clock())
        self._report = Report()

    def now(self) -> PeerState:
        """How it is, what the session under way has moved so far included."""
        return _added(self.state, self._report)

    @property
    def report(self) -> Report:
        """What the session under way came to so far; an empty one between sessions."""
        return self._report

    @property
    def is_busy(self) -> bool:
        """Whether a session is under way that has got as far as comparing."""
        return self._report.counters.total_received() > 0

    async def run(self) -> None:
        """Session after session. Raises StoreError: with a broken disk nothing helps. A store
        that others keep busy, or that has no room, is tried again, like a peer that is away."""
        wait = limits.RETRY_SECONDS
        while True:
            self._report = report = Report()
            started = trio.current_time()
            try:
                self._enter(Phase.CONNECTING)
                await self._session(report)
                self.state.last_error = ""
            except SetsyncError as error:
                if isinstance(error, StoreError) and not isinstance(error, _PASSING):
                    raise
                self.state.last_error = error.message
            self.state, self._report = _added(self.state, report), Report()
            self.state.sessions += 1
            self.on_session(report, self.state.last_error)
            if report.in_sync or trio.current_time() - started > wait:
                wait = limits.RETRY_SECONDS
            if self.state.last_error:
                self._enter(Phase.WAITING)
                await trio.sleep(wait * self.chance.uniform(0.5, 1.5))
                wait = min(2 * wait, limits.MAX_RETRY_SECONDS)

    async def _session(self, report: Report) -> None:
        seconds = limits.LIVE_SECONDS * self.chance.uniform(0.8, 1.2)
        stays = await self._one(report, seconds)
        if not stays:
            # The other side does not stay: ask again now and then.
            self._enter(Phase.WAITING)
            await trio.sleep(limits.POLL_SECONDS * self.chance.uniform(0.8, 1.2))

    async def _one(self, report: Report, seconds: float) -> bool:
        """One session; whether it stayed."""
        stayed = False

        def heard(progress: Progress) -> None:
            nonlocal stayed
            if progress.phase == "live":
                stayed = True
                self.state.last_ok = self.local.clock()
                self.state.last_error = ""
                self._enter(Phase.LIVE)
            elif progress.phase == "comparing" and self.state.phase is Phase.CONNECTING:
                self._enter(Phase.CATCHING_UP)

        options = Options(self.options.interests, self.options.direction, live=seconds)
        await self.dialler.session(self.target, self.local, options, heard, report)
        self.state.last_ok = self.local.clock()
        if not report.in_sync and not stayed:
            raise PeerError("The session ended and the sets are not equal.")
        return stayed

    def _enter(self, phase: Phase) -> None:
        if phase is not self.state.phase:
            self.state.phase = phase
            self.state.since = self.local.clock()
            self.on_change(self.state)


def _added(state: PeerState, report: Report) -> PeerState:
    return replace(
        state,
        entries_sent=state.entries_sent + report.entries_sent,
        entries_received=state.entries_received + report.entries_received,
        bytes_sent=state.bytes_sent + report.counters.total_sent(),
        bytes_received=state.bytes_received + report.counters.total_received(),
        told=max(state.told, report.told),
    )
