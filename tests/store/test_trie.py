"""The stored trie, on a dict and on LMDB, with leaves so small that they split all the time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from setsync.reconcile.digest import EMPTY, Summary, summarise
from setsync.reconcile.sketch import SketchKey, encode
from setsync.reconcile.view import CELLS
from setsync.store import layout
from setsync.store.environment import Environment, Transaction
from setsync.store.nodes import LmdbNodes
from setsync.store.trie import MissingNodeError, Nodes, TrieView, find_arrival
from tests.helpers import id_sets, some_bytes
from tests.store.laws import check_laws
from tests.store.nodes import DictNodes, Trie, check_shape

CAPACITIES = st.integers(1, 4)


class _RollBackError(Exception):
    """Ends a write transaction that no test needs committed."""


Run = Callable[[Callable[[Nodes, Nodes, Nodes], None]], None]
"""Runs a test with the nodes of three collections that lie next to each other."""


def _run_on_dicts(test: Callable[[Nodes, Nodes, Nodes], None]) -> None:
    test(DictNodes(), DictNodes(), DictNodes())


@pytest.fixture(params=["dict", "lmdb"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    if request.param == "dict":
        yield _run_on_dicts
        return
    env = Environment(tmp_path)
    env.open_tables(layout.TABLES)

    def run_on_lmdb(test: Callable[[Nodes, Nodes, Nodes], None]) -> None:
        def work(transaction: Transaction) -> None:
            first, second, third = (
                LmdbNodes(transaction, env, layout.collection_key(n)) for n in (255, 256, 257)
            )
            test(first, second, third)
            raise _RollBackError

        with pytest.raises(_RollBackError):
            env.write(work)

    yield run_on_lmdb
    env.close()


with_fixture = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)


@with_fixture
@given(
    ids=id_sets(),
    neighbours=st.tuples(st.booleans(), st.booleans()),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    capacity=CAPACITIES,
)
def test_every_batching_gives_the_digest_of_the_definition_and_keeps_the_view_laws(
    run: Run, ids: list[bytes], neighbours: tuple[bool, bool], cuts: list[int], capacity: int
) -> None:
    def test(before: Nodes, nodes: Nodes, after: Nodes) -> None:
        for there, others in zip(neighbours, (before, after), strict=True):
            if there:
                Trie(others, capacity).insert([some_bytes("other", i) for i in range(9)] + ids[:5])
        trie = Trie(nodes, capacity)
        shuffled = sorted(ids, key=some_bytes)
        for low, high in zip([0, *sorted(cuts)], [*sorted(cuts), len(ids)], strict=True):
            trie.insert(shuffled[low:high])
        assert trie.members == ids
        assert trie.root == summarise(ids, 0, capacity)
        check_laws(trie.view(), ids, capacity)

    run(test)


@with_fixture
@given(id_sets(), id_sets(max_size=6), CAPACITIES)
def test_members_keep_their_first_arrival_number_and_strangers_have_none(
    run: Run, ids: list[bytes], strangers: list[bytes], capacity: int
) -> None:
    def test(_: Nodes, nodes: Nodes, __: Nodes) -> None:
        trie = Trie(nodes, capacity)
        assert trie.insert(ids) == set(ids)
        first = dict(trie.arrivals)
        assert trie.insert(ids) == set()
        for id_ in ids:
            assert find_arrival(nodes, id_) == int.from_bytes(first[id_], "big")
        for id_ in set(strangers) - set(ids):
            assert find_arrival(nodes, id_) is None

    run(test)


def test_an_empty_set_answers_everything(run: Run) -> None:
    def test(before: Nodes, nodes: Nodes, after: Nodes) -> None:
        for others in (before, after):
            Trie(others, 2).insert([some_bytes(i) for i in range(20)])
        check_laws(TrieView(nodes, EMPTY, 2), [], 2)
        assert find_arrival(nodes, bytes(32)) is None

    run(test)


def test_the_very_first_and_the_very_last_id_are_found(run: Run) -> None:
    ends = [bytes(32), bytes(31) + b"\1", b"\xff" * 31 + b"\xfe", b"\xff" * 32]

    def test(_: Nodes, nodes: Nodes, __: Nodes) -> None:
        trie = Trie(nodes, 1)
        trie.insert(ends)
        check_laws(trie.view(), ends, 1)

    run(test)


def test_ids_that_differ_in_their_last_digit_alone_go_64_levels_deep() -> None:
    nodes = DictNodes()
    trie = Trie(nodes, 1)
    stem = some_bytes("deep")[:31]
    trie.insert([stem + bytes([tail]) for tail in range(16)])
    assert max(map(len, nodes.leaves)) == 64
    check_laws(trie.view(), trie.members, 1)
    check_shape(nodes, trie.root, 1)


def test_a_batch_writes_each_touched_node_once() -> None:
    nodes = DictNodes()
    trie = Trie(nodes, 3)
    trie.insert([some_bytes(i) for i in range(500)])
    nodes.writes.clear()
    trie.insert([some_bytes("more", i) for i in range(200)])
    assert len(nodes.writes) == len(set(nodes.writes))


def test_a_batch_of_known_ids_writes_nothing() -> None:
    nodes = DictNodes()
    trie = Trie(nodes, 3)
    trie.insert([some_bytes(i) for i in range(500)])
    nodes.writes.clear()
    trie.insert([some_bytes(i) for i in range(0, 500, 7)])
    assert nodes.writes == []


def test_a_node_that_is_missing_is_named_and_never_taken_for_an_empty_range() -> None:
    ids = [some_bytes(i) for i in range(60)]
    for kind in ("inner", "leaves"):
        nodes = DictNodes()
        trie = Trie(nodes, 2)
        trie.insert(ids)
        stored: dict[str, bytes] = getattr(nodes, kind)
        lost = max(stored, key=lambda prefix: (len(prefix), prefix))
        del stored[lost]
        newcomer = next(
            id_
            for id_ in (some_bytes("new", i) for i in range(10**6))
            if id_.hex().startswith(lost)
        )
        with pytest.raises(MissingNodeError) as caught:
            trie.insert([newcomer])
        assert caught.value.args == (lost,)


class _ReadingNodes(DictNodes):
    """Counts the leaves that were read in order."""

    def leaves_from(self, id_: bytes) -> Iterator[bytes]:
        for leaf in super().leaves_from(id_):
            self.reads += 1
            yield leaf

    reads = 0


def test_as_many_leaves_are_read_as_the_limit_asks_for_and_one_behind_the_range() -> None:
    nodes = _ReadingNodes()
    trie = Trie(nodes, 1)
    ids = sorted(bytes([first]) + bytes(31) for first in range(0, 256, 8))
    trie.insert(ids)
    for limit in (1, 2, 5):
        nodes.reads = 0
        assert [row.tobytes() for row in trie.view().ids("", limit=limit)] == ids[:limit]
        assert nodes.reads == limit
    nodes.reads = 0
    assert [row.tobytes() for row in trie.view().ids("3")] == ids[6:8]
    assert nodes.reads == 3


def test_a_leaf_that_stays_one_is_written_over_and_never_forgotten() -> None:
    class Nodes(DictNodes):
        def delete_leaf(self, prefix: str) -> None:
            super().delete_leaf(prefix)
            forgotten.append(prefix)

    forgotten: list[str] = []
    trie = Trie(Nodes(), 3)
    for first in (0x10, 0x20, 0x30):
        trie.insert([bytes([first]) + bytes(31)])
    assert forgotten == []
    trie.insert([bytes([0x40]) + bytes(31)])
    assert forgotten == [""]


def test_a_match_across_two_ids_is_no_member() -> None:
    """An id that begins where another one is in the middle, in a set made for it."""
    within = bytes(16) + b"\x01" * 32 + bytes([2]) * 16
    ids = sorted([within[:32], within[32:]])
    nodes = DictNodes()
    trie = Trie(nodes, 4)
    trie.insert(ids)
    assert within.find(b"\x01" * 32) == 16
    assert find_arrival(nodes, b"\x01" * 32) is None
    trie.insert([b"\x01" * 32])
    assert find_arrival(nodes, b"\x01" * 32) == 2
    assert [find_arrival(nodes, id_) for id_ in ids] == [0, 1]


@pytest.mark.parametrize("prefix", ["", "3", "30", "f"])
def test_the_sketch_of_a_range_is_that_of_its_ids(prefix: str) -> None:
    ids = sorted(bytes([first]) + bytes(31) for first in range(0, 256, 8))
    trie = Trie(DictNodes(), 2)
    trie.insert(ids)
    found = trie.view().sketch(prefix)
    short = [int.from_bytes(id_[:8], "big") for id_ in ids if id_.hex().startswith(prefix)]
    wanted = encode(np.array(short, np.uint64), 0, CELLS, SketchKey.UNIVERSAL)
    assert (found - wanted).is_zero()


class TrieMachine(RuleBasedStateMachine):
    """Batches of all kinds, one after the other; after each the trie is what it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = DictNodes()
        self.trie = Trie(self.nodes, 2)

    @initialize(capacity=CAPACITIES)
    def choose_capacity(self, capacity: int) -> None:
        self.trie.capacity = capacity

    @rule(ids=id_sets(max_size=12))
    def insert(self, ids: list[bytes]) -> None:
        new = set(ids) - set(self.trie.arrivals)
        assert self.trie.insert(ids) == new

    @rule(data=st.data())
    def insert_next_to_a_member(self, data: st.DataObject) -> None:
        if self.trie.members:
            near = data.draw(st.sampled_from(self.trie.members))
            last = data.draw(st.integers(0, 255))
            self.trie.insert([near[:31] + bytes([last])])

    @invariant()
    def the_root_is_that_of_the_definition(self) -> None:
        assert self.trie.root == summarise(self.trie.members, 0, self.trie.capacity)

    @invariant()
    def the_nodes_have_their_shape(self) -> None:
        check_shape(self.nodes, self.trie.root, self.trie.capacity)

    @invariant()
    def the_view_keeps_its_laws(self) -> None:
        check_laws(self.trie.view(), self.trie.members, self.trie.capacity)


TrieMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=8, deadline=None)
TestTrieMachine = TrieMachine.TestCase


def test_a_summary_counts_in_64_bits() -> None:
    big = Summary(2**40 + 7, bytes(32))
    assert big.pack()[:8] == bytes.fromhex("0000010000000007")
