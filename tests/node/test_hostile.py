"""Peers that do everything wrong: each gets its own clear refusal, nothing of theirs is stored,
the session ends, and what ends it is a `PeerError` and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from setsync import limits
from setsync.errors import (
    Abort,
    LocalError,
    PeerError,
    PeerGoneError,
    PeerRefusedError,
    PeerTimeoutError,
    PeerVersionError,
    SetsyncError,
)
from setsync.model.collection import Pattern
from setsync.model.entry import Entry, make_entry
from setsync.node.client import Options
from setsync.reconcile.idlist import encode_ids
from setsync.session.table import Role
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from setsync.wire.framing import pack_frame
from tests.helpers import MIDNIGHT, entries, keys, some_bytes
from tests.node.ends import (
    EMPTY_CATALOG,
    HELLO,
    Faced,
    Peer,
    Script,
    Side,
    face_initiator,
    face_responder,
    greet_as_initiator,
    greet_as_responder,
    members,
)

ROOT = b"\x00"
EVERYTHING = (0, ROOT, 0, 0, b"")


def _store(n: int = 3) -> MemoryStore:
    store = MemoryStore()
    store.add_many(entries(n))
    return store


def _as_sent(entry: Entry) -> tuple[bytes, bytes | int | None]:
    return entry.header, entry.payload


def _refused(faced: Faced, abort: Abort = Abort.PROTOCOL) -> None:
    """The session ended with a PeerError and the peer was told why."""
    assert isinstance(faced.error, PeerError), faced.error
    assert faced.abort is not None, "the peer was not told"
    assert faced.abort.code == abort
    assert faced.error.message.startswith(faced.abort.sentence)


# --- entries ------------------------------------------------------------------------------

(NEW,) = entries(1, "notes", seed=5)
(ELSEWHERE,) = entries(1, "elsewhere", seed=5)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


BAD_ENTRIES: dict[str, m.Message] = {
    "signature": m.Entries((("notes", ((_flipped(NEW.header, -1 % len(NEW.header)), b"x"),)),)),
    "payload": m.Entries((("notes", ((NEW.header, b"another"),)),)),
    "author": m.Entries((("notes", ((_flipped(NEW.header, 5), NEW.payload),)),)),
    "tag": m.Entries((("notes", ((b"\x77" + NEW.header[1:], NEW.payload),)),)),
    "a header of one byte": m.Entries((("notes", ((b"\x53", b""),)),)),
    "wrong collection": m.Entries((("notes", (_as_sent(ELSEWHERE),)),)),
    "a good one and a bad one": m.Entries(
        (("notes", (_as_sent(NEW), (_flipped(NEW.header, 40), NEW.payload))),)
    ),
    "unasked collection": m.Entries((("elsewhere", (_as_sent(ELSEWHERE),)),)),
    "no collection": m.Entries((("", (_as_sent(NEW),)),)),
    "nothing": m.Entries(()),
    "nothing of a collection": m.Entries((("notes", ()),)),
    "two collections": m.Entries((("notes", (_as_sent(NEW),)),) * 2),
    "one entry twice": m.Entries((("notes", (_as_sent(NEW),) * 2),)),
    "one entry twice, once without its payload": m.Entries(
        (("notes", (_as_sent(NEW), (NEW.header, None))),)
    ),
    "a piece of nothing": m.Piece(0, b"x"),
}


@pytest.mark.parametrize("what", BAD_ENTRIES)
def test_a_responder_refuses_bad_entries_and_stores_nothing(what: str) -> None:
    store = _store()
    before = members(store)

    async def script(peer: Peer) -> None:
        await greet_as_initiator(peer)
        await peer.say(m.Totals(1, 0), m.Want((), 0), BAD_ENTRIES[what], m.Sent())

    _refused(face_responder(Side(store, interests=["notes"]), script))
    assert members(store) == before


@pytest.mark.parametrize("what", BAD_ENTRIES)
def test_an_initiator_refuses_bad_entries_and_stores_nothing(what: str) -> None:
    store = _store()
    before = members(store)
    _refused(
        face_initiator(
            Side(store), _serving(BAD_ENTRIES[what]), Options(interests=(Pattern("notes"),))
        )
    )
    assert members(store) == before


def _serving(*messages: m.Message) -> Script:
    """A responder that has all of a collection and sends these when it is asked for it."""

    async def script(peer: Peer) -> None:
        await greet_as_responder(peer, [("notes", 5)])
        questions = await peer.hear_a(m.Questions)
        ((kind, *_, (bits,)),) = questions.items
        assert kind == 2, "a small set is compared by a list"
        values = encode_ids(np.arange(1, 6, dtype=np.uint64), bits)
        await peer.say(m.Answers((((5,), values),)))
        await peer.hear_a(m.Totals)
        await peer.say(*messages)

    return script


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(NEW.header) - 1), st.integers(1, 255))
def test_no_flipped_bit_of_a_header_gets_in(at: int, mask: int) -> None:
    header = NEW.header[:at] + bytes([NEW.header[at] ^ mask]) + NEW.header[at + 1 :]
    store = MemoryStore()

    async def script(peer: Peer) -> None:
        await greet_as_initiator(peer)
        await peer.say(m.Totals(1, 0), m.Want((), 0))
        await peer.say(m.Entries((("notes", ((header, NEW.payload),)),)), m.Sent())

    _refused(face_responder(store, script))
    assert not members(store)


# --- payloads and their pieces ------------------------------------------------------------


def _large(size: int) -> Entry:
    return make_entry(keys(1)[0], "notes", bytes(size), MIDNIGHT)


PIECE = limits.PAYLOAD_PIECE
LARGE = _large(PIECE + 1)
BAD_PIECES: dict[str, list[m.Message]] = {
    "wrong offset": [m.Piece(1, bytes(PIECE))],
    "overlapping": [m.Piece(0, bytes(PIECE)), m.Piece(PIECE - 1, bytes(2))],
    "too much": [m.Piece(0, bytes(PIECE)), m.Piece(PIECE, bytes(2))],
    "an entry between": [m.Piece(0, bytes(PIECE)), m.Entries((("notes", (_as_sent(NEW),)),))],
    "end before the last": [m.Piece(0, bytes(PIECE)), m.Sent()],
    "close before the last": [m.Piece(0, bytes(PIECE)), m.Close(bytes(32))],
    "other bytes": [m.Piece(0, bytes(PIECE)), m.Piece(PIECE, b"!"), m.Sent()],
}


@pytest.mark.parametrize("what", BAD_PIECES)
def test_pieces_that_do_not_fit_are_refused(what: str) -> None:
    store = MemoryStore()

    async def script(peer: Peer) -> None:
        await greet_as_initiator(peer)
        await peer.say(m.Totals(1, 0), m.Want((), 0))
        await peer.say(m.Entries((("notes", ((LARGE.header, PIECE + 1),)),)), *BAD_PIECES[what])

    _refused(face_responder(store, script))
    assert not members(store)


@pytest.mark.parametrize("payload", [bytes(101), 101])
def test_a_payload_over_this_nodes_limit_is_refused_as_too_large(payload: bytes | int) -> None:
    entry = _large(101)

    async def script(peer: Peer) -> None:
        await greet_as_initiator(peer)
        await peer.say(m.Totals(1, 0), m.Want((), 0))
        await peer.say(m.Entries((("notes", ((entry.header, payload),)),)))

    store = MemoryStore()
    _refused(face_responder(Side(store, max_payload=100), script), Abort.TOO_LARGE)
    assert not members(store)


def test_entries_after_the_last_one_are_refused() -> None:
    async def script(peer: Peer) -> None:
        await greet_as_initiator(peer)
        await peer.say(m.Totals(1, 0), m.Want((), 0), m.Sent())
        await peer.say(m.Entries((("notes", (_as_sent(NEW),)),)))

    _refused(face_responder(MemoryStore(), script))


# --- greeting -----------------------------------------------------------------------------


def _hello(**fields: object) -> m.Hello:
    values = {name: getattr(HELLO, name) for name in HELLO.__slots__} | fields
    return m.Hello(**values)


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("160301020001"),
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
    "length 0": b"\0\0\0\0\x01",
    "over the ceiling": (2**20 + 2).to_bytes(4, "big") + b"\x0d",
    "a hello over its ceiling": (2**16 + 2).to_bytes(4, "big") + b"\x01",
    "noise": some_bytes("noise", length=500),
    "not msgpack": pack_frame(1, b"\xc1"),
    "no fields": pack_frame(1, b"\x90"),
    "a map": pack_frame(1, b"\x80"),
    "deep": pack_frame(1, b"\x91" * 60_000),
    "wide and deep": pack_frame(1, b"\xdc\x10\x00" * 900),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_refused_by_both_ends(what: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.say_bytes(GARBAGE[what])

    for faced in (face_responder(MemoryStore(), script), face_initiator(MemoryStore(), script)):
        assert isinstance(faced.error, PeerError)
        assert faced.abort is not None
        assert faced.seconds < 4


@pytest.mark.parametrize("versions", [(), (0,), (2, 3)])
def test_a_peer_of_another_version_is_told_so(versions: tuple[int, ...]) -> None:
    async def as_initiator(peer: Peer) -> None:
        await peer.say(_hello(versions=versions))

    async def as_responder(peer: Peer) -> None:
        await peer.hear_a(m.Hello)
        await peer.say(_hello(versions=versions))

    for faced in (
        face_responder(MemoryStore(), as_initiator),
        face_initiator(MemoryStore(), as_responder),
    ):
        _refused(faced, Abort.VERSION)
        assert isinstance(faced.error, PeerVersionError)


@pytest.mark.parametrize("interest", ["", "a//b", "a*", "/", "tab\t"])
def test_interests_that_are_no_patterns_are_refused(interest: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.say(_hello(interests=(interest,)))

    _refused(face_responder(MemoryStore(), script))


SLOW = ("/".join(["**", "a"] * 80) + "/b",)


@pytest.mark.parametrize("field", ["interests", "shares", "without"])
def test_patterns_of_more_segments_than_anybody_needs_are_refused(field: str) -> None:
    greeting = _hello(**{field: SLOW * 7})

    async def as_initiator(peer: Peer) -> None:
        await peer.say(greeting)

    async def as_responder(peer: Peer) -> None:
        await peer.hear_a(m.Hello)
        await peer.say(greeting)

    for faced in (
        face_responder(MemoryStore(), as_initiator),
        face_initiator(MemoryStore(), as_responder),
    ):
        _refused(faced, Abort.TOO_LARGE)


def test_patterns_made_to_be_slow_are_looked_at_like_others() -> None:
    store = MemoryStore()
    store.add_many(entries(1, "/".join("a" * 120)))

    async def script(peer: Peer) -> None:
        await peer.say(_hello(interests=SLOW * 6, without=SLOW * 6))
        await peer.hear_a(m.Hello)
        await peer.say(EMPTY_CATALOG)
        assert not (await peer.hear_a(m.Listed)).collections
        await peer.say(m.Done())

    assert face_responder(store, script).error is None


# --- out of turn, and questions that make no sense ----------------------------------------

NO_SENSE: dict[str, m.Message] = {
    "unknown kind": m.Questions(((9, 0, ROOT, (8,)),)),
    "no arguments": m.Questions(((2, 0, ROOT, ()),)),
    "too many arguments": m.Questions(((2, 0, ROOT, (8, 8)),)),
    "a list of too many bits": m.Questions(((2, 0, ROOT, (65,)),)),
    "unknown collection": m.Questions(((2, 1, ROOT, (8,)),)),
    "a collection far away": m.Questions(((2, 2**32 - 1, ROOT, (8,)),)),
    "three levels": m.Questions(((1, 0, ROOT, (3, 8)),)),
    "no level": m.Questions(((1, 0, ROOT, (0, 8)),)),
    "a strange width": m.Questions(((1, 0, ROOT, (1, 9)),)),
    "a sketch without end": m.Questions(((3, 0, ROOT, (0, 2**31, 0, 2**31)),)),
    "a sketch that ends before it starts": m.Questions(((3, 0, ROOT, (9, 8, 0, 9)),)),
    "sums whose counts are not asked for": m.Questions(((3, 0, ROOT, (0, 9, 0, 8)),)),
    "a prefix of 65 digits": m.Questions(((2, 0, b"\x41" + bytes(32), (8,)),)),
    "a prefix with a tail": m.Questions(((2, 0, b"\x01\x0f", (8,)),)),
    "a prefix too short": m.Questions(((2, 0, b"\x03\x0f", (8,)),)),
    "children below the last digit": m.Questions(((1, 0, b"\x40" + bytes(32), (1, 8)),)),
    "ids of an unknown collection": m.AskIds(((7, ROOT, 0, 0, b""),)),
    "ids of a strange kind": m.AskIds(((0, ROOT, 99, 1, bytes(8)),)),
    "half an id": m.AskIds(((0, ROOT, 255, 1, bytes(31)),)),
    "more values than there are": m.AskIds(((0, ROOT, 64, 2, bytes(8)),)),
    "fewer values than there are": m.AskIds(((0, ROOT, 64, 0, bytes(8)),)),
    "all, and yet values": m.AskIds(((0, ROOT, 0, 1, bytes(8)),)),
    "ids of a bad prefix": m.AskIds(((0, b"\x41", 0, 0, b""),)),
}


@pytest.mark.parametrize("what", NO_SENSE)
def test_a_question_that_makes_no_sense_is_refused(what: str) -> None:
    async def script(peer: Peer) -> None:
        await greet_as_initiator(peer)
        await peer.say(NO_SENSE[what])

    _refused(face_responder(_store(), script))


WANTS_NO_SENSE: dict[str, list[m.Message]] = {
    "unknown collection": [m.Want(((7, ROOT, 0, 0, b""),), 0)],
    "strange kind": [m.Want(((0, ROOT, 99, 1, bytes(9)),), 0)],
    "bad prefix": [m.Want(((0, b"\x41", 0, 0, b""),), 0)],
    "a want after the last": [m.Want((), 0), m.Want((), 0)],
    "two wants after the last": [m.Want((), 0), m.Want((), 1), m.Want((), 0)],
    "closed too early": [m.Want((), 1), m.Sent(), m.Close(bytes(32))],
    "closed without wants": [m.Close(bytes(32))],
    "entries that were not announced": [m.Entries((("notes", (_as_sent(NEW),)),))],
    "a second hello": [HELLO],
    "totals twice": [m.Totals(0, 0)],
    "done in the middle": [m.Done()],
    "a question in the middle": [m.Questions(((2, 0, ROOT, (8,)),))],
}


@pytest.mark.parametrize("what", WANTS_NO_SENSE)
def test_a_transfer_out_of_order_is_refused(what: str) -> None:
    store = _store()
    before = members(store)

    async def script(peer: Peer) -> None:
        await greet_as_initiator(peer)
        await peer.say(m.Totals(0, 0), *WANTS_NO_SENSE[what])

    _refused(face_responder(store, script))
    assert members(store) == before


NOTHING = np.array([5], np.uint64)


def test_values_of_nothing_name_nothing() -> None:
    async def script(peer: Peer) -> None:
        await greet_as_initiator(peer)
        await peer.say(
            m.AskIds(((0, ROOT, 64, 1, encode_ids(NOTHING, 64)), (0, ROOT, 255, 10, bytes(320))))
        )
        assert await peer.hear_a(m.Ids) == m.Ids((), 0)
        await peer.say(m.Done())

    assert face_responder(_store(), script).error is None


# --- budgets ------------------------------------------------------------------------------


ENDLESS: dict[str, m.Message] = {
    "whole lists": m.Questions(((2, 0, ROOT, (0,)),) * 1000),
    "lists": m.Questions(((2, 0, ROOT, (20,)),) * 1000),
    "lists of nothing": m.Questions(((2, 0, b"\x40" + bytes(32), (8,)),) * 1400),
    "children": m.Questions(((1, 0, ROOT, (2, 32)),) * 100),
    "sketches": m.Questions(((3, 0, ROOT, (0, 500, 0, 500)),) * 100),
    "sketches of nothing": m.Questions(((3, 0, b"\x01\xf0", (0, 0, 0, 0)),) * 100),
    "sketches of ever other ranges": m.Questions(
        tuple((3, 0, bytes([2, at]), (0, 0, 0, 0)) for at in range(256))
    ),
    "ids": m.AskIds((EVERYTHING,) * 100),
    "ids of values of nothing": m.AskIds(((0, ROOT, 255, 1_000, bytes(32_000)),)),
    "ids of no values": m.AskIds(((0, ROOT, 64, 0, b""),) * 1000),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_a_session_that_asks_for_ever_is_ended(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little each question costs, a pass answers only so many."""
    monkeypatch.setattr(limits, "ROUND_ANSWER_BYTES", 64 * limits.KIB)

    async def script(peer: Peer) -> None:
        await greet_as_initiator(peer)
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                while await peer.hear() is not None:
                    peer.heard = peer.heard[-1:]
                nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            while True:
                await peer.say(ENDLESS[what])
                await trio.sleep(0.01)

    faced = face_responder(_store(40), script)
    assert isinstance(faced.error, PeerError)
    assert "More was asked" in faced.error.message


