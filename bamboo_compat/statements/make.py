"""Signing the next statement of one's chain."""

from __future__ import annotations

from bamboo_compat.statements.format import FIRST, MAX_COUNT, Statement, check_place, encode
from bamboo_compat.statements.kinds import Kind, Said, bad_body
from setsync.errors import InvalidEntryError
from setsync.model.entry import Entry, UnverifiedEntry, verify
from setsync.model.keys import SecretKey

_MAX_TIMESTAMP = 2**64 - 1


def make(key: SecretKey, said: Said, timestamp: int, before: Statement | None) -> Entry:
    """The statement after `before`, the latest of the key's chain on the topic; None: the first.

    `timestamp` in milliseconds since 1970. Whoever stores it holds a lock from reading `before`
    until then, or the chain forks. Raises InvalidEntryError, and nothing is signed.
    """
    body = pack(said)
    count = 1 if before is None else before.count + 1
    previous = FIRST if before is None else before.id
    if before is not None and (before.author, before.topic) != (key.public, said.kind.topic):
        raise InvalidEntryError("bad_header", "The statement before is of another chain.")
    if count > MAX_COUNT:
        raise InvalidEntryError("bad_header", "The chain has the last count that there is.")
    if not 0 <= timestamp <= _MAX_TIMESTAMP:
        raise InvalidEntryError("bad_timestamp", f"{timestamp} ms is not a 64-bit timestamp.")
    check_place(count, previous)
    signed = encode(key.public, count, previous, timestamp, said.kind, body)
    header = signed + key.sign(signed)
    return verify(UnverifiedEntry(said.kind.topic.collection, header, b""))


def pack(said: Said) -> bytes:
    """The body. Raises InvalidEntryError `bad_body`."""
    try:
        return said.pack()
    except ValueError as error:
        raise bad_body(Kind(said.kind), str(error)) from error
