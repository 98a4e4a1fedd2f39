"""A process that fills a store and asks it, so that what this takes can be told from outside.

Driven by `benchmarks.growth` over the worker protocol. Entries go by number, have made-up
signatures, and become `Entry` as `setsync import` has them of its verifying processes (`checked`).
They are made in pieces of a few hundred KB, and a clock that stands still meanwhile times the rest.
"""

from __future__ import annotations

import array
import contextlib
import hashlib
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from benchmarks.store import COLLECTION, ENTRY_BYTES, SEED, Maker
from benchmarks.workers import Fields, Handler, run_worker
from setsync.cli.loop import look_for_circles_seldom
from setsync.limits import DEFAULT_MAX_PAYLOAD, VERIFY_JOB_ENTRIES
from setsync.model.entry import Entry, UnverifiedEntry, checked, entry_id, make_entry
from setsync.model.keys import SecretKey
from setsync.reconcile.digest import HEX, Summary
from setsync.store.environment import Cursor, Table, Transaction
from setsync.store.importing import import_entries
from setsync.store.lmdb_store import LmdbSnapshot, Store
from setsync.store.nodes import LmdbNodes
from setsync.store.trie import Insertion

# Entries by id that are put into one commit.
ORDERED_BATCH = 10_000
ASKED = 1_000
TRIED = 200
# No number of an entry in the store is as high.
NEWS = 1 << 40


# --- entries -----------------------------------------------------------------------------------


class Entries:
    """Entries of 300 bytes by number, each with bytes of its own as those read from a file have."""

    def __init__(self) -> None:
        maker = Maker()
        self._header = maker.header
        self._payload = memoryview(maker.entry(0).payload or b"")
        self._author = SecretKey(bytes(32)).public

    def claim(self, number: int) -> UnverifiedEntry:
        """What a file would hold of it."""
        return UnverifiedEntry(COLLECTION, self._header(number), bytes(self._payload))

    def check(self, claim: UnverifiedEntry) -> Entry:
        """As if its signature had been verified."""
        return checked(claim, entry_id(claim.header), self._author)

    def entry(self, number: int) -> Entry:
        """The entry of a number."""
        return self.check(self.claim(number))

    def short_id(self, number: int) -> int:
        """The first 64 bits of its id."""
        return int.from_bytes(entry_id(self._header(number))[:8], "big")


def signed(number: int) -> Entry:
    """News: an entry of as many bytes and in the same collection that a peer will accept."""
    # An author of its own: the other has more already than a node takes of one from peers.
    key = SecretKey(hashlib.sha256(b"growth news").digest())
    content = hashlib.shake_128(b"%d/%d" % (SEED, number)).digest(ENTRY_BYTES)
    # A header of this collection has one length, whatever else stands in it.
    room = ENTRY_BYTES - len(make_entry(key, COLLECTION, b"", number).header)
    return make_entry(key, COLLECTION, content[:room], number)


# --- time --------------------------------------------------------------------------------------


@dataclass
class Clock:
    """Seconds of wall and CPU of this process in `counted` blocks, without `aside` ones."""

    wall: float = 0.0
    cpu: float = 0.0

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """What is measured."""
        with self._spent(1):
            yield

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """What is not, inside of it."""
        with self._spent(-1):
            yield

    @contextlib.contextmanager
    def _spent(self, sign: int) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.cpu += sign * (time.process_time() - cpu)
        self.wall += sign * (time.perf_counter() - wall)

    def told(self) -> Fields:
        """Both, for the driver."""
        return {"wall": self.wall, "cpu": self.cpu}


def imported(store: Store, low: int, high: int) -> tuple[Clock, int]:
    """Import the entries of numbers [low, high), which is random order to a store; how many
    commits that took."""
    entries, clock, commits = Entries(), Clock(), 0

    def file() -> Iterator[UnverifiedEntry]:
        for first in range(low, high, VERIFY_JOB_ENTRIES):
            with clock.aside():
                piece = list(
                    map(entries.claim, range(first, min(high, first + VERIFY_JOB_ENTRIES)))
                )
            yield from piece

    def verify(jobs: Iterable[Sequence[UnverifiedEntry]]) -> Iterator[list[Entry]]:
        for job in jobs:
            with clock.aside():
                piece = list(map(entries.check, job))
            yield piece

    def on_commit(_: int) -> None:
        nonlocal commits
        commits += 1

    with clock.counted():
        found = import_entries(
            store, file(), DEFAULT_MAX_PAYLOAD, on_commit, verify=verify, clock=time.monotonic
        )
    assert found.new == high - low
    return clock, commits


