"""The registry of entry formats: what an entry's first byte says about the rest.

A format says what an entry's bytes claim and whether they keep that claim. Other packages
add theirs through the entry point group `setsync.formats`. Whatever a format decides is a
function of bytes alone: a clock, a quota or a list of blocked authors in here would give
two honest nodes two different sets for ever.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from setsync.errors import InvalidEntryError

if TYPE_CHECKING:
    from setsync.model.indexes import Index

ENTRY_POINT_GROUP = "setsync.formats"


@dataclass(slots=True)
class Claims:
    """What every format must be able to tell of an entry's header, once decoded. Nobody changes
    it; it is not frozen because one is made for every entry, and that would take twice as long.

    `collection` is None where the header does not name one. `timestamp` is claimed, in
    milliseconds since 1970, and never decides anything. `links` are 32-byte ids.
    """

    format: str
    author: bytes
    collection: str | None
    timestamp: int | None
    links: tuple[bytes, ...]
    payload_size: int
    payload_hash: bytes
    signature: bytes


class EntryFormat(Protocol):
    """One way to write an entry. All methods raise InvalidEntryError and nothing else."""

    name: str
    tags: frozenset[int]

    def index(self) -> Index | None:
        """What the format keeps beside the set, if anything: always the same one."""

    def decode(self, header: bytes) -> Claims:
        """Decode strictly: one value, one byte string."""

    def check_collection(self, claims: Claims, payload: bytes | None, collection: str) -> None:
        """Whether the entry may be a member of `collection`."""

    def check_payload(self, claims: Claims, payload: bytes) -> None:
        """Whether `payload` is the one that the header names, by size and by hash."""

    def check_signature(self, claims: Claims, header: bytes) -> None:
        """Whether the author signed exactly these bytes."""


@functools.cache
def formats() -> Mapping[int, EntryFormat]:
    """Every known format by tag. Two packages that claim one tag are a mistake of this set-up.

    Raises RuntimeError for such a pair.
    """
    from importlib.metadata import entry_points  # slow to load, and `status` needs no format

    known: dict[int, EntryFormat] = {}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        entry_format: EntryFormat = point.load()()
        for tag in entry_format.tags:
            if tag in known:
                raise RuntimeError(
                    f"The formats {known[tag].name} and {entry_format.name} both claim the "
                    f"entry tag 0x{tag:02x}; uninstall one of the two packages."
                )
            known[tag] = entry_format
    return known


@functools.cache
def index_of(format_name: str) -> Index | None:
    """The index that the format of this name keeps, if any."""
    for entry_format in formats().values():
        if entry_format.name == format_name:
            return entry_format.index()
    return None


def format_of(header: bytes) -> EntryFormat:
    """The format that the first byte names. Raises InvalidEntryError `unknown_format`."""
    entry_format = formats().get(header[0]) if header else None
    if entry_format is None:
        tag = f"0x{header[0]:02x}" if header else "none, the header is empty"
        raise InvalidEntryError(
            "unknown_format", f"No installed package knows entries of this format (tag {tag})."
        )
    return entry_format
