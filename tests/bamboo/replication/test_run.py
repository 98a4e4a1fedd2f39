"""One honest end against peers that are wrong, greedy, silent or gone."""

from __future__ import annotations

from collections.abc import Sequence

import cbor2
import pytest
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from bamboo_compat.replication import limits
from bamboo_compat.replication.heights import NO_OPERATION, NOT_ASKED_FOR, UNKNOWN_SCHEMA
from bamboo_compat.replication.machine import TooMuchToTellError
from bamboo_compat.replication.messages import (
    Announce,
    AuthorHeights,
    Done,
    EntryMessage,
    Have,
    Message,
    Request,
    pack,
)
from bamboo_compat.replication.report import OTHER_REASONS, Tally
from bamboo_compat.replication.source import Carried, Fate, Outcome, Schemas
from bamboo_compat.replication.table import Role
from setsync.errors import (
    Abort,
    PeerError,
    PeerGoneError,
    PeerTimeoutError,
    PeerVersionError,
    StoreFullError,
)
from tests.bamboo.replication.joined import Peer, face, open_session
from tests.bamboo.replication.memory import (
    EVENT,
    SYSTEM,
    VENUE,
    MemorySource,
    log,
)
from tests.bamboo.replication.samples import messages

ANNOUNCE = Announce(0, (SYSTEM, EVENT, VENUE))


def entries(number: int, log_id: int, schema: str, length: int) -> list[EntryMessage]:
    """A log as messages of session 0."""
    return [EntryMessage(0, *record) for record in log(number, log_id, schema, length)]


# --- what was not asked for ---------------------------------------------------------------


def test_entries_that_were_not_asked_for_are_refused_counted_and_never_taken() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(ANNOUNCE)
        await open_session(peer, VENUE)
        await peer.say(
            *entries(1, 1, VENUE, 2),
            *entries(1, 2, EVENT, 3),
            *entries(1, 0, SYSTEM, 1),
            *entries(1, 3, "unheard_of", 2),
            EntryMessage(0, log(2, 1, VENUE, 1)[0][0], b"plain words"),
            *entries(2, 1, VENUE, 1),
            Done(0),
        )
        await peer.leave()

    source = MemorySource()
    faced = face(source, Role.RESPONDER, script)
    assert faced.error is None
    assert dict(faced.report.refused) == {NOT_ASKED_FOR: 4, UNKNOWN_SCHEMA: 2, NO_OPERATION: 1}
    assert faced.report.new == 3
    assert source.arrivals == [VENUE] * 3


def test_entries_with_a_fault_are_refused_and_the_others_taken() -> None:
    whole = entries(1, 1, VENUE, 3)
    forged = EntryMessage(
        0, whole[1].entry[:-1] + bytes([whole[1].entry[-1] ^ 1]), whole[1].operation
    )
    swapped = EntryMessage(0, whole[1].entry, whole[0].operation)

    async def script(peer: Peer) -> None:
        await peer.say(ANNOUNCE)
        await open_session(peer, VENUE)
        await peer.say(whole[0], forged, swapped, whole[2], Done(0))
        await peer.leave()

    faced = face(MemorySource(), Role.RESPONDER, script)
    assert faced.error is None
    assert dict(faced.report.refused) == {
        "It breaks the rule bad_signature.": 1,
        "It breaks the rule bad_payload_hash.": 1,
    }
    assert faced.report.new == 2


def test_a_peer_that_sends_nothing_but_what_is_refused_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_REFUSED", 10)

    async def script(peer: Peer) -> None:
        await peer.say(ANNOUNCE)
        await open_session(peer, VENUE)
        for _ in range(20):
            await peer.say(*entries(1, 2, EVENT, 1))

    faced = face(MemorySource(), Role.RESPONDER, script)
    assert isinstance(faced.error, PeerError)
    assert faced.error.message == (
        "More than 10 entries came that break a rule or were not asked for."
    )
    assert faced.error.abort is Abort.REFUSED


