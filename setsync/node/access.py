"""Who may talk to this node. Policy: it never decides what a valid entry is."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from setsync.errors import Abort, NotListedError, PeerRefusedError
from setsync.node.local import now
from setsync.node.peers import BLOCKED, Book, PeersFile, Rule
from setsync.node.tries import Tries


class Mode(enum.StrEnum):
    """Whom a node answers: everybody that is not blocked, who is listed, or also who brings
    an invite."""

    OPEN = "open"
    LISTED = "listed"
    INVITED = "invited"


@dataclass(frozen=True, slots=True)
class Access:
    """Asks the list anew for each connection, since commands change it while the node runs.

    `change` gives the list to be changed, for invites. `clock` in ms since 1970, for when they
    expire; `ticks` in seconds, for how often they are tried.
    """

    mode: Mode
    book: Callable[[], Book]
    change: Callable[[], AbstractContextManager[Book]] | None = None
    tries: Tries = field(default_factory=Tries)
    clock: Callable[[], int] = field(default=now, repr=False)
    ticks: Callable[[], float] = field(default=time.monotonic, repr=False)

    def __post_init__(self) -> None:
        if self.mode is Mode.INVITED and self.change is None:
            raise ValueError("invites need a list that can be changed")

    @classmethod
    def of(cls, mode: Mode, peers: PeersFile) -> Access:
        """By the list in a file."""
        return cls(mode, peers.read, peers.changing)

    def check(self, key: bytes) -> bool:
        """Whether a key is let in; if not, it may be once it has shown an invite.

        Raises NotListedError where invites are no help, PeerRefusedError for who is blocked.
        """
        peer = self.book().peers.get(key)
        if peer is not None and peer.rule is Rule.BLOCKED:
            raise PeerRefusedError(BLOCKED)
        if peer is not None or self.mode is Mode.OPEN:
            return True
        if self.mode is Mode.INVITED:
            return False
        raise NotListedError(
            f"This node does not list you. Its operator has to type: setsync peers add {key.hex()}"
        )

    def groups(self, key: bytes) -> tuple[str, ...]:
        """The groups that a key is in, of those that collections are shared with."""
        return self.book().groups_of(key)

    def redeem(self, key: bytes, code: bytes, address: str = "") -> None:
        """List a key that shows an invite's code, and take one use of it: both or neither, and
        on the disk when this returns. Who is let in anyway uses up nothing.

        `address` is the IP address that it comes from, where it is known. Waits for the disk.
        Raises InviteError, PeerRefusedError (blocked, or tried too often), NotListedError,
        PeersFileError.
        """
        if self.check(key):
            return
        assert self.change is not None
        if code and not self.tries.allow(address, self.ticks()):
            raise PeerRefusedError(
                "Too many invites were tried here. Try again in a minute.", Abort.BUSY
            )
        # Before the file is locked and written, which a guess is not worth.
        self.book().invites.find(code, self.clock())
        with self.change() as book:
            book.redeem(key, code, self.clock())
        self.tries.give_back(address)
