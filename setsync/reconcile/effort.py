"""What comparing costs a side, counted; and when the other side has made it cost too much.

A *step* is about a microsecond of computing. Both sides have so many for a session, in proportion
to their own sets, since no honest way to compare looks at an id more than a few times. What the
other side claims to hold buys nothing: a count is eight bytes.

| side | may cost |
|---|---|
| responder | bytes told: twice its ids, at least 1 MiB; steps: 12 an id, 64 a collection, 2^19 |
| initiator | steps: 12 an id, 128 a collection, 2^19, and one for 16 bytes of answers that came |

Answers buy steps because lists cost their sender more than their reader, so that a set that is
many times ours can be compared with it.

Pure. The honest need less than a quarter of it (`tests/reconcile/test_effort.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from setsync import limits
from setsync.errors import Abort, PeerError
from setsync.reconcile.questions import Answer, AskChildren, AskList, AskSketch, Question
from setsync.reconcile.wants import ALL, LOOKUP_IDS, SHORT_IDS, WHOLE_IDS, Wanted

_ID_BYTES = 32
# Finding a range, and all that a message has around what it says of it.
_PLACE_STEPS = 64
# A child is read, and its digest hashed under the session's key.
_CHILD_STEPS = 2
# An id that is read, keyed, cut and sorted with others is a sixth of a step.
_IDS_PER_STEP = 6
# An id that was listed already so by the other side.
_LISTED_PER_STEP = 16
# A cell is copied and coded; to peel it takes longer.
_CELLS_PER_STEP = 8
_PEELED_STEPS = 8
# What a place takes on the wire.
_PLACE_BYTES = 8


@dataclass(slots=True)
class Answering:
    """What a responder told in a session, and what that took."""

    told: int = 0
    steps: int = 0

    def charge(self, steps: int, told: int, ids: int, collections: int) -> None:
        """Count an answer of a set of `ids` in so many collections, as large as it is by now.

        Raises PeerError when the session has used up what it may.
        """
        self.steps += steps
        self.told += told
        if self.told > max(2 * _ID_BYTES * ids, limits.MIN_TOLD_BYTES) or self.steps > (
            limits.STEPS_PER_ID * ids
            + limits.STEPS_PER_COLLECTION * collections
            + limits.SPARE_STEPS
        ):
            raise PeerError("More was asked about the sets than they hold.", Abort.TOO_LARGE)


@dataclass(slots=True)
class Asking:
    """What an initiator looked at in a session, and what it may."""

    steps: int = 0
    heard: int = 0
    _own: int = 0
    _most: int = 0

    def begin(self) -> None:
        """A pass begins. The same sets buy nothing twice."""
        self._own = 0

    def allow(self, ids: int) -> None:
        """A collection of so many ids of ours is compared in this pass."""
        self._own += limits.STEPS_PER_ID * ids + 2 * limits.STEPS_PER_COLLECTION
        self._most = max(self._most, self._own)

    def charge(self, steps: int, heard: int) -> None:
        """Count what an answer of `heard` bytes led to. Raises PeerError when it is too much."""
        self.steps += steps
        self.heard += heard
        if self.steps > self.allowed:
            raise PeerError("Comparing takes more work than the sets are large.", Abort.TOO_LARGE)

    @property
    def allowed(self) -> int:
        """Steps of the whole session, as far as it has come."""
        return limits.SPARE_STEPS + self._most + self.heard // limits.BYTES_PER_STEP


def told_bytes(given: Answer) -> int:
    """What an answer takes on the wire, or a little more."""
    return len(given.blob) + 4 * len(given.numbers) + _PLACE_BYTES


def answer_steps(question: Question, given: Answer, encoded: int) -> int:
    """What it took to look an answer up; `encoded` ids were put into a sketch for it."""
    match question:
        case AskChildren():
            return _PLACE_STEPS + _CHILD_STEPS * len(given.numbers)
        case AskList():
            listed = given.numbers[0] if given.blob else 0
            return _PLACE_STEPS + listed // _IDS_PER_STEP
        case AskSketch(_, start, stop, known, counted):
            cells = stop - start + counted - known
            return _PLACE_STEPS + encoded + max(0, cells) // _CELLS_PER_STEP


def take_steps(question: Question, given: Answer, mine: int) -> int:
    """What it takes to compare an answer with our `mine` ids of the range."""
    match question:
        case AskChildren():
            return _PLACE_STEPS + _CHILD_STEPS * len(given.numbers)
        case AskList():
            theirs = min(sum(given.numbers), 8 * len(given.blob))
            return _PLACE_STEPS + mine // _IDS_PER_STEP + theirs // _LISTED_PER_STEP
        case AskSketch(_, start, stop):
            return _PLACE_STEPS + _PEELED_STEPS * (stop - start)


def want_steps(wanted: Wanted, searched: int) -> int:
    """What it takes to find the ids that a want names in a range of `searched` ids."""
    if wanted.kind == ALL:
        return _PLACE_STEPS
    looked_at = searched
    if wanted.kind in (SHORT_IDS, WHOLE_IDS):
        looked_at = min(searched, LOOKUP_IDS * wanted.count)
    return _PLACE_STEPS + (looked_at + len(wanted.values)) // _IDS_PER_STEP
