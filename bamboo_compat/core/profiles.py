"""What the two families of Bamboo systems mean by a log id and by a payload.

A payload begins with CBOR in one of two shapes: an operation, `[version, action, schema id,
...]`, or the map with a `schema` key that came before it. Whatever is neither has no
schema. Sources: p2panda handbook (operations, schemas, RFC 1 of its archive for log ids).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from blake3 import blake3

from bamboo_compat.core.cbor_head import (
    ARRAY,
    BYTES,
    MAP,
    NEGATIVE,
    TEXT,
    UNSIGNED,
    BadHeadError,
    read_head,
    read_text,
    skip,
    take,
)
from bamboo_compat.core.yamf import TAGS, is_hash

# A blob piece has 256 KiB; nothing larger is taken for an operation, here or on any node.
MAX_OPERATION = 1024 * 1024
MAX_SCHEMA = 1024
# Between two fields of one of the old maps there are some dozens.
MAX_SKIPPED = 65_536

_UPDATE = 1
_INTEGERS = (UNSIGNED, NEGATIVE)
_SCHEMA_KEY = b"schema"
_LAST_SYSTEM_LOG = 1023
SYSTEM_SCHEMAS = frozenset(
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
    """The operation that a payload begins with, or None where it begins with none.

    A rule of bytes, since all nodes have to name the same collection for the same payload.
    Heads are those of `cbor_head`: of any width, never of indefinite length. A payload of at
    most MAX_OPERATION bytes is an operation if it begins in one of two ways:

    1. an array of 3 items or more, whose first two, version and action, are integers (major
       type 0 or 1, any value), and whose third, the schema id, is a text of 1 to MAX_SCHEMA
       characters in UTF-8. If the action is 1 or more and there is a fourth item, its head is
       read; if that is an array of 1 item or more, that item's head; if that is a byte string
       of 34 or 66 bytes, these. Each has to be there. `previous` are these bytes, if they are
       a tagged hash, `00 20` and 32 or `00 40` and 64; whatever else is there, it is None.
    2. a map. The value of the first key that is the text `schema` is the schema id, as above.
       The keys and values before are stepped over, MAX_SKIPPED heads of them at most.

    Nothing else is looked at: not what follows, not whether it is CBOR or is there at all.
    """
    if len(payload) > MAX_OPERATION:
        return None
    try:
        major, number, at = read_head(payload, 0)
        if major == ARRAY:
            return _in_array(payload, at, number)
        if major == MAP:
            return _in_map(payload, at, number)
    except BadHeadError:
        pass
    return None


def _in_array(payload: bytes, at: int, items: int) -> Operation | None:
    version, _, at = read_head(payload, at)
    kind, action, at = read_head(payload, at)
    if items < 3 or version not in _INTEGERS or kind not in _INTEGERS:
        return None
    schema, at = read_text(payload, at, MAX_SCHEMA)
    follows = kind == UNSIGNED and action >= _UPDATE and items > 3
    return Operation(schema, _first_hash(payload, at) if follows else None)


def _first_hash(payload: bytes, at: int) -> bytes | None:
    major, items, at = read_head(payload, at)
    if major != ARRAY or not items:
        return None
    major, size, at = read_head(payload, at)
    if major != BYTES or size not in TAGS:
        return None
    tagged = take(payload, at, size)
    return tagged if is_hash(tagged) else None


def _in_map(payload: bytes, at: int, pairs: int) -> Operation | None:
    heads = MAX_SKIPPED
    for _ in range(pairs):
        major, size, key = read_head(payload, at)
        if (major, size) == (TEXT, len(_SCHEMA_KEY)) and payload.startswith(_SCHEMA_KEY, key):
            return Operation(read_text(payload, key + size, MAX_SCHEMA)[0], None)
        at, heads = skip(payload, at, heads)
        at, heads = skip(payload, at, heads)
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
        return schema in SYSTEM_SCHEMAS

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
