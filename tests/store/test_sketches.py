"""The kept sketch of a range is, at every moment, the sketch of its ids."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setsync.errors import DamagedStoreError
from setsync.reconcile.catalogue import NumberedViews
from setsync.reconcile.digest import HEX
from setsync.reconcile.questions import Answer, AskSketch, Question, Range
from setsync.reconcile.rounds import Initiator, answer
from setsync.reconcile.sketch import U64, SketchKey, Symbols, encode, short_ids
from setsync.reconcile.sketching import Held
from setsync.reconcile.view import CELLS
from setsync.store import layout, sketches
from setsync.store.lmdb_store import Store
from tests.helpers import entries


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sketches are kept, split and checkpointed all the time."""
    monkeypatch.setattr(sketches, "KEPT_FROM", 20)
    monkeypatch.setattr(sketches, "SPLIT_FROM", 60)
    monkeypatch.setattr(sketches, "CHECKPOINT_EVERY", 50)


def fresh(store: Store, collection: str, prefix: str) -> Symbols:
    """The sketch, from the ids."""
    with store.snapshot() as snapshot:
        view = snapshot.view(collection)
        assert view is not None
        return encode(short_ids(view.ids(prefix)), 0, CELLS, SketchKey.UNIVERSAL)


def kept(store: Store, collection: str, prefix: str) -> Symbols:
    """The sketch, as a session gets it."""
    with store.snapshot() as snapshot:
        view = snapshot.view(collection)
        assert view is not None
        return view.sketch(prefix)


def assert_same(store: Store, collection: str = "notes") -> None:
    for prefix in ("", *HEX, "a3"):
        assert (kept(store, collection, prefix) - fresh(store, collection, prefix)).is_zero()


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 45), min_size=1, max_size=8), ask=st.sets(st.integers(0, 7)))
def test_whatever_the_batches_and_whenever_it_is_asked_for(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], ask: set[int]
) -> None:
    everything = entries(sum(sizes))
    with Store.open(tmp_path_factory.mktemp("sketches") / "store") as store:
        for turn, size in enumerate(sizes):
            store.add_many(everything[:size])
            store.add_many(entries(3, "other", seed=turn))
            everything = everything[size:]
            if turn in ask:
                assert_same(store)
        assert_same(store)


def test_another_process_catches_up_from_the_checkpoint(tmp_path: Path) -> None:
    some = entries(170)
    with Store.open(tmp_path / "store") as store:
        for at in range(0, 170, 17):
            store.add_many(some[at : at + 17])
        with store.environment.read() as transaction:
            stored = int(transaction.stat(db=store.environment.table(layout.SKETCHES))["entries"])
            recent = int(transaction.stat(db=store.environment.table(layout.RECENT))["entries"])
    assert stored == 17
    assert 0 < recent < 5
    with Store.open(tmp_path / "store") as again:
        assert_same(again)


def test_a_cache_that_another_process_left_behind_begins_anew(tmp_path: Path) -> None:
    """Two handles on one directory stand for two processes: their caches know nothing of
    each other, and one checkpoints under the other's feet."""
    some = entries(200)
    with Store.open(tmp_path / "store") as store:
        store.add_many(some[:70])
        assert_same(store)
        cache = store._sketch_cache()
        store._sketches = None
        store.add_many(some[70:130])
        store.add_many(some[130:190])
        store._sketches = cache
        assert_same(store)
        store.add_many(some[190:])
        assert_same(store)


@pytest.mark.parametrize(("prefix", "is_kept"), [("", True), ("a", False), ("a3", False)])
def test_what_is_kept_costs_a_session_its_cells_and_all_else_its_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str, is_kept: bool
) -> None:
    monkeypatch.setattr("setsync.reconcile.sketching.CELLS", 3)
    held = Held()
    with Store.open(tmp_path / "store") as store:
        store.add_many(entries(170))
        with store.snapshot() as snapshot:
            view = snapshot.view("notes")
            assert view is not None
            assert view.keeps_sketch(prefix) is is_kept
            held.get(Range(0, prefix), view)
            count = view.summary(prefix).count
    assert held.encoded == (3 if is_kept else count)


