"""Entries on their way: out of the store in batches, into the writer as they come.

Both directions run at once and neither waits for the other. On each side entries are read,
sent, verified and committed in one order, so that system collections, which are sent first,
are also committed first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from setsync.errors import Abort, InvalidEntryError, PeerError
from setsync.limits import ENTRY_BATCH, IDS_PER_READ, PAYLOAD_PIECE, UNCOMMITTED_BATCHES
from setsync.model.entry import UnverifiedEntry
from setsync.node.connection import Connection
from setsync.node.local import Local
from setsync.node.refusals import (
    NotKept,
    count_refused,
    remember_theirs,
    still_wanted,
    to_messages,
)
from setsync.node.writer import Ticket
from setsync.reconcile.wants import But
from setsync.store.contract import EntryStore, Origin, Snapshot, StoredEntry
from setsync.wire.messages import Committed, Entries, EntryItem, Hello, Packed, Piece, Refused
from setsync.wire.packing import FEATURE, Packer, unpacked

# Entries in one message; an array of them has a bound of its own.
_MOST_IN_MESSAGE = 2_000


# --- out ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Take:
    """Entries to send: distinct ids of a collection in order, or (ids None) a whole range
    `but` for some. `only_payloads`: those whose payload is here and fits, and no others.
    `is_asked_for`: by the receiver, who may have refused them once and changed its mind."""

    collection: str
    ids: Sequence[bytes] | None
    prefix: str = ""
    but: But | None = None
    only_payloads: bool = False
    is_asked_for: bool = False


@dataclass(frozen=True, slots=True)
class Receiver:
    """What the other side takes: payloads up to a size, and messages packed like this."""

    node: bytes
    max_payload: int
    packer: Packer

    @classmethod
    def of(cls, greeting: Hello) -> Receiver:
        """As its HELLO says."""
        packer = Packer(FEATURE in greeting.features)
        return cls(greeting.node, greeting.max_payload, packer)

    def takes(self, entry: StoredEntry) -> bool:
        """Whether the payload of an entry is here, and not too large for it."""
        return entry.payload is not None and len(entry.payload) <= self.max_payload


async def send_entries(
    connection: Connection,
    local: Local,
    take: Take,
    receiver: Receiver,
    on_sent: Callable[[str, int], None],
) -> None:
    """Send what `take` names in batches, without being asked only what the receiver has not
    refused; a payload too large for it is withheld.

    Each batch is read in one short snapshot. `on_sent` hears the collection and how many,
    before they go: some may be refused before the last of them is out.
    """
    after = b""
    while ids := await local.offload(_next_ids, local, take, receiver, after):
        after = ids[-1]
        while ids:
            messages, count, used = await local.offload(_prepare, local.store, take, receiver, ids)
            ids = ids[used:]
            if count:
                on_sent(take.collection, count)
            while messages:
                # Of what waits for a slow peer, nothing is held twice.
                await connection.send(messages.pop(0))


def _prepare(
    store: EntryStore, take: Take, receiver: Receiver, ids: Sequence[bytes]
) -> tuple[list[Entries | Piece | Packed], int, int]:
    """Messages of one batch, how many entries are in them, and how many of the ids that used."""
    batch, used = _read_batch(store, take.collection, ids)
    if take.only_payloads:
        batch = [entry for entry in batch if receiver.takes(entry)]
    return in_messages(take.collection, batch, receiver), len(batch), used


def _next_ids(local: Local, take: Take, receiver: Receiver, after: bytes) -> list[bytes]:
    with local.store.snapshot() as snapshot:
        while ids := next_ids(snapshot, take, after):
            if take.is_asked_for:
                return ids
            wanted = still_wanted(snapshot, receiver.node, take.collection, ids, local.clock())
            if wanted:
                return wanted
            after = ids[-1]
    return []


def next_ids(snapshot: Snapshot, take: Take, after: bytes) -> list[bytes]:
    """The ids of `take` above `after`, a bounded number of them."""
    if take.ids is not None:
        at = bisect_right(take.ids, after)
        return list(take.ids[at : at + IDS_PER_READ])
    view = snapshot.view(take.collection)
    if view is None:
        return []
    ids = view.ids(take.prefix, after, IDS_PER_READ)
    while take.but is not None and len(ids):
        kept = take.but.keep(ids)
        if len(kept):
            ids = kept
            break
        ids = view.ids(take.prefix, ids[-1].tobytes(), IDS_PER_READ)
    return [row.tobytes() for row in ids]


def _read_batch(
    store: EntryStore, collection: str, ids: Sequence[bytes]
) -> tuple[list[StoredEntry], int]:
    """Entries of about ENTRY_BATCH bytes, and how many of the ids that used up."""
    batch: list[StoredEntry] = []
    size = 0
    with store.snapshot() as snapshot:
        for entry in snapshot.entries(collection, ids):
            batch.append(entry)
            size += entry.size
            if size >= ENTRY_BATCH or len(batch) == _MOST_IN_MESSAGE:
                return batch, ids.index(entry.id) + 1
    return batch, len(ids)


def in_messages(
    collection: str, batch: Sequence[StoredEntry], receiver: Receiver
) -> list[Entries | Piece | Packed]:
    """One message, or several where a large payload has to follow in pieces; compressed."""
    messages: list[Entries | Piece] = []
    items: list[EntryItem] = []

    def finish() -> None:
        if items:
            messages.append(Entries(((collection, tuple(items)),)))
            items.clear()

    size = 0
    for entry in batch:
        payload = entry.payload
        if payload is not None and len(payload) > receiver.max_payload:
            payload = None
        if payload is not None and len(payload) > PAYLOAD_PIECE:
            items.append((entry.header, len(payload)))
            finish()
            messages += _pieces(payload)
            size = 0
            continue
        items.append((entry.header, payload))
        size += len(entry.header) + len(payload or b"")
        if size >= ENTRY_BATCH:
            finish()
            size = 0
    finish()
    return [receiver.packer.pack(message) for message in messages]


def _pieces(payload: bytes) -> list[Piece]:
    return [
        Piece(offset, payload[offset : offset + PAYLOAD_PIECE])
        for offset in range(0, len(payload), PAYLOAD_PIECE)
    ]


async def note_refused(local: Local, peer: bytes, message: Refused, sent: int) -> int:
    """Remember what `peer` did not keep of the `sent` entries that were not refused yet; how
    many. Raises PeerError."""
    count = count_refused(message, sent)
    await local.offload(remember_theirs, local.store, peer, message, local.clock())
    return count


# --- in -----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Assembly:
    """A payload that comes in pieces."""

    collection: str
    header: bytes
    size: int
    payload: bytearray


class Incoming:
    """What a peer sends us in one pass: put together, handed to the writer, acknowledged.

    What is not kept for want of interest is told by REFUSED before it is acknowledged.
    `max_payload` is what our HELLO said: the setting may have changed since.

    Start `run` in a nursery; feed `take`; then `finish`. Taking waits for the disk and never
    for the peer: if it waited until an acknowledgement is sent, two nodes that both send
    more than a socket holds would each wait for the other to read.
    """

    def __init__(
        self,
        connection: Connection,
        local: Local,
        peer: bytes,
        max_payload: int,
        may_come: Callable[[str], bool],
        on_committed: Callable[[int], None],
        on_taken: Callable[[Sequence[UnverifiedEntry]], None] = lambda entries: None,
    ) -> None:
        self._connection = connection
        self._peer = peer
        self._max_payload = max_payload
        self._local = local
        self._may_come = may_come
        self._on_committed = on_committed
        self._on_taken = on_taken
        self._assembly: _Assembly | None = None
        self._tickets, self._to_settle = trio.open_memory_channel[Ticket](UNCOMMITTED_BATCHES)
        self._changed = trio.Condition()
        self._is_finished = False
        self._taken = 0
        self._acknowledged = 0
        self._untold: list[NotKept] = []
        self.committed = 0
        self.new = 0
        self.refused = 0

    async def take(self, message: Entries | Piece | Packed) -> None:
        """Take a message; waits while too much is not yet committed.

        Raises PeerError for what nobody asked for or what is over a limit.
        """
        if self._is_finished:
            raise PeerError("An entry came after what was said to be the last.")
        if isinstance(message, Packed):
            message = unpacked(message)
        if isinstance(message, Piece):
            entries = self._take_piece(message)
        else:
            entries = self._take_entries(message)
        if entries:
            async with self._changed:
                self._taken += len(entries)
                self._changed.notify_all()
            self._on_taken(entries)
            origin = Origin(self._local.clock(), self._peer)
            await self._tickets.send(await self._local.writer.submit(entries, origin))

    async def until_taken(self, count: int) -> None:
        """Wait until so many entries have come, durable or not."""
        async with self._changed:
            while self._taken < count:
                await self._changed.wait()

    def _take_entries(self, message: Entries) -> list[UnverifiedEntry]:
        if self._assembly is not None:
            raise PeerError("Entries came before the last payload's pieces were all here.")
        entries: list[UnverifiedEntry] = []
        ((collection, items),) = message.groups
        if not self._may_come(collection):
            raise PeerError(f"Nobody asked for entries of {collection!r} here.")
        if len({header for header, _ in items}) < len(items):
            raise PeerError("An entry came twice in one message.")
        for header, payload in items:
            if self._assembly is not None:
                raise PeerError("An entry came where pieces of a payload were due.")
            if isinstance(payload, int):
                self._check_size(payload)
                self._assembly = _Assembly(collection, header, payload, bytearray())
                continue
            self._check_size(len(payload or b""))
            entries.append(UnverifiedEntry(collection, header, payload))
        return entries

    def _take_piece(self, piece: Piece) -> list[UnverifiedEntry]:
        assembly = self._assembly
        if assembly is None or piece.offset != len(assembly.payload):
            raise PeerError("A piece of a payload came that does not fit.")
        assembly.payload += piece.data
        if len(assembly.payload) > assembly.size:
            raise PeerError("A payload has more pieces than its size allows.")
        if len(assembly.payload) < assembly.size:
            return []
        self._assembly = None
        return [UnverifiedEntry(assembly.collection, assembly.header, bytes(assembly.payload))]

    def _check_size(self, size: int) -> None:
        if size > self._max_payload:
            raise PeerError(
                f"A payload of {size} bytes came; this node takes {self._max_payload}.",
                Abort.TOO_LARGE,
            )

    async def run(self) -> None:
        """Settle and acknowledge until cancelled. Raises PeerError for an invalid entry."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._settle)
            nursery.start_soon(self._acknowledge)

    async def _settle(self) -> None:
        async for ticket in self._to_settle:
            try:
                added = await ticket.wait()
            except InvalidEntryError as error:
                raise PeerError(f"An entry that was sent is not valid: {error.message}") from error
            async with self._changed:
                self._untold += ticket.refused
                self.refused += len(ticket.refused)
                self.committed += len(ticket.entries)
                self.new += len(added.new)
                self._changed.notify_all()
            self._on_committed(len(ticket.entries) - len(ticket.refused))

    async def _acknowledge(self) -> None:
        """Tell the peer how many are durable; while that waits to be sent, the number grows."""
        while True:
            async with self._changed:
                while self._acknowledged == self.committed:
                    await self._changed.wait()
                count, refused, self._untold = self.committed, self._untold, []
            for message in to_messages(refused):
                await self._connection.send(message)
            await self._connection.send(Committed(count))
            async with self._changed:
                self._acknowledged = count
                self._changed.notify_all()

    @property
    def is_idle(self) -> bool:
        """Whether everything that came is durable and acknowledged."""
        return self._acknowledged == self._taken and self._assembly is None

    async def finish(self) -> None:
        """Wait until everything that came is durable and acknowledged.

        Raises PeerError when a payload is still incomplete.
        """
        if self._assembly is not None:
            raise PeerError("The last payload is incomplete.")
        self._is_finished = True
        async with self._changed:
            while not self.is_idle:
                await self._changed.wait()
