"""Statements as entries of their own format, tag 0x73. All is in the header; the payload is empty.

| offset | size | field |
|---|---|---|
| 0 | 1 | tag, 0x73 |
| 1 | 32 | author, Ed25519 public key |
| 33 | 1 | kind; its upper half is the topic |
| 34 | 8 | count: which of the author's statements on the topic, from 1 |
| 42 | 32 | id of the author's statement before on the topic; zeros if count is 1 |
| 74 | 8 | timestamp, milliseconds since 1970, claimed |
| 82 | 2 | length b of the body, at most 1024 |
| 84 | b | body, of the kind's own form |
| 84+b | 64 | Ed25519 signature of every byte before it |

Numbers are unsigned and big-endian. That the statement before is here, and has the count before,
is no part of whether a statement is valid.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from bamboo_compat.statements.kinds import MAX_BODY, Kind, Said, Topic, unpack
from setsync.errors import InvalidEntryError
from setsync.model.formats import Claims
from setsync.model.keys import SIGNATURE_BYTES, is_valid_signature

if TYPE_CHECKING:
    from bamboo_compat.statements.index import StatementIndex

NAME = "statement"
TAG = 0x73
FIRST = bytes(32)
MAX_COUNT = 2**64 - 1
_EMPTY = blake3(b"").digest()
_HEAD = struct.Struct(">B32sBQ32sQH")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that was decoded. `id` is BLAKE3-256 of its header."""

    id: bytes
    author: bytes
    count: int
    previous: bytes
    timestamp: int
    said: Said

    @property
    def kind(self) -> Kind:
        """What it does."""
        return self.said.kind

    @property
    def topic(self) -> Topic:
        """The chain that it belongs to."""
        return self.kind.topic

    @property
    def rank(self) -> tuple[int, bytes]:
        """Of two statements in one chain the one with the higher rank holds: the higher count;
        of one count, where the author has forked the chain, the smaller id."""
        return self.count, bytes(255 - byte for byte in self.id)


@dataclass(slots=True)
class StatementClaims(Claims):
    """With what the statement says."""

    statement: Statement


def statement_of(claims: Claims) -> Statement:
    """The statement behind claims that this format made."""
    assert isinstance(claims, StatementClaims)
    return claims.statement


class StatementFormat:
    """The format adapter; see `setsync.model.formats.EntryFormat`."""

    name = NAME
    tags = frozenset([TAG])

    def index(self) -> StatementIndex:
        """Chains, and statements by what they are about."""
        from bamboo_compat.statements.index import INDEX  # it decodes by this module

        return INDEX

    def decode(self, header: bytes) -> StatementClaims:
        """Decode strictly. Raises InvalidEntryError `bad_header`, `bad_body`."""
        statement = decode(header)
        named = {*statement.said.names(), statement.previous} - {FIRST}
        return StatementClaims(
            format=self.name,
            author=statement.author,
            collection=statement.topic.collection,
            timestamp=statement.timestamp,
            links=tuple(sorted(named)),
            payload_size=0,
            payload_hash=_EMPTY,
            signature=header[-SIGNATURE_BYTES:],
            statement=statement,
        )

    def check_collection(self, claims: Claims, payload: bytes | None, collection: str) -> None:
        """The kind says where it belongs. Raises `wrong_collection`."""
        if claims.collection != collection:
            raise InvalidEntryError(
                "wrong_collection",
                f"The statement belongs to {claims.collection!r}, not {collection!r}.",
            )

    def check_payload(self, claims: Claims, payload: bytes) -> None:
        """It has none. Raises `bad_payload_size`."""
        if payload:
            raise InvalidEntryError(
                "bad_payload_size", f"A statement has an empty payload, not {len(payload)} bytes."
            )

    def check_signature(self, claims: Claims, header: bytes) -> None:
        """Ed25519 over everything before the signature. Raises `bad_signature`."""
        if not is_valid_signature(claims.author, header[:-SIGNATURE_BYTES], claims.signature):
            raise InvalidEntryError(
                "bad_signature", f"The author {claims.author.hex()} did not sign these bytes."
            )


def encode(
    author: bytes, count: int, previous: bytes, timestamp: int, kind: Kind, body: bytes
) -> bytes:
    """Everything before the signature; nothing is checked."""
    return _HEAD.pack(TAG, author, kind, count, previous, timestamp, len(body)) + body


def decode(header: bytes) -> Statement:
    """Raises InvalidEntryError `bad_header`, `bad_body`."""
    if len(header) < _HEAD.size + SIGNATURE_BYTES:
        raise _bad_header(f"it has {len(header)} bytes, fewer than the shortest there is")
    tag, author, number, count, previous, timestamp, length = _HEAD.unpack_from(header)
    if tag != TAG:
        raise _bad_header(f"its tag is 0x{tag:02x}")
    kind = _kind(number)
    if length > MAX_BODY:
        raise _bad_header(f"its body has {length} bytes; at most {MAX_BODY} are allowed")
    if len(header) != _HEAD.size + length + SIGNATURE_BYTES:
        raise _bad_header(
            f"it should have {_HEAD.size + length + SIGNATURE_BYTES} bytes and has {len(header)}"
        )
    check_place(count, previous)
    said = unpack(kind, header[_HEAD.size : _HEAD.size + length])
    return Statement(blake3(header).digest(), author, count, previous, timestamp, said)


def check_place(count: int, previous: bytes) -> None:
    """The first of a chain, and only that, has none before. Raises `bad_header`."""
    if count == 0:
        raise _bad_header("its count is 0")
    if (count == 1) != (previous == FIRST):
        what = "names one" if count == 1 else "names none"
        raise _bad_header(f"its count is {count}, and it {what} before")


def _kind(number: int) -> Kind:
    try:
        return Kind(number)
    except ValueError as error:
        raise _bad_header(f"there is no kind 0x{number:02x}") from error


def _bad_header(what: str) -> InvalidEntryError:
    return InvalidEntryError("bad_header", f"The header is not a statement's: {what}.")
