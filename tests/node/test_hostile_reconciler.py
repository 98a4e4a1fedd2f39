"""Peers that compare sets in bad faith, on both ends of a session.

**Promise:** the session ends within the limits of rounds and passes. An initiator gets at most
twice the ids' bytes of answers; whoever it is, what they make us compute is bounded by our own set
(`reconcile/effort.py`); and another peer's sync meanwhile takes as many rounds and bytes as ever.
2,000 entries in the suite, 100,000 in a soak, which prints the seconds of computing too.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import trio
import trio.testing

from setsync import limits
from setsync.errors import PeerError
from setsync.model.entry import Entry, UnverifiedEntry, trusted
from setsync.node import comparing, server
from setsync.node.client import Options
from setsync.node.server import run_responder
from setsync.reconcile.effort import Answering, Asking
from setsync.reconcile.idlist import encode_ids
from setsync.reconcile.labels import session_key
from setsync.reconcile.questions import (
    Answer,
    AskChildren,
    AskList,
    AskSketch,
    Question,
    Range,
    from_wire,
    to_wire,
    wire_prefix,
)
from setsync.reconcile.rounds import answer
from setsync.reconcile.sketch import SketchKey, Symbols, encode, hits
from setsync.reconcile.sketching import Held, answer_sketch
from setsync.reconcile.view import CELLS, ListView
from setsync.reconcile.wants import WireWant
from setsync.session.session import Counters
from setsync.store.contract import EntryStore
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.helpers import entries, some_bytes
from tests.node.ends import (
    HELLO,
    NODES,
    Faced,
    Met,
    Peer,
    Side,
    StreamPair,
    face_initiator,
    face_responder,
    greet_as_initiator,
    meet,
    opened,
    simulate,
)

T = TypeVar("T")

SUITE, SOAK = 1_000, 100_000
_FEW_STEPS, _FEW_BYTES = 65_536, 128 * limits.KIB
WORKED_SECONDS = 2.0
"""The bar for the computing of a victim with 100,000 entries: a step is meant to be a
microsecond. It is printed, and judged in steps."""


def _entries(n: int) -> Iterator[Entry]:
    """Entries with made-up signatures, fifty times faster to make; a store takes them."""
    model = entries(1)[0]
    for at in range(n):
        header = model.header[:-64] + some_bytes("made up", at, length=64)
        yield trusted(UnverifiedEntry("notes", header, model.payload))


class Measured:
    """An offload that counts the seconds of computing of what goes through it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def __call__(self, work: Callable[..., T], *arguments: object) -> T:
        await trio.lowlevel.checkpoint()
        started = time.thread_time()
        try:
            return work(*arguments)
        finally:
            self.seconds += time.thread_time() - started


@dataclass
class Victim:
    """A store, what its sessions compute, and what they are charged for it."""

    store: EntryStore
    size: int
    offload: Measured = field(default_factory=Measured)
    answering: list[Answering] = field(default_factory=list)
    asking: list[Asking] = field(default_factory=list)

    @property
    def side(self) -> Side:
        return Side(self.store, offload=self.offload)

    @property
    def ids(self) -> list[bytes]:
        with self.store.snapshot() as snapshot:
            view = snapshot.view("notes")
            assert view is not None
            return [row.tobytes() for row in view.ids("")]

    @property
    def steps(self) -> int:
        return sum(each.steps for each in self.answering) + sum(e.steps for e in self.asking)

    def tell(self, what: str, faced: Faced) -> None:
        """A line of figures, for who runs with -s."""
        counters = faced.served.counters if self.answering else faced.report.counters
        print(
            f"{what:36} {self.size:7} ids {self.steps:8} steps {self.offload.seconds:6.2f} s "
            f"out {counters.total_sent():9} B in {counters.total_received():10} B "
            f"rounds {faced.report.round_trips:4} "
            f"{type(faced.error).__name__ if faced.error else 'ended'}"
        )


