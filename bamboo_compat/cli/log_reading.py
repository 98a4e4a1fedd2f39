"""What `setsync bamboo log` tells, read from one snapshot as values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import NamedTuple

from bamboo_compat.cli.payloads import Described, describe
from bamboo_compat.core.entry import Entry, decode
from bamboo_compat.core.report import Finding, ForkKind, Head, Standing
from bamboo_compat.core.yamf import flavour_of, hash_of
from bamboo_compat.decisions.resolving import Resolution
from bamboo_compat.decisions.view import View
from bamboo_compat.set.branches import KINDS_BY_NUMBER
from bamboo_compat.set.findings import Told, findings_of
from bamboo_compat.set.format import collection_of, profile_of
from bamboo_compat.set.layout import Flag, LogRow, Node, id_of
from bamboo_compat.set.reading import MAX_BRANCHES, Reader
from bamboo_compat.set.segments import Item, Segment, segments
from setsync.store.contract import Snapshot

# Of heads, gaps and forks so many are told; a log may have any number.
MANY = 1_000


@dataclass(frozen=True, slots=True)
class ForkLine:
    """One of the forks that put a log in doubt. `state`: undecided, decided or moot."""

    id: bytes
    kind: ForkKind
    seq_num: int
    subject: str
    state: str


@dataclass(frozen=True, slots=True)
class Overview:
    """A log as a whole. `tips`: the heads that decisions leave."""

    author: bytes
    log_id: int
    row: LogRow
    heads: list[Head]
    tips: list[Head]
    gaps: list[tuple[int, int]]
    trusted: int
    schemas: list[str]
    forks: list[ForkLine]


def read_overview(view: View, author: bytes, log_id: int, row: LogRow) -> Overview:
    """Everything about a log but its entries."""
    reader, found = view.reader, view.resolve(row)
    return Overview(
        author,
        log_id,
        row,
        reader.heads(row, MANY),
        view.tips(found, MANY),
        reader.gaps(row, MANY),
        found.trusted,
        reader.schemas(row),
        list(_forks(reader, row, found)),
    )


def _forks(reader: Reader, row: LogRow, found: Resolution) -> Iterator[ForkLine]:
    states = dict.fromkeys(found.decided, "decided") | dict.fromkeys(found.moot, "moot")
    for id_ in reader.forks_of(row, MANY):
        fork = reader.fork_row(id_)
        if fork is not None:
            kind = KINDS_BY_NUMBER[fork.kind]
            is_double = kind is ForkKind.DOUBLE_SCHEMA
            subject = fork.about.decode("utf-8", "replace") if is_double else ""
            yield ForkLine(id_, kind, fork.seq_num, subject, states.get(id_, "undecided"))


# --- branches -----------------------------------------------------------------------------


class Look(NamedTuple):
    """By what runs of entries are told apart."""

    standing: Standing
    inherited: bool
    reasons: tuple[str, ...]
    set_aside: bool


@dataclass(frozen=True, slots=True)
class Fault:
    """An entry that is broken by itself."""

    seq_num: int
    hash: bytes
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A segment, with the hash of its last entry and what its first one is broken for."""

    segment: Segment[Look]
    last: bytes
    told: Told


@dataclass(slots=True)
class Branches:
    """The first segments and faults of a log, and how many more there are."""

    parts: list[Part] = field(default_factory=list)
    parts_left_out: int = 0
    faults: list[Fault] = field(default_factory=list)
    faults_left_out: int = 0


def read_branches(view: View, row: LogRow, most: int) -> Branches:
    """One pass over the log. At most so many segments and faults are kept; of segments
    those that begin first, so that nothing is kept without what it follows."""
    reader, found = view.reader, Branches()
    kept: list[Segment[Look]] = []
    for segment in segments(_items(view, row, found, most)):
        if segment.number < most:
            kept.append(segment)
        else:
            found.parts_left_out += 1
    kept.sort(key=lambda segment: segment.number)
    for segment in kept:
        first = reader.by_id(segment.first_id)
        last = reader.by_id(segment.last_id)
        assert first is not None
        assert last is not None
        told = findings_of(reader, first)
        found.parts.append(Part(segment, reader.shelf.hash(last), told))
    return found


def _items(view: View, row: LogRow, found: Branches, most: int) -> Iterator[Item[Look]]:
    reader, is_decided = view.reader, bool(view.resolve(row).decided)
    for node in reader.nodes(row):
        reader.shelf.tidy()
        yield Item(
            node.seq_num,
            node.id,
            id_of(node.backlink) if node.has(Flag.BACKLINK_FOUND) else None,
            _look(reader, node, found, most, is_decided and view.is_set_aside(row, node)),
            node.has(Flag.END_OF_LOG),
            node.has(Flag.WITHHELD),
        )


def _look(reader: Reader, node: Node, found: Branches, most: int, set_aside: bool) -> Look:
    inherited = node.has(Flag.INHERITED)
    if node.standing is not Standing.BROKEN or inherited:
        return Look(node.standing, inherited, (), set_aside)
    told = findings_of(reader, node)
    if len(found.faults) < most:
        found.faults.append(Fault(node.seq_num, reader.shelf.hash(node), told.findings))
    else:
        found.faults_left_out += 1
    reasons = tuple(finding.reason for finding in told.findings)
    return Look(node.standing, False, reasons, set_aside)


# --- entries ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EntryLine:
    """One entry. `belongs`: the collection that its payload names, where its first copy
    came under another. `dropped`: withheld because somebody here dropped it. `set_aside`: by
    a decision."""

    seq_num: int
    id: bytes
    hash: bytes
    told: Told
    end_of_log: bool
    payload_size: int
    withheld: bool
    collection: str
    belongs: str | None
    payload: Described | None
    dropped: bool = False
    set_aside: bool = False


@dataclass(slots=True)
class Page:
    """Entries by number and id; `next`: the number to go on with. `left_out`: of numbers
    that more than MAX_BRANCHES entries have."""

    entries: list[EntryLine] = field(default_factory=list)
    next: int | None = None
    left_out: int = 0


def read_entries(
    view: View,
    snapshot: Snapshot,
    row: LogRow,
    numbers: tuple[int, int],
    most: int,
    characters: int,
) -> Page:
    """Entries with numbers in a range, about `most`: a number is told whole or not at all.
    `characters`: of each payload, 0 for none."""
    page, reader = Page(), view.reader
    for seq_num, level in groupby(reader.nodes(row, *numbers), key=lambda node: node.seq_num):
        if len(page.entries) >= most:
            page.next = seq_num
            break
        reader.shelf.tidy()
        for node in islice(level, MAX_BRANCHES):
            page.entries.append(_entry(view, snapshot, row, node, characters))
        page.left_out += sum(1 for _ in level)
    return page


def _entry(view: View, snapshot: Snapshot, row: LogRow, node: Node, characters: int) -> EntryLine:
    reader = view.reader
    header, payload = reader.shelf.entry(node)
    entry = decode(header)
    collection = snapshot.since(node.arrival - 1, 1)[0].collection
    return EntryLine(
        node.seq_num,
        node.id,
        hash_of(flavour_of(entry.payload_hash), header),
        findings_of(reader, node),
        entry.end_of_log,
        entry.payload_size,
        payload is None,
        collection,
        _belongs(collection, entry, payload),
        describe(payload, entry.payload_size, characters) if characters else None,
        reader.is_dropped(node),
        view.is_set_aside(row, node),
    )


def _belongs(collection: str, entry: Entry, payload: bytes | None) -> str | None:
    if payload is None:
        return None
    right = collection_of(profile_of(collection), entry, payload)
    return None if right == collection else right
