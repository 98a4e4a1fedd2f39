"""Where messages end, however the stream is cut, and what is refused from its head."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo_compat.replication import limits
from bamboo_compat.replication.messages import CEILINGS, Have, Message, pack
from bamboo_compat.replication.stream import Splitter
from setsync.errors import Abort, PeerError
from tests.bamboo.replication.samples import messages


def split(splitter: Splitter) -> list[bytes]:
    """Every message that is whole."""
    found = []
    while (message := splitter.next_message()) is not None:
        found.append(message)
    return found


@given(st.lists(messages, max_size=4))
def test_messages_come_out_whole_from_one_piece(sent: list[Message]) -> None:
    splitter = Splitter()
    splitter.receive(b"".join(map(pack, sent)))
    assert split(splitter) == [pack(message) for message in sent]
    assert len(splitter) == 0


@given(st.lists(messages, max_size=3))
def test_messages_come_out_whole_byte_by_byte_and_none_too_early(sent: list[Message]) -> None:
    splitter = Splitter()
    found = []
    for message in sent:
        data = pack(message)
        for at in range(len(data)):
            assert splitter.next_message() is None
            splitter.receive(data[at : at + 1])
        found += split(splitter)
    assert found == [pack(message) for message in sent]


@given(messages, st.binary(max_size=20))
def test_a_tail_stays_where_it_is(message: Message, tail: bytes) -> None:
    splitter = Splitter()
    splitter.receive(pack(message) + tail)
    assert splitter.next_message() == pack(message)
    assert len(splitter) == len(tail)


@given(st.lists(messages, min_size=1, max_size=3), st.data())
def test_a_stream_may_be_cut_anywhere(sent: list[Message], data: st.DataObject) -> None:
    stream = b"".join(map(pack, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    splitter = Splitter()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        splitter.receive(stream[start:end])
        found += split(splitter)
    assert found == [pack(message) for message in sent]


@given(messages, st.data())
def test_mutated_bytes_split_or_are_refused_and_nothing_else(
    message: Message, data: st.DataObject
) -> None:
    mutated = bytearray(pack(message))
    at = data.draw(st.integers(0, len(mutated) - 1))
    mutated[at] = data.draw(st.integers(0, 255))
    splitter = Splitter()
    splitter.receive(bytes(mutated))
    with contextlib.suppress(PeerError):
        split(splitter)


@given(messages, st.data())
def test_what_is_refused_does_not_depend_on_the_cuts(message: Message, data: st.DataObject) -> None:
    mutated = bytearray(pack(message))
    mutated[data.draw(st.integers(0, len(mutated) - 1))] ^= data.draw(st.integers(1, 255))

    def outcome(pieces: list[bytes]) -> list[bytes] | str:
        splitter = Splitter()
        found = []
        try:
            for piece in pieces:
                splitter.receive(piece)
                found += split(splitter)
        except PeerError as error:
            return str(error)
        return found

    whole = bytes(mutated)
    assert outcome([whole]) == outcome([whole[n : n + 1] for n in range(len(whole))])


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (b"GET", "does not begin like one"),
        (b"\x80", "does not begin like one"),
        (b"\x9f", "does not begin like one"),
        (b"\x83\x04", "no type that is known"),
        (b"\x83\x18", "no type that is known"),
        (b"\x83\x03\x20", "0x20"),  # a negative number
        (b"\x83\x03\xa0", "0xa0"),  # a map
        (b"\x83\x03\xc0", "0xc0"),  # a tag
        (b"\x83\x03\xfb", "0xfb"),  # a float
        (b"\x83\x03\xf7", "0xf7"),  # undefined
        (b"\x83\x03\x5f", "0x5f"),  # a string of indefinite length
        (b"\x83\x03\x1c", "0x1c"),  # a width that does not exist
        (b"\x83\x0a\x00\x81\x81\x81\x81\x81", "nested deeper than 5"),
    ],
)
def test_what_no_message_has_is_refused_where_it_stands(head: bytes, sentence: str) -> None:
    splitter = Splitter()
    splitter.receive(head)
    with pytest.raises(PeerError, match=sentence):
        splitter.next_message()


@pytest.mark.parametrize(
    "head",
    [
        b"\x83\x03\x00\x58\x40",  # `done` with a string of 64 bytes
        b"\x84\x02\x00\x5a\x00\x11\x00\x00",  # an entry of more than a MiB
        b"\x84\x02\x00\x5b" + b"\xff" * 8,
        b"\x84\x00\x01\x00\x9a\x00\x00\x20\x00",  # more schemas than anyone has
        b"\x84\x00\x01\x00\x81\x7a\x00\x10\x00\x00",
        b"\x83\x0a\x00\x9b" + b"\xff" * 8,  # more authors than there are people
        b"\x83\x0a\x00\x9a\x01\x00\x00\x01",  # one more byte than a `have` may have
    ],
)
def test_a_message_that_would_be_too_large_is_refused_from_its_head(head: bytes) -> None:
    splitter = Splitter()
    splitter.receive(head)
    with pytest.raises(PeerError, match="at least") as raised:
        splitter.next_message()
    assert raised.value.abort is Abort.TOO_LARGE


def test_a_message_of_many_small_items_is_refused_before_it_costs_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = CEILINGS[Have.TYPE]._replace(items=100)
    monkeypatch.setitem(CEILINGS, Have.TYPE, few)
    splitter = Splitter()
    splitter.receive(b"\x83\x0a\x00\x81" + b"\x98\x64")
    with pytest.raises(PeerError, match=r"at least 10[0-9] items; at most 100"):
        splitter.next_message()


def test_a_byte_is_looked_at_once_however_slowly_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heads = 0
    original = Splitter._head

    def counted(self: Splitter) -> tuple[int, int, int] | None:
        nonlocal heads
        found = original(self)
        heads += found is not None
        return found

    monkeypatch.setattr(Splitter, "_head", counted)
    data = b"\x83\x0a\x00\x98\x64" + b"\x80" * 100
    splitter = Splitter()
    for at in range(len(data)):
        splitter.receive(data[at : at + 1])
        splitter.next_message()
    assert heads == 4 + 100


def test_no_more_is_held_than_the_limits_say() -> None:
    assert max(ceiling.size for ceiling in CEILINGS.values()) == limits.MAX_HAVE_MESSAGE
