"""Keys are made, shown and carried; a secret appears only where it was asked for by name."""

from __future__ import annotations

import stat
from pathlib import Path

from setsync.model.keys import read_key_file
from tests.cli.running import Shell


def test_a_new_key_is_its_owners_alone(node: Shell, tmp_path: Path) -> None:
    path = tmp_path / "anna.key"
    made = node.ok("key", "new", str(path), "--json").json("key")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made == {"public": read_key_file(path).public.hex(), "file": str(path)}


def test_new_needs_no_data_directory(tmp_path: Path) -> None:
    Shell(tmp_path / "nowhere").ok("key", "new", str(tmp_path / "anna.key"))
    assert not (tmp_path / "nowhere").exists()


def test_a_key_is_never_written_over(node: Shell, tmp_path: Path) -> None:
    path = tmp_path / "anna.key"
    node.ok("key", "new", str(path))
    before = path.read_bytes()
    for words in (("key", "new", str(path)), ("key", "export", str(path))):
        outcome = node.run(*words, "--json")
        assert outcome.code == 1
        assert outcome.json("error")["error"]["code"] == "key_file"
    assert path.read_bytes() == before


def test_show_prints_the_public_half(node: Shell, tmp_path: Path) -> None:
    author = read_key_file(node.data / "author.key").public.hex()
    assert node.ok("key", "show").lines == [author]
    assert node.ok("key", "show", "--json").json("key")["public"] == author
    public = node.ok("key", "new", str(tmp_path / "anna.key")).lines
    assert node.ok("key", "show", str(tmp_path / "anna.key")).lines == public


def test_an_exported_key_signs_the_same_entries(node: Shell, other: Shell, tmp_path: Path) -> None:
    copy = tmp_path / "copy.key"
    node.ok("key", "export", str(copy), "--json").json("key")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    ids = other.ok("put", "x", "--author", str(copy), "--timestamp", "1", stdin=b"a").lines
    assert ids == node.ok("put", "x", "--timestamp", "1", stdin=b"a").lines


def test_the_secret_is_printed_only_if_asked_for_twice(node: Shell, tmp_path: Path) -> None:
    assert node.run("key", "export", "-").code == 2
    assert node.run("key", "export", str(tmp_path / "k"), "--secret").code == 2
    assert node.run("key", "export", "-", "--secret", "--json").code == 2
    shown = node.run("key", "export", "-", "--secret", may_show_secrets=True)
    assert shown.raw == (node.data / "author.key").read_bytes()


def test_what_is_no_key_is_refused_without_being_shown(node: Shell, tmp_path: Path) -> None:
    path = tmp_path / "half.key"
    secret = node.secrets()[0]
    path.write_text(f"setsync-ed25519-seed-1 {secret[:-2]}\n")
    path.chmod(0o600)
    outcome = node.run("key", "show", str(path))
    assert outcome.code == 1
    assert secret[:16] not in outcome.complaint
    assert node.run("key", "show", str(tmp_path / "nowhere")).code == 1
