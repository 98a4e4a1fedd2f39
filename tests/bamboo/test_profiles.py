"""What payloads and log ids mean to the two families of systems."""

from __future__ import annotations

import re

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo_compat.core.profiles import (
    MAX_OPERATION,
    MAX_SKIPPED,
    PROFILES,
    Operation,
    read_operation,
)
from setsync.model.collection import check_name

RFC0001, AQUADOGGO = PROFILES["rfc0001"], PROFILES["aquadoggo"]
HASH = b"\x00\x20" + bytes(32)
LONG_HASH = b"\x00\x40" + bytes(64)


@pytest.mark.parametrize(
    ("value", "schema", "previous"),
    [
        ([1, 0, "venue_v1", {"a": 1}], "venue_v1", None),
        ([1, 1, "venue_v1", [HASH], {"a": 1}], "venue_v1", HASH),
        ([1, 2, "venue_v1", [HASH, b"other"]], "venue_v1", HASH),
        ([1, 1, "venue_v1", []], "venue_v1", None),
        ([1, 1, "venue_v1"], "venue_v1", None),
        ([1, 1, "venue_v1", {}], "venue_v1", None),
        ([1, 1, "venue_v1", ["0020"]], "venue_v1", None),
        ([1, 1, "venue_v1", [HASH[:-1]]], "venue_v1", None),
        ([1, 1, "venue_v1", [b"\x00\x40" + bytes(32)]], "venue_v1", None),
        ([1, 1, "venue_v1", [b"\x00\x20" + bytes(64)]], "venue_v1", None),
        ([1, 1, "venue_v1", [LONG_HASH]], "venue_v1", LONG_HASH),
        ([1, 0, "venue_v1", [HASH]], "venue_v1", None),
        ([1, -1, "venue_v1", [HASH]], "venue_v1", None),
        ([-(2**64), 2**64 - 1, "venue_v1", [HASH]], "venue_v1", HASH),
        ([1, 0, "\u00e9" * 1024], "\u00e9" * 1024, None),
        ({"schema": "0040ab", "action": "create", "fields": {}}, "0040ab", None),
        ({"a": [1.5, None, {"b": b"c"}], 7: -1, "schema": "venue"}, "venue", None),
        ({"schemas": 1, b"schema": 2, "schema": "venue"}, "venue", None),
        ({"a": {"schema": "inner"}, "schema": "outer"}, "outer", None),
        ({"a": [0] * (MAX_SKIPPED - 2), "schema": "venue"}, "venue", None),
    ],
)
def test_operations_of_both_shapes(value: object, schema: str, previous: bytes | None) -> None:
    assert read_operation(cbor2.dumps(value)) == (schema, previous)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"plain words",
        cbor2.dumps("venue"),
        cbor2.dumps([1, 0]),
        cbor2.dumps([1, 0, 7]),
        cbor2.dumps([1, 0, ""]),
        cbor2.dumps(["1", 0, "venue"]),
        cbor2.dumps([True, 0, "venue"]),
        cbor2.dumps({"schema": 7}),
        cbor2.dumps({"scheme": "venue"}),
        cbor2.dumps([1, 0, "x" * 1025]),
        cbor2.dumps([1.0, 0, "venue"]),
        cbor2.dumps([2**64, 0, "venue"]),  # a tag, not an integer
        cbor2.dumps(cbor2.CBORTag(55799, [1, 0, "venue"])),
        cbor2.dumps([1, 0, b"venue"]),
        cbor2.dumps({"a": [0] * (MAX_SKIPPED - 1), "schema": "venue"}),
        cbor2.dumps({"a": 0}) + b"\x66schema\x61a",  # outside of the map
        b"\xa2\x66schema\x07\x66schema\x61b",  # one key twice: the first decides
        b"\xa2\xff\x00\x66schema\x61b",
        b"\xa2\x5f\xff\x00\x66schema\x61b",
        b"\xa1\x67schema\x61a",  # the key is one longer
        b"\x9f\x01\x00\x65venue\xff",  # of indefinite length
        b"\xbf\x66schema\x61a\xff",
        b"\x83\x01\x00\x7f\x65venue\xff",
        b"\x84\x01\x01\x65venue\x9f\xff",
        b"\x83\x01\x00\x7c",  # a length that is reserved
        b"\x83\x01\x00\x62\xff\xff",  # not UTF-8
        b"\x83\x01\x00\x62\xc1\x81",  # longer than UTF-8 has to be
        b"\x83\x01\x00\x63\xed\xa0\x80",  # half of a surrogate pair
        b"\x81" * 5000,
        b"\x9b" + b"\xff" * 8,  # an array of 2^64 - 1 items
        b"\x83\x01\x00\x7b" + b"\xff" * 8,
        cbor2.dumps([1, 0, "venue", b"\x00" * MAX_OPERATION]),
    ],
)
def test_whatever_is_not_an_operation_has_no_schema(payload: bytes) -> None:
    assert read_operation(payload) is None


