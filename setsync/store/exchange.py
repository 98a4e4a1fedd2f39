"""The export file: signed entries and their payloads, to carry about.

A msgpack stream of flat arrays; docs/export-format.md has the table:

    ["setsync-export", 1, what the rest is, in words]
    [collection, header, payload or nil]                     one an entry
    [number of entries, BLAKE3-256 of every byte before this item]

It needs no trust: every entry is verified on its way in. The end is there so that a file
that was cut is noticed, and what came before the cut is good all the same.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import msgpack
from blake3 import blake3

from setsync.errors import ExportFileError
from setsync.limits import ENTRY_BATCH, KIB, MAX_COLLECTION_NAME, MAX_HEADER, MAX_PAYLOAD
from setsync.model.collection import Pattern, match_any
from setsync.model.entry import UnverifiedEntry
from setsync.store.contract import EntryStore, StoredEntry

MAGIC = "setsync-export"
VERSION = 1
ABOUT = "[collection, header, payload or nil] an entry; at the end [entries, blake3 of all before]"

_ENTRIES_PER_READ = 512
_CHUNK = 64 * KIB
# What one item takes at most, with room for the piece of file that completes it.
_LARGEST_ITEM = MAX_PAYLOAD + MAX_HEADER + MAX_COLLECTION_NAME + 64
# The last item: its head, the count (at most 9 bytes), the digest with its own head.
_DIGEST_ITEM = 34
_LARGEST_END = 1 + 9 + _DIGEST_ITEM
_PAYLOAD_TYPES = (bytes, type(None))

OnCount = Callable[[int], None]


def _silent(_: int) -> None:
    """For those who need no progress."""


# --- choosing -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """Which entries are meant: of these collections (all, if empty), arrived after `since`."""

    patterns: tuple[Pattern, ...] = ()
    since: int = 0

    def takes(self, entry: StoredEntry) -> bool:
        """Whether the entry is meant."""
        if entry.arrival <= self.since:
            return False
        return not self.patterns or match_any(self.patterns, entry.collection)


def chosen(
    store: EntryStore, choice: Choice, on_arrival: OnCount = _silent
) -> Iterator[StoredEntry]:
    """The entries meant, in order of arrival, up to what had arrived when this began."""
    with store.snapshot() as snapshot:
        last = snapshot.last_arrival
    arrival = choice.since
    while arrival < last:
        with store.snapshot() as snapshot:
            batch = snapshot.since(arrival, _ENTRIES_PER_READ, ENTRY_BATCH)
        if not batch:
            return
        yield from (entry for entry in batch if entry.arrival <= last and choice.takes(entry))
        arrival = batch[-1].arrival
        on_arrival(min(arrival, last))


# --- writing ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written; `digest` is the one at the file's end."""

    entries: int
    size: int
    digest: bytes


def write_export(file: BinaryIO, entries: Iterable[StoredEntry]) -> Exported:
    """Write a whole export file."""
    packer = msgpack.Packer()
    hasher = blake3()
    count = size = 0

    def put(item: Sequence[object]) -> None:
        nonlocal size
        packed: bytes = packer.pack(item)
        hasher.update(packed)
        file.write(packed)
        size += len(packed)

    put([MAGIC, VERSION, ABOUT])
    for entry in entries:
        put([entry.collection, entry.header, entry.payload])
        count += 1
    digest = hasher.digest()
    put([count, digest])
    return Exported(count, size, digest)


# --- reading ------------------------------------------------------------------------------


def read_export(file: BinaryIO) -> Iterator[UnverifiedEntry]:
    """The entries of an export file, in order, none of them verified.

    Memory is bounded by the largest entry, whatever the file says of itself. Raises
    ExportFileError once everything in front of a fault has been yielded.
    """
    items = _Items(file)
    _check_first(items.next())
    count = 0
    while True:
        item = items.next(count)
        if len(item) == 2:
            break
        yield _as_entry(item, count)
        count += 1
    if item != [count, items.digest_before_last()]:
        raise ExportFileError(
            f"The export is damaged: its end does not fit the {count} entries before it."
        )
    if not items.at_end():
        raise ExportFileError(f"Something follows the end of the export, after {count} entries.")