@pytest.fixture
def victim(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Victim]:
    """A store on disk with so many entries; every session's effort is noted."""
    size: int = request.param
    if size == SUITE:  # the same with less to spare, which is most of what a small set costs
        monkeypatch.setattr(limits, "SPARE_STEPS", _FEW_STEPS)
        monkeypatch.setattr(limits, "MIN_TOLD_BYTES", _FEW_BYTES)
    store = Store.open(tmp_path / "store")
    batch = list(_entries(size))
    for at in range(0, size, 10_000):
        store.add_many(batch[at : at + 10_000])
    victim = Victim(store, size)

    def noted(kind: type[T], notes: list[T]) -> Callable[[], T]:
        def make() -> T:
            notes.append(kind())
            return notes[-1]

        return make

    monkeypatch.setattr(server, "Answering", noted(Answering, victim.answering))
    monkeypatch.setattr(comparing, "Asking", noted(Asking, victim.asking))
    yield victim
    store.close()


sizes = pytest.mark.parametrize(
    "victim",
    [SUITE, pytest.param(SOAK, marks=[pytest.mark.soak, pytest.mark.timeout(1_800)])],
    indirect=True,
)


_ONE_ANSWER = 131_072
"""What is counted when it is done already: one answer, or what is looked up at one go."""


def _allowed_steps(size: int, heard: int = 0) -> int:
    """What the docstring of `effort` says."""
    own = limits.STEPS_PER_ID * size + 2 * limits.STEPS_PER_COLLECTION + limits.SPARE_STEPS
    return own + heard // limits.BYTES_PER_STEP


# --- initiators ---------------------------------------------------------------------------

DIGITS = "0123456789abcdef"


def _somewhere(rng: random.Random, most: int) -> Range:
    return Range(0, "".join(rng.choices(DIGITS, k=rng.randrange(most + 1))))


def _nested(rng: random.Random) -> Iterator[Question]:
    """Overlapping ranges, each within the last, and the same ones in reverse."""
    prefix = "".join(rng.choices(DIGITS, k=60))
    for at in (*range(60), *reversed(range(60))):
        yield AskChildren(Range(0, prefix[:at]), 2, 32)


def _sketches(rng: random.Random, most: int, stop: int) -> Iterator[Question]:
    for _ in range(100):
        yield AskSketch(_somewhere(rng, most), 0, stop, 0, stop)


def _random_questions(rng: random.Random) -> Iterator[Question]:
    for _ in range(100):
        place = _somewhere(rng, 12)
        cells = rng.randrange(2_000)
        questions: list[Question] = [
            AskChildren(place, rng.choice([1, 2]), rng.choice([8, 32])),
            AskList(place, rng.randrange(65)),
            AskSketch(place, rng.randrange(cells + 1), cells, rng.randrange(cells + 1), cells),
        ]
        yield rng.choice(questions)


QUESTIONS: dict[str, Callable[[random.Random], Iterator[Question]]] = {
    "children of everything": lambda rng: iter([AskChildren(Range(0, ""), 2, 32)] * 100),
    "children of ever other ranges": lambda rng: (
        AskChildren(_somewhere(rng, 62), 2, 32) for _ in range(100)
    ),
    "overlapping and reversed": _nested,
    "one bit of each id": lambda rng: (
        AskList(Range(0, rng.choice(DIGITS)), 1) for _ in range(100)
    ),
    "whole lists": lambda rng: (AskList(Range(0, rng.choice(DIGITS)), 0) for _ in range(20)),
    "empty lists": lambda rng: (AskList(Range(0, f"{at:064x}"), 8) for at in range(1_000)),
    "lists too long": lambda rng: iter([AskList(Range(0, ""), 1)] * 1_000),
    "all of a kept sketch": lambda rng: _sketches(rng, 0, CELLS),
    "sketches of ever other ranges": lambda rng: _sketches(rng, 3, 0),
    "empty sketches": lambda rng: (
        AskSketch(Range(0, f"{at:010x}"), 0, 0, 0, 0) for at in range(1_000)
    ),
    "anything": _random_questions,
}

_SHORT = encode_ids(np.arange(1, 2_001, dtype=np.uint64) << np.uint64(50), 64)
WANTS: dict[str, tuple[WireWant, ...]] = {
    "all": ((0, wire_prefix(""), 0, 0, b""),) * 10,
    "by no value": ((0, wire_prefix(""), 64, 0, b""),) * 100,
    "by values of nothing": ((0, wire_prefix(""), 40, 1, encode_ids(np.array([7], np.uint64), 40)),)
    * 100,
    "short ids of nothing": ((0, wire_prefix(""), 100, 2_000, _SHORT),) * 10,
    "whole ids of nothing": ((0, wire_prefix(""), 255, 1_000, some_bytes("ids", length=32_000)),)
    * 10,
}


