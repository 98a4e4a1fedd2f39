"""Little that a peer says, and much that it would make us do.

**Promise:** what comes is looked at off the event loop where there is much of it, is charged for
what it takes, and a long catalogue is made ready once and not for each question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
import trio
import trio.testing

from setsync import limits
from setsync.errors import Abort, PeerError
from setsync.model.entry import Entry, UnverifiedEntry
from setsync.node import server
from setsync.node.client import Options, run_initiator
from setsync.node.greeting import Agreement
from setsync.node.local import Local
from setsync.node.progress import Progress
from setsync.node.server import run_responder
from setsync.reconcile.catalogue import Catalogue
from setsync.reconcile.questions import AskChildren, AskSketch, Question, Range, to_wire
from setsync.reconcile.view import ListView
from setsync.reconcile.wants import ALL
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.helpers import entries
from tests.node.ends import (
    EMPTY_CATALOG,
    HELLO,
    NODES,
    Faced,
    Peer,
    Script,
    Side,
    face_initiator,
    face_responder,
    meet,
    opened,
    simulate,
)

T = TypeVar("T")

MANY = 1_000


def _many(n: int = MANY) -> MemoryStore:
    """A store with one entry in each of so many collections."""
    store = MemoryStore()
    store.add_many([entry for at in range(n) for entry in entries(1, f"c/{at}")])
    return store


class Watched:
    """An offload that knows what runs in it and what, of what is watched, does not."""

    def __init__(self) -> None:
        self.is_inside = False
        self.inside: list[str] = []
        self.on_the_loop: list[str] = []

    async def __call__(self, work: Callable[..., T], *arguments: object) -> T:
        await trio.lowlevel.checkpoint()
        self.is_inside = True
        try:
            return work(*arguments)
        finally:
            self.is_inside = False

    def watch(self, monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> None:
        """Note each call of a method."""
        method = getattr(kind, name)

        def noted(*arguments: object) -> object:
            (self.inside if self.is_inside else self.on_the_loop).append(name)
            return method(*arguments)

        monkeypatch.setattr(kind, name, noted)


# --- long catalogues ----------------------------------------------------------------------


def test_a_long_catalogue_is_described_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched()
    for name in ("digest", "hashes", "listing", "part"):
        watched.watch(monkeypatch, Catalogue, name)
    watched.watch(monkeypatch, ListView, "__init__")
    here, there = _many(100), _many(100)
    here.add_many(entries(3, "only here"))
    there.add_many(entries(3, "c/7", seed=1))
    sides = Side(here, offload=watched), Side(there, offload=watched)
    met = simulate(meet, *sides, Options())
    assert (met.error, met.their_error, met.report.in_sync) == (None, None, True)
    assert {"digest", "hashes", "listing", "part", "__init__"} <= {*watched.inside}
    assert not watched.on_the_loop


def _comparing_for_ever(*messages: m.Message) -> Script:
    async def script(peer: Peer) -> None:
        await peer.say(HELLO)
        await peer.hear_a(m.Hello)
        await peer.say(EMPTY_CATALOG)
        await peer.hear_a(m.Many)
        for _ in range(100_000):
            await peer.say(*messages)
            answer = await peer.hear()
            if answer is None or isinstance(answer, m.AbortMessage):
                return
            peer.heard.clear()

    return script


def _refused(faced: Faced) -> None:
    assert isinstance(faced.error, PeerError)
    assert faced.abort is not None
    assert faced.abort.code == Abort.TOO_LARGE


QUESTIONS: dict[str, Question] = {
    "children": AskChildren(Range(0, ""), 1, 8),
    "sketch": AskSketch(Range(0, ""), 0, 0, 0, 0),
}


@pytest.mark.parametrize("what", QUESTIONS)
def test_questions_about_a_long_catalogue_one_a_message_are_charged_for_the_whole_of_it(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of its hashes is sorted once, and each answer reads as much of it as it says."""
    made: list[ListView] = []

    def noted(ids: list[bytes]) -> ListView:
        made.append(ListView(ids))
        return made[-1]

    monkeypatch.setattr(server, "ListView", noted)
    question = m.Questions((to_wire(QUESTIONS[what]),))
    faced = face_responder(_many(), _comparing_for_ever(question))
    _refused(faced)
    assert len(made) == 1
    allowed = limits.SPARE_STEPS + (limits.STEPS_PER_ID + limits.STEPS_PER_COLLECTION) * MANY
    received = faced.served.counters.received["reconcile"]
    assert received // len(m.pack(question)) <= allowed / MANY


