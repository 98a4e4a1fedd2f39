"""What was put is what is got, byte for byte."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from blake3 import blake3

from setsync.cli import put as put_module
from setsync.model.entry import make_entry
from setsync.model.keys import read_key_file
from setsync.node import room
from tests.cli.running import Shell

LIMIT = {"SETSYNC_MAX_PAYLOAD": "10"}
EVERY_BYTE = bytes(range(256)) * 3


@pytest.mark.parametrize("payload", [b"hello\n", b"", b"\0", EVERY_BYTE, "Grüße\r\n".encode()])
def test_a_payload_comes_back_as_it_was(node: Shell, payload: bytes) -> None:
    [id_] = node.ok("put", "notes", stdin=payload).lines
    assert node.ok("get", id_).raw == payload
    assert node.ok("get", id_[:8].upper()).raw == payload


def test_a_file_and_standard_input_make_the_same_entry(node: Shell, tmp_path: Path) -> None:
    (tmp_path / "letter").write_bytes(EVERY_BYTE)
    words = ("put", "notes", "--timestamp", "5")
    ids = [
        node.ok(*words, str(tmp_path / "letter")).lines,
        node.ok(*words, "-", stdin=EVERY_BYTE).lines,
        node.ok(*words, stdin=EVERY_BYTE).lines,
    ]
    assert ids[0] == ids[1] == ids[2]
    assert node.ok("ls", "notes", "--ids").lines == ids[0]


def test_an_entry_depends_on_author_collection_timestamp_and_payload_alone(
    node: Shell, other: Shell, tmp_path: Path
) -> None:
    node.ok("key", "new", str(tmp_path / "anna.key"))
    anna = read_key_file(tmp_path / "anna.key")
    words = ("put", "notes", "--timestamp", "7", "--author", str(tmp_path / "anna.key"))
    expected = make_entry(anna, "notes", b"hi", 7).id.hex()
    assert node.ok(*words, stdin=b"hi").lines == [expected]
    assert other.ok(*words, stdin=b"hi").lines == [expected]
    assert node.digests() == other.digests()


def test_lines_lose_their_newline_and_nothing_else(node: Shell) -> None:
    lines = [b'{"b":1, "a" : "\xc3\xa9"}', b"", b"  blanks\t", b"carriage\r", b"last"]
    ids = node.ok("put", "events", "--lines", stdin=b"\n".join(lines)).lines
    assert [node.ok("get", id_).raw for id_ in ids] == lines


def test_a_newline_at_the_end_begins_no_line(node: Shell) -> None:
    assert len(node.ok("put", "events", "--lines", stdin=b"a\nb\n").lines) == 2
    assert node.ok("put", "empty", "--lines", stdin=b"").lines == []


def test_equal_lines_are_one_entry_and_putting_twice_adds_nothing(node: Shell) -> None:
    words = ("put", "events", "--lines", "--timestamp", "9", "--json")
    first = node.ok(*words, stdin=b"a\na\nb\n").json("put")
    again = node.ok(*words, stdin=b"a\na\nb\n").json("put")
    assert first["ids"] == again["ids"]
    assert first["ids"][0] == first["ids"][1] != first["ids"][2]
    assert (first["new"], first["known"]) == (2, 1)
    assert (again["new"], again["known"]) == (0, 3)


def test_ids_of_many_batches_come_in_the_order_of_the_lines(
    node: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(put_module, "COMMIT_ENTRIES", 4)
    lines = [b"%d" % number for number in range(23)]
    assert [node.ok("get", id_).raw for id_ in node.put("events", *lines)] == lines


class TestRefusals:
    """Each with its own words and exit code, and nothing changed."""

    def refused(self, node: Shell, *words: str, stdin: bytes, code: int, name: str) -> str:
        before = node.digests()
        outcome = node.run(*words, "--json", stdin=stdin, environment=LIMIT)
        assert outcome.code == code
        assert outcome.json("error")["error"]["code"] == name
        assert node.digests() == before
        return outcome.complaint

    def test_a_payload_over_the_limit(self, node: Shell) -> None:
        node.run("put", "notes", stdin=b"x" * 10, environment=LIMIT)
        complaint = self.refused(
            node, "put", "notes", stdin=b"x" * 11, code=1, name="payload_too_large"
        )
        assert "SETSYNC_MAX_PAYLOAD" in complaint

    def test_a_line_over_the_limit_in_a_file(self, node: Shell, tmp_path: Path) -> None:
        (tmp_path / "lines").write_bytes(b"short\n" * 9 + b"x" * 11 + b"\n")
        complaint = self.refused(
            node,
            *("put", "notes", "--lines", str(tmp_path / "lines")),
            stdin=b"",
            code=1,
            name="payload_too_large",
        )
        assert "Line 10" in complaint

    def test_the_last_of_a_disk_is_left_to_its_owner(
        self, node: Shell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(room, "OWN_RESERVE", 1 << 60)
        monkeypatch.setattr(room, "DISK_SHARE", 1.0)
        complaint = self.refused(node, "put", "notes", stdin=b"x", code=5, name="no_room")
        assert "Nothing is written: the disk with" in complaint
        monkeypatch.undo()
        node.put("notes", b"x")

    @pytest.mark.parametrize(
        "name", ["", "a//b", "/a", "a*", "x\n", "x" * 256, "é" * 128, "\udc80"]
    )
    def test_a_bad_collection_name(self, node: Shell, name: str) -> None:
        self.refused(node, "put", name, stdin=b"x", code=2, name="invalid_name")

    def test_a_missing_file(self, node: Shell) -> None:
        self.refused(node, "put", "notes", "nowhere", stdin=b"", code=2, name="usage")

    def test_a_timestamp_that_is_none(self, node: Shell) -> None:
        words = ("put", "notes", "--timestamp", "-1")
        self.refused(node, *words, stdin=b"", code=2, name="usage")

    def test_a_key_that_others_can_read(self, node: Shell, tmp_path: Path) -> None:
        path = tmp_path / "open.key"
        node.ok("key", "new", str(path))
        path.chmod(0o644)
        words = ("put", "notes", "--author", str(path))
        assert "chmod 600" in self.refused(node, *words, stdin=b"x", code=1, name="key_file")


def test_get_tells_what_the_header_says(node: Shell) -> None:
    [id_] = node.put("notes/2026", b"hello", timestamp=1234)
    author = read_key_file(node.data / "author.key").public.hex()
    found = node.ok("get", id_, "--header", "--json").json("get")
    assert found["id"] == id_
    assert (found["collection"], found["format"]) == ("notes/2026", "native")
    assert (found["author"], found["timestamp"]) == (author, 1234)
    assert (found["payload_size"], found["payload_hash"]) == (5, blake3(b"hello").hexdigest())
    assert "payload" not in found
    words = node.ok("get", id_, "--header").text
    assert id_ in words
    assert "1234" in words


def test_get_json_carries_the_payload_in_base64(node: Shell) -> None:
    [id_] = node.ok("put", "notes", stdin=EVERY_BYTE).lines
    found = node.ok("get", id_, "--json").json("get")
    assert base64.b64decode(found["payload"]) == EVERY_BYTE


def test_get_refuses_a_prefix_of_nothing_and_one_of_two(node: Shell) -> None:
    node.put("notes", b"a", b"b")
    outcome = node.run("get", "0" * 8, "--json")
    assert (outcome.code, outcome.json("error")["error"]["code"]) == (10, "no_such_entry")
    for prefix in ("abcdef0", "xyzxyzxy", "0" * 65):
        assert node.run("get", prefix).code == 2
