"""One battery for every store: what `setsync.store.contract` promises, on memory and LMDB."""

from __future__ import annotations

import contextlib
import copy
import itertools
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from setsync.errors import DamagedStoreError, StoreError, StoreLimitError
from setsync.model.entry import Entry, UnverifiedEntry, make_entry
from setsync.reconcile.digest import Summary, summarise
from setsync.store import layout, lmdb_store
from setsync.store.contract import EntryStore, Origin, all_ids
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore
from tests.helpers import (
    MIDNIGHT,
    entries,
    entries_under,
    entry_batches,
    keys,
    pool,
    sorted_ids,
    withheld,
)
from tests.store.laws import check_laws

CAPACITY = 3
OpenStore = Callable[[], AbstractContextManager[EntryStore]]
"""Opens a fresh store with leaves of `CAPACITY` ids."""


@contextlib.contextmanager
def _lmdb_store() -> Iterator[Store]:
    folder = Path(tempfile.mkdtemp(prefix="setsync-test-"))
    try:
        with Store.open(folder, leaf_capacity=CAPACITY) as store:
            yield store
    finally:
        shutil.rmtree(folder)


def _memory_store() -> AbstractContextManager[MemoryStore]:
    return contextlib.nullcontext(MemoryStore(CAPACITY))


@pytest.fixture(params=["memory", "lmdb"])
def open_store(request: pytest.FixtureRequest) -> OpenStore:
    return _lmdb_store if request.param == "lmdb" else _memory_store


@pytest.fixture
def store(open_store: OpenStore) -> Iterator[EntryStore]:
    with open_store() as opened:
        yield opened


def roots(store: EntryStore) -> dict[str, Summary]:
    with store.snapshot() as snapshot:
        return dict(snapshot.collections())


def expected_roots(some: list[Entry]) -> dict[str, Summary]:
    """Straight from the definition."""
    by_name: dict[str, set[bytes]] = {}
    for entry in some:
        by_name.setdefault(entry.collection, set()).add(entry.id)
    return {name: summarise(sorted(ids), 0, CAPACITY) for name, ids in by_name.items()}


def check_store(store: EntryStore, given_entries: list[Entry]) -> None:
    """Everything a store must say after it was given these entries, in this order."""
    first: dict[tuple[str, bytes], Entry] = {}
    payloads: dict[tuple[str, bytes], bytes] = {}
    for entry in given_entries:
        first.setdefault((entry.collection, entry.id), entry)
        if entry.payload is not None:
            payloads[entry.collection, entry.id] = entry.payload
    with store.snapshot() as snapshot:
        assert dict(snapshot.collections()) == expected_roots(given_entries)
        assert snapshot.entry_count == len(first)
        stored = snapshot.since(0, 10**6)
        assert [(one.collection, one.id) for one in stored] == list(first)
        arrivals = [one.arrival for one in stored]
        assert arrivals == sorted(set(arrivals))
        assert snapshot.last_arrival == (arrivals[-1] if arrivals else 0)
        for one in stored:
            key = (one.collection, one.id)
            assert one.header == first[key].header
            assert one.payload == payloads.get(key)
            assert snapshot.entry(*key) == one
            assert snapshot.arrival(*key) == one.arrival
        for name in expected_roots(given_entries):
            view = snapshot.view(name)
            assert view is not None
            check_laws(view, sorted(id_ for where, id_ in first if where == name), CAPACITY)


slow_fixture = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)


@slow_fixture
@given(batches=entry_batches())
def test_any_order_and_batching_of_arrival_leads_to_what_the_definition_says(
    open_store: OpenStore, batches: list[list[Entry]]
) -> None:
    with open_store() as store:
        for batch in batches:
            known = set(itertools.chain(*[all_ids(store, name, 7) for name in roots(store)]))
            added = store.add_many(batch)
            new = list(dict.fromkeys(entry.id for entry in batch if entry.id not in known))
            assert added.new == tuple(new)
            assert added.known == len(batch) - len(new)
        check_store(store, [entry for batch in batches for entry in batch])


@slow_fixture
@given(order=st.permutations(pool()), size=st.integers(1, 50))
def test_equal_sets_have_equal_roots(open_store: OpenStore, order: list[Entry], size: int) -> None:
    with open_store() as one, open_store() as two:
        one.add_many(pool())
        for low in range(0, len(order), size):
            two.add_many(order[low : low + size])
        assert roots(one) == roots(two)