def test_all_names_are_told_no_oftener_than_they_are_charged_for() -> None:
    everything = (0, b"\x00", ALL, 0, b"")
    asked = m.AskNames((everything,) * 4_096)
    _refused(face_responder(_many(), _comparing_for_ever(asked)))


# --- names --------------------------------------------------------------------------------

DEEP = [("/".join("a" * 120) + f"/{at:05}", 1, bytes(16)) for at in range(10_000)]


def test_listed_names_are_looked_at_off_the_event_loop_and_charged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Watched()
    watched.watch(monkeypatch, Agreement, "is_mutual")

    async def script(peer: Peer) -> None:
        await peer.hear_a(m.Hello)
        await peer.say(HELLO)
        await peer.hear_a(m.Catalog)
        for at in range(0, len(DEEP), 2_500):
            await peer.say(m.Listing(tuple(DEEP[at : at + 2_500])))

    faced = face_initiator(Side(MemoryStore(), offload=watched), script)
    _refused(faced)
    assert len(watched.inside) < len(DEEP)
    assert not watched.on_the_loop


def test_sixty_thousand_collections_of_ordinary_names_are_listed() -> None:
    """What is charged for names is nothing to somebody who has that many."""
    listed = [(f"homes/{at:08}/log", 1, bytes(16)) for at in range(60_000)]

    async def script(peer: Peer) -> None:
        await peer.hear_a(m.Hello)
        await peer.say(HELLO)
        await peer.hear_a(m.Catalog)
        for at in range(0, 60_000, 4_000):
            await peer.say(m.Listing(tuple(listed[at : at + 4_000])))
        await peer.say(m.Listed(()))
        await peer.hear_a(m.Done)

    faced = face_initiator(MemoryStore(), script, Options(dry_run=True, peek=True))
    assert len(faced.report.differing) == 60_000


# --- a limit that changes meanwhile -------------------------------------------------------


def test_a_session_takes_what_its_hello_said_although_the_setting_has_changed() -> None:
    """Both nodes are told to take no payloads any more while they talk; neither is to blame."""
    here, there = MemoryStore(), MemoryStore()
    mine, theirs = entries(20), entries(20, seed=1)
    here.add_many(mine[:10])
    there.add_many(theirs[:10])

    async def main() -> None:
        near, far = trio.testing.memory_stream_pair()
        async with (
            opened(Side(here), NODES[0]) as local,
            opened(Side(there), NODES[1]) as remote,
            trio.open_nursery() as nursery,
        ):

            def lower(progress: Progress) -> None:
                if progress.phase == "comparing":
                    local.max_payload = remote.max_payload = 0
                if progress.phase == "live":
                    nursery.start_soon(_put, local, mine[10:])
                    nursery.start_soon(_put, remote, theirs[10:])

            nursery.start_soon(run_responder, far, remote)
            await run_initiator(near, local, Options(live=10), lower)

    simulate(main)
    for store in (here, there):
        with store.snapshot() as snapshot:
            payloads = [entry.payload for entry in snapshot.since(0, 100)]
        assert len(payloads) == 40
        assert None not in payloads


async def _put(local: Local, some: Sequence[Entry]) -> None:
    bare = [UnverifiedEntry(entry.collection, entry.header, entry.payload) for entry in some]
    await local.writer.submit(bare)
