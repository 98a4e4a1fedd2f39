"""The benchmark as a whole: the shape of what it measures, never the time."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
from pathlib import Path

import pytest

from benchmarks import bandwidth, grid, peer_naive, sync, targets
from benchmarks.peer_setsync import SYSTEMS, measure
from benchmarks.results import Result, averaged, load
from benchmarks.stores import ENTRY_BYTES, Cache, Signer
from benchmarks.targets import TARGETS, Verdict
from benchmarks.workload import Part, Workload
from setsync.bench.link import Link

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SMALL = grid.Plan((400,), (0, 10, 40), (("one side empty", (0, 0, 30)),), seeds=2)
IDS = {name: index.to_bytes(8, "big") + bytes(24) for index, name in enumerate("abcd")}


def quiet(_: str) -> None:
    """Says nothing."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """A small plan, all of ours measured once for every test here."""
    return list(grid.setsync(SMALL, tmp_path_factory.mktemp("stores"), quiet))


def of(results: list[Result], system: str, variant: str, d: int) -> list[Result]:
    return [r for r in results if (r.system, r.variant, r.d) == (SYSTEMS[system], variant, d)]


def test_every_system_is_measured_at_every_size(results: list[Result]) -> None:
    for d in SMALL.differences:
        assert [r.seed for r in of(results, "setsync", "dry run", d)] == [1, 2]
        for system, variant in (
            ("rbsr", "dry run"),
            ("naive", "dry run"),
            ("setsync", "full"),
            ("rbsr", "full"),
        ):
            assert len(of(results, system, variant, d)) == 1
    assert of(results, "setsync", "full, one side empty", 30)


def test_all_columns_are_filled(results: list[Result]) -> None:
    for row in results:
        assert row.total_bytes
        assert row.reconcile_bytes
        assert row.round_trips
        assert row.cpu
        assert row.wall
        assert row.peak_rss_initiator
        assert (row.bytes_per_difference is None) == (row.d == 0)
        if row.system != SYSTEMS["naive"]:
            parts = (row.handshake_bytes, row.reconcile_bytes, row.entry_bytes, row.close_bytes)
            assert sum(part or 0 for part in parts) == row.total_bytes


def test_equal_sets_cost_a_greeting_and_a_digest(results: list[Result]) -> None:
    for row in of(results, "setsync", "dry run", 0):
        assert row.reconcile_bytes is not None
        assert row.reconcile_bytes <= 300
        assert row.round_trips == 1


def test_entries_move_only_in_a_whole_exchange(results: list[Result]) -> None:
    (full,) = of(results, "setsync", "full", 40)
    assert full.entry_bytes is not None
    assert full.entry_bytes > 40 * ENTRY_BYTES * 0.9
    assert all(row.entry_bytes == 0 for row in of(results, "setsync", "dry run", 40))


def test_textbook_reconciliation_is_something_else(results: list[Result]) -> None:
    (ours,), (plain,) = (of(results, name, "full", 40) for name in ("setsync", "rbsr"))
    assert ours.reconcile_bytes is not None
    assert plain.reconcile_bytes is not None
    # Ids of 8 bytes, in place of a sketch or of ids cut to about 3.
    assert plain.reconcile_bytes > 1.5 * ours.reconcile_bytes


def test_a_naive_exchange_sends_every_id_once_each_way(results: list[Result]) -> None:
    (row,) = of(results, "naive", "dry run", 40)
    assert row.total_bytes == 2 * (8 + 32 * 420)
    assert row.round_trips == 1


def test_a_slow_line_is_waited_for(tmp_path: Path) -> None:
    link = Link(rtt=0.05)
    found = measure(Workload.even(50, 2), Cache(tmp_path), dry_run=True, link=link)
    assert found.variant == "dry run, rtt 50 ms"
    assert found.wall is not None
    assert found.round_trips is not None
    assert found.wall >= 0.05 * (found.round_trips + 1)


def test_a_store_that_nothing_has_looked_at_gives_the_same_bytes(tmp_path: Path) -> None:
    work = Workload.even(200, 0)
    warm, cold = (measure(work, Cache(tmp_path), dry_run=True, cold=cold) for cold in (False, True))
    assert cold.variant == "dry run, cold"
    assert cold.reconcile_bytes == warm.reconcile_bytes


def test_entries_are_signed_have_one_size_and_are_the_same_again() -> None:
    items = list(Workload(20, 0, 0).items(Part.COMMON))
    first, again = ([Signer(1).entry(item) for item in items] for _ in range(2))
    assert [entry.id for entry in first] == [entry.id for entry in again]
    assert {entry.size for entry in first} == {ENTRY_BYTES}
    assert len({entry.author for entry in first}) > 1


@pytest.mark.parametrize(
    ("mine", "theirs", "found"),
    [("", "", (0, 0)), ("ab", "", (0, 2)), ("abc", "bcd", (1, 1)), ("b", "abcd", (3, 0))],
)
def test_comparing_ids_tells_what_each_side_lacks(
    mine: str, theirs: str, found: tuple[int, int]
) -> None:
    near, far = (b"".join(IDS[name] for name in names) for names in (mine, theirs))
    assert dataclasses.astuple(peer_naive.compare(near, far)) == found


# --- the commands -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The file of a quick run, over sets that are smaller still, and what it printed."""
    out, printed = tmp_path_factory.mktemp("quick") / "out.json", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(grid, "QUICK", grid.Plan((300,), (0, 20), ()))
        assert bandwidth.main(["--quick", "--systems", "setsync", "--json", str(out)]) == 0
    return out, printed.getvalue()


