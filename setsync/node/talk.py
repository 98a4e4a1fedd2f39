"""What the parts of an initiator's session share: with whom, what for, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import trio

from setsync import limits
from setsync.errors import PeerError
from setsync.model.collection import EVERYTHING, Pattern
from setsync.node.connection import Connection
from setsync.node.greeting import Agreement, check_hello, hello
from setsync.node.local import Local
from setsync.node.payloads import are_missing
from setsync.node.progress import OnProgress, Progress
from setsync.node.report import Report
from setsync.reconcile.rounds import Difference
from setsync.wire import messages as m

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """What a session is for. `list_ids` fills the report's lists (and wants `dry_run`);
    without `sketches` only splits and lists are used, to measure what they would cost.
    `live`: stay for so many seconds after the sets are equal, and send what is new.
    `peek`: only say which collections differ, in one round trip.
    `invite`: a code for a node that does not list us yet."""

    interests: tuple[Pattern, ...] = (Pattern(EVERYTHING),)
    direction: int = m.BOTH
    dry_run: bool = False
    list_ids: bool = False
    sketches: bool = True
    live: float | None = None
    peek: bool = False
    invite: bytes = b""


class Talk:
    """One session on a connection. `agreement` and `theirs` are there once it has greeted.

    `began` is the last arrival before it.
    """

    agreement: Agreement
    theirs: m.Hello

    def __init__(
        self,
        connection: Connection,
        local: Local,
        options: Options,
        on_progress: OnProgress,
        report: Report,
    ) -> None:
        self.connection = connection
        self.local = local
        self.options = options
        self.report = report
        self.began = 0
        self._on_progress = on_progress
        self._moved = 0
        self._to_move: int | None = None

    @property
    def peer(self) -> bytes:
        """The other side's node id."""
        return self.agreement.responder.node

    async def greet(self, peer: bytes | None) -> None:
        """Both HELLOs; `peer` is the key that the other side has proven to hold."""
        self.began, wants = await self.local.offload(self._before)
        mine = hello(
            self.local,
            self.options.interests,
            self.options.direction,
            peer=peer,
            invite=self.options.invite,
            wants_payloads=wants,
        )
        with trio.move_on_after(limits.HELLO_TIMEOUT):
            await self.connection.send(mine)
        theirs = await self.expect(m.Hello, limits.HELLO_TIMEOUT)
        check_hello(theirs, peer)
        self.agreement = Agreement.of(mine, theirs)
        self.theirs = theirs
        self.report.peer = theirs.node.hex()

    def _before(self) -> tuple[int, bool]:
        """The last arrival before the session, and whether payloads are missing."""
        with self.local.store.snapshot() as snapshot:
            return snapshot.last_arrival, are_missing(snapshot)

    async def expect(self, kind: type[T], timeout: float = limits.ANSWER_TIMEOUT) -> T:
        """The next message. Raises PeerError if it is of another kind."""
        message = await self.connection.receive(timeout)
        if not isinstance(message, kind):
            raise unexpected(message)
        return message

    # --- progress -------------------------------------------------------------------------

    def show(
        self, phase: str, *, collection: str | None = None, found: Difference | None = None
    ) -> None:
        """Tell how far it is; `found` is what comparing has found so far."""
        counters = self.connection.session.counters
        done, total = self._moved, self._to_move
        if found is not None:
            done, total = found.count_here + found.count_there, None
        unit = "differences" if phase == "comparing" else "entries"
        self._on_progress(
            Progress(
                phase,
                done,
                total,
                unit,
                collection,
                counters.total_sent(),
                counters.total_received(),
            )
        )

    def show_more_to_move(self, count: int) -> None:
        """So many more entries are to be moved."""
        self._to_move = (self._to_move or 0) + count
        self.show("transferring")

    def show_moved(self, count: int, collection: str | None = None) -> None:
        """So many more were."""
        self._moved += count
        self.show("transferring", collection=collection)


def unexpected(message: object) -> PeerError:
    """What is said of a message that is not out of turn and yet not the one that is due."""
    return PeerError(f"A {type(message).__name__} message came where another was due.")
