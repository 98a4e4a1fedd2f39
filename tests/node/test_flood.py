"""Peers that send entries as fast as they can: the node's owner and honest peers get on.

**Promise:** while ten peers bring valid entries without end, an honest one that comes keeps at
least 40 % of the rate that it has alone, and what the node's owner writes is durable after one
batch of the peers' at most. Who brings an invalid one is out at once, and for ten minutes. What was
refused is not sent again.

In the suite work is counted: entries that were taken, not seconds. A soak floods a node in a
process of its own, over real sockets and the secure channel, and measures.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from setsync import limits
from setsync.errors import SetsyncError
from setsync.model.entry import Entry, UnverifiedEntry, trusted, verify
from setsync.model.keys import SecretKey
from setsync.node.channel import dial
from setsync.node.client import Options, run_initiator
from setsync.node.identity import Identity
from setsync.node.local import Local
from setsync.node.penalties import Penalties
from setsync.node.policy import Policy
from setsync.node.report import Report
from setsync.node.server import run_responder
from setsync.store.contract import Added, Origins, Quotas
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.helpers import entries, keys
from tests.node.alone import Alone
from tests.node.ends import NODES, Peer, Side, members, opened, simulate
from tests.node.impostors import ANNA

FLOODING = 10
KEEPS = 0.4


def _hello(node: bytes) -> m.Hello:
    return m.Hello((1,), node, bytes(32), ("**",), m.PUSH, limits.DEFAULT_MAX_PAYLOAD, ())


def _frames(some: Sequence[Entry], each: int) -> list[bytes]:
    """Messages of so many entries of one collection, ready to be sent."""
    parts = (some[at : at + each] for at in range(0, len(some), each))
    return [_frame(part) for part in parts]


def _frame(some: Sequence[Entry]) -> bytes:
    items = tuple((entry.header, entry.payload) for entry in some)
    return m.pack(m.Entries(((some[0].collection, items),)))


def _spoilt(entry: Entry) -> Entry:
    """The same with another signature."""
    header = entry.header[:-1] + bytes([entry.header[-1] ^ 1])
    return trusted(UnverifiedEntry(entry.collection, header, entry.payload))


async def _announce(peer: Peer, node: bytes) -> None:
    """Up to where entries are due, and many of them."""
    await peer.say(_hello(node))
    await peer.hear_a(m.Hello)
    await peer.say(m.Catalog(bytes(16)))
    await peer.hear_a(m.Listed)
    await peer.say(m.Totals(2**40, 0), m.Want((), 0))


@dataclass
class _Sent:
    """What the flooding peers have got rid of."""

    frames: int = 0
    sessions: int = 0
    refusals: int = 0
    heard: list[str] = field(default_factory=list)


async def _pour(peer: Peer, frames: list[bytes], sent: _Sent) -> None:
    async def drop() -> None:
        while await peer.hear() is not None:
            pass
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drop)
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for frame in itertools.cycle(frames):
                await peer.stream.send_all(frame)
                sent.frames += 1


def _store(some: Sequence[Entry]) -> MemoryStore:
    store = MemoryStore()
    store.add_many(some)
    return store


# --- in memory ----------------------------------------------------------------------------

# As in life, divided by about forty: messages, batches, what an honest peer brings.
SMALL_BATCH, SMALL_COMMIT, SMALL_HONEST = 8 * limits.KIB, 64, 600
SMALL_FRAME = 40


class _Watched(MemoryStore):
    """Remembers of each commit who brought how many of its entries; empty: ourselves."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[Counter[bytes]] = []

    def add_many(
        self, entries: Sequence[Entry], origins: Origins = (), quotas: Quotas | None = None
    ) -> Added:
        commit: Counter[bytes] = Counter()
        for position in range(len(entries)):
            origin = next((one for start, one in reversed(origins) if start <= position), None)
            commit[origin.peer if origin is not None else b""] += 1
        if entries:
            self.commits.append(commit)
        return super().add_many(entries, origins, quotas)

    def taken(self, since: int = 0) -> Counter[bytes]:
        """Entries by bringer, of the commits from that number on."""
        return sum(self.commits[since:], Counter[bytes]())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small messages and commits, so that few entries make many of them."""
    monkeypatch.setattr("setsync.node.transfer.ENTRY_BATCH", SMALL_BATCH)
    monkeypatch.setattr("setsync.node.writer.PEERS_COMMIT", SMALL_COMMIT)
    monkeypatch.setattr("setsync.node.writer.WRITER_PEER_BYTES", 2 * SMALL_BATCH)
    monkeypatch.setattr("setsync.node.writer.WRITER_INBOX_BYTES", 8 * SMALL_BATCH)


async def _respond(
    stream: trio.abc.Stream, local: Local, key: bytes, penalties: Penalties | None
) -> None:
    with contextlib.suppress(SetsyncError):
        await run_responder(stream, local, peer=key, penalties=penalties)


async def _pour_in_memory(local: Local, key: bytes, frames: list[bytes]) -> None:
    """A peer that sends the same frames over and over, as fast as they are read."""
    here, there = trio.testing.lockstep_stream_pair()
    peer = Peer(there)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_respond, here, local, key, None)
        await _announce(peer, key)
        await _pour(peer, frames, _Sent())


async def _push_in_memory(
    local: Local, key: bytes, store: MemoryStore, penalties: Penalties | None = None
) -> Report:
    mine, theirs = trio.testing.lockstep_stream_pair()
    async with opened(Side(store), key) as other, trio.open_nursery() as nursery:
        nursery.start_soon(_respond, theirs, local, key, penalties)
        return await run_initiator(mine, other, Options(direction=m.PUSH))


def _flooders() -> dict[bytes, list[bytes]]:
    """Keys, and what they send."""
    made = entries(FLOODING * 4 * SMALL_FRAME, "flood")
    parts = [made[at::FLOODING] for at in range(FLOODING)]
    secrets = keys(FLOODING, seed=7)
    return {
        secret.public: _frames(part, SMALL_FRAME)
        for secret, part in zip(secrets, parts, strict=True)
    }


async def _until(store: _Watched, count: int) -> None:
    """Wait until so many entries were given to the store."""
    while store.taken().total() < count:
        await trio.lowlevel.checkpoint()


@pytest.mark.usefixtures("small")
def test_an_honest_peer_keeps_two_fifths_of_what_it_has_alone_while_ten_flood() -> None:
    """Those ten share the rest alike."""
    store = _Watched()
    honest = keys(1, seed=8)[0].public

    async def main() -> tuple[int, int]:
        async with opened(Side(store), NODES[0]) as local, trio.open_nursery() as nursery:
            for key, frames in _flooders().items():
                nursery.start_soon(_pour_in_memory, local, key, frames)
            await _until(store, FLOODING * SMALL_HONEST)
            before = len(store.commits)
            report = await _push_in_memory(local, honest, _store(entries(SMALL_HONEST, "honest")))
            assert report.in_sync
            nursery.cancel_scope.cancel()
        numbers = [at for at, commit in enumerate(store.commits) if commit[honest]]
        assert numbers[0] >= before
        return numbers[0], numbers[-1] + 1

    first, end = simulate(main)
    meanwhile = sum(store.commits[first:end], Counter[bytes]())
    assert meanwhile[honest] == SMALL_HONEST
    assert meanwhile[honest] >= KEEPS * meanwhile.total()
    shares = [count for key, count in store.taken().items() if key != honest]
    assert len(shares) == FLOODING
    assert max(shares) - min(shares) <= 2 * SMALL_COMMIT


@pytest.mark.usefixtures("small")
def test_what_is_written_here_waits_for_one_commit_of_the_peers_at_most() -> None:
    store = _Watched()

    async def main() -> list[int]:
        waited: list[int] = []
        async with opened(Side(store), NODES[0]) as local, trio.open_nursery() as nursery:
            for key, frames in _flooders().items():
                nursery.start_soon(_pour_in_memory, local, key, frames)
            for number, entry in enumerate(entries(40, "own")):
                await _until(store, 200 * number)
                before = len(store.commits)
                claim = UnverifiedEntry(entry.collection, entry.header, entry.payload)
                await (await local.writer.submit([claim])).wait()
                own = next(at for at in range(before, len(store.commits)) if store.commits[at][b""])
                waited.append(own - before)
            nursery.cancel_scope.cancel()
        return waited

    assert max(simulate(main)) <= 1


@pytest.mark.usefixtures("small")
def test_who_brings_an_invalid_entry_costs_one_look_in_ten_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten that come back every second are told why not, and an honest peer gets on meanwhile."""
    store = _Watched()
    looked = 0

    def counting(entry: UnverifiedEntry) -> Entry:
        nonlocal looked
        looked += 1
        return verify(entry)

    monkeypatch.setattr("setsync.model.checking.verify", counting)
    bad = [_spoilt(entry) for entry in entries(4 * SMALL_FRAME, "flood")]
    frames, penalties = _frames(bad, SMALL_FRAME), Penalties()
    sent = _Sent()

    async def come_again(local: Local, key: bytes) -> None:
        while True:
            here, there = trio.testing.lockstep_stream_pair()
            peer = Peer(there)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_respond, here, local, key, penalties)
                sent.sessions += 1
                with contextlib.suppress(AssertionError):
                    await _announce(peer, key)
                    await _pour(peer, frames, sent)
                await trio.aclose_forcefully(there)
            sent.heard += [peer.abort.sentence] if peer.abort is not None else []
            await trio.sleep(1)

    async def main() -> None:
        async with opened(Side(store), NODES[0]) as local, trio.open_nursery() as nursery:
            for secret in keys(FLOODING, seed=7):
                nursery.start_soon(come_again, local, secret.public)
            await trio.sleep(30)
            honest = keys(1, seed=8)[0].public
            report = await _push_in_memory(
                local, honest, _store(entries(SMALL_HONEST, "honest")), penalties
            )
            assert report.in_sync
            await trio.sleep(limits.PENALTY_SECONDS - 60)
            nursery.cancel_scope.cancel()

    simulate(main)
    assert sent.sessions > FLOODING * 100
    # The first of a ticket is the last, and of a peer a few tickets wait at once.
    assert FLOODING <= looked - SMALL_HONEST <= FLOODING * (limits.UNCOMMITTED_BATCHES + 2)
    assert sum("does not talk to you" in text for text in sent.heard) > FLOODING * 100
    assert {key for commit in store.commits for key in commit} == {keys(1, seed=8)[0].public}


