"""Who may talk to this node. Policy: it never decides what a valid entry is."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from setsync.errors import NotListedError, PeerRefusedError
from setsync.node.peers import Book, Rule


class Mode(enum.StrEnum):
    """Whom a node answers: everybody that is not blocked, or only who is listed."""

    OPEN = "open"
    LISTED = "listed"


@dataclass(frozen=True, slots=True)
class Access:
    """Asks the list anew for each connection, since commands change it while the node runs."""

    mode: Mode
    book: Callable[[], Book]

    def check(self, key: bytes) -> None:
        """Raises NotListedError, or PeerRefusedError for who is blocked."""
        peer = self.book().peers.get(key)
        if peer is not None and peer.rule is Rule.BLOCKED:
            raise PeerRefusedError("This node does not talk to you.")
        if self.mode is Mode.LISTED and peer is None:
            raise NotListedError(
                f"This node does not list you. Its operator has to type: "
                f"setsync peers add {key.hex()}"
            )
