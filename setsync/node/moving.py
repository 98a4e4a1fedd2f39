"""The initiator's part in moving entries: both directions at once, until both sides have them.

It ends when the other side has sent all, and has acknowledged all of ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from setsync import limits
from setsync.errors import PeerError
from setsync.node.comparing import Pass
from setsync.node.greeting import WANTS_PAYLOADS
from setsync.node.payloads import (
    ask_for_payloads,
    count_missing,
    may_have_some,
    note_answer,
    payload_takes,
)
from setsync.node.talk import Talk, unexpected
from setsync.node.transfer import Incoming, Receiver, Take, note_refused, send_entries
from setsync.reconcile.wants import Wanted, in_messages, items_of
from setsync.wire import messages as m


async def transfer(talk: Talk, now: Pass) -> None:
    """Move what was found to differ, as far as the session's direction goes."""
    takes = now.takes() if talk.options.direction != m.PULL else []
    wanted = now.wants() if talk.options.direction != m.PUSH else []
    sending = now.missing_there if takes else 0
    wanting = now.missing_here if wanted else 0
    talk.show_more_to_move(sending + wanting)
    await talk.connection.send(m.Totals(sending, wanting))
    await _Moving(talk).run(takes, wanted, may_come=bool(wanted))


async def exchange_payloads(talk: Talk) -> bool:
    """Ask for payloads that are missing here, and send those that are missing there.

    False when neither side misses any, and nothing was said. Raises PeerError.
    """
    local, direction = talk.local, talk.options.direction
    is_mutual, most = talk.agreement.is_mutual, talk.agreement.initiator.max_payload
    asked = m.WantPayloads(())
    if direction != m.PUSH and may_have_some(local, talk.peer):
        asked = await local.offload(ask_for_payloads, local, is_mutual, most)
    they_ask = WANTS_PAYLOADS in talk.theirs.features and direction != m.PULL
    if not asked.items and not they_ask:
        return False
    talk.show("transferring")
    await talk.connection.send(asked)
    wanted = await talk.expect(m.WantPayloads)
    if wanted.items and direction == m.PULL:
        raise PeerError("Payloads were asked for in a session that only receives.")
    takes = await local.offload(payload_takes, local, wanted, is_mutual)
    before = await local.offload(count_missing, local)
    came = await _Moving(talk).run(takes, None, may_come=bool(asked.items))
    now = await local.offload(count_missing, local)
    note_answer(local, talk.peer, asked, helped=now < before)
    talk.report.payloads_received += came
    return True


class _Moving:
    """One transfer."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._all_sent = self._they_sent = False
        self._sent = self._acknowledged = self._refused = 0
        self._scope = trio.CancelScope()

    async def run(
        self, takes: Sequence[Take], wanted: Sequence[Wanted] | None, *, may_come: bool
    ) -> int:
        """Send `takes`, ask for what is `wanted` (None: nobody is asked) and receive, until both
        sides have committed it all; how many came and were kept."""
        talk = self._talk
        incoming = Incoming(
            talk.connection,
            talk.local,
            talk.peer,
            talk.agreement.initiator.max_payload,
            lambda name: may_come and talk.agreement.is_mutual(name),
            talk.show_moved,
        )
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            nursery.start_soon(incoming.run)
            if wanted is not None:
                nursery.start_soon(self._want, wanted, incoming)
            nursery.start_soon(self._push, takes)
            await self._take_in(incoming)
        received = incoming.committed - incoming.refused
        talk.report.entries_received += received
        return received

    async def _want(self, wanted: Sequence[Wanted], incoming: Incoming) -> None:
        """Ask for what we lack, never much more than what is being served: a want that has to
        wait at the other side would hold up the entries behind it."""
        messages = in_messages(wanted) or [[]]
        expected = [sum(want.count for want in part) for part in messages]
        for at, part in enumerate(messages):
            served = max(0, at + 1 - limits.WANTS_UNDER_WAY)
            await incoming.until_taken(sum(expected[:served]))
            more = int(at + 1 < len(messages))
            await self._talk.connection.send(m.Want(items_of(part), more))

    async def _push(self, takes: Sequence[Take]) -> None:
        """Send what they lack."""
        talk = self._talk
        receiver = Receiver.of(talk.agreement.responder)
        for take in takes:
            await send_entries(talk.connection, talk.local, take, receiver, self._count_sent)
        await talk.connection.send(m.Sent())
        self._all_sent = True
        self._end_if_all_moved()

    def _count_sent(self, collection: str, count: int) -> None:
        self._talk.report.entries_sent += count
        self._sent += count
        self._talk.show_moved(count, collection)

    async def _take_in(self, incoming: Incoming) -> None:
        """Take what comes, until cancelled because nothing more has to move."""
        while True:
            message = await self._talk.connection.receive(limits.IDLE_TIMEOUT)
            match message:
                case m.Entries() | m.Piece() | m.Packed():
                    await incoming.take(message)
                case m.Committed(count):
                    self._acknowledged = count
                case m.Refused():
                    await self._take_refused(message)
                case m.Sent():
                    await incoming.finish()
                    self._they_sent = True
                case _:
                    raise unexpected(message)
            self._end_if_all_moved()

    async def _take_refused(self, message: m.Refused) -> None:
        left = self._sent - self._refused
        self._refused += await note_refused(self._talk.local, self._talk.peer, message, left)

    def _end_if_all_moved(self) -> None:
        """They have sent all, and acknowledged all of ours. Whichever is last looks here: the
        last acknowledgement may come before our own SENT is on its way."""
        if self._they_sent and self._all_sent and self._acknowledged >= self._sent:
            self._scope.cancel()
