"""The index beside the set: the same as looking at everything at once, in any order."""

from __future__ import annotations

import dataclasses
import itertools
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bamboo_compat.core import Fork, LogReport, LogState, Standing, yamf
from bamboo_compat.core.examining import examine
from bamboo_compat.core.log import Logbook
from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.set import layout
from bamboo_compat.set.index import BambooIndex
from bamboo_compat.set.reading import Reader
from bamboo_compat.set.shelf import OtherIndexError
from setsync.errors import InvalidEntryError
from setsync.model.entry import Entry, UnverifiedEntry, entry_id, verify
from setsync.model.indexes import Arrived, Table
from setsync.store.check import Kind, check
from setsync.store.contract import EntryStore
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore, MemoryTable, MemoryTables
from tests.bamboo.contradictions import create, update
from tests.bamboo.histories import histories, member
from tests.bamboo.logs import FLAVOURS, Author, Record
from tests.bamboo.test_fixtures import FIXTURES, rows
from tests.bamboo.test_fixtures import record as read

INDEX = BambooIndex()


def looked_at_at_once(records: Sequence[Record], profile: str = "rfc0001") -> LogReport:
    """What the plain verifier makes of all these entries together."""
    book = Logbook()
    for data, payload in records:
        book.add(examine(data, payload))
    return book.report(partial=True, profile=PROFILES[profile])


def indexed(
    store: EntryStore, entries: Sequence[Entry], sizes: Iterator[int] | None = None
) -> None:
    """Add in batches."""
    at = 0
    while at < len(entries):
        size = next(sizes) if sizes is not None else 1
        store.add_many(entries[at : at + size])
        at += size
    store.open_index(INDEX)


def told(store: EntryStore) -> tuple[list[LogState], list[Fork], list[str]]:
    """Every log and every fork that the index has, and what it finds wrong with itself."""
    with store.snapshot() as snapshot:
        reader = Reader(snapshot.index_tables(INDEX))
        logs = [reader.state(author, log_id) for author, log_id, _ in reader.logs()]
        forks = [reader.fork(id_) for id_ in reader.fork_ids()]
        complaints = list(INDEX.check(snapshot.index_tables(INDEX)))
    place = [fork for fork in forks if fork is not None]
    place.sort(key=lambda fork: (fork.author, fork.log_id, fork.seq_num, fork.kind, fork.id))
    return [_plain(log) for log in logs if log is not None], place, complaints


def _plain(log: LogState) -> LogState:
    return dataclasses.replace(log, forks=tuple(sorted(log.forks)))


def agrees(store: EntryStore, records: Sequence[Record], profile: str = "rfc0001") -> None:
    """Assert that the index says of these records what the verifier says."""
    report = looked_at_at_once(records, profile)
    logs, forks, complaints = told(store)
    assert logs == [_plain(log) for log in report.logs]
    assert forks == list(report.forks)
    assert complaints == []


@settings(deadline=None, max_examples=150)
@given(histories(), st.randoms(use_true_random=False))
def test_any_order_and_any_subset_says_what_looking_at_everything_at_once_says(
    records: list[Record], chance: random.Random
) -> None:
    store = MemoryStore()
    indexed(store, [member(one) for one in records], iter(lambda: chance.choice([1, 2, 9]), 0))
    if records:
        agrees(store, records)


@settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(histories(60))
def test_on_the_disk_it_is_the_same(tmp_path: Path, records: list[Record]) -> None:
    folder = tmp_path / "store"
    with Store.open(folder) as store:
        indexed(store, [member(one) for one in records], iter(lambda: 7, 0))
        if records:
            agrees(store, records)
        assert check(store).findings == []
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["valid", "forked", "double_schema"])
def test_the_logs_that_others_made_are_indexed_as_they_are_verified(name: str) -> None:
    records = [read(row) for row in rows(FIXTURES / f"{name}.jsonl")]
    for seed in range(3):
        random.Random(seed).shuffle(records)
        store = MemoryStore()
        indexed(store, [member(one) for one in records])
        agrees(store, records)


def test_two_logs_for_one_document_are_found_in_any_order() -> None:
    records = [read(row) for row in rows(FIXTURES / "documents.jsonl")]
    for seed in range(10):
        random.Random(seed).shuffle(records)
        store = MemoryStore()
        indexed(store, [member(one, "aquadoggo") for one in records])
        agrees(store, records, "aquadoggo")


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("named", FLAVOURS)
def test_an_operation_names_what_it_follows_by_either_hash(
    flavour: Flavour, named: Flavour
) -> None:
    one, other = Author(log_id=0, flavour=flavour), Author(log_id=1)
    made = one.append(create())
    changed = other.append(update(yamf.hash_of(named, made[0])))
    for order in ([made, changed], [changed, made]):
        store = MemoryStore()
        indexed(store, [member(record, "aquadoggo") for record in order])
        agrees(store, order, "aquadoggo")
        [fork] = told(store)[1]
        assert fork.subject == one.hashes[1].hex()


