"""Deciding: here, for this node alone, or as the author, for every node that hears of it."""

from __future__ import annotations

from pathlib import Path

from bamboo_compat.decisions.book import DecisionsFile, Did, Policy, Record
from bamboo_compat.set.appending import append_lock
from bamboo_compat.statements.kinds import Decide, Said, Topic, Undecide
from bamboo_compat.statements.make import make
from bamboo_compat.statements.reading import open_statements, read_chain
from setsync.model.entry import Entry
from setsync.model.keys import SecretKey
from setsync.store.contract import EntryStore, Origin


def decide_here(
    folder: Path, fork: bytes, branch: bytes, *, who: str, at: int, reason: str = ""
) -> None:
    """This branch is right, on this node. `folder`: the data directory; `branch`: the tagged hash
    of its first entry; `at` in milliseconds since 1970. Raises ForksFileError."""
    _note(folder, Record(at, who, Did.DECIDE, fork=fork, branch=branch, reason=reason))


def undecide_here(folder: Path, fork: bytes, *, who: str, at: int, reason: str = "") -> bool:
    """What was decided here holds no longer; whether anything was. Raises ForksFileError."""
    if DecisionsFile(folder).read().decision(fork) is None:
        return False
    with DecisionsFile(folder).changing() as book:
        book.add(Record(at, who, Did.UNDECIDE, fork=fork, reason=reason))
    return True


def set_policy(
    folder: Path, policy: Policy | None, author: bytes = b"", *, who: str, at: int, reason: str = ""
) -> None:
    """What holds of undecided forks, of an author's or (with an empty key) of everybody's. None:
    nothing of its own any more. Raises ForksFileError."""
    record = Record(at, who, Did.POLICY, author=author, policy=policy, reason=reason)
    _note(folder, record)


def decide_as_author(
    folder: Path,
    store: EntryStore,
    key: SecretKey,
    fork: bytes,
    branch: bytes,
    *,
    at: int,
    reason: str = "",
) -> Entry:
    """Sign that this branch is right, after the latest of the key's statements that are here, and
    store it. Waits for whoever else is signing in this data directory.

    Raises InvalidEntryError, StoreLockedError, StoreError.
    """
    return _say(folder, store, key, Decide(fork, branch, reason), at)


def undecide_as_author(
    folder: Path, store: EntryStore, key: SecretKey, fork: bytes, *, at: int, reason: str = ""
) -> Entry:
    """Sign that what the author decided holds no longer. See `decide_as_author`."""
    return _say(folder, store, key, Undecide(fork, reason), at)


def _note(folder: Path, record: Record) -> None:
    with DecisionsFile(folder).changing() as book:
        book.add(record)


def _say(folder: Path, store: EntryStore, key: SecretKey, said: Said, at: int) -> Entry:
    open_statements(store)
    with append_lock(folder):
        with store.snapshot() as snapshot:
            before = read_chain(snapshot, key.public, Topic.FORKS).latest
        entry = make(key, said, at, before)
        # Durable before the lock is let go: whoever has it next goes on from this one.
        store.add_many([entry], [(0, Origin(at))])
    return entry
