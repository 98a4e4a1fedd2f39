"""The set on disk: entries in order of arrival, members and trie keyed by id.

Everything a batch changes (log, leaves, inner nodes, roots, counters) changes in one
transaction, so that a root can never disagree with its set. The set only grows: an id that
is in a store stays in it.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Self

from setsync.errors import (
    DamagedStoreError,
    DataDirectoryError,
    NewerFormatError,
    NoSuchEntryError,
    StoreError,
    StoreLimitError,
)
from setsync.limits import (
    ENTRY_BATCH,
    MAP_SIZE,
    MAX_COLLECTION_NAME,
    MAX_COLLECTIONS,
    MAX_COLLECTIONS_PER_AUTHOR,
    MIB,
)
from setsync.model.entry import Entry, entry_id
from setsync.model.formats import format_of, index_of
from setsync.model.indexes import Arrived, Index
from setsync.model.refusal import Refusal
from setsync.reconcile.digest import EMPTY, LEAF_CAPACITY, Summary, highest, lowest
from setsync.store import layout, payloads, refusals
from setsync.store.admission import Admission
from setsync.store.contract import (
    Added,
    Dropped,
    Origin,
    Origins,
    Quotas,
    Refuser,
    RefuserKind,
    StoredEntry,
    Usage,
    Withheld,
)
from setsync.store.durable import sync_to_disk
from setsync.store.environment import (
    DATA_FILE,
    LOCK_FILE,
    TURNS_FILE,
    Environment,
    Table,
    Transaction,
)
from setsync.store.guests import GuestTables, add_to_indexes, indexes_for, is_open
from setsync.store.nodes import LmdbNodes, get_number, get_record
from setsync.store.presence import FOLDER, Presence
from setsync.store.trie import Insertion, MissingNodeError, TrieView, find_arrival, leaf_ids
from setsync.store.usage import UsageBook, count_usage

if TYPE_CHECKING:
    # Loaded when first used: they need numpy, which takes longer than a whole `status`.
    from setsync.reconcile.sketch import Symbols
    from setsync.store import sketches

    CachedSketch = Callable[[str, sketches.Encode], Symbols]


_POSITION = itemgetter(1)
# Bytes of the log that are put into LMDB at once; so much of a batch is held twice.
_LOG_PIECE = 1 * MIB


class Store:
    """A directory with a set of entries in it. Safe to use from several threads, and to
    open from several processes at once.

        with Store.open("notes") as store:
            store.add(entry)

    `leaf_capacity` is the trie's; only tests set it, and then always the same for a store.
    """

    def __init__(self, path: Path, map_size: int, leaf_capacity: int) -> None:
        self.path = path
        self._capacity = leaf_capacity
        self._sketches: sketches.SketchCache | None = None
        self._presence = Presence(path)
        try:
            self._env = Environment(path, map_size)
        except BaseException:
            self._presence.leave()
            raise
        try:
            self._open_tables()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        create: bool = True,
        map_size: int = MAP_SIZE,
        leaf_capacity: int = LEAF_CAPACITY,
    ) -> Self:
        """Open the store in a directory, made if `create` and missing or empty.

        Raises DataDirectoryError (missing, or something else lies there), NewerFormatError,
        DamagedStoreError, StoreError.
        """
        path = Path(path)
        try:
            found = (path / DATA_FILE).is_file()
            if not found and not create:
                raise DataDirectoryError(f"There is no store in {path}.")
            if found and not create and not (path / DATA_FILE).stat().st_size:
                # LMDB would take it for a new one, and all that was in it for never written.
                raise DamagedStoreError(f"{path / DATA_FILE} is empty.")
            if not found:
                _make_folder(path)
        except OSError as error:
            raise DataDirectoryError(f"{path} cannot be used: {error.strerror}.") from error
        store = cls(path, map_size, leaf_capacity)
        try:
            if not found:
                sync_to_disk(path)
        except OSError as error:
            store.close()
            raise StoreError(f"{path} cannot be synced: {error.strerror}.") from error
        return store

    def close(self) -> None:
        """Leave in order. Twice is as good as once."""
        self._env.close()
        self._presence.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_tables(self) -> None:
        """A new store gets the format version; somebody else's or a newer one is left alone."""
        found = self._env.table_names()
        if found and layout.STATE not in found:
            raise DataDirectoryError(f"{self.path} holds an LMDB file that is not a setsync store.")
        if found:
            self._env.open_tables([layout.STATE])
            self._refuse_newer_format()
        self._env.open_tables(layout.TABLES)
        self._env.write(self._begin_format)

    def _refuse_newer_format(self) -> None:
        with self._env.read() as transaction:
            state = self._env.table(layout.STATE)
            version = get_number(transaction, state, layout.STATE_FORMAT)
        if version > layout.FORMAT_VERSION:
            raise NewerFormatError(
                f"{self.path} has format {version}; "
                f"this version of setsync reads up to {layout.FORMAT_VERSION}."
            )

    def _begin_format(self, transaction: Transaction) -> None:
        state = self._env.table(layout.STATE)
        if transaction.get(layout.STATE_FORMAT, db=state) is None:
            version = layout.FORMAT_VERSION.to_bytes(4, "big")
            transaction.put(layout.STATE_FORMAT, version, db=state)
        if transaction.get(layout.STATE_USAGE, db=state) is None:
            count_usage(transaction, self._env)

    # --- writing --------------------------------------------------------------------------

    def add(self, entry: Entry) -> bool:
        """Add one entry durably; whether it was new. A batch is far cheaper per entry."""
        return bool(self.add_many([entry]).new)

    def add_many(
        self, entries: Sequence[Entry], origins: Origins = (), quotas: Quotas | None = None
    ) -> Added:
        """Add a batch, all or nothing; durable when it returns. Known entries change nothing
        but that a payload that was withheld is attached.

        With quotas, what would go over one of them or over a limit of collections is left out
        and told in what is returned. Raises StoreLimitError (without quotas alone),
        StoreFullError, StoreError.
        """
        if not entries:
            return Added((), 0, 0)
        indexes = indexes_for(entries)
        for index in indexes.values():
            self.open_index(index)
        with self._damage_named():
            return self._env.write(
                lambda transaction: _Batch(
                    self, transaction, entries, origins, indexes, quotas
                ).run()
            )

    def drop_payload(self, collection: str, id_: bytes) -> int:
        """Remove an entry's payload for good; durable when it returns. How many bytes that
        frees: none where the payload was not here, and then it is not wanted any more.

        Raises NoSuchEntryError; PayloadNeededError where the system or an index needs it.
        """
        return self.drop_payloads([collection], id_)

    def drop_payloads(self, collections: Sequence[str], id_: bytes) -> int:
        """Remove an entry's payload from several collections, from all or from none."""
        index = self._index_of(collections, id_)
        with self._damage_named():
            return self._env.write(
                lambda transaction: sum(
                    payloads.drop(transaction, self._env, collection, id_, index)
                    for collection in collections
                )
            )

    def drop_many(self, entries: Sequence[tuple[str, bytes]]) -> Dropped:
        """Remove the payloads of (collection, id) in one transaction, but for those that the
        system or an index needs, and for those that are left when COMMIT_SECONDS are over.

        Raises NoSuchEntryError, and then nothing is removed.
        """
        with self._damage_named():
            while True:
                try:
                    return self._env.write(
                        lambda transaction: payloads.drop_many(transaction, self._env, entries)
                    )
                except payloads.IndexNotOpenError as error:
                    self.open_index(error.index)

    def restore_payload(self, collection: str, id_: bytes) -> bool:
        """Want a dropped payload again, as if it had been withheld; whether it was dropped.

        Raises NoSuchEntryError.
        """
        index = self._index_of([collection], id_)
        with self._damage_named():
            return self._env.write(
                lambda transaction: payloads.restore(transaction, self._env, collection, id_, index)
            )

    def _index_of(self, collections: Sequence[str], id_: bytes) -> Index | None:
        """The index that knows of an entry, ready. Raises NoSuchEntryError."""
        index: Index | None = None
        with self.snapshot() as snapshot:
            for collection in collections:
                entry = snapshot.entry(collection, id_)
                if entry is None:
                    raise NoSuchEntryError(
                        f"There is no entry {id_.hex()} in the collection {collection!r}."
                    )
                index = index_of(format_of(entry.header).name)
        if index is not None:
            self.open_index(index)
        return index

    def note_refused(
        self, refuser: Refuser, collection: str, refused: Sequence[tuple[bytes, Refusal]], at: int
    ) -> None:
        """Remember who refused which ids, and why; `at` in milliseconds since 1970. A note that
        MAX_REFUSED has no room for empties the table first."""
        if refused:
            self._env.write(
                lambda transaction: refusals.note(
                    transaction, self._env, refuser, collection, refused, at
                )
            )

    def forget_refused(self, kinds: Collection[RefuserKind]) -> int:
        """Forget the refusals of these kinds; how many there were."""
        return self._env.write(lambda transaction: refusals.forget(transaction, self._env, kinds))

    def open_index(self, index: Index) -> None:
        """Make the tables of an index ready, for snapshots taken from now on."""
        if not is_open(self._env, index):
            self._env.open_tables(index.tables)

    # --- reading --------------------------------------------------------------------------

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[LmdbSnapshot]:
        """One moment of the store. Keep it short, and never across an `await`."""
        with self._damage_named(), self._env.read() as transaction:
            yield LmdbSnapshot(transaction, self._env, self._capacity, self._sketch_cache)

    def _sketch_cache(self) -> sketches.SketchCache:
        if self._sketches is None:
            from setsync.store.sketches import SketchCache

            self._sketches = SketchCache()
        return self._sketches

    @contextlib.contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except MissingNodeError as error:
            where = error.args[0] or "the root"
            raise DamagedStoreError(
                f"The store {self.path} is damaged: its trie lacks a node at {where}."
            ) from error

    def get(self, id_: bytes) -> StoredEntry | None:
        """The entry with this id, from whichever collection has it."""
        with self.snapshot() as snapshot:
            for collection, found in snapshot.find(id_.hex(), limit=1):
                return snapshot.entry(collection, found)
        return None

    def __iter__(self) -> Iterator[StoredEntry]:
        """All entries in order of arrival, those that arrive meanwhile included."""
        arrival = 0
        while True:
            with self.snapshot() as snapshot:
                batch = snapshot.since(arrival, 256, ENTRY_BATCH)
            if not batch:
                return
            yield from batch
            arrival = batch[-1].arrival

    def last_arrival(self) -> int:
        """The highest arrival number given so far; 0 in an empty store."""
        with self.snapshot() as snapshot:
            return snapshot.last_arrival

    # --- keeping --------------------------------------------------------------------------

    @property
    def environment(self) -> Environment:
        """What the store lies on, for the other modules of this room."""
        return self._env

    @property
    def sketches(self) -> sketches.SketchCache:
        """The sketches kept in memory."""
        return self._sketch_cache()

    @property
    def leaf_capacity(self) -> int:
        """How many ids a leaf of the trie holds."""
        return self._capacity

    @property
    def map_size(self) -> int:
        """Bytes of address space reserved for the map."""
        return self._env.map_size

    @property
    def map_used(self) -> int:
        """Bytes of the map in use, free pages among them included."""
        return self._env.used

    @property
    def bytes_on_disk(self) -> int:
        """Size of the data file."""
        return (self.path / DATA_FILE).stat().st_size

    def check_readers(self) -> int:
        """Give back reader slots of processes that died; how many."""
        return self._env.check_readers()

    def copy(self, target: Path, *, compact: bool = False) -> None:
        """A consistent copy into a folder, which must be missing or empty.

        Raises DataDirectoryError, StoreError.
        """
        try:
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = any(target.iterdir())
        except OSError as error:
            raise DataDirectoryError(f"{target} cannot be used: {error.strerror}.") from error
        if found:
            raise DataDirectoryError(f"{target} is not empty.")
        try:
            self._env.copy(target, compact=compact)
        except BaseException:
            (target / DATA_FILE).unlink(missing_ok=True)
            raise