def test_what_a_session_holds_does_not_change_when_the_set_grows(tmp_path: Path) -> None:
    some = entries(100)
    with Store.open(tmp_path / "store") as store:
        store.add_many(some[:40])
        before = kept(store, "notes", "")
        copy = before.slice(0, CELLS)
        store.add_many(some[40:])
        kept(store, "notes", "")
        assert (before - copy).is_zero()


def test_the_cache_is_bounded_and_the_unused_goes_first(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        store._sketches = sketches.SketchCache(most_bytes=3 * CELLS * 20)
        for name in "abcdef":
            store.add_many(entries(30, name))
            kept(store, name, "")
        assert [key for key, _ in store._sketches._kept] == [
            layout.collection_key(number) for number in (4, 5, 6)
        ]
        assert_same(store, "a")


def test_a_stored_sketch_of_another_length_is_damage() -> None:
    with pytest.raises(DamagedStoreError, match="not 163840"):
        sketches.unpack_symbols(b"\0" * 100)


def test_a_sketch_is_stored_as_sums_checksums_and_counts() -> None:
    symbols = encode(short_ids_of(b"\x01" * 8), 0, CELLS, SketchKey.UNIVERSAL)
    value = sketches.pack_symbols(symbols)
    assert len(value) == CELLS * 20
    assert value[:8] == b"\x01" * 8
    assert value[8 * CELLS :][:4] == int(symbols.checks[0]).to_bytes(4, "big")
    assert value[12 * CELLS :][:8] == (1).to_bytes(8, "big")
    assert (sketches.unpack_symbols(value) - symbols).is_zero()


def short_ids_of(*ids: bytes) -> U64:
    """Short ids as numbers."""
    return sketches._numbers(b"".join(ids))


def test_ten_thousand_inserts_between_two_requests_do_not_disturb_a_sketch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All symbols of a session speak of one moment, on both sides."""
    monkeypatch.setattr(sketches, "KEPT_FROM", 1_000)
    monkeypatch.setattr(sketches, "CHECKPOINT_EVERY", 4_000)
    common, later = entries(6_000), entries(10_000, seed=3)
    key = b"k" * 32
    with Store.open(tmp_path / "a") as a, Store.open(tmp_path / "b") as b:
        for store, own in ((a, entries(150, seed=1)), (b, entries(150, seed=2))):
            store.add_many(common)
            store.add_many(own)
        initiator, held = Initiator(key), Held()
        initiator.open(0, 6_150)
        asked: list[Question] = []
        answers: list[Answer] | None = None
        while True:
            with a.snapshot() as snapshot:
                views = NumberedViews(["notes"], snapshot.view)
                if answers is not None:
                    initiator.take(answers, views)
                questions = initiator.ask(views)
            if not questions:
                break
            with b.snapshot() as snapshot:
                views = NumberedViews(["notes"], snapshot.view)
                answers = [answer(question, views, key, held) for question in questions]
            if not asked:
                b.add_many(later[:6_000])
                a.add_many(later[6_000:])
            asked += questions
    assert len(asked) >= 2
    assert all(isinstance(question, AskSketch) for question in asked)
    assert initiator.difference.count_here == initiator.difference.count_there == 150


def test_the_two_tables_read_out_field_by_field(tmp_path: Path) -> None:
    some = entries(80)
    with Store.open(tmp_path / "store") as store:
        store.add_many(some[:60])
        store.add_many(some[60:])
        env = store.environment
        with env.read() as transaction:
            with transaction.cursor(db=env.table(layout.RECENT)) as cursor:
                recent = list(cursor.iternext())
            with transaction.cursor(db=env.table(layout.SKETCHES)) as cursor:
                keys = [key for key, _ in cursor.iternext()]
            state = transaction.get(b"checkpoint", db=env.table(layout.STATE))
    assert state == (60).to_bytes(8, "big")
    first = (61).to_bytes(8, "big") + (1).to_bytes(4, "big")
    assert recent == [(first, b"".join(entry.id[:8] for entry in some[60:]))]
    number = (1).to_bytes(4, "big")
    assert keys == [number, *(number + digit.encode() for digit in HEX)]
