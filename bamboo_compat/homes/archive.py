"""An author's archive: all that was signed, where it is at home, and on wish the key.

`docs/archive-format.md` shows the bytes. An archive is read twice: once to know that all of it is
good, once to take it. Neither holds more than one section at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from bamboo_compat.core.entry import decode as decode_bamboo
from bamboo_compat.core.yamf import is_hash_of
from bamboo_compat.homes.errors import ArchiveError
from bamboo_compat.homes.fields import Fields, counted, text_of
from bamboo_compat.homes.ledger import Ledger, Place, ledgers
from bamboo_compat.homes.limits import MAX_ARCHIVE_HEADS, MAX_LEDGER_NUMBER, MAX_SECTION
from bamboo_compat.homes.marriages import marriages, open_homes, statements_in
from bamboo_compat.set.index import BambooIndex
from bamboo_compat.set.reading import Reader
from bamboo_compat.statements.index import CHAINS
from bamboo_compat.statements.index import INDEX as STATEMENTS
from bamboo_compat.statements.kinds import MAX_URL, Topic
from bamboo_compat.statements.reading import open_statements
from setsync.errors import InvalidEntryError
from setsync.limits import COMMIT_ENTRIES, ENTRY_BATCH, MAX_COLLECTION_NAME, MAX_HEADER, MAX_PAYLOAD
from setsync.model.entry import Entry, UnverifiedEntry, verify
from setsync.store.contract import EntryStore, Origin
from setsync.store.durable import sync_to_disk

MAGIC = b"setsync archive\0"
VERSION = 1
ABOUT, HEAD, ENTRY, KEY, END = 1, 2, 3, 4, 0xFF
INDEX = BambooIndex()
_LINE = 1 + 4
_DIGEST = 32


@dataclass(frozen=True, slots=True)
class About:
    """Whose archive it is, and when it was made (ms since 1970). `server`: the node id of the
    home; zeros, and no URL, where there was none."""

    author: bytes
    made: int
    server: bytes = bytes(32)
    url: str = ""


@dataclass(slots=True)
class Contents:
    """What is in an archive that was read to its end and is good. `heads`: by log id, the last
    number that was signed and its hash; `unproven`: those whose entry is not in the archive."""

    about: About
    heads: dict[int, Place] = field(default_factory=dict)
    unproven: set[int] = field(default_factory=set)
    entries: int = 0
    payloads: int = 0
    statements: int = 0
    sealed: bytes | None = field(default=None, repr=False)


# --- writing ------------------------------------------------------------------------------


def write_archive(
    target: BinaryIO,
    about: About,
    heads: Iterable[tuple[int, Place]],
    entries: Iterable[UnverifiedEntry],
    sealed: bytes | None = None,
) -> Contents:
    """Write an archive; what is in it."""
    contents = Contents(about, sealed=sealed)
    out = _Writer(target)
    out.put(ABOUT, about.author + about.server + about.made.to_bytes(8, "big") + about.url.encode())
    for log_id, place in heads:
        contents.heads[log_id] = place
        out.put(HEAD, _head_section(log_id, place))
    for entry in entries:
        out.put(ENTRY, _entry_section(entry))
        _count(contents, entry)
    if sealed is not None:
        out.put(KEY, sealed)
    out.end()
    return contents


class _Writer:
    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._digest = blake3()
        self._put(MAGIC + bytes([VERSION]))

    def put(self, kind: int, content: bytes) -> None:
        self._put(bytes([kind]) + counted(content, 4))

    def end(self) -> None:
        digest = self._digest.digest()
        self.put(END, digest)

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._target.write(data)


def _head_section(log_id: int, place: Place) -> bytes:
    return log_id.to_bytes(8, "big") + place.seq_num.to_bytes(8, "big") + place.hash


def _entry_section(entry: UnverifiedEntry) -> bytes:
    head = counted(entry.collection.encode("utf-8"), 1) + counted(entry.header, 2)
    return head + (b"\0" if entry.payload is None else b"\1" + entry.payload)


def _count(contents: Contents, entry: UnverifiedEntry) -> None:
    contents.entries += 1
    contents.payloads += entry.payload is not None
    contents.statements += entry.collection in _STATEMENT_COLLECTIONS


_STATEMENT_COLLECTIONS = tuple(topic.collection for topic in Topic)


# --- reading ------------------------------------------------------------------------------


def check_archive(source: BinaryIO) -> Contents:
    """Read an archive to its end: its form, its digest, and every entry's signature.

    Raises ArchiveError.
    """
    return _check(_sections(source))


def read_entries(source: BinaryIO) -> Iterator[Entry]:
    """The entries of an archive that was checked before. Raises ArchiveError."""
    for kind, content in _sections(source):
        if kind == ENTRY:
            yield _entry(content)


def _check(sections: Iterator[tuple[int, bytes]]) -> Contents:
    kind, content = next(sections, (END, b""))
    if kind != ABOUT:
        raise ArchiveError("The archive does not begin with whose it is.")
    contents = Contents(_about(content))
    last = kind
    for kind, content in sections:
        # About, heads, entries, the key: in that order, so that one archive has one form.
        if kind < last or (kind == last and kind in (ABOUT, KEY)):
            raise ArchiveError("The parts of the archive are not in their order.")
        last = kind
        if kind == HEAD:
            _add_head(contents, content)
        elif kind == ENTRY:
            entry = _entry(content)
            _check_author(contents, entry)
            _prove(contents, entry)
            _count(contents, UnverifiedEntry(entry.collection, entry.header, entry.payload))
        elif kind == KEY:
            contents.sealed = content
    return contents


def _check_author(contents: Contents, entry: Entry) -> None:
    """The author's own, or what a server said to it."""
    if entry.author != contents.about.author and entry.collection != Topic.HOMES.collection:
        raise ArchiveError(f"Entry {entry.id.hex()} is not by the author of the archive.")


