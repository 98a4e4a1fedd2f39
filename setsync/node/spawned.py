"""What a process that one of Python's pools has spawned does first."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import wait
from threading import Thread


def begin() -> None:
    """Leave Ctrl-C to whoever spawned this process, and end when that has ended, however it did.

    By itself it would not: the processes of a pool hold both ends of its pipes, so that each
    waits for the others to say something.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
