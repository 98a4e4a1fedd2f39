"""What was decided at this node: forks and policies, with who, when and why.

One file in the data directory, `forks.json`, read and written whole. It is this node's own, and
never travels.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bamboo_compat.core.yamf import PREFIX, SIZES
from bamboo_compat.decisions.errors import ForksFileError
from bamboo_compat.decisions.limits import (
    LOCK_SECONDS,
    MAX_FILE,
    MAX_REASON,
    MAX_RECORDS,
    MAX_WHO,
)
from bamboo_compat.statements.kinds import is_printable
from setsync.node.lockedfile import Format, LockedFile

FILE = "forks.json"
_FORMAT_VERSION = 1
_ID_BYTES = 32


class Policy(enum.StrEnum):
    """What holds of a fork that nobody has decided: nothing; the branch that came through the
    author's home; or the one that was here first."""

    ASK = "ask"
    PREFER_HOME = "prefer-home"
    IGNORE = "ignore"


class Did(enum.StrEnum):
    """What a record is of."""

    DECIDE = "decide"
    UNDECIDE = "undecide"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class Record:
    """Something that was said here. `at` in milliseconds since 1970 by this machine's clock.

    `fork`: its id, of a decision. `branch`: the tagged hash of the branch's first entry.
    `author`: of a policy whose forks it is for; empty: everybody's. `policy` None: no policy
    of the author's own any more.
    """

    at: int
    who: str
    did: Did
    fork: bytes = b""
    branch: bytes = b""
    author: bytes = b""
    policy: Policy | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if len(self.who) > MAX_WHO or not is_printable(self.who):
            raise ForksFileError(f"A name has at most {MAX_WHO} printable characters.")
        if len(self.reason.encode("utf-8", "replace")) > MAX_REASON:
            raise ForksFileError(f"A reason has at most {MAX_REASON} bytes.")
        if not is_printable(self.reason):
            raise ForksFileError("A reason is one line of text.")

    @property
    def about(self) -> tuple[bool, bytes]:
        """What a later record about the same replaces."""
        is_policy = self.did is Did.POLICY
        return is_policy, self.author if is_policy else self.fork


@dataclass(slots=True)
class Book:
    """Everything in the file, in the order in which it was said."""

    records: list[Record] = field(default_factory=list)
    _last: dict[tuple[bool, bytes], Record] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._last = {record.about: record for record in self.records}

    def decision(self, fork: bytes) -> Record | None:
        """What holds here of a fork, as far as this node decided it."""
        found = self._last.get((False, fork))
        return found if found is not None and found.did is Did.DECIDE else None

    def policy(self, author: bytes = b"") -> Policy:
        """What holds of an author's undecided forks, or of everybody's."""
        for whose in (author, b""):
            found = self._last.get((True, whose))
            if found is not None and found.policy is not None:
                return found.policy
        return Policy.ASK

    def policies(self) -> dict[bytes, Policy]:
        """Of each author with a policy of their own."""
        return {
            author: record.policy
            for (is_policy, author), record in self._last.items()
            if is_policy and author and record.policy is not None
        }

    def history(self, fork: bytes) -> list[Record]:
        """All that was said here about a fork, the oldest first."""
        return [record for record in self.records if record.about == (False, fork)]

    def add(self, record: Record) -> None:
        """Say something. With too many records the oldest goes that no longer holds.

        Raises ForksFileError when all of them hold.
        """
        self.records.append(record)
        self._last[record.about] = record
        if len(self.records) > MAX_RECORDS:
            self._forget_one()

    def _forget_one(self) -> None:
        for at, record in enumerate(self.records):
            if self._last[record.about] is not record:
                del self.records[at]
                return
        raise ForksFileError(f"{MAX_RECORDS:,} forks are decided here, and that is the limit.")


class DecisionsFile:
    """The file, for readers and for one writer at a time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._file = LockedFile(self.path, _FORMAT, LOCK_SECONDS)

    def read(self) -> Book:
        """What is in the file; nothing, where there is none. Not to be changed.

        Raises ForksFileError, NewerFormatError.
        """
        return self._file.read()

    @contextlib.contextmanager
    def changing(self) -> Iterator[Book]:
        """Change the book inside the block; it is on the disk afterwards."""
        with self._file.changing() as draft:
            yield draft.value


def _dump(book: Book) -> dict[str, Any]:
    return {"records": [_dump_record(record) for record in book.records]}


def _dump_record(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {"at": record.at, "who": record.who, "did": record.did.value}
    if record.did is Did.POLICY:
        found["author"] = record.author.hex() or None
        found["policy"] = record.policy.value if record.policy is not None else None
    else:
        found["fork"] = record.fork.hex()
    if record.did is Did.DECIDE:
        found["branch"] = record.branch.hex()
    return found | {"reason": record.reason}


def _parse(found: dict[str, Any]) -> Book:
    records = found["records"]
    if not isinstance(records, list) or len(records) > MAX_RECORDS:
        raise ValueError(f"its records are no list of at most {MAX_RECORDS:,}")
    return Book([_parse_record(record) for record in records])


def _parse_record(found: dict[str, Any]) -> Record:
    did = Did(found["did"])
    at, who, reason = found["at"], found["who"], found["reason"]
    if type(at) is not int or not isinstance(who, str) or not isinstance(reason, str):
        raise ValueError("a record says in no way when, who or why")
    if did is Did.POLICY:
        author = _bytes(found["author"], _ID_BYTES) if found["author"] is not None else b""
        policy = Policy(found["policy"]) if found["policy"] is not None else None
        return Record(at, who, did, author=author, policy=policy, reason=reason)
    fork = _bytes(found["fork"], _ID_BYTES)
    branch = b""
    if did is Did.DECIDE:
        branch = _bytes(found["branch"], *(PREFIX + size for size in SIZES))
    return Record(at, who, did, fork=fork, branch=branch, reason=reason)


def _bytes(text: str, *sizes: int) -> bytes:
    found = bytes.fromhex(text)
    if len(found) not in sizes:
        raise ValueError(f"{text!r} has not as many digits as it should")
    return found


_FORMAT: Format[Book] = Format(
    mark="forks",
    version=_FORMAT_VERSION,
    what="a list of decisions about forks",
    limit=MAX_FILE,
    error=ForksFileError,
    empty=Book,
    parse=_parse,
    dump=_dump,
)
