"""Segments of a log against a reference that has all of it at once; and how they are drawn."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from bamboo_compat.cli.log_tree import Run, tree
from bamboo_compat.set.segments import Item, Segment, segments


@st.composite
def logs(draw: st.DrawFn) -> list[Item[str]]:
    """Any graph that backlinks in their places can make, in the order of number and id."""
    found: list[Item[str]] = []
    before: list[Item[str]] = []
    seq_num = 0
    for level in range(draw(st.integers(1, 12))):
        if level and draw(st.integers(0, 6)) == 0:
            seq_num += draw(st.integers(1, 3))
            before = []
        seq_num += 1
        here: list[Item[str]] = []
        for number in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
            parent = draw(st.sampled_from([*(item.id for item in before), None]))
            look = draw(st.sampled_from(["fine", "fine", "fine", "bad"]))
            is_end, withheld = draw(st.integers(0, 9)) == 0, draw(st.booleans())
            id_ = bytes([seq_num, number])
            here.append(Item(seq_num, id_, parent, look, is_end, withheld))
        found += here
        before = here
    return found


class Reference:
    """Looks at the whole log for every question."""

    def __init__(self, items: list[Item[str]]) -> None:
        self.items = {item.id: item for item in items}
        self.order = items

    def followers(self, item: Item[str]) -> list[Item[str]]:
        return [other for other in self.order if other.parent == item.id]

    def goes_on(self, item: Item[str]) -> Item[str] | None:
        """The one entry that belongs to the same segment."""
        after = self.followers(item)
        if len(after) == 1 and after[0].look == item.look and not item.end_of_log:
            return after[0]
        return None

    def runs(self) -> list[list[Item[str]]]:
        inside = {after.id for item in self.order if (after := self.goes_on(item)) is not None}
        runs = []
        for item in self.order:
            if item.id in inside:
                continue
            run = [item]
            while (after := self.goes_on(run[-1])) is not None:
                run.append(after)
            runs.append(run)
        return runs

    def segments(self) -> list[Segment[str]]:
        runs = self.runs()
        number_of = {item.id: number for number, run in enumerate(runs) for item in run}
        return [
            Segment(
                number=number,
                parent=number_of[run[0].parent] if run[0].parent is not None else None,
                before=max(
                    (item.seq_num for item in self.order if item.seq_num < run[0].seq_num),
                    default=0,
                ),
                first=run[0].seq_num,
                last=run[-1].seq_num,
                first_id=run[0].id,
                last_id=run[-1].id,
                look=run[0].look,
                ended=run[-1].end_of_log,
                withheld=sum(item.withheld for item in run),
                followers=len(self.followers(run[-1])),
            )
            for number, run in enumerate(runs)
        ]


@given(logs())
def test_segments_are_those_of_the_reference(items: list[Item[str]]) -> None:
    found = sorted(segments(items), key=lambda segment: segment.number)
    assert found == Reference(items).segments()


@given(logs())
def test_every_entry_is_in_one_segment_and_they_end_in_order(items: list[Item[str]]) -> None:
    found = list(segments(items))
    assert sum(segment.entries for segment in found) == len(items)
    ends = [segment.last for segment in found]
    assert ends == sorted(ends)
    assert all(segment.parent is None or segment.parent < segment.number for segment in found)


def test_a_long_log_that_does_not_part_takes_no_memory() -> None:
    def long_log() -> Iterator[Item[str]]:
        for seq_num in range(1, 50_001):
            parent = (seq_num - 1).to_bytes(4, "big") if seq_num > 1 else None
            yield Item(seq_num, seq_num.to_bytes(4, "big"), parent, "fine")

    tracemalloc.start()
    [segment] = segments(long_log())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (segment.first, segment.last, segment.entries) == (1, 50_000, 50_000)
    assert peak < 64 * 1024


# --- drawn --------------------------------------------------------------------------------


def run(number: int, parent: int | None, first: int, last: int, followers: int = 0) -> Run:
    """A run as the tree wants it; the number before an island is always 3."""
    return Run(number, parent, 3, first, last, followers, "fine", "abcd", "", False)


def drawn(*runs: Run) -> list[str]:
    """The first column, without its title."""
    return [cell.rstrip() for cell in tree(runs)[0].cells]


def test_a_fork_inside_a_fork_is_drawn_further_in() -> None:
    runs = [
        run(0, None, 1, 10, 3),
        run(1, 0, 11, 20),
        run(2, 0, 11, 12, 2),
        run(3, 0, 11, 17),
        run(4, 2, 13, 15),
        run(5, 2, 13, 14),
    ]
    assert drawn(*runs) == [
        "1-10",
        "├─ 11-20",
        "├─ 11-12",
        "│  ├─ 13-15",
        "│  └─ 13-14",
        "└─ 11-17",
    ]


def test_what_goes_on_with_another_standing_is_the_next_line() -> None:
    runs = [run(0, None, 1, 2, 2), run(1, 0, 3, 3, 1), run(2, 0, 3, 4), run(3, 1, 4, 9)]
    assert drawn(*runs) == ["1-2", "├─ 3", "│  4-9", "└─ 3-4"]


def test_islands_stand_after_a_broken_line_with_what_is_missing() -> None:
    runs = [run(0, None, 1, 3), run(1, None, 8, 9), run(2, None, 8, 8), run(3, None, 4, 4)]
    assert drawn(*runs[:3]) == ["1-3", "╎  4-7", "8-9", "8"]
    # The number before is there, and is not what the entry names.
    assert drawn(runs[0], runs[3]) == ["1-3", "╎  3", "4"]


def test_a_log_that_parts_at_once_has_all_its_beginnings_side_by_side() -> None:
    assert drawn(run(0, None, 1, 1), run(1, None, 1, 5)) == ["├─ 1", "└─ 1-5"]


def test_what_there_is_no_room_for_is_counted_where_it_would_be() -> None:
    assert drawn(run(0, None, 1, 2, 3), run(1, 0, 3, 3)) == ["1-2", "├─ 3", "└─ ... 2 more"]
    assert drawn(run(0, None, 1, 2, 1)) == ["1-2", "... goes on"]


@given(st.integers(1, 60))
def test_no_line_is_longer_for_being_deep(depth: int) -> None:
    runs = [run(0, None, 1, 1, 2)]
    for level in range(depth):
        at = 2 * level
        runs += [run(at + 1, at, level + 2, level + 2, 2), run(at + 2, at, level + 2, level + 2)]
    lines = drawn(*runs)
    assert max(map(len, lines)) < 50