def test_what_nobody_lacks_twice_is_not_sent_again_and_again() -> None:
    """A want that repeats a range of large entries is served about twice, not 4096 times."""
    store = MemoryStore()
    store.add_many([_large(50_000), *entries(3)])

    async def script(peer: Peer) -> None:
        await greet_as_initiator(peer)
        await peer.say(m.Totals(0, 0), m.Want((EVERYTHING,) * 4096, 0))

    faced = face_responder(store, script)
    _refused(faced, Abort.TOO_LARGE)
    assert faced.served.entries_sent <= 3 * 4


def test_a_label_that_is_wanted_many_times_is_sent_once() -> None:
    store = _store(1)
    ids = entries(1)[0].id * 1000

    async def script(peer: Peer) -> None:
        await greet_as_initiator(peer)
        await peer.say(m.Totals(0, 0), m.Want(((0, ROOT, 255, 1_000, ids),), 0), m.Sent())
        await peer.hear_a(m.Sent)
        await peer.say(m.Close(bytes(32)))
        await peer.hear_a(m.Closed)
        await peer.say(m.Done())

    faced = face_responder(store, script)
    assert faced.error is None
    assert faced.served.entries_sent == 1


def test_passes_without_end_are_refused() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(HELLO)
        for _ in range(20):
            await peer.say(EMPTY_CATALOG)

    _refused(face_responder(_store(), script))


