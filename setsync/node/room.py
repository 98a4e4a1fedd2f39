"""Free space that is left alone: for what others bring more, for our own entries less.

A disk that is full stops everything on the machine, so nodes stop taking what others bring
while there is still room for its owner. What was taken is safe either way.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setsync.errors import NoRoomError
from setsync.limits import DISK_SHARE, MIB, OWN_RESERVE, REMOTE_RESERVE
from setsync.store.contract import EntryStore
from setsync.store.lmdb_store import Store


def check_room(path: Path) -> None:
    """Whether others may bring more. Raises NoRoomError."""
    _check(path, REMOTE_RESERVE, "Nothing from other nodes is taken")


def check_room_of(store: EntryStore) -> None:
    """`check_room` of the disk that a store is on; one in memory is on none."""
    if isinstance(store, Store):
        check_room(store.path)


def check_own_room(path: Path) -> None:
    """Whether this machine's own entries still fit. Raises NoRoomError."""
    _check(path, OWN_RESERVE, "Nothing is written")


def _check(path: Path, reserve: int, what: str) -> None:
    try:
        disk = shutil.disk_usage(path)
    except OSError:
        return  # the write itself will say what is wrong
    needed = min(reserve, int(disk.total * DISK_SHARE))
    if disk.free < needed:
        raise NoRoomError(
            f"{what}: the disk with {path} has {disk.free // MIB:,} MiB left, "
            f"and {needed // MIB:,} MiB are kept free."
        )
