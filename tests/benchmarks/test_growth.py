"""What a set's size does to its costs: all of it is measured, and what is exact is. Never time."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import growth, growth_node, growth_plot
from benchmarks.growth import Asked, Decade, Filled, Growth, More, Reconciled, decades, verdicts
from benchmarks.growth_node import (
    Clock,
    Entries,
    added,
    counted,
    imported,
    root_of,
    signed,
    split_of,
    tried,
)
from benchmarks.plots import PlotError
from benchmarks.store import COLLECTION, ENTRY_BYTES
from benchmarks.workers import WorkerError
from setsync.model.entry import UnverifiedEntry, verify
from setsync.store.environment import Environment
from setsync.store.lmdb_store import LmdbSnapshot, Store

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def filled(arrival: str, entries: int, cpu: float) -> Filled:
    mean = cpu if entries == 1_000 else cpu * 3 / 4
    return Filled(arrival, entries, mean, mean, cpu, cpu, 2_000.0, 120.0, 50_000_000)


def asked(entries: int) -> Asked:
    return Asked(entries, 1.5, 20.0, 1, 1, 3, 4, 4, 3.5, 4, 3.5)


def reconciled(entries: int, size: float = 4_300.0) -> Reconciled:
    cpu = (0.012, 0.012, 0.05, 0.1, 0.1, 0.1)
    return Reconciled(entries, 200, size, 54_000.0, 3, *cpu, 40_000_000, 41_000_000)


FOUND = Growth(
    [
        *(filled("random", entries, cpu) for entries, cpu in ((1_000, 5.0), (10_000, 10.0))),
        *(filled("by id", entries, cpu) for entries, cpu in ((1_000, 4.0), (10_000, 4.0))),
    ],
    [More(1_000, 30.0, 10.0), More(10_000, 40.0, 21.0)],
    [asked(1_000), asked(10_000)],
    [reconciled(1_000), reconciled(10_000)],
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


# --- what is put in ----------------------------------------------------------------------------


def test_entries_have_300_bytes_and_are_the_same_in_every_run() -> None:
    numbers = range(5)
    once, again = (list(map(Entries().entry, numbers)) for _ in range(2))
    assert {one.size for one in once} == {ENTRY_BYTES}
    assert len({one.id for one in once}) == len(numbers)
    assert [one.id for one in once] == [one.id for one in again]
    assert [one.id[:8] for one in once] == [
        Entries().short_id(number).to_bytes(8, "big") for number in numbers
    ]


def test_entries_share_no_bytes_so_that_memory_is_not_flattered() -> None:
    first, second = map(Entries().claim, range(2))
    assert first.payload == second.payload
    assert first.payload is not second.payload


def test_news_is_signed_for_a_peer_verifies_it_and_has_as_many_bytes() -> None:
    for number in (0, 299, 70_000):
        entry = signed(number)
        assert entry.size == ENTRY_BYTES
        assert verify(UnverifiedEntry(COLLECTION, entry.header, entry.payload)).id == entry.id


def test_what_is_aside_is_not_counted_in_wall_nor_in_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0, 0.0]

    def pass_(wall: float, cpu: float) -> None:
        now[:] = now[0] + wall, now[1] + cpu

    clocks = SimpleNamespace(perf_counter=lambda: now[0], process_time=lambda: now[1])
    monkeypatch.setattr(growth_node, "time", clocks)
    clock = Clock()
    pass_(8.0, 8.0)
    with clock.counted():
        pass_(1.0, 0.5)
        with clock.aside():
            pass_(16.0, 4.0)
        pass_(2.0, 0.25)
    pass_(8.0, 8.0)
    assert clock.told() == {"wall": 3.0, "cpu": 0.75}


def test_an_import_puts_in_all_of_its_numbers_and_goes_on_where_another_ended(
    store: Store,
) -> None:
    for low, high in ((0, 700), (700, 3_000)):
        _, commits = imported(store, low, high)
        assert commits >= 1
        with store.snapshot() as snapshot:
            assert root_of(snapshot).count == high
    with store.snapshot() as snapshot:
        assert snapshot.arrival(COLLECTION, Entries().entry(2_999).id) is not None


# --- what is counted ---------------------------------------------------------------------------


def test_the_root_is_one_row_of_any_store(store: Store) -> None:
    for high in (10, 3_000):
        added(store, range(high))
        assert counted(store, root_of).rows == 1


@pytest.mark.parametrize(("entries", "rows"), [(10, 4), (3_000, 4), (40_000, 3)])
def test_a_split_reads_a_few_rows_whatever_the_size(store: Store, entries: int, rows: int) -> None:
    added(store, range(entries))
    found = counted(store, lambda snapshot: split_of(snapshot, "a7"))
    assert found.rows <= rows
    assert found.pages >= found.rows - 1


def test_a_scan_would_be_counted_row_by_row(store: Store) -> None:
    added(store, range(2_000))

    def scan(snapshot: LmdbSnapshot) -> None:
        view = snapshot.view(COLLECTION)
        assert view is not None
        assert len(view.ids("")) == 2_000

    # A leaf holds 32 ids at most.
    assert counted(store, scan).rows >= 2_000 / 32


def test_counting_an_insert_counts_the_way_down_and_writes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(store, range(20))
    assert (tried(store, 20).read, tried(store, 20).written) == (1, 1)
    added(store, range(20, 3_000))
    with store.snapshot() as snapshot:
        before = root_of(snapshot)
    written: list[Callable[..., object]] = []
    monkeypatch.setattr(Environment, "write", lambda _, work: written.append(work))
    found = [tried(store, 3_000 + number) for number in range(50)]
    assert not written
    assert {one.read for one in found} <= {3, 4}
    assert all(one.written >= one.read for one in found)
    with store.snapshot() as snapshot:
        assert root_of(snapshot) == before


# --- what is said of it ------------------------------------------------------------------------


def test_every_way_to_insert_is_held_against_doubling_decade_by_decade() -> None:
    found = decades(FOUND.inserts())
    assert [(one.what, one.times, one.passes) for one in found] == [
        ("import, random order", 2.0, True),
        ("in the order of ids, 10,000 at once", 1.0, True),
        ("1,000 more at once", 2.1, False),
    ]
    assert Decade("x", 1, 10, 2.0).passes


def test_what_all_inserts_took_is_held_against_doubling_too() -> None:
    wholes = {one.what: one.times for one in decades(FOUND.wholes())}
    assert wholes["import, random order, all from none"] == 1.5
    assert len(wholes) == len(growth.ARRIVALS)


def test_what_is_missed_is_said_in_a_word() -> None:
    lines = list(verdicts(Growth(FOUND.filled, FOUND.more, FOUND.asked, [reconciled(10, 8_000.0)])))
    missed = [line for line in lines if "NO" in line]
    assert len(lines) == 7
    assert any("1,000 more at once, 1 k to 10 k: 2.10 times" in line for line in missed)
    assert any("bytes to reconcile: 8,000 (to reach: at most 7,000)" in line for line in missed)
    assert len(missed) == 2


def test_what_is_written_can_be_read_and_shown_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    growth.write(tmp_path / "out.json", FOUND)
    assert growth.read(tmp_path / "out.json") == FOUND
    assert growth.main(["--read", str(tmp_path / "out.json")]) == 0
    text = capsys.readouterr().out
    for words in ("by id", "4,300 B", "3.5, most 4", "40.0 MB + 41.0 MB"):
        assert words in text


def test_the_picture_has_four_parts_and_the_line_that_inserts_are_held_against(
    tmp_path: Path,
) -> None:
    panels = growth_plot.panels(FOUND)
    assert len({(panel.title, panel.unit) for panel in panels}) == 4
    assert all(len(points) == 2 for panel in panels for points in panel.series.values())
    inserts = panels[0].series
    assert inserts["import, random order"] == [(1_000, 5.0), (10_000, 10.0)]
    assert inserts[growth_plot.DOUBLING] == [(1_000, 10.0), (10_000, 20.0)]
    with pytest.raises(PlotError, match="no size"):
        growth_plot.draw(Growth(), tmp_path / "none")
    pytest.importorskip("matplotlib")
    paths = growth_plot.draw(FOUND, tmp_path / "growth")
    assert [path.name for path in paths] == ["growth.png", "growth.svg"]
    for words in ("entries in the store, n", "CPU time an entry (us)", growth_plot.DOUBLING):
        assert words in paths[1].read_text()


@pytest.mark.parametrize(
    ("low", "high", "numbers"),
    [
        (1.2, 9, [1, 2, 5, 10]),
        (20, 20, [20]),
        (0.5, 1, [1]),
        (300, 1_100, [200, 500, 1_000, 2_000]),
    ],
)
def test_round_numbers_stand_below_and_above_what_is_drawn(
    low: float, high: float, numbers: list[int]
) -> None:
    assert growth_plot.round_numbers(low, high) == numbers


# --- the whole ---------------------------------------------------------------------------------


@linux
def test_every_figure_is_measured_at_every_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REPEATS", "BATCHES", "TURNS", "DRY_RUNS", "OPENINGS"):
        monkeypatch.setattr(growth, name, 1)
    out = tmp_path / "out.json"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = ["--sizes", "2k", "600", "--json", str(out), "--dir", str(scratch)]
    assert growth.main(words) == 0
    found = growth.read(out)
    assert [row.entries for row in found.asked] == [600, 2_000]
    assert [(row.arrival, row.entries) for row in found.filled] == [
        (arrival, entries) for arrival in growth.ARRIVALS for entries in (600, 2_000)
    ]
    for row in found.filled:
        assert min(row.us, row.us_at, row.cpu_us, row.cpu_us_at, row.disk_beyond) > 0
        assert row.memory > 1_000_000
    for questions in found.asked:
        assert questions.root_rows == 1
        assert questions.split_rows <= 4
        assert questions.open_ms > 0 < questions.split_us
    for pair in found.reconciled:
        assert pair.different == growth.DIFFERENT
        assert 1_000 < pair.reconcile_bytes < pair.all_bytes
        assert min(asdict(pair).values()) > 0
    assert not list(scratch.iterdir())
    assert json.loads(out.read_text())["about"]["entry_bytes"] == ENTRY_BYTES
    text = capsys.readouterr().out
    for words_ in ("Filling a store", "1,000 more at once, 600 to 2 k", "anonymous memory"):
        assert words_ in text


def test_a_process_that_fails_ends_the_measurement_with_its_own_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Growth:
        raise WorkerError("it cannot")

    monkeypatch.setattr(growth, "measure", fail)
    assert growth.main(["--quick", "--dir", str(tmp_path)]) == 1
    assert "error: it cannot" in capsys.readouterr().err


@linux
@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_ten_million_entries_cost_hardly_more_than_a_million(tmp_path: Path) -> None:
    sizes = (growth.MOST // 100, growth.MOST // 10, growth.MOST)
    found = growth.measure(tmp_path, sizes, print)
    print("\n".join(verdicts(found)))
    for low, high in pairwise(found.asked):
        assert (high.root_rows, high.root_pages) == (1, 1)
        assert high.split_rows <= low.split_rows
        assert high.split_pages <= low.split_pages + 1
        # A digit more for every sixteenfold: log 10 to the base of 16 is 0.83.
        assert high.insert_read_mean <= low.insert_read_mean + 1
        assert high.insert_read <= low.insert_read + 1
    for pair in found.reconciled:
        assert pair.reconcile_bytes <= growth.MOST_BYTES
        assert max(pair.memory_initiator, pair.memory_responder) <= growth.MOST_MEMORY
    assert all(row.memory <= growth.MOST_MEMORY for row in found.filled)
    wholes = decades(found.wholes())
    assert all(decade.passes for decade in wholes), wholes
