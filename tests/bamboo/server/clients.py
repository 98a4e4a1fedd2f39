"""Clients of a Bamboo server as they are: they sign whatever place the server names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cbor2

from bamboo_compat.core import entry as entries
from bamboo_compat.core import keys, yamf
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.server.publishing import Guard, NextArgs, Published, Publisher
from setsync.model.entry import Entry
from setsync.store.contract import EntryStore
from tests.bamboo.logs import seed

VENUE = "venue_0020" + "ab" * 32
EVENT = "event_0020" + "cd" * 32


def create(name: str = "x", schema: str = VENUE) -> bytes:
    """An operation that begins a document."""
    encoded: bytes = cbor2.dumps([1, 0, schema, {"name": name}])
    return encoded


def update(*previous: bytes, name: str = "y", schema: str = VENUE) -> bytes:
    """An operation that changes a document."""
    encoded: bytes = cbor2.dumps([1, 1, schema, sorted(previous), {"name": name}])
    return encoded


def delete(*previous: bytes, schema: str = VENUE) -> bytes:
    """An operation that deletes a document."""
    encoded: bytes = cbor2.dumps([1, 2, schema, sorted(previous)])
    return encoded


def hash_of(header: bytes) -> bytes:
    """What clients call an entry and its operation."""
    return yamf.hash_of(Flavour.YASMF, header)


def sign(number: int, args: NextArgs, payload: bytes, *, end: bool = False) -> bytes:
    """The entry of test author `number` for this place."""
    return entries.sign(
        seed(number),
        args.log_id,
        args.seq_num,
        payload,
        backlink=args.backlink,
        lipmaalink=args.skiplink,
        end_of_log=end,
    )


@dataclass
class Server:
    """A node's publishing around a store, and what was published through it."""

    store: EntryStore
    directory: Path
    guards: Sequence[Guard] = ()
    published: list[tuple[bytes, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        def commit(entry: Entry) -> None:
            self.store.add_many([entry])

        self.publisher = Publisher(self.store, self.directory, bytes(32), commit, self.guards)

    def act(self, number: int, payload: bytes, *view: bytes) -> tuple[bytes, Published]:
        """What a client does: ask, sign, publish. The entry's hash, and what was answered."""
        args = self.publisher.next_args(keys.public_key(seed(number)), view)
        return self.publish(sign(number, args, payload), payload)

    def publish(self, header: bytes, payload: bytes) -> tuple[bytes, Published]:
        """Publish an entry that is signed."""
        published = self.publisher.publish(header, payload)
        self.published.append((header, payload))
        return hash_of(header), published
