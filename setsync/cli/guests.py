"""What guests speak on the node's own port: other protocols over the secure channel.

Another package names a function in the entry point group `setsync.protocols`, under the protocol's
ALPN name. It gets the data directory and gives what answers a connection; see
`setsync.node.listening.Guest`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from setsync.cli import common

if TYPE_CHECKING:
    from setsync.node.config import DataDirectory
    from setsync.node.listening import Guest

ENTRY_POINT_GROUP = "setsync.protocols"


def guests_of(directory: DataDirectory) -> dict[str, Guest]:
    """Every protocol that can be loaded, by its name, ready for this directory's node."""
    from importlib.metadata import entry_points

    found: dict[str, Guest] = {}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda one: one.name):
        try:
            make: Callable[[DataDirectory], Guest] = point.load()
            found[point.name] = make(directory)
        except Exception as error:  # serve itself needs none of them
            common.say(f"The protocol {point.name!r} cannot be loaded: {error}")
    return found
