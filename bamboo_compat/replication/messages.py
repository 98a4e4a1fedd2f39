"""Every message: one frozen dataclass each, how it is written and how it is read.

| message | CBOR array |
|---|---|
| `Announce` | `[0, version, timestamp, [schema, ...]]` |
| `Request` | `[1, session, mode, [schema, ...]]`, mode 0: by log heights |
| `EntryMessage` | `[2, session, entry, operation]`; null for a payload that is withheld |
| `Done` | `[3, session, live]` |
| `Have` | `[10, session, [[public key, [[log id, sequence number], ...]], ...]]` |

Keys, entries and operations are byte strings, schema ids are text, all else but `live` are
numbers below 2^64. Definite lengths and shortest heads only, so that a message has one
byte string. What was read is what somebody claims; nothing of it is verified.

Live mode is not spoken: `live` is always false from us, and ends with the session from
whoever says true, since it takes two.

Source: p2panda handbook, specification/replication; aquadoggo src/replication/message.rs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import cbor2

from bamboo_compat.core.entry import MAX_ENTRY
from bamboo_compat.core.keys import PUBLIC_KEY_BYTES
from bamboo_compat.core.profiles import MAX_OPERATION
from bamboo_compat.replication import limits
from setsync.errors import Abort, PeerError, PeerVersionError

VERSION = 1
LOG_HEIGHTS = 0
"""The mode that is spoken here. Mode 1 would be set reconciliation."""

_MAX_NUMBER = 2**64 - 1


class AuthorHeights(NamedTuple):
    """One author's logs: (log id, sequence number of the last entry before any gap)."""

    author: bytes
    logs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Announce:
    """Both: these are the schemas that I know. `timestamp` in seconds since 1970."""

    timestamp: int
    schemas: tuple[str, ...]

    TYPE = 0

    def fields(self) -> tuple[Any, ...]:
        """What follows the type."""
        return VERSION, self.timestamp, self.schemas

    @classmethod
    def read(cls, version: object, timestamp: object, schemas: object) -> Announce:
        """Raises FieldError, and PeerVersionError for a version that we do not speak."""
        if _number(version, "the version") != VERSION:
            raise PeerVersionError(
                f"The other side announces version {version} of the replication protocol; "
                f"this node speaks version {VERSION}."
            )
        return cls(_number(timestamp, "the timestamp"), _schemas(schemas))


@dataclass(frozen=True, slots=True)
class Request:
    """Initiator: let us replicate these schemas."""

    session: int
    schemas: tuple[str, ...]

    TYPE = 1

    def fields(self) -> tuple[Any, ...]:
        """What follows the type."""
        return self.session, LOG_HEIGHTS, self.schemas

    @classmethod
    def read(cls, session: object, mode: object, schemas: object) -> Request:
        """Raises FieldError."""
        if _number(mode, "the mode") != LOG_HEIGHTS:
            raise FieldError(f"mode {LOG_HEIGHTS}, log heights: no other is spoken here")
        asked = _schemas(schemas)
        if not asked:
            raise FieldError("at least one schema")
        return cls(_number(session, "the session"), asked)


@dataclass(frozen=True, slots=True)
class EntryMessage:
    """Both: an entry that you lack. `operation` is its payload, None where withheld."""

    session: int
    entry: bytes
    operation: bytes | None

    TYPE = 2

    def fields(self) -> tuple[Any, ...]:
        """What follows the type."""
        return self.session, self.entry, self.operation

    @classmethod
    def read(cls, session: object, entry: object, operation: object) -> EntryMessage:
        """Raises FieldError."""
        return cls(
            _number(session, "the session"),
            _bytes(entry, "the entry", MAX_ENTRY),
            None if operation is None else _bytes(operation, "the operation", MAX_OPERATION),
        )


@dataclass(frozen=True, slots=True)
class Done:
    """Both: that was all that you lack. `live` says whether more may follow; never here."""

    session: int
    live: bool = False

    TYPE = 3

    def fields(self) -> tuple[Any, ...]:
        """What follows the type."""
        return self.session, self.live

    @classmethod
    def read(cls, session: object, live: object) -> Done:
        """Raises FieldError."""
        if type(live) is not bool:
            raise FieldError("true or false for live mode")
        return cls(_number(session, "the session"), live)


@dataclass(frozen=True, slots=True)
class Have:
    """Both: so far I have the logs of the session's schemas. All of them, in one message."""

    session: int
    heights: tuple[AuthorHeights, ...]

    TYPE = 10

    def fields(self) -> tuple[Any, ...]:
        """What follows the type."""
        return self.session, self.heights

    @classmethod
    def read(cls, session: object, heights: object) -> Have:
        """Raises FieldError."""
        return cls(_number(session, "the session"), _heights(heights))


Message: TypeAlias = Announce | Request | EntryMessage | Done | Have
KINDS: dict[int, type[Message]] = {
    kind.TYPE: kind for kind in (Announce, Request, EntryMessage, Done, Have)
}
_FIELDS = {Announce: 3, Request: 3, EntryMessage: 3, Done: 2, Have: 2}


