"""Whole connections between two honest ends, by hand and over streams."""

from __future__ import annotations

import pytest
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from bamboo_compat.core.report import ForkKind
from bamboo_compat.replication import limits
from bamboo_compat.replication.source import Divergence, LogKey, Schemas
from bamboo_compat.replication.table import State
from tests.bamboo.logs import Author, Record
from tests.bamboo.replication.joined import join_by_hand, replicated
from tests.bamboo.replication.memory import (
    EVENT,
    SCHEMAS,
    SYSTEM,
    VENUE,
    MemorySource,
    log,
)

# What a log may be of: by its number, so that both sides agree.
OF_LOG = (SYSTEM, VENUE, EVENT)
KEYS = [(number, log_id) for number in (1, 2) for log_id in range(3)]
lengths = st.lists(st.integers(0, 5), min_size=len(KEYS), max_size=len(KEYS))


def records(of: list[int]) -> list[Record]:
    """Logs of these lengths."""
    return [
        record
        for (number, log_id), length in zip(KEYS, of, strict=True)
        for record in log(number, log_id, OF_LOG[log_id], length)
    ]


@given(lengths, lengths)
@settings(max_examples=40, deadline=None)
def test_after_a_connection_both_have_all_logs_that_are_not_forked(
    here: list[int], there: list[int]
) -> None:
    mine, theirs = MemorySource(records(here)), MemorySource(records(there))
    longest = [max(pair) for pair in zip(here, there, strict=True)]
    missing_here = sum(longest) - sum(here)
    missing_there = sum(longest) - sum(there)
    first, second = replicated(mine, theirs)
    assert mine.contents() == theirs.contents() == MemorySource(records(longest)).contents()
    assert (first.new, second.new) == (missing_here, missing_there)
    assert (first.sent, second.sent) == (missing_there, missing_here)
    assert (first.bytes_in, first.messages_in) == (second.bytes_out, second.messages_out)
    assert (second.bytes_in, second.messages_in) == (first.bytes_out, first.messages_out)
    assert first.diverged == second.diverged == first.refusals == second.refusals == 0


@given(lengths, lengths)
@settings(max_examples=20, deadline=None)
def test_machines_joined_by_hand_come_to_the_same(here: list[int], there: list[int]) -> None:
    mine, theirs = MemorySource(records(here)), MemorySource(records(there))
    one, other = join_by_hand(mine, theirs)
    assert mine.contents() == theirs.contents()
    assert one.machine.state is other.machine.state is State.READY
    streamed = replicated(MemorySource(records(here)), MemorySource(records(there)))
    assert (one.sent, other.sent) == (streamed[0].sent, streamed[1].sent)
    assert one.machine.counters.bytes_out == streamed[0].bytes_out
    assert other.machine.counters.bytes_out == streamed[1].bytes_out


@given(lengths, lengths, st.sets(st.integers(0, 40), max_size=6))
@settings(max_examples=20, deadline=None)
def test_a_second_connection_sends_no_entries_whatever_gaps_and_forks_there_are(
    here: list[int], there: list[int], lost: set[int]
) -> None:
    kept = [one for n, one in enumerate(records(here)) if n not in lost]
    forked = log(1, 1, VENUE, 4, fork_at=2)[1:]
    mine, theirs = MemorySource([*kept, *forked]), MemorySource(records(there))
    replicated(mine, theirs)
    before = mine.contents(), theirs.contents()
    again = replicated(mine, theirs)
    # Where a gap was closed, more of the log is below it now; then all of that is told.
    settled = replicated(mine, theirs)
    assert (settled[0].sent, settled[1].sent) == (0, 0)
    if not lost and here[KEYS.index((1, 1))]:  # else the branch stands above a gap
        assert (again[0].sent, again[1].sent) == (0, 0)
        assert (mine.contents(), theirs.contents()) == before


def test_what_was_above_a_gap_follows_once_the_gap_is_closed() -> None:
    whole = log(1, 1, VENUE, 5)
    mine, theirs = MemorySource([*whole[:2], *whole[3:]]), MemorySource(whole[:3])
    first = replicated(mine, theirs)
    assert (first[0].sent, first[1].sent) == (0, 1)
    assert len(mine.contents()) == 5
    second = replicated(mine, theirs)
    assert (second[0].sent, second[1].sent) == (2, 0)
    assert mine.contents() == theirs.contents()


def test_entries_of_system_schemas_arrive_before_those_of_users() -> None:
    theirs = MemorySource([*log(1, 1, VENUE, 3), *log(1, 2, EVENT, 3), *log(1, 0, SYSTEM, 3)])
    mine = MemorySource([*log(2, 1, VENUE, 2), *log(2, 0, SYSTEM, 2)])
    report, _ = replicated(mine, theirs)
    assert mine.arrivals == [SYSTEM] * 3 + [VENUE] * 3 + [EVENT] * 3
    assert theirs.arrivals == [SYSTEM] * 2 + [VENUE] * 2
    assert report.sessions == 2
    assert report.schemas == SCHEMAS


def test_only_schemas_that_both_know_are_replicated() -> None:
    theirs = MemorySource(records([3, 3, 3, 0, 0, 0]), Schemas((SYSTEM,), (VENUE,)))
    mine = MemorySource(records([0, 0, 0, 3, 3, 3]), Schemas((), (VENUE, EVENT)))
    report, _ = replicated(mine, theirs)
    assert (mine.arrivals, theirs.arrivals) == ([VENUE] * 3, [VENUE] * 3)
    assert report.sessions == 1
    assert report.schemas == Schemas((), (VENUE,))


