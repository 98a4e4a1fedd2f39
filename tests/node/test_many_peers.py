"""Many honest peers at one node at the same time, over the secure channel and real sockets."""

from __future__ import annotations

import functools
from functools import partial

import pytest
import trio
import trio.testing

from setsync.model.entry import Entry
from setsync.node.channel import dial
from setsync.node.client import Options, run_initiator
from setsync.node.door import Door, Rules
from setsync.node.identity import Identity
from setsync.node.listening import listen
from setsync.node.server import Served
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.helpers import entries, keys
from tests.node.ends import Side, opened, roots
from tests.node.impostors import ANNA

ROOM = Rules(connections=1_000, pending=1_000, rate=10_000)


def _shares(peers: int, each: int) -> list[tuple[Entry, ...]]:
    """What each peer holds: a fifth is everybody's, the rest its own."""
    common = each // 5
    made = entries(common + peers * (each - common))
    own = each - common
    return [
        made[:common] + made[common + at * own : common + (at + 1) * own] for at in range(peers)
    ]


def _store(*batches: tuple[Entry, ...]) -> MemoryStore:
    store = MemoryStore()
    for batch in batches:
        store.add_many(batch)
    return store


class _Barrier:
    """Lets everybody go on when so many have come."""

    def __init__(self, number: int) -> None:
        self._missing = number
        self._all_here = trio.Event()

    async def wait(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._all_here.set()
        await self._all_here.wait()


async def _visit(
    port: int, number: int, store: MemoryStore, direction: int, all_here: _Barrier
) -> None:
    """All shake hands before anybody says a word, so that all sessions are under way at once."""
    [secret] = keys(1, seed=1_000 + number)
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    channel = await dial(stream, Identity.of(secret), ANNA.public)
    await all_here.wait()
    async with opened(Side(store), secret.public) as local:
        options = Options(direction=direction)
        report = await run_initiator(channel.stream, local, options, peer=channel.peer)
    assert report.in_sync


async def _all_at_once(peers: int, each: int, back: int) -> None:
    """All peers push at once; then the first `back` of them pull at once, and are equal."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1_024)
    port = listeners[0].socket.getsockname()[1]
    shares = _shares(peers, each)
    stores = [_store(share) for share in shares]
    here = MemoryStore()
    told, endings = trio.open_memory_channel[Served](10_000)
    door = Door(ROOM)
    async with opened(Side(here), ANNA.public) as local, trio.open_nursery() as nursery:
        me = Identity.of(ANNA)
        nursery.start_soon(
            partial(listen, local, listeners, told.send_nowait, me, door=door),
        )
        await trio.testing.wait_all_tasks_blocked()
        base = trio.lowlevel.current_statistics().tasks_living
        for number, direction in ((peers, m.PUSH), (back, m.PULL)):
            all_here = _Barrier(number)
            async with trio.open_nursery() as visits:
                for at in range(number):
                    visits.start_soon(_visit, port, at, stores[at], direction, all_here)
            for _ in range(number):
                assert (await endings.receive()).state == "done"
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == base
        assert (door.pending, door.through) == (0, 0)
        nursery.cancel_scope.cancel()
    expected = roots(_store(*shares))
    assert roots(here) == expected
    assert all(roots(store) == expected for store in stores[:back])


def test_eight_peers_at_once_become_equal_and_leave_nothing_behind() -> None:
    trio.run(functools.partial(_all_at_once, 8, 200, 8))


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_two_hundred_peers_at_once_become_equal_and_leave_nothing_behind() -> None:
    trio.run(functools.partial(_all_at_once, 200, 500, 2))
