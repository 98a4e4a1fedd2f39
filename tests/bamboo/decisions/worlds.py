"""Stores with forks and decisions in them, and what is left of the logs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

from bamboo_compat.core.report import Fork
from bamboo_compat.decisions.book import Book
from bamboo_compat.decisions.view import View, open_indexes
from bamboo_compat.statements.format import Statement
from bamboo_compat.statements.kinds import Decide, Undecide
from setsync.model.entry import Entry
from setsync.model.keys import SecretKey
from setsync.store.contract import EntryStore, Origin
from setsync.store.memory import MemoryStore
from tests.bamboo.histories import member
from tests.bamboo.logs import Record, seed
from tests.bamboo.statements.saying import say

KEY = SecretKey(seed(1))
NODE = SecretKey(b"n" * 32)
HOME = SecretKey(b"h" * 32)
NOWHERE = Book()


def members(records: Iterable[Record], profile: str = "rfc0001") -> list[Entry]:
    """Records as members of the set."""
    return [member(record, profile) for record in records]


def world(
    entries: Sequence[Entry], origin: Origin | None = None, store: EntryStore | None = None
) -> EntryStore:
    """A store that has these, each committed by itself."""
    store = store if store is not None else MemoryStore()
    for entry in entries:
        store.add_many([entry], [(0, origin)])
    return store


@contextlib.contextmanager
def looking(store: EntryStore, book: Book = NOWHERE) -> Iterator[View]:
    """One moment of it."""
    open_indexes(store)
    with store.snapshot() as snapshot:
        yield View(snapshot, book, NODE.public)


def forks_in(store: EntryStore) -> list[Fork]:
    """Every fork, by place."""
    with looking(store) as view:
        found = view.reader.forks(view.reader.fork_ids())
    return sorted(found, key=lambda fork: (fork.author, fork.log_id, fork.seq_num, fork.id))


def decide(fork: Fork, number: int, before: Statement | None = None, key: SecretKey = KEY) -> Entry:
    """The author's word for a branch, by its number."""
    return say(key, Decide(fork.id, fork.branches[number - 1].hash), before=before)[0]


def undecide(fork: Fork, before: Statement, key: SecretKey = KEY) -> Entry:
    """The author takes it back."""
    return say(key, Undecide(fork.id), before=before)[0]


Told = tuple[object, ...]


def told(store: EntryStore, book: Book = NOWHERE) -> dict[str, Told]:
    """All that decisions leave of every log, and who decided every fork; nothing of it is this
    node's own unless the book says so."""
    found: dict[str, Told] = {}
    with looking(store, book) as view:
        for author, log_id, row in view.reader.logs():
            left = view.resolve(row)
            aside = [node.id for node in view.reader.nodes(row) if view.is_set_aside(row, node)]
            found[f"log {author.hex()} {log_id}"] = (
                [tip.id for tip in left.tips],
                left.trusted,
                sorted(left.undecided),
                sorted(left.decided),
                sorted(left.moot),
                aside,
            )
        for id_ in view.reader.fork_ids():
            ruling = view.ruling(id_)
            assert ruling is not None
            chosen = ruling.chosen.id if ruling.chosen is not None else None
            found[f"fork {id_.hex()}"] = (
                ruling.by,
                chosen,
                ruling.is_waiting,
                ruling.statement.id if ruling.statement is not None else None,
                ruling.chain_forked,
            )
    return found
