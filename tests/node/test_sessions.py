"""Two honest ends joined in memory: whatever they hold, they end equal, in the right order."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from setsync import limits
from setsync.errors import Abort, InvalidNameError, PeerGoneError, SetsyncError, StoreFullError
from setsync.model.collection import Pattern, is_system
from setsync.model.entry import Entry, make_entry
from setsync.node.client import Options, run_initiator
from setsync.node.listening import listen
from setsync.node.progress import Progress
from setsync.node.server import Served, run_responder
from setsync.reconcile import rounds
from setsync.store.contract import Added, EntryStore
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.helpers import MIDNIGHT, entries, keys, some_bytes, withheld
from tests.node.ends import (
    HELLO,
    NODES,
    Met,
    Peer,
    Side,
    arrivals,
    meet,
    members,
    opened,
    roots,
    signed_pool,
    simulate,
    sync_in_memory,
)

_subsets = st.lists(st.sampled_from(signed_pool()), unique_by=lambda e: e.id, max_size=50)


def _store(*batches: tuple[Entry, ...] | list[Entry]) -> MemoryStore:
    store = MemoryStore(leaf_capacity=4)
    for batch in batches:
        store.add_many(batch)
    return store


# --- equal --------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(_subsets, _subsets)
def test_any_two_sets_become_equal(mine: list[Entry], theirs: list[Entry]) -> None:
    here, there = _store(mine), _store(theirs)
    before = members(here), members(there)
    met = sync_in_memory(here, there)
    assert roots(here) == roots(there)
    assert members(here) == before[0] | before[1]
    report = met.report
    assert (report.in_sync, report.newer) == (True, 0)
    assert len(before[1] - before[0]) == report.entries_received
    # One list in a thousand overlooks an entry, which the next pass finds.
    overlooked = report.entries_received - report.missing_here
    assert not overlooked or (overlooked > 0 and report.round_trips > 3)
    assert report.missing_there == len(before[0] - before[1]) == report.entries_sent
    assert (met.served.entries_sent, met.served.entries_received) == (
        report.entries_received,
        report.entries_sent,
    )
    assert met.served.new_entries == report.entries_sent
    assert report.counters.sent == met.served.counters.received
    assert report.counters.received == met.served.counters.sent


@settings(max_examples=15, deadline=None)
@given(_subsets, _subsets)
def test_any_two_stores_on_disk_become_equal(
    tmp_path_factory: pytest.TempPathFactory, mine: list[Entry], theirs: list[Entry]
) -> None:
    path = tmp_path_factory.mktemp("stores")
    with Store.open(path / "a") as here, Store.open(path / "b") as there:
        here.add_many(mine)
        there.add_many(theirs)
        assert sync_in_memory(here, there).report.in_sync
        assert roots(here) == roots(there)
        assert members(here) == {(e.collection, e.id) for e in (*mine, *theirs)}


def test_a_few_thousand_entries_on_disk_become_equal(tmp_path: Path) -> None:
    """Large enough for more than one round, batch and commit each way."""
    with Store.open(tmp_path / "a") as here, Store.open(tmp_path / "b") as there:
        here.add_many(entries(4_000))
        there.add_many([*entries(4_000)[1_500:], *entries(1_000, seed=1)])
        report = sync_in_memory(here, there).report
        assert (report.in_sync, report.missing_here, report.missing_there) == (True, 1_000, 1_500)
        assert roots(here) == roots(there)


@settings(max_examples=60, deadline=None)
@given(_subsets, _subsets, st.sampled_from([m.PUSH, m.PULL]))
def test_one_way_sessions_move_only_one_way(
    mine: list[Entry], theirs: list[Entry], direction: int
) -> None:
    here, there = _store(mine), _store(theirs)
    before = members(here), members(there)
    report = sync_in_memory(here, there, Options(direction=direction)).report
    assert report.in_sync
    both = before[0] | before[1]
    expected = (before[0], both) if direction == m.PUSH else (both, before[1])
    assert (members(here), members(there)) == expected
    assert (report.entries_received == 0) or direction == m.PULL
    assert (report.entries_sent == 0) or direction == m.PUSH


@settings(max_examples=60, deadline=None)
@given(_subsets, _subsets)
def test_a_dry_run_names_every_difference_and_moves_nothing(
    mine: list[Entry], theirs: list[Entry]
) -> None:
    here, there = _store(mine), _store(theirs)
    before = members(here), members(there)
    report = sync_in_memory(here, there, Options(dry_run=True, list_ids=True)).report
    assert (members(here), members(there)) == before
    assert set(report.ids_here) == before[1] - before[0]
    assert set(report.ids_there) == before[0] - before[1]
    assert (report.missing_here, report.missing_there) == (
        len(report.ids_here),
        len(report.ids_there),
    )
    assert report.in_sync == (before[0] == before[1])


@pytest.mark.parametrize(
    ("mine", "theirs", "moved"),
    [
        (["notes"], ["**"], {"notes"}),
        (["notes/**"], ["**"], {"notes", "notes/é/travel"}),
        (["notes/**"], ["notes"], {"notes"}),
        (["system/**"], ["notes"], set()),
        (["*"], ["**"], {"notes", "system"}),
        ([], ["**"], set()),
    ],
)
def test_only_collections_that_both_want_move(
    mine: list[str], theirs: list[str], moved: set[str]
) -> None:
    here, there = _store(list(signed_pool())), _store()
    options = Options(tuple(map(Pattern, mine)))
    assert sync_in_memory(here, Side(there, interests=theirs), options).report.in_sync
    assert {name for name, _ in members(there)} == moved


def test_an_author_with_many_collections_is_no_trouble() -> None:
    here, there = _store(), _store()
    for at in range(300):
        here.add_many(entries(1, f"here/{at}"))
        there.add_many(entries(2, f"both/{at}"))
        here.add_many(entries(1, f"both/{at}"))
    report = sync_in_memory(here, there).report
    assert (report.in_sync, report.missing_here, report.missing_there) == (True, 300, 300)
    assert report.round_trips <= 4


@pytest.mark.parametrize("direction", [m.BOTH, m.PUSH, m.PULL])
@pytest.mark.parametrize("dry_run", [False, True])
def test_in_sync_is_never_claimed_because_a_list_overlooked_something(
    direction: int, dry_run: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short lists are cut to 4 bits, so that most values agree by chance: sessions that digests
    confirm at their end look again, and those that none will confirm do without short lists."""
    monkeypatch.setattr(rounds, "truncation_bits", lambda *_: 4)
    for seed in range(12):
        here, there = _store(entries(40, seed=seed)), _store(entries(41, seed=seed)[1:])
        options = Options(direction=direction, dry_run=dry_run, list_ids=dry_run)
        lacking = members(there) - members(here), members(here) - members(there)
        report = sync_in_memory(here, there, options).report
        if dry_run:
            assert (set(report.ids_here), set(report.ids_there)) == lacking
            assert not report.in_sync
            continue
        assert report.in_sync
        assert direction == m.PUSH or lacking[0] <= members(here)
        assert direction == m.PULL or lacking[1] <= members(there)


