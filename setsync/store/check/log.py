"""The log: every entry against the members, and what of it is left to verify."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterator, Sequence

from setsync.errors import DamagedStoreError, InvalidEntryError
from setsync.limits import MIB
from setsync.model.entry import UnverifiedEntry, entry_id
from setsync.model.formats import format_of
from setsync.store import layout
from setsync.store.check.report import Kind, OnSteps, Report
from setsync.store.check.tables import Tables
from setsync.store.environment import Transaction
from setsync.store.importing import Verify
from setsync.store.lmdb_store import Store
from setsync.store.nodes import LmdbNodes
from setsync.store.trie import find_arrival

# Entries and bytes read in one snapshot.
_BATCH_ENTRIES = 1_000
_BATCH_BYTES = 4 * MIB

_Claim = tuple[int, UnverifiedEntry]
"""An arrival number, and the entry whose signature and payload are to be checked."""


class Sampler:
    """Chooses exactly `wanted` of `total` things that pass by, each equally likely."""

    def __init__(self, total: int, wanted: int | None, chance: random.Random | None) -> None:
        self._left = total
        self._wanted = total if wanted is None else min(wanted, total)
        self._chance = chance if chance is not None else random.SystemRandom()

    def takes(self) -> bool:
        """Whether the next one is among them (Knuth, TAOCP 2, 3.4.2, algorithm S)."""
        if not self._wanted:
            return False
        all_of_them = self._wanted >= self._left
        taken = all_of_them or self._chance.randrange(self._left) < self._wanted
        self._left -= 1
        self._wanted -= taken
        return taken


class LogCheck:
    """One pass over the log."""

    def __init__(self, store: Store, tables: Tables, report: Report, sampler: Sampler) -> None:
        self._store = store
        self._tables = tables
        self._report = report
        self._sampler = sampler
        self._opened: set[int] = set()
        self.logged: Counter[int] = Counter()
        self.openers: Counter[bytes] = Counter()

    def run(self, verify: Verify, on_steps: OnSteps) -> None:
        """Check every entry that had arrived when the check began."""
        # Those whose verdict is still to come.
        arrivals: deque[int] = deque()
        for outcomes in verify(self._unverified(arrivals, on_steps)):
            for outcome in outcomes:
                arrival = arrivals.popleft()
                if isinstance(outcome, InvalidEntryError):
                    self._note(arrival, outcome)

    def _unverified(
        self, arrivals: deque[int], on_steps: OnSteps
    ) -> Iterator[Sequence[UnverifiedEntry]]:
        """What is left to verify of each batch, once the rest of it is checked."""
        arrival = 0
        while arrival < self._tables.upto:
            claims, arrival = self._read(arrival)
            self._report.signatures += len(claims)
            arrivals += [one for one, _ in claims]
            yield [entry for _, entry in claims]
            on_steps("reading", self._report.entries, self._tables.logged)

    def _read(self, after: int) -> tuple[list[_Claim], int]:
        """Check a batch against the members in one snapshot; what is left to verify, and
        the last arrival number of the batch."""
        claims: list[_Claim] = []
        size, arrival = 0, self._tables.upto
        env = self._store.environment
        with env.read() as transaction, transaction.cursor(db=env.table(layout.LOG)) as cursor:
            found = cursor.set_range(layout.arrival_key(after + 1))
            while found:
                key, value = cursor.item()
                arrival = int.from_bytes(key, "big")
                if arrival > self._tables.upto:
                    break
                claim = self._look_at(transaction, arrival, value)
                self._report.entries += 1
                size += len(value)
                if claim is not None:
                    claims.append(claim)
                if len(claims) == _BATCH_ENTRIES or size >= _BATCH_BYTES:
                    break
                found = cursor.next()
        return claims, arrival

    def _look_at(self, transaction: Transaction, arrival: int, value: bytes) -> _Claim | None:
        """Check one entry against the members; what of it is left to verify."""
        taken = self._sampler.takes()
        try:
            record = layout.unpack_log(value)
        except DamagedStoreError as error:
            self._found(Kind.ENTRY, arrival, error.message)
            return None
        self.logged[record.collection] += 1
        if record.collection not in self._tables.collections:
            self._found(Kind.ENTRY, arrival, f"It names collection number {record.collection}.")
            return None
        id_ = entry_id(record.header)
        if record.short_id != id_[: len(record.short_id)]:
            self._found(Kind.ENTRY, arrival, "Its id and its short id do not fit.")
        self._check_membership(transaction, arrival, record.collection, id_)
        self._count_opener(record)
        if not taken:
            return None
        name, _ = self._tables.collections[record.collection]
        return arrival, UnverifiedEntry(name, record.header, record.payload)

    def _check_membership(
        self, transaction: Transaction, arrival: int, collection: int, id_: bytes
    ) -> None:
        key = layout.collection_key(collection)
        listed = find_arrival(LmdbNodes(transaction, self._store.environment, key), id_)
        if listed is None:
            self._found(Kind.MEMBERSHIP, arrival, f"Its id {id_.hex()} is not a member.")
        elif listed != arrival:
            sentence = f"Its id {id_.hex()} is a member with arrival number {listed}."
            self._found(Kind.MEMBERSHIP, arrival, sentence)

    def _count_opener(self, record: layout.LogRecord) -> None:
        """A collection counts against the author of the first entry in it."""
        if record.collection in self._opened:
            return
        self._opened.add(record.collection)
        try:
            author = format_of(record.header).decode(record.header).author
        except InvalidEntryError:
            return  # told of when the entry is verified
        self.openers[author] += 1

    def _note(self, arrival: int, error: InvalidEntryError) -> None:
        if error.reason == "unknown_format":
            self._report.unknown += 1
        else:
            self._found(Kind.ENTRY, arrival, f"{error.message} ({error.reason})")

    def _found(self, kind: Kind, arrival: int, sentence: str) -> None:
        self._report.found(kind, f"Entry with arrival number {arrival}: {sentence}")
