"""`bench`: what it measures is what a session says, and nothing is changed by measuring."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from setsync.cli import bench
from tests.cli.running import Shell


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A built-in grid that takes no time."""
    monkeypatch.setattr(bench, "COMMON", 300)
    monkeypatch.setattr(bench, "DIFFERENCES", (0, 2, 40))


@pytest.fixture
def served(node: Shell, tmp_path: Path) -> Iterator[str]:
    """The address of a process that serves the node's directory."""
    ready = tmp_path / "ready"
    words = ["serve", "--listen", "127.0.0.1:0", "--plain", "--ready-file", str(ready)]
    command = [sys.executable, "-m", "setsync", *words, "--data", str(node.data)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        # It says so once it listens, and not before.
        assert "listening" in process.stderr.readline()
        while not ready.exists():
            assert process.poll() is None
        yield ready.read_text().strip()
        process.terminate()
        process.communicate()


def totals(session: dict[str, dict[str, dict[str, int]]]) -> int:
    """Bytes of the phases, added up."""
    phases = ("handshake", "reconcile", "entries", "close")
    return sum(sum(session["bytes"][phase].values()) for phase in phases)


@pytest.mark.usefixtures("small")
def test_the_built_in_grid_compares_nodes_that_differ_more_and_more(node: Shell) -> None:
    found = node.ok("bench", "--json").json("bench")
    sessions = found["sessions"]
    assert [one["missing_here"] for one in sessions] == [0, 1, 20]
    assert [one["missing_there"] for one in sessions] == [0, 1, 20]
    assert [one["here"] for one in sessions] == [300, 301, 320]
    for one in sessions:
        assert totals(one) == one["bytes"]["sent"] + one["bytes"]["received"]
        assert sum(one["bytes"]["entries"].values()) == 0
        assert one["naive_bytes"] == 32 * (one["here"] + one["there"])
    assert sessions[0]["in_sync"]
    assert sessions[0]["bytes_per_difference"] is None


@pytest.mark.usefixtures("small")
def test_a_slow_line_takes_its_time_and_says_so(node: Shell) -> None:
    found = node.ok("bench", "--json", "--rtt", "20ms", "--rate", "10mbit").json("bench")
    assert found["link"] == {"rtt": 0.02, "rate": 10e6}
    for one in found["sessions"]:
        # The greeting waits once, and so does each round trip.
        assert one["seconds"] >= 0.02 * (one["round_trips"] + 1)


def test_a_fraction_is_a_sync_of_a_part_of_ones_own_entries(node: Shell) -> None:
    ids = node.put("notes", *(b"%d" % number for number in range(200)))
    node.put("more", b"a", b"b")
    before = node.digests()
    (one,) = node.ok("bench", "--fraction", "0.5", "--json").json("bench")["sessions"]
    assert one["there"] == len(ids) + 2
    assert one["here"] + one["missing_here"] == one["there"]
    assert 60 < one["here"] < 140
    assert one["missing_there"] == 0
    assert one["in_sync"]
    assert sum(one["bytes"]["entries"].values()) > 0
    assert node.digests() == before


def test_against_another_node_nothing_is_moved(
    node: Shell, other: Shell, served: str, tmp_path: Path
) -> None:
    node.put("notes", b"both")
    node.ok("export", str(tmp_path / "both"))
    other.ok("import", str(tmp_path / "both"))
    node.put("notes", b"there")
    other.put("notes", b"here", b"here too")
    before = node.digests(), other.digests()
    (one,) = other.ok("bench", "--against", served, "--json").json("bench")["sessions"]
    assert (one["here"], one["there"]) == (3, 2)
    assert (one["missing_here"], one["missing_there"]) == (1, 2)
    assert not one["in_sync"]
    assert (node.digests(), other.digests()) == before


def test_people_get_a_table_that_fits_a_terminal(node: Shell) -> None:
    lines = node.ok("bench").lines
    assert {"here", "there", "d", "reconcile", "naive"} <= set(lines[1].split())
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


def test_people_get_a_line_for_each_number_of_one_session(node: Shell) -> None:
    node.put("notes", *(b"%d" % number for number in range(40)))
    text = node.ok("bench", "--fraction", "0.5").text
    for words in ("entries there     40", "missing there     0", "as a proxy on the line"):
        assert words in text


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--against", "127.0.0.1:1", "--fraction", "0.5"], 2),
        (["--against", "127.0.0.1"], 2),
        (["--against", "192.0.2.1:7000"], 2),
        (["--fraction", "1.5"], 2),
        (["--rtt", "100"], 2),
        (["--rate", "fast"], 2),
        (["--rate", "0mbit"], 2),
        (["--against", "127.0.0.1:1"], 4),
    ],
)
def test_what_cannot_be_measured_is_said(node: Shell, words: list[str], code: int) -> None:
    outcome = node.run("bench", *words, "--json")
    assert outcome.code == code, outcome.complaint
    outcome.json("error")


def test_ones_own_entries_need_a_directory(tmp_path: Path) -> None:
    outcome = Shell(tmp_path / "nowhere").run("bench", "--fraction", "0.5")
    assert outcome.code == 5
