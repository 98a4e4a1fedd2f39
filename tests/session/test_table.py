"""Every state, every message, both ways: accepted exactly where the table below says so."""

from __future__ import annotations

import pytest

from setsync.errors import PeerError, PeerGoneError
from setsync.session.session import NEED_DATA, LocalProtocolError, Session
from setsync.session.table import PHASES, TABLE, Role, State
from setsync.wire import messages as m
from setsync.wire.messages import LAYOUTS, Message, pack
from tests.wire.samples import SAMPLES

HERE, THERE = Role.INITIATOR, Role.RESPONDER

# The protocol, written a second time: state, who speaks, message, next state.
PROTOCOL = """
start         I Hello      greeted
greeted       R Hello      ready
ready         I Catalog    asked
ready         I WantPayloads  exchanging
ready         I Live       live
ready         I Done       ended
asked         R Same       ready
asked         R Listing    asked
asked         R Listed     comparing
asked         R Many       cataloguing
cataloguing   I Questions  cataloguing
cataloguing   R Answers    cataloguing
cataloguing   I AskNames   named
named         R Listing    named
named         R Listed     comparing
comparing     I Questions  comparing
comparing     R Answers    comparing
comparing     I AskIds     comparing
comparing     R Ids        comparing
comparing     I Totals     transferring
comparing     I Catalog    asked
comparing     I WantPayloads  exchanging
comparing     I Live       live
comparing     I Done       ended
exchanging    R WantPayloads  transferring
transferring  I Want       transferring
transferring  I Entries    transferring
transferring  R Entries    transferring
transferring  I Piece      transferring
transferring  R Piece      transferring
transferring  I Packed     transferring
transferring  R Packed     transferring
transferring  I Committed  transferring
transferring  R Committed  transferring
transferring  I Refused    transferring
transferring  R Refused    transferring
transferring  I Sent       transferring
transferring  R Sent       transferring
transferring  I Close      closing
closing       R Closed     ready
live          I Entries    live
live          I Piece      live
live          I Packed     live
live          I Committed  live
live          I Refused    live
live          R Refused    live
live          I Ping       live
live          R Entries    live
live          R Piece      live
live          R Packed     live
live          R Committed  live
live          R Ping       live
live          I Done       ended
"""

ALLOWED = {
    (State(state), HERE if who == "I" else THERE, getattr(m, name)): State(after)
    for state, who, name, after in map(str.split, PROTOCOL.strip().splitlines())
}
for _state in State:
    if _state is not State.ENDED:
        ALLOWED |= {(_state, who, m.AbortMessage): State.ENDED for who in Role}

CASES = [
    pytest.param(state, who, message, id=f"{state.value}-{who.value}-{type(message).__name__}")
    for state in State
    for who in Role
    for message in SAMPLES
]


def _in(state: State, role: Role) -> Session:
    session = Session(role)
    session.state = state
    return session


def test_the_table_of_the_code_is_the_one_above() -> None:
    found = {
        (state, who, kind): after
        for state, row in TABLE.items()
        for (who, kind), after in row.items()
    }
    assert found == {key: after for key, after in ALLOWED.items() if key[2] is not m.AbortMessage}


@pytest.mark.parametrize(("state", "who", "message"), CASES)
def test_a_message_is_received_where_the_table_has_it_and_nowhere_else(
    state: State, who: Role, message: Message
) -> None:
    session = _in(state, who.other)
    session.receive(pack(message))
    after = ALLOWED.get((state, who, type(message)))
    if after is not None:
        assert session.next_event() == message
        assert session.state is after
        return
    with pytest.raises(PeerError, match="out of turn"):
        session.next_event()
    assert session.state is State.ENDED
    assert session.counters.total_received() == 0


@pytest.mark.parametrize(("state", "who", "message"), CASES)
def test_a_message_is_sent_where_the_table_has_it_and_nowhere_else(
    state: State, who: Role, message: Message
) -> None:
    session = _in(state, who)
    after = ALLOWED.get((state, who, type(message)))
    if after is not None:
        assert session.send(message) == pack(message)
        assert session.state is after
        return
    with pytest.raises(LocalProtocolError):
        session.send(message)
    assert session.state is state
    assert session.counters.total_sent() == 0


