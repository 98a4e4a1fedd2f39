"""Initiator and responder of a reconciliation, as state machines over `SetView`s.

The initiator holds the ranges that may differ. Each round it asks about as many of them as
fit, and each answer closes a range or opens smaller ones strictly inside it. The responder
remembers nothing. A view is handed in for each call and speaks of that moment only: sets
may grow between two rounds, and since they only grow, whatever was learnt stays true.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np

from setsync.errors import Abort, PeerError
from setsync.limits import MAX_LIST_IDS, MAX_QUESTIONS, MAX_RANGES, ROUND_ANSWER_BYTES
from setsync.reconcile.digest import EMPTY, HEX, Summary
from setsync.reconcile.effort import Asking, take_steps, told_bytes
from setsync.reconcile.idlist import MAX_BITS, SPARE_BITS, decode_ids, encode_ids, truncation_bits
from setsync.reconcile.labels import FULL, SHORT, digest_label
from setsync.reconcile.peel import Complete, NeedMore
from setsync.reconcile.policy import SYMBOL_BYTES, Closer, choose
from setsync.reconcile.questions import (
    WHOLE,
    Answer,
    AskChildren,
    AskList,
    AskSketch,
    Question,
    Range,
)
from setsync.reconcile.sketch import U64, short_ids
from setsync.reconcile.sketching import Held, Talk, answer_sketch, is_sketched
from setsync.reconcile.view import IdArray, SetView, id_array
from setsync.reconcile.wants import (
    ALL,
    SHORT_IDS,
    Wanted,
    by_short_id,
    list_ids,
    want_ids,
    want_numbers,
)

Views = Mapping[int, SetView]
"""The sets of one side by collection number; a collection that is missing is empty."""


# --- the responder ------------------------------------------------------------------------


def answer(question: Question, views: Views, key: bytes, held: Held) -> Answer:
    """Look one answer up. Raises PeerError for a question that would cost too much, KeyError
    for a collection that was not listed."""
    view = views[question.range.collection]
    match question:
        case AskChildren(place, levels, width):
            ranges = list(_ranges_below(view, place.prefix, levels))
            return Answer(
                tuple(summary.count for _, summary in ranges),
                b"".join(digest_label(s, prefix, width, key) for prefix, s in ranges),
            )
        case AskList(place, bits):
            count = view.summary(place.prefix).count
            if count > MAX_LIST_IDS:
                return Answer((count,))
            ids = view.ids(place.prefix)
            if bits == WHOLE:
                return Answer((len(ids),), ids.tobytes())
            return Answer((len(ids),), encode_ids(list_ids(ids, bits, key)[0], bits))
        case AskSketch(place):
            symbols = held.get(place, view)
            if symbols is None:
                return Answer((view.summary(place.prefix).count,))
            return answer_sketch(question, symbols)
        case _:
            assert_never(question)


def _ranges_below(view: SetView, prefix: str, levels: int) -> Iterator[tuple[str, Summary]]:
    for digit, summary in zip(HEX, view.children(prefix), strict=True):
        if levels == 1:
            yield prefix + digit, summary
        elif not summary.count:
            yield from ((prefix + digit + further, EMPTY) for further in HEX)
        else:
            yield from _ranges_below(view, prefix + digit, levels - 1)


# --- what an initiator learns -------------------------------------------------------------


@dataclass
class Difference:
    """What a reconciliation found so far.

    `missing_there` are our own ids by collection; `push` are whole ranges of ours with
    their counts, where the responder has nothing; `missing_here` is what to ask for.
    """

    missing_there: dict[int, list[IdArray]] = field(default_factory=dict)
    push: list[tuple[Range, int]] = field(default_factory=list)
    missing_here: list[Wanted] = field(default_factory=list)

    @property
    def count_there(self) -> int:
        """How many of our entries the responder lacks."""
        listed = sum(len(ids) for parts in self.missing_there.values() for ids in parts)
        return listed + sum(count for _, count in self.push)

    @property
    def count_here(self) -> int:
        """How many of the responder's entries we lack."""
        return sum(wanted.count for wanted in self.missing_here)


