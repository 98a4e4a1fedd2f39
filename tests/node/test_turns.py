"""Whose entries are taken next: order, shares, and a memory with an end."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from setsync.node.turns import Turns

A, B, C = b"a", b"b", b"c"

_puts = st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(1, 9)), max_size=40)


@given(st.lists(st.tuples(_puts, st.integers(1, 30)), max_size=8), st.integers(1, 60))
def test_everything_is_taken_once_and_what_one_peer_brings_in_its_order(
    steps: list[tuple[list[tuple[bytes, int]], int]], memory: int
) -> None:
    turns: Turns[tuple[bytes, int, int]] = Turns(memory, most=2)
    put: list[tuple[bytes, int, int]] = []
    taken: list[tuple[bytes, int, int]] = []
    for puts, most in steps:
        for peer, cost in puts:
            put.append((peer, len(put), cost))
            turns.put(peer, put[-1], cost)
        some = turns.take(most)
        assert sum(cost for _, _, cost in some[:-1]) < most
        assert sum(cost for _, _, cost in some) >= most or not turns
        taken += some
    while turns:
        taken += turns.take(10)
    for peer in (A, B, C):
        assert [one for one in taken if one[0] == peer] == [one for one in put if one[0] == peer]
    assert len(taken) == len(put)


def _flooded(turns: Turns[bytes], peers: int, cost: int, times: int) -> list[bytes]:
    """Peers that always have two items waiting, and are taken from so many times."""
    names = [bytes([200 + at]) for at in range(peers)]
    waiting = Counter(dict.fromkeys(names, 0))
    took: list[bytes] = []
    for _ in range(times):
        for name in names:
            while waiting[name] < 2:
                turns.put(name, name, cost)
                waiting[name] += 1
        some = turns.take(10)
        took += some
        waiting -= Counter(name for name in some if name in names)
        waiting.update(dict.fromkeys(names, 0))
    return took


def test_peers_that_bring_without_end_have_equal_shares() -> None:
    shares = Counter(_flooded(Turns(), 10, 3, 1_000))
    assert max(shares.values()) - min(shares.values()) <= 2


def test_who_comes_later_has_half_until_it_has_had_as_much_as_the_others() -> None:
    """However large the items of the others are."""
    for cost in (1, 10, 40):
        turns: Turns[bytes] = Turns()
        had = cost * len(_flooded(turns, 10, cost, 500)) // 10
        for _ in range(had):
            turns.put(A, A, 1)
        took: list[bytes] = []
        while took.count(A) < had:
            took += _flooded(turns, 10, cost, 1)
        assert had / sum(1 if name == A else cost for name in took) >= 0.4


def test_new_keys_without_end_leave_half_to_those_who_are_there_for_long() -> None:
    turns: Turns[bytes] = Turns()
    took = Counter(_flooded(turns, 3, 1, 500))
    took.clear()
    for number in range(100):
        for key in range(5):
            turns.put(bytes([number, key]), b"new", 1)
        took.update(_flooded(turns, 3, 1, 1))
    assert took[b"new"] <= 510
    assert took.total() == 1_000


def test_what_was_long_ago_is_forgotten_and_so_are_peers_beyond_a_number() -> None:
    turns: Turns[bytes] = Turns(memory=100, most=8)
    for number in range(1_000):
        turns.put(number.to_bytes(4, "big"), b"", 1 + number % 3)
        turns.take(10)
        assert len(turns._had) <= 8
        assert turns._all == sum(turns._had.values()) <= 100
    for _ in range(50):
        turns.put(A, A, 4)
    turns.take(1_000)
    turns.put(B, B, 1_000)
    turns.take(1)
    turns.put(A, A, 1)
    turns.put(B, B, 1)
    assert turns.take(1) == [A]
