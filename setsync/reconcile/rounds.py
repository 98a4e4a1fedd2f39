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
from setsync.reconcile.digest import HEX, Summary
from setsync.reconcile.labels import (
    FULL,
    SHORT,
    Labels,
    digest_label,
    id_labels,
    pack_labels,
    unpack_labels,
)
from setsync.reconcile.policy import Closer, choose
from setsync.reconcile.questions import (
    Answer,
    AskChildren,
    AskList,
    Question,
    Range,
)
from setsync.reconcile.view import IdArray, SetView, id_array

Views = Mapping[int, SetView]
"""The sets of one side by collection number; a collection that is missing is empty."""


# --- the responder ------------------------------------------------------------------------


def answer(question: Question, views: Views, key: bytes) -> Answer:
    """Look one answer up. Raises PeerError for a collection that was not listed."""
    view = views.get(question.range.collection)
    if view is None:
        raise PeerError(f"There is no collection number {question.range.collection} here.")
    match question:
        case AskChildren(place, levels, width):
            ranges = list(_ranges_below(view, place.prefix, levels))
            return Answer(
                numbers=tuple(summary.count for _, summary in ranges),
                labels=b"".join(digest_label(s, prefix, width, key) for prefix, s in ranges),
            )
        case AskList(place, width):
            count = view.summary(place.prefix).count
            if count > MAX_LIST_IDS:
                return Answer(numbers=(count,))
            return Answer(labels=pack_labels(id_labels(view.ids(place.prefix), width, key)))
        case _:
            assert_never(question)


def _ranges_below(view: SetView, prefix: str, levels: int) -> Iterator[tuple[str, Summary]]:
    for digit, summary in zip(HEX, view.children(prefix), strict=True):
        if levels == 1:
            yield prefix + digit, summary
        else:
            yield from _ranges_below(view, prefix + digit, levels - 1)


def _in_parts(view: SetView, prefix: str) -> Iterator[IdArray]:
    """The ids of a range, a bounded number of them at a time."""
    ids = view.ids(prefix, b"", MAX_LIST_IDS)
    while len(ids):
        yield ids
        ids = view.ids(prefix, ids[-1].tobytes(), MAX_LIST_IDS)


# --- what an initiator learns -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """Ids the responder has and we lack: all of a range (`labels` None), or these labels."""

    range: Range
    width: int
    labels: bytes | None
    count: int


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


def resolve(wanted: Wanted, view: SetView, key: bytes) -> IdArray:
    """The ids that labels of a range stand for; labels of nothing here name nothing."""
    assert wanted.labels is not None
    if wanted.width == FULL:
        ids = unpack_labels(wanted.labels, FULL).tolist()
        return id_array(b"".join(_exact(view, id_) for id_ in ids))
    named = unpack_labels(wanted.labels, SHORT)
    found = [
        ids[np.isin(id_labels(ids, SHORT, key), named)].tobytes()
        for ids in _in_parts(view, wanted.range.prefix)
    ]
    return id_array(b"".join(found))


def _exact(view: SetView, id_: bytes) -> bytes:
    return view.ids(id_.ljust(FULL, b"\0").hex()).tobytes()


# --- the initiator ------------------------------------------------------------------------


@dataclass(slots=True)
class _Open:
    """A range that differs, what is known of the responder's side, and the width to use."""

    range: Range
    theirs: int
    width: int


@dataclass(slots=True)
class _Asked:
    """A question under way."""

    open: _Open
    question: Question