def test_an_empty_store_says_so(store: EntryStore) -> None:
    with store.snapshot() as snapshot:
        assert snapshot.collections() == []
        assert (snapshot.entry_count, snapshot.last_arrival) == (0, 0)
        assert snapshot.since(0, 10) == []
        assert snapshot.find("", 5) == []
        assert snapshot.view("notes") is None
        assert snapshot.entry("notes", bytes(32)) is None
    assert store.add_many([]).new == ()


def test_a_name_that_no_collection_can_have_is_simply_not_here(store: EntryStore) -> None:
    store.add_many(entries(3))
    with store.snapshot() as snapshot:
        for name in ("", "x" * 256, "x" * 5000, "\ud800", "a//b", "note"):
            assert snapshot.view(name) is None
            assert snapshot.arrival(name, bytes(32)) is None
            assert list(snapshot.entries(name, [bytes(32)])) == []


def test_a_payload_that_was_withheld_is_attached_later_and_stays(store: EntryStore) -> None:
    some = entries(6)
    before = store.add_many([withheld(entry) for entry in some])
    root = roots(store)
    assert (len(before.new), before.payloads) == (6, 0)
    after = store.add_many([some[1], withheld(some[2]), some[3]])
    assert (after.new, after.known, after.payloads) == ((), 3, 2)
    assert store.add_many([some[1], withheld(some[1])]).payloads == 0
    with store.snapshot() as snapshot:
        here = [one.payload is not None for one in snapshot.since(0, 10)]
    assert here == [False, True, False, True, False, False]
    assert roots(store) == root


def test_a_batch_that_names_an_entry_twice_keeps_its_payload_from_either(store: EntryStore) -> None:
    one, two = entries(2)
    added = store.add_many([withheld(one), one, two, withheld(two), one])
    assert added.new == (one.id, two.id)
    assert (added.known, added.payloads) == (3, 1)
    check_store(store, [one, two])


def test_arrival_numbers_follow_the_order_given_across_collections(store: EntryStore) -> None:
    mixed = [entry for pair in zip(entries(9, "a"), entries(9, "b"), strict=True) for entry in pair]
    store.add_many(mixed[:5])
    store.add_many(mixed)
    with store.snapshot() as snapshot:
        assert [one.id for one in snapshot.since(0, 100)] == [entry.id for entry in mixed]
        third = snapshot.since(0, 3)[-1].arrival
        assert [one.id for one in snapshot.since(third, 2)] == [entry.id for entry in mixed[3:5]]
        assert snapshot.since(snapshot.last_arrival, 5) == []


def test_who_brought_an_entry_and_when_is_kept_with_its_arrival(store: EntryStore) -> None:
    one, two = Origin(5, bytes(32)), Origin(6)
    some = entries(6)
    store.add_many(some[:1])
    store.add_many(some[:5], [(0, None), (2, one), (4, two)])
    store.add_many(some, [(0, one)])
    with store.snapshot() as snapshot:
        arrivals = [snapshot.arrival("notes", entry.id) for entry in some]
        told = [snapshot.origin(arrival) for arrival in arrivals if arrival is not None]
    assert told == [None, None, one, one, two, one]


def test_since_stops_at_a_number_of_bytes_but_never_before_one_entry(store: EntryStore) -> None:
    store.add_many(entries(5))
    with store.snapshot() as snapshot:
        assert len(snapshot.since(0, 10, 1)) == 1
        assert len(snapshot.since(0, 10, 10**6)) == 5


def test_find_names_every_entry_under_a_prefix_in_every_collection(store: EntryStore) -> None:
    near = [*entries_under("abc", 4, "one"), *entries_under("abc", 3, "two")]
    store.add_many([*entries(30, "one"), *near, *entries(30, "three")])
    with store.snapshot() as snapshot:
        found = snapshot.find("abc", 100)
        everything = [*entries(30, "one"), *near, *entries(30, "three")]
        assert sorted(found) == sorted(
            (entry.collection, entry.id) for entry in everything if entry.id.hex()[:3] == "abc"
        )
        assert len(snapshot.find("abc")) == 2
        whole = near[5].id.hex()
        assert snapshot.find(whole) == [("two", near[5].id)]
        assert snapshot.find(whole[:-1] + ("0" if whole[-1] != "0" else "1")) == []


