"""What two nodes hold before they meet."""

from __future__ import annotations

import json

import pytest

from benchmarks.workload import (
    FIRST_SECOND,
    NEWS_SECONDS,
    SPAN_SECONDS,
    Layout,
    Part,
    Workload,
    parse_count,
)


def test_a_seed_gives_the_same_entries_again_and_another_seed_others() -> None:
    one, again, other = (Workload.even(50, 10, seed=seed) for seed in (1, 1, 2))
    for part in Part:
        assert list(one.items(part)) == list(again.items(part)) != list(other.items(part))


def test_no_entry_is_in_two_parts() -> None:
    workload = Workload(300, 200, 100)
    items = [item for part in Part for item in workload.items(part)]
    assert len(set(items)) == len(items) == 600
    assert all(len(item.content) == workload.content_bytes for item in items)


def test_an_even_difference_is_shared_out() -> None:
    assert (Workload.even(10, 7).only_initiator, Workload.even(10, 7).only_responder) == (3, 4)
    assert Workload.even(10, 7).d == 7


def test_entries_shared_by_two_workloads_of_different_d_are_the_same() -> None:
    few, many = Workload.even(20, 4), Workload.even(20, 40)
    assert list(few.items(Part.COMMON)) == list(many.items(Part.COMMON))


@pytest.mark.parametrize("part", list(Part))
def test_layouts_place_entries_in_time(part: Part) -> None:
    def seconds(layout: Layout) -> list[int]:
        return [item.second for item in Workload(200, 200, 200, layout).items(part)]

    end = FIRST_SECOND + SPAN_SECONDS
    assert all(FIRST_SECOND <= s < end for s in seconds(Layout.SCATTERED))
    assert set(seconds(Layout.EQUAL)) == {FIRST_SECOND}
    recent = seconds(Layout.RECENT)
    if part is Part.COMMON:
        assert max(recent) < end
    else:
        assert all(end <= s < end + NEWS_SECONDS for s in recent)


def test_a_workload_survives_the_way_to_a_worker() -> None:
    workload = Workload.even(10, 3, Layout.RECENT, seed=5, content_bytes=300)
    assert Workload.from_fields(json.loads(json.dumps(workload.to_fields()))) == workload


def test_counts_are_read_with_their_unit() -> None:
    assert [parse_count(t) for t in ("100k", "1M", "2000")] == [100_000, 1_000_000, 2_000]
    with pytest.raises(ValueError, match="invalid"):
        parse_count("many")
