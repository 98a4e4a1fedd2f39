"""The one writer of a node: a task that drains its inbox into batches.

Whoever brings entries gets a ticket and learns from it when they are durable. While one
batch is verified and committed, the next gathers, so batches grow when the node is busy.
The inbox is bounded: when it is full, whoever brings more has to wait, and with him his peer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import trio

from setsync.errors import InvalidEntryError, SetsyncError, StoreLimitError
from setsync.limits import COMMIT_ENTRIES, WRITER_INBOX_BYTES
from setsync.model.entry import Entry, UnverifiedEntry, verify
from setsync.store.contract import Added, EntryStore, Origin


@dataclass(eq=False)
class Ticket:
    """Entries on their way to the disk."""

    entries: Sequence[UnverifiedEntry]
    size: int
    origin: Origin | None = None
    _done: trio.Event = field(default_factory=trio.Event)
    _outcome: Added | SetsyncError | None = None

    async def wait(self) -> Added:
        """Wait until the entries are durable.

        Raises InvalidEntryError (nothing of these entries was stored) or StoreError.
        """
        await self._done.wait()
        assert self._outcome is not None
        if isinstance(self._outcome, SetsyncError):
            raise self._outcome
        return self._outcome

    def settle(self, outcome: Added | SetsyncError) -> None:
        """Say how it went."""
        self._outcome = outcome
        self._done.set()


class News:
    """Tells whoever waits that something was committed.

    heard = news.next()     # first, so that nothing comes in between
    ...                     # look at the store
    await heard.wait()
    """

    def __init__(self) -> None:
        self._event = trio.Event()

    def next(self) -> trio.Event:
        """Set at the next commit."""
        return self._event

    def ring(self) -> None:
        """Something new is in the store."""
        self._event, event = trio.Event(), self._event
        event.set()


class _Offload(Protocol):
    async def __call__(self, work: Callable[..., Any], *arguments: object) -> Any: ...


class Writer:
    """Start `run` in a nursery, then `submit` from any task."""

    def __init__(self, store: EntryStore, offload: _Offload) -> None:
        self._store = store
        self._offload = offload
        self._inbox: list[Ticket] = []
        self._waiting_bytes = 0
        self._changed = trio.Condition()
        self.news = News()

    async def submit(
        self, entries: Sequence[UnverifiedEntry], origin: Origin | None = None
    ) -> Ticket:
        """Hand entries over; waits while the inbox is full. Order is kept."""
        ticket = Ticket(entries, sum(entry.size for entry in entries), origin)
        async with self._changed:
            while self._waiting_bytes > WRITER_INBOX_BYTES:
                await self._changed.wait()
            self._inbox.append(ticket)
            self._waiting_bytes += ticket.size
            self._changed.notify_all()
        return ticket

    async def run(self) -> None:
        """Work until cancelled; a batch under way is finished first."""
        while True:
            tickets = await self._next_batch()
            outcomes = await self._offload(_commit, self._store, tickets)
            for ticket, outcome in zip(tickets, outcomes, strict=True):
                ticket.settle(outcome)
            if any(isinstance(outcome, Added) and outcome.new for outcome in outcomes):
                self.news.ring()

    async def _next_batch(self) -> list[Ticket]:
        async with self._changed:
            while not self._inbox:
                await self._changed.wait()
            batch: list[Ticket] = []
            count = 0
            while self._inbox and (not batch or count < COMMIT_ENTRIES):
                ticket = self._inbox.pop(0)
                batch.append(ticket)
                count += len(ticket.entries)
                self._waiting_bytes -= ticket.size
            self._changed.notify_all()
            return batch


def _commit(store: EntryStore, tickets: Sequence[Ticket]) -> list[Added | SetsyncError]:
    """Verify all, commit what is whole, in one thread from begin to end.

    An invalid entry refuses its ticket and no other, and so does one over a limit of the
    store. A store that fails is told to all.
    """
    verified = [_verify(ticket.entries) for ticket in tickets]
    good: list[Entry] = []
    origins: list[tuple[int, Origin | None]] = []
    for ticket, part in zip(tickets, verified, strict=True):
        if isinstance(part, list):
            if part:
                origins.append((len(good), ticket.origin))
            good += part
    try:
        added = store.add_many(good, origins)
    except SetsyncError as error:
        if isinstance(error, StoreLimitError) and len(tickets) > 1:
            return [outcome for ticket in tickets for outcome in _commit(store, [ticket])]
        return [part if isinstance(part, InvalidEntryError) else error for part in verified]
    new = set(added.new)
    return [_share(part, new) if isinstance(part, list) else part for part in verified]


def _verify(entries: Sequence[UnverifiedEntry]) -> list[Entry] | InvalidEntryError:
    try:
        return [verify(entry) for entry in entries]
    except InvalidEntryError as error:
        return error


def _share(entries: Sequence[Entry], new: set[bytes]) -> Added:
    """What of a joint commit was one ticket's; an entry that two brought is the first's."""
    mine = tuple(dict.fromkeys(entry.id for entry in entries if entry.id in new))
    new.difference_update(mine)
    return Added(mine, len(entries) - len(mine), 0)