def test_a_schema_that_is_called_like_a_document_hides_neither_fork_in_any_order() -> None:
    one, other = Author(log_id=0), Author(log_id=1)
    made = one.append(create())
    document = [made, other.append(update(one.hashes[1]))]
    schema = [Author(log_id=log_id).append(create(one.hashes[1].hex())) for log_id in (2000, 2001)]
    entries = [
        *(member(record, "aquadoggo") for record in document),
        *(member(record) for record in schema),
    ]
    for order in itertools.permutations(entries):
        store = MemoryStore()
        indexed(store, order)
        logs, forks, complaints = told(store)
        assert [[side.log_id for side in fork.branches] for fork in forks] == [[0, 1], [2000, 2001]]
        assert [(log.trusted, len(log.forks)) for log in logs] == [(0, 1)] * 4
        assert complaints == []


def test_a_payload_that_comes_later_is_checked_and_attached() -> None:
    author = Author()
    records = author.grow(3)
    late = author.append(b"\x83\x01\x00\x63one")
    bare = [member((data, None)) for data, _ in [*records, late]]
    with_payload = member(late)
    assert with_payload.collection == "bamboo/rfc0001/one"
    store = MemoryStore()
    indexed(store, bare)
    assert told(store)[0][0].withheld == 4
    data, payload = records[0]
    with pytest.raises(InvalidEntryError, match="bad_payload_hash"):
        verify(UnverifiedEntry("bamboo/rfc0001/unknown", data, b"another"))
    added = store.add_many([member((data, payload)), with_payload])
    # The one in its own collection is attached; the misfiled pair stays, and the right one is new.
    assert (added.payloads, added.new) == (1, (with_payload.id,))
    state = told(store)[0][0]
    assert (state.withheld, state.entries, state.schemas) == (2, 4, ("one",))
    agrees(store, [records[0], *[(data, None) for data, _ in records[1:]], late])


def test_a_system_collection_is_not_taken_without_the_payload_that_proves_it() -> None:
    author = Author(log_id=3)
    data, payload = author.append(b"\x83\x01\x00\x63one")
    good = verify(UnverifiedEntry("system/bamboo/rfc0001/one", data, payload))
    assert good.id == entry_id(data)
    for collection, given_payload, reason in (
        ("system/bamboo/rfc0001/one", None, "payload_needed"),
        ("bamboo/rfc0001/one", payload, "wrong_collection"),
        ("bamboo/rfc0002/one", None, "wrong_collection"),
        ("notes", payload, "wrong_collection"),
        ("bamboo/rfc0001/one/more", None, "wrong_collection"),
    ):
        with pytest.raises(InvalidEntryError) as refused:
            verify(UnverifiedEntry(collection, data, given_payload))
        assert refused.value.reason == reason
    claimed = verify(UnverifiedEntry("bamboo/rfc0001/anything", data, None))
    assert claimed.payload is None


class Counting(MemoryTables):
    """Counts what is asked of the tables."""

    asked = 0

    def table(self, name: bytes) -> MemoryTable:
        return CountingTable(super().table(name))


