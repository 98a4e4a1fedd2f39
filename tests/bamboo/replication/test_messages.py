"""The bytes of every message, and what is refused for being no message."""

from __future__ import annotations

import contextlib

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo_compat.core.entry import MAX_ENTRY
from bamboo_compat.core.profiles import MAX_OPERATION
from bamboo_compat.replication import limits
from bamboo_compat.replication.messages import (
    Announce,
    AuthorHeights,
    Done,
    EntryMessage,
    Have,
    Message,
    Request,
    pack,
    unpack,
)
from setsync.errors import Abort, PeerError, PeerVersionError
from tests.bamboo.replication.samples import messages

KEY = b"k" * 32

# Field by field: array head, type, then what the message's own line says.
GOLDEN: list[tuple[Message, bytes]] = [
    # version 1; timestamp 1_700_000_000 in four bytes; two texts of 5 and 20 bytes
    (
        Announce(1_700_000_000, ("venue", "schema_definition_v1")),
        b"\x84\x00\x01\x1a\x65\x53\xf1\x00\x82\x65venue\x74schema_definition_v1",
    ),
    # session 3; mode 0; one text
    (Request(3, ("venue",)), b"\x84\x01\x03\x00\x81\x65venue"),
    # session 3; 4 and 300 bytes
    (
        EntryMessage(3, b"\x00\x01\x02\x03", b"o" * 300),
        b"\x84\x02\x03\x44\x00\x01\x02\x03\x59\x01\x2c" + b"o" * 300,
    ),
    # session 256 in two bytes; null
    (EntryMessage(256, b"e", None), b"\x84\x02\x19\x01\x00\x41e\xf6"),
    # session 3; false, true
    (Done(3), b"\x83\x03\x03\xf4"),
    (Done(3, live=True), b"\x83\x03\x03\xf5"),
    # session 3; one author with two logs: 0 up to 1, 24 up to 1000
    (
        Have(3, (AuthorHeights(KEY, ((0, 1), (24, 1000))),)),
        b"\x83\x0a\x03\x81\x82\x58\x20" + KEY + b"\x82\x82\x00\x01\x82\x18\x18\x19\x03\xe8",
    ),
    (Have(3, ()), b"\x83\x0a\x03\x80"),
]


@pytest.mark.parametrize(("message", "data"), GOLDEN)
def test_a_message_has_these_bytes_and_no_others(message: Message, data: bytes) -> None:
    assert pack(message) == data
    assert unpack(data) == message


@given(messages)
def test_what_is_written_is_read_again(message: Message) -> None:
    assert unpack(pack(message)) == message


@given(messages, st.data())
def test_mutated_bytes_are_a_message_or_a_peer_error(message: Message, data: st.DataObject) -> None:
    mutated = bytearray(pack(message))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        mutated[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(mutated)))
    for attempt in (bytes(mutated), bytes(mutated[:cut]), bytes(mutated) + b"\x00"):
        try:
            read = unpack(attempt)
        except PeerError:
            continue
        assert pack(read) == attempt


@given(st.binary(max_size=100))
def test_any_bytes_are_a_message_or_a_peer_error(data: bytes) -> None:
    with contextlib.suppress(PeerError):
        assert pack(unpack(data)) == data


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([], "no type that is known"),
        ([4, 0, 0], "no type that is known"),
        (["0", 0, 0], "no type that is known"),
        ([False, 1, 0, []], "no type that is known"),
        ({"a": 1}, "not an array"),
        ([0, 1, 0], "3 items instead of 4"),
        ([3, 0, False, 0], "4 items instead of 3"),
        ([0, 1, -1, []], "2\\^64 - 1 for the timestamp"),
        ([0, 1, 2**64, []], "2\\^64 - 1 for the timestamp"),
        ([0, 1, True, []], "2\\^64 - 1 for the timestamp"),
        ([0, 1, 0, "venue"], "an array of at most 4096 schemas"),
        ([0, 1, 0, [""]], "schema ids of 1 to 1024 bytes"),
        ([0, 1, 0, ["x" * 1025]], "schema ids of 1 to 1024 bytes"),
        ([0, 1, 0, [b"venue"]], "schema ids of 1 to 1024 bytes"),
        ([0, 1, 0, ["a", "a"]], "every schema once"),
        ([0, 1, 0, [str(n) for n in range(limits.MAX_SCHEMAS + 1)]], "at most 4096 schemas"),
        ([1, 0, 1, ["a"]], "mode 0, log heights"),
        ([1, 0, 0, []], "at least one schema"),
        ([2, 0, "entry", None], "bytes for the entry"),
        ([2, 0, b"e" * (MAX_ENTRY + 1), None], "bytes for the entry"),
        ([2, 0, b"e", "operation"], "bytes for the operation"),
        ([2, 0, b"e", b"o" * (MAX_OPERATION + 1)], "bytes for the operation"),
        ([3, 0, 1], "true or false"),
        ([10, 0, [[b"k", []]]], "32 bytes for a public key"),
        ([10, 0, [[KEY.decode(), []]]], "32 bytes for a public key"),
        ([10, 0, [[KEY]]], "an author and their logs"),
        ([10, 0, [[KEY, [[0, 0]]]]], "from 1 to 2\\^64 - 1 for a sequence number"),
        ([10, 0, [[KEY, [[0]]]]], "a log id and a sequence number"),
        ([10, 0, [[KEY, [[0, 1], [0, 2]]]]], "every log once"),
        ([10, 0, [[KEY, []], [KEY, []]]], "every author once"),
    ],
)
def test_a_wrong_field_is_refused_with_what_was_expected(value: object, sentence: str) -> None:
    with pytest.raises(PeerError, match=sentence):
        unpack(cbor2.dumps(value))


@pytest.mark.parametrize(
    "data",
    [
        b"\x83\x03\x18\x03\xf4",  # a number longer than it must be
        b"\x83\x03\x03\xf4\x00",  # something behind it
        b"\x9f\x03\x03\xf4\xff",  # an array of indefinite length
        b"\x84\x02\x00\x5f\x41e\xff\xf6",  # a string of indefinite length
        b"\x83\x03\xc2\x41\x03\xf4",  # a number as a bignum
        b"\x84\x00\x01\xc2\x49\x01" + bytes(8) + b"\x80",  # a number above 2^64
    ],
)
def test_a_second_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(PeerError):
        unpack(data)


def test_another_version_is_refused_as_such() -> None:
    with pytest.raises(PeerVersionError, match="version 2 of the replication protocol") as raised:
        unpack(cbor2.dumps([0, 2, 0, []]))
    assert raised.value.abort is Abort.VERSION


def test_a_have_may_name_so_many_authors_and_logs_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_LOGS", 3)
    monkeypatch.setattr(limits, "MAX_AUTHORS", 2)
    full = Have(0, (AuthorHeights(b"a" * 32, ((0, 1), (1, 1))), AuthorHeights(KEY, ((0, 1),))))
    assert unpack(pack(full)) == full
    with pytest.raises(PeerError, match="logs"):
        unpack(pack(Have(0, (*full.heights[:1], AuthorHeights(KEY, ((0, 1), (1, 1)))))))
    with pytest.raises(PeerError, match="authors"):
        unpack(pack(Have(0, (*full.heights, AuthorHeights(b"c" * 32, ())))))