def _asking_for_ever(
    say: Callable[[Peer, random.Random], Awaitable[None]], passes: int = 1
) -> Callable[[Peer], Awaitable[None]]:
    """As much as is taken, in up to so many passes, listening all the while."""

    async def script(peer: Peer) -> None:
        rng = random.Random(15)
        await greet_as_initiator(peer)
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                while await peer.hear() is not None:
                    peer.heard = [one for one in peer.heard if isinstance(one, m.AbortMessage)]
                nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            for turn in range(1, 1_000_000):
                await say(peer, rng)
                if passes > 1 and not turn % 20 and turn <= 20 * passes:
                    await peer.say(m.Catalog(bytes(16)))
                await trio.sleep(0.001)

    return script


def _count_reconcile(counters: Counters) -> int:
    return counters.sent.get("reconcile", 0) + counters.received.get("reconcile", 0)


def _judge_responder(victim: Victim, what: str, faced: Faced) -> None:
    victim.tell(what, faced)
    assert isinstance(faced.error, PeerError)
    [spent] = victim.answering
    assert spent.steps <= _allowed_steps(victim.size) + _ONE_ANSWER
    out = faced.served.counters.sent.get("reconcile", 0)
    # One message more than is allowed is looked up, and none is sent; the listing is small.
    assert out <= max(2 * 32 * victim.size, limits.MIN_TOLD_BYTES) + 64 * limits.KIB
    assert victim.offload.seconds <= 10 * WORKED_SECONDS, "a step is no microsecond any more"


@sizes
@pytest.mark.parametrize("what", QUESTIONS)
def test_who_asks_for_ever_gets_no_more_than_twice_the_ids(victim: Victim, what: str) -> None:
    async def say(peer: Peer, rng: random.Random) -> None:
        await peer.say(m.Questions(tuple(map(to_wire, QUESTIONS[what](rng)))))

    _judge_responder(victim, what, face_responder(victim.side, _asking_for_ever(say)))


@sizes
def test_every_pass_draws_on_the_same_allowance(victim: Victim) -> None:
    async def say(peer: Peer, rng: random.Random) -> None:
        await peer.say(m.Questions(tuple(map(to_wire, _random_questions(rng)))))

    faced = face_responder(victim.side, _asking_for_ever(say, limits.MAX_PASSES))
    _judge_responder(victim, "anything, in all passes", faced)


@sizes
@pytest.mark.parametrize("what", WANTS)
def test_who_wants_to_be_told_ids_for_ever_is_told_them_twice(victim: Victim, what: str) -> None:
    async def say(peer: Peer, rng: random.Random) -> None:
        await peer.say(m.AskIds(WANTS[what]))

    _judge_responder(victim, f"ids: {what}", face_responder(victim.side, _asking_for_ever(say)))


# --- responders ---------------------------------------------------------------------------


