"""The demo, as a newcomer runs it: real processes, real directories, a real socket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from setsync.cli import docstrings
from setsync.store.lmdb_store import Store
from tests.cli.running import Shell

TEXTS = ["Grüße", "привет", "こんにちは", "🦉 owls", "plain", ""]


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """Forty JSON lines in three collections, and some that name none."""
    file = tmp_path / "texts.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for number in range(40):
            line: dict[str, object] = {"text": TEXTS[number % 6], "number": number}
            if number % 4:
                line["collection"] = f"texts/{number % 4}"
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    return file


def test_two_nodes_become_equal_and_the_result_says_what_it_took(
    node: Shell, lines: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    result = node.ok("demo", "--from", str(lines), "--keep", str(kept), "--json").json("demo")
    assert result["equal"] is True
    a, b = result["nodes"]["a"], result["nodes"]["b"]
    assert (a["entries_before"], b["entries_before"]) == (27, 26)
    assert a["entries_after"] == b["entries_after"] == 40
    assert a["digest"] == b["digest"]
    assert (result["missing_here"], result["missing_there"]) == (14, 13)
    assert result["naive_bytes"] == 32 * (27 + 26)
    with Store.open(kept / "a" / "store") as here, Store.open(kept / "b" / "store") as there:
        payloads = {entry.payload for entry in here}
        assert payloads == {entry.payload for entry in there}
    assert payloads == set(lines.read_bytes().splitlines())


def test_the_table_shows_both_digests_and_what_all_ids_would_have_cost(
    node: Shell, lines: Path
) -> None:
    shown = node.ok("demo", "--from", str(lines)).text
    assert "Two nodes became equal" in shown
    assert "exchanging all ids would have" in " ".join(shown.split())
    digests = [line.split()[-1] for line in shown.splitlines() if line.startswith("root digest ")]
    assert len(digests) == 2
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("no json\n", "Line 1"),
        ('{"collection": "a//b"}\n', "names a collection that cannot be"),
        ("", "no text"),
    ],
)
def test_bad_lines_are_refused_by_number(
    node: Shell, tmp_path: Path, text: str, complaint: str
) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(text)
    outcome = node.run("demo", "--from", str(file), "--json")
    assert outcome.code == 1
    assert complaint in outcome.json("error")["error"]["message"]


def test_a_folder_in_use_is_not_written_into(node: Shell, lines: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    outcome = node.run("demo", "--from", str(lines), "--keep", str(tmp_path / "mine"))
    assert outcome.code == 1
    assert [item.name for item in (tmp_path / "mine").iterdir()] == ["letter"]


def test_docstrings_are_read_without_importing_what_they_document(tmp_path: Path) -> None:
    trap = tmp_path / "trap.py"
    trap.write_text(
        '"""Top."""\nraise SystemExit\nclass A:\n    "Of A."\n    def f(self): "Of f."\n'
    )
    found = [json.loads(text.payload) for text in docstrings._read_file("pkg.trap", trap)]
    assert [(one["name"], one["text"]) for one in found] == [
        ("pkg.trap", "Top."),
        ("pkg.trap.A", "Of A."),
        ("pkg.trap.A.f", "Of f."),
    ]
    assert {text.module for text in docstrings._read_file("pkg.trap", trap)} == {"pkg"}


def test_the_standard_library_is_found_and_nothing_else() -> None:
    names = {name for name, _ in docstrings.source_files()}
    assert {"json", "json.decoder", "argparse"} <= names
    assert not any("site-packages" in str(path) for _, path in docstrings.source_files())
