"""Payloads that are missing come from whoever has them, and those that were dropped stay away."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from setsync import limits
from setsync.errors import PeerError
from setsync.model.entry import Entry
from setsync.node.client import Options, run_initiator
from setsync.node.local import Local
from setsync.node.report import Report
from setsync.node.server import run_responder
from setsync.store.contract import EntryStore
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.helpers import entries, withheld
from tests.node.ends import (
    HELLO,
    NODES,
    Peer,
    Side,
    face_responder,
    opened,
    roots,
    simulate,
    sync_in_memory,
)

SOME = entries(30)


def _store(whole: Container[Entry], bare: Container[Entry] = ()) -> MemoryStore:
    store = MemoryStore(leaf_capacity=4)
    for entry in SOME:
        if entry in whole:
            store.add_many([entry])
        elif entry in bare:
            store.add_many([withheld(entry)])
    return store


def _with_payloads(store: EntryStore) -> set[bytes]:
    with store.snapshot() as snapshot:
        return {entry.id for entry in snapshot.since(0, 1_000) if entry.payload is not None}


def _ids(some: Iterable[Entry]) -> set[bytes]:
    return {entry.id for entry in some}


@contextlib.asynccontextmanager
async def two_nodes(
    here: EntryStore, there: EntryStore
) -> AsyncIterator[tuple[Local, Callable[[], Awaitable[Report]]]]:
    """Two nodes that go on from session to session; the second value runs one."""
    async with opened(Side(here), NODES[0]) as local, opened(Side(there), NODES[1]) as remote:

        async def session() -> Report:
            near, far = trio.testing.memory_stream_pair()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run_responder, far, remote)
                return await run_initiator(near, local, Options())
            raise AssertionError("unreachable")

        yield local, session


@pytest.mark.parametrize("who", ["initiator", "responder"])
def test_a_payload_that_is_missing_is_fetched_although_the_sets_are_equal(who: str) -> None:
    whole, bare = _store(SOME), _store((), SOME)
    assert roots(whole) == roots(bare)
    met = sync_in_memory(*((bare, whole) if who == "initiator" else (whole, bare)))
    assert _with_payloads(bare) == _ids(SOME)
    assert met.report.in_sync
    assert met.report.payloads_received == (30 if who == "initiator" else 0)


_parts = st.lists(st.sampled_from(SOME), unique_by=lambda e: e.id)


@settings(max_examples=100, deadline=None)
@given(_parts, _parts, _parts, _parts)
def test_each_side_ends_with_every_payload_that_either_had(
    whole: list[Entry], bare: list[Entry], their_whole: list[Entry], their_bare: list[Entry]
) -> None:
    here, there = _store(whole, bare), _store(their_whole, their_bare)
    had = _with_payloads(here) | _with_payloads(there)
    sync_in_memory(here, there)
    sync_in_memory(here, there)
    assert roots(here) == roots(there)
    assert _with_payloads(here) == _with_payloads(there) == had


def test_who_has_none_does_not_keep_another_from_being_asked() -> None:
    bare, also_bare, whole = _store((), SOME), _store((), SOME), _store(SOME)
    sync_in_memory(bare, also_bare)
    assert not _with_payloads(bare)
    sync_in_memory(bare, whole)
    assert _with_payloads(bare) == _ids(SOME)


def test_what_was_missing_is_asked_for_after_a_restart(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", leaf_capacity=4) as store:
        store.add_many([withheld(entry) for entry in SOME])
    with Store.open(tmp_path / "store", leaf_capacity=4) as store:
        sync_in_memory(store, _store(SOME))
        assert _with_payloads(store) == _ids(SOME)


def test_what_was_dropped_is_not_fetched_again_until_it_is_wanted_again() -> None:
    here, there = _store(SOME), _store(SOME)
    dropped = SOME[3]
    here.drop_payload(dropped.collection, dropped.id)
    met = sync_in_memory(here, there)
    assert (met.report.in_sync, met.report.payloads_received) == (True, 0)
    assert _with_payloads(here) == _ids(SOME) - {dropped.id}
    here.restore_payload(dropped.collection, dropped.id)
    sync_in_memory(here, there)
    assert _with_payloads(here) == _ids(SOME)


def test_a_payload_larger_than_this_node_takes_is_not_asked_for() -> None:
    bare = Side(_store((), SOME), max_payload=4)
    met = sync_in_memory(bare, _store(SOME))
    assert met.report.counters.sent["entries"] == 0
    assert not _with_payloads(bare.store)


@pytest.mark.parametrize(("direction", "fetched"), [(m.PUSH, 0), (m.PULL, 30)])
def test_payloads_go_the_way_the_session_goes(direction: int, fetched: int) -> None:
    bare, whole = _store((), SOME), _store(SOME)
    sync_in_memory(bare, whole, Options(direction=direction))
    assert len(_with_payloads(bare)) == fetched
    bare = _store((), SOME)
    sync_in_memory(whole, bare, Options(direction=direction))
    assert len(_with_payloads(bare)) == 30 - fetched


def test_sessions_take_turns_through_more_than_one_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that nobody has do not stand before the others for ever."""
    monkeypatch.setattr("setsync.node.payloads.MAX_WANTED_PAYLOADS", 8)
    bare, whole = _store((), SOME), _store(SOME[20:], SOME[:20])

    async def main() -> None:
        async with two_nodes(bare, whole) as (local, session):
            for _ in range(4):
                await session()
                local.asked_in_vain.clear()

    simulate(main)
    assert _with_payloads(bare) == _ids(SOME[20:])


