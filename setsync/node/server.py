"""The responder of a session, and the listener that starts one for each connection.

A responder answers. It keeps of a session only what the protocol's state needs: which
collections it listed, how much it has answered, what it still has to send.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import trio

from setsync import limits
from setsync.errors import Abort, PeerError, PeerTimeoutError, SetsyncError
from setsync.node.access import Access
from setsync.node.connection import Connection
from setsync.node.greeting import Agreement, check_hello, hello
from setsync.node.local import Local
from setsync.node.payloads import (
    are_missing,
    ask_for_payloads,
    count_missing,
    may_have_some,
    note_answer,
    payload_takes,
)
from setsync.node.penalties import Penalties
from setsync.node.pushing import Pushing
from setsync.node.transfer import Incoming, Receiver, Take, next_ids, note_refused, send_entries
from setsync.reconcile.catalogue import Catalogue, NumberedViews
from setsync.reconcile.effort import Answering, answer_steps, told_bytes, want_steps
from setsync.reconcile.questions import WireAnswer, WireQuestion, from_wire
from setsync.reconcile.rounds import Views, answer
from setsync.reconcile.sketching import Held
from setsync.reconcile.view import ListView
from setsync.reconcile.wants import ALL, But, Wanted, WireWant, resolve
from setsync.session.session import Counters
from setsync.session.table import Role
from setsync.store.contract import Snapshot
from setsync.wire import messages as m

# A message of answers or of a listing is sent when it has grown to this.
_ANSWER_BYTES = 128 * limits.KIB
# Or when it has taken so many steps, some 60 ms, so that no snapshot lasts long.
_ANSWER_STEPS = 65_536
# What it takes to hash one collection of a long catalogue, and to sort it among the others.
_HASH_STEPS = 2


@dataclass
class Served:
    """What a responder can say of a session when it is over."""

    peer: str = ""
    state: str = "failed"
    reason: str = ""
    entries_sent: int = 0
    entries_received: int = 0
    new_entries: int = 0
    told: int = 0
    counters: Counters = field(default_factory=Counters)

    def count_sent(self, count: int) -> None:
        """So many more entries went out."""
        self.entries_sent += count

    def note_told(self, arrival: int) -> None:
        """The peer was sent, or has, all that had come here up to this arrival number."""
        self.told = arrival

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
    penalties: Penalties | None = None,
    address: str = "",
    on_let_in: Callable[[], None] = lambda: None,
) -> None:
    """Answer one session on a connected stream, which is closed afterwards.

    `peer` is the key that the other side has proven to hold, `address` where it comes from;
    `access` says whether we talk to it, `penalties` whether not now. `on_let_in` is called once
    we do, for who needs an invite when it has shown one; what it raises ends the session.

    Raises PeerError, StoreError; `served` then holds what was known until then.
    """
    served = served if served is not None else Served()
    connection = Connection(stream, Role.RESPONDER)
    served.counters = connection.session.counters
    guest = _Guest(peer, address, access, penalties, on_let_in)
    try:
        await connection.run(lambda _: _Responding(connection, local, served, guest).run())
        served.state = "done"
    except trio.Cancelled:
        served.state = "cancelled"
        raise
    except SetsyncError as error:
        served.reason = error.message
        guest.punish(error)
        raise


@dataclass(frozen=True, slots=True)
class _Guest:
    """Whoever is at the other end, and whether we talk to them."""

    key: bytes | None
    address: str
    access: Access | None
    penalties: Penalties | None
    on_let_in: Callable[[], None]

    async def arrive(self) -> bool:
        """Whether they are let in; if not, an invite may help. Waits for as long as they have
        to rest. Raises PeerRefusedError, NotListedError."""
        let_in = self.key is None or self.access is None or self.access.check(self.key)
        if let_in:
            self.on_let_in()
        if self.key is not None and self.penalties is not None:
            self.penalties.check(self.key, trio.current_time())
            await trio.sleep(self.penalties.begin(self.key, trio.current_time()))
        return let_in

    def redeem(self, invite: bytes) -> None:
        """Let them in by an invite. Waits for the disk. Raises InviteError and its kin."""
        assert self.key is not None
        assert self.access is not None
        self.access.redeem(self.key, invite, self.address)

    def punish(self, error: SetsyncError) -> None:
        """Who breaks the protocol, or sends what is not valid, is refused for a while."""
        if self.key is None or self.penalties is None or not isinstance(error, PeerError):
            return
        if error.abort in (Abort.PROTOCOL, Abort.TOO_LARGE) and not error.was_told:
            self.penalties.punish(self.key, error.message, trio.current_time())


class _Responding:
    def __init__(self, connection: Connection, local: Local, served: Served, guest: _Guest) -> None:
        self._connection = connection
        self._local = local
        self._served = served
        self._guest = guest
        self._agreement: Agreement
        self._receiver: Receiver
        self._began = 0
        self._compared = 0
        self._turn = -1
        self._key = b""
        self._names: list[str] = []
        self._collections = 0
        self._long: _LongCatalogue | None = None
        self._held = Held()
        self._effort = Answering()
        self._sent_entries = 0
        self._may_be_refused = 0
        self._compares_until = math.inf
        self._exchanged = False

    async def run(self) -> None:
        """Greet, then answer until the initiator is done."""
        await self._greet()
        while True:
            message = await self._next()
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
                case m.WantPayloads():
                    await self._exchange_payloads(message)
                case m.Live():
                    await self._stay()
                    return
                case m.Done():
                    return
                case _:
                    raise _unexpected(message)

    async def _next(self) -> m.Message:
        """What the initiator says next. Raises PeerTimeoutError when a pass compares too long."""
        left = self._compares_until - trio.current_time()
        if left <= 0:
            raise PeerTimeoutError(
                f"Comparing did not end within {limits.COMPARING_SECONDS / 60:.0f} minutes."
            )
        return await self._connection.receive(min(limits.IDLE_TIMEOUT, left))

    async def _stay(self) -> None:
        """Both sides send what is new, until the initiator has enough."""
        pushing = Pushing(
            self._connection,
            self._local,
            self._agreement.initiator.node,
            self._receiver,
            self._agreement.responder.max_payload,
            self._agreement.is_mutual,
            self._compared,
            self._served.count_sent,
            self._served.count_received,
            on_told=self._served.note_told,
        )
        self._compares_until = math.inf
        await pushing.run()

    async def _greet(self) -> None:
        key = self._guest.key
        self._served.peer = key.hex() if key is not None else ""
        let_in = await self._guest.arrive()
        theirs = await self._connection.receive(limits.HELLO_TIMEOUT)
        if not isinstance(theirs, m.Hello):
            raise _unexpected(theirs)
        check_hello(theirs, key)
        if not let_in:
            await self._local.offload(self._guest.redeem, theirs.invite)
            self._guest.on_let_in()
        self._began, wants = await self._local.offload(self._before)
        mine = hello(
            self._local,
            self._local.interests,
            m.BOTH,
            peer=key,
            wants_payloads=wants,
        )
        self._agreement = Agreement.of(theirs, mine)
        self._receiver = Receiver.of(theirs)
        self._key = self._agreement.key(0)
        self._served.peer = theirs.node.hex()
        await self._connection.send(mine)

    def _before(self) -> tuple[int, bool]:
        """The last arrival before the session, and whether payloads are missing."""
        with self._local.store.snapshot() as snapshot:
            return snapshot.last_arrival, are_missing(snapshot)

    def _read_catalogue(self) -> Catalogue:
        with self._local.store.snapshot() as snapshot:
            self._compared = snapshot.last_arrival
            return self._agreement.catalogue(snapshot)

    def _read_digest(self) -> tuple[Catalogue, bytes]:
        catalogue = self._read_catalogue()
        return catalogue, catalogue.digest(self._key)

    # --- comparing ------------------------------------------------------------------------

    async def _compare_catalogue(self, message: m.Catalog) -> None:
        """A new pass begins: the same, or the list of what is here."""
        self._turn += 1
        self._compares_until = trio.current_time() + limits.COMPARING_SECONDS
        self._held, self._long = Held(), None
        if self._turn > limits.MAX_PASSES:
            raise PeerError(f"A session has at most {limits.MAX_PASSES + 1} passes.")
        self._key = self._agreement.key(self._turn)
        catalogue, digest = await self._local.offload(self._read_digest)
        self._sent_entries = 0
        self._collections = len(catalogue.collections)
        if digest[:16] == message.digest:
            self._served.note_told(self._compared)
            await self._connection.send(m.Same())
            return
        if self._collections > limits.LISTED_COLLECTIONS:
            self._long = await self._local.look_up(self._as_set, catalogue)
            await self._connection.send(m.Many(self._collections))
            return
        await self._list(catalogue)

    def _as_set(self, catalogue: Catalogue) -> _LongCatalogue:
        self._charge_long(catalogue, _HASH_STEPS * self._collections)
        return _LongCatalogue.of(catalogue, self._key)

    def _charge_long(self, catalogue: Catalogue, steps: int) -> None:
        """Count what reading a long catalogue took: a list is read whole, each time."""
        self._effort.charge(steps, 0, catalogue.entry_count, self._collections)

    async def _list(self, catalogue: Catalogue) -> None:
        """From here on, a collection's number is its place in this list."""
        self._names = [name for name, _ in catalogue.collections]
        messages = await self._local.look_up(_list_messages, catalogue, self._key)
        while messages:
            await self._connection.send(messages.pop(0))

    async def _list_named(self, items: Sequence[WireWant]) -> None:
        """The collections behind the hashes that the initiator lacks."""
        part: Catalogue = await self._local.look_up(self._named, items)
        self._held, self._long = Held(), None
        await self._list(part)

    def _named(self, items: Sequence[WireWant]) -> Catalogue:
        long = self._long
        assert long is not None, "the table of states lets them be asked about after MANY only"
        places: set[int] = set()
        for item in items:
            try:
                wanted = Wanted.from_wire(item)
            except ValueError as error:
                raise PeerError(f"What is wanted cannot be understood: {error}") from error
            prefix, is_all = wanted.range.prefix, wanted.kind == ALL
            searched = long.view.count(prefix)
            self._charge_long(long.catalogue, searched + want_steps(wanted, searched))
            rows = long.view.ids(prefix) if is_all else resolve(wanted, long.view, self._key)
            places |= {long.places[row.tobytes()] for row in rows}
        return long.catalogue.part(places)

    async def _answer(self, items: Sequence[WireQuestion]) -> None:
        """Answer in as many messages as the answers need, each from one snapshot."""
        done = 0
        while done < len(items):
            answers, done = await self._local.look_up(self._look_up, items, done)
            await self._connection.send(m.Answers(tuple(answers)))

    def _look_up(self, items: Sequence[WireQuestion], start: int) -> tuple[list[WireAnswer], int]:
        answers: list[WireAnswer] = []
        size = steps = 0
        with self._local.store.snapshot() as snapshot:
            long = self._long
            views: Views = NumberedViews(self._names, snapshot.view)
            if long is not None:
                views = {0: long.view}
            for item in items[start:]:
                encoded = self._held.encoded
                try:
                    question = from_wire(item)
                    found = answer(question, views, self._key, self._held)
                except (ValueError, KeyError) as error:
                    raise PeerError(f"A question cannot be understood: {error}") from error
                answers.append(found.to_wire())
                size += told_bytes(found)
                steps += answer_steps(question, found, self._held.encoded - encoded)
                steps += long.view.count(question.range.prefix) if long is not None else 0
                if size >= _ANSWER_BYTES or steps >= _ANSWER_STEPS:
                    break
            self._charge(steps, size, snapshot)
        return answers, start + len(answers)

    def _charge(self, steps: int, told: int, snapshot: Snapshot) -> None:
        """Count what this session asked for. The set is as large as it is by now, not as it was
        when the session began; and nobody lacks an entry twice. Raises PeerError."""
        self._effort.charge(steps, told, snapshot.entry_count, self._collections)
        if self._sent_entries > snapshot.entry_count:
            raise PeerError("More was asked about the sets than they hold.", Abort.TOO_LARGE)

    async def _tell_ids(self, items: Sequence[WireWant]) -> None:
        """The whole ids behind labels or ranges, and how many are newer than the session."""
        for item in items:
            take: Take = await self._local.look_up(self._understand, item)
            after = b""
            while True:
                ids, newer = await self._local.look_up(self._some_ids, take, after)
                if not ids:
                    break
                after = ids[-1]
                await self._connection.send(m.Ids(((item[0], b"".join(ids), newer),), 1))
        await self._connection.send(m.Ids((), 0))

    def _some_ids(self, take: Take, after: bytes) -> tuple[list[bytes], int]:
        with self._local.store.snapshot() as snapshot:
            ids = next_ids(snapshot, take, after)
            self._charge(len(ids), 32 * len(ids), snapshot)
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
            searched = view.summary(prefix).count if view is not None else 0
            self._charge(want_steps(wanted, searched), 0, snapshot)
            if wanted.kind == ALL:
                return Take(name, None, prefix, is_asked_for=True)
            if wanted.is_all_but:
                return Take(name, None, prefix, But.of(wanted, self._key), is_asked_for=True)
            ids = resolve(wanted, view, self._key) if view is not None else ()
        return Take(name, sorted({row.tobytes() for row in ids}), prefix, is_asked_for=True)

    # --- moving entries -------------------------------------------------------------------

    async def _transfer(self, totals: m.Totals) -> None:
        """Both directions at once, until the initiator closes the pass."""
        wants, wanted = trio.open_memory_channel[m.Want](limits.WANTS_UNDER_WAY)
        await self._move(bool(totals.sending), lambda: self._serve_wants(wanted), wants)

    async def _exchange_payloads(self, asked: m.WantPayloads) -> None:
        """Send payloads that are missing there, and ask for those that are missing here."""
        if self._exchanged:
            raise PeerError("Payloads were asked for twice in one session.")
        self._exchanged = True
        direction, is_mutual = self._agreement.initiator.direction, self._agreement.is_mutual
        takes = await self._local.offload(payload_takes, self._local, asked, is_mutual)
        mine, peer = m.WantPayloads(()), self._agreement.initiator.node
        if direction != m.PULL and may_have_some(self._local, peer):
            most = self._agreement.responder.max_payload
            mine = await self._local.offload(ask_for_payloads, self._local, is_mutual, most)
        await self._connection.send(mine)
        before, compared = await self._local.offload(count_missing, self._local), self._compared
        await self._move(bool(mine.items), lambda: self._send_all(takes))
        # The digests at its end decide nothing, so what has arrived meanwhile is news yet.
        self._compared = compared
        now = await self._local.offload(count_missing, self._local)
        note_answer(self._local, peer, mine, helped=now < before)

    async def _move(
        self,
        may_come: bool,
        send: Callable[[], Awaitable[None]],
        wants: trio.MemorySendChannel[m.Want] | None = None,
    ) -> None:
        """Send and receive until the initiator closes."""
        self._compares_until = math.inf
        self._all_sent = False
        incoming = Incoming(
            self._connection,
            self._local,
            self._agreement.initiator.node,
            self._agreement.responder.max_payload,
            lambda name: may_come and self._agreement.is_mutual(name),
            lambda _: None,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(incoming.run)
            nursery.start_soon(send)
            await self._until_closed(incoming, wants)
            nursery.cancel_scope.cancel()
        self._served.entries_received += incoming.committed - incoming.refused
        self._served.new_entries += incoming.new

    async def _until_closed(
        self, incoming: Incoming, wants: trio.MemorySendChannel[m.Want] | None
    ) -> None:
        while True:
            message = await self._connection.receive(limits.IDLE_TIMEOUT)
            match message:
                case m.Want() if wants is not None:
                    await self._pass_on(wants, message)
                case m.Entries() | m.Piece() | m.Packed():
                    await incoming.take(message)
                case m.Sent():
                    await incoming.finish()
                case m.Refused():
                    peer, sent = self._agreement.initiator.node, self._may_be_refused
                    refused = await note_refused(self._local, peer, message, sent)
                    self._may_be_refused -= refused
                case m.Committed():
                    pass
                case m.Close():
                    if not self._all_sent:
                        raise PeerError("The session was closed before its entries were here.")
                    await incoming.finish()
                    _, digest = await self._local.offload(self._read_digest)
                    if digest == message.digest:
                        self._served.note_told(self._compared)
                    await self._connection.send(m.Closed(digest))
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
        async with wanted:
            async for message in wanted:
                for item in message.items:
                    await self._send(await self._local.look_up(self._understand, item))
            await self._say_sent()

    async def _send_all(self, takes: Sequence[Take]) -> None:
        for take in takes:
            await self._send(take)
        await self._say_sent()

    async def _send(self, take: Take) -> None:
        await send_entries(self._connection, self._local, take, self._receiver, self._count_sent)

    async def _say_sent(self) -> None:
        self._all_sent = True
        await self._connection.send(m.Sent())

    def _count_sent(self, _: str, count: int) -> None:
        self._served.entries_sent += count
        self._sent_entries += count
        self._may_be_refused += count


@dataclass(frozen=True, slots=True)
class _LongCatalogue:
    """A catalogue as the set of its hashes, which is made once and then asked about."""

    catalogue: Catalogue
    places: dict[bytes, int]
    view: ListView

    @classmethod
    def of(cls, catalogue: Catalogue, key: bytes) -> _LongCatalogue:
        """Hashed under the key of a pass."""
        places = catalogue.hashes(key)
        return cls(catalogue, places, ListView(list(places)))


def _list_messages(catalogue: Catalogue, key: bytes) -> list[m.Listing | m.Listed]:
    """What tells a catalogue."""
    messages: list[m.Listing | m.Listed] = []
    part: list[tuple[str, int, bytes]] = []
    size = 0
    for item in catalogue.listing(key):
        part.append(item)
        size += len(item[0].encode()) + 32
        if size >= _ANSWER_BYTES or len(part) == limits.MAX_ARRAY:
            messages.append(m.Listing(tuple(part)))
            part, size = [], 0
    return [*messages, m.Listed(tuple(part))]


def _unexpected(message: object) -> PeerError:
    return PeerError(f"A {type(message).__name__} message came where another was due.")
