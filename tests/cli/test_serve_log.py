"""What `serve` tells: named events with fields, one a line, and never what they are about."""

from __future__ import annotations

import io
import json
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from setsync.cli import logging
from tests.cli.running import validate
from tests.node.processes import PATIENCE, Serving, command, contents, make_node, run

SECRET = b"nobody else's business"


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """No test leaves its configuration behind."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A node with one entry that dials."""
    data = make_node(tmp_path / "here", seed=1)
    file = tmp_path / "file"
    file.write_bytes(SECRET)
    assert run("put", "notes", file, "--data", data).code == 0
    return data


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A node that listens."""
    return make_node(tmp_path / "there", seed=2)


def _events(stderr: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr.splitlines()]


# --- in serve -----------------------------------------------------------------------------


def test_off_the_terminal_every_line_is_an_event_with_its_time_and_level(
    here: Path, there: Path
) -> None:
    with Serving(there) as server:
        assert run("sync", server.address, "--plain", "--data", here).code == 0
        server.wait_for_event("session_ended")
        # The store may have been looked at before the session was over.
        if not any("new_entries" in line for line in server.heard):
            server.wait_for_event("new_entries")
        events = _events(server.stop().stderr)
    assert {"listening", "session_ended", "new_entries", "stopped"} <= {e["event"] for e in events}
    assert all(list(event)[:3] == ["timestamp", "level", "event"] for event in events)
    (session,) = [event for event in events if event["event"] == "session_ended"]
    me = json.loads(run("status", "--data", here, "--json").stdout)["node_id"]
    assert (session["peer"], session["session"], session["state"]) == (me, 1, "done")
    assert (session["entries_new"], session["level"]) == (1, "info")
    stopped = events[-1]
    assert (stopped["event"], stopped["sessions"], stopped["entries_new"]) == ("stopped", 1, 1)


def test_neither_payloads_nor_keys_are_told(here: Path, there: Path) -> None:
    words = ("--on-entry", "cat", "--log", "json")
    with Serving(there, *words) as server:
        run("sync", server.address, "--plain", "--data", here)
        server.wait_for_event("new_entries")
        told = server.stop().stderr
    assert SECRET.decode() not in told
    for file in there.glob("*.key"):
        assert file.read_text().split()[1] not in told


def test_a_failed_session_is_a_warning_with_its_reason(there: Path) -> None:
    with Serving(there) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        failed = server.wait_for_event("session_ended", state="failed")
    assert failed["level"] == "warning"
    assert failed["reason"]


def test_a_peer_that_cannot_be_reached_is_told_of_by_its_address(there: Path) -> None:
    with Serving(there, "--peer", "127.0.0.1:1") as server:
        told = server.wait_for_event("peer_state")
    assert (told["address"], told["state"], told["level"]) == ("127.0.0.1:1", "waiting", "warning")
    assert told["session"] == 1
    assert "127.0.0.1:1" in told["reason"]


def test_on_a_terminal_a_person_reads_it(there: Path) -> None:
    ours, theirs = pty.openpty()
    words = ("serve", "--data", there, "--plain", "--listen", "127.0.0.1:0")
    with subprocess.Popen(command(*words), stderr=theirs) as process:
        os.close(theirs)
        said = b""
        while b"\n" not in said:
            said += os.read(ours, 1_000)
        process.terminate()
        assert process.wait(PATIENCE) == 0
    os.close(ours)
    assert "  listening  address=127.0.0.1:" in said.decode()


def test_no_other_command_loads_it() -> None:
    script = (
        "import sys; from setsync.cli.main import main; main(['status', '--data', '/nowhere']);"
        "print('structlog' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "False\n"


# --- the command of --on-entry ------------------------------------------------------------


def _hook(tmp_path: Path) -> tuple[Path, str]:
    """Where a command writes down what it is told, and the command."""
    notes = tmp_path / "notes"
    script = tmp_path / "hook.py"
    script.write_text(
        "import os, sys\n"
        f"with open({str(notes)!r}, 'a') as out:\n"
        "    for line in sys.stdin:\n"
        "        print(line, end='', file=out, flush=True)\n"
        '        print(\'{"event": "seen"}\', file=sys.stderr, flush=True)\n'
        "    print(os.environ['SETSYNC_DATA'], file=out)\n"
    )
    return notes, f"'{sys.executable}' '{script}'"


def test_the_command_is_told_of_entries_whoever_brings_them(
    tmp_path: Path, here: Path, there: Path
) -> None:
    notes, words = _hook(tmp_path)
    with Serving(there, "--on-entry", words) as server:
        put = run("put", "letters", "--data", there)
        server.wait_for_event("seen")
        assert run("sync", server.address, "--plain", "--data", here).code == 0
        server.wait_for_event("seen")
        ended = server.stop()
    *lines, directory = notes.read_text().splitlines()
    told = [json.loads(line) for line in lines]
    for line in told:
        validate(line, "watch")
    me = json.loads(run("status", "--data", here, "--json").stdout)["node_id"]
    assert [line["brought_by"] for line in told] == ["", me]
    assert told[0]["id"] == put.stdout.strip()
    assert {(line["collection"], bytes.fromhex(line["id"])) for line in told} == contents(there)
    assert directory == str(there)
    stopped = _events(ended.stderr)[-1]
    assert (stopped["hook_told"], stopped["hook_dropped"]) == (2, 0)


def test_a_command_that_ends_is_told_of(there: Path) -> None:
    with Serving(there, "--on-entry", "false") as server:
        server.wait_for_event("hook_started")
        told = server.wait_for_event("hook_ended")
    assert (told["code"], told["retry"]) == (1, 1)


@pytest.mark.parametrize("words", ["", "'half", "no-such-program"])
def test_a_command_that_cannot_work_is_refused_before_anything_begins(
    there: Path, words: str
) -> None:
    failed = run("serve", "--data", there, "--plain", "--on-entry", words, "--json")
    assert (failed.code, failed.json["error"]["code"]) == (2, "usage")


# --- lines --------------------------------------------------------------------------------


def _told(choice: str, **fields: object) -> str:
    stream = io.StringIO()
    logging.configure(choice, stream)
    logging.logger(peer="ab" * 32).warning("happened", **fields)
    return stream.getvalue()


def test_for_eyes_a_key_is_short_and_a_sentence_stands_in_quotes() -> None:
    line = _told("pretty", reason='It said "no".', count=3, empty="")
    assert line.endswith(
        f'  WARNING  happened  peer={"ab" * 8}  reason="It said \\"no\\"."  count=3  empty=""\n'
    )


def test_what_others_say_cannot_command_the_terminal_nor_begin_a_line() -> None:
    for choice in ("pretty", "json"):
        line = _told(choice, reason="\x1b[31mred\nlistening\u2028")
        assert "\x1b" not in line
        assert len(line.splitlines()) == 1


def test_for_programs_a_field_is_whole() -> None:
    found = json.loads(_told("auto", reason="a\nb", count=3))
    assert found.pop("timestamp").endswith("Z")
    assert found == {
        "level": "warning",
        "event": "happened",
        "peer": "ab" * 32,
        "reason": "a\nb",
        "count": 3,
    }


def test_a_log_that_nobody_reads_any_more_stops_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as stream:
        logging.configure("json", stream)
        logging.logger().info("happened")
        os.dup2(os.open(os.devnull, os.O_WRONLY), write)
