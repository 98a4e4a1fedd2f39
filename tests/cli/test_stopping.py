"""A command that is told to stop, or whose terminal is closed, ends in order."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.running import Shell
from tests.node.processes import PATIENCE, command

HANG_UPS = (signal.SIGHUP, signal.SIGTERM)


@pytest.fixture(autouse=True)
def not_deaf() -> Iterator[None]:
    """What the tests start hears both, also where somebody runs the tests under nohup."""
    heard = [signal.signal(number, signal.SIG_DFL) for number in HANG_UPS]
    yield
    for number, handler in zip(HANG_UPS, heard, strict=True):
        signal.signal(number, handler)


@contextmanager
def waiting(*words: str, deaf_to: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A command that has begun, and gets its standard input from a pipe; `deaf_to`: a signal that
    whoever started it has told it to ignore."""
    start = ["sh", "-c", f"trap '' {deaf_to}; exec \"$@\"", "sh"] if deaf_to else []
    with subprocess.Popen(
        [*start, *command(*words, "--progress", "json")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stderr is not None
        assert child.stderr.readline()
        try:
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("how", HANG_UPS)
def test_a_command_that_is_told_to_stop_says_so_and_is_130(
    node: Shell, how: signal.Signals
) -> None:
    with waiting("import", "-", "--json", "--data", str(node.data)) as child:
        child.send_signal(how)
        said, complaint = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130
    assert b"Interrupted." in complaint
    assert b'"state": "cancelled"' in said


@pytest.mark.parametrize("how", HANG_UPS)
def test_a_session_that_is_told_to_stop_is_130(node: Shell, how: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        with waiting("sync", place, "--plain", "--data", str(node.data)) as child:
            peer, _ = silent.accept()
            with peer:
                assert peer.recv(1)
                child.send_signal(how)
                _, complaint = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130
    assert b"Interrupted." in complaint


@pytest.mark.parametrize("how", HANG_UPS)
def test_one_that_was_started_deaf_to_ctrl_c_can_still_be_ended(
    node: Shell, how: signal.Signals
) -> None:
    """As a shell's script starts what it leaves in the background."""
    words = ("import", "-", "--data", str(node.data))
    with waiting(*words, deaf_to="INT") as child:
        child.send_signal(how)
        assert child.wait(PATIENCE) == 130


TRIO = """
import trio
from setsync.cli.stopping import stop_in_order

stop_in_order()
print("here", flush=True)
trio.run(trio.sleep_forever)
"""


def test_one_that_is_deaf_to_ctrl_c_is_ended_where_trio_may_be_interrupted() -> None:
    with subprocess.Popen(
        ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-c", TRIO],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        child.send_signal(signal.SIGINT)
        child.send_signal(signal.SIGTERM)
        _, complaint = child.communicate(timeout=PATIENCE)
    assert complaint.rstrip().endswith(b"KeyboardInterrupt")
    assert b"weird" not in complaint
    assert b"ignored" not in complaint


def test_one_under_nohup_goes_on_when_the_terminal_is_closed(node: Shell, other: Shell) -> None:
    node.put("notes", b"one")
    whole = node.ok("export", "-").raw
    words = ("import", "-", "--data", str(other.data))
    with waiting(*words, deaf_to="HUP") as child:
        child.send_signal(signal.SIGHUP)
        said, _ = child.communicate(whole, timeout=PATIENCE)
    assert child.returncode == 0
    assert said == b"1 entries: 1 new, 0 known.\n"


# --- terminals ----------------------------------------------------------------------------


@contextmanager
def on_a_terminal(*words: str, **environment: str) -> Iterator[tuple[int, int]]:
    """A command that is alone on a terminal; its number, and the other end of the terminal."""
    child, ours = pty.fork()
    if not child:
        try:
            os.execve(command()[0], command(*words), os.environ | environment)
        finally:
            os._exit(99)
    try:
        yield child, ours
    finally:
        try:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def read_until(ours: int, text: bytes) -> None:
    """What the terminal shows, until `text` stands there."""
    shown = b""
    while text not in shown:
        shown += os.read(ours, 4096)


def end(child: int) -> int:
    """How the command ended; negative: by a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(
    ("words", "begun", "code"),
    [
        (("import", "-", "--progress", "plain"), b"importing", 130),
        (("import", "-", "--progress", "auto"), b"importing", 130),
        (("watch", "--since", "0"), b"notes", 0),
    ],
)
def test_a_command_whose_terminal_was_closed_ends_in_order(
    node: Shell, words: tuple[str, ...], begun: bytes, code: int
) -> None:
    node.put("notes", b"one")
    with on_a_terminal(*words, "--data", str(node.data)) as (child, ours):
        read_until(ours, begun)
        os.close(ours)
        assert end(child) == code


@pytest.mark.parametrize("phase", [b"filling", b"connecting"])
def test_the_folder_of_a_demo_is_gone_when_its_terminal_was_closed(
    tmp_path: Path, phase: bytes
) -> None:
    lines = tmp_path / "lines"
    lines.write_text("".join(f'{{"number": {number}}}\n' for number in range(3000)))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = ("demo", "--from", str(lines), "--progress", "plain")
    with on_a_terminal(*words, TMPDIR=str(scratch)) as (child, ours):
        read_until(ours, phase)
        assert list(scratch.iterdir())
        os.close(ours)
        assert end(child) == 130
    assert list(scratch.iterdir()) == []
