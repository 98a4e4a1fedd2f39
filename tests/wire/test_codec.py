"""The kinds of fields: each at its very bounds, and what is said of a value beyond them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsync.errors import PeerError
from setsync.limits import MAX_ARRAY
from setsync.wire.codec import (
    FieldError,
    Kind,
    array,
    blob,
    decode,
    either,
    encode,
    exactly,
    nil,
    record,
    text,
    uint,
)

NUMBER = uint(9, 3)
VALUES = st.recursive(
    st.none() | st.integers(0, 2**64 - 1) | st.binary(max_size=9) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=9,
)

GOOD: list[tuple[Kind[Any], object]] = [
    (uint(), 0),
    (uint(), 2**64 - 1),
    (NUMBER, 3),
    (NUMBER, 9),
    (blob(4), b""),
    (blob(4), b"1234"),
    (blob(4, 2), b"12"),
    (exactly(2), b"12"),
    (text(4), ""),
    (text(4), "1234"),
    (text(4), "éé"),
    (array(NUMBER, 2), ()),
    (array(NUMBER, 2), (3, 9)),
    (array(nil), (None,) * MAX_ARRAY),
    (record(), ()),
    (record(NUMBER, blob(1)), (3, b"1")),
    (either(NUMBER, nil), 3),
    (either(NUMBER, nil), None),
    (nil, None),
]

BAD: list[tuple[Kind[Any], object, str]] = [
    (uint(), -1, "a number from 0 to 18446744073709551615"),
    (uint(), 2**64, "a number from 0 to 18446744073709551615"),
    (uint(), True, "a number from 0"),
    (uint(), None, "a number from 0"),
    (NUMBER, 2, "a number from 3 to 9"),
    (NUMBER, 10, "a number from 3 to 9"),
    (blob(4), b"12345", "0 to 4 bytes"),
    (blob(4), "1234", "0 to 4 bytes"),
    (blob(4, 2), b"1", "2 to 4 bytes"),
    (exactly(2), b"1", "2 to 2 bytes"),
    (exactly(2), b"123", "2 to 2 bytes"),
    (text(4), "12345", "text of at most 4 bytes"),
    (text(4), "éé1", "text of at most 4 bytes"),
    (text(4), b"1234", "text of at most 4 bytes"),
    (array(NUMBER, 2), (3, 3, 3), "an array of 0 to 2"),
    (array(NUMBER, 2), b"\3", "an array of 0 to 2"),
    (array(NUMBER, 2, 1), (), "an array of 1 to 2"),
    (array(NUMBER, 2), (3, 2), "a number from 3 to 9"),
    (array(nil), (None,) * (MAX_ARRAY + 1), f"an array of 0 to {MAX_ARRAY}"),
    (record(NUMBER), (), "an array of 1 fields"),
    (record(NUMBER), (3, 3), "an array of 1 fields"),
    (record(NUMBER), b"\3", "an array of 1 fields"),
    (record(nil, NUMBER), (3, None), "nothing"),
    (either(NUMBER, nil), 2, "a number from 3 to 9 or nothing"),
    (nil, 0, "nothing"),
    (nil, (), "nothing"),
]


@pytest.mark.parametrize(("kind", "value"), GOOD)
def test_a_value_within_its_bounds_comes_back_as_it_is(kind: Kind[Any], value: object) -> None:
    assert kind(value) == value
    assert decode(encode((value,)), record(kind), "HELLO") == (value,)


@pytest.mark.parametrize(("kind", "value", "expected"), BAD)
def test_a_value_out_of_bounds_is_refused_and_told_what_was_expected(
    kind: Kind[Any], value: object, expected: str
) -> None:
    with pytest.raises(FieldError) as caught:
        kind(value)
    assert caught.value.args[0].startswith(expected)
    assert len(caught.value.args[0]) - len(expected) in (0, len(" to 18446744073709551615"))


def _deep(levels: int) -> Any:
    value: Any = 3
    for _ in range(levels):
        value = (value,)
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ((2,), "A field of HELLO is wrong; expected a number from 3 to 9."),
        (({},), "A field of HELLO is wrong; expected no map at all."),
        (({3: 3},), "HELLO is not readable: 1 exceeds max_map_len(0)"),
        ((msgpack.ExtType(5, b""),), "A field of HELLO is wrong; expected a number from 3"),
        ((msgpack.ExtType(5, b"x"),), "HELLO is not readable: 2 exceeds max_ext_len(0)"),
        ((3,) * (MAX_ARRAY + 1), f"HELLO is not readable: {MAX_ARRAY + 1} exceeds max_array_len"),
        ((3.0,), "A field of HELLO is wrong; expected a number from 3 to 9."),
        ((True,), "A field of HELLO is wrong; expected a number from 3 to 9."),
    ],
)
def test_what_no_message_holds_is_refused_before_it_is_built(value: object, words: str) -> None:
    with pytest.raises(PeerError) as caught:
        decode(msgpack.packb(value, use_bin_type=True), record(NUMBER), "HELLO")
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    "body", [b"", b"\x91", b"\xc1", b"\x91\xc1", b"\x91\x03\x03", b"\x91\xa1\xff", b"\x91" * 5000]
)
def test_what_is_no_value_at_all_is_not_readable(body: bytes) -> None:
    with pytest.raises(PeerError, match=r"^HELLO is not readable: [^.]"):
        decode(body, record(NUMBER), "HELLO")


@pytest.mark.parametrize(
    "body",
    [b"\x91\xcc\x03", b"\x91\xd0\x03", b"\x91\xcd\x00\x03", b"\xdc\x00\x01\x03"],
)
def test_a_second_spelling_is_refused(body: bytes) -> None:
    with pytest.raises(PeerError, match=r"^HELLO is not in its one canonical spelling\.$"):
        decode(body, record(NUMBER), "HELLO")


def _kind_of(value: object) -> Kind[Any]:
    match value:
        case tuple():
            return record(*map(_kind_of, value))
        case int():
            return uint(value, value)
        case bytes():
            return exactly(len(value))
        case str():
            return text(len(value.encode()))
    return nil


@given(VALUES.map(lambda value: (value,)), VALUES.map(lambda value: (value,)))
def test_what_was_encoded_is_decoded_as_its_own_kind_alone(one: Any, other: Any) -> None:
    assert decode(encode(one), _kind_of(one), "HELLO") == one
    assert decode(encode(one), either(_kind_of(one), nil), "HELLO") == one
    if [*_shape(one)] != [*_shape(other)]:
        with pytest.raises(FieldError):
            _kind_of(one)(other)


def _shape(value: object) -> Iterator[object]:
    """What `_kind_of` can tell apart, in order; texts and bytes may be as long as another."""
    match value:
        case tuple():
            yield len(value)
            for item in value:
                yield from _shape(item)
        case int():
            yield ("number", value)
        case bytes():
            yield ("bytes", len(value))
        case str():
            yield ("text",)
        case _:
            yield None