class Ceiling(NamedTuple):
    """How long a message of some type may be, and of how many CBOR items."""

    size: int
    items: int


CEILINGS: dict[int, Ceiling] = {
    Announce.TYPE: Ceiling(limits.MAX_SCHEMAS_MESSAGE, limits.MAX_SCHEMAS + 8),
    Request.TYPE: Ceiling(limits.MAX_SCHEMAS_MESSAGE, limits.MAX_SCHEMAS + 8),
    EntryMessage.TYPE: Ceiling(limits.MAX_ENTRY_MESSAGE, 8),
    Done.TYPE: Ceiling(limits.MAX_DONE_MESSAGE, 8),
    Have.TYPE: Ceiling(limits.MAX_HAVE_MESSAGE, limits.MAX_HAVE_ITEMS),
}


class FieldError(ValueError):
    """A value is not what its field wants. `args[0]` says what was expected."""


def pack(message: Message) -> bytes:
    """A message's bytes. It is ours: only what a peer would refuse for its size is looked at
    elsewhere, before it is made."""
    return cbor2.dumps((message.TYPE, *message.fields()))


def unpack(data: bytes) -> Message:
    """One whole message. Raises PeerError."""
    value = _decode(data)
    kind = KINDS.get(value[0]) if value and type(value[0]) is int else None
    if kind is None:
        raise PeerError("A message has no type that is known; is this a Bamboo server?")
    name = kind.__name__
    if len(data) > CEILINGS[kind.TYPE].size:
        raise PeerError(f"A message {name} has {len(data)} bytes.", Abort.TOO_LARGE)
    if len(value) != 1 + _FIELDS[kind]:
        raise PeerError(f"A message {name} has {len(value)} items instead of {1 + _FIELDS[kind]}.")
    try:
        message: Message = kind.read(*value[1:])
    except FieldError as error:
        raise PeerError(f"A field of a message {name} is wrong; expected {error}.") from error
    if pack(message) != data:
        raise PeerError(f"A message {name} is not in its one canonical spelling.")
    return message


def _decode(data: bytes) -> tuple[object, ...]:
    try:
        value = cbor2.loads(
            data,
            max_depth=limits.MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            immutable=True,
        )
    except Exception as error:  # whatever a stranger's bytes do to the library
        raise PeerError(f"A message is not readable CBOR: {type(error).__name__}.") from error
    if type(value) is not tuple:
        raise PeerError("A message is not an array; is this a Bamboo server?")
    return value


def _number(value: object, what: str, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= _MAX_NUMBER:
        raise FieldError(f"a number from {least} to 2^64 - 1 for {what}")
    return value


def _bytes(value: object, what: str, most: int) -> bytes:
    if type(value) is not bytes or len(value) > most:
        raise FieldError(f"at most {most} bytes for {what}")
    return value


def _items(value: object, what: str, most: int) -> tuple[Any, ...]:
    if type(value) is not tuple or len(value) > most:
        raise FieldError(f"an array of at most {most} {what}")
    return value


def is_schema(value: object) -> bool:
    """Whether something can be a schema id on the wire."""
    if type(value) is not str:
        return False
    try:
        return 0 < len(value.encode("utf-8")) <= limits.MAX_SCHEMA
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _schemas(value: object) -> tuple[str, ...]:
    schemas = _items(value, "schemas", limits.MAX_SCHEMAS)
    if not all(is_schema(schema) for schema in schemas):
        raise FieldError(f"schema ids of 1 to {limits.MAX_SCHEMA} bytes of text")
    _check_distinct(schemas, "schema")
    return schemas


def _heights(value: object) -> tuple[AuthorHeights, ...]:
    found = []
    logs = 0
    for item in _items(value, "authors", limits.MAX_AUTHORS):
        author, heights = _pair(item, "an author and their logs")
        if type(author) is not bytes or len(author) != PUBLIC_KEY_BYTES:
            raise FieldError(f"{PUBLIC_KEY_BYTES} bytes for a public key")
        of_author = _items(heights, "logs", limits.MAX_LOGS - logs)
        logs += len(of_author)
        found.append(AuthorHeights(author, tuple(_height(one) for one in of_author)))
        _check_distinct((log_id for log_id, _ in found[-1].logs), "log")
    _check_distinct((one.author for one in found), "author")
    return tuple(found)


def _height(value: object) -> tuple[int, int]:
    log_id, seq_num = _pair(value, "a log id and a sequence number")
    return _number(log_id, "a log id"), _number(seq_num, "a sequence number", least=1)


def _pair(value: object, what: str) -> tuple[object, object]:
    if type(value) is not tuple or len(value) != 2:
        raise FieldError(what)
    return value


def _check_distinct(values: Iterable[object], what: str) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise FieldError(f"every {what} once")
        seen.add(value)