# --- any bytes ----------------------------------------------------------------------------

SCHEMAS = st.text(min_size=1, max_size=40)
LEAVES = (
    st.integers(-(2**64), 2**64 - 1)
    | st.text(max_size=8)
    | st.binary(max_size=40)
    | st.booleans()
    | st.none()
    | st.floats()
    | st.sampled_from([HASH, LONG_HASH, HASH[:-1], "schema"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
ARRAYS = st.tuples(
    st.integers(-3, 3) | LEAVES, st.integers(-3, 3) | LEAVES, SCHEMAS | LEAVES
).flatmap(lambda head: st.lists(VALUES, max_size=3).map(lambda rest: [*head, *rest]))
MAPS = st.dictionaries(st.text(max_size=8) | st.integers(), VALUES, max_size=4).flatmap(
    lambda before: st.one_of(SCHEMAS, VALUES).map(lambda one: {**before, "schema": one})
)


def of_value(value: object) -> Operation | None:
    """What a payload is whose every value is known: the rule, said of values."""
    match value:
        case [int() as version, int() as action, str() as schema, *rest]:
            whole = not isinstance(version, bool) and not isinstance(action, bool)
            if whole and schema and -(2**64) <= version < 2**64 and -(2**64) <= action < 2**64:
                return Operation(schema, of_rest(rest) if action >= 1 else None)
        case {"schema": str() as schema} if schema:
            return Operation(schema, None)
    return None


def of_rest(rest: list[object]) -> bytes | None:
    """The hash that the fourth item begins with."""
    match rest:
        case [[bytes() as first, *_], *_] if (len(first), first[:2]) in HASHES:
            return first
    return None


HASHES = {(34, b"\x00\x20"), (66, b"\x00\x40")}


@given(ARRAYS | MAPS | VALUES)
def test_operations_are_those_that_a_whole_decoder_finds(value: object) -> None:
    payload = cbor2.dumps(value)
    assert read_operation(payload) == of_value(cbor2.loads(payload))


@given(st.binary(max_size=200))
def test_any_payload_can_be_looked_at(payload: bytes) -> None:
    read_operation(payload)


@given((ARRAYS | MAPS).map(cbor2.dumps), st.data())
def test_any_change_of_an_operation_can_be_looked_at(payload: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(payload) - 1))
    changed = payload[:at] + data.draw(st.binary(max_size=9)) + payload[at + 1 :]
    read_operation(changed)


@pytest.mark.parametrize(
    ("value", "head"),
    [
        ([1, 0, "venue"], 9),
        ([1, 1, "venue", {"a": 1}], 10),
        ([1, 1, "venue", []], 10),
        ([1, 1, "venue", ["a"]], 11),
        ([1, 1, "venue", [HASH[:-1]]], 12),
        ([1, 1, "venue", [HASH, HASH], {}], 12 + len(HASH)),
        ([1, 2, "venue", [LONG_HASH]], 12 + len(LONG_HASH)),
        ({"a": [1, {"b": "c"}], "schema": "venue", "z": 1}, 23),
    ],
)
def test_the_head_decides_alone_and_is_needed_whole(value: object, head: int) -> None:
    payload = cbor2.dumps(value)
    found = read_operation(payload)
    assert found is not None
    for end in range(head):
        assert read_operation(payload[:end]) is None
    assert read_operation(payload[:head]) == found
    assert read_operation(payload[:head] + b"\xff" * 9) == found


def test_the_head_may_be_written_in_more_bytes_than_it_needs() -> None:
    wide = b"\x9b" + bytes(7) + b"\x04\x18\x01\x19\x00\x01\x7a\x00\x00\x00\x01a"
    link = b"\x98\x01\x59\x00\x22" + HASH
    assert read_operation(wide + link) == ("a", HASH)
    assert read_operation(b"\xb8\x01\x78\x06schema\x78\x01a") == ("a", None)


def test_of_two_schemas_in_a_map_the_first_counts() -> None:
    assert read_operation(b"\xa2\x66schema\x61a\x66schema\x61b") == ("a", None)


def test_a_deep_nest_is_stepped_over() -> None:
    payload = b"\xa2\x61a" + b"\x81" * 50_000 + b"\x00" + b"\x66schema\x61b"
    assert read_operation(payload) == ("b", None)


# --- profiles -----------------------------------------------------------------------------


def test_system_logs_of_rfc0001_are_told_by_number() -> None:
    assert [RFC0001.is_system(n, "any") for n in (0, 1023, 1024)] == [True, True, False]


def test_system_logs_of_aquadoggo_are_told_by_schema() -> None:
    assert AQUADOGGO.is_system(5000, "schema_field_definition_v1")
    assert not AQUADOGGO.is_system(0, "venue_0020" + "ab" * 32)
    assert not AQUADOGGO.is_system(0, "schema_definition_v1_0020" + "ab" * 32)


@pytest.mark.parametrize(
    ("log_id", "schema", "rfc0001", "aquadoggo"),
    [
        (0, "venue_1", "system/bamboo/rfc0001/venue_1", "bamboo/aquadoggo/venue_1"),
        (1024, "blob_v1", "bamboo/rfc0001/blob_v1", "system/bamboo/aquadoggo/blob_v1"),
        (0, None, "bamboo/rfc0001/unknown", "bamboo/aquadoggo/unknown"),
        (7, "A/é", "system/bamboo/rfc0001/%41%2f%c3%a9", "bamboo/aquadoggo/%41%2f%c3%a9"),
        (9999, "unknown", "bamboo/rfc0001/unknown", "bamboo/aquadoggo/unknown"),
    ],
)
def test_collections_are_named_the_same_everywhere(
    log_id: int, schema: str | None, rfc0001: str, aquadoggo: str
) -> None:
    assert RFC0001.collection(log_id, schema) == rfc0001
    assert AQUADOGGO.collection(log_id, schema) == aquadoggo


@given(
    st.integers(0, 2**64 - 1), st.text(min_size=1, max_size=1024).filter(lambda s: s.isprintable())
)
def test_any_schema_makes_a_name_that_a_collection_can_have(log_id: int, schema: str) -> None:
    for profile in PROFILES.values():
        name = profile.collection(log_id, schema)
        check_name(name)
        segment = name.rpartition("/")[2]
        assert len(segment) <= 160
        assert re.fullmatch(r"(?:[a-z0-9_]|%[0-9a-f]{2})*(?:[%0-9a-f]*~[0-9a-f]{64})?", segment)


def test_long_schemas_keep_their_beginning_and_stay_apart() -> None:
    names = {RFC0001.collection(1024, "x" * 161 + end) for end in "ab"}
    assert len(names) == 2
    assert all(name.startswith("bamboo/rfc0001/" + "x" * 64 + "~") for name in names)
    assert RFC0001.collection(1024, "x" * 160) == "bamboo/rfc0001/" + "x" * 160
