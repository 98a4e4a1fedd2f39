"""A full disk: words instead of a signal, nothing half written, and work goes on after."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from setsync.errors import StoreFullError
from setsync.limits import KIB, MIB
from setsync.model.entry import Entry, make_entry
from setsync.store.lmdb_store import Store
from tests.helpers import MIDNIGHT, entries, keys, sorted_ids
from tests.store.laws import check_laws


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    point = tmp_path / "disk"
    point.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(point)]
        mounted = subprocess.run(command, check=False, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


def batch(n: int) -> list[Entry]:
    """Sixteen entries with payloads of 30 KiB."""
    (author,) = keys(1)
    return [
        make_entry(author, "notes", bytes([n, i]) * (15 * KIB), MIDNIGHT + 16 * n + i)
        for i in range(16)
    ]


def fill(store: Store, stored: list[Entry]) -> None:
    """Add batches until the store refuses; what it took is appended to `stored`."""
    for n in range(100):
        store.add_many(batch(n))
        stored += batch(n)


def test_a_full_disk_is_named_loses_nothing_and_once_there_is_room_the_same_process_goes_on(
    small_disk: Path,
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 * MIB))
    with Store.open(small_disk / "store") as store:
        stored: list[Entry] = []
        with pytest.raises(StoreFullError, match=r"disk of .* is full") as caught:
            fill(store, stored)
        assert str(small_disk / "store") in str(caught.value)
        assert 0 < len(stored) < 16 * 20
        for _ in range(3):
            with pytest.raises(StoreFullError):
                store.add_many(batch(99))
        with store.snapshot() as snapshot:
            assert [one.id for one in snapshot.since(0, 1000)] == [entry.id for entry in stored]
            view = snapshot.view("notes")
            assert view is not None
            check_laws(view, sorted_ids(stored), prefixes=["", "0", "1", "ab"])
        ballast.unlink()
        assert len(store.add_many(batch(99)).new) == 16
    with Store.open(small_disk / "store") as store, store.snapshot() as snapshot:
        assert snapshot.entry_count == len(stored) + 16


def test_a_store_on_a_full_disk_can_be_opened_and_read(small_disk: Path) -> None:
    with Store.open(small_disk / "store") as store:
        store.add_many(entries(100))
    with pytest.raises(OSError, match="No space"):
        (small_disk / "ballast").write_bytes(bytes(9 * MIB))
    with Store.open(small_disk / "store") as store, store.snapshot() as snapshot:
        assert snapshot.entry_count == 100
