"""May this node publish for an author? Asked before anything is signed, and before a server takes
an entry for its clients.

What is known here is asked, and nobody waits for a network: `check_heads` is for what others said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bamboo_compat.core import keys
from bamboo_compat.core.entry import BadEntryError, decode
from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.homes.book import homes_file
from bamboo_compat.homes.errors import (
    BehindHeadError,
    CopiedDirectoryError,
    NotTheHomeError,
    TwoHomesError,
)
from bamboo_compat.homes.ledger import Ledger, Place
from bamboo_compat.homes.marriages import Marriage, marriages, open_homes, statements_in
from bamboo_compat.homes.receipts import Receipts
from bamboo_compat.set.appending import NextPlace
from bamboo_compat.set.format import collection_of
from bamboo_compat.set.index import BambooIndex
from bamboo_compat.set.layout import Flag, Node
from bamboo_compat.set.reading import Reader
from bamboo_compat.statements.reading import open_statements
from setsync.model.entry import UnverifiedEntry, entry_id, verify
from setsync.node.config import DataDirectory
from setsync.node.place import is_in_place
from setsync.store.contract import EntryStore, Origin, Snapshot

INDEX = BambooIndex()


@dataclass(frozen=True, slots=True)
class DirectoryState:
    """What a data directory says besides its store. `mine`: by author, the server that it joined
    from here. `is_in_place`: the directory was not copied here."""

    path: Path
    node: bytes
    mine: Mapping[bytes, bytes] = field(default_factory=dict)
    is_in_place: bool = True

    @classmethod
    def of(cls, directory: DataDirectory) -> DirectoryState:
        """As it is now. Raises HomesFileError, PlaceFileError, KeyFileError."""
        mine = homes_file(directory.path).read().mine
        return cls(
            directory.path,
            directory.node_key().public,
            {author: one.server for author, one in mine.items()},
            is_in_place(directory.path),
        )


def open_indexes(store: EntryStore) -> None:
    """Make all tables ready that the questions here need, for snapshots taken from now on."""
    open_statements(store)
    store.open_index(INDEX)


def check_publish(snapshot: Snapshot, state: DirectoryState, author: bytes, log_id: int) -> None:
    """Whether the next entry of this log may be signed, or taken, here; see `open_indexes`.

    An author without a home may publish anywhere. Raises CopiedDirectoryError, TwoHomesError,
    NotTheHomeError, BehindHeadError; LedgerError.
    """
    check_place(state)
    check_home(snapshot, state, author)
    check_ledger(snapshot, state, author, log_id)


def check_place(state: DirectoryState) -> None:
    """Raises CopiedDirectoryError."""
    if not state.is_in_place:
        raise CopiedDirectoryError(
            f"{state.path} was made on another machine or disk, or is a copy. If the original "
            "signs too, its logs fork."
        )


def check_home(snapshot: Snapshot, state: DirectoryState, author: bytes) -> None:
    """Raises TwoHomesError, NotTheHomeError."""
    homes = open_homes(marriages(statements_in(snapshot), author))
    if len(homes) > 1:
        raise TwoHomesError(f"Author {author.hex()} has {len(homes)} homes: {_places(homes)}.")
    if homes and homes[0].server not in (state.node, state.mine.get(author)):
        raise NotTheHomeError(
            f"Author {author.hex()} is at home at {homes[0].place}, and not here."
        )


def check_ledger(snapshot: Snapshot, state: DirectoryState, author: bytes, log_id: int) -> None:
    """Against what was signed here, and what the home signed that it has. Raises BehindHeadError,
    LedgerError."""
    height = _height(snapshot, author, log_id)
    head = Ledger(state.path, author, log_id).head()
    if head is not None and head.seq_num > height:
        raise BehindHeadError(
            f"Entry {head.seq_num} of log {log_id} was signed here, and the last one in the "
            f"store is {height or 'none'}."
        )
    if head is not None:
        _check_here(snapshot, log_id, head)
    receipt = Receipts(state.path).last(author, log_id)
    if receipt is not None and receipt.seq_num > height:
        raise BehindHeadError(
            f"The home {receipt.server.hex()} has signed that it has entry {receipt.seq_num} of "
            f"log {log_id}, and the last one in the store is {height or 'none'}."
        )


def check_heads(
    snapshot: Snapshot, author: bytes, log_id: int, heads: Iterable[tuple[str, bytes]]
) -> None:
    """Against what others have: who, and the header of the head there, empty if there is none.

    A header that the author did not sign is nobody's. Raises BehindHeadError.
    """
    height = _height(snapshot, author, log_id)
    for who, header in heads:
        seq_num = signed_number(author, log_id, header)
        if seq_num > height:
            raise BehindHeadError(
                f"{who} has entry {seq_num} of log {log_id}, and the last one here is "
                f"{height or 'none'}."
            )


def finish(store: EntryStore, ledger: Ledger, at: int, profile: str = "rfc0001") -> bool:
    """Put the entry into the store that was signed last and did not get there, also where another
    has its number: then the log has forked, and that is to be seen. Whether there was one.

    `at` in ms since 1970; `profile`: of a log that begins with it. Raises StoreError, LedgerError.
    """
    signed = ledger.unfinished()
    if signed is None:
        return False
    said = decode(signed.header)
    with store.snapshot() as snapshot:
        reader = Reader(snapshot.index_tables(INDEX))
        if reader.by_id(entry_id(signed.header)) is not None:
            return False
        before = reader.find(said.backlink) if said.backlink is not None else None
        if before is not None:
            profile = profile_at(before)
    collection = collection_of(PROFILES[profile], said, signed.payload)
    entry = verify(UnverifiedEntry(collection, signed.header, signed.payload))
    store.add_many([entry], [(0, Origin(at))])
    return True


def profile_at(node: Node) -> str:
    """The name of the profile that an entry is of; of one that is of both, the older."""
    only_aquadoggo = node.has(Flag.AQUADOGGO) and not node.has(Flag.RFC0001)
    return "aquadoggo" if only_aquadoggo else "rfc0001"


def follow_decision(store: EntryStore, ledger: Ledger, place: NextPlace) -> None:
    """Let the ledger of a log go on where the log does: after entries that came by sync, and where
    it was decided that a branch of others' making is right, after that, though numbers above it
    were signed here for the other branch. What was signed here last has to be here: what is not
    here cannot have been decided about, nor gone on from.

    Raises BehindHeadError, LedgerError.
    """
    head = ledger.head()
    before = Place(place.seq_num - 1, place.backlink) if place.backlink is not None else None
    if head == before:
        return
    if head is not None:
        with store.snapshot() as snapshot:
            _check_here(snapshot, ledger.log_id, head)
    if before is not None:
        ledger.follow(before)


def _check_here(snapshot: Snapshot, log_id: int, head: Place) -> None:
    """Raises BehindHeadError where what was signed last is not in the store."""
    if Reader(snapshot.index_tables(INDEX)).find(head.hash) is None:
        raise BehindHeadError(
            f"Entry {head.seq_num} of log {log_id} was signed here, and is not in the store."
        )


def _height(snapshot: Snapshot, author: bytes, log_id: int) -> int:
    log = Reader(snapshot.index_tables(INDEX)).log(author, log_id)
    return log.height if log is not None else 0


def signed_number(author: bytes, log_id: int, header: bytes) -> int:
    """The number of an entry that the author signed for this log; 0 of anything else."""
    try:
        entry = decode(header)
    except BadEntryError:
        return 0
    if (entry.author, entry.log_id) != (author, log_id):
        return 0
    is_signed = keys.is_valid_signature(author, header[:-64], entry.signature)
    return entry.seq_num if is_signed else 0


def _places(homes: Iterable[Marriage]) -> str:
    return " and ".join(one.place for one in homes)