# --- order --------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(_subsets, _subsets)
def test_system_collections_are_committed_before_all_others(
    mine: list[Entry], theirs: list[Entry]
) -> None:
    here, there = _store(mine), _store(theirs)
    sync_in_memory(here, there)
    for store, old in ((here, mine), (there, theirs)):
        kinds = [is_system(name) for name in arrivals(store)[len(old) :]]
        assert kinds == sorted(kinds, reverse=True)


def test_a_cut_transfer_has_all_of_system_before_any_of_the_rest() -> None:
    """The peer goes after every batch in turn: whoever has a note has every key."""
    system = {(e.collection, e.id) for e in entries(200, "system/keys")}
    for cut in range(1, 40, 3):
        here, there = _store(entries(200, "system/keys"), entries(200)), _store()
        simulate(_meet_cut, here, there, 4_000 * cut, None)
        got = members(there)
        assert system <= got or not got - system


# --- payloads -----------------------------------------------------------------------------


def _sized(size: int, seed: int = 0) -> Entry:
    payload = some_bytes("payload", seed, length=size)
    return make_entry(keys(1)[0], "files", payload, MIDNIGHT + seed)


def test_payloads_of_every_size_arrive_whole() -> None:
    """Empty ones, those at the edge of a piece, and those of many pieces, among small ones."""
    piece = limits.PAYLOAD_PIECE
    sizes = [0, 0, 1, piece - 1, piece, piece + 1, 2 * piece, 2 * piece + 1, 1_000_000, 5]
    made = [_sized(size, seed) for seed, size in enumerate(sizes)]
    here, there = _store(made[::2], entries(50)), _store(made[1::2])
    assert sync_in_memory(here, there).report.in_sync
    for store in (here, there):
        with store.snapshot() as snapshot:
            for entry in made:
                stored = snapshot.entry("files", entry.id)
                assert stored is not None
                assert stored.payload == entry.payload