def test_quick_ends_with_a_table_and_a_file(quick: tuple[Path, str]) -> None:
    file, printed = quick
    assert "RBSR" in printed
    rows = load(file.read_text())
    assert {row.system for row in rows} == set(SYSTEMS.values())
    assert {row.d for row in rows} == {0, 20}


def test_pictures_are_drawn_from_a_file(quick: tuple[Path, str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert bandwidth.main(["--load", str(quick[0]), "--plots", str(tmp_path / "docs")]) == 0
    names = sorted(path.name for path in (tmp_path / "docs").iterdir())
    assert names == ["bytes.png", "bytes.svg", "cpu.png", "cpu.svg"]


def test_a_whole_sync_is_shown_by_phases(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "QUICK_N", 200)
    monkeypatch.setattr(sync, "DIFFERENCES", (0, 10))
    out = tmp_path / "out.json"
    assert sync.main(["--quick", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    for word in ("handshake", "reconcile", "entries", "close", "trips", "CPU"):
        assert word in text
    nothing, ten = load(out.read_text())
    assert sync.overhead(nothing) is None
    share = sync.overhead(ten)
    assert share is not None
    assert share > 1


# --- targets ------------------------------------------------------------------------------


def row(size: int, trips: int, seed: int = 1) -> Result:
    """A dry run of ours at the row of 60,000 bytes."""
    return Result(
        "setsync",
        100_000,
        2_000,
        "dry run",
        reconcile_bytes=size,
        round_trips=trips,
        seed=seed,
    )


@pytest.mark.parametrize(
    ("sizes", "trips", "passes"),
    [
        ((60_000, 60_000), (4, 4), (True, True)),
        ((60_000, 60_002), (4, 4), (False, True)),
        ((30_000, 50_000), (4, 4), (False, True)),
        ((50_000, 50_000), (4, 5), (True, False)),
    ],
)
def test_a_target_is_held_by_the_mean_its_spread_and_every_round_trip(
    sizes: tuple[int, ...], trips: tuple[int, ...], passes: tuple[bool, bool]
) -> None:
    rows = [row(*pair, seed) for seed, pair in enumerate(zip(sizes, trips, strict=True))]
    (verdict,) = targets.verdicts(rows)
    assert (verdict.bytes_pass, verdict.trips_pass) == passes


def test_only_dry_runs_of_ours_count_for_a_target() -> None:
    target = next(t for t in TARGETS if (t.n, t.d) == (100_000, 2_000))
    others = [
        dataclasses.replace(row(1, 1), system="other"),
        dataclasses.replace(row(1, 1), variant="full"),
        dataclasses.replace(row(1, 1), d=20),
    ]
    assert Verdict.of(target, [*others, row(7, 2)], "setsync").sizes == (7,)


def test_targets_are_measured_printed_and_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = (targets.Target(200, 0, 300), targets.Target(200, 10, 1))
    monkeypatch.setattr(targets, "TARGETS", small)
    assert bandwidth.main(["--targets", "--seeds", "2", "--cache", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("300 B" in line and "pass" in line for line in lines)
    assert any(" 1 B" in line and "MISS" in line for line in lines)


def test_seeds_become_their_mean() -> None:
    both = averaged([row(10, 4, 1), row(20, 5, 2), dataclasses.replace(row(9, 9), d=3)])
    assert [(r.d, r.reconcile_bytes) for r in both] == [(3, 9), (2_000, 15)]
    assert both[1].note == "mean of 2 seeds"
