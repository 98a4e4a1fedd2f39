"""The responder of a session, and the listener that starts one for each connection.

A responder answers. It keeps of a session only what the protocol's state needs: which
collections it listed, how much it has answered, what it still has to send.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from setsync import limits
from setsync.errors import Abort, PeerError, PeerGoneError, SetsyncError
from setsync.node.access import Access
from setsync.node.channel import accept
from setsync.node.connection import Connection
from setsync.node.door import Door, Rules, Visit
from setsync.node.greeting import Agreement, check_name, hello
from setsync.node.identity import Identity
from setsync.node.local import Local
from setsync.node.pushing import Pushing
from setsync.node.transfer import Incoming, Receiver, Take, next_ids, send_entries
from setsync.reconcile.catalogue import Catalogue, NumberedViews
from setsync.reconcile.questions import WireAnswer, WireQuestion, from_wire
from setsync.reconcile.rounds import Views, answer
from setsync.reconcile.sketching import Held
from setsync.reconcile.view import ListView
from setsync.reconcile.wants import ALL, Wanted, WireWant, resolve
from setsync.session.session import Counters
from setsync.session.table import Role
from setsync.store.contract import Snapshot
from setsync.wire import messages as m

# A message of answers or of a listing is sent when it has grown to this.
_ANSWER_BYTES = 128 * limits.KIB
# What looking one thing up costs at least, however little comes of it.
_ITEM_BYTES = 48
# And what encoding one id for a sketch counts as, about as much work as sending so much.
_ENCODED_ID_BYTES = 16


@dataclass
class Served:
    """What a responder can say of a session when it is over."""

    peer: str = ""
    state: str = "failed"
    reason: str = ""
    entries_sent: int = 0
    entries_received: int = 0
    new_entries: int = 0
    counters: Counters = field(default_factory=Counters)

    def count_sent(self, count: int) -> None:
        """So many more entries went out."""
        self.entries_sent += count

    def count_received(self, count: int) -> None:
        """So many more entries came in and are durable."""
        self.entries_received += count


async def run_responder(
    stream: trio.abc.Stream,
    local: Local,
    served: Served | None = None,
    *,
    peer: bytes | None = None,
    access: Access | None = None,
) -> None:
    """Answer one session on a connected stream, which is closed afterwards.

    `peer` is the key that the other side has proven to hold; `access` says whether we talk to it.

    Raises PeerError, StoreError; `served` then holds what was known until then.
    """
    served = served if served is not None else Served()
    connection = Connection(stream, Role.RESPONDER)
    served.counters = connection.session.counters
    try:
        await connection.run(lambda _: _Responding(connection, local, served, peer, access).run())
        served.state = "done"
    except trio.Cancelled:
        served.state = "cancelled"
        raise
    except SetsyncError as error:
        served.reason = error.message
        raise


class _Responding:
    def __init__(
        self,
        connection: Connection,
        local: Local,
        served: Served,
        peer: bytes | None,
        access: Access | None,
    ) -> None:
        self._connection = connection
        self._local = local
        self._served = served
        self._peer = peer
        self._access = access
        self._agreement: Agreement
        self._began = 0
        self._compared = 0
        self._turn = -1
        self._key = b""
        self._names: list[str] = []
        self._hashes: dict[bytes, int] = {}
        self._held = Held()
        self._answered_bytes = 0
        self._sent_entries = 0

    async def run(self) -> None:
        """Greet, then answer until the initiator is done."""
        await self._greet()
        while True:
            message = await self._connection.receive(limits.IDLE_TIMEOUT)
            match message:
                case m.Catalog():
                    await self._compare_catalogue(message)
                case m.Questions(items):
                    await self._answer(items)
                case m.AskNames(items):
                    await self._list_named(items)
                case m.AskIds(items):
                    await self._tell_ids(items)
                case m.Totals():
                    await self._transfer(message)
                case m.Live():
                    await self._stay()
                    return
                case m.Done():
                    return
                case _:
                    raise _unexpected(message)

    async def _stay(self) -> None:
        """Both sides send what is new, until the initiator has enough."""
        pushing = Pushing(
            self._connection,
            self._local,
            self._agreement.initiator.node,
            Receiver.of(self._agreement.initiator),
            self._agreement.is_mutual,
            self._compared,
            self._served.count_sent,
            self._served.count_received,
        )
        await pushing.run()

    async def _greet(self) -> None:
        if self._peer is not None:
            self._served.peer = self._peer.hex()
            if self._access is not None:
                self._access.check(self._peer)
        theirs = await self._connection.receive(limits.HELLO_TIMEOUT)
        if not isinstance(theirs, m.Hello):
            raise _unexpected(theirs)
        check_name(theirs, self._peer)
        mine = hello(self._local, self._local.interests, m.BOTH)
        self._agreement = Agreement.of(theirs, mine)
        self._served.peer = theirs.node.hex()
        await self._connection.send(mine)
        self._began = await self._local.offload(self._last_arrival)

    def _last_arrival(self) -> int:
        with self._local.store.snapshot() as snapshot:
            return snapshot.last_arrival

    def _read_catalogue(self) -> Catalogue:
        with self._local.store.snapshot() as snapshot:
            self._compared = snapshot.last_arrival
            return self._agreement.catalogue(snapshot)

    # --- comparing ------------------------------------------------------------------------

    async def _compare_catalogue(self, message: m.Catalog) -> None:
        """A new pass begins: the same, or the list of what is here."""
        self._turn += 1
        self._held, self._hashes = Held(), {}
        if self._turn > limits.MAX_PASSES:
            raise PeerError(f"A session has at most {limits.MAX_PASSES + 1} passes.")
        self._key = self._agreement.key(self._turn)
        catalogue: Catalogue = await self._local.offload(self._read_catalogue)
        self._answered_bytes = 0
        self._sent_entries = 0
        if catalogue.digest(self._key)[:16] == message.digest:
            await self._connection.send(m.Same())
            return
        if len(catalogue.collections) > limits.LISTED_COLLECTIONS:
            self._hashes = catalogue.hashes(self._key)
            self._long = catalogue
            await self._connection.send(m.Many(len(catalogue.collections)))
            return
        await self._list(catalogue)

    async def _list(self, catalogue: Catalogue) -> None:
        """From here on, a collection's number is its place in this list."""
        self._names = [name for name, _ in catalogue.collections]
        part: list[tuple[str, int, bytes]] = []
        size = 0
        for item in catalogue.listing(self._key):
            part.append(item)
            size += len(item[0].encode()) + 32
            if size >= _ANSWER_BYTES or len(part) == limits.MAX_ARRAY:
                await self._connection.send(m.Listing(tuple(part)))
                part, size = [], 0
        await self._connection.send(m.Listed(tuple(part)))

    async def _list_named(self, items: Sequence[WireWant]) -> None:
        """The collections behind the hashes that the initiator lacks."""
        part: Catalogue = await self._local.offload(self._named, items)
        self._held, self._hashes = Held(), {}
        await self._list(part)

    def _named(self, items: Sequence[WireWant]) -> Catalogue:
        view = ListView(list(self._hashes))
        places: set[int] = set()
        for item in items:
            try:
                wanted = Wanted.from_wire(item)
            except ValueError as error:
                raise PeerError(f"What is wanted cannot be understood: {error}") from error
            everything = wanted.kind == ALL
            rows = view.ids(wanted.range.prefix) if everything else resolve(wanted, view, self._key)
            places |= {self._hashes[row.tobytes()] for row in rows}
        return self._long.part(places)

    async def _answer(self, items: Sequence[WireQuestion]) -> None:
        """Answer in as many messages as the answers need, each from one snapshot."""
        done = 0
        while done < len(items):
            answers, done = await self._local.offload(self._look_up, items, done)
            await self._connection.send(m.Answers(tuple(answers)))

    def _look_up(self, items: Sequence[WireQuestion], start: int) -> tuple[list[WireAnswer], int]:
        answers: list[WireAnswer] = []
        size = 0
        with self._local.store.snapshot() as snapshot:
            views: Views = NumberedViews(self._names, snapshot.view)
            if self._hashes:
                views = {0: ListView(list(self._hashes))}
            for item in items[start:]:
                encoded = self._held.encoded
                try:
                    found = answer(from_wire(item), views, self._key, self._held)
                except (ValueError, KeyError) as error:
                    raise PeerError(f"A question cannot be understood: {error}") from error
                answers.append(found.to_wire())
                size += len(found.blob) + 4 * len(found.numbers) + _ITEM_BYTES
                size += _ENCODED_ID_BYTES * (self._held.encoded - encoded)
                if size >= _ANSWER_BYTES:
                    break
            self._charge(size, snapshot)
        return answers, start + len(answers)

    def _charge(self, size: int, snapshot: Snapshot) -> None:
        """Count what this pass asked for, in bytes sent and in ids read for it.

        Twice the ids, and once more for the summaries above them, is more than any honest
        way to compare takes; and nobody lacks an entry twice. The set is as large as it is
        by now, not as it was when the pass began. Raises PeerError.
        """
        self._answered_bytes += size
        allowed = 4 * 32 * snapshot.entry_count + limits.ROUND_ANSWER_BYTES
        if self._answered_bytes > allowed or self._sent_entries > snapshot.entry_count:
            raise PeerError("More was asked about the sets than they hold.", Abort.TOO_LARGE)

    async def _tell_ids(self, items: Sequence[WireWant]) -> None:
        """The whole ids behind labels or ranges, and how many are newer than the session."""
        for item in items:
            take: Take = await self._local.offload(self._understand, item)
            after = b""
            while True:
                ids, newer = await self._local.offload(self._some_ids, take, after)
                if not ids:
                    break
                after = ids[-1]
                await self._connection.send(m.Ids(((item[0], b"".join(ids), newer),), 1))
        await self._connection.send(m.Ids((), 0))

    def _some_ids(self, take: Take, after: bytes) -> tuple[list[bytes], int]:
        with self._local.store.snapshot() as snapshot:
            ids = next_ids(snapshot, take, after)
            self._charge(32 * len(ids), snapshot)
            arrivals = [snapshot.arrival(take.collection, id_) or 0 for id_ in ids]
        return ids, sum(arrival > self._began for arrival in arrivals)

    def _understand(self, item: WireWant) -> Take:
        """What one item of WANT or ASK_IDS names. Raises PeerError."""
        try:
            wanted = Wanted.from_wire(item)
            name = self._names[wanted.range.collection]
        except (ValueError, IndexError) as error:
            raise PeerError(f"What is wanted cannot be understood: {error}") from error
        prefix = wanted.range.prefix
        with self._local.store.snapshot() as snapshot:
            view = snapshot.view(name)
            is_search = view is not None and wanted.kind in range(1, 65)
            searched = view.summary(prefix).count if view is not None and is_search else 0
            self._charge(8 * (searched + wanted.count) + _ITEM_BYTES, snapshot)
            if wanted.kind == ALL:
                return Take(name, None, prefix)
            ids = resolve(wanted, view, self._key) if view is not None else ()
        return Take(name, sorted({row.tobytes() for row in ids}), prefix)

    # --- moving entries -------------------------------------------------------------------

    async def _transfer(self, totals: m.Totals) -> None:
        """Both directions at once, until the initiator closes the pass."""
        self._all_sent = False
        wants, wanted = trio.open_memory_channel[m.Want](limits.WANTS_UNDER_WAY)
        incoming = Incoming(
            self._connection,
            self._local,
            self._agreement.initiator.node,
            lambda name: bool(totals.sending) and self._agreement.is_mutual(name),
            lambda _: None,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(incoming.run)
            nursery.start_soon(self._serve_wants, wanted)
            await self._until_closed(incoming, wants)
            nursery.cancel_scope.cancel()
        self._served.entries_received += incoming.committed
        self._served.new_entries += incoming.new

    async def _until_closed(
        self, incoming: Incoming, wants: trio.MemorySendChannel[m.Want]
    ) -> None:
        while True:
            message = await self._connection.receive(limits.IDLE_TIMEOUT)
            match message:
                case m.Want():
                    await self._pass_on(wants, message)
                case m.Entries() | m.Piece() | m.Packed():
                    await incoming.take(message)
                case m.Sent():
                    await incoming.finish()
                case m.Committed():
                    pass
                case m.Close():
                    if not self._all_sent:
                        raise PeerError("The session was closed before its entries were here.")
                    await incoming.finish()
                    catalogue: Catalogue = await self._local.offload(self._read_catalogue)
                    await self._connection.send(m.Closed(catalogue.digest(self._key)))
                    return
                case _:
                    raise _unexpected(message)

    async def _pass_on(self, wants: trio.MemorySendChannel[m.Want], message: m.Want) -> None:
        try:
            await wants.send(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise PeerError("More was wanted after the last want.") from None
        if not message.more:
            wants.close()

    async def _serve_wants(self, wanted: trio.MemoryReceiveChannel[m.Want]) -> None:
        receiver = Receiver.of(self._agreement.initiator)
        async with wanted:
            async for message in wanted:
                for item in message.items:
                    take: Take = await self._local.offload(self._understand, item)
                    await send_entries(
                        self._connection, self._local, take, receiver, self._count_sent
                    )
            self._all_sent = True
            await self._connection.send(m.Sent())

    def _count_sent(self, _: str, count: int) -> None:
        self._served.entries_sent += count
        self._sent_entries += count


# --- listening ----------------------------------------------------------------------------


async def listen(
    local: Local,
    listeners: Sequence[trio.SocketListener],
    on_session: Callable[[Served], None],
    identity: Identity | None = None,
    access: Access | None = None,
    most: int = limits.MAX_CONNECTIONS,
    door: Door | None = None,
) -> None:
    """Serve every connection until cancelled; one over `most` is told that we are busy.

    With an `identity` over the secure channel, with `access` those only whom it lets in. The
    `door` counts them, by the usual rules unless it is given.

    `on_session` hears of each session when it is over, however it ended; of connections that
    the door turned away it hears once a second.
    """
    door = door if door is not None else Door(Rules(connections=most))

    async def handle(stream: trio.SocketStream) -> None:
        served = Served()
        visit = None
        try:
            with trio.CancelScope() as scope:
                visit = door.arrive(_address_of(stream), trio.current_time(), scope.cancel)
                await _answer_visit(door, visit, stream, local, served, identity, access)
        except SetsyncError as error:
            # Told to the peer already, if there was a way, and to the operator below.
            served.reason = served.reason or error.message
        except Exception as error:  # a defect of ours must not take the other sessions down
            served.reason = f"A defect of setsync, please report it: {error!r}"
        finally:
            if visit is not None:
                door.leave(visit)
            if visit is not None and visit.was_dropped:
                served.state = "failed"
                served.reason = "It was not through the handshake when others came."
            if visit is not None or door.is_time_to_tell(trio.current_time()):
                on_session(served)

    async with trio.open_nursery() as nursery:
        await trio.serve_listeners(handle, list(listeners), handler_nursery=nursery)


async def _answer_visit(
    door: Door,
    visit: Visit,
    stream: trio.SocketStream,
    local: Local,
    served: Served,
    identity: Identity | None,
    access: Access | None,
) -> None:
    """Whom we do not let in stays among the pending, however long it takes to hear why."""
    channel = await accept(stream, identity) if identity is not None else None
    peer = channel.peer if channel is not None else None
    inner: trio.abc.Stream = channel.stream if channel is not None else stream
    try:
        if peer is not None and access is not None:
            served.peer = peer.hex()
            access.check(peer)
        door.let_through(visit, peer)
    except SetsyncError as error:
        await _refuse(inner, error)
    else:
        await run_responder(inner, local, served, peer=peer, access=access)


async def _refuse(stream: trio.abc.Stream, reason: SetsyncError) -> None:
    """Tell the reason inside a session that has none of its own. Raises it."""

    async def say_why(_: Connection) -> None:
        raise reason

    await Connection(stream, Role.RESPONDER).run(say_why)


def _address_of(stream: trio.SocketStream) -> str:
    """Raises PeerGoneError: who has left already has no address."""
    try:
        return str(stream.socket.getpeername()[0])
    except OSError as error:
        raise PeerGoneError("The other side closed the connection.") from error


def _unexpected(message: object) -> PeerError:
    return PeerError(f"A {type(message).__name__} message came where another was due.")
