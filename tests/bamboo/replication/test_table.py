"""Every state, every message, both ways: accepted exactly where the table below says so."""

from __future__ import annotations

import pytest

from bamboo_compat.replication import limits
from bamboo_compat.replication.machine import (
    END,
    NEED_DATA,
    LocalProtocolError,
    Machine,
    TooMuchToTellError,
)
from bamboo_compat.replication.messages import (
    Announce,
    Done,
    EntryMessage,
    Have,
    Message,
    Request,
    pack,
)
from bamboo_compat.replication.source import Schemas
from bamboo_compat.replication.table import DOING, TABLE, Role, State
from setsync.errors import Abort, PeerError, PeerGoneError
from tests.bamboo.replication.samples import SAMPLES

I, R = Role.INITIATOR, Role.RESPONDER  # noqa: E741 - as the table below calls them
SCHEMAS = Schemas(("schema_definition_v1",), ("venue",))

# The protocol, written a second time: state, who speaks, message, next state.
PROTOCOL = """
START            I Announce      INITIATOR_KNOWN
START            R Announce      RESPONDER_KNOWN
INITIATOR_KNOWN  R Announce      READY
RESPONDER_KNOWN  I Announce      READY
READY            I Request       REQUESTED
REQUESTED        R Have          OFFERED
OFFERED          I Have          EXCHANGING
OFFERED          R Done          OFFERED_ALL
OFFERED_ALL      I Have          RESPONDER_DONE
EXCHANGING       I EntryMessage  EXCHANGING
EXCHANGING       R EntryMessage  EXCHANGING
EXCHANGING       I Done          INITIATOR_DONE
EXCHANGING       R Done          RESPONDER_DONE
INITIATOR_DONE   R EntryMessage  INITIATOR_DONE
INITIATOR_DONE   R Done          READY
RESPONDER_DONE   I EntryMessage  RESPONDER_DONE
RESPONDER_DONE   I Done          READY
"""
KINDS = {kind.__name__: kind for kind in SAMPLES}
ALLOWED = {
    (State[state], {"I": I, "R": R}[who], KINDS[name]): State[after]
    for state, who, name, after in map(str.split, PROTOCOL.strip().splitlines())
}
EVERY = [(state, who, kind) for state in State for who in Role for kind in SAMPLES]


def in_state(role: Role, state: State) -> Machine:
    """A machine that got there somehow."""
    machine = Machine(role, SCHEMAS)
    machine.state = state
    return machine


@pytest.mark.parametrize(("state", "speaker", "kind"), EVERY)
def test_a_message_from_the_peer_is_taken_exactly_where_it_may_come(
    state: State, speaker: Role, kind: type[Message]
) -> None:
    machine = in_state(speaker.other, state)
    machine.receive(pack(SAMPLES[kind]))
    after = ALLOWED.get((state, speaker, kind))
    if after is None:
        with pytest.raises(PeerError, match=f"A message {kind.__name__} came out of turn, while "):
            machine.next_event()
        assert machine.state is State.FAILED
    else:
        assert machine.next_event() == SAMPLES[kind]
        assert machine.state is after


@pytest.mark.parametrize(("state", "speaker", "kind"), EVERY)
def test_a_message_of_ours_is_sent_exactly_where_it_may_be(
    state: State, speaker: Role, kind: type[Message]
) -> None:
    machine = in_state(speaker, state)
    after = ALLOWED.get((state, speaker, kind))
    if after is None:
        with pytest.raises(LocalProtocolError):
            machine.send(SAMPLES[kind])
        assert machine.state is state
    else:
        assert machine.send(SAMPLES[kind]) == pack(SAMPLES[kind])
        assert machine.state is after


@pytest.mark.parametrize("state", list(State))
def test_a_stream_may_end_between_sessions_and_nowhere_else(state: State) -> None:
    machine = in_state(R, state)
    machine.receive(b"")
    if state is State.READY:
        assert machine.next_event() is END
    else:
        with pytest.raises(PeerGoneError, match=DOING[state]):
            machine.next_event()


def test_a_stream_that_ends_inside_a_message_was_cut() -> None:
    machine = in_state(R, State.READY)
    machine.receive(pack(SAMPLES[Request])[:-1])
    assert machine.next_event() is NEED_DATA
    machine.receive(b"")
    with pytest.raises(PeerGoneError):
        machine.next_event()


def test_both_ways_through_a_state_where_both_may_send_lead_to_the_same_place() -> None:
    for state, row in TABLE.items():
        for (one, first), after_first in row.items():
            for (two, second), after_second in row.items():
                if one is not two:
                    both = TABLE[after_first].get((two, second))
                    assert both == TABLE[after_second].get((one, first)), (state, first, second)