def _make_folder(path: Path) -> None:
    """Raises OSError, or DataDirectoryError when something lies there."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What another process makes at this moment, or left when it died while making it.
    ours = {FOLDER, LOCK_FILE, TURNS_FILE, DATA_FILE}
    strangers = sorted(item.name for item in path.iterdir() if item.name not in ours)
    if strangers:
        raise DataDirectoryError(f"{path} is not empty and not a store: it holds {strangers[0]!r}.")


class _Batch:
    """One `add_many`, inside its transaction. It may be run again from the start."""

    def __init__(
        self,
        store: Store,
        transaction: Transaction,
        entries: Sequence[Entry],
        origins: Origins,
        indexes: dict[str, Index],
        quotas: Quotas | None,
    ) -> None:
        env = store._env
        self._transaction = transaction
        self._log = env.table(layout.LOG)
        self._collections = env.table(layout.COLLECTIONS)
        self._names = env.table(layout.NAMES)
        self._openers = env.table(layout.OPENERS)
        self._state = env.table(layout.STATE)
        self._env = env
        self._capacity = store._capacity
        self._entries = entries
        self._origins = origins
        self._indexes = indexes
        self._quotas = quotas
        self._usage = UsageBook(transaction, env)
        self._withheld = env.table(layout.WITHHELD)
        self._last = get_number(transaction, self._state, layout.STATE_LAST_ARRIVAL)
        self._new: dict[int, int] = {}  # position -> its collection's number
        self._again: list[tuple[LmdbNodes, int]] = []  # positions of ids that were known
        self._attached: list[Arrived] = []

    def run(self) -> Added:
        """Arrival numbers follow the order given; a known entry leaves a gap in them."""
        refused = self._refused()
        by_collection: dict[str, list[int]] = {}
        for position, entry in enumerate(self._entries):
            if position not in refused:
                by_collection.setdefault(entry.collection, []).append(position)
        for name, positions in by_collection.items():
            self._add_to(name, positions)
        order = sorted(self._new)
        if order:
            from setsync.store import sketches

            sizes = self._log_entries(order)
            self._note_origins(order, sizes)
            sketches.checkpoint_if_due(
                self._transaction, self._env, self._last + 1 + order[-1], self._collection
            )
        for nodes, position in sorted(self._again, key=_POSITION):
            self._attach_payload(nodes, self._entries[position])
        self._usage.write()
        if self._indexes:
            first = self._last + 1
            arrived = [Arrived(first + at, self._entries[at], is_new=True) for at in order]
            add_to_indexes(self._transaction, self._env, self._indexes, arrived + self._attached)
        ids = tuple(self._entries[position].id for position in order)
        known = len(self._entries) - len(ids) - len(refused)
        return Added(ids, known, len(self._attached), tuple(refused.items()))

    def _refused(self) -> dict[int, Refusal]:
        if self._quotas is None:
            return {}
        return Admission(
            self._transaction,
            self._env,
            self._usage,
            self._quotas,
            (MAX_COLLECTIONS, MAX_COLLECTIONS_PER_AUTHOR),
        ).refused(self._entries, self._origins)

    def _add_to(self, name: str, positions: list[int]) -> None:
        """Add the ids to one collection's trie; its entries go into the log afterwards."""
        key, root = self._open_collection(name, self._entries[positions[0]].author)
        nodes = LmdbNodes(self._transaction, self._env, key)
        # Of an id that comes twice, the first.
        first = {self._entries[position].id: position for position in reversed(positions)}
        insertion = Insertion(nodes, root, self._capacity)
        next_ = self._last + 1
        members = [(id_, (next_ + first[id_]).to_bytes(8, "big")) for id_ in sorted(first)]
        insertion.run(members)
        if insertion.added:
            self._put(self._collections, key, layout.pack_collection(insertion.summary, name))
        number = int.from_bytes(key, "big")
        if len(insertion.added) == len(positions):  # all new, as most often
            self._new.update(dict.fromkeys(positions, number))
            return
        for position in positions:
            id_ = self._entries[position].id
            if id_ in insertion.added and first[id_] == position:
                self._new[position] = number
            else:
                self._again.append((nodes, position))

    def _arrival(self, position: int) -> bytes:
        return layout.arrival_key(self._last + 1 + position)

    def _log_entries(self, order: list[int]) -> list[int]:
        """Append what is new, in the order of arrival; the size of each. Appending fills
        LMDB's pages."""
        sizes: list[int] = []
        rows: list[tuple[bytes, bytes]] = []
        waiting = 0
        more, pack, first = self._usage.more, layout.pack_log, self._last + 1
        for position in order:
            entry = self._entries[position]
            key = (first + position).to_bytes(8, "big")
            record = pack(self._new[position], entry.id, entry.header, entry.payload)
            rows.append((key, record))
            size = len(record) - layout.LOG_HEAD_BYTES
            sizes.append(size)
            author = entry.author
            more[author] = more.get(author, 0) + layout.ONE_ENTRY + size
            if entry.payload is None:
                self._put(self._withheld, key, layout.pack_size(entry.claims.payload_size))
            waiting += size
            if waiting >= _LOG_PIECE:
                self._append(rows)
                rows, waiting = [], 0
        self._append(rows)
        self._note_short_ids(order)
        self._bump(layout.STATE_ENTRIES, len(order))
        self._put(self._state, layout.STATE_LAST_ARRIVAL, self._arrival(order[-1]))
        return sizes

    def _append(self, rows: list[tuple[bytes, bytes]]) -> None:
        with self._transaction.cursor(db=self._log) as cursor:
            if cursor.putmulti(rows, append=True) != (len(rows), len(rows)):
                raise DamagedStoreError("The log holds entries later than the last arrival.")

    def _note_origins(self, order: list[int], sizes: list[int]) -> None:
        """Who brought what is new: one record for each run of entries that came together."""
        ends = [start for start, _ in self._origins[1:]] + [len(self._entries)]
        for (start, origin), end in zip(self._origins, ends, strict=False):
            low, high = bisect_left(order, start), bisect_left(order, end)
            new = order[low:high]
            if new and origin is not None:
                self._usage.bring(origin, len(new), sum(sizes[low:high]))
                key, last = self._arrival(new[0]), self._last + 1 + new[-1]
                record = layout.pack_origin(key, last, origin.at, origin.peer)
                self._put(self._env.table(layout.ORIGINS), key, record)

    def _note_short_ids(self, order: list[int]) -> None:
        """What sketches will need of this batch, one record a collection."""
        from setsync.store import sketches

        short_ids: dict[int, list[bytes]] = {}
        for position in order:
            short_ids.setdefault(self._new[position], []).append(self._entries[position].id[:8])
        for number, parts in short_ids.items():
            key, joined = layout.collection_key(number), b"".join(parts)
            sketches.note(self._transaction, self._env, self._arrival(0), key, joined)

    def _collection(self, key: bytes) -> tuple[int, sketches.Encode]:
        """A collection's count, and what encodes its ranges."""
        value = self._transaction.get(key, db=self._collections)
        if value is None:
            raise DamagedStoreError("A collection has members and no record.")
        root = layout.unpack_collection(value)[0]
        nodes = LmdbNodes(self._transaction, self._env, key)
        return root.count, TrieView(nodes, root, self._capacity).sketch

    def _open_collection(self, name: str, author: bytes) -> tuple[bytes, Summary]:
        """The number of a collection and its summary; a new one counts against its author."""
        encoded = name.encode("utf-8")
        key = self._transaction.get(encoded, db=self._names)
        if key is not None:
            value = self._transaction.get(key, db=self._collections)
            if value is None:
                raise DamagedStoreError(f"The collection {name!r} has a name and no record.")
            return key, layout.unpack_collection(value)[0]
        count = int(self._transaction.stat(db=self._collections)["entries"])
        if count >= MAX_COLLECTIONS:
            raise StoreLimitError(f"A node holds at most {MAX_COLLECTIONS} collections.")
        opened = get_number(self._transaction, self._openers, author)
        if opened >= MAX_COLLECTIONS_PER_AUTHOR:
            raise StoreLimitError(
                f"The author {author.hex()} has opened {opened} collections, which is the limit."
            )
        self._put(self._openers, author, (opened + 1).to_bytes(8, "big"))
        key = layout.collection_key(count + 1)
        self._put(self._names, encoded, key)
        return key, EMPTY

    def _attach_payload(self, nodes: LmdbNodes, entry: Entry) -> None:
        """Give a known entry the payload it was stored without."""
        if entry.payload is None:
            return
        arrival = find_arrival(nodes, entry.id)
        if arrival is None:
            raise MissingNodeError(entry.id.hex())
        key = layout.arrival_key(arrival)
        record = get_record(self._transaction, self._log, key)
        if record.payload is None and not record.dropped and self._has_room(entry):
            value = layout.pack_log(record.collection, entry.id, record.header, entry.payload)
            self._put(self._log, key, value)
            self._transaction.delete(key, db=self._withheld)
            self._usage.attach(entry.author, len(entry.payload))
            self._attached.append(Arrived(arrival, entry, is_new=False))

    def _has_room(self, entry: Entry) -> bool:
        if self._quotas is None:
            return True
        size = self._usage.now(entry.author).bytes + len(entry.payload or b"")
        return size <= self._quotas.author_bytes

    def _bump(self, key: bytes, by: int) -> None:
        value = get_number(self._transaction, self._state, key) + by
        self._put(self._state, key, value.to_bytes(8, "big"))

    def _put(self, table: Table, key: bytes, value: bytes) -> None:
        self._transaction.put(key, value, db=table)


