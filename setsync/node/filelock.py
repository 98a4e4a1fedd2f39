"""A lock that processes and threads of one machine take in turns.

It is two files, NAME.lock and NAME.queue, each of them locked with `flock` or free. Who wants the
lock takes the queue first and keeps it until it has the lock. So who lets the lock go and wants it
again comes after the one who waits. Who finds the queue taken looks again; these have no order.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

# Only one looks for the lock itself, and nobody works between two turns.
_NEXT_LOOKS_SECONDS = 0.001
_OTHERS_LOOK_SECONDS = 0.01


def lock_file(path: Path, seconds: float) -> int:
    """Take the lock at NAME.lock. Closing the descriptor that is returned lets it go.

    Raises TimeoutError when it is not to be had in time, OSError when a file cannot be opened.
    """
    deadline = time.monotonic() + seconds
    queue = _open(path.with_suffix(".queue"))
    try:
        _wait_for(queue, deadline, _OTHERS_LOOK_SECONDS)
        lock = _open(path)
        try:
            _wait_for(lock, deadline, _NEXT_LOOKS_SECONDS)
        except BaseException:
            os.close(lock)
            raise
        return lock
    finally:
        os.close(queue)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _wait_for(descriptor: int, deadline: float, look_again: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise TimeoutError from error
            time.sleep(look_again)
