"""What the README shows works as it stands."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import setsync.errors
from setsync.cli import common
from setsync.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_library_example_runs(tmp_path: Path) -> None:
    (code,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout == "True [b'hello']\n"


def test_the_two_nodes_of_your_own_become_equal(tmp_path: Path) -> None:
    """As it stands but for the port, and for waiting until the node in the background listens."""
    (commands,) = [block for block in blocks("sh") if "setsync serve" in block]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ask = "setsync diff --data b 127.0.0.1:7000 --trust-first"
    waiting = f"until {ask}; do sleep 0.1; done\nsetsync sync"
    script = f'set -e\nsetsync() {{ {sys.executable} -m setsync "$@"; }}\n'
    script += commands.replace("setsync sync", waiting)
    said = tmp_path / "said"
    with said.open("wb") as out:
        shell = subprocess.Popen(
            ["bash", "-c", script.replace("7000", str(port))],
            cwd=tmp_path,
            stdout=out,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        )
        try:
            assert shell.wait(120) == 0, said.read_text()
        finally:
            os.killpg(shell.pid, signal.SIGTERM)
    assert "in sync" in said.read_text()
    assert re.match(r"[0-9a-f]{64}", said.read_text().splitlines()[-1])


def test_every_command_stands_in_the_table_of_commands() -> None:
    shown = set(re.findall(r"`(\w+)[^`]*`", README[README.index("| command |") :]))
    assert set(COMMANDS) <= shown | {"import"}


def test_every_exit_code_stands_in_the_table_of_exit_codes() -> None:
    table = README[README.index("| exit code |") :]
    shown = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    errors = [
        kind.exit_code
        for kind in vars(setsync.errors).values()
        if isinstance(kind, type) and issubclass(kind, setsync.errors.SetsyncError)
    ]
    assert set(errors) <= shown
    assert {0, common.FAILED, common.USAGE, common.NOT_IN_SYNC, common.INTERRUPTED} <= shown


def test_ci_runs_the_test_command_that_the_readme_shows() -> None:
    """`.ci/run` reads it from the README; here only that it is there to be read."""
    (command,) = [line for line in README.splitlines() if line.endswith("/pytest -q")]
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")
