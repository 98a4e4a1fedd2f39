"""Strangers' payloads as a few words. Whatever they hold, the work and the text are bounded.

CBOR is written down while it is read, and no value is made of it: a payload that is one
array in another, or says to have 2^60 items, costs no more than its first characters.
"""

from __future__ import annotations

import contextlib
import enum
import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from bamboo_compat.core.cbor_head import (
    ARRAY,
    BYTES,
    MAP,
    TAG,
    TEXT,
    UNSIGNED,
    BadHeadError,
    read_head,
    skip,
)
from bamboo_compat.core.profiles import MAX_SKIPPED, Operation, read_operation

# Beside another payload, and where somebody asks for more of it; in characters.
BRIEF = 200
FULL = 4_000
# More brackets than these within each other, and nobody reads them any more.
_DEEPEST = 12
# To say "JSON" instead of "text" is not worth reading more.
_MOST_JSON = 64 * 1024
_ACTIONS = {0: "create", 1: "update", 2: "delete"}
_SIMPLE = {20: "false", 21: "true", 22: "null", 23: "undefined"}
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_BARE_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Kind(enum.StrEnum):
    """What a payload looks like. `map` is the shape that operations had before."""

    OPERATION = "operation"
    MAP = "map"
    JSON = "json"
    TEXT = "text"
    BYTES = "bytes"
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class Described:
    """A payload for eyes. `text` is as a stranger wrote it: print it through `printable`.

    `text`: an operation's fields in a notation like JSON, with h'' around bytes; else the
    text, or bytes in hex. `cut`: more follows than `text` holds, or what follows cannot be
    read. `previous`: tagged hash of the first operation that it follows.
    """

    kind: Kind
    size: int
    text: str = ""
    cut: bool = False
    version: int | None = None
    action: str | None = None
    schema: str | None = None
    previous: bytes | None = None

    def as_json(self) -> dict[str, object]:
        """See docs/json/fork-show.json."""
        return {
            "kind": self.kind,
            "size": self.size,
            "version": self.version,
            "action": self.action,
            "schema": self.schema,
            "previous": self.previous.hex() if self.previous is not None else None,
            "text": self.text,
            "cut": self.cut,
        }


