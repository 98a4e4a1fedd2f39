"""What `serve` tells: named events with fields, one a line, and never what they are about."""

from __future__ import annotations

import contextlib
import io
import json
import logging as standard
import os
import pty
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from setsync.cli import logging
from setsync.limits import MAX_PENDING, SPARE_FILES
from tests.cli.running import validate
from tests.node.processes import PATIENCE, Serving, command, contents, make_node, run

SECRET = b"nobody else's business"


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """No test leaves its configuration behind."""
    handlers = list(standard.getLogger().handlers)
    yield
    standard.getLogger().handlers = handlers
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


# --- out of files -------------------------------------------------------------------------


def _may_open(process: Serving, *limits: int) -> int:
    """How many files a process lets itself open, once `limits`, soft and hard, are set."""
    pid, which = process._process.pid, resource.RLIMIT_NOFILE
    if limits:
        resource.prlimit(pid, which, (limits[0], limits[1]))
    return resource.prlimit(pid, which)[0]


def test_without_files_for_more_connections_every_line_is_an_event_and_says_what_to_do(
    there: Path,
) -> None:
    with Serving(there, "--log", "json") as server, contextlib.ExitStack() as held:
        few = len(list(Path(f"/proc/{server._process.pid}/fd").iterdir())) + 4
        _may_open(server, few, few)
        for _ in range(20):
            held.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        failed = server.wait_for_event("accept_failed")
        server.wait_for_event("accept_failed")
        held.close()
        events = _events(server.stop().stderr)
    assert failed["level"] == "warning"
    assert "ulimit -n" in failed["reason"]
    assert events[-1]["event"] == "stopped"


def test_serve_lets_itself_open_as_many_files_as_its_connections_need(there: Path) -> None:
    """And tells if it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    settings = there / "setsync.toml"
    settings.write_text("max-connections = 300")
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        server = Serving(there, "--log", "json")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with server:
        assert _may_open(server) == 300 + MAX_PENDING + SPARE_FILES
        settings.write_text("max-connections = 400")
        server.kill(signal.SIGHUP)
        server.wait_for_event("reloaded")
        assert _may_open(server) == 400 + MAX_PENDING + SPARE_FILES
        _may_open(server, 900, 900)
        settings.write_text("max-connections = 500")
        server.kill(signal.SIGHUP)
        told = server.wait_for_event("too_few_files")
        assert (told["needed"], told["allowed"]) == (500 + MAX_PENDING + SPARE_FILES, 900)
        assert "ulimit -Hn" in told["reason"]


def test_what_a_library_warns_of_is_an_event_and_one_a_second() -> None:
    stream, seconds = io.StringIO(), [0.0]
    logging.configure("json", stream)
    log = standard.Logger("library")
    log.addHandler(logging.Libraries(lambda: seconds[0]))
    for at in range(100):
        seconds[0] = at / 20
        try:
            raise ValueError("\n" * at)
        except ValueError:
            log.exception("It went wrong,\nfor the %sth time", at)
    log.info("That is no warning.")
    found = _events(stream.getvalue())
    assert [event["event"] for event in found] == ["library_warning"] * 5
    assert [event["library"] for event in found] == ["library"] * 5
    assert found[0]["reason"] == "It went wrong,\nfor the 0th time (ValueError(''))"


def test_in_serve_libraries_are_listened_to() -> None:
    stream = io.StringIO()
    for _ in range(2):
        logging.configure("json", stream)
    standard.getLogger("some.library").warning("Look.")
    (told,) = _events(stream.getvalue())
    assert (told["library"], told["reason"]) == ("some.library", "Look.")


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
