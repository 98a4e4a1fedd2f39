"""The initiator's comparing: which collections differ, in which entries, and whether none do.

A pass compares the catalogues, and then, in rounds of questions, the collections that differ.
What the session is for, and what follows from what was found, others decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from setsync import limits
from setsync.errors import Abort, LocalError, PeerError, PeerTimeoutError
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

# What a responder lists: count and label of the root by name, in its order.
_Listed = dict[str, tuple[int, bytes]]


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

    def _read_digest(self) -> tuple[Catalogue, bytes]:
        catalogue = self._read_catalogue()
        return catalogue, catalogue.digest(self._key)

    async def begin(self, turn: int) -> Pass | None:
        """Compare all collections at once; None when they are the same."""
        talk = self._talk
        self._key = talk.agreement.key(turn)
        catalogue, digest = await talk.local.offload(self._read_digest)
        await talk.connection.send(m.Catalog(digest[:16]))
        talk.report.round_trips += 1
        message = await talk.connection.receive()
        if isinstance(message, m.Same):
            return None
        if isinstance(message, m.Many):
            catalogue = await self._compare_long(catalogue, message.count)
            message = await talk.connection.receive()
        theirs = await self._listing(message)
        now: Pass = await talk.local.offload(self._new_pass, turn, catalogue, theirs)
        return now

    def _new_pass(self, turn: int, catalogue: Catalogue, theirs: _Listed) -> Pass:
        """What of the catalogues differs.

        A collection that only we have takes a number after those of the responder, and
        needs no question: all of it is missing there.
        """
        key = self._key
        mine = {name: (count, label) for name, count, label in catalogue.listing(key)}
        now = Pass(turn, key, list(theirs), self._new_initiator(key, turn))
        differing = self._talk.report.differing if not turn else []
        for number, (name, (count, label)) in enumerate(theirs.items()):
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

    async def _compare_long(self, catalogue: Catalogue, theirs: int) -> Catalogue:
        """Find which collections differ, as a set of hashes, and ask for theirs; ours of them."""
        local = self._talk.local
        places, view = await local.offload(_as_set, catalogue, self._key)
        # A false match would send a whole collection for nothing.
        initiator = self._new_initiator(self._key, 0, certain=True)
        initiator.open(0, theirs)

        def step(answers: Sequence[Answer] | None) -> list[Question]:
            if answers is not None:
                initiator.take(answers, {0: view})
            return initiator.ask({0: view})

        found = await self._rounds(initiator, step)
        self._talk.report.round_trips += 1
        await self._talk.connection.send(m.AskNames(items_of(found.missing_here)))
        part: Catalogue = await local.offload(_only_here, catalogue, places, view, found)
        return part

    async def _listing(self, message: m.Message) -> _Listed:
        """The collections that are listed, beginning with `message`."""
        found: _Listed = {}
        while True:
            match message:
                case m.Listing(collections) | m.Listed(collections):
                    await self._talk.local.offload(self._take_listed, found, collections)
                case _:
                    raise unexpected(message)
            if isinstance(message, m.Listed):
                return found
            if not message.collections:
                raise PeerError("A part of a listing came that lists nothing.")
            message = await self._talk.connection.receive()

    def _take_listed(self, found: _Listed, collections: Sequence[tuple[str, int, bytes]]) -> None:
        """Look at some that are listed. Every segment of a name is a step."""
        if len(found) + len(collections) > limits.MAX_COLLECTIONS:
            raise PeerError(f"More than {limits.MAX_COLLECTIONS} collections were listed.")
        steps = sum(name.count("/") + 1 for name, _, _ in collections)
        heard = sum(len(name) + len(label) for name, _, label in collections)
        self._effort.charge(steps, heard)
        for name, count, label in collections:
            if name in found or not self._talk.agreement.is_mutual(name):
                raise PeerError("A collection was listed twice, or one that nobody asked for.")
            found[name] = (count, label)

    async def is_equal(self) -> bool:
        """Compare fresh whole digests of everything."""
        self._talk.show("closing")
        _, digest = await self._talk.local.offload(self._read_digest)
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
        if now.missing_here > limits.MAX_TOLD_IDS:
            raise LocalError(
                f"{now.missing_here:,} entries are missing here, and at most "
                f"{limits.MAX_TOLD_IDS:,} are listed: sync, or name a collection."
            )
        for take in now.takes():
            ids: list[bytes] = await self._talk.local.look_up(self._ids_of, take)
            report.ids_there += [(take.collection, id_) for id_ in ids]

        def note(name: str, joined: bytes, newer: int) -> None:
            report.ids_here += [(name, joined[at : at + 32]) for at in range(0, len(joined), 32)]

        await self._ask_ids(now, note)

    async def is_only_newer(self, now: Pass) -> bool:
        """Whether all that still differs arrived after the session began, on either side."""
        talk, older = self._talk, 0
        if talk.options.direction != m.PULL:
            for take in now.takes():
                count, newer = await talk.local.offload(self._count_newer, take)
                talk.report.newer += newer
                older += count - newer
        if talk.options.direction != m.PUSH:
            counts = _Counts()
            await self._ask_ids(now, counts.note)
            talk.report.newer += counts.newer
            # What was promised and not even named is not newer.
            older += max(counts.told, now.missing_here) - counts.newer
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

    async def _ask_ids(self, now: Pass, on_told: Callable[[str, bytes, int], None]) -> None:
        """Ask for the ids of what we lack; `on_told` hears of a collection, ids joined, and how
        many of them are newer than the session. Raises PeerError for more than may be."""
        wanted = now.wants()
        if not wanted:
            return
        self._talk.report.round_trips += 1
        missing = now.missing_here + now.refused_here
        left = min(missing, limits.MAX_TOLD_IDS) + limits.SPARE_TOLD_IDS
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_id_questions, wanted)
            awaited = len(in_messages(wanted))
            while awaited:
                message = await self._talk.expect(m.Ids)
                awaited -= not message.more
                if message.more and not message.items:
                    raise PeerError("A part of a list of ids came that lists nothing.")
                for number, joined, newer in message.items:
                    count, rest = divmod(len(joined), 32)
                    if rest or not count or newer > count or number >= len(now.names):
                        raise PeerError("A list of ids is not one.")
                    left -= count
                    if left < 0:
                        raise PeerError("More ids came than can be missing here.", Abort.TOO_LARGE)
                    on_told(now.names[number], joined, newer)

    async def _send_id_questions(self, wanted: Sequence[Wanted]) -> None:
        for part in in_messages(wanted):
            await self._talk.connection.send(m.AskIds(items_of(part)))


@dataclass
class _Counts:
    """Of ids that were told, and are not kept."""

    told: int = 0
    newer: int = 0

    def note(self, _: str, joined: bytes, newer: int) -> None:
        self.told += len(joined) // 32
        self.newer += newer


def _as_set(catalogue: Catalogue, key: bytes) -> tuple[dict[bytes, int], ListView]:
    """The places of collections by their hashes, and these as a set."""
    places = catalogue.hashes(key)
    return places, ListView(list(places))


def _only_here(
    catalogue: Catalogue, places: dict[bytes, int], view: ListView, found: Difference
) -> Catalogue:
    """The collections of ours whose hashes are missing there."""
    rows = [row for parts in found.missing_there.values() for part in parts for row in part]
    rows += [row for place, _ in found.push for row in view.ids(place.prefix)]
    return catalogue.part(places[row.tobytes()] for row in rows)
