"""Files that hold entries, cut into jobs of bounded size.

What a file is, is read from its beginning, never from its name: a database of SQLite,
JSON lines, or entries one after the other. Of a directory, only files with one of the
names in SUFFIXES are taken.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from bamboo_compat.core.entry import MAX_ENTRY, scan
from bamboo_compat.limits import JOB_BYTES, MAX_FILES, MAX_LINE
from setsync.errors import LocalError

if TYPE_CHECKING:
    import sqlite3

SUFFIXES = (".jsonl", ".ndjson", ".bamboo", ".bin", ".sqlite", ".sqlite3", ".db")
_SQLITE = b"SQLite format 3\x00"
# A place in a file, under the number of the file: one integer for both.
POSITION_BITS = 44


class UnreadableError(LocalError):
    """It must hold JSON lines with 'entry' and 'payload' in hex, entries one after the other,
    or the database of an aquadoggo node."""

    code = "unreadable"


class Kind(enum.Enum):
    """How entries stand in a file. The value is what positions in it count."""

    LINES = "line"
    BARE = "byte"
    DATABASE = "row"


@dataclass(frozen=True, slots=True)
class Source:
    """One file to read."""

    number: int
    path: Path
    kind: Kind

    def where(self, position: int) -> int:
        """File and position as one integer."""
        return (self.number << POSITION_BITS) | position


class Place(NamedTuple):
    """A position in a file, in the unit of its kind."""

    source: Source
    position: int

    def __str__(self) -> str:
        return f"{self.source.path}, {self.source.kind.value} {self.position}"


@dataclass(frozen=True, slots=True)
class Sources:
    """The files to read, in order, and how many others of the directories were left out."""

    files: tuple[Source, ...]
    left_out: int

    def place(self, where: int) -> Place:
        """The place that one integer stands for."""
        return Place(self.files[where >> POSITION_BITS], where & ((1 << POSITION_BITS) - 1))


class Row(NamedTuple):
    """One entry of a database: hex text, or the bytes themselves."""

    where: int
    entry: str | bytes
    payload: str | bytes | None


class Job(NamedTuple):
    """A part of a file: rows, or bytes and the place of the first line or byte.

    `size` counts bytes as they stand in the file.
    """

    kind: Kind
    where: int
    size: int
    content: bytes | list[Row]


def find_sources(paths: Iterable[Path]) -> Sources:
    """What there is to read. Raises UnreadableError, and OSError for what is not there."""
    found: list[Path] = []
    left_out = 0
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(one for one in path.iterdir() if one.is_file())
        taken = [one for one in inside if one.suffix in SUFFIXES]
        if not taken:
            raise UnreadableError(f"{path} holds no file named like *{', *'.join(SUFFIXES)}.")
        left_out += len(inside) - len(taken)
        found.extend(taken)
    if len(found) > MAX_FILES:
        raise UnreadableError(f"There are {len(found)} files; at most {MAX_FILES} are read.")
    files = tuple(Source(number, path, _kind(path)) for number, path in enumerate(found))
    return Sources(files, left_out)


def jobs(source: Source) -> Iterator[Job]:
    """The parts of one file, in order. Raises UnreadableError, OSError."""
    if source.kind is Kind.DATABASE:
        yield from _rows(source)
        return
    with source.path.open("rb") as file:
        yield from _lines(source, file) if source.kind is Kind.LINES else _bare(source, file)


def _kind(path: Path) -> Kind:
    with path.open("rb") as file:
        start = file.read(len(_SQLITE))
    if start == _SQLITE:
        return Kind.DATABASE
    # An entry begins with 0x00 or 0x01, and no JSON text does.
    return Kind.LINES if start.lstrip()[:1] == b"{" else Kind.BARE


def _lines(source: Source, file: BinaryIO) -> Iterator[Job]:
    number, rest = 1, b""
    while block := file.read(JOB_BYTES):
        whole, newline, tail = block.rpartition(b"\n")
        if not newline:
            rest += block
            if len(rest) > MAX_LINE:
                raise UnreadableError(
                    f"{source.path}, line {number}, is longer than {MAX_LINE} bytes."
                )
            continue
        content = rest + whole
        yield _part(source, number, content)
        number += content.count(b"\n") + 1
        rest = tail
    if rest:
        yield _part(source, number, rest)


def _bare(source: Source, file: BinaryIO) -> Iterator[Job]:
    """Jobs end where an entry ends. Where none can be found, the rest is one last job."""
    start, rest = 0, b""
    # An entry alone takes a third of a line or less, and an answer should fit into a pipe.
    while block := file.read(max(1, JOB_BYTES // 3)):
        rest += block
        at = lost = 0
        while not lost and len(rest) - at >= MAX_ENTRY:
            scanned = scan(rest, at)
            lost = scanned.entry is None
            at = at if lost else scanned.end
        if at:
            yield _part(source, start, rest[:at])
        start, rest = start + at, rest[at:]
        if lost:
            break
    if rest:
        yield _part(source, start, rest)


def _part(source: Source, position: int, content: bytes) -> Job:
    return Job(source.kind, source.where(position), len(content), content)


def _rows(source: Source) -> Iterator[Job]:
    """Of the `entries` table: `entry_bytes` and `payload_bytes`, in hex; the latter may be
    NULL. Both columns have had these names in every version of aquadoggo's migrations."""
    # Loaded here: every worker loads this module, and none of them opens a database.
    import sqlite3
    from urllib.parse import quote

    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{quote(str(source.path))}?mode=ro", uri=True)
        ) as database:
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_LINE)
            yield from _batches(source, database)
    except sqlite3.Error as error:
        raise UnreadableError(
            f"{source.path} cannot be read as the database of an aquadoggo node: {error}."
        ) from error


def _batches(source: Source, database: sqlite3.Connection) -> Iterator[Job]:
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA query_only = ON")
    table = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'entries'"
    if database.execute(table).fetchone() != (1,):
        raise UnreadableError(f"{source.path} is a database without a table 'entries'.")
    batch: list[Row] = []
    size = 0
    for rowid, entry, payload in database.execute(
        "SELECT rowid, entry_bytes, payload_bytes FROM entries ORDER BY rowid"
    ):
        if not 0 <= rowid < 1 << POSITION_BITS:
            most = (1 << POSITION_BITS) - 1
            raise UnreadableError(
                f"{source.path}, row {rowid}: rows are numbered from 0 to {most:,}."
            )
        if not isinstance(entry, str | bytes) or not isinstance(payload, str | bytes | None):
            raise UnreadableError(f"{source.path}, row {rowid}, does not hold hex text.")
        batch.append(Row(source.where(rowid), entry, payload))
        size += len(entry) + len(payload or b"")
        if size >= JOB_BYTES:
            yield Job(source.kind, source.where(0), size, batch)
            batch, size = [], 0
    if batch:
        yield Job(source.kind, source.where(0), size, batch)
