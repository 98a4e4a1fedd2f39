"""The kinds of statements, and what each says: one codec a kind.

A body has one spelling. What is left of it after its fixed fields is text.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from bamboo_compat.core.yamf import PREFIX, Flavour
from setsync.errors import InvalidEntryError

ID_BYTES = 32
# One byte string with all fixed fields and the longest text fits, with room for later kinds.
MAX_BODY = 1024
# A sentence or two, which a line of a terminal or a field on a page holds.
MAX_REASON = 200
# As the longest address that setsync takes elsewhere, and far over what people read.
MAX_URL = 255

# Code points, not Unicode categories, which change with Python's version: what a terminal obeys
# (C0, DEL, C1), line separators, and what makes text read in another order than it is written.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


class Topic(enum.IntEnum):
    """What a chain is about. The number is the upper half of a kind's."""

    FORKS = 1
    HOMES = 2

    @property
    def collection(self) -> str:
        """Where statements of this topic are members."""
        return f"system/{self.name.lower()}"


class Kind(enum.IntEnum):
    """What a statement does."""

    DECIDE = 0x10
    UNDECIDE = 0x11
    HELLO = 0x20
    WELCOME = 0x21
    GOODBYE = 0x22

    @property
    def topic(self) -> Topic:
        """The chain that it belongs to."""
        return Topic(self >> 4)


@dataclass(frozen=True, slots=True)
class Decide:
    """This branch of a fork is right. `branch`: tagged hash of the branch's first entry."""

    fork: bytes
    branch: bytes
    reason: str = ""

    kind = Kind.DECIDE

    def pack(self) -> bytes:
        """fork's id 32 | tagged hash 34 or 66 | reason."""
        return _checked_id(self.fork) + _checked_hash(self.branch) + _text(self.reason, MAX_REASON)

    @classmethod
    def unpack(cls, body: bytes) -> Decide:
        """Raises ValueError."""
        end = ID_BYTES + _hash_size(body[ID_BYTES:])
        return cls(body[:ID_BYTES], body[ID_BYTES:end], _read_text(body[end:], MAX_REASON))

    def names(self) -> tuple[bytes, ...]:
        """Ids of entries that it names; of one that hashes with BLAKE2b it is not known."""
        is_id = self.branch.startswith(Flavour.YASMF.value)
        return (self.branch[PREFIX:],) if is_id else ()

    def about(self) -> tuple[bytes, ...]:
        """By what it is found."""
        return (self.fork,)


@dataclass(frozen=True, slots=True)
class Undecide:
    """What was decided of a fork holds no longer."""

    fork: bytes
    reason: str = ""

    kind = Kind.UNDECIDE

    def pack(self) -> bytes:
        """fork's id 32 | reason."""
        return _checked_id(self.fork) + _text(self.reason, MAX_REASON)

    @classmethod
    def unpack(cls, body: bytes) -> Undecide:
        """Raises ValueError."""
        return cls(_id(body), _read_text(body[ID_BYTES:], MAX_REASON))

    def names(self) -> tuple[bytes, ...]:
        return ()

    def about(self) -> tuple[bytes, ...]:
        return (self.fork,)


@dataclass(frozen=True, slots=True)
class Hello:
    """The author's: this server is my home. `server`: its node id; `url` may be empty."""

    server: bytes
    url: str = ""

    kind = Kind.HELLO

    def pack(self) -> bytes:
        """server's node id 32 | URL."""
        return _checked_id(self.server) + _text(self.url, MAX_URL)

    @classmethod
    def unpack(cls, body: bytes) -> Hello:
        """Raises ValueError."""
        return cls(_id(body), _read_text(body[ID_BYTES:], MAX_URL))

    def names(self) -> tuple[bytes, ...]:
        return ()

    def about(self) -> tuple[bytes, ...]:
        return (self.server,)


