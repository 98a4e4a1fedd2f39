"""What authors keep and peers bring is counted and bounded, alike on memory and LMDB."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from setsync import limits
from setsync.errors import NoSuchEntryError, PayloadNeededError, StoreLimitError
from setsync.model.entry import Entry, make_entry
from setsync.model.refusal import Refusal
from setsync.store import layout, lmdb_store, memory, refusals
from setsync.store.check import check
from setsync.store.contract import (
    Added,
    EntryStore,
    Origin,
    Quotas,
    Refuser,
    RefuserKind,
    Snapshot,
    Usage,
)
from setsync.store.environment import Transaction
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore
from tests.helpers import MIDNIGHT, entries, entries_under, keys, some_bytes, withheld

DAY = 86_400_000
ANNA, BEN = some_bytes("peer", "anna"), some_bytes("peer", "ben")
OURS = Refuser(RefuserKind.OURS)
NOBODY = Quotas(10**6, 10**9, 10**6, 10**9)
"""Quotas that nobody here goes over."""


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EntryStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    with Store.open(tmp_path / "store") as opened:
        yield opened


def by(author: int, count: int, collection: str = "notes") -> list[Entry]:
    """Entries of one of several authors, all of one size."""
    key = keys(9, seed=3)[author]
    return [
        make_entry(key, collection, b"payload %03d" % number, MIDNIGHT + number)
        for number in range(count)
    ]


def author(number: int) -> bytes:
    return keys(9, seed=3)[number].public


def usage(store: EntryStore, number: int = 0) -> Usage:
    with store.snapshot() as snapshot:
        return snapshot.usage(author(number))


def size_of(some: Sequence[Entry]) -> int:
    return sum(entry.size for entry in some)


def refused(added: Added) -> dict[int, Refusal]:
    return dict(added.refused)


# --- authors ------------------------------------------------------------------------------


def test_usage_is_entries_and_bytes_of_headers_and_payloads_with_or_without_quotas(
    store: EntryStore,
) -> None:
    some = by(0, 6)
    store.add_many([*some[:3], *by(1, 1)])
    store.add_many([*some, *some], quotas=NOBODY)
    assert usage(store, 0) == Usage(6, size_of(some))
    assert usage(store, 1) == Usage(1, size_of(by(1, 1)))
    assert usage(store, 2) == Usage(0, 0)


def test_an_author_over_its_entries_is_left_out_and_others_are_stored(store: EntryStore) -> None:
    batch = [entry for pair in zip(by(0, 5), by(1, 5), strict=True) for entry in pair]
    added = store.add_many(batch, quotas=Quotas(author_entries=3))
    assert refused(added) == dict.fromkeys((6, 7, 8, 9), Refusal.AUTHOR_QUOTA)
    assert added.new == tuple(entry.id for entry in batch[:6])
    assert (added.known, usage(store, 0).entries) == (0, 3)
    again = store.add_many(batch, quotas=Quotas(author_entries=4))
    assert (len(again.new), again.known) == (2, 6)
    assert refused(again) == dict.fromkeys((8, 9), Refusal.AUTHOR_QUOTA)


def test_an_author_may_fill_its_bytes_to_the_last_one(store: EntryStore) -> None:
    some = by(0, 4)
    exactly = size_of(some[:3])
    assert refused(store.add_many(some, quotas=Quotas(author_bytes=exactly))) == {
        3: Refusal.AUTHOR_QUOTA
    }
    assert usage(store) == Usage(3, exactly)


def test_what_is_known_is_never_refused(store: EntryStore) -> None:
    some = by(0, 4)
    store.add_many(some)
    added = store.add_many([*some, some[0]], quotas=Quotas(0, 0, 0, 0))
    assert added == Added((), 5, 0)


def test_a_refused_entry_may_fit_without_its_payload(store: EntryStore) -> None:
    [one] = by(0, 1)
    quotas = Quotas(author_bytes=one.size - 1)
    added = store.add_many([one, withheld(one), one], quotas=quotas)
    assert (refused(added), added.new) == ({0: Refusal.AUTHOR_QUOTA}, (one.id,))
    assert (added.known, added.payloads) == (1, 0)
    assert usage(store) == Usage(1, len(one.header))


def test_a_payload_over_the_authors_bytes_is_not_attached(store: EntryStore) -> None:
    one, two = by(0, 2)
    store.add_many([withheld(one), withheld(two)])
    room = len(one.header) + len(two.header) + len(one.payload or b"")
    added = store.add_many([one, two], quotas=Quotas(author_bytes=room))
    assert (added.payloads, added.refused) == (1, ())
    assert usage(store) == Usage(2, room)
    with store.snapshot() as snapshot:
        assert [entry.payload for entry in snapshot.since(0, 9)] == [one.payload, None]
        assert [found.id for found in snapshot.withheld(0, 9)] == [two.id]


# --- peers --------------------------------------------------------------------------------


def test_a_peer_brings_so_much_a_day_and_only_what_is_new_counts(store: EntryStore) -> None:
    some = by(0, 9)
    quotas = Quotas(peer_entries=3)
    morning, evening, next_day = (Origin(at, ANNA) for at in (5, DAY - 1, DAY))
    assert not store.add_many(some[:2], [(0, morning)], quotas).refused
    added = store.add_many(some[:6], [(0, evening), (4, Origin(9, BEN))], quotas)
    assert refused(added) == {3: Refusal.PEER_QUOTA}
    assert len(added.new) == 3
    assert not store.add_many(some[6:9], [(0, next_day)], quotas).refused
    at_midnight = store.add_many(by(1, 2), [(0, next_day)], quotas)
    assert set(refused(at_midnight).values()) == {Refusal.PEER_QUOTA}


def test_a_peers_bytes_are_bounded_and_who_is_at_this_machine_is_not(store: EntryStore) -> None:
    some = by(0, 4)
    quotas = Quotas(peer_bytes=some[0].size)
    assert refused(store.add_many(some[:2], [(0, Origin(1, ANNA))], quotas)) == {
        1: Refusal.PEER_QUOTA
    }
    assert not store.add_many(some, [(0, None), (2, Origin(1))], quotas).refused


# --- collections --------------------------------------------------------------------------


def test_one_collection_too_many_is_refused_by_quotas_and_the_rest_of_the_batch_stays(
    store: EntryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (lmdb_store, memory):
        monkeypatch.setattr(module, "MAX_COLLECTIONS", 3)
        monkeypatch.setattr(module, "MAX_COLLECTIONS_PER_AUTHOR", 2)
    batch = [by(0, 1, "a")[0], by(0, 1, "b")[0], by(0, 1, "c")[0], *by(1, 2, "c"), *by(0, 2, "c")]
    added = store.add_many(batch, quotas=NOBODY)
    assert refused(added) == {2: Refusal.COLLECTIONS}
    assert refused(store.add_many(by(2, 1, "d"), quotas=NOBODY)) == {0: Refusal.COLLECTIONS}
    with store.snapshot() as snapshot:
        assert [name for name, _ in snapshot.collections()] == ["a", "b", "c"]


def test_without_quotas_a_collection_too_many_is_an_error_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_store, "MAX_COLLECTIONS", 1)
    with Store.open(tmp_path / "store") as store:
        with pytest.raises(StoreLimitError):
            store.add_many([*by(0, 1, "a"), *by(0, 1, "b")])
        assert usage(store) == Usage(0, 0)


# --- payloads -----------------------------------------------------------------------------


def test_withheld_payloads_are_listed_by_arrival_in_pages(store: EntryStore) -> None:
    some = by(0, 5)
    store.add_many([withheld(some[0]), some[1], *map(withheld, some[2:])])
    with store.snapshot() as snapshot:
        assert snapshot.withheld_count == 4
        first = snapshot.withheld(0, 3)
        rest = snapshot.withheld(first[-1].arrival, 3)
        assert [one.id for one in [*first, *rest]] == [some[at].id for at in (0, 2, 3, 4)]
        assert {(one.collection, one.size) for one in first} == {("notes", 11)}
        for one in first:
            assert snapshot.arrival(one.collection, one.id) == one.arrival
        assert snapshot.withheld(rest[-1].arrival, 3) == []
        assert snapshot.withheld(0, 0) == []


def test_a_dropped_payload_is_gone_and_never_attached_until_it_is_wanted_again(
    store: EntryStore,
) -> None:
    one, two = by(0, 2)
    store.add_many([one, two])
    assert store.drop_payload("notes", one.id) == len(one.payload or b"")
    assert store.drop_payload("notes", one.id) == 0
    assert usage(store) == Usage(2, size_of([one, two]) - len(one.payload or b""))
    assert store.add_many([one]) == Added((), 1, 0)
    with store.snapshot() as snapshot:
        found = snapshot.entry("notes", one.id)
        assert found is not None
        assert (found.payload, found.dropped) == (None, True)
        assert [entry.dropped for entry in snapshot.since(0, 9)] == [True, False]
        assert snapshot.withheld_count == 0
    assert store.restore_payload("notes", one.id)
    assert not store.restore_payload("notes", one.id)
    assert not store.restore_payload("notes", two.id)
    with store.snapshot() as snapshot:
        assert [found.id for found in snapshot.withheld(0, 9)] == [one.id]
    assert store.add_many([one]).payloads == 1
    assert usage(store) == Usage(2, size_of([one, two]))


def test_a_withheld_payload_that_is_dropped_is_not_wanted_any_more(store: EntryStore) -> None:
    [one] = by(0, 1)
    store.add_many([withheld(one)])
    assert store.drop_payload("notes", one.id) == 0
    with store.snapshot() as snapshot:
        assert snapshot.withheld_count == 0
    assert store.add_many([one]).payloads == 0


def test_payloads_of_the_system_and_of_strangers_are_not_dropped(store: EntryStore) -> None:
    [one] = by(0, 1, "system/keys")
    store.add_many([one])
    with pytest.raises(PayloadNeededError, match="collection of the system"):
        store.drop_payload("system/keys", one.id)
    for collection, id_ in (("system", bytes(32)), ("notes", one.id)):
        with pytest.raises(NoSuchEntryError):
            store.drop_payload(collection, id_)
    with pytest.raises(NoSuchEntryError):
        store.restore_payload("notes", one.id)
    with store.snapshot() as snapshot:
        found = snapshot.entry("system/keys", one.id)
    assert found is not None
    assert found.payload == one.payload


# --- refusals -----------------------------------------------------------------------------


def ids_noted(store: EntryStore, refuser: Refuser = OURS, prefix: str = "", now: int = 0) -> object:
    with store.snapshot() as snapshot:
        return snapshot.refused(refuser, "notes", prefix, now, 10**6)


def test_refusals_are_found_by_refuser_collection_prefix_and_id(store: EntryStore) -> None:
    some = [entry.id for entry in (*entries_under("ab", 3), *entries(20))]
    theirs = Refuser(RefuserKind.THEIRS, ANNA)
    noted = [(id_, Refusal.AUTHOR_BLOCKED) for id_ in some]
    store.note_refused(OURS, "notes", noted, 5)
    store.note_refused(theirs, "notes", noted[:2], 5)
    store.note_refused(OURS, "other", noted[:1], 5)
    store.note_refused(OURS, "notes", [], 5)
    with store.snapshot() as snapshot:
        assert snapshot.refused(OURS, "notes", "", 5, 99) == sorted(set(some))
        for prefix in ("a", "ab", some[7].hex(), some[3].hex()[:5]):
            under = sorted({id_ for id_ in some if id_.hex().startswith(prefix)})
            assert snapshot.refused(OURS, "notes", prefix, 5, 99) == under
        assert snapshot.refused(OURS, "notes", "", 5, 2) == sorted(set(some))[:2]
        assert snapshot.refused(Refuser(RefuserKind.THEIRS, BEN), "notes", "", 5, 9) == []
        assert snapshot.is_refused([theirs], "notes", some, 5) == set(some[:2])
        assert snapshot.is_refused([theirs, OURS], "notes", some[1:], 5) == set(some[1:])
        assert snapshot.is_refused([OURS], "other", some, 5) == {some[0]}
        assert snapshot.is_refused([], "notes", some, 5) == set()


def test_a_refusal_is_forgotten_after_a_day_and_noted_again_it_counts_anew(
    store: EntryStore,
) -> None:
    lasts = int(limits.REFUSED_SECONDS * 1000)
    noted = [(entry.id, Refusal.PEER_QUOTA) for entry in entries(2)]
    store.note_refused(OURS, "notes", noted, 1000)
    store.note_refused(OURS, "notes", noted[:1], 2000)
    for now, count in ((1000, 2), (1000 + lasts, 2), (1001 + lasts, 1), (2001 + lasts, 0)):
        with store.snapshot() as snapshot:
            assert len(snapshot.refused(OURS, "notes", "", now, 9)) == count
            ids = [id_ for id_, _ in noted]
            assert len(snapshot.is_refused([OURS], "notes", ids, now)) == count


def test_kinds_of_refusals_are_forgotten_one_by_one_and_all_together(store: EntryStore) -> None:
    noted = [(entry.id, Refusal.NOT_A_WRITER) for entry in entries(5)]
    for kind in RefuserKind:
        store.note_refused(Refuser(kind, ANNA), "notes", noted, 0)
    assert store.forget_refused([]) == 0
    assert store.forget_refused([RefuserKind.OURS_FROM]) == 5
    assert ids_noted(store, Refuser(RefuserKind.OURS_FROM, ANNA)) == []
    for kind in (RefuserKind.OURS, RefuserKind.THEIRS):
        assert len(ids_noted(store, Refuser(kind, ANNA))) == 5  # type: ignore[arg-type]
    assert store.forget_refused(set(RefuserKind)) == 10
    assert store.forget_refused([RefuserKind.OURS]) == 0


def test_a_note_that_there_is_no_room_for_empties_the_table_first(
    store: EntryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (refusals, memory):
        monkeypatch.setattr(module, "MAX_REFUSED", 10)
    noted = [(entry.id, Refusal.COLLECTIONS) for entry in entries(14)]
    store.note_refused(OURS, "notes", noted[:6], 0)
    store.note_refused(OURS, "notes", noted[6:10], 0)
    assert ids_noted(store) == sorted(id_ for id_, _ in noted[:10])
    store.note_refused(OURS, "notes", noted[10:11], 0)
    assert ids_noted(store) == [noted[10][0]]
    store.note_refused(OURS, "notes", noted, 0)
    assert ids_noted(store) == sorted(id_ for id_, _ in noted[:10])


# --- stores from before -------------------------------------------------------------------


def test_a_store_from_before_these_tables_is_counted_once_on_opening(tmp_path: Path) -> None:
    some = [*by(0, 5), *by(1, 3)]
    with Store.open(tmp_path / "store") as store:
        store.add_many([*some[:6], *map(withheld, some[6:])])
        store.drop_payload("notes", some[7].id)
        expected = _rows(store, layout.AUTHORS), _rows(store, layout.WITHHELD)
        env = store.environment

        def forget(transaction: Transaction) -> None:
            for table in (layout.AUTHORS, layout.WITHHELD):
                transaction.drop(env.table(table), delete=False)
            transaction.delete(layout.STATE_USAGE, db=env.table(layout.STATE))

        env.write(forget)
    for _ in range(2):
        with Store.open(tmp_path / "store") as store:
            assert (_rows(store, layout.AUTHORS), _rows(store, layout.WITHHELD)) == expected
            assert check(store).findings == []
    assert [len(rows) for rows in expected] == [2, 1]


def _rows(store: Store, table: bytes) -> list[tuple[bytes, bytes]]:
    env = store.environment
    with env.read() as transaction, transaction.cursor(db=env.table(table)) as cursor:
        return list(cursor.iternext())


# --- all of it ----------------------------------------------------------------------------

POOL = [
    entry
    for number in range(3)
    for collection in ("notes", "letters", f"own/{number}")
    for entry in by(number, 3, collection)
]
ONE = POOL[0].size
_some_quotas = st.one_of(
    st.none(),
    st.builds(
        Quotas,
        st.integers(0, 10),
        st.integers(0, 10 * ONE),
        st.integers(0, 12),
        st.integers(0, 12 * ONE),
    ),
)
_member = st.builds(
    lambda entry, without: withheld(entry) if without else entry,
    st.sampled_from(POOL),
    st.booleans(),
)
_origin = st.one_of(
    st.none(),
    st.builds(Origin, st.sampled_from([0, DAY - 1, DAY]), st.sampled_from([ANNA, BEN, b""])),
)


class QuotaMachine(RuleBasedStateMachine):
    """Both stores side by side, LMDB closed and opened again in between."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="setsync-test-"))
        self.memory = MemoryStore()
        self.lmdb = Store.open(self.folder)
        self.here: list[Entry] = []

    @rule(
        batch=st.lists(_member, max_size=12),
        first=_origin,
        then=_origin,
        at=st.integers(1, 12),
        quotas=_some_quotas,
    )
    def add(
        self,
        batch: list[Entry],
        first: Origin | None,
        then: Origin | None,
        at: int,
        quotas: Quotas | None,
    ) -> None:
        origins = [(0, first), (at, then)]
        added = self.lmdb.add_many(batch, origins, quotas)
        assert added == self.memory.add_many(batch, origins, quotas)
        places = [place for place, _ in added.refused]
        assert places == sorted(set(places))
        assert len(added.new) + added.known + len(places) == len(batch)
        self.here += [entry for at, entry in enumerate(batch) if at not in places]

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.here))
        freed = self.lmdb.drop_payload(one.collection, one.id)
        assert freed == self.memory.drop_payload(one.collection, one.id)

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.here))
        restored = self.lmdb.restore_payload(one.collection, one.id)
        assert restored == self.memory.restore_payload(one.collection, one.id)

    @rule()
    def open_again(self) -> None:
        self.lmdb.close()
        self.lmdb = Store.open(self.folder, create=False)

    @invariant()
    def both_say_the_same(self) -> None:
        with self.memory.snapshot() as one, self.lmdb.snapshot() as two:
            assert _told(one) == _told(two)

    def teardown(self) -> None:
        findings = check(self.lmdb).findings
        self.lmdb.close()
        shutil.rmtree(self.folder)
        assert findings == []


def _told(snapshot: Snapshot) -> object:
    """All that does not depend on gaps in arrival numbers."""
    stored = snapshot.since(0, 10**6)
    return (
        [(one.collection, one.id, one.payload, one.dropped) for one in stored],
        [snapshot.origin(one.arrival) for one in stored],
        [snapshot.usage(author(number)) for number in range(3)],
        [(one.collection, one.id, one.size) for one in snapshot.withheld(0, 10**6)],
        snapshot.withheld_count,
        dict(snapshot.collections()),
    )


QuotaMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=10, deadline=None)
TestQuotaMachine = QuotaMachine.TestCase
