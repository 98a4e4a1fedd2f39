"""The initiator of a session: finds the difference, moves the entries, checks the end.

A pass is: catalogue, rounds of comparing, transfer, digests. If the digests differ after
it (somebody wrote meanwhile, or a short label lied), another pass follows, under a fresh
key and at last with whole ids. What still differs after the last and is younger than the
session is "newer"; anything older means that the session did not reach its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from setsync import limits
from setsync.errors import Abort, PeerError, PeerTimeoutError
from setsync.model.collection import EVERYTHING, Pattern, system_first
from setsync.node.connection import Connection
from setsync.node.greeting import LIVE, WANTS_PAYLOADS, Agreement, check_name, hello
from setsync.node.local import Local
from setsync.node.payloads import (
    are_missing,
    ask_for_payloads,
    count_missing,
    may_have_some,
    note_answer,
    payload_takes,
)
from setsync.node.progress import OnProgress, Progress, ignore
from setsync.node.pushing import Pushing
from setsync.node.refusals import count_unwanted, is_none_refused, leave_out, still_wanted
from setsync.node.report import Report
from setsync.node.transfer import Incoming, Receiver, Take, note_refused, send_entries
from setsync.reconcile.catalogue import Catalogue, NumberedViews
from setsync.reconcile.digest import Summary
from setsync.reconcile.effort import Asking
from setsync.reconcile.labels import FULL, SHORT
from setsync.reconcile.questions import Answer, Question, Range, to_wire
from setsync.reconcile.rounds import Difference, Initiator
from setsync.reconcile.view import ListView, id_array
from setsync.reconcile.wants import Wanted, WireWant
from setsync.session.table import Role
from setsync.wire import messages as m

T = TypeVar("T")

_QUESTIONS_PER_MESSAGE = 1_000
_WANTS_BYTES = 256 * limits.KIB


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
    session = _Initiating(connection, local, options, on_progress, report, peer)
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


@dataclass
class _Pass:
    """One pass: its key, the numbered collections, what it found, and how much of that one
    side or the other does not want."""

    turn: int
    key: bytes
    names: list[str]
    difference: Difference = field(default_factory=Difference)
    missing_here: int = 0
    missing_there: int = 0
    refused_here: int = 0
    refused_there: int = 0

    @property
    def found(self) -> int:
        """How many entries differ, wanted or not."""
        return self.missing_here + self.missing_there + self.refused_here + self.refused_there


class _Initiating:
    def __init__(
        self,
        connection: Connection,
        local: Local,
        options: Options,
        on_progress: OnProgress,
        report: Report,
        peer: bytes | None,
    ) -> None:
        self._peer = peer
        self._connection = connection
        self._local = local
        self._options = options
        self._on_progress = on_progress
        self._report = report
        self._effort = Asking()
        self._agreement: Agreement
        self._theirs: m.Hello
        self._key = b""
        self._some_refused = False
        self._began = 0
        self._compared = 0
        self._moved = 0
        self._to_move: int | None = None
        # The transfer under way.
        self._moving: trio.CancelScope
        self._all_sent = self._they_sent = False
        self._sent_now = self._acknowledged = self._refused_now = 0

    # --- the story ------------------------------------------------------------------------

    async def run(self) -> None:
        """Greet, pass after pass until nothing is left to do, and part."""
        self._show("connecting")
        await self._greet()
        self._report.before = await self._collections()
        self._report.in_sync = await self._make_equal()
        if self._report.in_sync and not self._options.dry_run:
            if self._options.direction != m.PULL:
                self._report.note_told(self._compared)
            await self._exchange_payloads()
        if self._options.live is not None and LIVE in self._agreement.responder.features:
            await self._stay(self._options.live)
        self._show("closing")
        await self._connection.send(m.Done())
        self._report.after = await self._collections()
        self._show("done")

    async def _stay(self, seconds: float) -> None:
        """Both sides send what is new, until it is time to compare again."""
        if not self._report.in_sync:
            return  # the sets cannot be made equal by talking on
        await self._connection.send(m.Live())
        self._show("live")
        pushing = Pushing(
            self._connection,
            self._local,
            self._agreement.responder.node,
            Receiver.of(self._agreement.responder),
            self._agreement.is_mutual,
            self._compared,
            self._report.count_sent,
            self._report.count_received,
            self._report.count_refused,
            self._report.note_told,
        )
        with trio.move_on_after(seconds):
            await pushing.run()

    async def _make_equal(self) -> bool:
        """Whether both sides were left in sync (as of the session's begin)."""
        for turn in range(limits.MAX_PASSES + 1):
            self._show("comparing")
            now = await self._catalogue(turn)
            if now is None:
                return True
            if self._options.peek:
                return False
            await self._compare(now)
            if not turn or self._options.dry_run:
                self._report.missing_here = now.missing_here
                self._report.missing_there = now.missing_there
            self._report.refused_here = now.refused_here
            self._report.refused_there = now.refused_there
            if not now.found and turn < limits.MAX_PASSES:
                continue  # the catalogues differ, and nothing was found: look again, closer
            if self._options.list_ids:
                await self._list_ids(now)
            if self._options.dry_run or not self._relevant(now):
                return not self._relevant(now)
            if turn == limits.MAX_PASSES:
                return await self._is_only_newer(now)
            await self._transfer(now)
            if await self._is_equal():
                return True
        return True

    def _relevant(self, now: _Pass) -> int:
        """How many entries this direction would move."""
        here = now.missing_here if self._options.direction != m.PUSH else 0
        there = now.missing_there if self._options.direction != m.PULL else 0
        return here + there

    # --- greeting and catalogue -----------------------------------------------------------

    async def _greet(self) -> None:
        self._began, wants = await self._local.offload(self._before)
        mine = hello(
            self._local,
            self._options.interests,
            self._options.direction,
            peer=self._peer,
            invite=self._options.invite,
            wants_payloads=wants,
        )
        with trio.move_on_after(limits.HELLO_TIMEOUT):
            await self._connection.send(mine)
        theirs = await self._expect(m.Hello, limits.HELLO_TIMEOUT)
        check_name(theirs, self._peer)
        self._agreement = Agreement.of(mine, theirs)
        self._theirs = theirs
        self._report.peer = theirs.node.hex()

    def _before(self) -> tuple[int, bool]:
        """The last arrival before the session, and whether payloads are missing."""
        with self._local.store.snapshot() as snapshot:
            return snapshot.last_arrival, are_missing(snapshot)

    def _read_catalogue(self) -> Catalogue:
        with self._local.store.snapshot() as snapshot:
            self._compared = snapshot.last_arrival
            self._some_refused = not is_none_refused(snapshot)
            return self._agreement.catalogue(snapshot)

    async def _collections(self) -> dict[str, Summary]:
        return dict((await self._local.offload(self._read_catalogue)).collections)

    async def _catalogue(self, turn: int) -> _Pass | None:
        """Compare all collections at once; None when they are the same.

        A collection that only we have takes a number after those of the responder, and
        needs no question: all of it is missing there.
        """
        self._key = key = self._agreement.key(turn)
        catalogue: Catalogue = await self._local.offload(self._read_catalogue)
        await self._connection.send(m.Catalog(catalogue.digest(key)[:16]))
        self._report.round_trips += 1
        message = await self._connection.receive()
        if isinstance(message, m.Same):
            return None
        if isinstance(message, m.Many):
            catalogue = await self._compare_long(catalogue, message.count, key)
            message = await self._connection.receive()
        theirs = await self._listing(message)
        mine = {name: (count, label) for name, count, label in catalogue.listing(key)}
        now = _Pass(turn, key, [name for name, _, _ in theirs])
        self._initiator = self._new_initiator(key, turn)
        differing = self._report.differing if not turn else []
        for number, (name, count, label) in enumerate(theirs):
            ours = mine.pop(name, None)
            if ours != (count, label):
                self._initiator.open(number, count)
                differing.append((name, ours[0] if ours is not None else 0, count))
        for name, (count, _) in mine.items():
            differing.append((name, count, 0))
            self._initiator.difference.push.append((Range(len(now.names), ""), count))
            now.names.append(name)
        return now

    def _new_initiator(self, key: bytes, turn: int, *, certain: bool = False) -> Initiator:
        """Short labels and sketches first; at last whole ids."""
        width = SHORT if turn < limits.MAX_PASSES - 1 else FULL
        # Such sessions end with sets that differ, so that the digests of the end cannot tell
        # whether a list overlooked something.
        one_way = self._options.direction != m.BOTH
        certain = certain or self._options.dry_run or one_way or self._some_refused
        return Initiator(
            key,
            width,
            sketches=self._options.sketches,
            certain=certain,
            effort=self._effort,
        )

    async def _compare_long(self, catalogue: Catalogue, theirs: int, key: bytes) -> Catalogue:
        """Find which collections differ, as a set of hashes, and ask for theirs; ours of them."""
        places: dict[bytes, int] = await self._local.offload(catalogue.hashes, key)
        views = {0: ListView(list(places))}
        # A false match would send a whole collection for nothing.
        initiator = self._new_initiator(key, 0, certain=True)
        initiator.open(0, theirs)

        def step(answers: Sequence[Answer] | None) -> list[Question]:
            if answers is not None:
                initiator.take(answers, views)
            return initiator.ask(views)

        found = await self._rounds(initiator, step)
        rows = [row for parts in found.missing_there.values() for part in parts for row in part]
        rows += [row for place, _ in found.push for row in views[0].ids(place.prefix)]
        self._report.round_trips += 1
        await self._connection.send(m.AskNames(_items(found.missing_here)))
        return catalogue.part(places[row.tobytes()] for row in rows)

    async def _listing(self, message: m.Message) -> list[tuple[str, int, bytes]]:
        """The collections that are listed, beginning with `message`."""
        found: list[tuple[str, int, bytes]] = []
        while True:
            match message:
                case m.Listing(collections) | m.Listed(collections):
                    found += collections
                case _:
                    raise _unexpected(message)
            if isinstance(message, m.Listing) and not message.collections:
                raise PeerError("A part of a listing came that lists nothing.")
            if len(found) > limits.MAX_COLLECTIONS:
                raise PeerError(f"More than {limits.MAX_COLLECTIONS} collections were listed.")
            if isinstance(message, m.Listed):
                break
            message = await self._connection.receive()
        names = [name for name, _, _ in found]
        if len(set(names)) != len(names) or not all(map(self._agreement.is_mutual, names)):
            raise PeerError("A collection was listed twice, or one that nobody asked for.")
        return found

    # --- comparing ------------------------------------------------------------------------

    async def _compare(self, now: _Pass) -> None:
        """Rounds of questions about all collections, each step in one snapshot."""

        def step(answers: Sequence[Answer] | None) -> list[Question]:
            with self._local.store.snapshot() as snapshot:
                views = NumberedViews(now.names, snapshot.view)
                if answers is not None:
                    self._initiator.take(answers, views)
                return self._initiator.ask(views)

        now.difference = await self._rounds(self._initiator, step)
        await self._local.offload(self._leave_out, now)

    def _leave_out(self, now: _Pass) -> None:
        """Count what was found, and leave out what one side or the other does not want."""
        found, peer, clock = now.difference, self._agreement.responder.node, self._local.clock()
        now.missing_here, now.missing_there = found.count_here, found.count_there
        with self._local.store.snapshot() as snapshot:
            if is_none_refused(snapshot):
                return
            left: list[Wanted] = []
            for wanted in found.missing_here:
                name = now.names[wanted.range.collection]
                some, count = leave_out(snapshot, peer, name, wanted, now.key, clock)
                left += some
                now.refused_here += count
            found.missing_here = left
            for number, parts in found.missing_there.items():
                ids = [row.tobytes() for part in parts for row in part]
                wants = still_wanted(snapshot, peer, now.names[number], ids, clock)
                found.missing_there[number] = [id_array(b"".join(wants))]
                now.refused_there += len(ids) - len(wants)
            for place, count in found.push:
                name = now.names[place.collection]
                unwanted = count_unwanted(snapshot, peer, name, place.prefix, clock)
                now.refused_there += min(count, unwanted)
        now.missing_here -= now.refused_here
        now.missing_there -= now.refused_there

    async def _rounds(
        self, initiator: Initiator, step: Callable[[Sequence[Answer] | None], list[Question]]
    ) -> Difference:
        """Ask and take until the difference is known. `step` takes the answers of the last
        round and thinks of the next questions, off the event loop."""
        answers: Sequence[Answer] | None = None
        asked = 0
        with trio.move_on_after(limits.COMPARING_SECONDS):
            while questions := await self._local.offload(step, answers):
                asked += 1
                if asked > limits.MAX_ROUNDS:
                    raise PeerError(f"Comparing did not end within {limits.MAX_ROUNDS} rounds.")
                answers = await self._ask(questions)
                self._show("comparing", found=initiator.difference)
            return initiator.difference
        raise PeerTimeoutError(
            f"Comparing did not end within {limits.COMPARING_SECONDS / 60:.0f} minutes."
        )

    async def _ask(self, questions: Sequence[Question]) -> list[Answer]:
        """One round: all questions leave before the first answer is waited for."""
        self._report.round_trips += 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_questions, questions)
            answers: list[Answer] = []
            size = 0
            while len(answers) < len(questions):
                message = await self._expect(m.Answers)
                if not message.items:
                    raise PeerError("An empty message of answers came.")
                answers += [Answer(numbers, blob) for numbers, blob in message.items]
                size += sum(8 * len(numbers) + len(labels) for numbers, labels in message.items)
                if size > limits.MAX_ROUND_ANSWER_BYTES:
                    raise PeerError(f"{size} bytes of answers came in one round.", Abort.TOO_LARGE)
        return answers

    async def _send_questions(self, questions: Sequence[Question]) -> None:
        for at in range(0, len(questions), _QUESTIONS_PER_MESSAGE):
            part = questions[at : at + _QUESTIONS_PER_MESSAGE]
            await self._connection.send(m.Questions(tuple(map(to_wire, part))))

    # --- telling what differs -------------------------------------------------------------

    async def _list_ids(self, now: _Pass) -> None:
        """Fill the report's lists: our ids from our store, theirs by asking."""
        for take in self._takes(now):
            ids: list[bytes] = await self._local.offload(self._ids_of, take)
            self._report.ids_there += [(take.collection, id_) for id_ in ids]
        for name, ids_here, _ in await self._ask_ids(now):
            self._report.ids_here += [(name, id_) for id_ in ids_here]

    def _ids_of(self, take: Take) -> list[bytes]:
        if take.ids is not None:
            return list(take.ids)
        peer = self._agreement.responder.node
        with self._local.store.snapshot() as snapshot:
            view = snapshot.view(take.collection)
            ids = [row.tobytes() for row in view.ids(take.prefix)] if view is not None else []
            return still_wanted(snapshot, peer, take.collection, ids, self._local.clock())

    async def _ask_ids(self, now: _Pass) -> list[tuple[str, list[bytes], int]]:
        """Collection, ids, and how many of them are newer than the session, of what we lack."""
        wanted = self._sorted_wants(now)
        if not wanted:
            return []
        self._report.round_trips += 1
        found: list[tuple[str, list[bytes], int]] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_id_questions, wanted)
            awaited = len(_in_messages(wanted))
            while awaited:
                message = await self._expect(m.Ids)
                awaited -= not message.more
                if message.more and not message.items:
                    raise PeerError("A part of a list of ids came that lists nothing.")
                for number, joined, newer in message.items:
                    ids = [joined[at : at + 32] for at in range(0, len(joined), 32)]
                    if number >= len(now.names) or not newer <= len(ids) == len(joined) / 32:
                        raise PeerError("A list of ids is not one.")
                    found.append((now.names[number], ids, newer))
        return found

    async def _send_id_questions(self, wanted: Sequence[Wanted]) -> None:
        for part in _in_messages(wanted):
            await self._connection.send(m.AskIds(_items(part)))

    async def _is_only_newer(self, now: _Pass) -> bool:
        """Whether all that still differs arrived after the session began, on either side."""
        older = 0
        if self._options.direction != m.PULL:
            for take in self._takes(now):
                count, newer = await self._local.offload(self._count_newer, take)
                self._report.newer += newer
                older += count - newer
        if self._options.direction != m.PUSH:
            told = 0
            for _, ids, newer in await self._ask_ids(now):
                told += len(ids)
                self._report.newer += newer
                older += len(ids) - newer
            older += max(0, now.missing_here - told)  # promised, and not even named
        return not older

    def _count_newer(self, take: Take) -> tuple[int, int]:
        ids = self._ids_of(take)
        with self._local.store.snapshot() as snapshot:
            arrivals = [snapshot.arrival(take.collection, id_) or 0 for id_ in ids]
        return len(ids), sum(arrival > self._began for arrival in arrivals)

    # --- moving entries -------------------------------------------------------------------

    def _takes(self, now: _Pass) -> list[Take]:
        """What the other side lacks, system collections first."""
        difference = now.difference
        takes = [Take(now.names[r.collection], None, r.prefix) for r, _ in difference.push]
        for number, parts in difference.missing_there.items():
            ids = sorted(row.tobytes() for part in parts for row in part)
            takes.append(Take(now.names[number], ids))
        return sorted(takes, key=lambda take: (system_first(take.collection), take.prefix))

    def _sorted_wants(self, now: _Pass) -> list[Wanted]:
        wanted = now.difference.missing_here
        return sorted(
            wanted, key=lambda w: (system_first(now.names[w.range.collection]), w.range.prefix)
        )

    async def _transfer(self, now: _Pass) -> None:
        """Both directions at once, until each side has committed what the other sent."""
        takes = self._takes(now) if self._options.direction != m.PULL else []
        wanted = self._sorted_wants(now) if self._options.direction != m.PUSH else []
        sending = now.missing_there if takes else 0
        wanting = now.missing_here if wanted else 0
        self._to_move = (self._to_move or 0) + sending + wanting
        self._show("transferring")
        await self._connection.send(m.Totals(sending, wanting))
        await self._move(takes, bool(wanted), lambda incoming: self._want(wanted, incoming))

    async def _move(
        self,
        takes: Sequence[Take],
        may_come: bool,
        ask: Callable[[Incoming], Awaitable[None]] | None = None,
    ) -> int:
        """Send and receive until both sides have committed it all; how many came."""
        self._all_sent = self._they_sent = False
        self._sent_now = self._acknowledged = self._refused_now = 0
        incoming = Incoming(
            self._connection,
            self._local,
            self._agreement.responder.node,
            lambda name: may_come and self._agreement.is_mutual(name),
            self._count_moved,
        )
        async with trio.open_nursery() as nursery:
            self._moving = nursery.cancel_scope
            nursery.start_soon(incoming.run)
            if ask is not None:
                nursery.start_soon(ask, incoming)
            nursery.start_soon(self._push, takes)
            await self._take_in(incoming)
        received = incoming.committed - incoming.refused
        self._report.entries_received += received
        return received

    async def _exchange_payloads(self) -> None:
        """Ask for payloads that are missing here, and send those that are missing there."""
        asked, peer = m.WantPayloads(()), self._agreement.responder.node
        if self._options.direction != m.PUSH and may_have_some(self._local, peer):
            is_mutual = self._agreement.is_mutual
            asked = await self._local.offload(ask_for_payloads, self._local, is_mutual)
        they_ask = WANTS_PAYLOADS in self._theirs.features and self._options.direction != m.PULL
        if not asked.items and not they_ask:
            return
        self._show("transferring")
        await self._connection.send(asked)
        wanted = await self._expect(m.WantPayloads)
        if wanted.items and self._options.direction == m.PULL:
            raise PeerError("Payloads were asked for in a session that only receives.")
        takes = await self._local.offload(
            payload_takes, self._local, wanted, self._agreement.is_mutual
        )
        before = await self._local.offload(count_missing, self._local)
        came = await self._move(takes, bool(asked.items))
        now = await self._local.offload(count_missing, self._local)
        note_answer(self._local, peer, asked, helped=now < before)
        self._report.payloads_received += came
        compared = self._compared
        await self._is_equal()
        # These digests decide nothing, so what has arrived since the last pass is news yet.
        self._compared = compared

    async def _want(self, wanted: Sequence[Wanted], incoming: Incoming) -> None:
        """Ask for what we lack, never much more than what is being served: a want that has to
        wait at the other side would hold up the entries behind it."""
        messages = _in_messages(wanted) or [[]]
        expected = [sum(want.count for want in part) for part in messages]
        for at, part in enumerate(messages):
            served = max(0, at + 1 - limits.WANTS_UNDER_WAY)
            await incoming.until_taken(sum(expected[:served]))
            await self._connection.send(m.Want(_items(part), int(at + 1 < len(messages))))

    async def _push(self, takes: Sequence[Take]) -> None:
        """Send what they lack."""
        receiver = Receiver.of(self._agreement.responder)
        for take in takes:
            await send_entries(self._connection, self._local, take, receiver, self._count_sent)
        await self._connection.send(m.Sent())
        self._all_sent = True
        self._end_if_all_moved()

    async def _take_in(self, incoming: Incoming) -> None:
        """Take what comes, until cancelled because nothing more has to move."""
        while True:
            message = await self._connection.receive(limits.IDLE_TIMEOUT)
            match message:
                case m.Entries() | m.Piece() | m.Packed():
                    await incoming.take(message)
                case m.Committed(count):
                    self._acknowledged = count
                case m.Refused():
                    await self._take_refused(message)
                case m.Sent():
                    await incoming.finish()
                    self._they_sent = True
                case _:
                    raise _unexpected(message)
            self._end_if_all_moved()

    async def _take_refused(self, message: m.Refused) -> None:
        sent = self._sent_now - self._refused_now
        peer = self._agreement.responder.node
        refused = await note_refused(self._local, peer, message, sent)
        self._refused_now += refused

    def _end_if_all_moved(self) -> None:
        """They have sent all, and acknowledged all of ours. Whichever is last looks here: the
        last acknowledgement may come before our own SENT is on its way."""
        if self._they_sent and self._all_sent and self._acknowledged >= self._sent_now:
            self._moving.cancel()

    def _count_sent(self, collection: str, count: int) -> None:
        self._report.entries_sent += count
        self._sent_now += count
        self._count_moved(count, collection)

    def _count_moved(self, count: int, collection: str | None = None) -> None:
        self._moved += count
        self._show("transferring", collection=collection)

    # --- the end of a pass ----------------------------------------------------------------

    async def _is_equal(self) -> bool:
        """Compare fresh whole digests of everything."""
        self._show("closing")
        catalogue: Catalogue = await self._local.offload(self._read_catalogue)
        digest = catalogue.digest(self._key)
        await self._connection.send(m.Close(digest))
        return (await self._expect(m.Closed)).digest == digest

    async def _expect(self, kind: type[T], timeout: float = limits.ANSWER_TIMEOUT) -> T:
        message = await self._connection.receive(timeout)
        if not isinstance(message, kind):
            raise _unexpected(message)
        return message

    def _show(
        self, phase: str, *, collection: str | None = None, found: Difference | None = None
    ) -> None:
        counters = self._connection.session.counters
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


def _in_messages(wanted: Sequence[Wanted]) -> list[list[Wanted]]:
    """Wants cut into what one message holds each."""
    messages: list[list[Wanted]] = []
    part: list[Wanted] = []
    size = 0
    for want in wanted:
        part.append(want)
        size += len(want.values) + 48
        if size >= _WANTS_BYTES or len(part) == limits.MAX_ARRAY:
            messages.append(part)
            part, size = [], 0
    if part:
        messages.append(part)
    return messages


def _items(wanted: Sequence[Wanted]) -> tuple[WireWant, ...]:
    return tuple(want.to_wire() for want in wanted)


def _unexpected(message: object) -> PeerError:
    return PeerError(f"A {type(message).__name__} message came where another was due.")
