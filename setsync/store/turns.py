"""Whose turn it is to write: a lock of ours before LMDB's, so that waiting for it can end.

LMDB waits for its writer lock inside C and without a deadline: a process that is stopped while
it writes would hold up all others for ever. So whoever writes holds this one first, and nobody
else ever waits for LMDB's. The order is always the same (thread, process, LMDB), so no two can
wait for each other.

Two bytes of a file are locked. `_WRITER` is held by who writes. `_NEXT` is held by who waits
longest: a process that writes batch after batch meets it there, and cannot overtake for ever.
That is a courtesy, and short, since who waits may be stopped too.

They are POSIX record locks. The kernel gives them back when a process dies, hands none to a
child made by fork(), and names the holder. They lie between processes and not between threads,
and closing any descriptor of the file gives them back: one process opens it once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from setsync.errors import StoreError

_WRITER, _NEXT = 0, 1
# Who is next looks every few milliseconds whether it may write; another lets it for so long.
_COURTESY_SECONDS = 0.05
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.005

# struct flock where off_t has 64 bits: kind, whence, start, length, process.
_FLOCK = struct.Struct("@hhqqi")

# The kernel's letters for what a process does, and what they mean to who waits for it.
_STATES = {"T": "is stopped", "t": "is halted by a debugger", "D": "waits for the disk"}


def had_by(
    until: float, attempt: Callable[[], bool], clock: Callable[[], float] = time.monotonic
) -> bool:
    """Try again and again; whether it came off by then. It is tried once at least."""
    pause = _FIRST_PAUSE
    while not attempt():
        if clock() >= until:
            return False
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    return True


def had_within(seconds: float, attempt: Callable[[], bool]) -> bool:
    """The same, from now on."""
    return had_by(time.monotonic() + seconds, attempt)


class Turns:
    """This process's hand on the file. One thread at a time may use it.

    Raises StoreError when the file cannot be opened or locked.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"{path} cannot be opened: {error.strerror}.") from error

    def take(self, until: float) -> bool:
        """Be the one that writes; whether that was to be had by then. `give_back` afterwards,
        in any case."""
        self._wait(_NEXT, min(self._clock() + _COURTESY_SECONDS, until))
        taken = self._wait(_WRITER, until)
        self._free(_NEXT, 1)
        return taken

    def give_back(self) -> None:
        """Let others write. Whoever does not write gives nothing back."""
        self._free(_WRITER, 2)

    def close(self) -> None:
        """Let go of the file. Twice is as good as once."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _wait(self, byte: int, until: float) -> bool:
        """Whether the byte was to be had by then; tried once at least."""
        if self._file < 0:
            raise StoreError(f"The store {self._path.parent} is closed.")
        return had_by(until, lambda: self._try(byte), self._clock)

    def _try(self, byte: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise StoreError(f"{self._path} cannot be locked: {error.strerror}.") from error
        return True

    def _free(self, byte: int, count: int) -> None:
        if self._file >= 0:
            fcntl.lockf(self._file, fcntl.LOCK_UN, count, byte)

    def holder(self) -> str:
        """Who writes, and what that process does, as half a sentence."""
        if not sys.platform.startswith("linux"):
            return describe(0)
        question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _WRITER, 1, 0)
        kind, *_, process = _FLOCK.unpack(fcntl.fcntl(self._file, fcntl.F_GETLK, question))
        return describe(process if kind != fcntl.F_UNLCK else 0)


def describe(process: int, processes: Path = Path("/proc")) -> str:
    """Who keeps others waiting; 0 or less: it is not known. `processes` is the kernel's folder."""
    folder = processes / str(process)
    if process <= 0 or (processes.exists() and not folder.exists()):
        return "another process holds it"
    states = _states(folder)
    for state, words in _STATES.items():
        if state in states:
            return f"process {process} holds it and {words}"
    return f"process {process} holds it"


def is_stopped(process: int, processes: Path = Path("/proc")) -> bool:
    """Whether a process does not go on by itself, as far as the kernel says."""
    return bool({"T", "t"} & _states(processes / str(process)))


def _states(process: Path) -> set[str]:
    """The letters of a process's threads; none where the kernel does not say."""
    found: set[str] = set()
    for stat in process.glob("task/*/stat"):
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        # The name stands in brackets and may hold any; what follows the last one is ours.
        found.add(text.rpartition(")")[2].strip()[:1])
    return found