def added(store: Store, numbers: Sequence[int]) -> Clock:
    """Add the entries of some numbers in one commit."""
    entries, clock = Entries(), Clock()
    batch = list(map(entries.entry, numbers))
    with clock.counted():
        store.add_many(batch)
    return clock


# --- rows --------------------------------------------------------------------------------------


@dataclass
class Rows:
    """Rows that LMDB handed over, and pages on the way down to those that were sought."""

    rows: int = 0
    pages: int = 0


class CountingTransaction:
    """A read transaction that counts; see `setsync.store.environment.Transaction`."""

    def __init__(self, transaction: Transaction, rows: Rows) -> None:
        self._transaction = transaction
        self._rows = rows

    def get(self, key: bytes, *, db: Table) -> bytes | None:
        value = self._transaction.get(key, db=db)
        self._rows.pages += self._transaction.stat(db)["depth"]
        self._rows.rows += value is not None
        return value

    @contextlib.contextmanager
    def cursor(self, db: Table) -> Iterator[CountingCursor]:
        depth = self._transaction.stat(db)["depth"]
        with self._transaction.cursor(db=db) as cursor:
            yield CountingCursor(cursor, depth, self._rows)


class CountingCursor:
    """What questions use of a cursor, counted."""

    def __init__(self, cursor: Cursor, depth: int, rows: Rows) -> None:
        self._cursor = cursor
        self._depth = depth
        self._rows = rows

    def set_range(self, key: bytes) -> bool:
        return self._sought(self._cursor.set_range(key))

    def first(self) -> bool:
        return self._sought(self._cursor.first())

    def last(self) -> bool:
        return self._sought(self._cursor.last())

    def next(self) -> bool:
        return self._stepped(self._cursor.next())

    def prev(self) -> bool:
        return self._stepped(self._cursor.prev())

    def key(self) -> bytes:
        return self._cursor.key()

    def item(self) -> tuple[bytes, bytes]:
        return self._cursor.item()

    def iternext(self) -> Iterator[tuple[bytes, bytes]]:
        self._rows.pages += self._depth
        for item in self._cursor.iternext():
            self._rows.rows += 1
            yield item

    def _sought(self, found: bool) -> bool:
        self._rows.pages += self._depth
        return self._stepped(found)

    def _stepped(self, found: bool) -> bool:
        self._rows.rows += found
        return found


class CountingNodes:
    """A collection's nodes: what is read of them is counted, and so is what would be written."""

    def __init__(self, nodes: LmdbNodes) -> None:
        self._nodes = nodes
        self.read = 0
        self.written = 0

    def get_inner(self, prefix: str) -> bytes | None:
        self.read += 1
        return self._nodes.get_inner(prefix)

    def get_inners(self, prefixes: Sequence[str]) -> Sequence[bytes | None]:
        self.read += len(prefixes)
        return self._nodes.get_inners(prefixes)

    def get_leaves(self, prefixes: Sequence[str]) -> Sequence[bytes | None]:
        self.read += len(prefixes)
        return self._nodes.get_leaves(prefixes)

    def put_inners(self, rows: Sequence[tuple[str, bytes]]) -> None:
        self.written += len(rows)

    def put_leaves(self, rows: Sequence[tuple[str, bytes]]) -> None:
        self.written += len(rows)

    def delete_leaf(self, prefix: str) -> None:
        self.written += 1

    def leaf_around(self, id_: bytes) -> bytes | None:
        self.read += 1
        return self._nodes.leaf_around(id_)

    def leaves_from(self, id_: bytes) -> Iterator[bytes]:
        for leaf in self._nodes.leaves_from(id_):
            self.read += 1
            yield leaf


def root_of(snapshot: LmdbSnapshot) -> Summary:
    """Count and digest of the collection, as a session tells them first."""
    return dict(snapshot.collections())[COLLECTION]


def split_of(snapshot: LmdbSnapshot, prefix: str) -> Sequence[Summary]:
    """The children of a range, as a session answers a question that cannot be closed."""
    view = snapshot.view(COLLECTION)
    assert view is not None
    return view.children(prefix)


def counted(store: Store, ask: Callable[[LmdbSnapshot], object]) -> Rows:
    """What an answer reads."""
    rows = Rows()
    env = store.environment
    with env.read() as transaction:
        counting = cast(Transaction, CountingTransaction(transaction, rows))
        ask(LmdbSnapshot(counting, env, store.leaf_capacity, lambda: store.sketches))
    return rows


