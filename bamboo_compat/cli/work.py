"""The part of verifying that other processes do: from a piece of a file to what is in it.

A function of its argument: it reads no file and keeps nothing from one job to the next.
"""

from __future__ import annotations

import json
from binascii import unhexlify
from collections.abc import Iterator
from typing import NamedTuple

from bamboo_compat.cli.sources import Job, Kind
from bamboo_compat.core.examining import Member, examine, examine_first
from bamboo_compat.core.report import Problem


class Unreadable(NamedTuple):
    """What stands at this place is no entry in any spelling, and why."""

    where: int
    what: str


Examined = Member | Problem | Unreadable


def do(job: Job) -> list[Examined]:
    """Examine every entry of a job; the list ends at the first thing that cannot be read."""
    found: list[Examined] = []
    try:
        found.extend(_examined(job))
    except _UnreadableHere as error:
        found.append(Unreadable(error.where, error.what))
    return found


_from_json = json.JSONDecoder().raw_decode


class _UnreadableHere(Exception):  # noqa: N818 - it never leaves this file
    def __init__(self, where: int, what: str) -> None:
        super().__init__(what)
        self.where = where
        self.what = what


def _examined(job: Job) -> Iterator[Member | Problem]:
    kind, start, content = job
    if isinstance(content, list):
        for where, entry, payload in content:
            data = _bytes("entry_bytes", where, entry)
            yield examine(
                data,
                _bytes("payload_bytes", where, payload) if payload is not None else None,
                where,
            )
    elif kind is Kind.LINES:
        for where, line in enumerate(content.split(b"\n"), start):
            if line and not line.isspace():
                entry, payload = _fields(line, where)
                yield examine(entry, payload, where)
    else:
        at = 0
        while at < len(content):
            examined, end = examine_first(content, at, start + at)
            yield examined
            if isinstance(examined, Problem) and examined.author is None:
                return  # nobody can say where the next one begins
            at = end


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
