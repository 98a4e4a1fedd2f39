"""LMDB, opened the one safe way; the only importer of lmdb.

What the rest of the store may rely on:

- a write transaction is one plain function, run from begin to commit in one call on one
  thread (committed on another thread, LMDB's writer lock stays held for ever);
- whoever cannot begin to write is told so after WRITE_LOCK_SECONDS, and by whom;
- a commit that returned is on the disk: never `sync=False`, never `writemap`;
- no transaction is handed to anybody who waits for a network;
- after `fork()` nothing works in the child, rather than something quietly going wrong;
- LMDB's exceptions end here, as the operator's own words.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol, Self, TypeVar, cast

import lmdb
import lmdb.verify

from setsync import limits
from setsync.errors import DamagedStoreError, StoreBusyError, StoreError, StoreFullError
from setsync.limits import GIB, MAP_SIZE, MAX_READERS, MIB
from setsync.store.durable import sync_to_disk
from setsync.store.layout import MAX_TABLES
from setsync.store.turns import Turns

T = TypeVar("T")

Table = Any
"""A table's handle, which `get`, `put`, `delete`, `stat` and `cursor` take as `db`."""


class Cursor(Protocol):
    """What is used of LMDB's cursor; keys and values are copies, never its buffers."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...
    def set_range(self, key: bytes) -> bool: ...
    def first(self) -> bool: ...
    def last(self) -> bool: ...
    def next(self) -> bool: ...
    def prev(self) -> bool: ...
    def delete(self) -> bool: ...
    def key(self) -> bytes: ...
    def item(self) -> tuple[bytes, bytes]: ...
    def iternext(self) -> Iterator[tuple[bytes, bytes]]: ...
    def getmulti(self, keys: Sequence[bytes]) -> Sequence[tuple[bytes, bytes]]: ...
    def putmulti(
        self, items: Sequence[tuple[bytes, bytes]], *, append: bool = False
    ) -> tuple[int, int]: ...


class Transaction(Protocol):
    """What is used of LMDB's transaction."""

    def get(self, key: bytes, *, db: Table) -> bytes | None: ...
    def put(self, key: bytes, value: bytes, *, db: Table, append: bool = False) -> bool: ...
    def delete(self, key: bytes, *, db: Table) -> bool: ...
    def drop(self, db: Table, delete: bool) -> None: ...
    def stat(self, db: Table) -> Mapping[str, int]: ...
    def cursor(self, db: Table) -> Cursor: ...


DATA_FILE = "data.mdb"
LOCK_FILE = "lock.mdb"
TURNS_FILE = "writer.lock"
# Growing or closing the map pulls it from under this process's readers, so both wait for
# them; they are short.
_READERS_LEAVE_SECONDS = 30.0
_DAMAGED = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
)


@dataclass(frozen=True, slots=True)
class SlowSnapshots:
    """Read transactions that lasted longer than SNAPSHOT_SECONDS."""

    count: int
    longest: float

    def and_another(self, age: float) -> SlowSnapshots:
        """With one more, of this many seconds."""
        return SlowSnapshots(self.count + 1, max(self.longest, age))


