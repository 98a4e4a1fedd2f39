"""Workloads as stores of setsync: entries of 300 bytes, and folders that hold them.

Folders of common entries are made once, signed and all, and kept in a cache; each measurement
works on copies, to which the entries that differ are added.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.folders import copy_settled
from benchmarks.workload import Item, Part, Workload
from setsync.model.entry import Entry, make_entry
from setsync.model.keys import SecretKey
from setsync.store import layout
from setsync.store.environment import LOCK_FILE
from setsync.store.lmdb_store import Store
from setsync.store.presence import FOLDER

COLLECTION = "bench"
ENTRY_BYTES = 300
AUTHORS = 16
BATCH = 50_000
_HEADER_BYTES = 147 + len(COLLECTION)


class Signer:
    """Turns items into entries, always the same ones."""

    def __init__(self, seed: int) -> None:
        names = (f"{seed}/author/{author}".encode() for author in range(AUTHORS))
        self._authors = [SecretKey(hashlib.sha256(name).digest()) for name in names]

    def entry(self, item: Item) -> Entry:
        """An entry of 300 bytes, header and payload.

        The payload is a hash of the item's content: hexadecimal digits, which the content is made
        of, would let compression look better than it is.
        """
        payload = hashlib.shake_128(item.content.encode()).digest(ENTRY_BYTES - _HEADER_BYTES)
        author = self._authors[item.second % AUTHORS]
        return make_entry(author, COLLECTION, payload, item.second * 1_000)


def fill(folder: Path, workload: Workload, part: Part, first: int = 0) -> None:
    """Add one part of a workload to the store in a folder, from its item `first` on."""
    signer = Signer(workload.seed)
    items = itertools.islice(workload.items(part), first, None)
    with Store.open(folder) as store:
        while batch := list(itertools.islice(items, BATCH)):
            store.add_many([signer.entry(item) for item in batch])


@dataclass(frozen=True)
class Cache:
    """Stores of common entries, by number and seed."""

    folder: Path

    def common(self, n: int, seed: int) -> Path:
        """The store that holds just the common part, built if it is not there yet."""
        name = f"setsync-{_layout()}-{n}-{seed}"
        place = self.folder / name
        if not place.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=name, dir=self.folder))
            begun = time.perf_counter()
            fill(fresh, Workload(n, 0, 0, seed=seed), Part.COMMON)
            fresh.rename(place)
            print(f"built {name} in {time.perf_counter() - begun:.1f} s", file=sys.stderr)
        return place

    @contextmanager
    def pair(self, n: int, seed: int = 1) -> Iterator[Pair]:
        """Two stores of `n` common entries, gone after the block."""
        common = self.common(n, seed)
        with tempfile.TemporaryDirectory(prefix="run-", dir=self.folder) as run:
            near, far = Path(run) / "initiator", Path(run) / "responder"
            copy_store(common, near)
            copy_store(common, far)
            yield Pair(near, far, Workload(n, 0, 0, seed=seed))


class Pair:
    """Two folders, and the workload that they hold. Differences only grow, as sets do."""

    def __init__(self, near: Path, far: Path, workload: Workload) -> None:
        self.near = near
        self.far = far
        self.workload = workload

    def grow(self, only_initiator: int, only_responder: int) -> None:
        """Add what is missing to a difference that is no smaller than the present one."""
        before = self.workload
        self.workload = replace(
            before, only_initiator=only_initiator, only_responder=only_responder
        )
        for folder, part in ((self.near, Part.INITIATOR), (self.far, Part.RESPONDER)):
            if self.workload.size(part) > before.size(part):
                fill(folder, self.workload, part, before.size(part))

    @contextmanager
    def copy(self) -> Iterator[Pair]:
        """The same again, for what changes them; gone after the block."""
        with tempfile.TemporaryDirectory(prefix="copy-", dir=self.near.parent) as run:
            near, far = Path(run) / "initiator", Path(run) / "responder"
            copy_store(self.near, near)
            copy_store(self.far, far)
            yield Pair(near, far, self.workload)


def _layout() -> str:
    """Stands for how stores are laid out: what is cached in another layout is made afresh."""
    return hashlib.sha256(Path(layout.__file__).read_bytes()).hexdigest()[:8]


def copy_store(source: Path, target: Path) -> None:
    """Copy a store that nobody writes to."""
    copy_settled(source, target, LOCK_FILE, FOLDER)
