"""The one writer of a node: a task that drains its inbox into batches.

Whoever brings entries gets a ticket and learns from it when they are durable. While one
batch is verified and committed, the next gathers, so batches grow when the node is busy.
The inbox is bounded: when it is full, whoever brings more has to wait, and with him his peer.

What peers bring is taken in fair turns (`turns`), since checking it is most of what they can
make us do. When much of it waits, it is verified ahead in other processes (`verifying`), in the
order of these turns, while what was verified before is committed. What comes from this machine
has commits of its own, every other one if need be: who writes an entry waits for one batch of the
peers' at most.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

import trio

from setsync.errors import InvalidEntryError, SetsyncError, StoreLimitError
from setsync.limits import (
    COMMIT_ENTRIES,
    FEWEST_IN_JOB,
    KIB,
    LEAST_ENTRY_BYTES,
    PEERS_COMMIT,
    VERIFIERS_FROM,
    VERIFY_JOB_ENTRIES,
    VERIFY_JOBS_AHEAD,
    WRITER_INBOX_BYTES,
    WRITER_PEER_BYTES,
)
from setsync.model.checking import Outcome, verify_here
from setsync.model.entry import Entry, UnverifiedEntry, entry_id
from setsync.model.refusal import Refusal
from setsync.node.policy import Policy
from setsync.node.refusals import NotKept, remember_ours
from setsync.node.turns import Turns
from setsync.node.verifying import Job, Verifiers
from setsync.store.contract import Added, EntryStore, Origin, Quotas
from setsync.store.pace import Pace

# The reason of a format that cannot place an entry without its payload.
_PAYLOAD_NEEDED = "payload_needed"


@dataclass(eq=False)
class Ticket:
    """Entries on their way to the disk."""

    entries: Sequence[UnverifiedEntry]
    size: int
    origin: Origin | None = None
    refused: Sequence[NotKept] = ()
    # Where it is verified; None: when it is committed.
    jobs: Sequence[Job] | None = None
    _done: trio.Event = field(default_factory=trio.Event)
    _outcome: Added | SetsyncError | None = None

    @property
    def peer(self) -> bytes:
        """Who brought them; empty for somebody at this machine, whom no policy binds."""
        return self.origin.peer if self.origin is not None else b""

    @property
    def cost(self) -> int:
        """About what it takes to check and store it: a signature as much as a KiB."""
        return 1 + len(self.entries) + self.size // KIB

    @property
    def is_verified(self) -> bool:
        """Whether nobody has to be waited for before it can be committed."""
        return self.jobs is None or all(job.is_done for job in self.jobs)

    async def wait(self) -> Added:
        """Wait until the entries are durable.

        All of them, but for those that are `refused` from then on. Raises InvalidEntryError
        (nothing of these entries was stored) or StoreError.
        """
        await self._done.wait()
        assert self._outcome is not None
        if isinstance(self._outcome, SetsyncError):
            raise self._outcome
        return self._outcome

    def outcomes(self) -> Iterable[Outcome]:
        """The verdict on each entry, in order; those that nobody has verified yet now."""
        if self.jobs is None:
            return map(verify_here, self.entries)
        return chain.from_iterable(job.outcomes() for job in self.jobs)

    def settle(self, outcome: Added | SetsyncError, refused: Sequence[NotKept] = ()) -> None:
        """Say how it went."""
        self._outcome = outcome
        self.refused = refused
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
    """Start `run` in a nursery, then `submit` from any task.

    `policy` is asked anew for each batch. `room` says whether the disk has room for what
    others bring, by raising StoreFullError; it runs off the event loop, as all of a commit.
    `verifiers`: processes beside this one; by default there are none.
    """

    def __init__(
        self,
        store: EntryStore,
        offload: _Offload,
        policy: Callable[[], Policy] = Policy,
        room: Callable[[], None] = lambda: None,
        verifiers: Verifiers | None = None,
    ) -> None:
        self._store = store
        self._offload = offload
        self._policy = policy
        self._room = room
        self._verifiers = verifiers or Verifiers(0)
        self._pace = Pace(trio.current_time)
        self._own: deque[Ticket] = deque()
        # What the peers brought: in turns, and then, if it is verified ahead, in this order.
        self._guests: Turns[Ticket] = Turns()
        self._ahead: deque[Ticket] = deque()
        self._waiting_cost = self._ahead_cost = 0
        self._was_own = False
        # By peer, and without those that have nothing here.
        self._waiting: Counter[bytes] = Counter()
        self._changed = trio.Condition()
        self.news = News()
        # Hears how many entries a transaction was given.
        self.on_batch: Callable[[int], None] = lambda count: None

    async def submit(
        self, entries: Sequence[UnverifiedEntry], origin: Origin | None = None
    ) -> Ticket:
        """Hand entries over; waits while the inbox is full, unless this peer has little in it.
        What one peer brings is stored in its order."""
        size = sum(max(entry.size, LEAST_ENTRY_BYTES) for entry in entries)
        ticket = Ticket(entries, size, origin)
        async with self._changed:
            while self._is_full_for(ticket.peer):
                await self._changed.wait()
            if ticket.peer:
                self._guests.put(ticket.peer, ticket, ticket.cost)
                self._waiting_cost += ticket.cost
            else:
                self._own.append(ticket)
            self._waiting[ticket.peer] += ticket.size
            self._changed.notify_all()
        return ticket

    def _is_full_for(self, peer: bytes) -> bool:
        if self._waiting[peer] <= WRITER_PEER_BYTES:
            return False
        return self._waiting.total() > WRITER_INBOX_BYTES

    async def run(self) -> None:
        """Work until cancelled; a batch under way is finished first."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._verifiers.run)
            nursery.start_soon(self._verify_ahead, nursery)
            while True:
                await self._write(await self._next_batch())

    async def _write(self, tickets: Sequence[Ticket]) -> None:
        self._pace.begin()
        outcomes = await self._offload(self._commit, tickets)
        if tickets[0].jobs is not None:
            self._pace.note(sum(ticket.cost for ticket in tickets))
        for ticket, (outcome, refused) in zip(tickets, outcomes, strict=True):
            ticket.settle(outcome, refused)
        self.on_batch(sum(len(ticket.entries) for ticket in tickets))
        if any(isinstance(outcome, Added) and outcome.new for outcome, _ in outcomes):
            self.news.ring()

    async def _next_batch(self) -> list[Ticket]:
        async with self._changed:
            while not self._own and not self._is_anything_ready():
                if self._guests:
                    # Who verifies ahead may have looked when no processes could be started.
                    self._changed.notify_all()
                await self._changed.wait()
            others = self._is_anything_ready()
            self._was_own = bool(self._own) and not (self._was_own and others)
            batch = self._take_own() if self._was_own else self._take_others()
            self._changed.notify_all()
            return batch

    def _is_anything_ready(self) -> bool:
        """Of what the peers brought."""
        if self._ahead:
            return self._ahead[0].is_verified
        return bool(self._guests) and not self._is_much()

    def _take_others(self) -> list[Ticket]:
        """What is verified, or what is to be verified as it is committed."""
        if not self._ahead:
            return [self._no_longer_waiting(one) for one in self._guests.take(PEERS_COMMIT)]
        batch: list[Ticket] = []
        cost = 0
        while self._ahead and self._ahead[0].is_verified and cost < self._pace.most:
            batch.append(self._ahead.popleft())
            cost += batch[-1].cost
        self._ahead_cost -= cost
        return batch

    def _no_longer_waiting(self, ticket: Ticket) -> Ticket:
        self._waiting[ticket.peer] -= ticket.size
        self._waiting = +self._waiting
        if ticket.peer:
            self._waiting_cost -= ticket.cost
        return ticket

    # Ahead.

    def _is_much(self) -> bool:
        """Whether what waits is worth other processes."""
        if not self._verifiers.are_available:
            return False
        return self._verifiers.are_running or self._waiting_cost >= VERIFIERS_FROM

    async def _verify_ahead(self, nursery: trio.Nursery) -> None:
        """Have what waits verified, as much as the processes need not to stand still."""
        under_way = self._verifiers.count * VERIFY_JOBS_AHEAD * VERIFY_JOB_ENTRIES
        while True:
            async with self._changed:
                while not (self._guests and self._ahead_cost < self._pace.most + under_way):
                    await self._changed.wait()
                if not self._is_much():
                    # Who commits may have looked when the processes were still there.
                    self._changed.notify_all()
                    await self._changed.wait()
                    continue
                for ticket in self._guests.take(1):
                    self._ahead.append(self._no_longer_waiting(ticket))
                    self._ahead_cost += ticket.cost
                    if len(ticket.entries) >= FEWEST_IN_JOB:
                        ticket.jobs = self._verifiers.submit(ticket.entries)
                        nursery.start_soon(self._tell_when_verified, ticket.jobs)
                self._changed.notify_all()

    async def _tell_when_verified(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            await job.wait()
        async with self._changed:
            self._changed.notify_all()

    def _take_own(self) -> list[Ticket]:
        batch: list[Ticket] = []
        count = 0
        while self._own and (not batch or count < COMMIT_ENTRIES):
            batch.append(self._no_longer_waiting(self._own.popleft()))
            count += len(batch[-1].entries)
        return batch

    def _commit(self, tickets: Sequence[Ticket]) -> list[_Outcome]:
        """Verify all, commit what is whole and wanted, in one thread from begin to end.

        An invalid entry refuses its ticket and no other, and so does one of ours that is over
        a limit of the store. A store that fails is told to all.
        """
        parts = [_Part(ticket) for ticket in tickets]
        guests = [part for part in parts if part.ticket.peer]
        try:
            if guests:
                policy = self._policy()
                self._room()
                for part in guests:
                    part.refuse(policy)
                _store(self._store, guests, policy.quotas)
        except SetsyncError as error:
            for part in guests:
                part.fail(error)
        if own := [part for part in parts if not part.ticket.peer]:
            _store_own(self._store, own)
        for part in parts:
            part.remember(self._store)
        return [(part.outcome, part.refused) for part in parts]


_Outcome = tuple[Added | SetsyncError, Sequence[NotKept]]


class _Part:
    """One ticket's part of a batch."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.entries: list[Entry] = []
        self.refused: list[NotKept] = []
        self.outcome: Added | SetsyncError = Added((), 0, 0)
        try:
            for entry, outcome in zip(ticket.entries, ticket.outcomes(), strict=True):
                self._take(entry, outcome)
        except InvalidEntryError as error:
            self.entries, self.refused, self.outcome = [], [], error

    def _take(self, entry: UnverifiedEntry, outcome: Outcome) -> None:
        if isinstance(outcome, Entry):
            self.entries.append(outcome)
        elif outcome.reason == _PAYLOAD_NEEDED and self.ticket.peer:
            id_ = entry_id(entry.header)
            self.refused.append(NotKept(entry.collection, id_, Refusal.PAYLOAD_NEEDED))
        else:
            raise outcome

    def refuse(self, policy: Policy) -> None:
        """Put aside what this node does not want."""
        if not policy.blocked_authors and not policy.writers:
            return
        kept: list[Entry] = []
        for entry in self.entries:
            reason = policy.refuses(entry.author, entry.collection)
            if reason is None:
                kept.append(entry)
            else:
                self.refused.append(NotKept(entry.collection, entry.id, reason))
        self.entries = kept

    def fail(self, error: SetsyncError) -> None:
        """Nothing of it was stored, unless it was refused before for a reason of its own."""
        if not isinstance(self.outcome, SetsyncError):
            self.outcome = error

    def share(self, new: set[bytes], over: dict[int, Refusal]) -> None:
        """What of a joint commit was this ticket's; an entry that two brought is the first's.
        `over` has the places, in this part, of those that went over a limit."""
        for place, reason in over.items():
            entry = self.entries[place]
            self.refused.append(NotKept(entry.collection, entry.id, reason))
        mine = tuple(dict.fromkeys(entry.id for entry in self.entries if entry.id in new))
        new.difference_update(mine)
        if not isinstance(self.outcome, SetsyncError):
            self.outcome = Added(mine, len(self.entries) - len(mine) - len(over), 0)

    def remember(self, store: EntryStore) -> None:
        """Write down what was refused. A disk that fails at this has lost nothing else."""
        origin = self.ticket.origin
        if self.refused and origin is not None and not isinstance(self.outcome, SetsyncError):
            try:
                remember_ours(store, origin.peer, self.refused, origin.at)
            except SetsyncError as error:
                self.outcome = error


def _store_own(store: EntryStore, parts: Sequence[_Part]) -> None:
    try:
        _store(store, parts, None)
    except StoreLimitError as error:
        if len(parts) == 1:
            parts[0].fail(error)
        else:
            for part in parts:
                _store_own(store, [part])
    except SetsyncError as error:
        for part in parts:
            part.fail(error)


def _store(store: EntryStore, parts: Sequence[_Part], quotas: Quotas | None) -> None:
    """Commit them together."""
    good: list[Entry] = []
    starts: list[int] = []
    origins: list[tuple[int, Origin | None]] = []
    for part in parts:
        starts.append(len(good))
        if part.entries:
            origins.append((len(good), part.ticket.origin))
        good += part.entries
    added = store.add_many(good, origins, quotas)
    new = set(added.new)
    over: list[dict[int, Refusal]] = [{} for _ in parts]
    for position, reason in added.refused:
        at = bisect_right(starts, position) - 1
        over[at][position - starts[at]] = reason
    for part, mine in zip(parts, over, strict=True):
        part.share(new, mine)
