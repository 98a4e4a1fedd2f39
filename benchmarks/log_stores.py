"""Workloads of logs as stores: the same folders for setsync and for log heights.

Folders of common entries are made once and kept in a cache, as in `stores`; each measurement
works on copies, to which each side's own entries are added. Both systems run on the same kind
of store, with the same index of logs kept in it.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bamboo_compat.core.entry import decode
from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.set import layout as log_layout
from bamboo_compat.set.format import collection_of
from bamboo_compat.set.index import BambooIndex
from bamboo_compat.set.reading import Reader
from benchmarks import logs, peer_naive
from benchmarks.logs import LogWorkload, Record
from benchmarks.stores import Pair, copy_store
from benchmarks.workers import PeerError
from benchmarks.workload import Part, Workload
from setsync.model.entry import Entry, UnverifiedEntry, trusted
from setsync.store import layout
from setsync.store.lmdb_store import Store

BATCH = 10_000
_ID_BYTES = 32

LogName = tuple[bytes, int]


def member(record: Record) -> Entry:
    """An entry of a log as a member of the set. We have just signed it ourselves."""
    collection = collection_of(PROFILES[logs.PROFILE], decode(record.entry), record.payload)
    return trusted(UnverifiedEntry(collection, record.entry, record.payload))


def _add(store: Store, records: Iterable[Record]) -> None:
    remaining = iter(records)
    while batch := list(itertools.islice(remaining, BATCH)):
        store.add_many([member(record) for record in batch])


def grow(folder: Path, work: LogWorkload, part: Part) -> None:
    """Add one side's own entries to a store of the common ones."""
    with Store.open(folder, create=False) as store:
        _add(store, list(_growth(store, work, part)))


def _growth(store: Store, work: LogWorkload, part: Part) -> Iterator[Record]:
    with reading(store) as reader:
        for number, count in work.growth(part).items():
            log = work.log(number)
            row = reader.log(log.author, log.log_id)
            if row is None:
                raise PeerError(f"log {number} is not in the store to which it was added")
            ids = [node.id for node in reader.nodes(row)]
            log = work.log(number, [Flavour.YASMF.value + id_ for id_ in ids])
            for _ in range(count):
                yield log.append(part)


@contextmanager
def reading(store: Store) -> Iterator[Reader]:
    """The index of logs, as it is now."""
    index = BambooIndex()
    store.open_index(index)
    with store.snapshot() as snapshot:
        yield Reader(snapshot.index_tables(index))


@dataclass(frozen=True)
class LogCache:
    """Stores of common entries, by shape and seed."""

    folder: Path

    def common(self, work: LogWorkload) -> Path:
        """The store that holds just the common part, built if it is not there yet."""
        shape = f"{work.authors}x{work.logs}x{work.entries}"
        name = f"logs-{_layout()}-{shape}-{work.seed}"
        place = self.folder / name
        if not place.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=name, dir=self.folder))
            begun = time.perf_counter()
            with Store.open(fresh) as store:
                _add(store, work.common())
            fresh.rename(place)
            print(f"built {name} in {time.perf_counter() - begun:.1f} s", file=sys.stderr)
        return place

    @contextmanager
    def pair(self, work: LogWorkload) -> Iterator[Pair]:
        """Both sides of a workload, gone after the block."""
        common = self.common(work)
        with tempfile.TemporaryDirectory(prefix="run-", dir=self.folder) as run:
            near, far = Path(run) / "initiator", Path(run) / "responder"
            for folder, part in ((near, Part.INITIATOR), (far, Part.RESPONDER)):
                copy_store(common, folder)
                if work.size(part):
                    grow(folder, work, part)
            sides = (work.size(Part.INITIATOR), work.size(Part.RESPONDER))
            yield Pair(near, far, Workload(work.n, *sides, seed=work.seed))


def _layout() -> str:
    """Stands for how stores are laid out and logs made: another cache for another of them."""
    sources = (layout.__file__, log_layout.__file__, logs.__file__)
    return hashlib.sha256(b"".join(Path(name).read_bytes() for name in sources)).hexdigest()[:8]


# --- what is where ------------------------------------------------------------------------------


def held(pair: Pair) -> int:
    """How many entries both sides hold, added up. Says by its growth how many have moved."""
    total = 0
    for folder in (pair.near, pair.far):
        with Store.open(folder, create=False) as store, store.snapshot() as snapshot:
            total += snapshot.entry_count
    return total


def one_sided(pair: Pair) -> Counter[LogName]:
    """Of which logs how many entries are on one side only."""
    with (
        Store.open(pair.near, create=False) as near,
        Store.open(pair.far, create=False) as far,
    ):
        here, there = _ids(near), _ids(far)
        found = _logs_of(near, here - there)
        return found + _logs_of(far, there - here)


def _ids(store: Store) -> set[bytes]:
    joined = peer_naive.ids_of(store)
    return {joined[at : at + _ID_BYTES] for at in range(0, len(joined), _ID_BYTES)}


def _logs_of(store: Store, ids: set[bytes]) -> Counter[LogName]:
    found: Counter[LogName] = Counter()
    with reading(store) as reader:
        for id_ in ids:
            node = reader.by_id(id_)
            if node is None:
                raise PeerError("an entry of the set is in no log")
            found[reader.shelf.owner(node.log)] += 1
    return found


def left_behind(pair: Pair, work: LogWorkload) -> Counter[LogName]:
    """The entries of second branches that are still on one side only, by log.

    Raises PeerError where anything else is: news must arrive, whatever the system.
    """
    found = one_sided(pair)
    forked = [work.log(fork.number) for fork in work.forks()]
    lost = found.keys() - {(log.author, log.log_id) for log in forked}
    if lost:
        raise PeerError(f"{len(lost)} logs without a fork are not the same on both sides")
    return found