# --- a responder that lies ----------------------------------------------------------------


def _endless_listing(part: m.Message) -> Script:
    async def script(peer: Peer) -> None:
        await peer.hear_a(m.Hello)
        await peer.say(HELLO)
        for _ in range(200):
            await peer.say(part)

    return script


def _names(start: int) -> m.Listing:
    return m.Listing(tuple((f"n{start + i}", 1, bytes(16)) for i in range(4096)))


LYING: dict[str, Script] = {
    "empty listings": _endless_listing(m.Listing(())),
    "the same collection": _endless_listing(_names(0)),
    "out of turn": _endless_listing(m.Closed(bytes(32))),
    "answers nobody asked for": _endless_listing(m.Answers((((), b""),))),
}


@pytest.mark.parametrize("what", LYING)
def test_a_responder_that_lists_without_sense_is_refused(what: str) -> None:
    _refused(face_initiator(_store(), LYING[what]))


def test_a_listing_of_too_many_collections_is_refused() -> None:
    async def script(peer: Peer) -> None:
        await peer.hear_a(m.Hello)
        await peer.say(HELLO)
        for at in range(0, 80_000, 4096):
            await peer.say(_names(at))

    _refused(face_initiator(_store(), script))


def test_a_collection_that_was_not_asked_for_may_not_be_listed() -> None:
    async def script(peer: Peer) -> None:
        await greet_as_responder(peer, [("secrets", 1)])

    _refused(face_initiator(_store(), script, Options(interests=(Pattern("notes"),))))


