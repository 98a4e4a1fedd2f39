"""What the two families of Bamboo systems mean by a log id and by a payload.

A payload is read as CBOR in one of two shapes: an operation, `[version, action, schema id,
...]`, or the map with a `schema` key that came before it. Whatever is neither has no
schema. Sources: p2panda handbook (operations, schemas, RFC 1 of its archive for log ids).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NamedTuple

import cbor2
from blake3 import blake3

# A blob piece has 256 KiB; nothing larger is taken for an operation, here or on any node.
MAX_OPERATION = 1024 * 1024
MAX_SCHEMA = 1024
_DEPTH = 32

_UPDATE = 1
_LAST_SYSTEM_LOG = 1023
_SYSTEM_SCHEMAS = frozenset(
    {"schema_definition_v1", "schema_field_definition_v1", "blob_v1", "blob_piece_v1"}
)
MAX_NAME = 160
_KEPT = 64


class Operation(NamedTuple):
    """What is read of a payload. `previous`: tagged hash of the first operation that an
    update or a delete follows; its document is theirs. None for one that starts its own."""

    schema: str
    previous: bytes | None


def read_operation(payload: bytes) -> Operation | None:
    """The operation in a payload, or None where it is not one."""
    if not payload or len(payload) > MAX_OPERATION:
        return None
    source = BytesIO(payload)
    try:
        value = cbor2.CBORDecoder(
            source,
            read_size=1,  # it reads no further than it must, so that what is left over shows
            max_depth=_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        ).decode()
    except Exception:  # whatever a stranger's bytes do to the library: not an operation
        return None
    if source.tell() != len(payload):
        return None
    if isinstance(value, list):
        return _from_array(value)
    if isinstance(value, dict):
        return _operation(value.get("schema"), None)
    return None


def _from_array(array: list[Any]) -> Operation | None:
    if len(array) < 3 or type(array[0]) is not int or type(array[1]) is not int:
        return None
    previous = None
    if array[1] >= _UPDATE and len(array) > 3:
        follows = array[3]
        if isinstance(follows, list) and follows and isinstance(follows[0], bytes):
            previous = follows[0]
    return _operation(array[2], previous)


def _operation(schema: object, previous: bytes | None) -> Operation | None:
    if isinstance(schema, str) and 0 < len(schema) <= MAX_SCHEMA:
        return Operation(schema, previous)
    return None


@dataclass(frozen=True, slots=True)
class Profile:
    """One family of systems. Its name is part of every collection's name."""

    name: str
    # In which unit a log holds one thing: a schema of its author's, or a document.
    log_per: str

    def is_system(self, log_id: int, schema: str | None) -> bool:
        """Whether the log is one that others are understood by."""
        if self.log_per == "schema":
            return log_id <= _LAST_SYSTEM_LOG
        return schema in _SYSTEM_SCHEMAS

    def collection(self, log_id: int, schema: str | None) -> str:
        """The name of the collection that an entry is in: the same on every node."""
        if schema is None:
            return f"bamboo/{self.name}/unknown"
        system = "system/" if self.is_system(log_id, schema) else ""
        return f"{system}bamboo/{self.name}/{_segment(schema)}"


PROFILES: Mapping[str, Profile] = {
    "rfc0001": Profile("rfc0001", log_per="schema"),
    "aquadoggo": Profile("aquadoggo", log_per="document"),
}


def _segment(schema: str) -> str:
    """A stranger's schema id as one segment: escaped byte by byte, and never long."""
    plain = re.sub(
        rb"[^a-z0-9_]", lambda found: b"%%%02x" % found.group()[0], schema.encode("utf-8")
    ).decode("ascii")
    if len(plain) <= MAX_NAME:
        return plain
    return f"{plain[:_KEPT]}~{blake3(plain.encode()).hexdigest()}"
