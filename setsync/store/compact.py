"""A store's data file written anew in place of the old one: no free pages, no half empty ones.

Whoever has a file open when another gets its name goes on writing to the old one, and all of that
would be lost. So nobody may have it open, from before the copy until after the rename: every
process of ours passes the gate of `open/` before it opens the file, and the gate is held; every
other program that uses LMDB locks a byte of `lock.mdb` before it opens the file, and that byte is
held as well. Both locks are the kernel's, which gives them back when this process dies.

The new file lies in a folder of its own until it is whole, on its disk, and compared with the old
one row by row. What somebody leaves there who is killed is removed by whoever passes the gate next.

It is written row by row, since LMDB's own compact copy keeps every page as full as it is: payloads
that were dropped leave pages of the log half empty, and nothing would ever fill them again.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from setsync.errors import DamagedStoreError, StoreError, StoreFullError, StoreInUseError
from setsync.limits import MAP_SIZE, MIB, OWN_RESERVE
from setsync.store.durable import sync_to_disk
from setsync.store.environment import (
    DATA_FILE,
    LOCK_FILE,
    ClosedFile,
    verify_file,
)
from setsync.store.lmdb_store import Store
from setsync.store.presence import DRAFT, alone, remove_draft

OnSteps = Callable[[str, int, int], None]
"""Is told the phase, how many rows are done, and how many there are."""

# What one transaction of the new file takes, and what of a table is held in memory.
_BATCH_BYTES = 8 * MIB


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of the data file as it was, and as it is now or would be at most."""

    before: int
    after: int


def sizes(store: Store) -> Sizes:
    """What free pages take. Pages that are not full are found by compacting alone. The store may
    be in use."""
    return Sizes(store.bytes_on_disk, store.environment.live())


def compact(
    path: Path,
    on_steps: OnSteps = lambda phase, done, total: None,
    map_size: int = MAP_SIZE,
) -> Sizes:
    """Rewrite the store in the folder `path`, which nobody may have open. A file that does not
    become smaller is left as it is.

    Raises StoreInUseError, StoreFullError, StoreBusyError, DamagedStoreError, StoreError; either
    file is in place then, whole, and says the same.
    """
    # Opened once in the ordinary way: not ours, newer and damaged ones are refused.
    with Store.open(path, create=False, map_size=map_size) as store:
        most, map_size = sizes(store).after, store.map_size
    try:
        with alone(path), _lmdb_kept_out(path):
            return _replace(path, most, map_size, on_steps)
    except OSError as error:
        raise StoreError(f"{path} could not be compacted: {error.strerror}.") from error


@contextlib.contextmanager
def _lmdb_kept_out(path: Path) -> Iterator[None]:
    """Nobody at all has the data file open by LMDB, whichever program it is.

    Who waits for this lock inside LMDB would go on with what the lock file says of the old data
    file. Emptied, it says nothing, and who waited gets an error; LMDB makes it anew.
    """
    descriptor = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            # LMDB 0.9, mdb.c, mdb_env_excl_lock: the first byte, shared by all that have it open.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
        except BlockingIOError as error:
            raise StoreInUseError(f"{path} is open in a program that is not setsync.") from error
        os.ftruncate(descriptor, 0)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, most: int, map_size: int, on_steps: OnSteps) -> Sizes:
    data, draft = path / DATA_FILE, path / DRAFT
    if data.is_symlink():
        raise StoreError(f"{data} is a link; put the file itself there first.")
    before = data.stat().st_size
    _refuse_small_disk(path, most)
    try:
        draft.mkdir(mode=0o700)
        # A small map that is nearly full has to have room for what is written twice.
        map_size = max(map_size, 2 * before)
        with ClosedFile(path, map_size) as old:
            with ClosedFile(draft, map_size, is_new=True) as new:
                _write(old, new, on_steps)
            _finish(draft / DATA_FILE, data.stat())
            _verify_pages(draft)
            with ClosedFile(draft, map_size) as new:
                _compare(old, new, on_steps)
        after = (draft / DATA_FILE).stat().st_size
        if after >= before:
            return Sizes(before, before)
        (draft / DATA_FILE).rename(data)
        sync_to_disk(path)
    finally:
        remove_draft(path)
    return Sizes(before, after)


def _refuse_small_disk(path: Path, size: int) -> None:
    """Both files lie there for a while. Raises StoreFullError."""
    free = shutil.disk_usage(path).free
    if free < size + OWN_RESERVE:
        raise StoreFullError(
            f"The new file may take {size:,} bytes beside the old one, and the disk of {path} has "
            f"{free:,}, of which {OWN_RESERVE // MIB} MiB are left alone."
        )


# --- the new file -------------------------------------------------------------------------


def _write(old: ClosedFile, new: ClosedFile, on_steps: OnSteps) -> None:
    """All rows of all tables, in order, which fills LMDB's pages."""
    tables = old.tables()
    done, total = 0, sum(tables.values())
    for table in tables:
        if not tables[table]:
            new.append(table, [])
        for batch in _batches(old.rows(table)):
            new.append(table, batch)
            done += len(batch)
            on_steps("exporting", done, total)


def _batches(rows: Iterator[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    batch: list[tuple[bytes, bytes]] = []
    size = 0
    for key, value in rows:
        batch.append((key, value))
        size += len(key) + len(value)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _finish(file: Path, like: os.stat_result) -> None:
    """On its disk, and for the same people as the old file."""
    descriptor = os.open(file, os.O_RDWR)
    try:
        about = os.fstat(descriptor)
        if (about.st_uid, about.st_gid) != (like.st_uid, like.st_gid):
            # Whoever serves this directory must still be able to open it.
            os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, like.st_mode & 0o777)
        os.fsync(descriptor)
        if hasattr(os, "posix_fadvise"):
            # So that what is verified is read from the disk.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _verify_pages(draft: Path) -> None:
    """Whether the new file is whole. Raises StoreError."""
    try:
        verify_file(draft)
    except DamagedStoreError as error:
        raise StoreError(f"The new file was not written as it should be: {error}") from error


def _compare(old: ClosedFile, new: ClosedFile, on_steps: OnSteps) -> None:
    """Whether the new file says what the old one says. Raises StoreError."""
    tables = old.tables()
    same = new.tables() == tables
    done, total = 0, sum(tables.values())
    for table, rows in tables.items():
        same = same and _is_same(old, new, table)
        done += rows
        on_steps("checking", done, total)
    if not same:
        raise StoreError("The new file does not say the same as the old one.")


def _is_same(old: ClosedFile, new: ClosedFile, table: bytes) -> bool:
    pairs = itertools.zip_longest(old.rows(table), new.rows(table))
    return all(mine == theirs for mine, theirs in pairs)
