"""Questions to the index of statements, answered from one snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from bamboo_compat.statements.chain import Chain, chain_of
from bamboo_compat.statements.format import Statement, decode
from bamboo_compat.statements.index import ABOUT, CHAINS, INDEX, chain_key, chain_prefix
from bamboo_compat.statements.kinds import ID_BYTES, Kind, Topic
from setsync.errors import DamagedStoreError, InvalidEntryError
from setsync.model.indexes import Table, Tables
from setsync.store.contract import EntryStore, Snapshot

# People decide and move a few times in their life; whoever says more is read from the newest.
MAX_READ = 10_000
_ARRIVAL_BYTES = 8


def open_statements(store: EntryStore) -> None:
    """Make the tables ready for snapshots that are taken from now on."""
    store.open_index(INDEX)


class Reader:
    """One moment of the index. Dies with its snapshot; what it returns does not."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._chains = tables.table(CHAINS)
        self._about = tables.table(ABOUT)

    def chain(self, author: bytes, topic: Topic) -> Chain:
        """An author's statements on a topic, the newest MAX_READ."""
        prefix = chain_prefix(author, topic)
        found = [self._read(value) for value in islice(_downwards(self._chains, prefix), MAX_READ)]
        more = next(islice(_downwards(self._chains, prefix), MAX_READ, None), None)
        return chain_of(author, topic, found, is_whole=more is None)

    def authors(self, topic: Topic, after: bytes = b"") -> Iterator[bytes]:
        """Who has said anything on a topic, ascending, from after a key on."""
        start = after + b"\xff" if after else b""
        while (found := next(self._chains.items(start), None)) is not None:
            author, said = found[0][:ID_BYTES], found[0][ID_BYTES]
            if said == topic:
                yield author
                start = author + b"\xff"
            else:
                start = author + bytes([topic if said < topic else 0xFF])

    def about(self, subject: bytes, author: bytes = b"") -> Iterator[Statement]:
        """Statements about a fork (its id), a server (its node id: hellos to it), a client (its
        key: welcomes to it) or a hello (its id: welcomes and goodbyes); by author, kind and
        count."""
        prefix = subject + author
        for key, value in self._about.items(prefix):
            if not key.startswith(prefix):
                return
            yield self._read(value)

    def latest_about(self, fork: bytes, author: bytes) -> Statement | None:
        """The author's decision about a fork that holds, or that nothing does: see
        `Statement.rank`."""
        found = [
            self._read(value)
            for kind in (Kind.DECIDE, Kind.UNDECIDE)
            if (value := self._top(fork + author + bytes([kind]))) is not None
        ]
        return max(found, key=lambda one: one.rank, default=None)

    def _top(self, prefix: bytes) -> bytes | None:
        """Of the highest count under a prefix the value with the smallest id."""
        last = self._about.last_below(prefix + b"\xff" * 41)
        if last is None or not last[0].startswith(prefix):
            return None
        [(_, value)] = islice(self._about.items(last[0][:-ID_BYTES]), 1)
        return value

    def has_rival(self, statement: Statement) -> bool:
        """Whether the author has signed another statement with its count."""
        prefix = chain_key(statement)[:-ID_BYTES]
        keys = (key for key, _ in islice(self._chains.items(prefix), 2))
        return sum(key.startswith(prefix) for key in keys) > 1

    def said_by(self, author: bytes, topic: Topic) -> Iterator[Statement]:
        """Everything that an author said on a topic, the newest first."""
        for value in _downwards(self._chains, chain_prefix(author, topic)):
            yield self._read(value)

    def _read(self, value: bytes) -> Statement:
        if len(value) != _ARRIVAL_BYTES:
            raise DamagedStoreError("A record of a statement is not readable.")
        try:
            return decode(self._tables.logged(int.from_bytes(value, "big"))[0])
        except InvalidEntryError as error:
            raise DamagedStoreError(
                "The index of statements names an entry of another kind."
            ) from error


def read_chain(snapshot: Snapshot, author: bytes, topic: Topic) -> Chain:
    """See `Reader.chain`; the index was opened before (`open_statements`)."""
    return Reader(snapshot.index_tables(INDEX)).chain(author, topic)


def statements_about(snapshot: Snapshot, subject: bytes) -> list[Statement]:
    """See `Reader.about`; MAX_READ of them at most."""
    return list(islice(Reader(snapshot.index_tables(INDEX)).about(subject), MAX_READ))


def _downwards(table: Table, prefix: bytes) -> Iterator[bytes]:
    """The values under a prefix, from the last on."""
    key = prefix + b"\xff" * 41
    while (found := table.last_below(key)) and found[0].startswith(prefix):
        yield found[1]
        key = found[0]