def test_who_had_none_is_not_asked_again_for_an_hour() -> None:
    bare, also_bare = _store((), SOME), _store((), SOME)
    asked: list[int] = []

    async def main() -> None:
        async with two_nodes(bare, also_bare) as (_, session):
            for pause in (0, 1, limits.ASK_AGAIN_SECONDS):
                await trio.sleep(pause)
                asked.append((await session()).counters.sent["entries"])

    simulate(main)
    assert asked[1] < 30 < asked[0] == asked[2]


# --- who asks for what --------------------------------------------------------------------


_SHORT_IDS = b"".join(at.to_bytes(8) for at in range(limits.MAX_WANTED_PAYLOADS))


@pytest.mark.parametrize(
    "items",
    [
        (("notes", bytes(9)),),
        (("private/one", bytes(8)),),
        (("notes", SOME[0].id[:8]),) * 2,
        (("notes", SOME[0].id[:8] * 2),),
        (("notes", _SHORT_IDS), ("notes/other", bytes(8))),
    ],
    ids=["cut", "not shared", "a collection twice", "an id twice", "too many in all"],
)
def test_only_lists_of_what_is_shared_are_answered(items: tuple[tuple[str, bytes], ...]) -> None:
    async def script(peer: Peer) -> None:
        await peer.say(HELLO)
        await peer.hear_a(m.Hello)
        await peer.say(m.WantPayloads(items))
        await peer.hear_a(m.AbortMessage)

    faced = face_responder(Side(_store(SOME), interests=("notes/**",)), script)
    assert isinstance(faced.error, PeerError)
    assert "are wanted" in faced.error.message


def test_as_many_payloads_as_a_session_may_ask_for_are_looked_up() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(HELLO)
        await peer.hear_a(m.Hello)
        await peer.say(m.WantPayloads((("notes", SOME[0].id[:8] + _SHORT_IDS[8:]),)))
        await peer.hear_a(m.Sent)
        await peer.say(m.Sent(), m.Close(bytes(32)))
        await peer.hear_a(m.Closed)
        await peer.say(m.Done())

    faced = face_responder(_store(SOME), script)
    assert (faced.error, faced.served.entries_sent) == (None, 1)


def test_entries_whose_ids_begin_alike_are_asked_for_by_one_short_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An author can make two such; whoever misses both has done nothing wrong."""
    monkeypatch.setattr("setsync.node.payloads._SHORT", 1)
    alike = entries(100)
    beginnings = {entry.id[0] for entry in alike}
    bare, whole = MemoryStore(), MemoryStore()
    bare.add_many([withheld(entry) for entry in alike])
    whole.add_many(alike)
    sync_in_memory(bare, whole)
    assert len(_with_payloads(bare)) == len(beginnings) < 100


def test_payloads_are_asked_for_once_in_a_session() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(HELLO)
        await peer.hear_a(m.Hello)
        await peer.say(m.WantPayloads(()))
        await peer.hear_a(m.Sent)
        await peer.say(m.Sent(), m.Close(bytes(32)))
        await peer.hear_a(m.Closed)
        await peer.say(m.WantPayloads(()))
        await peer.hear_a(m.AbortMessage)

    faced = face_responder(_store(SOME), script)
    assert "twice in one session" in str(faced.error)
