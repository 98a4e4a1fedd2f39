"""How many files this process may have open at a time: every connection is one."""

from __future__ import annotations

import resource
import sys

from setsync.limits import MAX_PENDING, SPARE_FILES

_ENDLESS = sys.maxsize


def files_needed(connections: int, peers: int) -> int:
    """Of a node that takes so many connections and dials so many peers."""
    return connections + MAX_PENDING + peers + SPARE_FILES


def let_open(files: int) -> int:
    """Let this process open so many, if the system lets it; how many it may open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _number(soft) >= files:
        return _number(soft)
    wanted = min(files, _number(hard))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):  # macOS has another bound below the hard one
        return _number(soft)
    return wanted


def most_files(process: int = 0) -> int:
    """How many a process may let itself open; 0 is this one. Raises OSError for another's."""
    if process and sys.platform == "linux":
        return _number(resource.prlimit(process, resource.RLIMIT_NOFILE)[1])
    return _number(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _number(limit: int) -> int:
    return _ENDLESS if limit == resource.RLIM_INFINITY else limit