@dataclass(frozen=True, slots=True)
class Welcome:
    """The server's answer to a hello. `client`: the author who said it."""

    client: bytes
    hello: bytes
    url: str = ""

    kind = Kind.WELCOME

    def pack(self) -> bytes:
        """client's key 32 | id of the hello 32 | URL."""
        return _checked_id(self.client) + _checked_id(self.hello) + _text(self.url, MAX_URL)

    @classmethod
    def unpack(cls, body: bytes) -> Welcome:
        """Raises ValueError."""
        rest = body[ID_BYTES:]
        return cls(_id(body), _id(rest), _read_text(rest[ID_BYTES:], MAX_URL))

    def names(self) -> tuple[bytes, ...]:
        return (self.hello,)

    def about(self) -> tuple[bytes, ...]:
        return (self.client, self.hello)


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The author's: the server that a hello named is my home no longer."""

    hello: bytes
    reason: str = ""

    kind = Kind.GOODBYE

    def pack(self) -> bytes:
        """id of the hello 32 | reason."""
        return _checked_id(self.hello) + _text(self.reason, MAX_REASON)

    @classmethod
    def unpack(cls, body: bytes) -> Goodbye:
        """Raises ValueError."""
        return cls(_id(body), _read_text(body[ID_BYTES:], MAX_REASON))

    def names(self) -> tuple[bytes, ...]:
        return (self.hello,)

    def about(self) -> tuple[bytes, ...]:
        return (self.hello,)


Said: TypeAlias = Decide | Undecide | Hello | Welcome | Goodbye

_UNPACK: Mapping[Kind, Callable[[bytes], Said]] = {
    Kind.DECIDE: Decide.unpack,
    Kind.UNDECIDE: Undecide.unpack,
    Kind.HELLO: Hello.unpack,
    Kind.WELCOME: Welcome.unpack,
    Kind.GOODBYE: Goodbye.unpack,
}


def is_printable(text: str) -> bool:
    """Whether a text shows as it is written, on one line."""
    return _UNPRINTABLE.search(text) is None


def unpack(kind: Kind, body: bytes) -> Said:
    """What a body of this kind says. Raises InvalidEntryError `bad_body`."""
    try:
        if len(body) > MAX_BODY:
            raise ValueError(f"it has {len(body)} bytes; at most {MAX_BODY} are allowed")
        return _UNPACK[kind](body)
    except ValueError as error:
        raise bad_body(kind, str(error)) from error


def bad_body(kind: Kind, what: str) -> InvalidEntryError:
    """A body that is none of its kind."""
    return InvalidEntryError("bad_body", f"The body of this {kind.name.lower()} is wrong: {what}.")


# --- what bodies are made of --------------------------------------------------------------


def _id(field: bytes) -> bytes:
    return _checked_id(field[:ID_BYTES])


def _checked_id(field: bytes) -> bytes:
    if len(field) != ID_BYTES:
        raise ValueError(f"a field of {ID_BYTES} bytes has {len(field)}")
    return field


def _hash_size(rest: bytes) -> int:
    """How long the tagged hash is that bytes begin with."""
    for flavour, size in ((Flavour.YASMF, 32), (Flavour.YAMF, 64)):
        if rest.startswith(flavour.value):
            if len(rest) < PREFIX + size:
                raise ValueError("it ends inside a hash")
            return PREFIX + size
    raise ValueError("a hash is tagged 0x0020 or 0x0040")


def _checked_hash(tagged: bytes) -> bytes:
    if _hash_size(tagged) != len(tagged):
        raise ValueError("something follows a hash")
    return tagged


def _text(text: str, most: int) -> bytes:
    try:
        encoded = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("a text is not UTF-8") from error
    _read_text(encoded, most)
    return encoded


def _read_text(encoded: bytes, most: int) -> str:
    if len(encoded) > most:
        raise ValueError(f"a text has {len(encoded)} bytes; at most {most} are allowed")
    try:
        text = encoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("a text is not UTF-8") from error
    if not is_printable(text):
        raise ValueError("a text holds a character that is not printed")
    return text
