"""`watch` shows what comes into a directory, whoever brings it, and ends when it is told to."""

from __future__ import annotations

import base64
import json
import select
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Shell, validate
from tests.node.processes import PATIENCE, Serving, command, make_node, run


@contextmanager
def watching(data: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A `setsync watch` whose standard output can be read line by line."""
    with subprocess.Popen(
        command("watch", *words, "--data", data), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[bytes]) -> str:
    """The next line, waited for."""
    assert process.stdout is not None
    return process.stdout.readline().decode().rstrip("\n")


def told(process: subprocess.Popen[bytes]) -> Any:
    """The next line as the object it is."""
    found = json.loads(line(process))
    validate(found, "watch")
    return found


def test_all_that_is_here_is_shown_in_the_order_of_arrival(node: Shell) -> None:
    ids = node.put("notes", b"one", b"two") + node.put("letters", b"three")
    with watching(node.data, "--since", "0", "--json", "--payload") as process:
        found = [told(process) for _ in ids]
    assert [each["id"] for each in found] == ids
    assert [each["arrival"] for each in found] == [1, 2, 3]
    assert [each["collection"] for each in found] == ["notes", "notes", "letters"]
    assert base64.b64decode(found[2]["payload"]) == b"three"
    assert found[0]["brought_by"] == ""


def test_what_another_process_puts_in_meanwhile_is_shown(node: Shell) -> None:
    (first,) = node.put("notes", b"one")
    # From the beginning, so that its first line says that it has begun to look.
    with watching(node.data, "--since", "0", "--json") as process:
        assert told(process)["id"] == first
        (second,) = node.put("notes", b"two")
        found = told(process)
    assert found["id"] == second
    assert "payload" not in found


def test_without_since_only_what_is_new_is_shown(node: Shell) -> None:
    node.put("notes", b"old")
    with watching(node.data, "--json") as process:
        shown: list[str] = []
        put: list[str] = []
        # Nothing says when it has begun, so entries come until one of them is shown.
        while not shown:
            put += node.put("notes", str(len(put)).encode())
            shown += _ready(process)
    assert shown[0] in put


def _ready(process: subprocess.Popen[bytes]) -> Sequence[str]:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], 0.1)
    return [told(process)["id"]] if readable else []


def test_only_collections_of_the_pattern_are_shown(node: Shell) -> None:
    node.put("notes/a", b"one")
    node.put("letters", b"two")
    (last,) = node.put("notes/b", b"three")
    with watching(node.data, "notes/*", "--since", "1", "--json") as process:
        assert told(process)["id"] == last


def test_people_see_whose_it_is_how_large_and_who_brought_it(tmp_path: Path) -> None:
    here, there = make_node(tmp_path / "here", seed=1), make_node(tmp_path / "there", seed=2)
    put = run("put", "notes", "--data", here, "--timestamp", "0")  # its input is empty
    assert put.code == 0, put.stderr
    with Serving(there) as server, watching(there, "--since", "0") as process:
        assert run("sync", server.address, "--plain", "--data", here).code == 0
        shown = line(process)
    me = json.loads(run("status", "--data", here, "--json").stdout)
    assert shown.split("  ") == [
        put.stdout.strip(),
        "1970-01-01T00:00:00.000Z",
        me["author"][:16],
        "0 B",
        "notes",
        me["node_id"][:16],
    ]


def test_a_payload_is_indented_and_cannot_command_the_terminal(node: Shell) -> None:
    file = node.data.parent / "file"
    file.write_bytes("één\n\x1b[31mtwee".encode())
    node.ok("put", "notes", str(file))
    with watching(node.data, "--since", "0", "--payload") as process:
        assert line(process).endswith("  notes  here")
        assert [line(process), line(process)] == ["    één", "    \\x1b[31mtwee"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_being_told_to_stop_is_its_usual_end(node: Shell, how: signal.Signals) -> None:
    node.put("notes", b"one")
    with watching(node.data, "--since", "0") as process:
        line(process)
        process.send_signal(how)
        _, complaint = process.communicate(timeout=PATIENCE)
    assert (process.returncode, complaint) == (0, b"")


def test_it_ends_quietly_when_nobody_reads_any_more(node: Shell) -> None:
    """Although nothing comes that it could fail to write."""
    node.put("notes", b"one")
    with watching(node.data, "--since", "0") as process:
        line(process)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(PATIENCE) == 1
        assert process.stderr.read() == b""


@pytest.mark.parametrize("words", [["a//b"], ["--since", "-1"], ["--since", "soon"]])
def test_what_makes_no_sense_is_a_usage_error(node: Shell, words: list[str]) -> None:
    outcome = node.run("watch", *words, "--json")
    assert outcome.code == 2
    outcome.json("error")


def test_to_begin_after_what_has_not_come_yet_is_a_usage_error(node: Shell) -> None:
    """It would leave out, without a word, what comes until then."""
    node.put("notes", b"one", b"two")
    for words in (["watch"], ["export", str(node.data.parent / "news")]):
        outcome = node.run(*words, "--since", "3", "--json")
        assert outcome.code == 2
        assert "The last arrival has number 2" in outcome.json("error")["error"]["message"]
    assert not (node.data.parent / "news").exists()
