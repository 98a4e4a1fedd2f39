"""The live part of a session: each side sends what is new to it, as it is committed.

It begins when the sets were equal a moment ago. Each side goes on from the arrival number it had
then, so nothing falls in between. What came from the other side is not sent back to it; what
came from both is sent at most once too often, and is known there. Entries are acknowledged
after their commit, as everywhere; what is lost with a connection the next reconciling finds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import groupby

import trio

from setsync import limits
from setsync.errors import PeerError
from setsync.model.entry import UnverifiedEntry, entry_id
from setsync.node.connection import Connection
from setsync.node.local import Local
from setsync.node.refusals import is_none_refused, still_wanted
from setsync.node.transfer import Incoming, Receiver, in_messages, note_refused
from setsync.store.contract import Snapshot, StoredEntry
from setsync.wire import messages as m

_MOST_AT_ONCE = 1_000


class Pushing:
    """One side of it. `on_sent` and `on_received` hear of entries, the latter once durable;
    `on_refused` of those sent that the other side does not want; `on_told` up to which
    arrival number all was sent."""

    def __init__(
        self,
        connection: Connection,
        local: Local,
        peer: bytes,
        receiver: Receiver,
        max_payload: int,
        is_mutual: Callable[[str], bool],
        after: int,
        on_sent: Callable[[int], None],
        on_received: Callable[[int], None],
        on_refused: Callable[[int], None] = lambda count: None,
        on_told: Callable[[int], None] = lambda arrival: None,
    ) -> None:
        self._connection = connection
        self._local = local
        self._peer = peer
        self._receiver = receiver
        self._is_mutual = is_mutual
        self._after = after
        self._heard: OrderedDict[bytes, None] = OrderedDict()
        self._incoming = Incoming(
            connection, local, peer, max_payload, is_mutual, on_received, self._remember
        )
        self._on_sent = on_sent
        self._on_refused = on_refused
        self._on_told = on_told
        self._sent = 0

    async def run(self) -> None:
        """Until the other side says that it is done, or until cancelled. Raises PeerError."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._incoming.run)
            nursery.start_soon(self._push)
            nursery.start_soon(self._ping)
            await self._take_in()
            nursery.cancel_scope.cancel()

    async def _take_in(self) -> None:
        while True:
            # Who is there says PING; that it takes ours may be a buffer on the way.
            message = await self._connection.receive(limits.IDLE_TIMEOUT, taking_counts=False)
            match message:
                case m.Entries() | m.Piece() | m.Packed():
                    await self._incoming.take(message)
                case m.Committed() | m.Ping():
                    pass
                case m.Refused():
                    count = await note_refused(self._local, self._peer, message, self._sent)
                    self._sent -= count
                    self._on_refused(count)
                case m.Done():
                    return
                case _:
                    raise PeerError(f"{type(message).__name__} came while waiting for news.")

    async def _ping(self) -> None:
        while True:
            await trio.sleep(limits.PING_SECONDS)
            await self._connection.send(m.Ping())

    # --- out ------------------------------------------------------------------------------

    async def _push(self) -> None:
        while True:
            heard = self._local.writer.news.next()
            batch, more = await self._local.offload(self._read)
            for collection, entries in groupby(batch, key=lambda entry: entry.collection):
                some = list(entries)
                messages = await self._local.offload(in_messages, collection, some, self._receiver)
                self._sent += len(some)
                for message in messages:
                    await self._connection.send(message)
                self._on_sent(len(some))
            self._on_told(self._after)
            if not more:
                await heard.wait()

    def _read(self) -> tuple[list[StoredEntry], bool]:
        """What has arrived and is for the other side; whether there may be more."""
        with self._local.store.snapshot() as snapshot:
            found = snapshot.since(self._after, _MOST_AT_ONCE, limits.ENTRY_BATCH)
            if found:
                self._after = found[-1].arrival
            wanted = []
            for entry in found:
                if self._is_mutual(entry.collection) and entry.id not in self._heard:
                    origin = snapshot.origin(entry.arrival)
                    if origin is None or origin.peer != self._peer:
                        wanted.append(entry)
            return self._not_refused(snapshot, wanted), bool(found)

    def _not_refused(self, snapshot: Snapshot, entries: list[StoredEntry]) -> list[StoredEntry]:
        if is_none_refused(snapshot):
            return entries
        left: list[StoredEntry] = []
        for name, some in groupby(entries, key=lambda entry: entry.collection):
            part = {entry.id: entry for entry in some}
            wanted = still_wanted(snapshot, self._peer, name, list(part), self._local.clock())
            left += [part[id_] for id_ in wanted]
        return left

    # --- in -------------------------------------------------------------------------------

    def _remember(self, entries: Sequence[UnverifiedEntry]) -> None:
        for entry in entries:
            self._heard[entry_id(entry.header)] = None
        while len(self._heard) > limits.HEARD_IDS:
            self._heard.popitem(last=False)
