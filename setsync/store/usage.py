"""How much authors keep here, and how much peers brought today."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from setsync.errors import DamagedStoreError, InvalidEntryError
from setsync.model.formats import format_of
from setsync.store import layout
from setsync.store.contract import Origin, Usage
from setsync.store.environment import Environment, Transaction


class UsageBook:
    """`authors` and `bringers` in one write transaction: each row is read once and written
    once. Authors' usage is a number, as in `layout`; `more` comes to what was kept before."""

    def __init__(self, transaction: Transaction, env: Environment) -> None:
        self._transaction = transaction
        self._authors = env.table(layout.AUTHORS)
        self._bringers = env.table(layout.BRINGERS)
        self._kept: dict[bytes, bytes] = {}
        self._brought: dict[bytes, tuple[int, int, int]] = {}
        self.more: dict[bytes, int] = {}

    # --- authors --------------------------------------------------------------------------

    def read(self, authors: Iterable[bytes]) -> Mapping[bytes, bytes]:
        """The rows of these authors, and maybe of others, as before this batch."""
        kept = self._kept
        missing = [author for author in authors if author not in kept]
        if missing:
            kept |= dict.fromkeys(missing, layout.NO_USAGE)
            with self._transaction.cursor(db=self._authors) as cursor:
                kept.update(cursor.getmulti(missing))
        return kept

    def before(self, author: bytes) -> tuple[int, int]:
        """Entries and bytes of an author, without this batch."""
        return layout.split_usage(layout.unpack_usage(self.read([author])[author]))

    def most(self, authors: Iterable[bytes]) -> tuple[int, int]:
        """The most entries and the most bytes that one of these authors had before."""
        # Rows are compared as bytes, which is the order of their numbers.
        rows = self.read(authors).values()
        entries, _ = layout.split_usage(layout.unpack_usage(max(rows)))
        return entries, max([int.from_bytes(row[8:], "big") for row in rows])

    def now(self, author: bytes) -> Usage:
        """What an author keeps, this batch included."""
        before = layout.unpack_usage(self.read([author])[author])
        return Usage(*layout.split_usage(before + self.more.get(author, 0)))

    def attach(self, author: bytes, size: int) -> None:
        """So many bytes more, and no entry."""
        self.more[author] = self.more.get(author, 0) + size

    def drop(self, author: bytes, size: int) -> None:
        """So many bytes fewer."""
        self.more[author] = self.more.get(author, 0) - min(size, self.now(author).bytes)

    # --- peers ----------------------------------------------------------------------------

    def brought(self, origin: Origin) -> Usage:
        """What a peer brought on the day of this origin so far."""
        _, entries, size = self._today(origin)
        return Usage(entries, size)

    def bring(self, origin: Origin, entries: int, size: int) -> None:
        """A peer brought so much that is new. Nobody, where the origin names no peer."""
        if origin.peer:
            day, before, size_before = self._today(origin)
            self._brought[origin.peer] = day, before + entries, size_before + size

    def _today(self, origin: Origin) -> tuple[int, int, int]:
        """A record of another day starts again."""
        known = self._brought.get(origin.peer)
        if known is None:
            value = self._transaction.get(origin.peer, db=self._bringers)
            known = layout.unpack_brought(value) if value is not None else (0, 0, 0)
        day = layout.day_of(origin.at)
        return known if known[0] == day else (day, 0, 0)

    # --- afterwards -----------------------------------------------------------------------

    def write(self) -> None:
        """Put every row that changed."""
        if self.more:
            authors = sorted(self.more)
            kept, more, add = self.read(authors), self.more, layout.add_usage
            rows = [(author, add(kept[author], more[author])) for author in authors]
            with self._transaction.cursor(db=self._authors) as cursor:
                cursor.putmulti(rows)
        for peer, brought in self._brought.items():
            self._transaction.put(peer, layout.pack_brought(*brought), db=self._bringers)


# --- all of it, from the log --------------------------------------------------------------


@dataclass(slots=True)
class Counted:
    """What the log says. `unknown`: entries of formats that no installed package knows."""

    authors: dict[bytes, int] = field(default_factory=dict)
    withheld: dict[bytes, bytes] = field(default_factory=dict)
    unknown: int = 0


def counted(transaction: Transaction, env: Environment) -> Counted:
    """Walk the whole log, about 6 s a million entries. What cannot be read counts nothing."""
    found = Counted()
    for key, record in _records(transaction, env):
        try:
            claims = format_of(record.header).decode(record.header)
        except InvalidEntryError as error:
            found.unknown += error.reason == "unknown_format"
            continue
        before = found.authors.get(claims.author, 0)
        found.authors[claims.author] = before + layout.ONE_ENTRY + record.size
        if record.payload is None and not record.dropped:
            found.withheld[key] = layout.pack_size(claims.payload_size)
    return found


def _records(
    transaction: Transaction, env: Environment
) -> Iterator[tuple[bytes, layout.LogRecord]]:
    with transaction.cursor(db=env.table(layout.LOG)) as cursor:
        for key, value in cursor.iternext():
            try:
                yield key, layout.unpack_log(value)
            except DamagedStoreError:
                continue  # told of by the check of the log


def count_usage(transaction: Transaction, env: Environment) -> None:
    """Make `authors` and `withheld` from the log: once, for a store from before them.

    As long as some entry's format is not known here, it is done again at the next opening.
    """
    found = counted(transaction, env)
    authors, withheld = env.table(layout.AUTHORS), env.table(layout.WITHHELD)
    for table in (authors, withheld):
        transaction.drop(table, delete=False)
    for author, usage in sorted(found.authors.items()):
        transaction.put(author, layout.pack_usage(usage), db=authors)
    for key, value in found.withheld.items():
        transaction.put(key, value, db=withheld)
    if not found.unknown:
        state = env.table(layout.STATE)
        transaction.put(layout.STATE_USAGE, layout.USAGE_COUNTED, db=state)