def _check_first(item: list[Any]) -> None:
    if len(item) != 3 or item[0] != MAGIC or type(item[1]) is not int:
        raise ExportFileError("This is not a setsync export file.")
    if item[1] != VERSION:
        raise ExportFileError(
            f"The export is of version {item[1]}; this version of setsync reads version {VERSION}."
        )


def _as_entry(item: list[Any], count: int) -> UnverifiedEntry:
    if len(item) == 3:
        collection, header, payload = item
        if type(collection) is str and type(header) is bytes and type(payload) in _PAYLOAD_TYPES:
            # Most are of few collections, whose names need not be there thousands of times.
            return UnverifiedEntry(sys.intern(collection), header, payload)
    raise ExportFileError(f"The export is damaged after {count} entries: no entry follows.")


def entries_promised(file: BinaryIO) -> int | None:
    """How many entries the end of a file says it has: a hint for whoever shows progress,
    and None where there is no telling, as in a pipe. The place in the file stays."""
    if not file.seekable():
        return None
    here = file.tell()
    try:
        file.seek(-min(file.seek(0, os.SEEK_END), _LARGEST_END), os.SEEK_END)
        tail = file.read()
    finally:
        file.seek(here)
    # The digest takes 34 bytes; before it stands an array of two with the count, in 1, 2, 3,
    # 5 or 9 bytes. A byte of something else may look like it, so the shortest that fits wins.
    for width in (1, 2, 3, 5, 9):
        with contextlib.suppress(ValueError, msgpack.UnpackException):
            match msgpack.unpackb(tail[-(1 + width + _DIGEST_ITEM) :]):
                case [int(count), bytes()] if count >= 0:
                    return count
    return None


class _Items:
    """The flat arrays of a file, one by one, and the digest of the bytes they took.

    Arrays in arrays and maps of any kind are refused while they are read, by the hooks:
    a megabyte of nothing but them would otherwise become a hundred megabytes of objects.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hasher = blake3()
        self._unhashed = bytearray()
        self._hashed = self._last = 0
        self._unpacker = msgpack.Unpacker(
            max_buffer_size=_LARGEST_ITEM + _CHUNK,
            max_array_len=3,
            max_map_len=0,
            max_ext_len=0,
            max_str_len=max(MAX_COLLECTION_NAME, len(ABOUT)),
            max_bin_len=MAX_PAYLOAD,
            list_hook=_flat,
            object_hook=_refuse_map,
        )

    def next(self, count: int | None = None) -> list[Any]:
        """The next array, which comes after so many entries, or is the first. Raises
        ExportFileError."""
        self._last = self._unpacker.tell()
        while True:
            try:
                item = self._unpacker.unpack()
            except msgpack.OutOfData:
                if not self._feed():
                    raise ExportFileError(_cut(count)) from None
            except (ValueError, TypeError, msgpack.UnpackException) as error:
                sentence = f"{_cut(count)} What follows is not readable: {error}."
                raise ExportFileError(sentence) from error
            else:
                if type(item) is not list:
                    raise ExportFileError(f"{_cut(count)} What follows is not readable.")
                return item

    def _feed(self) -> bool:
        self._hash(self._last)
        chunk = self._file.read(_CHUNK)
        self._unhashed += chunk
        try:
            self._unpacker.feed(chunk)
        except msgpack.BufferFull as error:
            raise ExportFileError(
                "The export holds an entry that is larger than any can be."
            ) from error
        return bool(chunk)

    def digest_before_last(self) -> bytes:
        """BLAKE3-256 of every byte before the item that was read last."""
        self._hash(self._last)
        return self._hasher.digest()

    def _hash(self, end: int) -> None:
        """Every byte up to `end`, counted from the begin of the file."""
        taken = end - self._hashed
        self._hasher.update(self._unhashed[:taken])
        del self._unhashed[:taken]
        self._hashed = end

    def at_end(self) -> bool:
        """Whether the file ends where the last item did."""
        self._hash(self._unpacker.tell())
        return not self._unhashed and not self._file.read(1)


def _cut(count: int | None) -> str:
    if count is None:
        return "This is not a setsync export file."
    return f"The export is cut after {count} entries."


def _flat(items: list[Any]) -> list[Any]:
    if list in map(type, items):
        raise ValueError("an array lies in an array")
    return items


def _refuse_map(_: dict[Any, Any]) -> NoReturn:
    raise ValueError("a map lies in it")