def test_reasons_are_told_up_to_a_limit_and_all_are_counted() -> None:
    tally = Tally()
    tally.count([Outcome(Fate.REFUSED, f"Reason {n}.") for n in range(100)])
    tally.count([Outcome(Fate.UNWANTED, f"Reason {n}.") for n in range(100)])
    report = tally.report()
    assert len(report.refused) == limits.MAX_REASONS
    assert (report.refusals, tally.faulty) == (200, 100)
    assert report.refused[0] == (OTHER_REASONS, 2 * (100 - limits.MAX_REASONS + 1))


# --- wrong, too large, too many -----------------------------------------------------------


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", PeerError),
        (b"\x00" * 100, PeerError),
        (b"\x83" * 100, PeerError),
        (b"\x84\x00\x01\x00\x9a\x7f\xff\xff\xff", PeerError),
        (cbor2.dumps([0, 2, 0, []]), PeerVersionError),
        (pack(Done(0)), PeerError),
        (pack(ANNOUNCE)[:-1], PeerGoneError),
        (b"", PeerGoneError),
    ],
)
def test_garbage_instead_of_an_announcement_is_a_peer_error(
    role: Role, said: bytes, kind: type[PeerError]
) -> None:
    async def script(peer: Peer) -> None:
        await peer.say_bytes(said)
        await peer.stream.aclose()

    faced = face(MemorySource(log(1, 1, VENUE, 2)), role, script)
    assert isinstance(faced.error, kind)
    assert faced.report.new == 0


@given(st.lists(messages, max_size=3), st.binary(max_size=40), st.sampled_from(Role))
@settings(max_examples=60, deadline=None)
def test_whatever_follows_the_greeting_ends_in_good_order_or_with_a_peer_error(
    said: list[Message], noise: bytes, role: Role
) -> None:
    async def script(peer: Peer) -> None:
        await peer.say(ANNOUNCE)
        for message in said:
            await peer.say(message)
        await peer.say_bytes(noise)
        await peer.hear()
        await peer.stream.aclose()

    faced = face(MemorySource(log(1, 1, VENUE, 2)), role, script)
    assert faced.error is None or isinstance(faced.error, PeerError)


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (b"\x84\x02\x00\x5a\x7f\xff\xff\xff", "at most"),  # an entry of 2 GiB
        (b"\x84\x02\x00\x44\x00\x00\x00\x00\x5a\x00\x20\x00\x00", "at most"),  # an operation
    ],
)
def test_a_message_that_is_too_large_ends_the_connection_before_it_came(
    head: bytes, sentence: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.say(ANNOUNCE)
        await open_session(peer, VENUE)
        await peer.say(*entries(1, 1, VENUE, 2))
        await peer.say_bytes(head)
        await peer.hear_to_the_end()

    source = MemorySource()
    faced = face(source, Role.RESPONDER, script)
    assert isinstance(faced.error, PeerError)
    assert sentence in faced.error.message
    assert faced.error.abort is Abort.TOO_LARGE
    assert faced.seconds == 0.0
    assert faced.report.new == len(source.contents()) == 2  # what came before is kept


def test_a_have_with_too_many_logs_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_LOGS", 2)

    async def script(peer: Peer) -> None:
        await peer.say(ANNOUNCE)
        logs = tuple((n, 1) for n in range(3))
        await open_session(peer, VENUE, have=Have(0, (AuthorHeights(b"k" * 32, logs),)))
        await peer.hear_to_the_end()

    faced = face(MemorySource(), Role.RESPONDER, script)
    assert isinstance(faced.error, PeerError)
    assert "at most 2 logs" in faced.error.message


def test_a_peer_that_asks_for_session_after_session_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_SESSIONS", 3)

    async def script(peer: Peer) -> None:
        await peer.say(ANNOUNCE)
        for number in range(4):
            await peer.say(Request(number, (VENUE,)), Have(number, ()), Done(number))
        await peer.hear_to_the_end()

    faced = face(MemorySource(), Role.RESPONDER, script)
    assert isinstance(faced.error, PeerError)
    assert "More than 3 sessions" in faced.error.message
    assert faced.report.sessions == 3


def test_a_server_that_has_nothing_may_be_done_before_it_is_told_anything() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(Announce(0, (VENUE,)))
        await peer.hear()
        await peer.hear()
        await peer.say(Have(0, ()), Done(0, live=True))
        await peer.hear_to_the_end()

    faced = face(MemorySource(log(1, 1, VENUE, 2)), Role.INITIATOR, script)
    assert faced.error is None
    assert (faced.report.sent, faced.report.sessions) == (2, 1)


# --- silent, gone -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "said"),
    [
        (Role.INITIATOR, []),
        (Role.RESPONDER, []),
        (Role.RESPONDER, [ANNOUNCE]),
        (Role.RESPONDER, [ANNOUNCE, Request(0, (VENUE,))]),
        (Role.RESPONDER, [ANNOUNCE, Request(0, (VENUE,)), Have(0, ())]),
        (Role.INITIATOR, [ANNOUNCE]),
        (Role.INITIATOR, [ANNOUNCE, Have(0, ())]),
    ],
)
def test_a_peer_that_falls_silent_is_let_go(role: Role, said: Sequence[Message]) -> None:
    async def script(peer: Peer) -> None:
        for message in said:
            await peer.say(message)
        await peer.hear_to_the_end()

    faced = face(MemorySource(log(1, 1, VENUE, 2)), role, script)
    assert isinstance(faced.error, PeerTimeoutError)
    assert faced.seconds == limits.ANSWER_TIMEOUT


