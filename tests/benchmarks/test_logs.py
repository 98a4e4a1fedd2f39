"""Sets made of logs: the workload, and setsync and log heights on it. Never the time."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bamboo_compat.core.entry import decode
from bamboo_compat.core.examining import Member, examine
from bamboo_compat.replication.messages import Done, EntryMessage, pack
from benchmarks import bandwidth, grid
from benchmarks.log_stores import LogCache, left_behind, one_sided
from benchmarks.logs import BRANCH, LONGER_BRANCH, LogWorkload
from benchmarks.peer_heights import SYSTEM, Wire
from benchmarks.results import Result, dump, load, read
from benchmarks.workers import PeerError
from benchmarks.workload import Part
from setsync.bench.counts import Direction

SMALL = LogWorkload(authors=5, logs=8, entries=6, new=7)
FORKED = replace(SMALL, fork_every=10)
LEFT_BEHIND = 4 * 2 * BRANCH


def quiet(_: str) -> None:
    """Says nothing."""


# --- the workload -----------------------------------------------------------------------------


def test_a_seed_gives_the_same_entries_news_and_forks_again_and_another_seed_others() -> None:
    one, again, other = (replace(FORKED, seed=seed) for seed in (1, 1, 2))
    assert list(one.common()) == list(again.common()) != list(other.common())
    assert one.news() == again.news() != other.news()
    assert one.forks() == again.forks() != other.forks()


def test_logs_are_signed_and_verify_up_to_their_ends() -> None:
    records = list(SMALL.common())
    assert len(records) == SMALL.n == 5 * 8 * 6
    members = [examine(*record) for record in records]
    assert all(isinstance(one, Member) for one in members)
    entries = [decode(record.entry) for record in records]
    logs = Counter((entry.author, entry.log_id) for entry in entries)
    assert set(logs.values()) == {6}
    assert len(logs) == SMALL.log_count
    assert {len(record.payload) for record in records} <= set(range(100, 160))


def test_news_are_the_responders_and_fewer_are_the_first_of_more() -> None:
    assert (SMALL.size(Part.INITIATOR), SMALL.size(Part.RESPONDER), SMALL.d) == (0, 7, 7)
    more = replace(SMALL, new=300).news()
    assert sum(more.values()) == 300
    assert all(more[number] >= count for number, count in SMALL.news().items())
    assert max(more.values()) > 1, "many news lie behind each other"


def test_one_log_of_each_ten_is_forked_and_gets_no_news() -> None:
    forks = replace(FORKED, new=300).forks()
    assert [fork.number // 10 for fork in forks] == [0, 1, 2, 3]
    assert [(fork.initiator, fork.responder) for fork in forks] == [
        (BRANCH, BRANCH),
        (BRANCH, LONGER_BRANCH),
        (BRANCH, BRANCH),
        (LONGER_BRANCH, BRANCH),
    ]
    assert not {fork.number for fork in forks} & FORKED.news().keys()
    assert FORKED.branch_entries == LEFT_BEHIND + 2 * (LONGER_BRANCH - BRANCH)
    assert FORKED.d == 7 + FORKED.branch_entries


def test_the_two_branches_of_a_fork_are_different_entries_in_one_place() -> None:
    here, there = (FORKED.log(3).append(part) for part in (Part.INITIATOR, Part.RESPONDER))
    assert here != there
    assert decode(here.entry)[:4] == decode(there.entry)[:4]


# --- stores -----------------------------------------------------------------------------------


def test_stores_differ_by_the_workload_and_their_common_part_is_made_once(tmp_path: Path) -> None:
    cache = LogCache(tmp_path)
    with cache.pair(FORKED) as pair:
        found = one_sided(pair)
        assert found.total() == FORKED.d
        news = {FORKED.log(number).author for number in FORKED.news()}
        assert news <= {author for author, _ in found}
    with cache.pair(SMALL) as pair:
        assert one_sided(pair).total() == SMALL.d
        with pytest.raises(PeerError, match="without a fork"):
            left_behind(pair, SMALL)
    assert len(list(tmp_path.iterdir())) == 1


# --- what the bytes were for ------------------------------------------------------------------


def test_bytes_are_told_apart_by_message_however_they_are_cut() -> None:
    wire = Wire()
    entry, done = pack(EntryMessage(0, b"entry", None)), pack(Done(0))
    for byte in entry + entry + done:
        wire.observe(Direction.UP, bytes([byte]))
    wire.observe(Direction.DOWN, done)
    assert wire.sizes() == {"EntryMessage": 2 * len(entry), "Done": 2 * len(done)}
    wire.observe(Direction.DOWN, entry[:3])
    with pytest.raises(PeerError, match="3 bytes"):
        wire.sizes()


# --- both systems -----------------------------------------------------------------------------

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """Both systems on logs without forks and with them, measured once for every test here."""
    plan = grid.Plan(logs=(replace(SMALL, new=0), SMALL, FORKED))
    return list(grid.logs(plan, tmp_path_factory.mktemp("stores"), quiet))


def whole(results: list[Result], system: str, d: int) -> Result:
    """The whole exchange of a system."""
    (found,) = [r for r in results if (r.system, r.d) == (system, d) and "full" in r.variant]
    return found


@needs_linux
def test_both_systems_are_measured_on_the_same_logs(results: list[Result]) -> None:
    assert len(results) == 9
    for row in results:
        assert grid.is_of_logs(row)
        assert row.n == SMALL.n
        assert row.total_bytes
        assert row.cpu
        assert row.wall
        assert row.round_trips


@needs_linux
@pytest.mark.parametrize("d", [0, SMALL.d])
def test_without_forks_both_bring_all_that_is_new(results: list[Result], d: int) -> None:
    for system in ("setsync", SYSTEM):
        row = whole(results, system, d)
        assert (row.moved, row.moved_again, row.left_behind) == (d, 0, 0)


@needs_linux
def test_with_forks_heights_leave_branches_behind_and_sets_none(results: list[Result]) -> None:
    ours, heights = (whole(results, system, FORKED.d) for system in ("setsync", SYSTEM))
    assert (ours.moved, ours.left_behind, ours.left_logs) == (FORKED.d, 0, 0)
    # Of the longer branches only what is above the other's height has come.
    assert (heights.left_behind, heights.left_logs) == (LEFT_BEHIND, 4)
    assert heights.moved == FORKED.d - LEFT_BEHIND
    assert heights.moved_again == 0, "and another run does not help"
    assert f"second branches left behind: {LEFT_BEHIND} entries in 4 logs" in heights.note


@needs_linux
def test_what_heights_send_besides_entries_does_not_depend_on_the_news(
    results: list[Result],
) -> None:
    nothing, some = (whole(results, SYSTEM, d) for d in (0, SMALL.d))
    assert nothing.besides_entries == some.besides_entries == some.reconcile_bytes
    assert nothing.entry_bytes == 0
    assert some.entry_bytes is not None
    assert some.entry_bytes > 300 * SMALL.d


@needs_linux
def test_results_are_read_back(results: list[Result]) -> None:
    assert load(dump(results)) == results


@needs_linux
def test_logs_alone_can_be_asked_for_and_are_shown_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "QUICK", grid.Plan(logs=(replace(SMALL, authors=2, new=3),)))
    out = tmp_path / "out.json"
    assert bandwidth.main(["--quick", "--logs", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    for word in ("Sets made of logs", SYSTEM, "besides", "left"):
        assert word in text
    assert "To find and settle" not in text
    assert {row.system for row in read([out])} == {"setsync", SYSTEM}
    pytest.importorskip("matplotlib")
    assert bandwidth.main(["--load", str(out), "--plots", str(tmp_path / "docs")]) == 0
    assert [path.name for path in sorted((tmp_path / "docs").iterdir())] == ["logs.png", "logs.svg"]