def describe(payload: bytes | None, size: int, most: int = BRIEF) -> Described:
    """What a payload is, with at most so many characters of it. `size`: what the entry says,
    for a payload that is not here."""
    if payload is None:
        return Described(Kind.WITHHELD, size)
    operation = read_operation(payload)
    if operation is not None:
        return _operation(payload, operation, most)
    # A character has four bytes at most, and one more shows that it goes on.
    beginning = payload[: 4 * (most + 1)]
    with contextlib.suppress(UnicodeDecodeError):
        payload.decode("utf-8")
        if b"\0" not in payload:
            kind = Kind.JSON if _is_json(payload) else Kind.TEXT
            text = beginning.decode("utf-8", "ignore")
            return Described(kind, size, text[:most], len(text) > most)
    return Described(Kind.BYTES, size, payload[: most // 2].hex(), len(payload) > most // 2)


def told(found: Described, longest_schema: int = 1024) -> list[str]:
    """A few lines that say what it is and what is in it; not yet printable."""
    text = found.text + ("..." if found.cut else "")
    size = "1 byte" if found.size == 1 else f"{found.size} bytes"
    match found.kind:
        case Kind.OPERATION | Kind.MAP:
            what = f"{found.action} (v{found.version})" if found.action else "map of"
            lines = [f"{what} {shortened(found.schema or '', longest_schema)}"]
            if found.previous is not None:
                lines.append(f"after {found.previous[2:10].hex()}")
            return [*lines, text] if text else lines
        case Kind.JSON:
            return [f"JSON, {size}: {text}"]
        case Kind.TEXT:
            return [f"text, {size}: {text}"] if found.size else ["empty payload"]
        case Kind.BYTES:
            return [f"{size}: {text}"]
        case Kind.WITHHELD:
            return [f"payload not here ({size})"]


def shortened(text: str, most: int) -> str:
    """The beginning of a name that is too long for its place."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _is_json(payload: bytes) -> bool:
    if len(payload) > _MOST_JSON or payload.lstrip()[:1] not in (b"{", b"["):
        return False
    try:
        json.loads(payload)
    except (ValueError, RecursionError):
        return False
    return True


# --- operations ---------------------------------------------------------------------------


def _operation(payload: bytes, operation: Operation, most: int) -> Described:
    """`operation` was read of it, so that its first items are there."""
    major, items, at = read_head(payload, 0)
    notation = _Notation(payload, most)
    if major == MAP:
        cut = notation.write(lambda: notation.item(0))
        size, schema = len(payload), operation.schema
        return Described(Kind.MAP, size, notation.text, cut, schema=schema)
    version, at = _integer(payload, at)
    action, at = _integer(payload, at)
    _, size, at = read_head(payload, at)
    at, rest = at + size, items - 3
    cut = False
    if action > 0 and rest:
        try:
            at, rest = skip(payload, at, MAX_SKIPPED)[0], rest - 1
        except BadHeadError:
            cut, rest = True, 0
    return Described(
        Kind.OPERATION,
        len(payload),
        cut=notation.write(lambda: notation.items(at, rest, ", ")) or cut,
        text=notation.text,
        version=version,
        action=_ACTIONS.get(action, f"action {action}"),
        schema=operation.schema,
        previous=operation.previous,
    )


def _integer(payload: bytes, at: int) -> tuple[int, int]:
    major, number, at = read_head(payload, at)
    return (number if major == UNSIGNED else -1 - number), at


# --- CBOR, written down -------------------------------------------------------------------


class _FullError(Exception):
    """There is as much text as may be."""


class _Notation:
    """Writes items down until there is enough, nearly as RFC 8949 does (section 8)."""

    def __init__(self, data: bytes, most: int) -> None:
        self._data = data
        self._left = most
        self._depth = 0
        self._said: list[str] = []

    @property
    def text(self) -> str:
        """What has been written."""
        return "".join(self._said)

    def write(self, work: Callable[[], object]) -> bool:
        """Do it as far as it goes; whether it had to stop."""
        try:
            work()
        except (_FullError, BadHeadError):
            return True
        return False

    def items(self, at: int, count: int, between: str) -> int:
        """So many items; where they end."""
        for number in range(count):
            if number:
                self._say(between)
            at = self.item(at)
        return at

    def item(self, at: int) -> int:
        """The item at a place; where it ends."""
        major, number, after = read_head(self._data, at)
        match major:
            case 0 | 1:
                self._say(str(number if major == UNSIGNED else -1 - number))
            case 2 | 3:
                return self._string(major, number, after)
            case 4 | 5 | 6:
                return self._nested(major, number, at, after)
            case _:
                self._say(_simple(self._data[at] & 0x1F, number))
        return after

    def _nested(self, major: int, number: int, at: int, after: int) -> int:
        if self._depth == _DEEPEST:
            self._say("...")
            return skip(self._data, at, MAX_SKIPPED)[0]
        self._depth += 1
        if major == ARRAY:
            self._say("[")
            after = self.items(after, number, ", ")
            self._say("]")
        elif major == TAG:
            self._say(f"{number}(")
            after = self.item(after)
            self._say(")")
        else:
            self._say("{")
            for pair in range(number):
                self._say(", " if pair else "")
                after = self._pair(after)
            self._say("}")
        self._depth -= 1
        return after

    def _pair(self, at: int) -> int:
        major, size, key = read_head(self._data, at)
        name = self._data[key : key + size].decode("utf-8", "replace") if major == TEXT else ""
        if _BARE_KEY.fullmatch(name):
            self._say(name)
            at = key + size
        else:
            at = self.item(at)
        self._say(": ")
        return self.item(at)

    def _string(self, major: int, size: int, at: int) -> int:
        # What there is no room for is not looked at; a character has four bytes at most.
        seen = self._data[at : at + min(size, 4 * self._left + 4)]
        if major == BYTES:
            self._say(f"h'{seen.hex()}'")
        else:
            self._say(json.dumps(seen.decode("utf-8", "replace"), ensure_ascii=False))
        if at + size > len(self._data):
            raise BadHeadError(at)
        return at + size

    def _say(self, text: str) -> None:
        self._said.append(text[: self._left])
        if len(text) > self._left:
            raise _FullError
        self._left -= len(text)


def _simple(info: int, number: int) -> str:
    """A float or a simple value; `info` are the low five bits of its first byte."""
    if info in _FLOATS:
        width = struct.calcsize(_FLOATS[info])
        [value] = struct.unpack(_FLOATS[info], number.to_bytes(width, "big"))
        return repr(value)
    return _SIMPLE.get(number, f"simple({number})")
