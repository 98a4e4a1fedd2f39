"""What goes and what stays when payloads are collected, alike on memory and LMDB."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bamboo_compat.core.profiles import PROFILES
from setsync.errors import NoSuchEntryError
from setsync.limits import COMMIT_SECONDS, SNAPSHOT_SECONDS
from setsync.model.collection import Pattern, is_system, match_any
from setsync.model.entry import Entry, make_entry
from setsync.model.formats import EntryFormat, format_of
from setsync.store import payloads, retention
from setsync.store.check import check
from setsync.store.contract import Added, Dropped, EntryStore, Origin, StoredEntry, Usage
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore
from setsync.store.nodes import LmdbNodes
from setsync.store.retention import Collected, Rules, Stays, Tally, collect
from setsync.store.trie import find_arrival
from tests.bamboo.histories import member
from tests.bamboo.logs import Author
from tests.bamboo.test_dropped_payloads import ONE
from tests.bamboo.test_index import told
from tests.helpers import MIDNIGHT, keys, some_bytes, withheld

DAY = 86_400_000
ANNA = some_bytes("peer", "anna")
OURS, THEIRS = keys(2, seed=5)
ALL = Rules(larger_than=0)


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EntryStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    with Store.open(tmp_path / "store") as opened:
        yield opened
        assert check(opened).findings == []


def made(
    count: int, collection: str = "notes", *, size: int = 100, own: bool = False
) -> list[Entry]:
    author = OURS if own else THEIRS
    return [
        make_entry(author, collection, some_bytes(collection, at, length=size), MIDNIGHT - at)
        for at in range(count)
    ]


def bring(store: EntryStore, some: Sequence[Entry], at: int = MIDNIGHT, peer: bytes = ANNA) -> None:
    store.add_many(some, [(0, Origin(at, peer))])


def everything(store: EntryStore) -> list[StoredEntry]:
    with store.snapshot() as snapshot:
        return list(snapshot.since(0, 10**6))


def here(store: EntryStore) -> set[bytes]:
    """Ids of entries whose payload is here."""
    return {one.id for one in everything(store) if one.payload is not None}


def ids(some: Sequence[Entry]) -> set[bytes]:
    return {one.id for one in some}


# --- the batch ----------------------------------------------------------------------------


def test_a_batch_is_dropped_together_and_says_what_it_freed(store: EntryStore) -> None:
    some = made(5)
    bring(store, [*some[:4], withheld(some[4])])
    store.drop_payload("notes", some[0].id)
    found = store.drop_many([("notes", one.id) for one in some])
    assert found == Dropped({1: 100, 2: 100, 3: 100, 4: 0}, (), 5)
    assert here(store) == set()
    assert {one.dropped for one in everything(store)} == {True}
    with store.snapshot() as snapshot:
        assert snapshot.withheld_count == 0
        headers = sum(len(one.header) for one in some)
        assert snapshot.usage(some[0].author) == Usage(5, headers)
    assert store.add_many(some) == Added((), 5, 0)


def test_what_the_system_needs_stays_and_the_rest_of_the_batch_goes(store: EntryStore) -> None:
    notes, system = made(2), made(1, "system/keys")
    bring(store, [*notes, *system])
    batch = [("notes", notes[0].id), ("system/keys", system[0].id), ("notes", notes[1].id)]
    assert store.drop_many(batch) == Dropped({0: 100, 2: 100}, (1,), 3)
    assert here(store) == ids(system)


@pytest.mark.parametrize("collection", ["notes", "system/keys", "system/nowhere"])
def test_a_batch_with_a_stranger_in_it_drops_nothing(store: EntryStore, collection: str) -> None:
    some = made(2)
    bring(store, [*some, *made(1, "system/keys")])
    before = here(store)
    with pytest.raises(NoSuchEntryError):
        store.drop_many([("notes", some[0].id), (collection, bytes(32)), ("notes", some[1].id)])
    with pytest.raises(NoSuchEntryError):
        store.drop_payload(collection, bytes(32))
    assert here(store) == before


def test_the_evidence_of_a_fork_stays_and_the_rest_of_the_batch_goes(store: EntryStore) -> None:
    first, other = Author(log_id=1024), Author(log_id=1025)
    records = [first.append(ONE), first.append(ONE), other.append(ONE)]
    some = [member(record) for record in records]
    bring(store, some)
    before = told(store)[1]
    found = store.drop_many([(one.collection, one.id) for one in some])
    assert found == Dropped({1: len(ONE)}, (0, 2), 3)
    assert here(store) == {some[0].id, some[2].id}
    assert told(store)[1:] == (before, [])


def test_an_index_that_this_process_has_not_opened_is_told_all_the_same(tmp_path: Path) -> None:
    some = [member(record) for record in Author().grow(3)]
    with Store.open(tmp_path) as store:
        store.add_many(some)
    with Store.open(tmp_path) as store:
        found = store.drop_many([(one.collection, one.id) for one in some])
        assert len(found.freed) == 3
        assert told(store)[0][0].withheld == 3
        assert check(store).findings == []


# --- the rules ----------------------------------------------------------------------------


def test_age_counts_from_when_it_came_and_not_from_what_it_says(store: EntryStore) -> None:
    old, new = made(3), made(3, "others")
    bring(store, old, at=1 * DAY)
    bring(store, new, at=9 * DAY)
    found = collect(store, Rules(before=5 * DAY))
    assert here(store) == ids(new)
    assert found.dropped == Tally(3, 300)
    assert found.collections == {"notes": Tally(3, 300)}


def test_what_came_without_a_word_of_when_is_not_old(store: EntryStore) -> None:
    some = made(3)
    store.add_many(some)
    assert collect(store, Rules(before=10**15)).dropped == Tally()
    assert collect(store, Rules(larger_than=0)).dropped == Tally(3, 300)


def test_only_payloads_over_a_size_go(store: EntryStore) -> None:
    small, large = made(3, size=100), made(3, "large", size=101)
    bring(store, [*small, *large])
    assert collect(store, Rules(larger_than=100)).dropped == Tally(3, 303)
    assert here(store) == ids(small)


def test_the_oldest_go_until_the_rest_fits_and_no_more(store: EntryStore) -> None:
    some = made(10)
    bring(store, some)
    found = collect(store, Rules(keep_bytes=450))
    assert here(store) == ids(some[6:])
    assert (found.here, found.dropped) == (Tally(10, 1000), Tally(6, 600))
    assert collect(store, Rules(keep_bytes=450)).dropped == Tally()


def test_where_everything_fits_nothing_goes(store: EntryStore) -> None:
    bring(store, made(10))
    assert collect(store, Rules(keep_bytes=1000)).dropped == Tally()


def test_all_rules_have_to_agree(store: EntryStore) -> None:
    some = [*made(4), *made(4, "large", size=500)]
    bring(store, some[::2], at=DAY)
    bring(store, some[1::2], at=9 * DAY)
    rules = Rules(before=5 * DAY, larger_than=400, keep_bytes=1500)
    assert collect(store, rules).dropped == Tally(2, 1000)
    assert here(store) == ids(some) - {some[4].id, some[6].id}


def test_other_collections_neither_go_nor_count(store: EntryStore) -> None:
    notes, logs = made(5), made(5, "logs/a")
    bring(store, [*notes, *logs])
    found = collect(store, Rules(keep_bytes=300, collections=(Pattern("logs/**"),)))
    assert found.here == Tally(5, 500)
    assert here(store) == ids(notes) | ids(logs[2:])


def test_what_is_ours_or_came_from_no_other_node_stays(store: EntryStore) -> None:
    ours, put_here, unknown, brought = (
        made(2, own=True),
        made(2, "put"),
        made(2, "unknown"),
        made(2, "brought"),
    )
    bring(store, ours)
    bring(store, put_here, peer=b"")
    store.add_many(unknown)
    bring(store, brought)
    found = collect(store, Rules(larger_than=0, own=OURS.public))
    assert here(store) == ids([*ours, *put_here, *unknown])
    assert found.stays[Stays.OWN] == Tally(6, 600)
    assert collect(store, ALL).dropped == Tally(6, 600)
    assert here(store) == set()


def test_payloads_of_the_system_stay_and_are_counted(store: EntryStore) -> None:
    bring(store, [*made(2), *made(3, "system/keys")])
    found = collect(store, ALL)
    assert (found.dropped, found.stays[Stays.NEEDED]) == (Tally(2, 200), Tally(3, 300))


def test_where_something_needed_stays_the_next_oldest_goes_for_it(store: EntryStore) -> None:
    first, other = Author(log_id=1024), Author(log_id=1025)
    evidence = [member(one) for one in (first.append(ONE), other.append(ONE))]
    rest = made(6, size=len(ONE))
    bring(store, [*evidence, *rest])
    found = collect(store, Rules(keep_bytes=5 * len(ONE)))
    assert found.stays[Stays.NEEDED].entries == 2
    assert here(store) == ids(evidence) | ids(rest[3:])


def test_a_format_that_nobody_knows_any_more_stays(
    store: EntryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = made(2)
    [stranger] = [member(one) for one in [Author().append(ONE)]]
    bring(store, [*some, stranger])

    def forgotten(header: bytes) -> EntryFormat:
        return format_of(b"\xff" if header == stranger.header else header)

    monkeypatch.setattr(retention, "format_of", forgotten)
    found = collect(store, ALL)
    assert found.stays[Stays.UNKNOWN] == Tally(1, len(ONE))
    assert here(store) == {stranger.id}


def test_nothing_changes_in_a_dry_run_and_it_tells_what_the_run_does(store: EntryStore) -> None:
    bring(store, [*made(30), *made(20, "large", size=900), *made(3, "system/keys")])
    rules = Rules(larger_than=50, keep_bytes=9_000)
    before = here(store)
    told = collect(store, rules, dry_run=True)
    assert here(store) == before
    assert collect(store, rules) == told


# --- in parts -----------------------------------------------------------------------------


@pytest.fixture
def in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of three entries, transactions of two."""
    monkeypatch.setattr(retention, "ENTRIES_PER_READ", 3)
    monkeypatch.setattr(retention, "DROPS_COMMIT", 2)