def tried(store: Store, number: int) -> CountingNodes:
    """What of the trie one more entry reads and writes, up to the new root; nothing is written."""
    with store.snapshot() as snapshot:
        view = snapshot.view(COLLECTION)
        assert view is not None
        nodes = CountingNodes(view.nodes)
        insertion = Insertion(nodes, view.summary(""), store.leaf_capacity)
        insertion.run([(Entries().entry(number).id, bytes(8))])
        assert insertion.summary.count == view.summary("").count + 1
    return nodes


# --- what the driver asks ----------------------------------------------------------------------


def ready(fields: Fields) -> Fields:
    """Be as the command is: numpy loaded, and Python's collector told to look seldom."""
    from setsync.store import sketches

    look_for_circles_seldom()
    return {"loaded": sketches.__name__}


def fill(fields: Fields) -> Fields:
    """Import the entries up to each of `marks`, as one file each; what each took."""
    pieces: list[Fields] = []
    low = fields["low"]
    with Store.open(Path(fields["folder"])) as store:
        for high in fields["marks"]:
            clock, commits = imported(store, low, high)
            pieces.append(clock.told() | {"entries": high - low, "commits": commits})
            low = high
        return {"pieces": pieces, "disk": store.bytes_on_disk}


def order(fields: Fields) -> Fields:
    """Write the numbers below `entries` into a file, 4 bytes each, in the order of ids."""
    import numpy as np

    entries = Entries()
    short_ids = np.fromiter(map(entries.short_id, range(fields["entries"])), np.uint64)
    np.argsort(short_ids).astype(np.uint32).tofile(fields["file"])
    return {}


def fill_in_order(fields: Fields) -> Fields:
    """Add the entries of the numbers in a file, batch by batch, up to each of `marks`."""
    pieces: list[Fields] = []
    low = 0
    with Store.open(Path(fields["folder"])) as store, Path(fields["file"]).open("rb") as file:
        for high in fields["marks"]:
            total, commits = Clock(), 0
            for first in range(low, high, ORDERED_BATCH):
                numbers = array.array("I")
                numbers.fromfile(file, min(ORDERED_BATCH, high - first))
                clock = added(store, numbers)
                total.wall += clock.wall
                total.cpu += clock.cpu
                commits += 1
            pieces.append(total.told() | {"entries": high - low, "commits": commits})
            low = high
        return {"pieces": pieces, "disk": store.bytes_on_disk}


def add(fields: Fields) -> Fields:
    """Add `batches` of `batch` entries that are not there; what each took."""
    batch = fields["batch"]
    with Store.open(Path(fields["folder"]), create=False) as store:
        first = range(NEWS, NEWS + batch * fields["batches"], batch)
        return {"took": [added(store, range(low, low + batch)).told() for low in first]}


def add_signed(fields: Fields) -> Fields:
    """Deal the news of numbers [low, high), signed, out to the stores."""
    folders = fields["folders"]
    for place, folder in enumerate(folders):
        numbers = range(fields["low"] + place, fields["high"], len(folders))
        with Store.open(Path(folder), create=False) as store:
            store.add_many(list(map(signed, numbers)))
    return {}


def ask(fields: Fields) -> Fields:
    """How many rows and pages the root, a split and one more entry read; how long a split takes."""
    chance = random.Random(SEED)
    prefixes = ["".join(chance.choices(HEX, k=2)) for _ in range(ASKED)]
    seconds: list[float] = []
    with Store.open(Path(fields["folder"]), create=False) as store:
        root = counted(store, root_of)
        splits = [counted(store, partial(split_of, prefix=prefix)) for prefix in prefixes]
        for prefix in prefixes:
            begun = time.perf_counter()
            with store.snapshot() as snapshot:
                split_of(snapshot, prefix)
            seconds.append(time.perf_counter() - begun)
        more = [tried(store, NEWS + number) for number in range(TRIED)]
    return {
        "root_rows": root.rows,
        "root_pages": root.pages,
        "split_rows": max(one.rows for one in splits),
        "split_pages": max(one.pages for one in splits),
        "split_us": 1e6 * statistics.median(seconds),
        "insert_read": max(one.read for one in more),
        "insert_read_mean": statistics.mean(one.read for one in more),
        "insert_written": max(one.written for one in more),
        "insert_written_mean": statistics.mean(one.written for one in more),
    }


def _handler(answer: Callable[[Fields], Fields]) -> Handler:
    async def handle(fields: Fields) -> Fields:
        return answer(fields)

    return handle


if __name__ == "__main__":
    answers = (ready, fill, order, fill_in_order, add, add_signed, ask)
    run_worker({answer.__name__: _handler(answer) for answer in answers})
