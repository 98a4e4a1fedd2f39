"""Who has a store open, whether the last one left in order, and where it may lie.

Every process that opens a store puts a file into its `open/` folder, holds a lock on it
while it lives, and removes it when it leaves. A file that nobody holds is somebody who
died. If nobody is alive and somebody died, the data file is verified, page by page and
without LMDB, before LMDB maps it: a torn file could take the whole process down.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from setsync import limits
from setsync.errors import StoreBusyError, StoreError, StoreInUseError
from setsync.store.durable import sync_to_disk
from setsync.store.environment import verify_file
from setsync.store.turns import describe, had_within

FOLDER = "open"
# Where `setsync.store.compact` writes a new data file, at the gate: who comes after it removes
# what was left there.
DRAFT = "compacting"
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
        alive, dead = _there(folder)
        if dead and not alive:
            verify_file(store)
        remove_draft(store)
        mine, descriptor = _mark(folder)
        for path in dead:
            path.unlink(missing_ok=True)
    finally:
        os.close(gate)
    return mine, descriptor


def _mark(folder: Path) -> tuple[Path, int]:
    """Make this process's file, and lock it. Raises OSError, and then there is none."""
    mine = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
    descriptor = os.open(mine, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # A power cut must not take the file that tells of it.
        sync_to_disk(folder)
    except BaseException:
        mine.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    return mine, descriptor


@contextlib.contextmanager
def alone(store: Path) -> Iterator[None]:
    """Keep everybody out of a store that nobody has open: whoever comes waits at the gate, before
    opening the data file. A store that was not left in order is verified first.

    Raises StoreInUseError, StoreBusyError, StoreError, DamagedStoreError.
    """
    refuse_network_filesystem(store)
    folder = store / FOLDER
    try:
        gate = os.open(folder / _GATE, os.O_RDWR)
    except OSError as error:
        raise StoreError(f"{store} cannot be written: {error.strerror}.") from error
    try:
        _pass(gate, store)
        alive, dead = _there(folder)
        if alive:
            who = ", ".join(f"process {number}" for number in sorted(map(_process, alive)))
            raise StoreInUseError(f"{store} is open in {who}.")
        if dead:
            verify_file(store)
        for path in dead:
            path.unlink(missing_ok=True)
        remove_draft(store)
        yield
    finally:
        os.close(gate)


def remove_draft(store: Path) -> None:
    """Remove what somebody left who was killed while compacting. For who has passed the gate."""
    with contextlib.suppress(FileNotFoundError):
        for path in (store / DRAFT).iterdir():
            path.unlink()
        (store / DRAFT).rmdir()


def _there(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files of those who are alive, and of those who died. For who has passed the gate."""
    found = {path: _state(path) for path in folder.iterdir() if path.name != _GATE}
    alive = [path for path, state in found.items() if state is _State.ALIVE]
    return alive, [path for path, state in found.items() if state is _State.DEAD]


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
        alive, dead = _there(folder)
    finally:
        os.close(gate)
    return sorted(map(_process, alive)), sorted(map(_process, dead))


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
            f"verifies or compacts it, or was stopped while it opened it: {describe(holder)}."
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
