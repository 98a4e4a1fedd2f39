"""SIGTERM, and SIGHUP when a terminal is closed, end a command as Ctrl-C does: in order.

Otherwise they would kill it where it stands, with its temporary folders and its processes left.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from types import FrameType

_STANDARD = (0, 1, 2)


def stop_in_order() -> None:
    """From here on both signals do what Ctrl-C does; one that is ignored stays so (nohup)."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's background job. It stays deaf to Ctrl-C; but trio, where it runs, has a handler
        # of its own only in place of Python's, and knows where it may not be interrupted.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _as_ctrl_c)


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGHUP:
        # The kernel says it more than once, and the shell as well.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _let_go_of_terminals()
    ctrl_c = signal.getsignal(signal.SIGINT)
    if callable(ctrl_c):  # trio's, while it runs
        ctrl_c(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt


def _let_go_of_terminals() -> None:
    """Whatever is said on a terminal that was closed would be an error on the way out."""
    poll = select.poll()
    for stream in _STANDARD:
        poll.register(stream, 0)
    gone = [stream for stream, event in poll.poll(0) if event & select.POLLHUP]
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in gone:
            os.dup2(nowhere, stream)
        os.close(nowhere)