@pytest.mark.usefixtures("in_small_parts")
def test_what_was_committed_stays_dropped_and_the_next_run_goes_on(store: EntryStore) -> None:
    some = made(20)
    bring(store, some)

    def interrupt(phase: str, done: int, total: int) -> None:
        if done >= 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(store, ALL, on_steps=interrupt)
    assert here(store) == ids(some[8:])
    assert collect(store, ALL).dropped == Tally(12, 1200)
    assert here(store) == set()


@pytest.mark.parametrize(("seconds", "done"), [(COMMIT_SECONDS / 3.5, 4), (COMMIT_SECONDS * 2, 1)])
def test_a_transaction_ends_after_a_moment_and_the_next_goes_on(
    tmp_path: Path, seconds: float, done: int
) -> None:
    some = made(20)
    with Store.open(tmp_path) as store:
        bring(store, some)
        moments = itertools.count()
        store.environment.clock = lambda: seconds * next(moments)
        found = store.drop_many([("notes", one.id) for one in some])
        assert found == Dropped(dict.fromkeys(range(done), 100), (), done)
        assert here(store) == ids(some[done:])
        assert collect(store, ALL).dropped == Tally(20 - done, 100 * (20 - done))
        assert here(store) == set()


def test_a_copy_is_looked_for_where_one_can_be_and_not_in_every_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node holds many collections, and whoever serves waits for the whole batch."""
    looked: list[bytes] = []

    def find(nodes: LmdbNodes, id_: bytes) -> int | None:
        looked.append(id_)
        return find_arrival(nodes, id_)

    monkeypatch.setattr(payloads, "find_arrival", find)
    record = Author().append(ONE)
    copies = [member(record), member(record, "aquadoggo")]
    with Store.open(tmp_path) as store:
        bring(store, [one for at in range(40) for one in made(1, f"notes/{at}")])
        bring(store, copies)
        for one in copies:
            looked.clear()
            assert store.drop_payload(one.collection, one.id) == len(ONE)
            assert len(looked) <= 1 + len(PROFILES)


@pytest.mark.usefixtures("in_small_parts")
def test_what_comes_meanwhile_is_left_for_the_next_time(store: EntryStore) -> None:
    """A node that takes in faster than this collects must not keep it from ending."""
    some, later = made(9), made(100, "later")
    bring(store, some)

    def more(phase: str, done: int, total: int) -> None:
        bring(store, later[done : done + 10])

    assert collect(store, ALL, on_steps=more).dropped == Tally(9, 900)
    assert here(store)
    assert here(store) <= ids(later)


@pytest.mark.usefixtures("in_small_parts")
def test_no_snapshot_is_open_while_something_is_dropped(tmp_path: Path) -> None:
    """And none sees more than a window: the file does not grow while others write."""
    now = [0.0]
    with Store.open(tmp_path) as store:
        store.environment.clock = lambda: now[0]
        bring(store, made(30))

        def later(phase: str, done: int, total: int) -> None:
            now[0] += 2 * SNAPSHOT_SECONDS

        collect(store, ALL, on_steps=later)
        assert store.environment.slow_snapshots().count == 0


_COLLECTIONS = ("notes", "logs/a", "logs/b", "system/x")
_one = st.tuples(st.sampled_from(_COLLECTIONS), st.integers(0, 60), st.booleans(), st.booleans())
_batch = st.tuples(
    st.lists(_one, max_size=8),
    st.one_of(
        st.none(),
        st.builds(Origin, st.integers(0, 9), st.sampled_from([b"", ANNA])),
    ),
)
_number = st.one_of(st.none(), st.integers(0, 60))
_rules = st.builds(
    Rules,
    before=st.one_of(st.none(), st.integers(0, 10)),
    larger_than=_number,
    keep_bytes=st.one_of(st.none(), st.integers(0, 900)),
    collections=st.sampled_from(
        [(), (Pattern("logs/**"),), (Pattern("notes"), Pattern("system/**"))]
    ),
    own=st.sampled_from([None, OURS.public]),
)


def _wanted(
    entries: Sequence[StoredEntry],
    origins: dict[bytes, Origin | None],
    rules: Rules,
    own: set[bytes],
) -> set[bytes]:
    """Which payloads go, straight from what the rules say."""
    meant = [
        one
        for one in entries
        if one.payload and (not rules.collections or match_any(rules.collections, one.collection))
    ]
    left = sum(len(one.payload or b"") for one in meant)
    gone: set[bytes] = set()
    for one in meant:
        if rules.keep_bytes is not None and left <= rules.keep_bytes:
            break
        origin, size = origins[one.id], len(one.payload or b"")
        stays = [
            is_system(one.collection),
            rules.before is not None and (origin is None or origin.at >= rules.before),
            rules.larger_than is not None and size <= rules.larger_than,
            rules.own is not None and (one.id in own or origin is None or not origin.peer),
        ]
        if not any(stays):
            gone.add(one.id)
            left -= size
    return gone


@settings(deadline=None, max_examples=80)
@given(st.lists(_batch, max_size=8), _rules, st.integers(1, 5), st.integers(1, 5))
def test_what_goes_is_what_the_rules_say_in_whatever_parts_it_is_read_and_dropped(
    batches: list[tuple[list[tuple[str, int, bool, bool]], Origin | None]],
    rules: Rules,
    per_read: int,
    per_commit: int,
) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(retention, "ENTRIES_PER_READ", per_read)
        patch.setattr(retention, "DROPS_COMMIT", per_commit)
        memory, disk = MemoryStore(), stack.enter_context(Store.open(Path(folder)))
        origins: dict[bytes, Origin | None] = {}
        own: set[bytes] = set()
        number = 0
        for batch, origin in batches:
            some: list[Entry] = []
            for collection, size, is_own, is_withheld in batch:
                number += 1
                author = OURS if is_own else THEIRS
                payload = some_bytes(number, length=size)
                one = make_entry(author, collection, payload, number)
                some.append(withheld(one) if is_withheld else one)
                origins[one.id] = origin
                if is_own:
                    own.add(one.id)
            for store in (memory, disk):
                store.add_many(some, [(0, origin)])
        before = everything(memory)
        wanted = _wanted(before, origins, rules, own)
        found = [collect(store, rules) for store in (memory, disk)]
        assert found[0] == found[1]
        for store in (memory, disk):
            after = everything(store)
            assert {one.id for one in after if one.dropped} == wanted
            assert [one.id for one in after] == [one.id for one in before]
        assert _adds_up(found[0], before, wanted)
        assert check(disk).findings == []


def _adds_up(found: Collected, before: Sequence[StoredEntry], wanted: set[bytes]) -> bool:
    gone = [one for one in before if one.id in wanted]
    assert found.dropped == Tally(len(gone), sum(len(one.payload or b"") for one in gone))
    assert sum(one.entries for one in found.collections.values()) == found.dropped.entries
    assert sum(one.bytes for one in found.collections.values()) == found.dropped.bytes
    return set(found.collections) == {one.collection for one in gone}


def test_an_entry_with_an_empty_payload_has_nothing_to_drop(store: EntryStore) -> None:
    empty = make_entry(THEIRS, "notes", b"", MIDNIGHT)
    bring(store, [empty])
    assert collect(store, Rules(collections=(Pattern("notes"),))).dropped == Tally()
    assert here(store) == {empty.id}
