"""What payloads and log ids mean to the two families of systems."""

from __future__ import annotations

import re

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo_compat.core.profiles import MAX_OPERATION, PROFILES, read_operation
from setsync.model.collection import check_name

RFC0001, AQUADOGGO = PROFILES["rfc0001"], PROFILES["aquadoggo"]
HASH = b"\x00\x20" + bytes(32)


@pytest.mark.parametrize(
    ("value", "schema", "previous"),
    [
        ([1, 0, "venue_v1", {"a": 1}], "venue_v1", None),
        ([1, 1, "venue_v1", [HASH], {"a": 1}], "venue_v1", HASH),
        ([1, 2, "venue_v1", [HASH, b"other"]], "venue_v1", HASH),
        ([1, 1, "venue_v1", []], "venue_v1", None),
        ({"schema": "0040ab", "action": "create", "fields": {}}, "0040ab", None),
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
        cbor2.dumps([1, 0, "venue", {}]) + b"\x00",
        cbor2.dumps([1, 0, "venue", {}])[:-1],
        b"\x9f\x01\x00\x65venue\xff",  # of indefinite length
        b"\xa2\x66schema\x61a\x66schema\x61b",  # one key twice
        b"\x83\x01\x00\x62\xff\xff",  # not UTF-8
        b"\x81" * 5000,
        b"\x9b" + b"\xff" * 8,  # an array of 2^64 - 1 items
        b"\x83\x01\x00\x7b" + b"\xff" * 8,
        cbor2.dumps([1, 0, "venue", b"\x00" * MAX_OPERATION]),
    ],
)
def test_whatever_is_not_an_operation_has_no_schema(payload: bytes) -> None:
    assert read_operation(payload) is None


@given(st.binary(max_size=200))
def test_any_payload_can_be_looked_at(payload: bytes) -> None:
    read_operation(payload)


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
