"""Who has a store open, whether the last one left in order, and where it may lie.

Every process that opens a store puts a file into its `open/` folder, holds a lock on it
while it lives, and removes it when it leaves. A file that nobody holds is somebody who
died. If nobody is alive and somebody died, the data file is verified, page by page and
without LMDB, before LMDB maps it: a torn file could take the whole process down.
"""

from __future__ import annotations

import enum
import fcntl
import os
import re
import secrets
from pathlib import Path

from setsync import limits
from setsync.errors import StoreBusyError, StoreError
from setsync.store.environment import sync_to_disk, verify_file
from setsync.store.turns import describe, had_within

FOLDER = "open"
_GATE = "gate"
_NETWORK_FILESYSTEMS = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "ceph",
        "lustre",
        "fuse.sshfs",
        "fuse.glusterfs",
    ]
)


class Presence:
    """This process's file in the `open/` folder.

    Raises StoreBusyError (somebody is at the gate and does not go on), StoreError,
    DamagedStoreError.
    """

    def __init__(self, store: Path) -> None:
        refuse_network_filesystem(store)
        self._pid = os.getpid()
        try:
            self._path, self._file = _arrive(store)
        except OSError as error:
            raise StoreError(f"{store} cannot be written: {error.strerror}.") from error

    def leave(self) -> None:
        """Everything is closed in order. Twice is as good as once.

        A child made by fork() leaves nothing: it is its parent who is here.
        """
        if self._file >= 0 and self._pid == os.getpid():
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = -1


def _arrive(store: Path) -> tuple[Path, int]:
    """Enter, one process at a time; verify if nobody is here and somebody died."""
    folder = store / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    gate = os.open(folder / _GATE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _pass(gate, store)
        found = {path: _state(path) for path in folder.iterdir() if path.name != _GATE}
        dead = [path for path, state in found.items() if state is _State.DEAD]
        if dead and _State.ALIVE not in found.values():
            verify_file(store)
        mine = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
        descriptor = os.open(mine, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # A power cut must not take the file that tells of it.
        sync_to_disk(folder)
        for path in dead:
            path.unlink(missing_ok=True)
    finally:
        os.close(gate)
    return mine, descriptor


def look(store: Path) -> tuple[list[int], list[int]]:
    """The processes that have a store open, and those that died with it open. Nothing is changed.

    Raises StoreBusyError, StoreError.
    """
    folder = store / FOLDER
    try:
        gate = os.open(folder / _GATE, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return [], []  # nobody has ever opened it
    except OSError as error:
        raise StoreError(f"{store} cannot be written: {error.strerror}.") from error
    try:
        # Who enters must not take our look at a file for somebody who is alive.
        _pass(gate, store)
        found = {path: _state(path) for path in folder.iterdir() if path.name != _GATE}
    finally:
        os.close(gate)
    alive = [_process(path) for path, state in found.items() if state is _State.ALIVE]
    dead = [_process(path) for path, state in found.items() if state is _State.DEAD]
    return sorted(alive), sorted(dead)


def _process(path: Path) -> int:
    number = path.name.partition("-")[0]
    return int(number) if number.isdigit() else 0


def _pass(gate: int, store: Path) -> None:
    """Be the only one who enters; tell others who it is. Raises StoreBusyError."""
    if not had_within(limits.WRITE_LOCK_SECONDS, lambda: _is_ours(gate)):
        number = os.pread(gate, 20, 0)
        holder = int(number) if number.isdigit() else 0
        raise StoreBusyError(
            f"{store} could not be opened for {limits.WRITE_LOCK_SECONDS:g} s: another process "
            f"verifies it, or was stopped while it opened it: {describe(holder)}."
        )
    os.ftruncate(gate, 0)
    os.pwrite(gate, b"%d" % os.getpid(), 0)


def _is_ours(gate: int) -> bool:
    try:
        fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _State(enum.Enum):
    """What a presence file says of the process that made it."""

    ALIVE = "its lock is held"
    DEAD = "nobody holds its lock"
    GONE = "it left in order while we looked"


def _state(path: Path) -> _State:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return _State.GONE
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between our open and our lock it may have left; then nothing is known of a death.
        return _State.DEAD if path.exists() else _State.GONE
    except BlockingIOError:
        return _State.ALIVE
    finally:
        os.close(descriptor)


def refuse_network_filesystem(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> None:
    """LMDB's locks and maps do not hold over a network. Raises StoreError.

    Where the system does not tell (anything but Linux) nothing is refused. `mounts` is the
    kernel's list of them.
    """
    if not mounts.exists():
        return
    best, kind = "", ""
    place = str(path.resolve())
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), left.split()[4])
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        # A later mount on the same point hides the earlier one.
        if inside and len(point) >= len(best):
            best, kind = point, right.split()[0]
    if kind in _NETWORK_FILESYSTEMS:
        raise StoreError(
            f"{path} lies on a network filesystem ({kind}), where LMDB can lose data; "
            "use a local disk."
        )
