"""Where lipmaalinks lead, and what certifies an entry."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bamboo_compat.core.lipmaa import certificate_pool, has_lipmaalink, lipmaa, path
from tests.bamboo import reference


def test_the_first_forty_are_those_of_the_specifications_picture() -> None:
    assert [lipmaa(n) for n in range(1, 41)] == [
        *[0, 1, 2, 1, 4, 5, 6, 4, 8, 9, 10, 8, 4],
        *[13, 14, 15, 13, 17, 18, 19, 17, 21, 22, 23, 21, 13],
        *[26, 27, 28, 26, 30, 31, 32, 30, 34, 35, 36, 34, 26, 13],
    ]


def test_the_table_follows_the_definition() -> None:
    assert all(lipmaa(n) == reference.lipmaa(n) for n in range(1, 10_000))


@given(st.integers(1, 2**64 - 1))
def test_any_number_follows_the_definition(number: int) -> None:
    assert lipmaa(number) == reference.lipmaa(number)


def test_a_lipmaalink_is_spelled_out_where_it_is_not_the_backlink() -> None:
    assert [n for n in range(1, 18) if has_lipmaalink(n)] == [4, 8, 12, 13, 17]


def test_the_pool_of_the_specifications_picture() -> None:
    # Entry 23: one path down to 1, one down from 40.
    assert path(23, 1) == (23, 22, 21, 17, 13, 4, 1)
    assert set(path(40, 23)) <= set(certificate_pool(23))
    assert certificate_pool(23)[-1] == 40
    assert certificate_pool(1) == (1,)


def shortest(start: int, goal: int) -> int:
    """How many links it takes, by looking at every way."""
    reached, steps = {start}, 0
    while goal not in reached:
        reached = {to for n in reached for to in (n - 1, lipmaa(n)) if to >= goal}
        steps += 1
    return steps


def test_no_way_is_shorter_than_the_path() -> None:
    for start in range(1, 130):
        for goal in range(1, start + 1):
            assert len(path(start, goal)) - 1 == shortest(start, goal)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_two_pools_together_hold_a_path_between_their_entries(one: int, two: int) -> None:
    low, high = sorted((one, two))
    both = {*certificate_pool(low), *certificate_pool(high)}
    reached = {high}
    for number in sorted(both, reverse=True):
        if number in reached:
            reached |= {number - 1, lipmaa(number)} & both
    assert low in reached


@given(st.integers(1, 2**64 - 1))
def test_a_pool_stays_small(number: int) -> None:
    assert len(certificate_pool(number)) < 250
