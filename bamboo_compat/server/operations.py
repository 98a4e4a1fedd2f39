"""An operation as clients publish it, read strictly; and how documents are named.

| item | | there |
|---|---|---|
| version | 1 | always |
| action | 0 create, 1 update, 2 delete | always |
| schema id | text | always |
| previous | array of the hashes of the operations that it follows, ascending | update, delete |
| fields | map | create, update |

`core.profiles.read_operation` reads less, and of everything that anybody signed: there it is
about which collection an entry is in. Here nothing is taken that others could not read.
Source: p2panda handbook, operations.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from itertools import pairwise

from bamboo_compat.core.cbor_head import (
    ARRAY,
    BYTES,
    MAP,
    UNSIGNED,
    BadHeadError,
    read_head,
    read_text,
    skip,
    take,
)
from bamboo_compat.core.profiles import MAX_OPERATION, MAX_SCHEMA, MAX_SKIPPED
from bamboo_compat.core.yamf import is_hash
from bamboo_compat.server.errors import BadArgumentError, BadOperationError
from bamboo_compat.server.limits import MAX_PREVIOUS, MAX_VIEW_TEXT

VERSION = 1
_BETWEEN = "_"


class Action(enum.IntEnum):
    """What an operation does with its document."""

    CREATE = 0
    UPDATE = 1
    DELETE = 2


# Items of the array.
_ITEMS = {Action.CREATE: 4, Action.UPDATE: 5, Action.DELETE: 4}


@dataclass(frozen=True, slots=True)
class Operation:
    """`previous`: tagged hashes of the operations that it follows, none for one that creates."""

    action: Action
    schema: str
    previous: tuple[bytes, ...]


def read_operation(payload: bytes) -> Operation:
    """All of an operation but its fields, of which only is known that they are a map.

    Raises BadOperationError.
    """
    if len(payload) > MAX_OPERATION:
        raise BadOperationError(
            f"An operation has at most {MAX_OPERATION:,} bytes, not {len(payload):,}."
        )
    try:
        return _read(payload)
    except BadHeadError as error:
        raise BadOperationError("The operation cannot be read as one: it breaks off.") from error


def _read(payload: bytes) -> Operation:
    items, at = _head(payload, 0, ARRAY, "an array")
    version, at = _head(payload, at, UNSIGNED, "a version")
    if version != VERSION:
        raise BadOperationError(f"The operation has version {version}; {VERSION} is known here.")
    number, at = _head(payload, at, UNSIGNED, "an action")
    if number not in list(Action):
        raise BadOperationError(f"There is no action {number}.")
    action = Action(number)
    if items != _ITEMS[action]:
        what = f"A {action.name.lower()} operation has {_ITEMS[action]} items, not {items}."
        raise BadOperationError(what)
    try:
        schema, at = read_text(payload, at, MAX_SCHEMA)
    except BadHeadError as error:
        what = f"The operation's schema id is not a text of 1 to {MAX_SCHEMA} characters."
        raise BadOperationError(what) from error
    previous: tuple[bytes, ...] = ()
    if action is not Action.CREATE:
        previous, at = _read_previous(payload, at)
    if action is not Action.DELETE:
        _head(payload, at, MAP, "its fields, a map,")
        at, _ = skip(payload, at, MAX_SKIPPED)
    if at != len(payload):
        raise BadOperationError(f"After the operation come {len(payload) - at} more bytes.")
    return Operation(action, schema, previous)


def _head(payload: bytes, at: int, wanted: int, what: str) -> tuple[int, int]:
    major, number, after = read_head(payload, at)
    if major != wanted:
        raise BadOperationError(f"The operation has something else where {what} should be.")
    return number, after


def _read_previous(payload: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
    count, at = _head(payload, at, ARRAY, "the operations that it follows")
    if not 1 <= count <= MAX_PREVIOUS:
        raise BadOperationError(
            f"An operation follows 1 to {MAX_PREVIOUS} others; this one names {count}."
        )
    found: list[bytes] = []
    for _ in range(count):
        size, at = _head(payload, at, BYTES, "the hash of one that it follows")
        tagged = take(payload, at, size)
        if not is_hash(tagged):
            raise BadOperationError("What the operation follows is named by something not a hash.")
        found.append(tagged)
        at += size
    if any(one >= other for one, other in pairwise(found)):
        raise BadOperationError(
            "The operations that it follows are not in ascending order, each once."
        )
    return tuple(found), at


# --- as text ------------------------------------------------------------------------------


def parse_hex(text: str, what: str) -> bytes:
    """Bytes from hexadecimal digits alone. Raises BadArgumentError."""
    try:
        if not text.isascii() or any(sign.isspace() for sign in text):
            raise ValueError
        return bytes.fromhex(text)
    except ValueError as error:
        raise BadArgumentError(f"The {what} is not written in hexadecimal digits.") from error


def parse_view(text: str) -> tuple[bytes, ...]:
    """The operations of a document view id, `hash_hash_...`, each once. Raises BadArgumentError."""
    if len(text) > MAX_VIEW_TEXT:
        raise BadArgumentError(f"The view has more than {MAX_VIEW_TEXT:,} characters.")
    parts = text.split(_BETWEEN)
    if len(parts) > MAX_PREVIOUS:
        raise BadArgumentError(f"The view names {len(parts)} operations, over {MAX_PREVIOUS}.")
    found = [parse_hex(part, "view") for part in parts]
    if not all(is_hash(tagged) for tagged in found):
        raise BadArgumentError("The view names something that is not the hash of an operation.")
    if len(set(found)) != len(found):
        raise BadArgumentError("The view names an operation twice.")
    return tuple(found)
