"""Copies of prefilled databases."""

from __future__ import annotations

from pathlib import Path

from benchmarks import stores
from benchmarks.folders import copy_settled
from benchmarks.workload import Workload
from setsync.store.lmdb_store import Store


def entries_in(folder: Path) -> int:
    with Store.open(folder, create=False) as store, store.snapshot() as snapshot:
        return snapshot.entry_count


def test_a_copy_has_everything_but_what_is_left_out(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "data").write_bytes(b"data")
    (source / "lock").write_bytes(b"lock")
    copy_settled(source, tmp_path / "target", "lock")
    found = [path.relative_to(tmp_path / "target") for path in (tmp_path / "target").rglob("*")]
    assert sorted(map(str, found)) == ["inner", "inner/data"]


def test_a_cached_store_is_made_once_and_never_changed(tmp_path: Path) -> None:
    cache = stores.Cache(tmp_path)
    with cache.pair(50) as pair:
        pair.grow(3, 4)
        assert [entries_in(pair.near), entries_in(pair.far)] == [53, 54]
        with pair.copy() as copy:
            copy.grow(5, 5)
            assert [entries_in(copy.near), entries_in(copy.far)] == [55, 55]
        pair.grow(5, 5)
        assert [entries_in(pair.near), entries_in(pair.far)] == [55, 55]
        assert pair.workload == Workload(50, 5, 5)
    assert len(list(tmp_path.iterdir())) == 1
    assert entries_in(cache.common(50, 1)) == 50
    assert len(list(tmp_path.iterdir())) == 1