def test_a_peer_that_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(peer: Peer) -> None:
        await peer.say(ANNOUNCE, Request(0, (VENUE,)), Have(0, ()))

    monkeypatch.setattr(limits, "BATCH_ENTRIES", 2)
    source = MemorySource(log(1, 1, VENUE, 60))
    faced = face(source, Role.RESPONDER, script, trio.testing.lockstep_stream_pair)
    assert isinstance(faced.error, PeerTimeoutError)
    assert faced.seconds == limits.SEND_TIMEOUT
    assert faced.report.sent < 60


def test_what_arrived_before_a_fault_is_kept_also_while_ours_is_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "BATCH_ENTRIES", 2)

    async def script(peer: Peer) -> None:
        await peer.say(ANNOUNCE)
        await open_session(peer, VENUE)
        await peer.say_bytes(b"".join(map(pack, entries(1, 1, VENUE, 2))) + b"\xff")
        await peer.hear_to_the_end()

    source = MemorySource(log(2, 1, VENUE, 60))
    faced = face(source, Role.RESPONDER, script)
    assert isinstance(faced.error, PeerError)
    assert faced.error.message == "A message does not begin like one; is this a Bamboo server?"
    assert faced.report.new == 2
    assert len(source.contents()) == 62


def test_what_arrived_before_a_cut_is_kept() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(ANNOUNCE)
        await open_session(peer, VENUE)
        await peer.say_bytes(b"".join(map(pack, entries(1, 1, VENUE, 3)))[:-5])
        await peer.stream.aclose()

    source = MemorySource()
    faced = face(source, Role.RESPONDER, script)
    assert isinstance(faced.error, PeerGoneError)
    assert faced.error.message == "The connection ended while entries were on their way."
    assert faced.report.new == len(source.contents()) == 2


# --- our own side -------------------------------------------------------------------------


def test_a_disk_that_is_full_ends_the_connection_as_what_it_is() -> None:
    class Full(MemorySource):
        def take(self, batch: Sequence[Carried], schemas: frozenset[str]) -> Sequence[Outcome]:
            raise StoreFullError("The disk is full.")

    async def script(peer: Peer) -> None:
        await peer.say(ANNOUNCE)
        await open_session(peer, VENUE)
        await peer.say(*entries(1, 1, VENUE, 1))
        await peer.hear_to_the_end()

    assert isinstance(face(Full(), Role.RESPONDER, script).error, StoreFullError)


def test_more_than_can_be_announced_is_told_to_the_operator_and_not_to_the_peer() -> None:
    schemas = tuple(str(n) for n in range(limits.MAX_SCHEMAS + 1))
    heard: list[bytes | None] = []

    async def script(peer: Peer) -> None:
        heard.append(await peer.hear())

    faced = face(MemorySource((), Schemas((), schemas)), Role.INITIATOR, script)
    assert isinstance(faced.error, TooMuchToTellError)
    assert heard in ([], [None])
