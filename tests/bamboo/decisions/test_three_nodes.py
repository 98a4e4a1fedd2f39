"""Three nodes, real sessions between them, branches and decisions that come in anywhere: in the end
every node says the same of every log, whoever synced with whom before."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from setsync.model.entry import Entry
from setsync.store.memory import MemoryStore
from tests.bamboo.decisions.test_resolving import quarrels
from tests.bamboo.decisions.worlds import told
from tests.node.ends import roots, sync_in_memory

_PAIRS = ((0, 1), (1, 2), (2, 0))
_STEPS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=40, max_size=40)


@settings(deadline=None, max_examples=60)
@given(quarrels(12), st.permutations(range(40)), _STEPS)
def test_nodes_that_have_synced_say_the_same_of_every_fork(
    entries: list[Entry], order: list[int], steps: list[tuple[int, int]]
) -> None:
    nodes = [MemoryStore(leaf_capacity=4) for _ in range(3)]
    shuffled = [entries[at] for at in order if at < len(entries)]
    for entry, (node, chance) in zip(shuffled, steps, strict=False):
        nodes[node].add_many([entry])
        if chance < len(_PAIRS):
            here, there = _PAIRS[chance]
            sync_in_memory(nodes[here], nodes[there])
            assert told(nodes[here]) == told(nodes[there])
    for here, there in (*_PAIRS, *_PAIRS):
        sync_in_memory(nodes[here], nodes[there])
    assert roots(nodes[0]) == roots(nodes[1]) == roots(nodes[2])
    assert told(nodes[0]) == told(nodes[1]) == told(nodes[2])
