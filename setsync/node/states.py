"""How it stands with each peer, in a file that other commands can read.

`peers-state.json` in the data directory, written whole now and then by the one process that
serves. It is for people: nothing is decided by it, and nothing is lost with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import trio

from setsync.errors import SetsyncError
from setsync.limits import MAX_PEERS, MAX_PEERS_FILE, MAX_STRANGERS, NOTICE_SECONDS
from setsync.node.arrivals import last_arrival
from setsync.node.live import Keeper, PeerState, Phase
from setsync.node.local import Local
from setsync.node.peers import Book
from setsync.node.server import Served
from setsync.store.contract import EntryStore

FORMAT_VERSION = 1


@dataclass
class States:
    """What is known of each peer, by its key in hex (or its address, as long as that is all).

    Whom the `book` lists is kept, and of all others the MAX_STRANGERS that came last: keys cost
    nothing, and whoever is shown here may be somebody to be listed.
    """

    path: Path
    book: Callable[[], Book] = Book
    # In order of their last sessions, as are the strangers.
    peers: dict[str, PeerState] = field(default_factory=dict)
    keepers: dict[str, Keeper] = field(default_factory=dict)
    _strangers: dict[str, None] = field(default_factory=dict)
    _written: bytes = b""

    def served(self, served: Served, now: int) -> None:
        """A session that a peer has opened with us is over."""
        if not served.peer:
            return
        state = self.peers.pop(served.peer, None) or PeerState("", Phase.WAITING, now)
        self.peers[served.peer] = state
        self._make_room(served.peer)
        state.sessions += 1
        state.entries_sent += served.entries_sent
        state.entries_received += served.entries_received
        state.bytes_sent += served.counters.total_sent()
        state.bytes_received += served.counters.total_received()
        if served.state == "failed":
            state.last_error = served.reason
        else:
            state.last_ok, state.last_error = now, ""
        state.told = max(state.told, served.told)

    def _make_room(self, newest: str) -> None:
        self._strangers.pop(newest, None)
        if not self._lists(newest):
            self._strangers[newest] = None
        if len(self._strangers) > MAX_STRANGERS:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            if not self._lists(oldest):
                self.peers.pop(oldest, None)
        if len(self.peers) > MAX_PEERS + MAX_STRANGERS:
            oldest = next(iter(self.peers))
            del self.peers[oldest]
            self._strangers.pop(oldest, None)

    def _lists(self, peer: str) -> bool:
        try:
            return bytes.fromhex(peer) in self.book().peers
        except (SetsyncError, ValueError):
            return False

    async def run(self, local: Local) -> None:
        """Write now and then, until cancelled; and once more then."""
        try:
            while True:
                await local.offload(self.write, local.store)
                await trio.sleep(4 * NOTICE_SECONDS)
        finally:
            self.write(local.store)

    def write(self, store: EntryStore) -> None:
        """Put what has changed into the file. A full disk must not end the node for this."""
        draft = self.path.with_name(self.path.name + ".new")
        told = {"setsync_peer_states": FORMAT_VERSION, "peers": self.as_json(last_arrival(store))}
        content = json.dumps(told).encode("ascii") + b"\n"
        if content == self._written:
            return
        try:
            draft.write_bytes(content)
            draft.chmod(0o600)
            draft.rename(self.path)
            self._written = content
        except OSError:
            return

    def as_json(self, last: int) -> dict[str, dict[str, Any]]:
        """Every peer's state as plain values; `last` is the last arrival here."""
        dialled = {key: keeper.now() for key, keeper in self.keepers.items()}
        return {
            key: asdict(replace(state, lag=max(0, last - state.told) if state.told else None))
            for key, state in {**self.peers, **dialled}.items()
        }


def read_states(path: Path) -> dict[str, PeerState]:
    """What the serving process wrote last; nothing where that cannot be read."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(MAX_PEERS_FILE))
        if found["setsync_peer_states"] != FORMAT_VERSION:
            return {}
        return {str(key): _state(about) for key, about in found["peers"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _state(about: dict[str, Any]) -> PeerState:
    values = {one.name: about[one.name] for one in fields(PeerState)}
    return PeerState(**{**values, "phase": Phase(values["phase"])})