class Environment:
    """One LMDB environment, for one process and any number of its threads.

    `clock` counts seconds, and is for telling what lasts too long.
    Raises StoreFullError, StoreBusyError, DamagedStoreError or StoreError from every method.
    """

    def __init__(
        self,
        path: Path,
        map_size: int = MAP_SIZE,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.clock = clock
        self._pid = os.getpid()
        self._queue = threading.Condition()
        self._writer: object | None = None
        self._writing_since: float | None = None
        self._snapshots: dict[_Lease, float] = {}  # when they began
        self._slow = SlowSnapshots(0, 0.0)  # those that are over
        self._gate = threading.Condition()
        self._readers: Counter[int] = Counter()  # open reads by thread
        self._moving = False
        self._tables: dict[bytes, Table] = {}
        with contextlib.ExitStack() as opened:
            self._env = self._open(map_size)
            opened.callback(self._env.close)
            self._turns = Turns(path / TURNS_FILE, clock)
            opened.callback(self._turns.close)
            self.check_readers()
            opened.pop_all()

    def _open(self, map_size: int) -> lmdb.Environment:
        """Reserve the map; where the system denies that much address space, less."""
        while True:
            try:
                return lmdb.open(
                    str(self.path),
                    map_size=map_size,
                    max_dbs=MAX_TABLES,
                    max_readers=MAX_READERS,
                    mode=0o600,
                    readahead=False,
                    max_spare_txns=8,
                )
            except (lmdb.MemoryError, MemoryError) as error:
                if map_size <= GIB:
                    raise _translate(error, self.path) from error
                map_size //= 4
            except (lmdb.Error, OSError) as error:
                raise _translate(error, self.path) from error

    def table_names(self) -> list[bytes]:
        """The tables that are there, ours or not."""
        with self.read() as transaction, transaction.cursor(db=None) as cursor:
            return [name for name, _ in cursor.iternext()]

    def open_tables(self, names: Iterable[bytes]) -> None:
        """Make ready the tables of these names; those that are missing are made.

        This takes the writer's turn even if nothing is missing: in py-lmdb only a write
        transaction leaves the handles behind.
        """

        def work(transaction: Transaction) -> dict[bytes, Table]:
            return {
                name: self._env.open_db(name, txn=cast(lmdb.Transaction, transaction))
                for name in names
            }

        self._tables |= self.write(work)

    def has_table(self, name: bytes) -> bool:
        """Whether a table was made ready."""
        return name in self._tables

    def table(self, name: bytes) -> Table:
        """The handle of a table that was made ready."""
        return self._tables[name]

    # --- reading --------------------------------------------------------------------------

    @contextlib.contextmanager
    def read(self) -> Iterator[Transaction]:
        """A read transaction: one moment of the whole store. Keep it short.

        What is yielded is dead afterwards, whoever still holds it.
        """
        with self._guarded():
            while True:
                with self._reading():
                    try:
                        lease = _Lease(self._env.begin())
                    except lmdb.MapResizedError:
                        pass
                    else:
                        try:
                            self._snapshots[lease] = self.clock()
                            yield cast(Transaction, lease)
                        finally:
                            lease.end()
                            self._note_age(lease)
                        return
                self._resize(0)

    def _note_age(self, lease: _Lease) -> None:
        now = self.clock()
        age = now - self._snapshots.pop(lease, now)
        if age > limits.SNAPSHOT_SECONDS:
            with self._gate:
                self._slow = self._slow.and_another(age)

    def slow_snapshots(self) -> SlowSnapshots:
        """Those that ended since the last call, and those that are still open, in seconds."""
        now = self.clock()
        ages = [now - begun for begun in list(self._snapshots.values())]
        with self._gate:
            slow, self._slow = self._slow, SlowSnapshots(0, 0.0)
        for age in ages:
            if age > limits.SNAPSHOT_SECONDS:
                slow = slow.and_another(age)
        return slow

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Count this thread among the readers, from when the map stands still."""
        me = threading.get_ident()
        with self._gate:
            # Who reads already may read more: whoever wants to move the map waits for them.
            self._gate.wait_for(lambda: not self._moving or self._readers[me] > 0)
            self._readers[me] += 1
        try:
            yield
        finally:
            with self._gate:
                self._readers[me] -= 1
                if not self._readers[me]:
                    del self._readers[me]
                self._gate.notify_all()

    # --- writing --------------------------------------------------------------------------

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a write transaction and commit it durably before returning.

        When the map is full it is doubled and `work` runs again from the start, so it must
        change nothing but the transaction. Any exception of `work` leaves the store as it
        was. Not to be called with a snapshot open in the same thread: should the map have to
        grow, it could not. Raises StoreBusyError when its turn did not come in time.
        """
        with self._guarded(), self._turn():
            while True:
                try:
                    return self._attempt(work)
                except lmdb.MapFullError:
                    size = self.map_size * 2
                except lmdb.MapResizedError:
                    size = 0
                self._resize(size)

    def _attempt(self, work: Callable[[Transaction], T]) -> T:
        """`work` in one transaction: committed, or taken back if it raises."""
        with self._env.begin(write=True) as transaction:
            try:
                return work(cast(Transaction, transaction))
            except BaseException:
                # py-lmdb 3.0.0 takes a transaction back once no other thread is inside one of
                # its calls, and who waits for the GIL after one counts as inside: while several
                # read, that never comes.
                with self._still(0.0):
                    transaction.abort()
                raise

    def writing_seconds(self) -> float:
        """How long the write of this process that is under way has lasted; 0.0: there is none."""
        since = self._writing_since
        return 0.0 if since is None else self.clock() - since

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Be the one that writes, of all threads and all processes. Raises StoreBusyError."""
        end = self.clock() + limits.WRITE_LOCK_SECONDS
        with self._only_thread(limits.WRITE_LOCK_SECONDS):
            try:
                if not self._turns.take(end):
                    raise self._busy()
                self._writing_since = self.clock()
                yield
            finally:
                self._writing_since = None
                self._turns.give_back()

    @contextlib.contextmanager
    def _only_thread(self, seconds: float | None = None) -> Iterator[None]:
        """Be the one that writes, of all threads here. Whatever interrupts this, even in the
        middle of taking it, gives it back. Raises StoreBusyError after `seconds`."""
        me = object()
        try:
            with self._queue:
                if not self._queue.wait_for(lambda: self._writer is None, seconds):
                    raise self._busy()
                self._writer = me
            yield
        finally:
            with self._queue:
                if self._writer is me:
                    self._writer = None
                    self._queue.notify()

    def _busy(self) -> StoreBusyError:
        seconds, waited = self.writing_seconds(), limits.WRITE_LOCK_SECONDS
        why = (
            f"a write of this process began {seconds:.0f} s ago and has not ended"
            if seconds
            else self._turns.holder()
        )
        return StoreBusyError(f"{self.path} could not be written for {waited:g} s: {why}.")

    def _resize(self, size: int) -> None:
        """Set the map's size (0: adopt what another process set) once nobody reads."""
        with self._still() as nobody_reads:
            # Another thread may have been faster, and may write already in what it adopted.
            if not size and self._is_adopted():
                return
            if not nobody_reads or threading.get_ident() in self._readers:
                raise StoreFullError(
                    f"The map of {self.path} has to grow and an open snapshot keeps it from that."
                )
            try:
                self._env.set_mapsize(size)
            except lmdb.Error as error:
                raise StoreFullError(
                    f"The map of {self.path} is full and cannot grow: {error}."
                ) from error

    def _is_adopted(self) -> bool:
        """Whether the map is as large as the file says."""
        try:
            self._env.begin().abort()
        except lmdb.MapResizedError:
            return False
        return True

    @contextlib.contextmanager
    def _still(self, seconds: float = _READERS_LEAVE_SECONDS) -> Iterator[bool]:
        """Hold back readers; whether all of other threads have left within `seconds`. Those that
        have not may go on with what they read, and begin nothing."""
        me = threading.get_ident()
        with self._gate:
            self._gate.wait_for(lambda: not self._moving)
            self._moving = True
            try:
                yield self._gate.wait_for(lambda: not self._readers.keys() - {me}, timeout=seconds)
            finally:
                self._moving = False
                self._gate.notify_all()

    # --- keeping --------------------------------------------------------------------------

    @property
    def map_size(self) -> int:
        """Bytes of address space reserved."""
        with self._guarded():
            return int(self._env.info()["map_size"])

    @property
    def used(self) -> int:
        """Bytes of the data file in use, free pages inside it included."""
        with self._guarded():
            return (int(self._env.info()["last_pgno"]) + 1) * int(self._env.stat()["psize"])

    def live(self) -> int:
        """Bytes of the data file that a compact copy would have: `used` without free pages."""
        names = self.table_names()
        self.open_tables([name for name in names if not self.has_table(name)])
        with self.read() as transaction:
            stats = [transaction.stat(db=self.table(name)) for name in names]
            return _live_bytes([*stats, cast(Mapping[str, int], self._env.stat())])

    def copy(self, target: Path, *, compact: bool) -> None:
        """A consistent copy of the data file into the existing empty folder `target`, on its
        disk when this returns. A write of this process that fails meanwhile waits for it, and
        readers with it."""
        with self._guarded(target):
            if not compact:
                # LMDB takes its writer lock for a moment; who could not have it is told so now.
                with self._turn():
                    pass
            with self._reading():
                self._copy(target, compact)

    def _copy(self, target: Path, compact: bool) -> None:
        self._env.copy(str(target), compact=compact)
        try:
            for path in (target / DATA_FILE, target):
                sync_to_disk(path)
        except OSError as error:
            raise StoreError(f"{target} cannot be synced: {error.strerror}.") from error

    def check_readers(self) -> int:
        """Give back the reader slots of processes that died; how many there were."""
        with self._guarded():
            return int(self._env.reader_check())

    def close(self) -> None:
        """Let go of the files, after whoever writes or reads. Twice is as good as once."""
        if os.getpid() == self._pid:
            with self._only_thread(), self._still():
                self._env.close()
                self._turns.close()

    @contextlib.contextmanager
    def _guarded(self, path: Path | None = None) -> Iterator[None]:
        """Nothing works after fork(); LMDB's exceptions become ours, about `path`."""
        if os.getpid() != self._pid:
            raise StoreError(
                f"The store {self.path} was opened before fork(); open it again in the child."
            )
        try:
            yield
        except lmdb.Error as error:
            raise _translate(error, path or self.path) from error


class _Lease:
    """A read transaction that can be taken back.

    LMDB gives its slot in the reader table to others only when the transaction's object
    dies. A snapshot kept in a variable, or in the traceback of an exception, must not keep
    it alive; so they hold this, which lets go. Bound methods cost nothing per call.
    """

    __slots__ = ("_abort", "cursor", "delete", "get", "put", "stat")

    def __init__(self, transaction: lmdb.Transaction) -> None:
        self._abort = transaction.abort
        self.cursor = transaction.cursor
        self.delete = transaction.delete
        self.get = transaction.get
        self.put = transaction.put
        self.stat = transaction.stat

    def end(self) -> None:
        """Give the transaction back; every later use raises RuntimeError."""
        self._abort()
        for name in self.__slots__:
            setattr(self, name, _over)


def _over(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("This snapshot is over.")


def _translate(error: Exception, path: Path) -> StoreError:
    """An operator's sentence for LMDB's. A full disk comes as 'Input/output error'."""
    if isinstance(error, _DAMAGED):
        return DamagedStoreError(f"The store {path} is damaged: {error}.")
    if isinstance(error, lmdb.PanicError):
        return StoreError(
            f"The disk failed under {path}; open the store again, which is to say start this "
            f"program again: {error}."
        )
    if isinstance(error, lmdb.ReadersFullError):
        return StoreError(f"More than {MAX_READERS} readers are open on {path}.")
    if isinstance(error, lmdb.MapFullError):
        return StoreFullError(f"The map of {path} is full.")
    free = shutil.disk_usage(path).free if path.exists() else 0
    if "No space" in str(error) or ("Input/output" in str(error) and free < 16 * MIB):
        return StoreFullError(f"The disk of {path} is full ({free // 1024} KiB free).")
    return StoreError(f"The store {path} failed: {error}.")


def _live_bytes(stats: Sequence[Mapping[str, int]]) -> int:
    """Of the pages of all tables, the table of tables among them, and the two of metadata."""
    kinds = ("branch_pages", "leaf_pages", "overflow_pages")
    pages = sum(stat[kind] for stat in stats for kind in kinds)
    return (2 + pages) * stats[0]["psize"]


def verify_file(store: Path) -> None:
    """Walk every page of a closed data file. About 4 s a gigabyte.

    Raises DamagedStoreError with the first finding.
    """
    path = store / DATA_FILE
    if not path.exists() or not path.stat().st_size:
        return
    findings = _verify_metadata(path)
    if not findings:
        try:
            findings = lmdb.verify.verify(str(path))  # type: ignore[no-untyped-call]
        except lmdb.verify.VerifyError as error:
            findings = [str(error)]
    if findings:
        raise DamagedStoreError(
            f"{path} was not closed in order and is damaged: {findings[0]}"
            + (f" (and {len(findings) - 1} more findings)." if len(findings) > 1 else ".")
        )


# Of a page of metadata (LMDB 0.9, mdb.c: MDB_page, MDB_meta, MDB_db): the page's size is the
# table of free pages' padding; its flags are always MDB_INTEGERKEY; then the transaction.
_PAGE_SIZE = struct.Struct("=40xI")
_METADATA = struct.Struct("=44xH98xQ")
_INTEGER_KEY = 0x08


def _verify_metadata(path: Path) -> list[str]:
    """What LMDB trusts and `lmdb.verify` does not look at: a flag that would take the process
    down, and that the two pages of metadata are of neighbouring transactions."""
    with path.open("rb") as file:
        first = file.read(_METADATA.size)
        if len(first) < _METADATA.size:
            return ["it ends within its first page"]
        file.seek(_PAGE_SIZE.unpack_from(first)[0])
        second = file.read(_METADATA.size)
    if len(second) < _METADATA.size:
        return ["it ends within its second page"]
    flags, transactions = zip(_METADATA.unpack(first), _METADATA.unpack(second), strict=True)
    if set(flags) != {_INTEGER_KEY}:
        return ["the flags of the table of free pages are not what LMDB writes"]
    if abs(transactions[0] - transactions[1]) > 1:
        return ["its two pages of metadata are not of neighbouring transactions"]
    return []


class ClosedFile:
    """The data file in `folder`, which nobody writes while this is open: it is read past LMDB's
    locks. `is_new`: one is made there, which `append` fills. A `map_size` of 0 is what the file
    itself says.

    Raises DamagedStoreError, StoreFullError, StoreError from every method.
    """

    def __init__(self, folder: Path, map_size: int = 0, *, is_new: bool = False) -> None:
        self._folder = folder
        self._is_new = is_new
        with self._named():
            self._env = self._open(map_size)

    def _open(self, map_size: int) -> lmdb.Environment:
        """As `Environment._open`."""
        while True:
            try:
                return lmdb.open(
                    str(self._folder),
                    map_size=map_size,
                    max_dbs=MAX_TABLES,
                    mode=0o600,
                    readonly=not self._is_new,
                    lock=False,
                    readahead=False,
                )
            except (lmdb.MemoryError, MemoryError) as error:
                if map_size <= GIB:
                    raise _translate(error, self._folder) from error
                map_size //= 4

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._env.close()

    @property
    def map_size(self) -> int:
        """Bytes of address space that were reserved for it."""
        return int(self._env.info()["map_size"])

    def tables(self) -> dict[bytes, int]:
        """How many rows each table has."""
        with self._named(), self._env.begin() as transaction:
            with transaction.cursor() as cursor:
                names = [bytes(name) for name, _ in cursor.iternext()]
            handles = {name: self._handle(name, transaction) for name in names}
            return {name: transaction.stat(db)["entries"] for name, db in handles.items()}

    def rows(self, table: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value of a table, in order."""
        with (
            self._named(),
            self._env.begin() as transaction,
            transaction.cursor(db=self._handle(table, transaction)) as cursor,
        ):
            yield from cursor.iternext()

    def append(self, table: bytes, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Put rows behind those that a table has, and make it if it is missing; on the disk when
        this returns."""
        with (
            self._named(),
            self._env.begin(write=True) as transaction,
            transaction.cursor(db=self._handle(table, transaction)) as cursor,
        ):
            if cursor.putmulti(rows, append=True) != (len(rows), len(rows)):
                raise DamagedStoreError(f"The rows of {self._folder} are out of order.")

    def _handle(self, name: bytes, transaction: lmdb.Transaction) -> Table:
        # For this transaction alone: LMDB forgets handles that a read transaction opened.
        return self._env.open_db(name, txn=transaction, create=self._is_new)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            raise _translate(error, self._folder) from error
