"""What a node does not want crosses the line once, and both sides stay in sync without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from setsync import limits
from setsync.errors import NoRoomError, PeerError
from setsync.model.collection import Pattern
from setsync.model.entry import Entry, make_entry
from setsync.model.refusal import Refusal
from setsync.node.client import Options, run_initiator
from setsync.node.policy import Policy
from setsync.node.progress import ignore
from setsync.node.refusals import of_ours, of_theirs
from setsync.node.report import Report
from setsync.node.server import run_responder
from setsync.store.contract import EntryStore, Quotas, RefuserKind
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore
from setsync.wire import messages as m
from tests.helpers import MIDNIGHT, entries, keys
from tests.node.ends import (
    HELLO,
    NODES,
    Met,
    Peer,
    Side,
    face_initiator,
    meet,
    members,
    opened,
    simulate,
    sync_in_memory,
)

ANNA, BEN, CARL = keys(3, seed=4)
NOW = MIDNIGHT + 1_000_000


def _by(author: int, count: int, collection: str = "notes") -> list[Entry]:
    key = (ANNA, BEN, CARL)[author]
    return [
        make_entry(key, collection, f"{collection} {author} {i}".encode(), MIDNIGHT + i)
        for i in range(count)
    ]


POOL = (*_by(0, 8), *_by(1, 8), *_by(2, 4), *_by(1, 4, "letters"))


def _store(some: Sequence[Entry]) -> MemoryStore:
    store = MemoryStore(leaf_capacity=4)
    store.add_many(list(some))
    return store


def _side(store: EntryStore, policy: Policy | None = None) -> Side:
    return Side(store, policy=policy or Policy(), clock=lambda: NOW)


def _ids(store: EntryStore) -> set[bytes]:
    return {id_ for _, id_ in members(store)}


def blocking(*authors: bytes) -> Policy:
    """A policy that takes nothing of some authors."""
    return Policy(blocked_authors=frozenset(authors))


def only(pattern: str, *authors: bytes) -> Policy:
    """A policy by which only some authors write in some collections."""
    return Policy(writers=((Pattern(pattern), frozenset(authors)),))


# --- two nodes ----------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["initiator", "responder"])
def test_what_one_side_refuses_is_sent_once_and_never_again(who: str) -> None:
    wants_all, picky = _store(POOL), _store(())

    def once() -> Met:
        mine, theirs = _side(wants_all), _side(picky, blocking(BEN.public))
        return sync_in_memory(*((theirs, mine) if who == "initiator" else (mine, theirs)))

    first, second = once(), once()
    kept = {entry.id for entry in POOL if entry.author != BEN.public}
    assert _ids(picky) == kept
    assert first.report.in_sync
    assert second.report.in_sync
    moved = first.report.entries_sent + first.report.entries_received
    assert moved == len(POOL) if who == "responder" else len(kept)
    assert second.report.entries_sent == second.report.entries_received == 0
    assert second.served.entries_sent == second.served.entries_received == 0
    refused = second.report.refused_here + second.report.refused_there
    assert refused == len(POOL) - len(kept)
    assert second.report.counters.sent["entries"] == 0


_some = st.lists(st.sampled_from(POOL), unique_by=lambda e: e.id, max_size=len(POOL))
_policies = st.sampled_from(
    [
        Policy(),
        blocking(ANNA.public),
        blocking(ANNA.public, BEN.public, CARL.public),
        only("letters", CARL.public),
        only("**", BEN.public),
        Policy(quotas=replace(Quotas(), author_entries=3)),
        Policy(quotas=replace(Quotas(), peer_entries=2)),
        Policy(blocked_collections=(Pattern("letters"),)),
    ]
)


@settings(max_examples=200, deadline=None)
@given(_some, _some, _policies, _policies)
def test_whatever_two_nodes_want_they_agree_on_it_and_rest(
    mine: list[Entry], theirs: list[Entry], my_policy: Policy, their_policy: Policy
) -> None:
    here, there = _store(mine), _store(theirs)
    before = _ids(here), _ids(there)
    sides = _side(here, my_policy), _side(there, their_policy)
    first = sync_in_memory(*sides)
    after = _ids(here), _ids(there)
    assert first.report.in_sync
    assert before[0] <= after[0] <= before[0] | before[1]
    assert before[1] <= after[1] <= before[0] | before[1]
    for kept, policy, had in (
        (after[0], my_policy, before[0]),
        (after[1], their_policy, before[1]),
    ):
        for entry in POOL:
            came = entry.id in kept and entry.id not in had
            assert not came or policy.refuses(entry.author, entry.collection) is None
    second = sync_in_memory(*sides)
    assert second.report.in_sync
    assert second.report.entries_sent == second.report.entries_received == 0
    assert (_ids(here), _ids(there)) == after


def test_what_is_wanted_again_comes_with_the_next_session() -> None:
    picky, other = _store(()), _store(POOL)
    sync_in_memory(_side(picky, blocking(BEN.public)), _side(other))
    picky.forget_refused([RefuserKind.OURS, RefuserKind.OURS_FROM])
    sync_in_memory(_side(picky), _side(other))
    assert _ids(picky) == _ids(other)


def test_after_a_day_what_was_refused_is_offered_again() -> None:
    picky, other = _store(()), _store(POOL)
    sync_in_memory(_side(other), _side(picky, blocking(BEN.public)))
    later = NOW + int(limits.REFUSED_SECONDS * 1000) + 1
    here, there = (Side(store, clock=lambda: later) for store in (other, picky))
    assert sync_in_memory(here, there).report.entries_sent == 12
    assert _ids(picky) == _ids(other)


def test_a_quota_of_one_bringer_does_not_keep_others_out() -> None:
    """What a peer may not bring any more today, another may."""
    taker, first, second = _store(()), _store(POOL), _store(POOL)
    policy = Policy(quotas=replace(Quotas(), peer_entries=5))
    met = sync_in_memory(_side(taker, policy), _side(first))
    assert len(_ids(taker)) == 5
    assert met.report.in_sync

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.node.ends.NODES", (NODES[0], b"another node" + bytes(20)))
        sync_in_memory(_side(taker, policy), _side(second))
    assert len(_ids(taker)) == 10


def test_an_author_over_the_quota_is_cut_off_and_nobody_else() -> None:
    taker = _store(())
    policy = Policy(quotas=replace(Quotas(), author_entries=6))
    met = sync_in_memory(_side(taker, policy), _side(_store(POOL)))
    with taker.snapshot() as snapshot:
        kept = [snapshot.usage(key.public).entries for key in (ANNA, BEN, CARL)]
    assert kept == [6, 6, 4]
    assert met.report.in_sync
    assert met.served.entries_sent == len(POOL)


def test_the_reason_is_told_and_written_down_on_both_sides() -> None:
    picky, other = _store(()), _store(POOL)
    sync_in_memory(_side(other), _side(picky, blocking(ANNA.public)))
    annas = sorted(entry.id for entry in POOL if entry.author == ANNA.public)
    with picky.snapshot() as mine, other.snapshot() as theirs:
        anybody, from_peer = of_ours(NODES[0])
        assert list(mine.refused(anybody, "notes", "", NOW, 100)) == annas
        assert not mine.refused(from_peer, "notes", "", NOW, 100)
        assert list(theirs.refused(of_theirs(NODES[1]), "notes", "", NOW, 100)) == annas


@pytest.mark.parametrize("direction", [m.PUSH, m.PULL])
def test_one_way_sessions_end_in_sync_although_something_is_refused(direction: int) -> None:
    here, there = _store(POOL[:12]), _store(POOL[8:])
    picky = blocking(BEN.public)
    for _ in range(2):
        met = sync_in_memory(_side(here, picky), _side(there, picky), Options(direction=direction))
        assert met.report.in_sync
    assert met.report.entries_sent == met.report.entries_received == 0


def test_a_dry_run_does_not_list_what_is_not_wanted() -> None:
    picky, other = _store(()), _store(POOL)
    sync_in_memory(_side(picky, blocking(BEN.public)), _side(other))
    other.add_many(entries(3))
    met = sync_in_memory(
        _side(picky, blocking(BEN.public)), _side(other), Options(dry_run=True, list_ids=True)
    )
    assert {id_ for _, id_ in met.report.ids_here} == {entry.id for entry in entries(3)}
    assert met.report.refused_here == 12


# --- what is spoken of --------------------------------------------------------------------


def test_a_collection_that_is_not_shared_is_neither_told_nor_taken() -> None:
    sharing = Policy(shares={"everybody": (Pattern("letters"),)})
    for sides in (
        (_side(_store(POOL), sharing), _side(_store(entries(4)))),
        (_side(_store(entries(4))), _side(_store(POOL), sharing)),
    ):
        met = sync_in_memory(*sides)
        assert met.report.in_sync
        assert {name for name, _, _ in met.report.differing} == {"letters"}


def test_a_blocked_collection_is_neither_told_nor_taken() -> None:
    here, there = _store(POOL), _store(entries(4, "letters"))
    met = sync_in_memory(
        _side(here, Policy(blocked_collections=(Pattern("letters"),))), _side(there)
    )
    assert {name for name, _, _ in met.report.differing} == {"notes"}
    assert met.report.in_sync


def test_shares_follow_the_groups_of_the_peer() -> None:
    policy = Policy(shares={"friends": (Pattern("letters"),), "everybody": (Pattern("news"),)})
    friend, stranger = _store(()), _store(())
    theirs = replace(_side(_store(POOL), policy), groups=("everybody", "friends"))
    sync_in_memory(_side(friend), theirs)
    sync_in_memory(_side(stranger), replace(theirs, groups=("everybody",)))
    assert {name for name, _ in members(friend)} == {"letters"}
    assert not members(stranger)


# --- live ---------------------------------------------------------------------------------


def test_what_is_refused_while_live_ends_nothing_and_is_not_pushed_again() -> None:
    here, there = _store(POOL[:4]), _store(POOL[:4])
    mine, picky = _side(here), _side(there, blocking(BEN.public))
    report = Report()

    async def main() -> None:
        near, far = trio.testing.memory_stream_pair()
        async with (
            opened(mine, NODES[0]) as local,
            opened(picky, NODES[1]) as remote,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(run_responder, far, remote)
            live = Options(live=1_000.0)
            nursery.start_soon(run_initiator, near, local, live, ignore, report)
            for some in (_by(1, 5), entries(3)):
                await trio.sleep(10)
                here.add_many(some)
                local.writer.news.ring()

    simulate(main)
    assert (report.entries_sent, report.refused_there) == (8, 5)
    assert _ids(there) == {entry.id for entry in (*POOL[:4], *entries(3))}
    assert sync_in_memory(mine, picky).report.entries_sent == 0


def test_who_refuses_something_stays_live_all_the_same() -> None:
    here, there = _store(()), _store(POOL)
    phases: list[str] = []
    mine = _side(here, blocking(BEN.public))
    sync_in_memory(mine, _side(there))

    async def main() -> None:
        met = await meet(
            mine,
            _side(there),
            Options(live=60.0),
            on_progress=lambda progress: phases.append(progress.phase),
        )
        assert met.error is None

    simulate(main)
    assert "live" in phases


# --- who lies -----------------------------------------------------------------------------


def test_nobody_refuses_more_than_was_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.hear_a(m.Hello)
        await peer.say(HELLO)
        await peer.hear_a(m.Catalog)
        await peer.say(m.Listed(()))
        await peer.hear_a(m.Totals)
        await peer.say(m.Refused((("notes", 1, bytes(32 * 9)),)))
        await peer.hear_a(m.AbortMessage)

    store = _store(_by(0, 8))
    faced = face_initiator(_side(store), script)
    assert isinstance(faced.error, PeerError)
    assert "More entries were refused than were sent" in str(faced.error)
    with store.snapshot() as snapshot:
        assert not snapshot.refused_count


@pytest.mark.parametrize(
    ("item", "said"),
    [(("notes", 99, bytes(32)), "which is none"), (("notes", 1, bytes(33)), "is not one")],
)
def test_a_refusal_that_is_none_ends_the_session(item: tuple[str, int, bytes], said: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear_a(m.Hello)
        await peer.say(HELLO)
        await peer.hear_a(m.Catalog)
        await peer.say(m.Listed(()))
        await peer.hear_a(m.Sent)
        await peer.say(m.Refused((item,)))
        await peer.hear_a(m.AbortMessage)

    faced = face_initiator(_side(_store(_by(0, 8))), script)
    assert said in str(faced.error)


# --- a disk that fills up -----------------------------------------------------------------


def test_a_disk_with_little_room_takes_nothing_from_others_and_stays_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(tmp_path / "store", leaf_capacity=4) as store:
        store.add_many(POOL[:4])
        monkeypatch.setattr("setsync.node.room.REMOTE_RESERVE", 1 << 60)
        monkeypatch.setattr("setsync.node.room.DISK_SHARE", 1.0)
        met = simulate(meet, _side(store), _side(_store(POOL)))
        assert isinstance(met.error, NoRoomError)
        assert str(tmp_path) in str(met.error)
        assert "are kept free" in str(met.error)
        assert _ids(store) == {entry.id for entry in POOL[:4]}
        monkeypatch.undo()
        assert sync_in_memory(_side(store), _side(_store(POOL))).report.in_sync
        assert _ids(store) == {entry.id for entry in POOL}


def test_every_reason_has_a_sentence() -> None:
    assert all(reason.sentence.endswith(".") for reason in Refusal)