def test_every_message_is_of_a_phase() -> None:
    assert PHASES.keys() == LAYOUTS.keys()
    assert set(PHASES.values()) == {"handshake", "reconcile", "entries", "close"}


def test_every_state_can_be_reached_and_left() -> None:
    reached = {State.START} | set(ALLOWED.values())
    assert reached == set(State)
    assert {state for state, *_ in ALLOWED} == set(State) - {State.ENDED}


# --- the session around it ----------------------------------------------------------------


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("half", [b"", pack(m.Sent())[:3]])
def test_the_end_of_the_stream_is_a_cut_in_every_state(
    state: State, role: Role, half: bytes
) -> None:
    session = _in(state, role)
    session.receive(half)
    if half:
        assert session.next_event() is NEED_DATA
    session.receive(b"")
    for _ in range(2):
        with pytest.raises(PeerGoneError):
            session.next_event()


@pytest.mark.parametrize("role", list(Role))
def test_a_failed_session_stays_failed(role: Role) -> None:
    session = Session(role)
    session.receive(pack(m.Done()))
    with pytest.raises(PeerError) as first:
        session.next_event()
    session.receive(pack(SAMPLES[0]))
    with pytest.raises(PeerError) as second:
        session.next_event()
    assert second.value is first.value
    with pytest.raises(LocalProtocolError):
        session.send(SAMPLES[0])


def test_what_came_before_the_end_is_given_out_first() -> None:
    session = Session(THERE)
    session.receive(pack(SAMPLES[0]))
    session.receive(b"")
    assert session.next_event() == SAMPLES[0]
    with pytest.raises(PeerGoneError):
        session.next_event()


def test_a_failed_session_may_still_say_why_and_an_ended_one_says_nothing() -> None:
    failed = Session(THERE)
    failed.receive(pack(m.Done()))
    with pytest.raises(PeerError):
        failed.next_event()
    assert failed.abort(1, "No.") == pack(m.AbortMessage(1, "No."))
    ended = Session(THERE)
    ended.receive(pack(m.AbortMessage(3, "")))
    assert ended.next_event() == m.AbortMessage(3, "")
    assert ended.abort(1, "No.") == b""


def _conversation() -> list[tuple[Role, Message]]:
    samples = {type(message): message for message in SAMPLES}
    order: list[tuple[Role, type]] = [
        (HERE, m.Hello),
        (THERE, m.Hello),
        (HERE, m.Catalog),
        (THERE, m.Listing),
        (THERE, m.Listed),
        (HERE, m.Questions),
        (THERE, m.Answers),
        (HERE, m.AskIds),
        (THERE, m.Ids),
        (HERE, m.Totals),
        (HERE, m.Want),
        (THERE, m.Entries),
        (HERE, m.Entries),
        (HERE, m.Piece),
        (THERE, m.Committed),
        (HERE, m.Committed),
        (THERE, m.Sent),
        (HERE, m.Sent),
        (HERE, m.Close),
        (THERE, m.Closed),
        (HERE, m.Catalog),
        (THERE, m.Same),
        (HERE, m.Done),
    ]
    return [(who, samples[kind]) for who, kind in order]


def test_counters_add_up_to_the_bytes_on_both_sides() -> None:
    ends = {role: Session(role) for role in Role}
    passed = dict.fromkeys(Role, 0)
    by_phase: dict[tuple[Role, str], int] = {}
    for who, message in _conversation():
        frame = ends[who].send(message)
        passed[who] += len(frame)
        phase = PHASES[type(message)]
        by_phase[who, phase] = by_phase.get((who, phase), 0) + len(frame)
        other = ends[who.other]
        for at in range(len(frame)):
            assert other.next_event() is NEED_DATA
            other.receive(frame[at : at + 1])
        assert other.next_event() == message
        assert other.buffered == 0
    for who in Role:
        mine, theirs = ends[who].counters, ends[who.other].counters
        assert mine.total_sent() == theirs.total_received() == passed[who]
        assert mine.sent == theirs.received
        assert {(who, phase): n for phase, n in mine.sent.items() if n} == {
            key: n for key, n in by_phase.items() if key[0] is who
        }
        assert ends[who].state is State.ENDED
