"""What is said on the protocol `setsync-home/1`: a question, an answer, as often as it takes.

`docs/homes.md` shows the bytes. Numbers are unsigned and big-endian; every message has one byte
string, and nothing follows it. What a question asks in an author's name the author has signed, for
one server and for some minutes by that server's own clock.

| tag | question | fields |
|---|---|---|
| 0x01 | Who | code: length 1 and bytes |
| 0x02 | Join | code: length 1 and bytes, not before 8, not after 8, statements, signature 64 |
| 0x03 | Tell | statements |
| 0x04 | Heads | author 32, not before 8, not after 8, count 1, log ids 8 each, signature 64 |
| 0x05 | Logs | author 32, not before 8, not after 8, log id 8, signature 64 |

| tag | answer | fields |
|---|---|---|
| 0x81 | IAm | node id 32, its clock 8 |
| 0x82 | Welcomed | header of the welcome: length 2 and bytes |
| 0x83 | Noted | how many statements are kept, 1 |
| 0x84 | Are | count 1, for each: log id 8, header of the entry: length 2 and bytes |
| 0xff | Refused | why 1, a sentence: length 2 and bytes |

Statements: how many 1, and the header of each, length 2 and bytes, by one author, in order.
Times are milliseconds since 1970.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from blake3 import blake3

from bamboo_compat.homes.fields import Fields, counted, text_of
from bamboo_compat.homes.limits import MAX_HEADS, MAX_MESSAGE, MAX_STATEMENT, MAX_STATEMENTS
from setsync.errors import PeerError
from setsync.limits import MAX_INVITE, MAX_SENTENCE

PROTOCOL = "setsync-home/1"
_JOIN_LABEL = b"setsync-home/1 join\0"
_HEADS_LABEL = b"setsync-home/1 heads\0"
_LOGS_LABEL = b"setsync-home/1 logs\0"
_MAX_ENTRY = 1_024


class Why(enum.IntEnum):
    """Why a question is refused."""

    NO_SUCH_INVITE = 1
    USED_UP = 2
    EXPIRED = 3
    REVOKED = 4
    TOO_OFTEN = 5
    NOT_SIGNED = 6
    NOT_NOW = 7
    NOT_FOR_US = 8
    MARRIED = 9
    MALFORMED = 10
    FAILED = 11


@dataclass(frozen=True, slots=True)
class Who:
    """Who are you, and what is the time there? With a `code`: and is it good?"""

    code: bytes = field(default=b"", repr=False)

    tag = 0x01

    def pack(self) -> bytes:
        """The fields."""
        return counted(self.code, 1)

    @classmethod
    def unpack(cls, fields: Fields) -> Who:
        """Raises ValueError."""
        return cls(fields.some(1, MAX_INVITE))


@dataclass(frozen=True, slots=True)
class Join:
    """Be my home. The last of the `statements` is the hello; those before it are what it goes
    after. Signed with the author's key; see `to_sign`."""

    code: bytes = field(repr=False)
    not_before: int
    not_after: int
    statements: tuple[bytes, ...]
    signature: bytes = bytes(64)

    tag = 0x02

    def to_sign(self, server: bytes) -> bytes:
        """What the author signs: a label, the server's node id, the digest of the code, the
        window, the id of the hello."""
        return b"".join(
            (
                _JOIN_LABEL,
                server,
                blake3(self.code).digest(),
                _window(self.not_before, self.not_after),
                blake3(self.statements[-1]).digest(),
            )
        )

    def pack(self) -> bytes:
        """The fields."""
        window = _window(self.not_before, self.not_after)
        return counted(self.code, 1) + window + _pack_statements(self.statements) + self.signature

    @classmethod
    def unpack(cls, fields: Fields) -> Join:
        """Raises ValueError."""
        code = fields.some(1, MAX_INVITE)
        window = fields.number(8), fields.number(8)
        return cls(code, *window, _statements(fields), fields.take(64))


@dataclass(frozen=True, slots=True)
class Tell:
    """Keep these statements: a goodbye, that need not wait for the next sync."""

    statements: tuple[bytes, ...]

    tag = 0x03

    def pack(self) -> bytes:
        """The fields."""
        return _pack_statements(self.statements)

    @classmethod
    def unpack(cls, fields: Fields) -> Tell:
        """Raises ValueError."""
        return cls(_statements(fields))


@dataclass(frozen=True, slots=True)
class Heads:
    """How far do you have these logs of mine? Signed with the author's key."""

    author: bytes
    not_before: int
    not_after: int
    log_ids: tuple[int, ...]
    signature: bytes = bytes(64)

    tag = 0x04

    def to_sign(self, server: bytes) -> bytes:
        """What the author signs: a label, the server's node id, then the fields."""
        return _HEADS_LABEL + server + self._fields()

    def _fields(self) -> bytes:
        ids = b"".join(log_id.to_bytes(8, "big") for log_id in self.log_ids)
        window = _window(self.not_before, self.not_after)
        return self.author + window + bytes([len(self.log_ids)]) + ids

    def pack(self) -> bytes:
        """The fields."""
        return self._fields() + self.signature

    @classmethod
    def unpack(cls, fields: Fields) -> Heads:
        """Raises ValueError."""
        author, window = fields.take(32), (fields.number(8), fields.number(8))
        count = _at_most(fields.number(1), MAX_HEADS)
        ids = tuple(fields.number(8) for _ in range(count))
        return cls(author, *window, ids, fields.take(64))