@pytest.mark.usefixtures("small")
def test_what_a_flooding_author_had_refused_is_not_sent_again() -> None:
    """No byte of an entry, however often its bringer comes back."""
    policy = Policy(quotas=replace(Quotas(), author_entries=SMALL_HONEST))
    store = _Watched()
    bringer = _store(entries(2 * SMALL_HONEST, "honest"))
    key = keys(1, seed=8)[0].public

    async def main() -> list[Report]:
        async with opened(Side(store, policy=policy), NODES[0]) as local:
            return [await _push_in_memory(local, key, bringer) for _ in range(4)]

    first, *others = simulate(main)
    assert first.entries_sent == 2 * SMALL_HONEST
    assert store.taken()[key] == 2 * SMALL_HONEST
    assert len(members(store)) == SMALL_HONEST
    assert [report.entries_sent for report in others] == [0, 0, 0]
    assert max(_entry_bytes(report) for report in others) < 64


def _entry_bytes(report: Report) -> int:
    return report.counters.sent["entries"]


# --- over real sockets --------------------------------------------------------------------

EACH_FLOODS = 30_000
HONEST = 20_000


async def _floods(port: int, secret: SecretKey, frames: list[bytes], sent: _Sent) -> None:
    """Session after session, each with the same frames over and over."""
    while True:
        with contextlib.suppress(SetsyncError, OSError, AssertionError):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            channel = await dial(stream, Identity.of(secret), ANNA.public)
            peer = Peer(channel.stream)
            sent.sessions += 1
            try:
                await _announce(peer, secret.public)
                await _pour(peer, frames, sent)
            finally:
                sent.heard += [peer.abort.sentence] if peer.abort is not None else []
                await trio.aclose_forcefully(channel.stream)
        await trio.sleep(0.25)


