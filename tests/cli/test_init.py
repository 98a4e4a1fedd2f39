"""`setsync init` makes a directory that is ours, and touches no other."""

from __future__ import annotations

import stat
from pathlib import Path

from setsync.model.keys import read_key_file
from tests.cli.running import Shell


def test_it_makes_two_keys_that_only_the_owner_can_read(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "deep" / "node")
    made = shell.ok("init", "--json").json("init")
    for name, public in (("node.key", made["node_id"]), ("author.key", made["author"])):
        path = shell.data / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert read_key_file(path).public.hex() == public
    assert stat.S_IMODE(shell.data.stat().st_mode) == 0o700
    assert made["directory"] == str(shell.data)


def test_its_keys_are_new_every_time(tmp_path: Path) -> None:
    made = [Shell(tmp_path / name).ok("init", "--json").json("init") for name in "ab"]
    assert len({one[key] for one in made for key in ("node_id", "author")}) == 4


def test_it_takes_an_empty_directory(tmp_path: Path) -> None:
    assert Shell(tmp_path).run("init").code == 0


def test_it_refuses_a_directory_that_is_ours_already(node: Shell) -> None:
    before = {path: path.read_bytes() for path in node.data.glob("*.key")}
    outcome = node.run("init", "--json")
    assert outcome.code == 5
    assert outcome.json("error")["error"]["code"] == "data_directory"
    assert {path: path.read_bytes() for path in node.data.glob("*.key")} == before


def test_it_refuses_a_directory_with_something_in_it(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    outcome = Shell(tmp_path).run("init")
    assert outcome.code == 5
    assert "letter.txt" in outcome.complaint
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_it_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert Shell(tmp_path / "file").run("init").code == 5


def test_data_may_be_an_option_or_a_variable_and_the_option_wins(tmp_path: Path) -> None:
    Shell(tmp_path / "variable").ok("init", "--data", str(tmp_path / "option"))
    assert (tmp_path / "option" / "setsync.json").exists()
    assert not (tmp_path / "variable").exists()