class Initiator:
    """Finds the difference of many ranges of many collections, in rounds.

        while questions := initiator.ask(views):
            initiator.take(answers to questions, views)
        initiator.difference

    `width` is the rung of the ladder: 8-byte labels, or 32 to compare ids themselves.
    """

    def __init__(self, key: bytes, width: int = SHORT) -> None:
        self.difference = Difference()
        self._key = key
        self._width = width
        self._open: list[_Open] = []
        self._asked: list[_Asked] = []

    def open(self, collection: int, theirs: int) -> None:
        """Begin with a whole collection, known to differ, of which they hold `theirs` ids."""
        self._open.append(_Open(Range(collection, ""), theirs, self._width))

    @property
    def is_done(self) -> bool:
        """Whether every range is closed."""
        return not self._open and not self._asked

    def ask(self, views: Views) -> list[Question]:
        """The questions of the next round; none when the difference is known.

        Ranges that need no question are closed on the way. What does not fit into a round
        waits for the next, the latest opened first, so that few stay open.
        """
        expected = 0
        while self._open and len(self._asked) < MAX_QUESTIONS and expected < ROUND_ANSWER_BYTES:
            opened = self._open.pop()
            asked = self._ask_about(opened, views[opened.range.collection])
            if asked is not None:
                self._asked.append(asked)
                expected += _expected_bytes(asked, opened)
        return [asked.question for asked in self._asked]

    def _ask_about(self, opened: _Open, view: SetView) -> _Asked | None:
        place, width = opened.range, opened.width
        mine = view.summary(place.prefix).count
        closer = choose(mine, opened.theirs, len(place.prefix))
        match closer:
            case Closer.PUSH_ALL:
                if mine:
                    self.difference.push.append((place, mine))
                return None
            case Closer.WANT_ALL:
                self.difference.missing_here.append(Wanted(place, SHORT, None, opened.theirs))
                return None
            case Closer.LIST:
                return _Asked(opened, AskList(place, width))
            case Closer.SPLIT:
                return _Asked(opened, AskChildren(place, 1, width))
            case Closer.SPLIT_TWICE:
                return _Asked(opened, AskChildren(place, 2, width))
            case _:
                assert_never(closer)

    def take(self, answers: Sequence[Answer], views: Views) -> None:
        """Take the answers of this round, in the order of its questions.

        Raises PeerError for an answer that does not fit its question.
        """
        if len(answers) != len(self._asked):
            raise PeerError(f"{len(self._asked)} questions got {len(answers)} answers.")
        asked, self._asked = self._asked, []
        for each, given in zip(asked, answers, strict=True):
            view = views[each.open.range.collection]
            try:
                match each.question:
                    case AskChildren():
                        self._take_children(each, given, view)
                    case AskList():
                        self._take_list(each, given, view)
                    case _:
                        assert_never(each.question)
            except ValueError as error:
                raise PeerError(f"An answer does not fit its question: {error}") from error
            if len(self._open) + len(self.difference.missing_here) > MAX_RANGES:
                raise PeerError(f"More than {MAX_RANGES} ranges seem to differ.", Abort.TOO_LARGE)

    def _take_children(self, asked: _Asked, given: Answer, view: SetView) -> None:
        """Open the children that differ. If all agree although their parents do not, a short
        label lied, or a set has grown meanwhile: ask again with the whole digests."""
        place, width = asked.open.range, asked.open.width
        assert isinstance(asked.question, AskChildren)
        levels = asked.question.levels
        if len(given.numbers) != 16**levels or len(given.labels) != width * 16**levels:
            raise ValueError("children are 16 or 256 counts and as many labels")
        differing: list[_Open] = []
        ranges = _ranges_below(view, place.prefix, levels)
        for at, ((prefix, mine), theirs) in enumerate(zip(ranges, given.numbers, strict=True)):
            label = given.labels[at * width : (at + 1) * width]
            if (mine.count, digest_label(mine, prefix, width, self._key)) != (theirs, label):
                differing.append(_Open(Range(place.collection, prefix), theirs, self._width))
        if not differing and width == SHORT:
            differing.append(_Open(place, sum(given.numbers), FULL))
        self._open += reversed(differing)

    def _take_list(self, asked: _Asked, given: Answer, view: SetView) -> None:
        place, width = asked.open.range, asked.open.width
        if given.numbers:
            if len(given.numbers) != 1 or given.numbers[0] <= MAX_LIST_IDS or given.labels:
                raise ValueError("a list is labels alone, or a count too large for a list")
            self._open.append(_Open(place, given.numbers[0], width))
            return
        theirs = unpack_labels(given.labels, width)
        ids = view.ids(place.prefix)
        mine = id_labels(ids, width, self._key)
        self._miss_there(place, ids[~np.isin(mine, theirs)])
        self._miss_here(asked.open, theirs[~np.isin(theirs, mine)])

    def _miss_there(self, place: Range, ids: IdArray) -> None:
        if len(ids):
            self.difference.missing_there.setdefault(place.collection, []).append(ids)

    def _miss_here(self, opened: _Open, labels: Labels) -> None:
        if len(labels) > MAX_LIST_IDS:
            raise ValueError(f"a list has at most {MAX_LIST_IDS} labels")
        if len(labels):
            wanted = Wanted(opened.range, opened.width, pack_labels(labels), len(labels))
            self.difference.missing_here.append(wanted)


def _expected_bytes(asked: _Asked, opened: _Open) -> int:
    """About how long the answer will be."""
    match asked.question:
        case AskChildren(_, levels, width):
            return int(16**levels * (width + 3))
        case AskList(_, width):
            return opened.theirs * width
        case _:
            assert_never(asked.question)
