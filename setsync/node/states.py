"""How it stands with each peer, in a file that other commands can read.

`peers-state.json` in the data directory, written whole now and then by the one process that
serves. It is for people: nothing is decided by it, and nothing is lost with it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import trio

from setsync.limits import MAX_PEERS, MAX_PEERS_FILE, NOTICE_SECONDS
from setsync.node.arrivals import last_arrival
from setsync.node.live import Keeper, PeerState, Phase
from setsync.node.local import Local
from setsync.node.server import Served
from setsync.store.contract import EntryStore

FORMAT_VERSION = 1


@dataclass
class States:
    """What is known of each peer, by its key in hex (or its address, as long as that is all)."""

    path: Path
    peers: dict[str, PeerState] = field(default_factory=dict)
    keepers: dict[str, Keeper] = field(default_factory=dict)
    _written: bytes = b""

    def served(self, served: Served, now: int) -> None:
        """A session that a peer has opened with us is over."""
        if not served.peer or (served.peer not in self.peers and len(self.peers) >= MAX_PEERS):
            return
        state = self.peers.setdefault(served.peer, PeerState("", Phase.WAITING, now))
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