@pytest.mark.parametrize("kind", [Have, EntryMessage, Done])
def test_a_message_of_another_session_is_refused(kind: type[Message]) -> None:
    state, role = next((s, who) for (s, who, allowed) in ALLOWED if allowed is kind)
    machine = in_state(role.other, state)
    machine.session = 5
    machine.receive(pack(SAMPLES[kind]))
    with pytest.raises(PeerError, match="is of session 0; open is 5"):
        machine.next_event()
    mine = in_state(role, state)
    mine.session = 5
    with pytest.raises(LocalProtocolError):
        mine.send(SAMPLES[kind])


def test_a_machine_that_failed_stays_failed() -> None:
    machine = Machine(R, SCHEMAS)
    machine.receive(b"GET / HTTP/1.1\r\n")
    with pytest.raises(PeerError) as first:
        machine.next_event()
    machine.receive(pack(SAMPLES[Announce]))
    with pytest.raises(PeerError) as second:
        machine.next_event()
    assert second.value is first.value
    with pytest.raises(PeerError) as third:
        machine.send(SAMPLES[Announce])
    assert third.value is first.value


def test_a_session_about_schemas_that_were_not_announced_is_refused() -> None:
    machine = in_state(R, State.READY)
    machine.receive(pack(Request(0, ("venue", "unheard of"))))
    with pytest.raises(PeerError, match="1 schemas that were not announced") as raised:
        machine.next_event()
    assert raised.value.abort is Abort.REFUSED


def test_so_many_sessions_may_be_asked_for_and_no_more() -> None:
    machine = Machine(R, SCHEMAS)
    for number in range(limits.MAX_SESSIONS):
        machine.state = State.READY
        machine.receive(pack(Request(number, ("venue",))))
        assert isinstance(machine.next_event(), Request)
    machine.state = State.READY
    machine.receive(pack(Request(0, ("venue",))))
    with pytest.raises(PeerError, match="More than 64 sessions"):
        machine.next_event()


def greeted(mine: Schemas, theirs: tuple[str, ...]) -> Machine:
    """An initiator that knows what the other side announced."""
    machine = Machine(I, mine)
    machine.send(machine.announce(0))
    machine.receive(pack(Announce(0, theirs)))
    assert isinstance(machine.next_event(), Announce)
    return machine


def requests(machine: Machine) -> list[Request]:
    """All sessions that it would open, as if each went well."""
    found = []
    while request := machine.next_request():
        machine.send(request)
        machine.state = State.READY
        found.append(request)
    return found


def test_system_schemas_are_asked_for_first_then_what_both_know() -> None:
    mine = Schemas(("s_b", "s_a", "s_mine"), ("u_b", "u_a", "u_mine"))
    machine = greeted(mine, ("u_a", "s_b", "u_theirs", "s_a", "u_b"))
    assert requests(machine) == [Request(0, ("s_a", "s_b")), Request(1, ("u_a", "u_b"))]
    assert machine.common == (("s_a", "s_b"), ("u_a", "u_b"))


def test_nothing_is_asked_for_where_nothing_is_known_to_both() -> None:
    assert requests(greeted(Schemas((), ("mine",)), ("theirs",))) == []
    assert requests(greeted(Schemas(("s",), ("mine",)), ("s",))) == [Request(0, ("s",))]


def test_an_announcement_is_sorted_with_the_system_first_and_leaves_out_what_none_can_carry() -> (
    None
):
    machine = Machine(I, Schemas(("z", "y"), ("b", "a", "b", "y", "", "x" * 1025, "\ud800")))
    assert machine.announce(7) == Announce(7, ("y", "z", "a", "b"))


@pytest.mark.parametrize(
    "schemas",
    [
        tuple(str(n) for n in range(limits.MAX_SCHEMAS + 1)),
        tuple(f"{n:01024}" for n in range(1025)),
    ],
)
def test_more_schemas_than_one_message_holds_are_not_announced(schemas: tuple[str, ...]) -> None:
    with pytest.raises(TooMuchToTellError, match="at most 4096 with 1048576 can be"):
        Machine(I, Schemas((), schemas)).announce(0)


def test_only_the_initiator_asks_and_only_between_sessions() -> None:
    with pytest.raises(LocalProtocolError):
        in_state(R, State.READY).next_request()
    with pytest.raises(LocalProtocolError):
        in_state(I, State.EXCHANGING).next_request()


def test_bytes_and_messages_are_counted_both_ways() -> None:
    machine = Machine(I, SCHEMAS)
    sent = machine.send(machine.announce(0))
    machine.receive(pack(SAMPLES[Announce]) + b"\x83")
    machine.next_event()
    counters = machine.counters
    assert (counters.messages_out, counters.messages_in) == (1, 1)
    assert counters.bytes_out == len(sent)
    assert counters.bytes_in == len(pack(SAMPLES[Announce])) + 1
