"""A network's key is made, carried and forgotten, and shown only where it was asked for by name."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from setsync.node.network import NetworkKey, key_text
from tests.cli.running import Shell

KEY = NetworkKey(b"k" * 32)


def test_a_new_key_is_its_owners_alone_and_named_not_shown(node: Shell) -> None:
    made = node.ok("network", "new", "--json").json("network")
    assert stat.S_IMODE((node.data / "network.key").stat().st_mode) == 0o600
    assert node.ok("network", "show", "--json").json("network") == made
    assert node.ok("network", "show").lines == [made["network"]]


def test_a_key_is_carried_by_file_or_standard_input(
    node: Shell, other: Shell, tmp_path: Path
) -> None:
    made = node.ok("network", "new").lines
    shown = node.run("network", "show", "--secret", may_show_secrets=True)
    assert shown.raw == (node.data / "network.key").read_bytes()
    assert other.ok("network", "join", "-", stdin=shown.raw).lines == made
    assert other.ok("network", "leave", "--json").json("network") == {"network": None}
    assert other.ok("network", "join", str(node.data / "network.key")).lines == made
    assert (other.data / "network.key").read_bytes() == shown.raw


def test_a_key_is_never_written_over(node: Shell) -> None:
    node.ok("network", "new")
    before = (node.data / "network.key").read_bytes()
    for words in (["new"], ["join", "-"]):
        outcome = node.run("network", *words, "--json", stdin=key_text(KEY).encode())
        assert outcome.code == 1
        assert outcome.json("error")["error"]["code"] == "key_file"
    assert (node.data / "network.key").read_bytes() == before


@pytest.mark.parametrize("form", [KEY.secret.hex(), KEY.secret.hex().upper(), key_text(KEY)])
def test_a_key_on_the_command_line_is_refused_without_repeating_it(node: Shell, form: str) -> None:
    outcome = node.run("network", "join", form)
    assert outcome.code == 2
    assert "network join -" in outcome.complaint
    assert KEY.secret.hex() not in outcome.complaint.lower()
    assert not (node.data / "network.key").exists()


@pytest.mark.parametrize(
    "words",
    [["join", "-"], ["join", "nowhere"], ["leave"], ["show", "--secret"]],
    ids=" ".join,
)
def test_what_makes_no_sense_changes_nothing(node: Shell, words: list[str]) -> None:
    outcome = node.run("network", *words, "--json" if "--secret" not in words else "--", stdin=b"x")
    assert outcome.code == 1
    assert not (node.data / "network.key").exists()


def test_json_shows_no_secret(node: Shell) -> None:
    node.ok("network", "new")
    assert node.run("network", "show", "--secret", "--json").code == 2


def test_who_has_no_key_is_told_so(node: Shell) -> None:
    assert node.ok("network", "show", "--json").json("network") == {"network": None}
    assert "no network" in node.ok("network", "show").complaint