def _prove(contents: Contents, entry: Entry) -> None:
    """Heads are signed by nobody; the entry that one is about is."""
    if not contents.unproven or entry.header[0] > 1:  # of the native format
        return
    said = decode_bamboo(entry.header)
    head = contents.heads.get(said.log_id)
    if head is not None and head.seq_num == said.seq_num and is_hash_of(head.hash, entry.header):
        contents.unproven.discard(said.log_id)


def _sections(source: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Kind and content, until the end has proven right. Raises ArchiveError."""
    reading = _Reading(source)
    if reading.take(len(MAGIC)) != MAGIC:
        raise ArchiveError("This is no archive of setsync.")
    version = reading.take(1)[0]
    if version != VERSION:
        raise ArchiveError(f"The archive has version {version}; this one reads {VERSION}.")
    while True:
        digest = reading.digest()
        line = reading.take(_LINE)
        kind, size = line[0], int.from_bytes(line[1:], "big")
        if kind not in (ABOUT, HEAD, ENTRY, KEY, END) or size > MAX_SECTION:
            raise ArchiveError("A part of the archive is of no known kind, or too long.")
        content = reading.take(size)
        if kind == END:
            if content != digest or not reading.is_at_end():
                raise ArchiveError("The archive is damaged: its digest is another one.")
            return
        yield kind, content


class _Reading:
    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._digest = blake3()

    def take(self, size: int) -> bytes:
        try:
            found = self._source.read(size)
        except OSError as error:
            raise ArchiveError(f"The archive cannot be read: {error.strerror}.") from error
        if len(found) < size:
            raise ArchiveError("The archive ends too early.")
        self._digest.update(found)
        return found

    def digest(self) -> bytes:
        return self._digest.digest()

    def is_at_end(self) -> bool:
        return not self._source.read(1)


def _about(content: bytes) -> About:
    fields = Fields(content)
    try:
        author, server, made = fields.take(32), fields.take(32), fields.number(8)
        url = text_of(content[72:])
        if len(content) - 72 > MAX_URL or not url.isprintable():
            raise ValueError("its URL is none")
    except ValueError as error:
        raise ArchiveError(f"The archive does not say whose it is: {error}.") from error
    return About(author, made, server, url)


def _add_head(contents: Contents, content: bytes) -> None:
    hash_ = content[16:]
    log_id, seq_num = int.from_bytes(content[:8], "big"), int.from_bytes(content[8:16], "big")
    is_number = 0 < seq_num <= MAX_LEDGER_NUMBER
    if len(hash_) not in (34, 66) or not is_number or log_id in contents.heads:
        raise ArchiveError("A head in the archive is none.")
    if len(contents.heads) >= MAX_ARCHIVE_HEADS:
        raise ArchiveError(f"The archive has over {MAX_ARCHIVE_HEADS:,} heads.")
    contents.heads[log_id] = Place(seq_num, hash_)
    contents.unproven.add(log_id)


def _entry(content: bytes) -> Entry:
    fields = Fields(content)
    try:
        collection = text_of(fields.some(1, MAX_COLLECTION_NAME))
        header = fields.some(2, MAX_HEADER)
        has_payload = fields.number(1)
        size = len(content) - 4 - len(collection.encode()) - len(header)
        payload = fields.take(size) if has_payload == 1 else None
        fields.end()
        if has_payload > 1 or size > MAX_PAYLOAD:
            raise ValueError("its payload is none")
        return verify(UnverifiedEntry(collection, header, payload))
    except (ValueError, InvalidEntryError) as error:
        raise ArchiveError(f"An entry in the archive is none: {error}.") from error


# --- an archive and a node ----------------------------------------------------------------


def export(
    store: EntryStore,
    directory: Path,
    author: bytes,
    target: BinaryIO,
    made: int,
    sealed: bytes | None = None,
    home: tuple[bytes, str] | None = None,
) -> Contents:
    """Write the archive of an author. `home`: node id and URL, those of the open home if not
    given. Entries are read as they are at one moment each, in short
    snapshots; what comes meanwhile may be in it or not. Raises StoreError, LedgerError."""
    open_statements(store)
    store.open_index(INDEX)
    with store.snapshot() as snapshot:
        homes = open_homes(marriages(statements_in(snapshot), author))
        reader = Reader(snapshot.index_tables(INDEX))
        logs = [log_id for _, log_id, _ in reader.logs(author)]
    if home is None and homes:
        home = homes[-1].server, homes[-1].url
    about = About(author, made, *home) if home is not None else About(author, made)
    heads = _heads(store, directory, author, logs)
    entries = _entries(store, author, logs)
    return write_archive(target, about, sorted(heads.items()), entries, sealed)


def _heads(
    store: EntryStore, directory: Path, author: bytes, logs: Sequence[int]
) -> dict[int, Place]:
    """The highest of what the store has and what was signed here, as far as a ledger can hold it:
    after a higher one nothing is ever signed."""
    found: dict[int, Place] = {}
    with store.snapshot() as snapshot:
        reader = Reader(snapshot.index_tables(INDEX))
        for log_id in logs:
            log = reader.log(author, log_id)
            if log is not None and log.height <= MAX_LEDGER_NUMBER:
                node = min(reader.at(log, log.height), key=lambda one: one.id)
                found[log_id] = Place(log.height, reader.shelf.hash(node))
    for ledger in ledgers(directory, author):
        head = ledger.head()
        known = found.get(ledger.log_id)
        if head is not None and (known is None or known.seq_num < head.seq_num):
            found[ledger.log_id] = head
    return found


def _entries(store: EntryStore, author: bytes, logs: Sequence[int]) -> Iterator[UnverifiedEntry]:
    """Statements first, then logs; each entry in every collection that it is in."""
    for header, collection in _statement_headers(store, author):
        yield UnverifiedEntry(collection, header, b"")
    for log_id in logs:
        for id_ in _ids(store, author, log_id):
            with store.snapshot() as snapshot:
                found = [
                    entry
                    for name, one in snapshot.find(id_.hex(), 16)
                    if (entry := snapshot.entry(name, one)) is not None
                ]
            yield from (UnverifiedEntry(one.collection, one.header, one.payload) for one in found)


def _statement_headers(store: EntryStore, author: bytes) -> list[tuple[bytes, str]]:
    """The author's own, and the welcomes of its homes."""
    found: list[tuple[bytes, str]] = []
    with store.snapshot() as snapshot:
        tables, reader = snapshot.index_tables(STATEMENTS), statements_in(snapshot)
        for topic in Topic:
            prefix = author + bytes([topic])
            for key, value in tables.table(CHAINS).items(prefix):
                if not key.startswith(prefix):
                    break
                header = tables.logged(int.from_bytes(value, "big"))[0]
                found.append((header, topic.collection))
        for one in marriages(reader, author):
            if one.welcome is not None:
                entry = snapshot.entry(Topic.HOMES.collection, one.welcome.id)
                if entry is not None:
                    found.append((entry.header, entry.collection))
    return found


def _ids(store: EntryStore, author: bytes, log_id: int) -> Iterator[bytes]:
    """Of a log's entries, by number; a few thousand a snapshot."""
    after = (0, b"")
    while True:
        found: list[tuple[int, bytes]] = []
        with store.snapshot() as snapshot:
            reader = Reader(snapshot.index_tables(INDEX))
            log = reader.log(author, log_id)
            if log is None:
                return
            for node in reader.nodes_behind(log, *after):
                found.append((node.seq_num, node.id))
                if len(found) == COMMIT_ENTRIES:
                    break
        if not found:
            return
        yield from (id_ for _, id_ in found)
        after = found[-1]


@dataclass(frozen=True, slots=True)
class Consequence:
    """What would follow from going on with a log here. `what` is a sentence."""

    log_id: int
    what: str


def consequences(store: EntryStore, contents: Contents, source: BinaryIO) -> list[Consequence]:
    """What would fork, or has: entries of the archive that this node has others in place of, and
    logs that this node has further than the archive."""
    store.open_index(INDEX)
    found: dict[int, Consequence] = {}
    for entry in read_entries(source):
        if entry.header[0] > 1:
            continue
        said = decode_bamboo(entry.header)
        if said.log_id in found:
            continue
        with store.snapshot() as snapshot:
            reader = Reader(snapshot.index_tables(INDEX))
            log = reader.log(said.author, said.log_id)
            here = {node.id for node in reader.at(log, said.seq_num)} if log is not None else set()
        if here and entry.id not in here:
            found[said.log_id] = Consequence(
                said.log_id, f"Log {said.log_id} forks at entry {said.seq_num}."
            )
    for log_id, place in contents.heads.items():
        with store.snapshot() as snapshot:
            log = Reader(snapshot.index_tables(INDEX)).log(contents.about.author, log_id)
        if log is not None and log.height > place.seq_num and log_id not in found:
            found[log_id] = Consequence(
                log_id,
                f"Log {log_id} ends at {place.seq_num} in the archive and at {log.height} here: "
                "who goes on from the archive alone forks it.",
            )
    return [one for _, one in sorted(found.items())]


def unproven(store: EntryStore, contents: Contents) -> list[Consequence]:
    """Heads whose entry is neither in the archive nor here. Nobody need have signed them, and
    nothing would be signed behind them until the entries are here."""
    author = contents.about.author
    store.open_index(INDEX)
    with store.snapshot() as snapshot:
        reader = Reader(snapshot.index_tables(INDEX))
        missing = [
            (log_id, place)
            for log_id in sorted(contents.unproven)
            if not _is_here(reader, author, log_id, place := contents.heads[log_id])
        ]
    return [
        Consequence(
            log_id,
            f"The archive says that entry {place.seq_num} of log {log_id} was signed, and "
            "neither the archive nor this node has it.",
        )
        for log_id, place in missing
    ]


def _is_here(reader: Reader, author: bytes, log_id: int, place: Place) -> bool:
    node = reader.find(place.hash)
    if node is None or node.seq_num != place.seq_num:
        return False
    return reader.shelf.owner(node.log) == (author, log_id)


def take(
    store: EntryStore,
    directory: Path,
    contents: Contents,
    source: BinaryIO,
    at: int,
    on_batch: Callable[[int], None] = lambda count: None,
) -> int:
    """Put an archive that was checked into the store, in batches; how many entries were new.

    Numbers that it says were signed are noted, so that they are never signed again here. Taking
    it again changes nothing. Raises LedgerError for a ledger that cannot be read, before anything
    is taken; StoreError, LedgerError, ArchiveError.
    """
    author = contents.about.author
    books = {log_id: Ledger(directory, author, log_id) for log_id in contents.heads}
    for book in books.values():
        book.head()
    new = 0
    for batch in _batches(read_entries(source)):
        new += len(store.add_many(batch, [(0, Origin(at))]).new)
        on_batch(len(batch))
    for log_id, place in contents.heads.items():
        books[log_id].note(place)
    return new


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += entry.size
        if size >= ENTRY_BATCH or len(batch) >= COMMIT_ENTRIES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def write_file(path: Path, write: Callable[[BinaryIO], Contents]) -> Contents:
    """A new file for its owner alone, there only when it is whole. Raises ArchiveError."""
    draft = path.with_name(path.name + ".new")
    try:
        if path.exists():
            raise ArchiveError(f"{path} exists already.")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            contents = write(file)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        sync_to_disk(path.parent)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be written: {error.strerror}.") from error
    return contents