# --- the initiator ------------------------------------------------------------------------


@dataclass(slots=True)
class _Open:
    """A range that differs, and what is known of it.

    `theirs` is None until the responder has told; `expected` an estimate of the difference;
    `talk` the sketch under way; `burnt` whether that failed; `failed` how many sketches of
    ranges around this one did.
    """

    range: Range
    theirs: int | None
    width: int
    expected: float | None = None
    talk: Talk | None = None
    burnt: bool = False
    failed: int = 0


@dataclass(slots=True)
class _Asked:
    """A question under way."""

    open: _Open
    question: Question


# A range whose sketch failed is split by its digests; one of its children may try once more.
_FAILURES = 2


class Initiator:
    """Finds the difference of many ranges of many collections, in rounds.

        while questions := initiator.ask(views):
            initiator.take(answers to questions, views)
        initiator.difference

    `width` is the rung of the ladder: 8-byte labels, or 32 to compare digests and ids
    themselves, without sketches. `sketches` False leaves only splits and lists. `certain`
    makes lists long enough to overlook nothing, for sessions that no digest will confirm.
    `effort` is that of the whole session.
    """

    def __init__(
        self,
        key: bytes,
        width: int = SHORT,
        *,
        sketches: bool = True,
        certain: bool = False,
        effort: Asking | None = None,
    ) -> None:
        self.difference = Difference()
        self._key = key
        self._width = width
        self._sketches = sketches and width == SHORT
        self._certain = certain
        self._effort = effort if effort is not None else Asking()
        self._effort.begin()
        self._compared: set[int] = set()
        self._open: list[_Open] = []
        self._asked: list[_Asked] = []

    def open(self, collection: int, theirs: int) -> None:
        """Begin with a whole collection, known to differ, of which they hold `theirs` ids."""
        self._open.append(_Open(Range(collection, ""), theirs, self._width))

    def ask(self, views: Views) -> list[Question]:
        """The questions of the next round; none when the difference is known.

        Ranges that need no question are closed on the way. What does not fit into a round
        waits for the next, the latest opened first, so that few stay open.
        """
        expected = 0
        # Many lists of one round share the allowance for a false match in one.
        self._spare_bits = SPARE_BITS + len(self._open).bit_length()
        while self._open and len(self._asked) < MAX_QUESTIONS and expected < ROUND_ANSWER_BYTES:
            opened = self._open.pop()
            question = self._question(opened, views[opened.range.collection])
            if question is not None:
                self._asked.append(_Asked(opened, question))
                expected += _expected_bytes(question, opened)
        return [asked.question for asked in self._asked]

    def _question(self, opened: _Open, view: SetView) -> Question | None:
        """What to ask about a range; None when it is closed, or has made way for smaller ones."""
        place = opened.range
        mine = view.summary(place.prefix).count
        if place.collection not in self._compared:
            self._compared.add(place.collection)
            self._effort.allow(view.summary("").count)
        match self._closer(opened, mine, view):
            case Closer.PUSH_ALL:
                if mine:
                    self.difference.push.append((place, mine))
                return None
            case Closer.WANT_ALL if opened.theirs is not None:
                self.difference.missing_here.append(Wanted(place, ALL, opened.theirs))
                return None
            case Closer.WANT_ALL | Closer.LIST:
                return AskList(place, self._bits(mine, opened.theirs or mine))
            case Closer.SKETCH:
                opened.talk = opened.talk or Talk(place, view.sketch(place.prefix), opened.expected)
                more = opened.talk.ask()
                opened.burnt = more is None
                return more or self._question(opened, view)
            case Closer.SPLIT_SKETCH:
                self._open_sixteenths(opened)
                return None
            case Closer.SPLIT:
                return AskChildren(place, 1, opened.width)
            case Closer.SPLIT_TWICE:
                return AskChildren(place, 2, opened.width)
            case closer:
                assert_never(closer)

    def _closer(self, opened: _Open, mine: int, view: SetView) -> Closer:
        """What the cost model says. With a sketch under way, of the sets as they were then:
        what came since is not in the difference it will tell."""
        talk = opened.talk
        if talk is not None:
            mine = int(talk.local.counts[0])
        return choose(
            mine,
            opened.theirs if opened.theirs is not None else max(1, mine),
            len(opened.range.prefix),
            opened.expected,
            cells=talk.have if talk is not None else 0,
            sketches=self._sketches
            and not opened.burnt
            and opened.failed < _FAILURES
            and is_sketched(view, opened.range.prefix),
            certain=self._certain,
        )

    def _bits(self, mine: int, theirs: int) -> int:
        if self._width == FULL:
            return WHOLE
        return MAX_BITS if self._certain else truncation_bits(mine, theirs, self._spare_bits)

    def _open_sixteenths(self, opened: _Open) -> None:
        """A difference beyond one sketch: sixteen sketches, each of a sixteenth of it."""
        place = opened.range
        share = (opened.expected or 0.0) / len(HEX)
        self._open += [
            _Open(Range(place.collection, place.prefix + digit), None, self._width, share)
            for digit in reversed(HEX)
        ]

    def take(self, answers: Sequence[Answer], views: Views) -> None:
        """Take the answers of this round, in the order of its questions.

        Raises PeerError for an answer that does not fit its question, and when the answers
        keep us busier than the sets explain.
        """
        if len(answers) != len(self._asked):
            raise PeerError(f"{len(self._asked)} questions got {len(answers)} answers.")
        asked, self._asked = self._asked, []
        for each, given in zip(asked, answers, strict=True):
            view = views[each.open.range.collection]
            mine = view.summary(each.open.range.prefix).count
            self._effort.charge(take_steps(each.question, given, mine), told_bytes(given))
            try:
                match each.question:
                    case AskChildren(_, levels):
                        self._take_children(each.open, levels, given, view)
                    case AskList(_, bits):
                        self._take_list(each.open, bits, given, view)
                    case AskSketch():
                        self._take_sketch(each.open, given, view)
                    case _:
                        assert_never(each.question)
            except ValueError as error:
                raise PeerError(f"An answer does not fit its question: {error}") from error
            if len(self._open) + len(self.difference.missing_here) > MAX_RANGES:
                raise PeerError(f"More than {MAX_RANGES} ranges seem to differ.", Abort.TOO_LARGE)

    def _take_children(self, opened: _Open, levels: int, given: Answer, view: SetView) -> None:
        """Open the children that differ; those that one side has nothing of are closed at once.
        If all agree although their parents do not, a short label lied, or a set has grown
        meanwhile: ask again with the whole digests."""
        place, width = opened.range, opened.width
        if len(given.numbers) != 16**levels or len(given.blob) != width * 16**levels:
            raise ValueError("children are 16 or 256 counts and as many labels")
        differing: list[_Open] = []
        agree = True
        ranges = _ranges_below(view, place.prefix, levels)
        for at, ((prefix, mine), theirs) in enumerate(zip(ranges, given.numbers, strict=True)):
            label = given.blob[at * width : (at + 1) * width]
            if mine.count == theirs and (
                not theirs or digest_label(mine, prefix, width, self._key) == label
            ):
                continue
            agree = False
            child = Range(place.collection, prefix)
            if not theirs:
                self.difference.push.append((child, mine.count))
            elif not mine.count:
                self.difference.missing_here.append(Wanted(child, ALL, theirs))
            else:
                failed = opened.failed + opened.burnt
                differing.append(_Open(child, theirs, self._width, failed=failed))
        if agree and width == SHORT:
            whole = _Open(place, sum(given.numbers), FULL, failed=_FAILURES)
            differing.append(whole)
        self._open += reversed(differing)

    def _take_list(self, opened: _Open, bits: int, given: Answer, view: SetView) -> None:
        if len(given.numbers) != 1:
            raise ValueError("a list has one count")
        place = opened.range
        if given.numbers[0] > MAX_LIST_IDS:
            if given.blob:
                raise ValueError(f"a list has at most {MAX_LIST_IDS} ids")
            # Only splits from here on, or a sketch that leads back to a list never ends.
            self._open.append(_Open(place, given.numbers[0], opened.width, failed=_FAILURES))
            return
        ids = view.ids(place.prefix)
        if bits == WHOLE:
            self._take_whole_list(place, given, ids)
            return
        theirs = decode_ids(given.blob, given.numbers[0], bits)
        mine, ordered = list_ids(ids, bits, self._key)
        self._miss_there(place, ordered[~np.isin(mine, theirs)])
        lacking = theirs[~np.isin(theirs, mine)]
        self.difference.missing_here += want_numbers(place, bits, lacking)

    def _take_whole_list(self, place: Range, given: Answer, ids: IdArray) -> None:
        if len(given.blob) != 32 * given.numbers[0]:
            raise ValueError("whole ids have 32 bytes each")
        theirs = {row.tobytes() for row in id_array(given.blob)}
        mine = {row.tobytes() for row in ids}
        self._miss_there(place, id_array(b"".join(sorted(mine - theirs))))
        self.difference.missing_here += want_ids(place, id_array(b"".join(sorted(theirs - mine))))

    def _take_sketch(self, opened: _Open, given: Answer, view: SetView) -> None:
        """Decoded: the range is closed. Not yet: it stays open, with a better estimate. Never, or
        not to be had: it stays open, to be split."""
        talk = opened.talk
        assert talk is not None
        if len(given.numbers) == 1 and not given.blob:
            # It is too large there to be sketched.
            opened.theirs, opened.burnt = given.numbers[0], True
            self._open.append(opened)
            return
        verdict = talk.take(given)
        if isinstance(verdict, Complete) and self._take_difference(opened.range, verdict, view):
            return
        opened.theirs = talk.size
        opened.expected = talk.estimate()
        opened.burnt = not isinstance(verdict, NeedMore)
        self._open.append(opened)

    def _take_difference(self, place: Range, found: Complete, view: SetView) -> bool:
        """Whether a decoded difference is believable: our ids are ours, all are of the range.

        What they have and we got meanwhile is no longer missing.
        """
        digits = 64 - 4 * len(place.prefix)
        within = int(place.prefix or "0", 16)
        for ids in (found.mine, found.theirs):
            if place.prefix and (ids >> np.uint64(digits) != within).any():
                return False
        mine = by_short_id(view, found.mine)
        if len(mine) < len(found.mine):
            return False
        self._miss_there(place, mine)
        self.difference.missing_here += want_numbers(
            place, SHORT_IDS, _not_here(view, found.theirs)
        )
        return True

    def _miss_there(self, place: Range, ids: IdArray) -> None:
        if len(ids):
            self.difference.missing_there.setdefault(place.collection, []).append(ids)


def _not_here(view: SetView, values: U64) -> U64:
    """Those of the sorted short ids that no id here begins with."""
    here = short_ids(by_short_id(view, values))
    return values[~np.isin(values, here)]


def _expected_bytes(question: Question, opened: _Open) -> int:
    """About how long the answer will be."""
    match question:
        case AskChildren(_, levels, width):
            return int(16**levels * (width + 3))
        case AskList(_, bits):
            return (opened.theirs or 0) * ((bits or 256) + 7) // 8
        case AskSketch(_, start, stop):
            return (stop - start) * SYMBOL_BYTES
        case _:
            assert_never(question)
