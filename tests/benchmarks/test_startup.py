"""What the benchmark of starting up runs and tells; never how long anything takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import startup
from benchmarks.startup import COMMANDS, Command, CommandError, Started, Took


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> list[Started]:
    """A small store, every command once after a first time that does not count."""
    data = tmp_path_factory.mktemp("startup") / "data"
    startup.fill(data, 30)
    return list(startup.measure(data, rounds=1))


def test_every_command_is_measured_and_runs_to_its_end(figures: list[Started]) -> None:
    assert [row.command for row in figures] == [command.name for command in COMMANDS]
    assert all(row.wall_ms > 0 and row.cpu_ms > 0 for row in figures)


def test_what_is_beyond_is_beyond_the_bare_imports(figures: list[Started]) -> None:
    by_name = {row.command: row for row in figures}
    bare = by_name["python -c 'import lmdb, click'"]
    assert (bare.wall_beyond_ms, bare.cpu_beyond_ms) == (0, 0)
    for row in figures:
        assert row.wall_beyond_ms == pytest.approx(row.wall_ms - bare.wall_ms)


def test_the_target_is_for_status_alone(figures: list[Started]) -> None:
    bound = {row.command for row in figures if row.target_ms == startup.TARGET_MS}
    assert bound == {"setsync status", "setsync status --json"}


def test_medians_are_of_rounds_and_the_first_does_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    walls = {0: 1_000.0, 1: 10.0, 2: 20.0, 3: 60.0}
    more = {command.name: place for place, command in enumerate(COMMANDS)}

    def run(command: Command, data: Path, number: int) -> Took:
        return Took(walls[number] + more[command.name], 1.0)

    monkeypatch.setattr(Command, "run", run)
    found = {row.command: row for row in startup.measure(tmp_path, rounds=3)}
    bare = more["python -c 'import lmdb, click'"]
    for name, row in found.items():
        assert (row.wall_ms, row.wall_beyond_ms) == (20 + more[name], more[name] - bare)


def test_bytecode_is_written_once_and_never_beside_the_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    place = tmp_path / "place"
    code = f"import json, sys; open({str(place)!r}, 'w').write(json.__cached__)"
    Command("python", ("-c", code)).run(tmp_path / "data", 0)
    assert Path(place.read_text()).is_relative_to(tmp_path / "bytecode")
    assert Path(place.read_text()).exists()


def test_a_payload_is_brought_on_standard_input(tmp_path: Path) -> None:
    place = tmp_path / "place"
    code = f"import sys; open({str(place)!r}, 'w').write(sys.stdin.read())"
    for brings, said in ((True, "7"), (False, "")):
        Command("python", ("-c", code), brings=brings).run(tmp_path / "data", 7)
        assert place.read_text() == said


def test_cpu_is_that_of_the_command_and_not_ours(tmp_path: Path) -> None:
    busy = Command("busy", ("-c", "import time\nwhile time.process_time() < 0.3: pass"))
    took = busy.run(tmp_path / "data", 0)
    assert took.cpu >= 300


def test_a_command_that_fails_ends_the_measurement_with_its_own_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Command("failing", ("-c", "import sys; sys.exit('it cannot')"))
    with pytest.raises(CommandError, match="failing ended with 1: it cannot"):
        failing.run(tmp_path / "data", 0)
    monkeypatch.setattr(startup, "COMMANDS", (failing,))
    assert startup.main(["--quick", "--entries", "5", "--dir", str(tmp_path)]) == 1
    assert "it cannot" in capsys.readouterr().err


def test_quick_ends_with_a_table_and_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    words = ["--quick", "--entries", "20", "--rounds", "1", "--dir", str(tmp_path)]
    assert startup.main([*words, "--json", str(out)]) == 0
    text = capsys.readouterr().out
    for word in ("setsync status --json", "wall beyond", "<= 150", "20 entries"):
        assert word in text
    found = json.loads(out.read_text())
    assert (found["entries"], found["rounds"], len(found["started"])) == (20, 1, len(COMMANDS))
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