def test_a_payload_over_the_receivers_limit_is_withheld_and_the_entry_admitted() -> None:
    small, large = _sized(100), _sized(101)
    here, there = _store([small, large]), _store()
    assert sync_in_memory(here, Side(there, max_payload=100)).report.in_sync
    assert roots(here) == roots(there)
    with there.snapshot() as snapshot:
        kept = snapshot.entry("files", small.id), snapshot.entry("files", large.id)
    assert [entry.payload if entry else "gone" for entry in kept] == [small.payload, None]


def test_what_is_withheld_here_goes_on_without_its_payload() -> None:
    here, there = _store([withheld(_sized(50))]), _store()
    assert sync_in_memory(here, there).report.in_sync
    assert roots(here) == roots(there)


def test_more_patterns_than_can_be_told_are_refused_before_anything_is_said() -> None:
    options = Options(interests=(Pattern("a"),) * (limits.MAX_PATTERNS + 1))
    met = simulate(meet, _store(), _store(), options)
    assert isinstance(met.error, InvalidNameError)
    assert met.report.counters.sent["handshake"] == 0


# --- flow ---------------------------------------------------------------------------------


async def _slowly(work: object, *arguments: object) -> object:
    await trio.sleep(0.5)
    return work(*arguments)  # type: ignore[operator]


def test_two_nodes_that_send_much_on_a_narrow_line_do_not_wait_for_each_other() -> None:
    """Both send megabytes, disks are slow, and the line holds nothing: neither side may wait
    with reading until something of its own is sent."""
    here = _store([_sized(20_000, seed) for seed in range(400)])
    there = _store([_sized(20_000, 1_000 + seed) for seed in range(400)])

    async def main() -> Met:
        one, two = (Side(store, offload=_slowly) for store in (here, there))  # type: ignore[arg-type]
        return await meet(one, two, streams=trio.testing.lockstep_stream_pair())

    met = simulate(main)
    assert (met.error, met.their_error) == (None, None)
    assert roots(here) == roots(there)


@pytest.mark.parametrize("slow", ["initiator", "responder"])
def test_the_last_acknowledgement_may_come_before_the_last_word(slow: str) -> None:
    """One side acknowledges all before the other has looked whether there is more to send."""
    here, there = _store(entries(10)), _store(entries(10, seed=1))

    async def main() -> Met:
        mine, theirs = Side(here), Side(there)
        (mine if slow == "initiator" else theirs).offload = _slowly  # type: ignore[assignment]
        return await meet(mine, theirs)

    met = simulate(main)
    assert (met.error, met.their_error) == (None, None)
    assert met.report.in_sync
    assert met.report.seconds < limits.ANSWER_TIMEOUT


