"""Many honest peers at one node at the same time, over the secure channel and real sockets."""

from __future__ import annotations

import contextlib
import functools
import resource
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from setsync import limits
from setsync.errors import PeerError
from setsync.model.entry import Entry
from setsync.node.channel import dial
from setsync.node.client import Options, run_initiator
from setsync.node.door import Door, Rules
from setsync.node.identity import Identity
from setsync.node.listening import listen
from setsync.node.server import Served
from setsync.reconcile.view import ListView
from setsync.store.contract import EntryStore
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.helpers import entries, keys
from tests.node.alone import Alone
from tests.node.ends import HELLO, Peer, Side, opened, roots
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


# --- against a node in a process of its own ----------------------------------------------


async def _is_idle(port: int, number: int, is_here: trio.Event, may_go: trio.Event) -> None:
    """A peer that has said hello and heard the listing, and has nothing to ask."""
    [secret] = keys(1, seed=5_000 + number)
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    channel = await dial(stream, Identity.of(secret), ANNA.public)
    peer = Peer(channel.stream)
    await peer.say(replace(HELLO, node=secret.public))
    await peer.hear_a(m.Hello)
    await peer.say(m.Catalog(bytes(16)))
    await peer.hear_a(m.Listed)
    is_here.set()
    await may_go.wait()
    await trio.aclose_forcefully(channel.stream)


async def _memory_of_idle(node: Alone, number: int) -> int:
    """Bytes that each of so many idle peers costs the node."""
    before = node.ask("figures")["anonymous"]
    may_go = trio.Event()
    async with trio.open_nursery() as nursery:
        for at in range(number):
            is_here = trio.Event()
            nursery.start_soon(_is_idle, node.port, at, is_here, may_go)
            await is_here.wait()
        told = node.ask("figures")
        may_go.set()
    assert told["through"] == number
    return (int(told["anonymous"]) - int(before)) // number


async def _come(port: int, number: int, store: EntryStore, direction: int, first: _Barrier) -> int:
    """Sessions until the sets are equal; how many it took. Whose batch is not taken within a
    minute is let go, and goes on where it was when it comes again."""
    [secret] = keys(1, seed=1_000 + number)
    options = Options(direction=direction)
    for tries in range(1, 10):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        channel = await dial(stream, Identity.of(secret), ANNA.public)
        if tries == 1:
            await first.wait()
        async with opened(Side(store), secret.public) as local:
            with contextlib.suppress(PeerError):
                report = await run_initiator(channel.stream, local, options, peer=channel.peer)
                if report.in_sync:
                    return tries
        await trio.sleep(number % 10)
    raise AssertionError(f"Peer {number} was not done after so many sessions.")


async def _all_come(node: Alone, stores: list[MemoryStore]) -> list[int]:
    """All push at once. Sessions that each took."""
    tries: list[int] = []
    first = _Barrier(len(stores))

    async def come(at: int) -> None:
        tries.append(await _come(node.port, at, stores[at], m.PUSH, first))

    async with trio.open_nursery() as nursery:
        for at in range(len(stores)):
            nursery.start_soon(come, at)
    return tries


async def _tasks_when_empty(node: Alone) -> int:
    """How many the node has when nobody has been there for a moment."""
    with trio.fail_after(60):
        while node.ask("figures")["through"]:  # noqa: ASYNC110
            await trio.sleep(0.5)
    await trio.sleep(limits.SHUTDOWN_GRACE + 1)
    return int(node.ask("figures")["tasks"])


async def _until_empty(node: Alone, tasks: int) -> None:
    """Until nobody is there and so many tasks are left, or else it fails."""
    with trio.fail_after(60):
        while node.ask("figures")["through"]:  # noqa: ASYNC110
            await trio.sleep(0.5)
        while node.ask("figures")["tasks"] != tasks:  # noqa: ASYNC110
            await trio.sleep(0.5)


async def _many_at_one(node: Alone, peers: int, each: int, folder: Path) -> None:
    await _memory_of_idle(node, 5)  # what only the first ones cost
    base = await _tasks_when_empty(node)
    idle = await _memory_of_idle(node, peers)
    await _until_empty(node, base)
    print(f"{peers} idle peers: {idle / limits.KIB:.1f} KiB each")
    assert idle <= 64 * limits.KIB
    common = entries.__wrapped__(each // 5)
    own = each - len(common)
    shares = (entries.__wrapped__(own, seed=1 + at) for at in range(peers))
    stores = [_store(common, share) for share in shares]
    started = trio.current_time()
    tries = await _all_come(node, stores)
    took = trio.current_time() - started
    told = node.ask("figures")
    print(
        f"{len(common) + peers * own} entries of {peers} peers in {took:.0f} s; sessions: "
        f"{Counter(tries)}; {told['anonymous'] / limits.MIB:.0f} MiB; "
        f"event loop late by {1000 * told['late_p99']:.0f} ms at p99; {told['reasons']}"
    )
    await _until_empty(node, base)
    ids = {id_ for store in stores for id_ in store._members["notes"]}
    assert len(ids) == len(common) + peers * own
    expected = repr([("notes", ListView(list(ids)).summary(""))])
    assert node.ask("roots")["roots"] == expected
    with Store.open(folder) as store:
        started = trio.current_time()
        tries = [await _come(node.port, 900, store, m.PULL, _Barrier(1))]
        print(f"pulled by one in {trio.current_time() - started:.0f} s, sessions: {tries}")
        assert repr(roots(store)) == expected
    await _until_empty(node, base)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / limits.KIB
    print(f"the peers' own process: {peak:.0f} MiB")


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_two_hundred_peers_of_ten_thousand_entries_become_equal_and_leave_nothing_behind(
    tmp_path: Path,
) -> None:
    """A fifth of what each has is everybody's. An idle one costs the node 64 KiB at most."""
    with Alone(tmp_path / "store") as node:
        trio.run(functools.partial(_many_at_one, node, 200, 10_000, tmp_path / "puller"))
