"""Payloads that were dropped at this node: what the index of logs makes of it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.core.report import ForkKind
from bamboo_compat.set.layout import Flag, Node
from bamboo_compat.set.reading import Reader
from setsync.errors import PayloadNeededError
from setsync.model.collection import is_system
from setsync.model.entry import Entry
from setsync.store.check import check
from setsync.store.contract import EntryStore
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore
from tests.bamboo.histories import histories, member
from tests.bamboo.logs import Author, Record
from tests.bamboo.test_fixtures import FIXTURES, rows
from tests.bamboo.test_fixtures import record as read
from tests.bamboo.test_index import INDEX, indexed, told
from tests.cli.running import Shell

ONE = b"\x83\x01\x00\x63one"


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EntryStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    with Store.open(tmp_path / "store") as opened:
        yield opened
        assert check(opened).findings == []


def node_of(store: EntryStore, entry: Entry) -> tuple[Node, bytes | None, bool]:
    """An entry in the index, the payload that it leads to, and whether that was dropped."""
    with store.snapshot() as snapshot:
        reader = Reader(snapshot.index_tables(INDEX))
        node = reader.by_id(entry.id)
        assert node is not None
        return node, reader.shelf.entry(node)[1], reader.is_dropped(node)


def test_a_log_without_a_payload_stands_as_before_and_counts_it_as_not_here(
    store: EntryStore,
) -> None:
    author = Author()
    some = [member(record) for record in [*author.grow(3), author.append(ONE)]]
    indexed(store, some)
    [before], _, _ = told(store)
    assert store.drop_payload(some[3].collection, some[3].id) == len(ONE)
    [after], forks, complaints = told(store)
    assert (after.withheld, forks, complaints) == (1, [], [])
    assert (after.verified, after.heads, after.schemas) == (4, before.heads, ("one",))
    node, payload, dropped = node_of(store, some[3])
    assert (payload, dropped, node.has(Flag.WITHHELD)) == (None, True, True)
    store.restore_payload(some[3].collection, some[3].id)
    assert node_of(store, some[3])[1:] == (None, False)
    assert store.add_many(some).payloads == 1
    assert node_of(store, some[3])[1:] == (ONE, False)
    assert told(store) == ([before], [], [])


def test_a_payload_that_never_came_is_told_as_dropped_too(store: EntryStore) -> None:
    [one] = [member((data, None)) for data, _ in Author().grow(1)]
    indexed(store, [one])
    assert store.drop_payload(one.collection, one.id) == 0
    assert node_of(store, one)[1:] == (None, True)
    assert told(store)[0][0].withheld == 1
    store.restore_payload(one.collection, one.id)
    assert node_of(store, one)[1:] == (None, False)
    assert told(store)[2] == []


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_an_entry_of_several_collections_is_read_from_a_copy_that_has_its_payload(
    store: EntryStore, order: tuple[int, ...]
) -> None:
    record = Author().append(ONE)
    copies = [member(record), member(record, "aquadoggo"), member((record[0], None))]
    indexed(store, [copies[at] for at in order])
    store.drop_payload(copies[0].collection, copies[0].id)
    assert node_of(store, copies[0])[1:] == (ONE, False)
    store.drop_payload(copies[2].collection, copies[2].id)
    assert node_of(store, copies[0])[1:] == (ONE, False)
    store.drop_payload(copies[1].collection, copies[1].id)
    assert node_of(store, copies[0])[1:] == (None, True)
    assert told(store)[0][0].withheld == 1
    store.restore_payload(copies[0].collection, copies[0].id)
    assert store.add_many([copies[0], copies[1]]).payloads == 1
    assert node_of(store, copies[0])[1:] == (ONE, False)
    assert (told(store)[0][0].withheld, told(store)[2]) == (0, [])


def test_the_evidence_of_two_logs_for_one_schema_stays(store: EntryStore) -> None:
    first, other = Author(log_id=1024), Author(log_id=1025)
    records = [first.append(ONE), first.append(ONE), other.append(ONE)]
    some = [member(record) for record in records]
    indexed(store, some)
    [fork] = told(store)[1]
    assert fork.kind is ForkKind.DOUBLE_SCHEMA
    for one in (some[0], some[2]):
        with pytest.raises(PayloadNeededError, match=fork.id.hex()):
            store.drop_payload(one.collection, one.id)
        assert node_of(store, one)[1] == ONE
    assert store.drop_payload(some[1].collection, some[1].id) == len(ONE)
    assert told(store)[1:] == ([fork], [])


def test_the_evidence_of_two_logs_for_one_document_stays() -> None:
    records = [read(row) for row in rows(FIXTURES / "documents.jsonl")]
    store = MemoryStore()
    some = [member(one, "aquadoggo") for one in records]
    indexed(store, some)
    _, forks, _ = told(store)
    needed = {branch.hash for fork in forks for branch in fork.branches}
    assert needed
    stays = 0
    for one in some:
        try:
            store.drop_payload(one.collection, one.id)
        except PayloadNeededError:
            stays += 1
    assert stays >= len(needed)
    assert told(store)[1:] == (forks, [])


@settings(deadline=None)
@given(histories(), st.sampled_from(sorted(PROFILES)))
def test_copies_with_their_payload_are_in_the_collections_that_the_index_names(
    records: list[Record], profile: str
) -> None:
    for one in [member(record, profile) for record in records]:
        if one.payload is not None:
            named = list(INDEX.collections(one.claims, one.payload))
            assert one.collection in named
            assert len(named) == len(PROFILES)


@settings(deadline=None, max_examples=60)
@given(histories(), st.randoms(use_true_random=False))
def test_whatever_is_dropped_and_restored_the_index_agrees_with_the_log(
    records: list[Record], chance: random.Random
) -> None:
    store = MemoryStore()
    some = [member(one) for one in records]
    indexed(store, some, iter(lambda: chance.choice([1, 2, 9]), 0))
    logs, forks, _ = told(store)
    for _ in range(2 * len(some)):
        one = chance.choice(some)
        if chance.randrange(3):
            try:
                store.drop_payload(one.collection, one.id)
            except PayloadNeededError:
                is_evidence = any(fork.kind is ForkKind.DOUBLE_SCHEMA for fork in forks)
                assert is_evidence or is_system(one.collection)
        elif chance.randrange(2):
            store.restore_payload(one.collection, one.id)
        else:
            store.add_many([one])
    now, forks_now, complaints = told(store)
    assert (forks_now, complaints) == (forks, [])
    assert [(log.heads, log.verified, log.schemas) for log in now] == [
        (log.heads, log.verified, log.schemas) for log in logs
    ]


def test_log_says_that_a_payload_was_dropped_here(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "node")
    shell.ok("init")
    author = Author()
    some = [member(record) for record in author.grow(3)]
    with Store.open(shell.data / "store") as store:
        store.add_many(some)
    shell.ok("payload", "drop", some[1].id.hex(), "--yes")
    words = ("bamboo", "log", author.key.hex(), str(author.log_id))
    lines = shell.ok(*words, "--from", "1").text
    assert "dropped here, 2 B" in lines
    found = shell.ok(*words, "--from", "1", "--json").json("bamboo-log")
    assert [entry["dropped"] for entry in found["told"]] == [False, True, False]
    assert shell.ok("check").code == 0