def test_entries_come_in_the_order_asked_for_and_strangers_are_left_out(store: EntryStore) -> None:
    some = entries(8)
    store.add_many(some)
    asked = [some[5].id, bytes(32), some[0].id, b"\xff" * 32, some[7].id]
    with store.snapshot() as snapshot:
        found = [one.id for one in snapshot.entries("notes", asked)]
    assert found == [some[5].id, some[0].id, some[7].id]


def test_all_ids_walks_a_collection_in_short_snapshots(store: EntryStore) -> None:
    store.add_many(entries(50))
    for limit in (1, 7, 50, 1000):
        assert list(all_ids(store, "notes", limit)) == sorted_ids(entries(50))
    assert list(all_ids(store, "elsewhere", 7)) == []


def test_a_snapshot_does_not_see_what_comes_after_it(store: EntryStore) -> None:
    store.add_many(entries(5))
    with store.snapshot() as before:
        store.add_many(entries(40))
        view = before.view("notes")
        assert view is not None
        check_laws(view, sorted_ids(entries(5)), CAPACITY)
        assert (before.entry_count, before.last_arrival) == (5, 5)


def test_what_a_snapshot_returned_outlives_it(store: EntryStore) -> None:
    store.add_many(entries(40))
    with store.snapshot() as snapshot:
        view = snapshot.view("notes")
        assert view is not None
        ids, summary, stored = view.ids(""), view.summary("a"), snapshot.since(0, 5)
    store.add_many(entries(200, seed=1))
    assert [row.tobytes() for row in ids] == sorted_ids(entries(40))
    assert summary.count == sum(entry.id.hex()[0] == "a" for entry in entries(40))
    assert [one.header for one in stored] == [entry.header for entry in entries(5)]


def test_clocks_decide_nothing_entries_of_any_time_are_members_like_others(
    store: EntryStore,
) -> None:
    ten_years = 10 * 365 * 86_400_000
    times = [0, 1, MIDNIGHT - ten_years, MIDNIGHT, MIDNIGHT + ten_years, 2**63, 2**64 - 1]
    some = [make_entry(keys(1)[0], "notes", b"when", at) for at in times]
    store.add_many(some[::-1])
    check_store(store, some[::-1])
    with store.snapshot() as snapshot:
        assert [one.id for one in snapshot.since(0, 10)] == [entry.id for entry in some[::-1]]


# --- LMDB alone ---------------------------------------------------------------------------


def test_an_exception_in_the_middle_of_a_batch_leaves_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stop(BaseException):
        """Like KeyboardInterrupt: no Exception."""

    with _lmdb_store() as store:
        store.add_many(entries(20))
        before = roots(store), store.last_arrival()
        puts = last = 0
        original = lmdb_store._Batch._put

        def failing(batch: lmdb_store._Batch, table: object, key: bytes, value: bytes) -> None:
            nonlocal puts
            puts += 1
            if puts > last:
                raise Stop
            original(batch, table, key, value)

        monkeypatch.setattr(lmdb_store._Batch, "_put", failing)
        for allowed in range(6):
            puts, last = 0, allowed
            with pytest.raises(Stop):
                store.add_many([*entries(30), *entries(10, "other"), *entries(10, "third")])
            assert (roots(store), store.last_arrival()) == before
        monkeypatch.undo()
        store.add_many(entries(30))
        check_store(store, list(entries(30)))


def test_a_node_holds_a_limited_number_of_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_store, "MAX_COLLECTIONS", 3)
    with _lmdb_store() as store:
        for name in "abc":
            store.add_many(entries(2, name))
        before = roots(store)
        with pytest.raises(StoreLimitError, match="at most 3"):
            store.add_many([*entries(4, "a"), *entries(1, "d")])
        assert roots(store) == before
        assert len(store.add_many(entries(4, "a")).new) == 2