def test_two_that_have_nothing_in_common_part_in_good_order() -> None:
    mine = MemorySource(records([3] * 6), Schemas((), (VENUE,)))
    reports = replicated(mine, MemorySource((), Schemas((), (EVENT,))))
    assert [(each.sessions, each.messages_in, each.messages_out) for each in reports] == [
        (0, 1, 1)
    ] * 2


def test_a_withheld_payload_stays_withheld_and_its_entry_travels() -> None:
    whole = log(1, 1, VENUE, 3)
    theirs = MemorySource([whole[0], (whole[1][0], None), whole[2]])
    mine = MemorySource()
    report, _ = replicated(mine, theirs)
    assert (report.new, report.refusals) == (3, 0)
    assert mine.arrivals == [VENUE, None, VENUE]


def test_a_log_whose_schema_nobody_can_tell_is_refused_with_a_reason() -> None:
    class Knowing(MemorySource):
        """Has the schema of a log from elsewhere, though all its payloads are withheld."""

        def _schemas_of(self, key: LogKey) -> set[str]:
            return {VENUE}

    theirs = Knowing([(entry, None) for entry, _ in log(1, 1, VENUE, 2)])
    mine = MemorySource()
    report, _ = replicated(mine, theirs)
    assert report.refused == (("Its payload is withheld, and its log not known.", 2),)
    assert mine.contents() == set()


# --- forks --------------------------------------------------------------------------------


def test_the_second_branch_of_a_forked_log_stays_behind_where_both_are_equally_long() -> None:
    one, other = log(1, 1, VENUE, 4), log(1, 1, VENUE, 4, fork_at=3)
    mine, theirs = MemorySource(one), MemorySource(other)
    for _ in range(2):
        reports = replicated(mine, theirs)
        assert [(each.sent, each.diverged) for each in reports] == [(0, 0), (0, 0)]
    assert mine.contents() == {entry for entry, _ in one}
    assert theirs.contents() == {entry for entry, _ in other}
    assert not mine.book.report().forks
    assert not theirs.book.report().forks


def test_a_longer_branch_leaves_its_beginning_behind_and_shows_that_the_log_parts() -> None:
    one, other = log(1, 1, VENUE, 3), log(1, 1, VENUE, 5, fork_at=3)
    mine, theirs = MemorySource(one), MemorySource(other)
    report, _ = replicated(mine, theirs)
    assert report.new == 2
    assert report.divergences == (Divergence(LogKey(Author(1).key, 1), 4),)
    assert other[2][0] not in mine.contents()
    assert one[2][0] not in theirs.contents()
    again = replicated(mine, theirs)
    assert [each.sent for each in again] == [0, 0]


def test_a_side_that_has_both_branches_gives_both_to_one_that_has_neither() -> None:
    forked = [*log(1, 1, VENUE, 4), *log(1, 1, VENUE, 3, fork_at=2)[1:]]
    mine, theirs = MemorySource(), MemorySource(forked)
    report, _ = replicated(mine, theirs)
    assert mine.contents() == theirs.contents()
    assert [fork.kind for fork in mine.book.report().forks] == [ForkKind.BRANCH]
    # The second of each number, and the one that follows only the first of the two before.
    assert [one.seq_num for one in report.divergences] == [2, 3]
    assert report.diverged == 2


def test_a_side_that_has_both_branches_keeps_one_to_itself_where_the_other_has_one() -> None:
    both = [*log(1, 1, VENUE, 4), *log(1, 1, VENUE, 4, fork_at=2)[1:]]
    mine, theirs = MemorySource(log(1, 1, VENUE, 4)), MemorySource(both)
    reports = replicated(mine, theirs)
    assert [each.sent for each in reports] == [0, 0]
    assert len(mine.contents()) == 4


# --- batches and streams ------------------------------------------------------------------


def test_entries_that_arrived_together_are_taken_together() -> None:
    mine, theirs = MemorySource(), MemorySource(log(1, 1, VENUE, 60))
    replicated(mine, theirs)
    assert sum(mine.batches) == 60
    assert len(mine.batches) < 6


@pytest.mark.parametrize(("limit", "most"), [("BATCH_ENTRIES", 7), ("BATCH_BYTES", 1_000)])
def test_a_batch_never_exceeds_its_limit(
    monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(limits, limit, most)
    mine, theirs = MemorySource(), MemorySource(log(1, 1, VENUE, 60))
    replicated(mine, theirs)
    assert sum(mine.batches) == 60
    assert max(mine.batches) <= 7


def test_two_that_both_send_much_do_not_stand_still_on_a_stream_that_holds_nothing() -> None:
    mine = MemorySource([*log(1, 1, VENUE, 60), *log(1, 0, SYSTEM, 60)])
    theirs = MemorySource([*log(2, 1, VENUE, 60), *log(2, 0, SYSTEM, 60)])
    replicated(mine, theirs, trio.testing.lockstep_stream_pair())
    assert mine.contents() == theirs.contents()


def test_a_have_that_is_longer_than_what_is_read_at_a_time_arrives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "READ_BYTES", 8)
    mine, theirs = MemorySource(records([5] * 6)), MemorySource()
    replicated(mine, theirs)
    assert mine.contents() == theirs.contents()
