"""Importing: in which batches entries are committed, and what a fault or a stop leaves behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsync.errors import ExportFileError, PayloadTooLargeError
from setsync.limits import COMMIT_SECONDS, FIRST_COMMIT, MOST_IN_COMMIT
from setsync.model.checking import Outcome
from setsync.model.entry import Entry, UnverifiedEntry
from setsync.store import importing, pace
from setsync.store.contract import Added, Origin, Origins, Quotas
from setsync.store.importing import Imported, import_entries, verify_in_turn
from setsync.store.memory import MemoryStore
from setsync.store.pace import Pace
from tests.bamboo.histories import member
from tests.bamboo.logs import Author
from tests.helpers import entries


class _Watched(MemoryStore):
    """Remembers the batches it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[bytes]] = []

    @property
    def arrived(self) -> list[bytes]:
        """All ids, in the order of their arrival."""
        return [id_ for batch in self.batches for id_ in batch]

    def add_many(
        self, entries: Sequence[Entry], origins: Origins = (), quotas: Quotas | None = None
    ) -> Added:
        self.batches.append([entry.id for entry in entries])
        return super().add_many(entries, origins, quotas)


def bare(some: Iterable[Entry]) -> list[UnverifiedEntry]:
    """What an export file says of entries."""
    return [UnverifiedEntry(e.collection, e.header, e.payload) for e in some]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of twelve entries, and four in a commit."""
    monkeypatch.setattr(importing, "VERIFY_JOB_ENTRIES", 1)
    monkeypatch.setattr(importing, "IMPORT_WINDOW_ENTRIES", 12)
    monkeypatch.setattr(pace, "FIRST_COMMIT", 4)
    monkeypatch.setattr(pace, "MOST_IN_COMMIT", 4)


@pytest.mark.usefixtures("small")
def test_a_window_is_committed_in_the_order_of_ids_part_by_part() -> None:
    store, heard = _Watched(), list[int]()
    some = entries(30)
    done = import_entries(store, bare(some), 1000, heard.append)
    assert done == Imported(entries=30, new=30)
    assert [len(batch) for batch in store.batches] == [4, 4, 4, 4, 4, 4, 4, 2]
    assert heard == [4, 8, 12, 16, 20, 24, 28, 30]
    for low in range(0, 30, 12):
        window = sorted(entry.id for entry in some[low : low + 12])
        assert store.arrived[low : low + 12] == window


def most_waiting(count: int) -> int:
    """The most entries of an import that are read and not yet committed."""
    store = _Watched()
    taken = 0
    most = 0

    def counted() -> Iterator[UnverifiedEntry]:
        nonlocal taken, most
        for entry in bare(entries(count)):
            taken += 1
            most = max(most, taken - len(store.arrived))
            yield entry

    import_entries(store, counted(), 1000)
    return most


@pytest.mark.usefixtures("small")
def test_no_more_than_a_window_and_a_commit_wait_in_memory() -> None:
    assert 12 <= most_waiting(200) <= 12 + 2 * 4


def test_no_more_bytes_than_those_of_a_window_and_a_commit_wait_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = max(entry.size for entry in bare(entries(200)))
    monkeypatch.setattr(importing, "VERIFY_JOB_ENTRIES", 1)
    monkeypatch.setattr(importing, "IMPORT_WINDOW_BYTES", 12 * size)
    monkeypatch.setattr(importing, "IMPORT_COMMIT_BYTES", 2 * size)
    assert 12 <= most_waiting(200) <= 12 + 2 * 4


@pytest.mark.usefixtures("small")
def test_entries_with_an_index_are_committed_in_the_order_of_the_file() -> None:
    logs = [member(record) for record in Author().grow(10)]
    mixed = [one for pair in zip(logs, entries(10), strict=True) for one in pair]
    store = _Watched()
    import_entries(store, bare(mixed), 1000)
    arrived = store.arrived
    assert sorted(arrived) == sorted(entry.id for entry in mixed)
    of_logs = {entry.id for entry in logs}
    assert [id_ for id_ in arrived if id_ in of_logs] == [entry.id for entry in logs]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("place", ["header", "payload", "collection"])
@pytest.mark.parametrize("good", [0, 3, 12, 17])
def test_a_bad_entry_stops_the_import_after_all_the_good_ones(place: str, good: int) -> None:
    some = bare(entries(good + 2))
    model = some[good]
    bad = {
        "header": UnverifiedEntry("notes", model.header[:-1] + b"\0", model.payload),
        "payload": UnverifiedEntry("notes", model.header, b"another"),
        "collection": UnverifiedEntry("other", model.header, model.payload),
    }[place]
    store = MemoryStore()
    with pytest.raises(ExportFileError, match=f"after {good} good entries"):
        import_entries(store, [*some[:good], bad, *some[good + 1 :]], 1000)
    with store.snapshot() as snapshot:
        assert snapshot.entry_count == good


def test_a_payload_over_the_limit_stops_it_too() -> None:
    store = MemoryStore()
    assert import_entries(store, bare(entries(1)), len(entries(1)[0].payload or b"")).new == 1
    with pytest.raises(PayloadTooLargeError, match="SETSYNC_MAX_PAYLOAD"):
        import_entries(store, bare(entries(1)), 3)


@pytest.mark.usefixtures("small")
def test_an_interruption_keeps_what_was_committed() -> None:
    def interrupt(count: int) -> None:
        if count == 8:
            raise KeyboardInterrupt

    store = MemoryStore()
    with pytest.raises(KeyboardInterrupt):
        import_entries(store, bare(entries(20)), 1000, interrupt)
    with store.snapshot() as snapshot:
        assert snapshot.entry_count == 8
    assert import_entries(store, bare(entries(20)), 1000) == Imported(20, 12, 8)


@pytest.mark.usefixtures("small")
def test_a_window_is_larger_for_a_large_set_also_while_it_becomes_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importing, "LARGE_SET_ENTRIES", 20)
    monkeypatch.setattr(importing, "LARGE_IMPORT_WINDOW_ENTRIES", 24)
    store = _Watched()
    some = entries(60)
    import_entries(store, bare(some), 1000)
    for low, high in ((0, 12), (12, 24), (24, 48), (48, 60)):
        assert store.arrived[low:high] == sorted(entry.id for entry in some[low:high])


def test_jobs_are_bounded_by_entries_and_by_bytes_and_none_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some = bare(entries(20))
    size = len(some[0].header) + len(some[0].payload or b"")
    jobs: list[int] = []

    def watched(batches: Iterable[Sequence[UnverifiedEntry]]) -> Iterator[Iterable[Outcome]]:
        for batch in batches:
            jobs.append(len(batch))
            yield from verify_in_turn([batch])

    monkeypatch.setattr(importing, "VERIFY_JOB_ENTRIES", 8)
    assert import_entries(MemoryStore(), some, 1000, verify=watched) == Imported(20, 20)
    assert jobs == [8, 8, 4]
    jobs.clear()
    # The first ten have a payload of 7 bytes, the others of 8.
    monkeypatch.setattr(importing, "VERIFY_JOB_BYTES", 3 * size)
    assert import_entries(MemoryStore(), some[:10], 1000, verify=watched) == Imported(10, 10)
    assert jobs == [3, 3, 3, 1]


def test_who_brought_them_is_written_down_for_every_entry() -> None:
    store = MemoryStore()
    import_entries(store, bare(entries(5)), 1000, origin=Origin(7, b"p" * 32))
    with store.snapshot() as snapshot:
        assert [snapshot.origin(arrival) for arrival in range(1, 6)] == [Origin(7, b"p" * 32)] * 5


@pytest.mark.usefixtures("small")
def test_a_window_goes_collection_by_collection() -> None:
    store = _Watched()
    mixed = [*entries(6, "b"), *entries(6, "a")]
    import_entries(store, bare(mixed), 1000)
    in_order = sorted(mixed, key=lambda entry: (entry.collection, entry.id))
    assert store.arrived == [entry.id for entry in in_order]


def test_large_entries_make_small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "VERIFY_JOB_ENTRIES", 1)
    monkeypatch.setattr(importing, "IMPORT_COMMIT_BYTES", 2 * entries(10)[0].size)
    monkeypatch.setattr(importing, "IMPORT_WINDOW_BYTES", 5 * entries(10)[0].size)
    store = _Watched()
    import_entries(store, bare(entries(10)), 1000)
    assert [len(batch) for batch in store.batches] == [2, 2, 1, 2, 2, 1]


# --- pace ---------------------------------------------------------------------------------


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(each=st.floats(1e-7, 1e-2), commits=st.integers(20, 30))
def test_commits_come_to_take_the_time_they_should(each: float, commits: int) -> None:
    clock = _Clock()
    pace = Pace(clock)
    for _ in range(commits):
        pace.begin()
        clock.now += each * pace.most
        pace.note(pace.most)
    bounded = min(MOST_IN_COMMIT, max(FIRST_COMMIT // 4, COMMIT_SECONDS / each))
    assert pace.most == pytest.approx(bounded, rel=0.01)


def test_a_small_commit_says_nothing_about_large_ones() -> None:
    clock = _Clock()
    pace = Pace(clock)
    pace.begin()
    pace.note(1)
    assert pace.most == FIRST_COMMIT


def test_one_slow_commit_halves_the_next_and_no_more() -> None:
    clock = _Clock()
    pace = Pace(clock)
    pace.begin()
    clock.now += 100.0
    pace.note(FIRST_COMMIT)
    assert pace.most == FIRST_COMMIT // 2