class Liar:
    """A responder that answers each question by a rule, in one pass after another.

    `ids` are those of the victim, which a peer may know very well.
    """

    def __init__(self, ids: list[bytes], claim: int) -> None:
        self.rng = random.Random(15)
        self.ids = ids
        self.claim = claim
        self.key = b""

    async def __call__(self, peer: Peer) -> None:
        greeting = await peer.hear_a(m.Hello)
        await peer.say(HELLO)
        turn = -1
        while (message := await peer.hear()) is not None:
            match message:
                case m.Catalog():
                    turn += 1
                    nonces = greeting.nonce + HELLO.nonce
                    self.key = session_key(greeting.node, HELLO.node, nonces, turn)
                    await peer.say(m.Listed((("notes", self.claim, bytes(16)),)))
                case m.Questions(items):
                    for item in items:
                        given = self.lie(from_wire(item))
                        await peer.say(m.Answers((given.to_wire(),)))
                case m.Want(_, 0):
                    await peer.say(m.Sent())
                case m.Close():
                    await peer.say(m.Closed(bytes(32)))
                case m.AskIds():
                    await peer.say(m.Ids((), 0))
            peer.heard = [one for one in peer.heard if isinstance(one, m.AbortMessage)]

    def lie(self, question: Question) -> Answer:
        """Random bytes of the right shape."""
        match question:
            case AskChildren(_, levels, width):
                counts = tuple(self.rng.randrange(2**40) for _ in range(16**levels))
                return Answer(counts, self.rng.randbytes(width * 16**levels))
            case AskList():
                return self.list(question)
            case AskSketch():
                return self.sketch(question)

    def list(self, question: AskList) -> Answer:
        """Too many to be listed."""
        return Answer((2**40,))

    def sketch(self, question: AskSketch) -> Answer:
        """Cells of noise, with counts that could be."""
        noise = Symbols(
            SketchKey.UNIVERSAL,
            0,
            np.frombuffer(self.rng.randbytes(8 * CELLS), np.uint64).copy(),
            np.frombuffer(self.rng.randbytes(4 * CELLS), np.uint32).copy(),
            self._counts(),
        )
        return answer_sketch(question, noise)

    def _counts(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        some = np.frombuffer(self.rng.randbytes(8 * CELLS), np.uint64)
        counts = (some % np.uint64(self.claim + 1)).astype(np.int64)
        counts[0] = self.claim
        return counts


class Random(Liar):
    """Random fingerprints and counts."""


class Forger(Liar):
    """Everything differs, and of each range that the victim has something of, more is there
    than can be listed; of all others, nothing: so that no level is the last."""

    def __init__(self, ids: list[bytes], claim: int) -> None:
        super().__init__(ids, claim)
        self.view = ListView(ids)

    def lie(self, question: Question) -> Answer:
        if not isinstance(question, AskChildren):
            return super().lie(question)
        prefix, levels = question.range.prefix, question.levels
        has = {row.tobytes().hex()[: len(prefix) + levels] for row in self.view.ids(prefix)}
        below = [f"{prefix}{at:0{levels}x}" for at in range(16**levels)]
        counts = tuple(self.claim if each in has else 0 for each in below)
        return Answer(counts, self.rng.randbytes(question.width * 16**levels))


class Twin(Forger):
    """As many as the victim has of each range, and another digest: every label is computed."""

    def lie(self, question: Question) -> Answer:
        if isinstance(question, AskChildren):
            prefix, levels = question.range.prefix, question.levels
            below = (f"{prefix}{at:0{levels}x}" for at in range(16**levels))
            counts = tuple(len(self.view.ids(each)) for each in below)
            return Answer(counts, self.rng.randbytes(question.width * 16**levels))
        return super().lie(question)


class Lister(Forger):
    """Of each range there are as many as a list holds, none of them the victim's."""

    def list(self, question: AskList) -> Answer:
        count = 16_384
        if not question.bits:
            return Answer((count,), self.rng.randbytes(32 * count))
        some = np.frombuffer(self.rng.randbytes(8 * count), np.uint64)
        return Answer(
            (count,), encode_ids(np.sort(some >> np.uint64(64 - question.bits)), question.bits)
        )


class Agreeing(Liar):
    """All children are as the victim's, whose parent was not: asked again, and for ever."""

    def lie(self, question: Question) -> Answer:
        if isinstance(question, AskChildren):
            return answer(question, {0: ListView(self.ids)}, self.key, Held())
        return super().lie(question)


class Crafted(Liar):
    """The sketch of the victim's own set with cells on top in which peeling runs in circles."""

    crafted: Callable[[Symbols], None]

    def __init__(self, ids: list[bytes], claim: int) -> None:
        super().__init__(ids, claim)
        self.whole = encode(_short(ids), 0, CELLS, SketchKey.UNIVERSAL)
        type(self).crafted(self.whole)

    def sketch(self, question: AskSketch) -> Answer:
        if question.range.prefix:
            return super().sketch(question)
        return answer_sketch(question, self.whole)


def _short(ids: list[bytes]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array([int.from_bytes(id_[:8], "big") for id_ in ids], np.uint64)


def _put(symbols: Symbols, cell: int, id_: int, sign: int) -> None:
    """One id in one cell, wherever else it belongs."""
    ids = np.array([id_], np.uint64)
    symbols.sums[cell] ^= ids[0]
    symbols.checks[cell] ^= symbols.key.checksums(ids)[0]
    symbols.counts[cell] += sign


class InCircles(Crafted):
    """Attack A: x alone in a cell, and missing from the others that it maps to."""

    @staticmethod
    def crafted(symbols: Symbols) -> None:
        for id_ in range(1, 2_000):
            seeds = symbols.key.seeds(np.array([id_], np.uint64))
            cells = np.concatenate([cells for _, cells in hits(seeds, 0, CELLS)])
            _put(symbols, int(cells[-1]), id_, 1)


class BothSigns(Crafted):
    """Attack B: x and -y in cells where each is the only one."""

    @staticmethod
    def crafted(symbols: Symbols) -> None:
        for at, id_ in enumerate(range(1, 2_000)):
            _put(symbols, 1 + at, id_, 1 if at % 2 else -1)


LIARS: dict[str, tuple[type[Liar], int]] = {
    "random": (Random, 0),
    "random, of endless sets": (Random, 2**40),
    "endless children": (Forger, 2**40),
    "endless children, modest": (Forger, 30_000),
    "always different": (Twin, 0),
    "endless lists": (Lister, 30_000),
    "always the same": (Agreeing, 0),
    "in circles": (InCircles, 0),
    "both signs": (BothSigns, 0),
}


@sizes
@pytest.mark.parametrize("sketches", [True, False], ids=["sketches", "splits"])
@pytest.mark.parametrize("what", LIARS)
def test_who_lies_about_a_set_keeps_us_no_longer_than_its_size(
    victim: Victim, what: str, sketches: bool
) -> None:
    kind, claim = LIARS[what]
    liar = kind(victim.ids, claim or victim.size)
    faced = face_initiator(victim.side, liar, Options(sketches=sketches))
    victim.tell(f"{what}{'' if sketches else ', by splits'}", faced)
    assert faced.error is None or isinstance(faced.error, PeerError)
    # Who agrees with everything could have said SAME at once, and is believed either way.
    assert issubclass(kind, Agreeing) or not faced.report.in_sync
    [spent] = victim.asking
    heard = faced.report.counters.received.get("reconcile", 0)
    # An empty answer is counted as 12 bytes, and takes 4 on the wire.
    assert spent.allowed <= _allowed_steps(victim.size, 3 * heard)
    assert spent.steps <= spent.allowed + _ONE_ANSWER
    assert faced.report.round_trips <= (limits.MAX_PASSES + 1) * (limits.MAX_ROUNDS + 2)
    assert victim.offload.seconds <= 10 * WORKED_SECONDS, "a step is no microsecond any more"


# --- and others meanwhile -----------------------------------------------------------------


@sizes
@pytest.mark.parametrize("what", ["anything", "one bit of each id", "all of a kept sketch"])
def test_an_honest_sync_meanwhile_takes_what_it_takes_alone(victim: Victim, what: str) -> None:
    """As many rounds and bytes, and at most twice the time on a line of 50 ms a message."""
    other = MemoryStore(leaf_capacity=32)
    other.add_many([*_entries(victim.size // 100), *entries(20)])

    async def say(peer: Peer, rng: random.Random) -> None:
        await peer.say(m.Questions(tuple(map(to_wire, QUESTIONS[what](rng)))))

    async def timed() -> tuple[Met, float]:
        started = trio.current_time()
        options = Options(dry_run=True)  # which leaves both sets as they are
        met = await meet(Side(other), victim.side, options, streams=_slow_line())
        return met, trio.current_time() - started

    async def main() -> None:
        alone, seconds = await timed()
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(_be_attacked, victim.side, _asking_for_ever(say))
            beside, later = await timed()
        for met in (alone, beside):
            assert met.error is None
            assert met.their_error is None
            assert met.report.missing_there == 20
        assert beside.report.round_trips == alone.report.round_trips
        assert _count_reconcile(beside.report.counters) == _count_reconcile(alone.report.counters)
        assert seconds <= later <= 2 * seconds

    simulate(main)


def _slow_line() -> StreamPair:
    """Memory streams on which whatever is handed over takes 50 ms."""
    here, there = trio.testing.memory_stream_pair()

    for stream in (here, there):
        pass_on = stream.send_stream.send_all_hook
        assert pass_on is not None
        stream.send_stream.send_all_hook = partial(_later, pass_on)
    return here, there


async def _later(pass_on: Callable[[], Awaitable[object]]) -> None:
    await trio.sleep(0.05)
    await pass_on()


async def _be_attacked(side: Side, script: Callable[[Peer], Awaitable[None]]) -> None:
    """A session with a peer that follows a script."""
    here, there = trio.testing.memory_stream_pair()
    peer = Peer(there)
    async with opened(side, NODES[1]) as local, trio.open_nursery() as nursery:
        nursery.start_soon(script, peer)
        with pytest.raises(PeerError):
            await run_responder(here, local)
