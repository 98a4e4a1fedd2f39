"""The initiator's comparing: which collections differ, in which entries, and whether none do.

A pass compares the catalogues, and then, in rounds of questions, the collections that differ.
What the session is for, and what follows from what was found, others decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from setsync import limits
from setsync.errors import Abort, PeerError, PeerTimeoutError
from setsync.model.collection import system_first
from setsync.node.refusals import count_unwanted, is_none_refused, leave_out, still_wanted
from setsync.node.talk import Talk, unexpected
from setsync.node.transfer import Take
from setsync.reconcile.catalogue import Catalogue, NumberedViews
from setsync.reconcile.digest import Summary
from setsync.reconcile.effort import Asking
from setsync.reconcile.labels import FULL, SHORT
from setsync.reconcile.questions import Answer, Question, Range, to_wire
from setsync.reconcile.rounds import Difference, Initiator
from setsync.reconcile.view import ListView, id_array
from setsync.reconcile.wants import Wanted, in_messages, items_of
from setsync.wire import messages as m

_QUESTIONS_PER_MESSAGE = 1_000


@dataclass
class Pass:
    """One pass: its key, the numbered collections, what it found, and how much of that one
    side or the other does not want."""

    turn: int
    key: bytes
    names: list[str]
    initiator: Initiator
    difference: Difference = field(default_factory=Difference)
    missing_here: int = 0
    missing_there: int = 0
    refused_here: int = 0
    refused_there: int = 0

    @property
    def found(self) -> int:
        """How many entries differ, wanted or not."""
        return self.missing_here + self.missing_there + self.refused_here + self.refused_there

    def relevant(self, direction: int) -> int:
        """How many entries a session of this direction would move."""
        here = self.missing_here if direction != m.PUSH else 0
        there = self.missing_there if direction != m.PULL else 0
        return here + there

    def takes(self) -> list[Take]:
        """What the other side lacks, system collections first."""
        difference = self.difference
        takes = [Take(self.names[r.collection], None, r.prefix) for r, _ in difference.push]
        for number, parts in difference.missing_there.items():
            ids = sorted(row.tobytes() for part in parts for row in part)
            takes.append(Take(self.names[number], ids))
        return sorted(takes, key=lambda take: (system_first(take.collection), take.prefix))

    def wants(self) -> list[Wanted]:
        """What we lack, in the same order."""
        return sorted(
            self.difference.missing_here,
            key=lambda w: (system_first(self.names[w.range.collection]), w.range.prefix),
        )


class Comparing:
    """One session's. `compared` is the last arrival of what was described most recently."""

    def __init__(self, talk: Talk) -> None:
        self.compared = 0
        self._talk = talk
        self._effort = Asking()
        self._key = b""
        self._some_refused = False

    # --- catalogues -----------------------------------------------------------------------

    async def collections(self) -> dict[str, Summary]:
        """Ours of mutual interest."""
        return dict((await self._talk.local.offload(self._read_catalogue)).collections)

    def _read_catalogue(self) -> Catalogue:
        with self._talk.local.store.snapshot() as snapshot:
            self.compared = snapshot.last_arrival
            self._some_refused = not is_none_refused(snapshot)
            return self._talk.agreement.catalogue(snapshot)

    async def begin(self, turn: int) -> Pass | None:
        """Compare all collections at once; None when they are the same.

        A collection that only we have takes a number after those of the responder, and
        needs no question: all of it is missing there.
        """
        talk = self._talk
        self._key = key = talk.agreement.key(turn)
        catalogue: Catalogue = await talk.local.offload(self._read_catalogue)
        await talk.connection.send(m.Catalog(catalogue.digest(key)[:16]))
        talk.report.round_trips += 1
        message = await talk.connection.receive()
        if isinstance(message, m.Same):
            return None
        if isinstance(message, m.Many):
            catalogue = await self._compare_long(catalogue, message.count, key)
            message = await talk.connection.receive()
        theirs = await self._listing(message)
        mine = {name: (count, label) for name, count, label in catalogue.listing(key)}
        now = Pass(turn, key, [name for name, _, _ in theirs], self._new_initiator(key, turn))
        differing = talk.report.differing if not turn else []
        for number, (name, count, label) in enumerate(theirs):
            ours = mine.pop(name, None)
            if ours != (count, label):
                now.initiator.open(number, count)
                differing.append((name, ours[0] if ours is not None else 0, count))
        for name, (count, _) in mine.items():
            differing.append((name, count, 0))
            now.initiator.difference.push.append((Range(len(now.names), ""), count))
            now.names.append(name)
        return now

    def _new_initiator(self, key: bytes, turn: int, *, certain: bool = False) -> Initiator:
        """Short labels and sketches first; at last whole ids."""
        options = self._talk.options
        width = SHORT if turn < limits.MAX_PASSES - 1 else FULL
        # Such sessions end with sets that differ, so that the digests of the end cannot tell
        # whether a list overlooked something.
        one_way = options.direction != m.BOTH
        certain = certain or options.dry_run or one_way or self._some_refused
        return Initiator(
            key, width, sketches=options.sketches, certain=certain, effort=self._effort
        )

    async def _compare_long(self, catalogue: Catalogue, theirs: int, key: bytes) -> Catalogue:
        """Find which collections differ, as a set of hashes, and ask for theirs; ours of them."""
        places: dict[bytes, int] = await self._talk.local.offload(catalogue.hashes, key)
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
        self._talk.report.round_trips += 1
        await self._talk.connection.send(m.AskNames(items_of(found.missing_here)))
        return catalogue.part(places[row.tobytes()] for row in rows)

    async def _listing(self, message: m.Message) -> list[tuple[str, int, bytes]]:
        """The collections that are listed, beginning with `message`."""
        found: list[tuple[str, int, bytes]] = []
        while True:
            match message:
                case m.Listing(collections) | m.Listed(collections):
                    found += collections
                case _:
                    raise unexpected(message)
            if isinstance(message, m.Listing) and not message.collections:
                raise PeerError("A part of a listing came that lists nothing.")
            if len(found) > limits.MAX_COLLECTIONS:
                raise PeerError(f"More than {limits.MAX_COLLECTIONS} collections were listed.")
            if isinstance(message, m.Listed):
                break
            message = await self._talk.connection.receive()
        names = [name for name, _, _ in found]
        if len(set(names)) != len(names) or not all(map(self._talk.agreement.is_mutual, names)):
            raise PeerError("A collection was listed twice, or one that nobody asked for.")
        return found

    async def is_equal(self) -> bool:
        """Compare fresh whole digests of everything."""
        self._talk.show("closing")
        catalogue: Catalogue = await self._talk.local.offload(self._read_catalogue)
        digest = catalogue.digest(self._key)
        await self._talk.connection.send(m.Close(digest))
        return (await self._talk.expect(m.Closed)).digest == digest

    # --- rounds of questions --------------------------------------------------------------

    async def compare(self, now: Pass) -> None:
        """Rounds of questions about all collections, each step in one snapshot."""
        local = self._talk.local

        def step(answers: Sequence[Answer] | None) -> list[Question]:
            with local.store.snapshot() as snapshot:
                views = NumberedViews(now.names, snapshot.view)
                if answers is not None:
                    now.initiator.take(answers, views)
                return now.initiator.ask(views)

        now.difference = await self._rounds(now.initiator, step)
        await local.offload(self._leave_out, now)

    def _leave_out(self, now: Pass) -> None:
        """Count what was found, and leave out what one side or the other does not want."""
        found, peer, clock = now.difference, self._talk.peer, self._talk.local.clock()
        now.missing_here, now.missing_there = found.count_here, found.count_there
        with self._talk.local.store.snapshot() as snapshot:
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
            while questions := await self._talk.local.look_up(step, answers):
                asked += 1
                if asked > limits.MAX_ROUNDS:
                    raise PeerError(f"Comparing did not end within {limits.MAX_ROUNDS} rounds.")
                answers = await self._ask(questions)
                self._talk.show("comparing", found=initiator.difference)
            return initiator.difference
        raise PeerTimeoutError(
            f"Comparing did not end within {limits.COMPARING_SECONDS / 60:.0f} minutes."
        )

    async def _ask(self, questions: Sequence[Question]) -> list[Answer]:
        """One round: all questions leave before the first answer is waited for."""
        self._talk.report.round_trips += 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_questions, questions)
            answers: list[Answer] = []
            size = 0
            while len(answers) < len(questions):
                message = await self._talk.expect(m.Answers)
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
            await self._talk.connection.send(m.Questions(tuple(map(to_wire, part))))

    # --- telling what differs -------------------------------------------------------------

    async def list_ids(self, now: Pass) -> None:
        """Fill the report's lists: our ids from our store, theirs by asking."""
        report = self._talk.report
        for take in now.takes():
            ids: list[bytes] = await self._talk.local.look_up(self._ids_of, take)
            report.ids_there += [(take.collection, id_) for id_ in ids]
        for name, ids_here, _ in await self._ask_ids(now):
            report.ids_here += [(name, id_) for id_ in ids_here]

    async def is_only_newer(self, now: Pass) -> bool:
        """Whether all that still differs arrived after the session began, on either side."""
        talk, older = self._talk, 0
        if talk.options.direction != m.PULL:
            for take in now.takes():
                count, newer = await talk.local.offload(self._count_newer, take)
                talk.report.newer += newer
                older += count - newer
        if talk.options.direction != m.PUSH:
            told = 0
            for _, ids, newer in await self._ask_ids(now):
                told += len(ids)
                talk.report.newer += newer
                older += len(ids) - newer
            older += max(0, now.missing_here - told)  # promised, and not even named
        return not older

    def _count_newer(self, take: Take) -> tuple[int, int]:
        ids = self._ids_of(take)
        with self._talk.local.store.snapshot() as snapshot:
            arrivals = [snapshot.arrival(take.collection, id_) or 0 for id_ in ids]
        return len(ids), sum(arrival > self._talk.began for arrival in arrivals)

    def _ids_of(self, take: Take) -> list[bytes]:
        if take.ids is not None:
            return list(take.ids)
        local, peer = self._talk.local, self._talk.peer
        with local.store.snapshot() as snapshot:
            view = snapshot.view(take.collection)
            ids = [row.tobytes() for row in view.ids(take.prefix)] if view is not None else []
            return still_wanted(snapshot, peer, take.collection, ids, local.clock())

    async def _ask_ids(self, now: Pass) -> list[tuple[str, list[bytes], int]]:
        """Collection, ids, and how many of them are newer than the session, of what we lack."""
        wanted = now.wants()
        if not wanted:
            return []
        self._talk.report.round_trips += 1
        found: list[tuple[str, list[bytes], int]] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_id_questions, wanted)
            awaited = len(in_messages(wanted))
            while awaited:
                message = await self._talk.expect(m.Ids)
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
        for part in in_messages(wanted):
            await self._talk.connection.send(m.AskIds(items_of(part)))
