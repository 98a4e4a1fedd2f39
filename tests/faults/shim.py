"""The shim of shim.c: built with gcc, put before a process, its log read back.

`build` makes it, `before` is the environment of a process that runs behind it, `arm` sets a
fault from inside such a process, `read_log` gives what the process did to its disk.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
_HEAD = struct.Struct("=cBQQ")


class Fault(enum.IntEnum):
    """How a call goes wrong; the numbers are shim.c's."""

    EIO = errno.EIO
    ENOSPC = errno.ENOSPC
    SHORT = -1
    """A write leaves half of its bytes and says how many; a sync fails with EIO."""
    KILLED = -2
    """The process is killed after half of a write, or before a sync."""
    LATE = -3
    """A write is done in full and fails with EIO all the same; a sync fails with EIO."""


def missing() -> str:
    """Why the shim cannot be used here; empty when it can."""
    if sys.platform != "linux":
        return "the shim under the disk's calls is for Linux alone"
    if shutil.which("gcc") is None:
        return "there is no gcc here to build the shim with"
    return ""


def build(folder: Path) -> Path:
    """Compile the shim into a folder."""
    target = folder / "shim.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    command = ["gcc", *flags, "-o", str(target), str(SOURCE), "-ldl", "-pthread"]
    subprocess.run(command, check=True)
    return target


def before(
    shim: Path,
    *,
    log: Path | None = None,
    mark: int | None = None,
    fail_at: int = 0,
    fault: Fault = Fault.EIO,
    lasting: bool = False,
) -> dict[str, str]:
    """The environment of a process that is to run behind the shim.

    `mark`: a descriptor, what is written to which is logged. The call with the number
    `fail_at`, counted from 1, goes wrong, and all after it if `lasting`.
    """
    variables = {"LD_PRELOAD": str(shim), "SHIM_FAIL_AT": str(fail_at)}
    variables |= {"SHIM_FAULT": str(int(fault)), "SHIM_LASTING": str(int(lasting))}
    if log is not None:
        variables["SHIM_LOG"] = str(log)
    if mark is not None:
        variables["SHIM_MARK_FD"] = str(mark)
    return variables


# --- from inside such a process -----------------------------------------------------------


def arm(at: int, fault: Fault = Fault.EIO, *, lasting: bool = False) -> None:
    """Count from 1 again, and let the call with the number `at` go wrong; 0: none."""
    ctypes.CDLL(None).shim_arm(ctypes.c_long(at), int(fault), int(lasting))


def counted() -> int:
    """How many writes, truncations and syncs there were since."""
    count = ctypes.CDLL(None).shim_count
    count.restype = ctypes.c_long
    return int(count())


# --- the log ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that went to an offset; a durable write is on the disk when it returns."""

    offset: int
    data: bytes
    durable: bool


@dataclass(frozen=True, slots=True)
class Truncate:
    """The file got this size."""

    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """All that was written before is on the disk."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What the process said to others at this point."""

    data: bytes


Event = Write | Truncate | Sync | Mark


def read_log(path: Path) -> list[Event]:
    """The events of a log, in their order.

    Raises ValueError where somebody wrote through a map, which the shim cannot see.
    """
    content = path.read_bytes()
    events: list[Event] = []
    at = 0
    while at < len(content):
        kind, durable, offset, length = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        if kind in b"WA":
            data = content[at : at + length]
            at += length
            events.append(Write(offset, data, bool(durable)) if kind == b"W" else Mark(data))
        elif kind == b"T":
            events.append(Truncate(length))
        elif kind == b"S":
            events.append(Sync())
        else:
            raise ValueError("The file was written through a map, which the shim cannot see.")
    return events
