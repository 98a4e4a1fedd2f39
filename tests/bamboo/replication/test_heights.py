"""What is told, what is sent for it, and sources that break their laws."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bamboo_compat.core.entry import decode
from bamboo_compat.core.profiles import MAX_OPERATION
from bamboo_compat.replication import limits
from bamboo_compat.replication.heights import (
    NO_OPERATION,
    NOT_ASKED_FOR,
    UNKNOWN_SCHEMA,
    HaveBuilder,
    Outbox,
    refusal,
    take_batch,
)
from bamboo_compat.replication.machine import TooMuchToTellError
from bamboo_compat.replication.messages import AuthorHeights, Have, pack
from bamboo_compat.replication.source import (
    BrokenLawError,
    Carried,
    Height,
    LogKey,
    Outcome,
    Place,
    Stored,
)
from tests.bamboo.logs import Author
from tests.bamboo.replication.memory import EVENT, SYSTEM, VENUE, MemorySource, log, operation

ASKED = frozenset({VENUE})
ONE, TWO = sorted((Author(1).key, Author(2).key))
NOTHING = Have(0, ())


def have_of(source: MemorySource, asked: frozenset[str] = ASKED) -> Have:
    """The finished message."""
    builder = HaveBuilder(source, 0, asked)
    while not builder.finished:
        builder.step()
    return builder.have()


def sent(source: MemorySource, theirs: Have = NOTHING) -> list[tuple[int, int]]:
    """(log id, sequence number) of all that would be sent, in order."""
    outbox = Outbox(source, ASKED, theirs)
    found = []
    while not outbox.finished:
        found += [decode(stored.entry) for stored in outbox.next_batch()]
    return [(entry.log_id, entry.seq_num) for entry in found]


def told(key: bytes, *heights: tuple[int, int]) -> Have:
    """A `have` about one author."""
    return Have(0, (AuthorHeights(key, heights),))


def test_every_author_is_told_once_with_every_log_and_its_height() -> None:
    source = MemorySource([*log(1, 0, VENUE, 3), *log(1, 7, VENUE, 1), *log(2, 0, VENUE, 2)])
    assert {author: dict(logs) for author, logs in have_of(source).heights} == {
        Author(1).key: {0: 3, 7: 1},
        Author(2).key: {0: 2},
    }


def test_a_log_is_told_up_to_its_first_gap_and_not_at_all_without_its_first_entry() -> None:
    records = [*log(1, 0, VENUE, 5)[:2], *log(1, 0, VENUE, 5)[3:], *log(1, 1, VENUE, 3)[1:]]
    assert have_of(MemorySource(records)) == told(Author(1).key, (0, 2))


def test_logs_of_other_schemas_are_not_told() -> None:
    source = MemorySource([*log(1, 0, VENUE, 3), *log(1, 1, EVENT, 2), *log(1, 2, SYSTEM, 2)])
    assert have_of(source) == told(Author(1).key, (0, 3))
    assert have_of(source, frozenset({EVENT, SYSTEM})) == told(Author(1).key, (1, 2), (2, 2))


def test_heights_are_asked_for_in_pages_and_the_answer_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = [record for log_id in range(5) for record in log(1, log_id, VENUE, 2)]
    at_once = have_of(MemorySource(records)), sent(MemorySource(records))
    monkeypatch.setattr(limits, "LOGS_PER_PAGE", 2)
    assert (have_of(MemorySource(records)), sent(MemorySource(records))) == at_once


def test_what_is_sent_is_what_is_above_the_height_that_was_told() -> None:
    source = MemorySource([*log(1, 0, VENUE, 4), *log(1, 1, VENUE, 2), *log(1, 2, VENUE, 3)])
    theirs = told(Author(1).key, (0, 2), (1, 2), (9, 9))
    assert sent(source, theirs) == [(0, 3), (0, 4), (2, 1), (2, 2), (2, 3)]
    assert sent(source, told(Author(1).key, (0, 9), (1, 9), (2, 9))) == []


def test_nothing_above_a_gap_is_sent() -> None:
    assert sent(MemorySource([*log(1, 0, VENUE, 5)[:2], *log(1, 0, VENUE, 5)[3:]])) == [
        (0, 1),
        (0, 2),
    ]


def test_both_branches_of_a_fork_are_sent_above_the_height_and_each_entry_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = MemorySource([*log(1, 0, VENUE, 4), *log(1, 0, VENUE, 4, fork_at=3)[2:]])
    for entries in (1, 2, 1000):  # also where a batch ends between two of one number
        monkeypatch.setattr(limits, "BATCH_ENTRIES", entries)
        assert sent(source) == [(0, n) for n in (1, 2, 3, 3, 4, 4)]
        assert sent(source, told(Author(1).key, (0, 3))) == [(0, 4), (0, 4)]


def test_a_batch_is_bounded_by_its_bytes_and_has_one_entry_at_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "BATCH_BYTES", 1)
    outbox = Outbox(MemorySource(log(1, 0, VENUE, 3)), ASKED, NOTHING)
    sizes = []
    while not outbox.finished:
        sizes.append(len(outbox.next_batch()))
    assert [size for size in sizes if size] == [1, 1, 1]


def test_a_payload_that_no_message_has_room_for_is_withheld() -> None:
    author = Author(1, 0)
    large = author.append(operation(VENUE)), author.append(b"x" * (MAX_OPERATION + 1))
    outbox = Outbox(MemorySource(large), ASKED, NOTHING)
    assert [stored.payload for stored in outbox.next_batch()] == [operation(VENUE), None]


@pytest.mark.parametrize(
    ("limit", "most"), [("MAX_LOGS", 2), ("MAX_AUTHORS", 1), ("MAX_HAVE_MESSAGE", 120)]
)
def test_more_than_one_have_can_hold_is_refused_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(limits, limit, most)
    source = MemorySource([*log(1, 0, VENUE, 1), *log(1, 1, VENUE, 1), *log(2, 0, VENUE, 1)])
    with pytest.raises(TooMuchToTellError, match="There are 3 logs of 2 authors to tell of"):
        have_of(source)


def test_the_size_of_a_have_is_not_underestimated() -> None:
    class Wide(MemorySource):
        def heights(
            self, schemas: frozenset[str], after: LogKey | None, limit: int
        ) -> Sequence[Height]:
            return [] if after else [Height(LogKey(ONE, 2**64 - 1 - n), 2**63) for n in (1, 0)]

    builder = HaveBuilder(Wide(), 2**64 - 1, ASKED)
    while not builder.finished:
        builder.step()
    assert len(pack(builder.have())) <= builder._size


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (operation(VENUE), None),
        (None, None),
        (operation(EVENT), NOT_ASKED_FOR),
        (operation("unheard of"), UNKNOWN_SCHEMA),
        (b"plain words", NO_OPERATION),
    ],
)
def test_an_entry_is_refused_for_its_schema_with_a_reason(
    payload: bytes | None, reason: str | None
) -> None:
    assert refusal(payload, ASKED, frozenset({VENUE, EVENT})) == reason


# --- sources that break their laws --------------------------------------------------------


class BackwardHeights(MemorySource):
    """Gives the same page for ever."""

    def heights(
        self, schemas: frozenset[str], after: LogKey | None, limit: int
    ) -> Sequence[Height]:
        return [Height(LogKey(ONE, 1), 1)]


class EndlessPage(MemorySource):
    """Gives more than was asked for."""

    def heights(
        self, schemas: frozenset[str], after: LogKey | None, limit: int
    ) -> Sequence[Height]:
        return [Height(LogKey(ONE, n), 1) for n in range(limit + 1)]


class BackwardEntries(MemorySource):
    """Gives the same entries for ever."""

    def entries(
        self, log: LogKey, after: Place, up_to: int, max_entries: int, max_bytes: int
    ) -> Sequence[Stored]:
        return super().entries(log, Place(0, b""), up_to, max_entries, max_bytes)


class ForwardEntries(MemorySource):
    """Gives what is above a gap too."""

    def entries(
        self, log: LogKey, after: Place, up_to: int, max_entries: int, max_bytes: int
    ) -> Sequence[Stored]:
        return super().entries(log, after, up_to + 2, max_entries, max_bytes)


class Mute(MemorySource):
    """Does not say what became of entries."""

    def take(self, batch: Sequence[Carried], schemas: frozenset[str]) -> Sequence[Outcome]:
        return ()


@pytest.mark.parametrize("source", [BackwardHeights(), EndlessPage()])
def test_heights_that_do_not_ascend_are_complained_about(source: MemorySource) -> None:
    with pytest.raises(BrokenLawError, match="heights_ascend"):
        have_of(source)


@pytest.mark.parametrize("kind", [BackwardEntries, ForwardEntries])
def test_entries_that_do_not_ascend_are_complained_about(kind: type[MemorySource]) -> None:
    records = log(1, 0, VENUE, 4)
    with pytest.raises(BrokenLawError, match="entries_ascend"):
        sent(kind([*records[:2], records[3]]))


def test_outcomes_that_are_missing_are_complained_about() -> None:
    data, payload = log(1, 0, VENUE, 1)[0]
    with pytest.raises(BrokenLawError, match="take_answers"):
        take_batch(Mute(), [Carried(data, payload)], ASKED, ASKED)
