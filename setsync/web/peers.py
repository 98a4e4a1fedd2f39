"""How it stands with the peers: rows for the page, and one sentence about all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from setsync.node.live import PeerState, Phase
from setsync.node.peers import Book, Rule
from setsync.web.tally import Session

_WORDS = {
    Phase.CONNECTING: "connecting",
    Phase.CATCHING_UP: "catching up",
    Phase.LIVE: "live",
    Phase.WAITING: "waiting",
}


@dataclass(frozen=True, slots=True)
class PeerRow:
    """One peer. `key` in hex, or its address where that is all that is known. Times in ms since
    1970, 0: never. `state`: connecting, catching up, live, waiting, blocked, or quiet for one
    that was not heard of in this run."""

    key: str
    name: str
    address: str
    state: str
    since: int
    last_ok: int
    last_error: str
    kept_up: bool
    syncing: bool
    can_sync: bool
    entries_sent: int
    entries_received: int
    bytes_sent: int
    bytes_received: int
    sessions: tuple[Session, ...]

    @property
    def in_sync(self) -> bool:
        """Whether the last that we know is that both have the same."""
        return bool(self.last_ok) and not self.last_error

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return found | {
            "in_sync": self.in_sync,
            "sessions": [session.as_json() for session in self.sessions],
        }


@dataclass(frozen=True, slots=True)
class Sync:
    """With how many of those peers that count (not blocked, heard of or to be kept up with) we
    have the same, and as of when: the moment, in ms, at which that was true of all of them."""

    in_sync: int
    peers: int
    as_of: int

    def as_json(self) -> dict[str, int]:
        """All of it."""
        return {"in_sync": self.in_sync, "peers": self.peers, "as_of": self.as_of}


def rows(
    book: Book,
    states: Mapping[str, PeerState],
    last: Mapping[str, Sequence[Session]],
    kept_up: Mapping[str, str],
    syncing: frozenset[str],
) -> list[PeerRow]:
    """Whom the list knows and who was heard of, by names, then keys.

    `states` by key (or address), of all that are to be shown; `kept_up`: of those that are
    dialled, the address.
    """
    keys = {key.hex() for key in book.peers} | states.keys()
    found = [_row(key, book, states, last, kept_up, syncing) for key in keys]
    return sorted(found, key=lambda row: (row.state == "blocked", not row.name, row.name, row.key))


def _row(
    key: str,
    book: Book,
    states: Mapping[str, PeerState],
    last: Mapping[str, Sequence[Session]],
    kept_up: Mapping[str, str],
    syncing: frozenset[str],
) -> PeerRow:
    known = book.peers.get(_bytes(key))
    state = states.get(key)
    sessions = tuple(last.get(key, ()))
    ok, error = _outcome(state, sessions)
    address = kept_up.get(key, "")
    if not address and known is not None and known.address is not None:
        address = known.address.place
    is_blocked = known is not None and known.rule is Rule.BLOCKED
    return PeerRow(
        key=key,
        name=known.name if known is not None else "",
        address=address,
        state="blocked" if is_blocked else _WORDS[state.phase] if state else "quiet",
        since=state.since if state else 0,
        last_ok=ok,
        last_error=error,
        kept_up=key in kept_up,
        syncing=key in syncing,
        can_sync=bool(address) and not is_blocked and key not in syncing,
        entries_sent=state.entries_sent if state else 0,
        entries_received=state.entries_received if state else 0,
        bytes_sent=state.bytes_sent if state else 0,
        bytes_received=state.bytes_received if state else 0,
        sessions=sessions,
    )


def _outcome(state: PeerState | None, sessions: Sequence[Session]) -> tuple[int, str]:
    """When it last went well, and what is wrong since then, if anything."""
    ok = max(
        [state.last_ok if state else 0, *(one.at for one in sessions if one.outcome == "done")]
    )
    error = state.last_error if state else ""
    if sessions and sessions[0].outcome != "cancelled":
        newest = sessions[0]
        if newest.outcome == "failed" and newest.at > ok:
            error = newest.reason
        if newest.outcome == "done" and newest.at == ok:
            error = ""
    return ok, error


def _bytes(key: str) -> bytes:
    try:
        return bytes.fromhex(key)
    except ValueError:
        return b""


def sync_of(found: Sequence[PeerRow], now: int) -> Sync:
    """See `Sync`."""
    counted = [
        row for row in found if row.state != "blocked" and (row.state != "quiet" or row.sessions)
    ]
    equal = [row for row in counted if row.in_sync]
    moments = [now if row.state == "live" else row.last_ok for row in equal]
    return Sync(len(equal), len(counted), min(moments, default=now))
