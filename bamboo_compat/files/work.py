"""What other processes do: from a part of a file to what is in it.

Functions of their argument: they read no file and keep nothing from one job to the next.
"""

from __future__ import annotations

import json
from binascii import unhexlify
from collections.abc import Iterator
from typing import NamedTuple, cast

from bamboo_compat.core.examining import Member, examine, examine_first
from bamboo_compat.core.report import Problem
from bamboo_compat.files.sources import Job, Kind, Row


class Unreadable(NamedTuple):
    """What stands at this place is no entry in any spelling, and why."""

    where: int
    what: str


class Accepted(NamedTuple):
    """An entry that may be in a set: what its log needs of it, and its bytes."""

    member: Member
    entry: bytes
    payload: bytes | None

    @property
    def where(self) -> int:
        """Its place, as problems have one."""
        return self.member.where


Examined = Member | Problem | Unreadable
Read = Accepted | Problem | Unreadable


class Answer(list[Examined]):
    """What was found in a job, in order.

    Between processes nearly every answer, members and nothing else, goes as columns: a list
    of numbers and a list of hashes take a third of the time that named tuples take.
    """

    def __reduce__(self) -> tuple[object, ...]:
        if self and all(type(one) is Member for one in self):
            return _from_columns, tuple(zip(*self, strict=True))
        return Answer, (list(self),)


def _from_columns(*columns: tuple[object, ...]) -> Answer:
    return Answer(map(Member, *columns))


def examine_job(job: Job) -> Answer:
    """Examine every entry of a job; ends at the first thing that cannot be read."""
    found = Answer()
    try:
        for examined, _, _ in _examined(job):
            found.append(examined)
    except _UnreadableHere as error:
        found.append(Unreadable(error.where, error.what))
    return found


def read_job(job: Job) -> list[Read]:
    """As `examine_job`, with the bytes of what may be in a set."""
    found: list[Read] = []
    try:
        for examined, entry, payload in _examined(job):
            if isinstance(examined, Problem):
                found.append(examined)
            else:
                found.append(Accepted(examined, entry, payload))
    except _UnreadableHere as error:
        found.append(Unreadable(error.where, error.what))
    return found


class _UnreadableHere(Exception):  # noqa: N818 - it never leaves this file
    def __init__(self, where: int, what: str) -> None:
        super().__init__(what)
        self.where = where
        self.what = what


_Found = tuple[Member | Problem, bytes, bytes | None]


def _examined(job: Job) -> Iterator[_Found]:
    if job.kind is Kind.BARE:
        return _in_bare(job.where, cast("bytes", job.content))
    if job.kind is Kind.LINES:
        return _in_lines(job.where, cast("bytes", job.content))
    return _in_rows(cast("list[Row]", job.content))


def _in_rows(rows: list[Row]) -> Iterator[_Found]:
    for where, entry, payload in rows:
        data = _bytes("entry_bytes", where, entry)
        paid = None if payload is None else _bytes("payload_bytes", where, payload)
        yield examine(data, paid, where), data, paid


def _in_lines(start: int, content: bytes) -> Iterator[_Found]:
    for where, line in enumerate(content.split(b"\n"), start):
        if line and not line.isspace():
            data, payload = _fields(line, where)
            yield examine(data, payload, where), data, payload


def _in_bare(start: int, content: bytes) -> Iterator[_Found]:
    at = 0
    while at < len(content):
        examined, end = examine_first(content, at, start + at)
        yield examined, content[at:end], None
        if isinstance(examined, Problem) and examined.author is None:
            return  # nobody can say where the next one begins
        at = end


_from_json = json.JSONDecoder().raw_decode


def _fields(line: bytes, where: int) -> tuple[bytes, bytes | None]:
    try:
        text = line.decode("utf-8").strip()
        value, end = _from_json(text)
        if end != len(text):
            raise ValueError(end)
    except (ValueError, RecursionError) as error:
        raise _UnreadableHere(where, "is not JSON") from error
    try:
        payload = value.get("payload")
        return unhexlify(value["entry"]), None if payload is None else unhexlify(payload)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _UnreadableHere(
            where, "is not an object with 'entry' and perhaps 'payload' in hex"
        ) from error


def _bytes(field: str, where: int, value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return unhexlify(value)
        except ValueError:
            pass
    raise _UnreadableHere(where, f"has no hex in {field}")