def test_an_author_opens_a_limited_number_of_collections_and_others_are_not_hindered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lmdb_store, "MAX_COLLECTIONS_PER_AUTHOR", 2)
    greedy, modest = keys(2, seed=7)
    with _lmdb_store() as store:
        for name in "ab":
            store.add(make_entry(greedy, name, b"mine", MIDNIGHT))
        with pytest.raises(StoreLimitError, match=greedy.public.hex()):
            store.add(make_entry(greedy, "c", b"mine too", MIDNIGHT))
        assert store.add(make_entry(modest, "c", b"allowed", MIDNIGHT))
        assert store.add(make_entry(greedy, "c", b"now it is here", MIDNIGHT))


def test_one_id_is_found_from_whichever_collection_has_it() -> None:
    with _lmdb_store() as store:
        store.add_many([*entries(5, "a"), *entries(5, "b")])
        wanted = entries(5, "b")[3]
        found = store.get(wanted.id)
        assert found is not None
        assert (found.collection, found.payload) == ("b", wanted.payload)
        assert store.get(bytes(32)) is None


def test_iterating_gives_every_entry_in_the_order_of_arrival() -> None:
    with _lmdb_store() as store:
        store.add_many(entries(600))
        assert [one.id for one in store] == [entry.id for entry in entries(600)]


def test_a_trie_node_that_is_missing_is_damage_on_reading_and_on_writing() -> None:
    with _lmdb_store() as store:
        store.add_many(entries(60))
        env = store.environment
        env.write(
            lambda transaction: transaction.delete(
                layout.trie_key(layout.collection_key(1), ""), db=env.table(layout.TRIE)
            )
        )
        with pytest.raises(DamagedStoreError, match="trie lacks a node at the root"):
            store.add_many(entries(70))


def test_a_log_that_is_ahead_of_its_counter_is_damage_and_nothing_is_written_over() -> None:
    with _lmdb_store() as store:
        store.add_many(entries(5))
        env = store.environment
        env.write(
            lambda transaction: transaction.put(
                layout.STATE_LAST_ARRIVAL, layout.arrival_key(3), db=env.table(layout.STATE)
            )
        )
        with pytest.raises(DamagedStoreError, match="later than the last arrival"):
            store.add(entries(6)[5])


def test_what_is_no_verified_entry_is_refused_before_the_store_sees_it() -> None:
    entry = entries(1)[0]
    with pytest.raises(TypeError, match="made by"):
        Entry(object(), UnverifiedEntry("notes", b"", None), entry.id, entry.author, None)
    with pytest.raises(AttributeError, match="payload stays"):
        entry.payload = b"something else"
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="verify them"):
            way(entry)


def test_a_copy_is_a_whole_store_and_goes_into_empty_folders_only(tmp_path: Path) -> None:
    with _lmdb_store() as store:
        store.add_many(entries(100))
        for compact in (False, True):
            target = tmp_path / f"backup {compact}"
            store.copy(target, compact=compact)
            with Store.open(target, create=False, leaf_capacity=CAPACITY) as twin:
                assert roots(twin) == roots(store)
                assert twin.add_many(entries(101)).known == 100
            with pytest.raises(StoreError, match="not empty"):
                store.copy(target)
        file = tmp_path / "file"
        file.write_text("in the way")
        with pytest.raises(StoreError, match="cannot be used"):
            store.copy(file)


class StoreMachine(RuleBasedStateMachine):
    """Both stores side by side, LMDB closed and opened again in between."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="setsync-test-"))
        self.memory = MemoryStore(CAPACITY)
        self.given: list[Entry] = []
        self.lmdb = Store.open(self.folder, leaf_capacity=CAPACITY)

    @rule(batches=entry_batches(max_batches=2))
    def add(self, batches: list[list[Entry]]) -> None:
        for batch in batches:
            assert self.memory.add_many(batch) == self.lmdb.add_many(batch)
            self.given += batch

    @precondition(lambda self: self.given)
    @rule()
    def open_again(self) -> None:
        self.lmdb.close()
        self.lmdb = Store.open(self.folder, create=False, leaf_capacity=CAPACITY)

    @invariant()
    def both_are_what_they_were_given(self) -> None:
        check_store(self.memory, self.given)
        check_store(self.lmdb, self.given)

    def teardown(self) -> None:
        self.lmdb.close()
        shutil.rmtree(self.folder)


StoreMachine.TestCase.settings = settings(max_examples=12, stateful_step_count=6, deadline=None)
TestStoreMachine = StoreMachine.TestCase