async def _push(port: int, secret: SecretKey, store: MemoryStore) -> tuple[Report, float]:
    """An honest session, and its seconds from the first word on."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    channel = await dial(stream, Identity.of(secret), ANNA.public)
    async with opened(Side(store), secret.public) as local:
        started = trio.current_time()
        options = Options(direction=m.PUSH)
        report = await run_initiator(channel.stream, local, options, peer=channel.peer)
        return report, trio.current_time() - started


@dataclass
class _Flooded:
    """What was measured. `alone` and `meanwhile`: honest entries a second."""

    alone: list[float] = field(default_factory=list)
    meanwhile: list[float] = field(default_factory=list)
    calm: dict[str, Any] = field(default_factory=dict)
    busy: dict[str, Any] = field(default_factory=dict)
    sent: _Sent = field(default_factory=_Sent)

    def show(self) -> None:
        """Print it."""
        for name, told in (("alone", self.calm), ("flooded", self.busy)):
            late = [f"{1000 * told[f'late_{which}']:.1f}" for which in ("p50", "p99", "most")]
            own = [f"{1000 * told[f'publish_{which}']:.0f}" for which in ("p50", "p95")]
            print(f"{name}: event loop late by ms at p50, p99, most: {late}")
            print(f"{name}: own entry durable after ms at p50, p95 of {told['publishes']}: {own}")
        rates = [[round(rate) for rate in some] for some in (self.alone, self.meanwhile)]
        print(f"honest entries a second: alone {rates[0]}, flooded {rates[1]}: {self.keeps:.0%}")
        print(f"flood: {self.sent.frames} frames in {self.sent.sessions} sessions")
        print(f"ended: {self.busy['ended']} {self.busy['reasons']}")
        print(f"held: {self.busy['held']}")

    @property
    def keeps(self) -> float:
        """The part of its rate that an honest peer keeps."""
        alone = sum(self.alone) / len(self.alone)
        return sum(self.meanwhile) / len(self.meanwhile) / alone


async def _flood(port: int, node: Alone, floods: list[list[bytes]], seconds: float) -> _Flooded:
    flooded = _Flooded()
    secrets = keys(FLOODING, seed=7)
    number = 0

    async def push(rates: list[float]) -> None:
        nonlocal number
        number += 1
        [secret] = keys(1, seed=800 + number)
        store = _store(entries(HONEST, f"honest{number}"))
        report, took = await _push(port, secret, store)
        assert report.in_sync
        rates.append(HONEST / took)

    node.ask("publish")
    await push(flooded.alone)
    await push(flooded.alone)
    flooded.calm = node.ask("figures")
    async with trio.open_nursery() as nursery:
        end = trio.current_time() + seconds
        for secret, frames in zip(secrets, floods, strict=True):
            nursery.start_soon(_floods, port, secret, frames, flooded.sent)
        # Until then each of those who flood has had more than an honest peer wants.
        await trio.sleep(seconds / 2)
        await push(flooded.meanwhile)
        await trio.sleep(seconds / 8)
        await push(flooded.meanwhile)
        await trio.sleep_until(end)
        flooded.busy = node.ask("figures")
        nursery.cancel_scope.cancel()
    return flooded


def _valid_floods() -> list[list[bytes]]:
    return [_frames(entries(EACH_FLOODS, f"flood{at}"), 1_000) for at in range(FLOODING)]


def _flood_for(tmp_path: Path, floods: list[list[bytes]], seconds: float) -> _Flooded:
    for number in range(1, 5):
        entries(HONEST, f"honest{number}")  # signed beforehand
    with Alone(tmp_path / "store") as node:
        flooded = trio.run(_flood, node.port, node, floods, seconds)
    flooded.show()
    assert len(flooded.meanwhile) == 2
    assert flooded.keeps >= KEEPS
    # The bar, and what the machine does to a node that nobody floods.
    assert flooded.busy["late_p99"] <= 0.1 + flooded.calm["late_p99"]
    assert flooded.busy["publish_p95"] <= 0.25 + flooded.calm["publish_p95"]
    return flooded


@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_a_minute_of_valid_entries_from_ten_peers_leaves_honest_ones_two_fifths(
    tmp_path: Path,
) -> None:
    _flood_for(tmp_path, _valid_floods(), 60)


@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_a_minute_of_invalid_entries_from_ten_peers_is_over_at_the_first(tmp_path: Path) -> None:
    """Each is looked at once; whatever else they try, they hear for how long they are out."""
    bad = [_spoilt(entry) for entry in entries(4_000, "flood0")]
    flooded = _flood_for(tmp_path, [_frames(bad, 1_000)] * FLOODING, 60)
    assert not any(name.startswith("flood") for name in flooded.busy["held"])
    invalid = [text for text in flooded.sent.heard if "not valid" in text]
    assert all("not talk to you" in text for text in flooded.sent.heard if text not in invalid)
    assert flooded.busy["reasons"].get("An entry that was sent is not valid", 0) <= FLOODING