class CollectionView(TrieView):
    """A `SetView` of one collection at the moment of its snapshot."""

    def __init__(
        self, nodes: LmdbNodes, root: Summary, capacity: int, cached: CachedSketch
    ) -> None:
        super().__init__(nodes, root, capacity)
        self.nodes = nodes
        self._whole = root.count
        self._cached = cached

    def sketch(self, prefix: str) -> Symbols:
        """From the cache, caught up; a small or deep range is encoded afresh."""
        if self.keeps_sketch(prefix):
            return self._cached(prefix, super().sketch)
        return super().sketch(prefix)

    def keeps_sketch(self, prefix: str) -> bool:
        """Of a large collection, and of a very large one's first-level ranges."""
        from setsync.store.sketches import is_kept

        return is_kept(self.summary(prefix).count, prefix, self._whole)


class LmdbSnapshot:
    """See `setsync.store.contract.Snapshot`."""

    def __init__(
        self,
        transaction: Transaction,
        env: Environment,
        capacity: int,
        sketch_cache: Callable[[], sketches.SketchCache],
    ) -> None:
        self._transaction = transaction
        self._env = env
        self._capacity = capacity
        self._sketch_cache = sketch_cache

    @property
    def last_arrival(self) -> int:
        state = self._env.table(layout.STATE)
        return get_number(self._transaction, state, layout.STATE_LAST_ARRIVAL)

    @property
    def entry_count(self) -> int:
        state = self._env.table(layout.STATE)
        return get_number(self._transaction, state, layout.STATE_ENTRIES)

    def collections(self) -> Sequence[tuple[str, Summary]]:
        found: list[tuple[str, Summary]] = []
        with self._transaction.cursor(db=self._env.table(layout.COLLECTIONS)) as cursor:
            for _, value in cursor.iternext():
                summary, name = layout.unpack_collection(value)
                found.append((name, summary))
        return sorted(found, key=lambda item: item[0].encode("utf-8"))

    def view(self, collection: str) -> CollectionView | None:
        encoded = collection.encode("utf-8", "replace")
        if not 1 <= len(encoded) <= MAX_COLLECTION_NAME:
            return None
        key = self._transaction.get(encoded, db=self._env.table(layout.NAMES))
        if key is None:
            return None
        value = self._transaction.get(key, db=self._env.table(layout.COLLECTIONS))
        if value is None:
            raise DamagedStoreError(f"The collection {collection!r} has a name and no record.")
        nodes = LmdbNodes(self._transaction, self._env, key)
        root = layout.unpack_collection(value)[0]

        def cached(prefix: str, encode: sketches.Encode) -> Symbols:
            return self._sketch_cache().get(self._transaction, self._env, key, prefix, encode)

        return CollectionView(nodes, root, self._capacity, cached)

    def arrival(self, collection: str, id_: bytes) -> int | None:
        view = self.view(collection)
        return None if view is None else find_arrival(view.nodes, id_)

    def entry(self, collection: str, id_: bytes) -> StoredEntry | None:
        return next(self.entries(collection, [id_]), None)

    def entries(self, collection: str, ids: Iterable[bytes]) -> Iterator[StoredEntry]:
        view = self.view(collection)
        if view is None:
            return
        log = self._env.table(layout.LOG)
        for id_ in ids:
            arrival = find_arrival(view.nodes, id_)
            if arrival is not None:
                record = get_record(self._transaction, log, layout.arrival_key(arrival))
                yield StoredEntry(
                    id_, arrival, collection, record.header, record.payload, record.dropped
                )

    def find(self, prefix: str, limit: int = 2) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        low, high = lowest(prefix), highest(prefix)
        with self._transaction.cursor(db=self._env.table(layout.COLLECTIONS)) as cursor:
            for key, value in cursor.iternext():
                for leaf in LmdbNodes(self._transaction, self._env, key).leaves_from(low):
                    joined = leaf_ids(leaf)
                    ids = [joined[at : at + 32] for at in range(0, len(joined), 32)]
                    hits = [id_ for id_ in ids if low <= id_ <= high]
                    found += [(layout.unpack_collection(value)[1], id_) for id_ in hits]
                    if len(found) >= limit:
                        return found[:limit]
                    if ids[-1] > high:
                        break
        return found

    def origin(self, arrival: int) -> Origin | None:
        key = layout.arrival_key(arrival)
        with self._transaction.cursor(db=self._env.table(layout.ORIGINS)) as cursor:
            found = cursor.set_range(key)
            if not (found and cursor.key() == key):
                found = cursor.prev() if found else cursor.last()
            if not found:
                return None
            last, at, peer = layout.unpack_origin(*cursor.item())
        return Origin(at, peer) if arrival <= last else None

    def usage(self, author: bytes) -> Usage:
        value = self._transaction.get(author, db=self._env.table(layout.AUTHORS))
        usage = 0 if value is None else layout.unpack_usage(value)
        return Usage(*layout.split_usage(usage))

    @property
    def withheld_count(self) -> int:
        return int(self._transaction.stat(db=self._env.table(layout.WITHHELD))["entries"])

    def withheld(self, after: int, limit: int) -> Sequence[Withheld]:
        log = self._env.table(layout.LOG)
        names: dict[int, str] = {}
        found: list[Withheld] = []
        with self._transaction.cursor(db=self._env.table(layout.WITHHELD)) as cursor:
            there = cursor.set_range(layout.arrival_key(after + 1))
            while there and len(found) < limit:
                key, value = cursor.item()
                record = get_record(self._transaction, log, key)
                if record.collection not in names:
                    names[record.collection] = self._name(record.collection)
                arrival, id_ = int.from_bytes(key, "big"), entry_id(record.header)
                size = layout.unpack_size(value)
                found.append(Withheld(arrival, names[record.collection], id_, size))
                there = cursor.next()
        return found

    @property
    def refused_count(self) -> int:
        return int(self._transaction.stat(db=self._env.table(layout.REFUSED))["entries"])

    def refused(
        self, refuser: Refuser, collection: str, prefix: str, now: int, limit: int
    ) -> Sequence[bytes]:
        return refusals.under(self._transaction, self._env, refuser, collection, prefix, now, limit)

    def is_refused(
        self, refusers: Sequence[Refuser], collection: str, ids: Sequence[bytes], now: int
    ) -> set[bytes]:
        return refusals.among(self._transaction, self._env, refusers, collection, ids, now)

    def index_tables(self, index: Index) -> GuestTables:
        return GuestTables(self._transaction, self._env, index)

    def since(
        self, arrival: int, limit: int, most_bytes: int | None = None
    ) -> Sequence[StoredEntry]:
        size = 0
        names: dict[int, str] = {}
        found: list[StoredEntry] = []
        with self._transaction.cursor(db=self._env.table(layout.LOG)) as cursor:
            if not cursor.set_range(layout.arrival_key(arrival + 1)):
                return found
            for key, value in cursor.iternext():
                record = layout.unpack_log(value)
                if record.collection not in names:
                    names[record.collection] = self._name(record.collection)
                found.append(
                    StoredEntry(
                        entry_id(record.header),
                        int.from_bytes(key, "big"),
                        names[record.collection],
                        record.header,
                        record.payload,
                        record.dropped,
                    )
                )
                size += len(value)
                if len(found) == limit or (most_bytes is not None and size >= most_bytes):
                    break
        return found

    def _name(self, number: int) -> str:
        key = layout.collection_key(number)
        value = self._transaction.get(key, db=self._env.table(layout.COLLECTIONS))
        if value is None:
            raise DamagedStoreError(f"The log names a collection, number {number}, without record.")
        return layout.unpack_collection(value)[1]