@dataclass(frozen=True, slots=True)
class Logs:
    """Which logs of mine do you have, from the log id `first` on? The answer has the lowest
    MAX_HEADS of them by log id; none where there are no more. Signed with the author's key."""

    author: bytes
    not_before: int
    not_after: int
    first: int
    signature: bytes = bytes(64)

    tag = 0x05

    def to_sign(self, server: bytes) -> bytes:
        """What the author signs: a label, the server's node id, then the fields."""
        return _LOGS_LABEL + server + self._fields()

    def _fields(self) -> bytes:
        window = _window(self.not_before, self.not_after)
        return self.author + window + self.first.to_bytes(8, "big")

    def pack(self) -> bytes:
        """The fields."""
        return self._fields() + self.signature

    @classmethod
    def unpack(cls, fields: Fields) -> Logs:
        """Raises ValueError."""
        author, window = fields.take(32), (fields.number(8), fields.number(8))
        return cls(author, *window, fields.number(8), fields.take(64))


@dataclass(frozen=True, slots=True)
class IAm:
    """The server's node id, and what its clock says."""

    node: bytes
    clock: int

    tag = 0x81

    def pack(self) -> bytes:
        """The fields."""
        return self.node + self.clock.to_bytes(8, "big")

    @classmethod
    def unpack(cls, fields: Fields) -> IAm:
        """Raises ValueError."""
        return cls(fields.take(32), fields.number(8))


@dataclass(frozen=True, slots=True)
class Welcomed:
    """You are at home here: the header of the server's statement."""

    welcome: bytes

    tag = 0x82

    def pack(self) -> bytes:
        """The fields."""
        return counted(self.welcome, 2)

    @classmethod
    def unpack(cls, fields: Fields) -> Welcomed:
        """Raises ValueError."""
        return cls(fields.some(2, MAX_STATEMENT))


@dataclass(frozen=True, slots=True)
class Noted:
    """So many of the statements are kept now, new or not."""

    count: int

    tag = 0x83

    def pack(self) -> bytes:
        """The fields."""
        return bytes([self.count])

    @classmethod
    def unpack(cls, fields: Fields) -> Noted:
        """Raises ValueError."""
        return cls(_at_most(fields.number(1), MAX_STATEMENTS))


@dataclass(frozen=True, slots=True)
class Are:
    """By log id: the header of the entry with the highest number; empty where there is none."""

    heads: tuple[tuple[int, bytes], ...]

    tag = 0x84

    def pack(self) -> bytes:
        """The fields."""
        heads = (log_id.to_bytes(8, "big") + counted(header, 2) for log_id, header in self.heads)
        return bytes([len(self.heads)]) + b"".join(heads)

    @classmethod
    def unpack(cls, fields: Fields) -> Are:
        """Raises ValueError."""
        count = _at_most(fields.number(1), MAX_HEADS)
        return cls(tuple((fields.number(8), fields.some(2, _MAX_ENTRY)) for _ in range(count)))


@dataclass(frozen=True, slots=True)
class Refused:
    """No, and why."""

    why: Why
    sentence: str

    tag = 0xFF

    def pack(self) -> bytes:
        """The fields."""
        # Cut at a character, or it could not be read again.
        sentence = self.sentence.encode("utf-8")[:MAX_SENTENCE].decode("utf-8", "ignore")
        return bytes([self.why]) + counted(sentence.encode("utf-8"), 2)

    @classmethod
    def unpack(cls, fields: Fields) -> Refused:
        """Raises ValueError."""
        return cls(Why(fields.number(1)), text_of(fields.some(2, MAX_SENTENCE)))


Question: TypeAlias = Who | Join | Tell | Heads | Logs
Answer: TypeAlias = IAm | Welcomed | Noted | Are | Refused

_QUESTIONS: dict[int, Callable[[Fields], Question]] = {
    Who.tag: Who.unpack,
    Join.tag: Join.unpack,
    Tell.tag: Tell.unpack,
    Heads.tag: Heads.unpack,
    Logs.tag: Logs.unpack,
}
_ANSWERS: dict[int, Callable[[Fields], Answer]] = {
    IAm.tag: IAm.unpack,
    Welcomed.tag: Welcomed.unpack,
    Noted.tag: Noted.unpack,
    Are.tag: Are.unpack,
    Refused.tag: Refused.unpack,
}


def encode(message: Question | Answer) -> bytes:
    """The bytes of a message."""
    return bytes([message.tag]) + message.pack()


def read_question(data: bytes) -> Question:
    """Raises PeerError."""
    return _read(data, _QUESTIONS, "question")


def read_answer(data: bytes) -> Answer:
    """Raises PeerError."""
    return _read(data, _ANSWERS, "answer")


T = TypeVar("T", Question, Answer)


def _read(data: bytes, known: dict[int, Callable[[Fields], T]], what: str) -> T:
    try:
        if len(data) > MAX_MESSAGE:
            raise ValueError(f"it has more than {MAX_MESSAGE:,} bytes")
        fields = Fields(data)
        tag = fields.number(1)
        if tag not in known:
            raise ValueError(f"there is no {what} 0x{tag:02x}")
        message = known[tag](fields)
        fields.end()
    except ValueError as error:
        raise PeerError(f"This is no {what} about homes: {error}.") from error
    return message


def _window(not_before: int, not_after: int) -> bytes:
    return not_before.to_bytes(8, "big") + not_after.to_bytes(8, "big")


def _pack_statements(statements: tuple[bytes, ...]) -> bytes:
    return bytes([len(statements)]) + b"".join(counted(one, 2) for one in statements)


def _statements(fields: Fields) -> tuple[bytes, ...]:
    count = _at_most(fields.number(1), MAX_STATEMENTS)
    if not count:
        raise ValueError("there is no statement in it")
    return tuple(fields.some(2, MAX_STATEMENT) for _ in range(count))


def _at_most(count: int, most: int) -> int:
    if count > most:
        raise ValueError(f"it counts {count}; at most {most} are allowed")
    return count
