"""Every --json object is one line of what docs/json says, and so is every failure's."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from tests.cli.running import SCHEMAS, Shell

OFFLINE = [
    ("init", ["init", "--data", "{tmp}/new"]),
    ("put", ["put", "notes"]),
    ("put", ["put", "notes", "--lines"]),
    ("get", ["get", "{id}"]),
    ("get", ["get", "{id}", "--header"]),
    ("payload-drop", ["payload", "drop", "{id}"]),
    ("payload-drop", ["payload", "drop", "{id}", "--yes"]),
    ("payload-restore", ["payload", "restore", "{id}"]),
    ("payload-missing", ["payload", "missing"]),
    ("ls", ["ls"]),
    ("ls-collection", ["ls", "notes"]),
    ("ls-collection", ["ls", "notes", "--ids"]),
    ("status", ["status"]),
    ("key", ["key", "new", "{tmp}/new.key"]),
    ("key", ["key", "show"]),
    ("key", ["key", "export", "{tmp}/copy.key"]),
    ("export", ["export", "{tmp}/out.setsync"]),
    ("import", ["import", "{file}"]),
    ("backup", ["backup", "{tmp}/backup"]),
    ("gc", ["gc", "--larger-than", "1", "--dry-run"]),
    ("gc", ["gc", "--collection", "notes", "--own"]),
    ("compact", ["compact", "--dry-run"]),
    ("compact", ["compact"]),
    ("check", ["check"]),
    ("check", ["check", "--sample", "1"]),
    ("completion", ["completion", "bash"]),
    ("peer", ["peers", "add", "setsync://{key}@example.org:7717", "--name", "anna"]),
    ("peer", ["peers", "allow", "{key}"]),
    ("peer", ["peers", "block", "{key}"]),
    ("peers", ["peers", "list"]),
    ("peers-remove", ["peers", "remove", "{known}"]),
]
FAILING = [
    ["init"],
    ["put", "a//b"],
    ["get", "00000000"],
    ["payload", "drop", "00000000"],
    ["payload", "restore", "{id}", "--collection", "nowhere"],
    ["ls", "nowhere"],
    ["status", "--data", "{tmp}/nowhere"],
    ["key", "show", "{tmp}/nowhere"],
    ["export", "-"],
    ["import", "{tmp}/nowhere"],
    ["import", "{garbage}"],
    ["backup", "{tmp}"],
    ["gc"],
    ["gc", "--older-than", "yesterday"],
    ["compact", "--data", "{tmp}"],
    ["check", "--data", "{tmp}"],
    ["completion", "cmd"],
    ["peers", "add", "nobody"],
    ["peers", "remove", "{key}"],
    ["nonsense"],
]


def _words(value: str | list[str]) -> str:
    return value if isinstance(value, str) else " ".join(value)


@pytest.fixture
def places(node: Shell, tmp_path: Path) -> dict[str, str]:
    [id_] = node.put("notes", b"hello")
    file = tmp_path / "all.setsync"
    node.ok("export", str(file))
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"garbage")
    known = "0" * 64
    node.ok("peers", "add", known)
    return {
        "tmp": str(tmp_path),
        "id": id_,
        "file": str(file),
        "garbage": str(garbage),
        "key": "a" * 64,
        "known": known,
    }


@pytest.mark.parametrize(("schema", "words"), OFFLINE, ids=_words)
def test_what_a_command_prints(
    node: Shell, places: dict[str, str], schema: str, words: list[str]
) -> None:
    outcome = node.run(*(word.format(**places) for word in words), "--json", stdin=b"x\ny\n")
    assert outcome.code == 0, outcome.complaint
    outcome.json(schema)


@pytest.mark.parametrize("words", FAILING, ids=_words)
def test_what_a_failing_command_prints(
    node: Shell, places: dict[str, str], words: list[str]
) -> None:
    outcome = node.run(*(word.format(**places) for word in words), "--json")
    assert outcome.code != 0
    found = outcome.json("error")
    assert found["state"] == "failed"
    assert found["error"]["message"] in outcome.complaint


def _schemas() -> list[Path]:
    return sorted(SCHEMAS.glob("*.json"))


@pytest.mark.parametrize("path", _schemas(), ids=lambda path: path.stem)
def test_schemas_are_schemas_and_closed(path: Path) -> None:
    schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"]

    def walk(part: object) -> None:
        if isinstance(part, dict):
            if "properties" in part:
                assert part["additionalProperties"] is False
                assert set(part["required"]) <= part["properties"].keys()
            for inner in part.values():
                walk(inner)
        elif isinstance(part, list):
            for inner in part:
                walk(inner)

    walk(schema)
    assert schema["additionalProperties"] is False