class CountingTable(MemoryTable):
    def __init__(self, table: Table) -> None:
        self._table = table

    def get(self, key: bytes) -> bytes | None:
        Counting.asked += 1
        return self._table.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        Counting.asked += 1
        self._table.put(key, value)

    def delete(self, key: bytes) -> None:
        Counting.asked += 1
        self._table.delete(key)

    def items(self, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        Counting.asked += 1
        for item in self._table.items(start):
            Counting.asked += 1
            yield item

    def last_below(self, key: bytes) -> tuple[bytes, bytes] | None:
        Counting.asked += 1
        return self._table.last_below(key)

    def __len__(self) -> int:
        return len(self._table)


def steps(entries: Sequence[Entry]) -> int:
    """How many times the tables are asked something while these arrive one by one."""
    store = MemoryStore()
    store.add_many(entries)
    with store.snapshot() as snapshot:
        log = list(snapshot.since(0, len(entries)))
    tables = Counting(log, {name: MemoryTable() for name in layout.TABLES})
    Counting.asked = 0
    for at, entry in enumerate(entries):
        INDEX.add(tables, [Arrived(at + 1, entry, is_new=True)])
    return Counting.asked


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_log_that_arrives_backwards_costs_a_small_multiple(flavour: Flavour) -> None:
    entries = [member(one) for one in Author(flavour=flavour).grow(1_500)]
    forwards = steps(entries)
    assert forwards < 40 * len(entries)
    assert steps(entries[::-1]) < 4 * forwards
    random.Random(1).shuffle(entries)
    assert steps(entries) < 4 * forwards


def test_no_entry_costs_more_for_how_many_contest_its_number() -> None:
    """One author signs as many entries for two numbers as he likes."""
    author = Author()
    first = author.append(b"first")
    seconds = [author.make(2, b"second %d" % n) for n in range(400)]
    thirds = [
        author.make(3, b"third %d" % n, backlink=yamf.hash_of(Flavour.YASMF, data))
        for n, data in enumerate(seconds)
    ]
    records = [
        *((data, b"third %d" % n) for n, data in enumerate(thirds)),
        *((data, b"second %d" % n) for n, data in enumerate(seconds)),
        first,
    ]
    assert steps([member(one) for one in records]) < 80 * len(records)


def test_standings_only_ever_go_from_waiting_to_verified_to_broken() -> None:
    rank = {Standing.WAITING: 0, Standing.VERIFIED: 1, Standing.BROKEN: 2}
    author = Author()
    records = author.grow(6)
    astray = author.make(7, b"7", lipmaalink=author.hashes[5])
    records += [(astray, b"7")]
    random.Random(3).shuffle(records)
    store = MemoryStore()
    before: dict[bytes, int] = {}
    for one in records:
        store.add_many([member(one)])
        store.open_index(INDEX)
        with store.snapshot() as snapshot:
            reader = Reader(snapshot.index_tables(INDEX))
            [(_, _, log)] = list(reader.logs())
            now = {node.id: rank[node.standing] for node in reader.nodes(log)}
        assert all(now[id_] >= was for id_, was in before.items())
        before = now


@pytest.mark.parametrize(
    "table",
    [layout.LOGS, layout.NODES, layout.HEADS, layout.LEVELS, layout.NAMES, layout.LOOSE],
    ids=bytes.decode,
)
def test_a_row_that_is_lost_is_found_by_the_check(tmp_path: Path, table: bytes) -> None:
    author = Author()
    records = author.grow(5)
    other = author.copy()
    records += [*author.grow(2, "a"), *other.grow(3, "b")][1:]
    with Store.open(tmp_path / "store") as store:
        indexed(store, [member(one) for one in records])
        assert check(store).findings == []
        env = store.environment
        with env.read() as transaction, transaction.cursor(db=env.table(table)) as cursor:
            keys = [key for key, _ in cursor.iternext()]
        assert keys
        env.write(lambda transaction: transaction.delete(keys[0], db=env.table(table)))
        findings = check(store).findings
        assert {finding.kind for finding in findings} == {Kind.INDEX}


def test_every_order_of_two_branches_comes_to_the_same_forks_and_the_same_doubt() -> None:
    """All 720 orders; the log is trusted up to the entry before the fork in each."""
    one = Author()
    common = one.grow(2)
    two = one.copy()
    entries = [member(record) for record in [*common, *one.grow(2, "one"), *two.grow(2, "two")]]
    found = set()
    for order in itertools.permutations(entries):
        store = MemoryStore()
        indexed(store, order)
        [log], [fork], complaints = told(store)
        found.add((log.trusted, log.heads, fork, tuple(complaints)))
    [(trusted, heads, fork, complained)] = found
    assert (trusted, len(heads), fork.seq_num, complained) == (2, 2, 3, ())


def test_children_that_name_one_parent_by_either_hash_are_one_family_once_it_is_here() -> None:
    author = Author()
    first = author.append(b"first")
    by_blake2b = yamf.hash_of(Flavour.YAMF, first[0])
    children = [
        (author.make(2, b"a"), b"a"),
        (author.make(2, b"b", backlink=by_blake2b), b"b"),
        (author.make(2, b"c", backlink=by_blake2b), b"c"),
    ]
    for order in itertools.permutations([first, *children]):
        store = MemoryStore()
        for at, record in enumerate(order):
            indexed(store, [member(record)])
            agrees(store, order[: at + 1])


def test_an_index_of_another_version_is_refused_by_readers_and_writers_and_by_the_check(
    tmp_path: Path,
) -> None:
    author = Author()
    with Store.open(tmp_path / "store") as store:
        indexed(store, [member(author.append())])
        env = store.environment
        old = (1).to_bytes(4, "big")
        table = env.table(layout.STATE)
        env.write(lambda transaction: transaction.put(layout.STATE_VERSION, old, db=table))
        with pytest.raises(OtherIndexError, match="version 1"):
            store.add_many([member(author.append())])
        with store.snapshot() as snapshot, pytest.raises(OtherIndexError):
            Reader(snapshot.index_tables(INDEX))
        with pytest.raises(OtherIndexError):
            check(store)
        with store.snapshot() as snapshot:
            assert len(list(snapshot.since(0, 9))) == 1
