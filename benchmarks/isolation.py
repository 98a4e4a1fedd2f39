"""A network with nothing but loopback: what keeps a program from calling anybody.

The bindings of iroh offer no way to switch relays off, and a node looks for one at once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import sys
from pathlib import Path

from benchmarks.workers import PeerError

ISOLATED = "BENCHMARK_ISOLATED"
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def require_isolation() -> None:
    """Raise PeerError unless this process can reach nobody but itself."""
    names = [name for _, name in socket.if_nameindex()]
    if names != ["lo"]:
        raise PeerError(f"expected a network namespace with only lo, found {', '.join(names)}")


def raise_loopback() -> None:
    """Bring lo up; in a fresh network namespace it is down."""
    with socket.socket() as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack_from("H", fcntl.ioctl(sock, _SIOCGIFFLAGS, request), 16)[0]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def isolate(module: str, argv: list[str]) -> None:
    """Start a module again in a namespace of its own; does not return."""
    tool = shutil.which("unshare")
    if tool is None:
        raise PeerError("unshare is not installed, and without it iroh would call its relays")
    root = Path(__file__).resolve().parent.parent
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    command = [tool, "--map-root-user", "--net", sys.executable, "-m", module]
    os.execve(tool, [*command, *argv], {**os.environ, ISOLATED: "1", "PYTHONPATH": paths})