ANSWERS: dict[str, tuple[tuple[int, ...], bytes]] = {
    "no count": ((), bytes(7)),
    "two counts": ((1, 2), b""),
    "more ids than bytes": ((9,), bytes(4)),
    "fewer ids than bytes": ((1,), bytes(400)),
    "too many and yet a list": ((1_000_000,), bytes(8)),
    "children": ((1,) * 16, bytes(128)),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_that_does_not_fit_its_question_is_refused(what: str) -> None:
    async def script(peer: Peer) -> None:
        await greet_as_responder(peer, [("notes", 3)])
        questions = await peer.hear_a(m.Questions)
        await peer.say(m.Answers((ANSWERS[what],) * len(questions.items)))

    _refused(face_initiator(_store(), script))


@pytest.mark.parametrize("counts", [(2**40,), (2**40, 2**40), (2**40,) * 4096])
def test_claims_of_endless_sets_are_no_more_than_claims(counts: tuple[int, ...]) -> None:
    """Counts that no store could hold add up without harm; nothing comes, and that is all."""

    async def script(peer: Peer) -> None:
        await greet_as_responder(peer, [(f"c{at}", count) for at, count in enumerate(counts)])
        await peer.hear_a(m.Totals)

    faced = face_initiator(_store(), script)
    assert isinstance(faced.error, PeerTimeoutError)
    assert faced.report.missing_here == sum(counts)


def _lie(item: tuple[int, int, bytes, tuple[int, ...]]) -> tuple[tuple[int, ...], bytes]:
    """An answer of the right shape by which everything differs, endlessly."""
    match item:
        case (1, _, _, (levels, width)):
            return (2**40,) * 16**levels, some_bytes(item, length=width * 16**levels)
        case (2, _, _, _):
            return (2**40,), b""
        case (_, _, _, (start, stop, known, counted)):
            cells = (stop - start) * 12
            return (2**40,), some_bytes(item, length=cells + 6 * (counted - known))
    raise AssertionError(item)


async def _liar(peer: Peer) -> None:
    await greet_as_responder(peer, [("notes", 2**40)])
    while (message := await peer.hear()) is not None:
        if isinstance(message, m.Questions):
            for item in message.items:
                await peer.say(m.Answers((_lie(item),)))
        peer.heard = [each for each in peer.heard if isinstance(each, m.AbortMessage)]


@pytest.mark.parametrize("mine", [0, 3, 30])
def test_a_set_that_differs_everywhere_for_ever_comes_to_an_end(mine: int) -> None:
    faced = face_initiator(_store(mine), _liar)
    assert isinstance(faced.error, SetsyncError)


def test_answers_of_many_megabytes_are_refused_before_they_are_held() -> None:
    lie = bytes(900_000)

    async def script(peer: Peer) -> None:
        names = [(f"c{i}", 3) for i in range(40)]
        await greet_as_responder(peer, names)
        await peer.hear_a(m.Questions)
        for _ in range(40):
            await peer.say(m.Answers((((3,), lie),)))

    store = MemoryStore()
    store.add_many([entry for i in range(40) for entry in entries(1, f"c{i}")])
    faced = face_initiator(store, script)
    _refused(faced, Abort.TOO_LARGE)
    assert faced.report.counters.received["reconcile"] < limits.MAX_ROUND_ANSWER_BYTES + 2**21


@pytest.mark.parametrize(
    "ids",
    [
        m.Ids(((9, bytes(32), 0),), 0),
        m.Ids(((0, bytes(31), 0),), 0),
        m.Ids(((0, bytes(32), 2),), 0),
        m.Ids(((0, b"", 0),), 1),
        m.Ids((), 1),
    ],
)
def test_lists_of_ids_that_are_none_are_refused(ids: m.Ids) -> None:
    async def script(peer: Peer) -> None:
        await greet_as_responder(peer, [("notes", 3)])
        await peer.hear_a(m.AskIds)
        await peer.say(ids)

    faced = face_initiator(MemoryStore(), script, Options(dry_run=True, list_ids=True))
    _refused(faced)


def test_a_responder_that_withholds_what_it_promised_does_not_get_an_in_sync() -> None:
    """It lists entries, says it has sent all, and its digest stays another one."""

    async def script(peer: Peer) -> None:
        await peer.hear_a(m.Hello)
        await peer.say(HELLO)
        for _ in range(limits.MAX_PASSES):
            await peer.hear_a(m.Catalog)
            await peer.say(m.Listed((("c", 5, b"?" * 16),)))
            await peer.hear_a(m.Sent)
            await peer.say(m.Sent())
            await peer.hear_a(m.Close)
            await peer.say(m.Closed(bytes(32)))
        await peer.hear_a(m.Catalog)
        await peer.say(m.Listed((("c", 5, b"?" * 16),)))
        await peer.hear_a(m.AskIds)
        await peer.say(m.Ids(((0, bytes(160), 0),), 1), m.Ids((), 0))

    faced = face_initiator(MemoryStore(), script)
    assert faced.error is None
    assert (faced.report.state, faced.report.in_sync) == ("done", False)


IDS = m.Ids(((0, bytes(32 * 32_000), 0),), 1)


def _telling_ids_for_ever(claim: int) -> Script:
    """A responder that promises entries, sends none, and then names them without end."""

    async def script(peer: Peer) -> None:
        await peer.hear_a(m.Hello)
        await peer.say(HELLO)
        while (message := await peer.hear()) is not None:
            match message:
                case m.Catalog():
                    await peer.say(m.Listed((("c", claim, b"?" * 16),)))
                case m.Want(_, 0):
                    await peer.say(m.Sent())
                case m.Close():
                    await peer.say(m.Closed(bytes(32)))
                case m.AskIds():
                    for _ in range(100):
                        await peer.say(IDS)

    return script


@pytest.mark.parametrize("options", [Options(), Options(dry_run=True, list_ids=True)])
def test_more_ids_than_were_missing_are_refused(options: Options) -> None:
    """A set grows a little while it is asked about, and not by three million ids."""
    faced = face_initiator(MemoryStore(), _telling_ids_for_ever(5), options)
    _refused(faced, Abort.TOO_LARGE)
    most = 32 * (5 + limits.SPARE_TOLD_IDS) + 2 * limits.MAX_FRAME
    assert faced.report.counters.received["reconcile"] < most


def test_who_claims_an_endless_set_cannot_name_it_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_TOLD_IDS", 100_000)
    faced = face_initiator(MemoryStore(), _telling_ids_for_ever(2**40))
    _refused(faced, Abort.TOO_LARGE)
    most = 32 * (100_000 + limits.SPARE_TOLD_IDS) + 2 * limits.MAX_FRAME
    assert faced.report.counters.received["reconcile"] < most


def test_who_claims_an_endless_set_is_not_asked_to_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An honest one may really have more than can be listed; it is not blamed."""
    monkeypatch.setattr(limits, "MAX_TOLD_IDS", 100_000)
    options = Options(dry_run=True, list_ids=True)
    faced = face_initiator(MemoryStore(), _telling_ids_for_ever(100_001), options)
    assert type(faced.error) is LocalError
    assert "100,001 entries are missing here, and at most 100,000" in faced.error.message
    assert faced.report.counters.received["reconcile"] < limits.MAX_FRAME


# --- aborts -------------------------------------------------------------------------------

SAID = {
    Abort.PROTOCOL: PeerError,
    Abort.VERSION: PeerVersionError,
    Abort.BUSY: PeerRefusedError,
    Abort.REFUSED: PeerRefusedError,
    Abort.TOO_LARGE: PeerRefusedError,
    Abort.TIMEOUT: PeerTimeoutError,
    Abort.CANCELLED: PeerGoneError,
    Abort.INTERNAL: PeerRefusedError,
    99: PeerRefusedError,
}


@pytest.mark.parametrize("code", SAID)
def test_what_a_peer_aborts_with_is_what_the_operator_reads(code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.say(m.AbortMessage(code, "Because."))

    for faced in (face_responder(MemoryStore(), script), face_initiator(MemoryStore(), script)):
        assert type(faced.error) is SAID[code]
        assert faced.error is not None
        assert "Because." in faced.error.message
        assert faced.abort is None, "a peer that has left needs no reason"


# --- silence ------------------------------------------------------------------------------


async def _nothing(_: Peer) -> None:
    pass


async def _hello_only(peer: Peer) -> None:
    await peer.say(HELLO)


async def _half_a_frame(peer: Peer) -> None:
    await peer.say_bytes(m.pack(HELLO)[:20])


async def _listing_only(peer: Peer) -> None:
    await greet_as_responder(peer)


async def _first_part_of_a_listing(peer: Peer) -> None:
    await peer.hear_a(m.Hello)
    await peer.say(HELLO, _names(0))


async def _catalog_only(peer: Peer) -> None:
    await greet_as_initiator(peer)


async def _totals_only(peer: Peer) -> None:
    await greet_as_initiator(peer)
    await peer.say(m.Totals(3, 3))


async def _wants_only(peer: Peer) -> None:
    await greet_as_initiator(peer)
    await peer.say(m.Totals(0, 3), m.Want((EVERYTHING,), 0))


async def _half_a_payload(peer: Peer) -> None:
    await greet_as_initiator(peer)
    await peer.say(m.Totals(1, 0), m.Want((), 0))
    await peer.say(m.Entries((("notes", ((LARGE.header, PIECE + 1),)),)), m.Piece(0, bytes(PIECE)))


async def _dripping(peer: Peer) -> None:
    """A byte a second: every one keeps the line busy, none finishes a message."""
    for byte in m.pack(HELLO) * 50:
        await peer.say_bytes(bytes([byte]))
        await trio.sleep(1)


SILENT = [
    (Role.RESPONDER, _nothing, limits.HELLO_TIMEOUT),
    (Role.RESPONDER, _half_a_frame, limits.HELLO_TIMEOUT),
    (Role.RESPONDER, _dripping, limits.HELLO_TIMEOUT),
    (Role.RESPONDER, _hello_only, limits.IDLE_TIMEOUT),
    (Role.RESPONDER, _catalog_only, limits.IDLE_TIMEOUT),
    (Role.RESPONDER, _totals_only, limits.IDLE_TIMEOUT),
    (Role.RESPONDER, _wants_only, limits.IDLE_TIMEOUT),
    (Role.RESPONDER, _half_a_payload, limits.IDLE_TIMEOUT),
    (Role.INITIATOR, _nothing, limits.HELLO_TIMEOUT),
    (Role.INITIATOR, _half_a_frame, limits.HELLO_TIMEOUT),
    (Role.INITIATOR, _dripping, limits.HELLO_TIMEOUT),
    (Role.INITIATOR, _hello_only, limits.ANSWER_TIMEOUT),
    (Role.INITIATOR, _listing_only, limits.ANSWER_TIMEOUT),
    (Role.INITIATOR, _first_part_of_a_listing, limits.ANSWER_TIMEOUT),
    (Role.INITIATOR, _serving(m.Sent()), limits.IDLE_TIMEOUT),
    (Role.INITIATOR, _serving(m.Entries((("notes", (_as_sent(NEW),)),))), limits.IDLE_TIMEOUT),
]


@pytest.mark.parametrize(("role", "script", "deadline"), SILENT)
def test_silence_at_every_step_ends_at_its_deadline(
    role: Role, script: Script, deadline: float
) -> None:
    face = face_responder if role is Role.RESPONDER else face_initiator
    faced = face(_store(), script)
    assert isinstance(faced.error, PeerTimeoutError)
    assert faced.abort is not None
    assert faced.abort.code == Abort.TIMEOUT
    assert deadline <= faced.seconds <= deadline + limits.SHUTDOWN_GRACE + 1


@pytest.mark.parametrize("role", list(Role))
def test_half_a_frame_and_then_the_end_is_a_cut(role: Role) -> None:
    async def script(peer: Peer) -> None:
        await peer.say_bytes(m.pack(HELLO)[:20])
        await trio.aclose_forcefully(peer.stream)

    face = face_responder if role is Role.RESPONDER else face_initiator
    faced = face(_store(), script)
    assert isinstance(faced.error, PeerGoneError)
