"""Whom this node knows: who may talk to it, where they are, which key a place had.

One file in the data directory, `peers.json`, read and written whole. Commands may change it
while the node runs; the node looks at it again when it has changed. This is policy, and only
ever decides whom we talk to, never which entries are valid.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from setsync.errors import NewerFormatError, PeersFileError, UsageError
from setsync.limits import MAX_PEERS, MAX_PEERS_FILE, PEERS_LOCK_SECONDS
from setsync.node.address import Address

FORMAT_VERSION = 1
_LOOK_AGAIN_SECONDS = 0.02
_MAX_NAME = 64


class Rule(enum.StrEnum):
    """What we let a node do."""

    ALLOWED = "allowed"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Peer:
    """A node we know by its key, 32 bytes."""

    key: bytes
    rule: Rule = Rule.ALLOWED
    name: str = ""
    address: Address | None = None


@dataclass(slots=True)
class Book:
    """Everything in the file. `pins`: the key that a place without one in its address had
    when we first trusted it."""

    peers: dict[bytes, Peer] = field(default_factory=dict)
    pins: dict[str, bytes] = field(default_factory=dict)

    def put(self, peer: Peer) -> None:
        """Add or change a peer. Raises PeersFileError when there are too many."""
        if peer.key not in self.peers and len(self.peers) >= MAX_PEERS:
            raise PeersFileError(f"A node knows at most {MAX_PEERS} others.")
        self.peers[peer.key] = replace(peer, name=peer.name[:_MAX_NAME])

    def remove(self, key: bytes) -> bool:
        """Forget a peer and every place it had; whether it was known."""
        pinned = [place for place, pin in self.pins.items() if pin == key]
        for place in pinned:
            del self.pins[place]
        return self.peers.pop(key, None) is not None or bool(pinned)


class PeersFile:
    """The file, for readers and for one writer at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._book = Book()

    def read(self) -> Book:
        """What is in the file; nobody, where there is none. Not to be changed.

        Raises PeersFileError, NewerFormatError.
        """
        try:
            with self.path.open("rb") as file:
                about = os.fstat(file.fileno())
                seen = (about.st_ino, about.st_size, about.st_mtime_ns)
                if seen == self._seen:
                    return self._book
                content = file.read(MAX_PEERS_FILE + 1)
        except FileNotFoundError:
            return Book()
        except OSError as error:
            raise PeersFileError(f"{self.path} cannot be read: {error.strerror}.") from error
        self._book, self._seen = _parse(self.path, content), seen
        return self._book

    @contextlib.contextmanager
    def changing(self) -> Iterator[Book]:
        """Change the book inside the block; it is on the disk afterwards."""
        lock = self.path.with_name("peers.lock")
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise PeersFileError(f"{lock} cannot be opened: {error.strerror}.") from error
        try:
            self._wait_for(descriptor)
            self._seen = None
            book = self.read()
            yield book
            self._write(book)
        finally:
            # Whether or not it got to the disk: what we hold has been changed by others.
            self._seen = None
            os.close(descriptor)

    def _wait_for(self, descriptor: int) -> None:
        """A change takes a moment; whoever holds the lock longer is stopped, not busy."""
        deadline = time.monotonic() + PEERS_LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise PeersFileError(
                        f"Another process has been changing {self.path} for "
                        f"{PEERS_LOCK_SECONDS:g} seconds."
                    ) from error
                time.sleep(_LOOK_AGAIN_SECONDS)

    def _write(self, book: Book) -> None:
        content = json.dumps(_as_json(book), indent=1).encode("ascii") + b"\n"
        if len(content) > MAX_PEERS_FILE:
            raise PeersFileError(f"{self.path} would be longer than {MAX_PEERS_FILE:,} bytes.")
        draft = self.path.with_name(self.path.name + ".new")
        try:
            with draft.open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self.path)
        except OSError as error:
            raise PeersFileError(f"{self.path} cannot be written: {error.strerror}.") from error


def _as_json(book: Book) -> dict[str, Any]:
    return {
        "setsync_peers": FORMAT_VERSION,
        "peers": {
            key.hex(): {
                "rule": peer.rule.value,
                "name": peer.name,
                "address": peer.address.place if peer.address is not None else None,
            }
            for key, peer in sorted(book.peers.items())
        },
        "pins": {place: key.hex() for place, key in sorted(book.pins.items())},
    }


def _parse(path: Path, content: bytes) -> Book:
    try:
        if len(content) > MAX_PEERS_FILE:
            raise ValueError("it is too long")
        found = json.loads(content)
        version = found["setsync_peers"]
        if type(version) is not int or version < 1:
            raise ValueError(f"{version!r} is no format")
        if version > FORMAT_VERSION:
            raise NewerFormatError(
                f"{path} has format {version}; this version reads up to {FORMAT_VERSION}."
            )
        book = Book()
        for text, about in found["peers"].items():
            key = _key(text)
            place = about["address"]
            address = replace(Address.parse(place), key=key) if place is not None else None
            book.put(Peer(key, Rule(about["rule"]), str(about["name"]), address))
        book.pins = {str(place): _key(text) for place, text in found["pins"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError) as error:
        raise PeersFileError(f"{path} is not a list of peers: {error}.") from error
    return book


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != 32:
        raise ValueError(f"{text!r} is not a key")
    return key