def test_many_wants_do_not_hold_up_the_entries_behind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wants of many messages, a line that holds nothing, slow disks: it takes its time, but
    nobody waits longer than the deadline of one frame."""
    monkeypatch.setattr("setsync.reconcile.wants._MESSAGE_BYTES", 100)
    collections = [f"c{at:02}" for at in range(60)]
    here = _store([_sized(2_000, seed) for seed in range(60)])
    there = _store(*(entries(3, name) for name in collections))

    async def main() -> Met:
        one, two = (Side(store, offload=_slowly) for store in (here, there))  # type: ignore[arg-type]
        return await meet(one, two, streams=trio.testing.lockstep_stream_pair())

    met = simulate(main)
    assert (met.error, met.their_error) == (None, None)
    assert roots(here) == roots(there)


class _SlowStream(trio.abc.Stream):
    """A line that takes so many bytes a second."""

    def __init__(self, stream: trio.abc.Stream, rate: float) -> None:
        self._stream, self._rate = stream, rate

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        for at in range(0, len(data), 4_096):
            part = bytes(data[at : at + 4_096])
            await trio.sleep(len(part) / self._rate)
            await self._stream.send_all(part)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


@pytest.mark.parametrize("direction", [m.PUSH, m.PULL])
def test_a_slow_line_is_not_taken_for_a_silent_peer(direction: int) -> None:
    """A payload that takes longer than any deadline is sent; the peer has nothing to say
    until all of it is there."""
    source, goal = _store([_sized(1_000_000)]), _store()
    here, there = (source, goal) if direction == m.PUSH else (goal, source)

    async def main() -> Met:
        one, two = trio.testing.memory_stream_pair()
        slow = _SlowStream(one, 4_000), _SlowStream(two, 4_000)
        return await meet(here, there, Options(direction=direction), streams=slow)

    met = simulate(main)
    assert (met.error, met.their_error) == (None, None)
    assert met.report.seconds > limits.IDLE_TIMEOUT
    assert roots(here) == roots(there)


def test_progress_tells_the_whole_story() -> None:
    heard: list[Progress] = []
    here, there = _store(entries(30)), _store(entries(20, seed=1))

    async def main() -> Met:
        return await meet(here, there, on_progress=heard.append)

    assert simulate(main).error is None
    phases = list(dict.fromkeys(each.phase for each in heard))
    assert phases == ["connecting", "comparing", "transferring", "closing", "done"]
    assert (heard[-1].done, heard[-1].total) == (50, 50)
    sent = [each.bytes_sent for each in heard]
    assert sent == sorted(sent)


# --- cuts ---------------------------------------------------------------------------------


async def _meet_cut(
    here: EntryStore, there: EntryStore, up: int | None, down: int | None
) -> tuple[Met, int, int]:
    """A session on a line that is cut after so many bytes one way; and how many passed."""
    mine, near = trio.testing.memory_stream_pair()
    far, theirs = trio.testing.memory_stream_pair()
    passed = [0, 0]

    async def pump(way: int, source: trio.abc.Stream, goal: trio.abc.Stream) -> None:
        limit = (up, down)[way]
        try:
            async for data in source:
                left = len(data) if limit is None else min(len(data), limit - passed[way])
                await goal.send_all(data[:left])
                passed[way] += left
                if passed[way] == limit:
                    break
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        if passed[way] == limit:
            for stream in (near, far):
                await trio.aclose_forcefully(stream)
        elif isinstance(goal, trio.abc.HalfCloseableStream):
            with trio.move_on_after(0):
                await goal.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump, 0, near, far)
        nursery.start_soon(pump, 1, far, near)
        met = await meet(here, there, streams=(mine, theirs))
        for stream in (near, far):
            await trio.aclose_forcefully(stream)
    return met, passed[0], passed[1]


def _cut_at(up: int | None, down: int | None) -> None:
    """Cut; nobody hangs, nothing is half there, and the next session completes."""
    here, there = _store(entries(6), entries(1, "system")), _store(entries(8)[3:], [_sized(300)])
    everything = members(here) | members(there)
    started = members(here), members(there)
    met, *_ = simulate(_meet_cut, here, there, up, down)
    for error in (met.error, met.their_error):
        assert error is None or isinstance(error, SetsyncError)
    for store, before in zip((here, there), started, strict=True):
        assert before <= members(store) <= everything
    assert sync_in_memory(here, there).report.in_sync
    assert members(here) == members(there) == everything


def _whole_session() -> tuple[int, int]:
    here, there = _store(entries(6), entries(1, "system")), _store(entries(8)[3:], [_sized(300)])
    met, up, down = simulate(_meet_cut, here, there, None, None)
    assert (met.error, met.their_error) == (None, None)
    return up, down


def test_a_cut_at_a_sample_of_bytes_hurts_nobody() -> None:
    up, down = _whole_session()
    for at in range(0, up, 17):
        _cut_at(at, None)
    for at in range(0, down, 17):
        _cut_at(None, at)


@pytest.mark.soak
def test_a_cut_at_every_byte_hurts_nobody() -> None:
    up, down = _whole_session()
    for at in range(up + 1):
        _cut_at(at, None)
    for at in range(down + 1):
        _cut_at(None, at)


# --- endings ------------------------------------------------------------------------------


def test_cancelling_says_goodbye() -> None:
    """Whoever is cancelled tells the peer, even when much is waiting to be sent."""

    async def main() -> list[m.Message]:
        here, there = trio.testing.memory_stream_pair()
        peer = Peer(there)
        async with opened(Side(_store(entries(50))), NODES[0]) as local:
            async with trio.open_nursery() as nursery:
                served = Served()
                nursery.start_soon(run_responder, here, local, served)
                await peer.say(HELLO, m.Catalog(bytes(16)))
                await peer.hear_a(m.Listed)
                await peer.say(m.Totals(0, 50), m.Want(((0, b"\0", 0, 0, b""),), 0))
                await peer.hear_a(m.Entries)
                nursery.cancel_scope.cancel()
            while await peer.hear() is not None:
                pass
        assert served.state == "cancelled"
        return peer.heard

    last = simulate(main)[-1]
    assert isinstance(last, m.AbortMessage)
    assert last.code == Abort.CANCELLED


def test_a_reason_is_told_even_when_the_line_is_full() -> None:
    """The peer reads nothing until the session has failed; then it reads why."""

    async def main() -> m.AbortMessage | None:
        here, there = trio.testing.lockstep_stream_pair()
        peer = Peer(there)
        store = _store([_sized(100_000, seed) for seed in range(30)])
        async with opened(Side(store), NODES[0]) as local, trio.open_nursery() as nursery:

            async def respond() -> None:
                with pytest.raises(SetsyncError):
                    await run_responder(here, local)

            nursery.start_soon(respond)
            await peer.say(HELLO, m.Catalog(bytes(16)))
            await peer.hear_a(m.Listed)
            await peer.say(m.Totals(0, 30), m.Want(((0, b"\0", 0, 0, b""),), 0))
            await trio.sleep(5)
            await peer.say(m.Done())
            while await peer.hear() is not None:
                pass
        return peer.abort

    abort = simulate(main)
    assert abort is not None
    assert abort.code == Abort.PROTOCOL


class _FailingStore(MemoryStore):
    def add_many(self, entries: object, origins: object = (), quotas: object = None) -> Added:
        raise StoreFullError("The disk is full.")


def test_a_full_disk_ends_the_session_and_the_peer_hears_that_it_was_not_its_fault() -> None:
    met = simulate(meet, _store(entries(5)), _FailingStore())
    assert isinstance(met.their_error, StoreFullError)
    assert met.error is not None
    assert "cannot go on" in met.error.message
    met = simulate(meet, _FailingStore(), _store(entries(5)))
    assert isinstance(met.error, StoreFullError)


def test_a_connection_too_many_is_told_that_the_node_is_busy() -> None:
    """Those within the limit are served; when one has left there is room again."""

    async def main() -> tuple[Met, list[Served]]:
        ended: list[Served] = []
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        store = _store(entries(3))
        async with (
            opened(Side(store), NODES[0]) as local,
            opened(Side(_store()), NODES[1]) as other,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(partial(listen, local, listeners, ended.append, most=1))
            first = Peer(await trio.open_tcp_stream("127.0.0.1", port))
            await first.say(HELLO)
            await first.hear_a(m.Hello)
            met = Met()
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                await run_initiator(stream, other, Options())
            except SetsyncError as error:
                met.error = error
            await trio.aclose_forcefully(first.stream)
            while len(ended) < 2:
                await trio.lowlevel.checkpoint()
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            met.report = await run_initiator(stream, other, Options())
            nursery.cancel_scope.cancel()
        return met, ended

    met, ended = trio.run(main)
    assert met.error is not None
    assert (met.error.code, met.error.exit_code) == ("refused", 3)
    assert "try later" in met.error.message
    assert met.report.in_sync
    assert all(each.reason for each in ended[:2])


def test_a_session_over_a_closed_stream_is_a_cut() -> None:
    async def main() -> SetsyncError | None:
        here, there = trio.testing.memory_stream_pair()
        await trio.aclose_forcefully(there)
        async with opened(Side(_store()), NODES[0]) as local:
            with pytest.raises(PeerGoneError):
                await run_initiator(here, local, Options())
        return None

    simulate(main)
