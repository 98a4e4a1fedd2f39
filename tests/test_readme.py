"""What the README and the tutorial show works as it stands."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import setsync.errors
from setsync.cli import common
from setsync.cli.main import COMMANDS
from tests.helpers import free_ports

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SUITE = "/pytest -q -n 2 --dist loadfile"
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
PATIENCE = 120
# What tests/packaging does with a wheel, in a virtual environment of its own.
INSTALLING = """\
python3 -m venv .venv
.venv/bin/pip install -q '.[web]'
export PATH="$PWD/.venv/bin:$PATH"
"""


def blocks(language: str, page: str = README) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def with_free_ports(commands: str, *ports: int) -> str:
    """The commands with other ports than those that are written down."""
    free = dict(zip(map(str, ports), map(str, free_ports(len(ports))), strict=True))
    return re.sub("|".join(free), lambda found: free[found[0]], commands)


def run_in_shell(commands: str, folder: Path) -> str:
    """Run what a page shows, with this `setsync`; what it printed on standard output.

    The first command that fails ends it and fails the test.
    """
    programs = folder / "bin"
    programs.mkdir()
    program = programs / "setsync"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m setsync "$@"\n')
    program.chmod(0o755)
    around = {"HOME": str(folder), "PATH": f"{programs}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    said, complained = folder / "said", folder / "complained"
    with said.open("wb") as out, complained.open("wb") as complaints:
        shell = subprocess.Popen(
            ["bash", "-c", f"set -eu -o pipefail\n{commands}"],
            cwd=folder,
            stdout=out,
            stderr=complaints,
            start_new_session=True,
            env=around,
        )
        try:
            assert shell.wait(PATIENCE) == 0, said.read_text() + complained.read_text()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
    return said.read_text()


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
    ask = "setsync diff --data b 127.0.0.1:7000 --trust-first"
    waiting = f"until {ask}; do sleep 0.1; done\nsetsync sync"
    said = run_in_shell(with_free_ports(commands.replace("setsync sync", waiting), 7000), tmp_path)
    assert "in sync" in said
    assert re.match(r"[0-9a-f]{64}", said.splitlines()[-1])


def test_the_demo_runs(tmp_path: Path) -> None:
    """All but the installing. A smaller text than Python's own, which its own test uses."""
    (commands,) = [block for block in blocks("sh") if "setsync demo" in block]
    install = "python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/"
    assert commands == f"{install}setsync demo\n"
    lines = "".join(f'{{"collection": "notes", "number": {n}}}\n' for n in range(30))
    (tmp_path / "lines").write_text(lines)
    said = run_in_shell("setsync demo --from lines", tmp_path)
    assert "equal" in said or "in sync" in said


def test_the_fork_comes_to_light_as_shown(tmp_path: Path) -> None:
    (shown,) = [block for block in blocks("sh") if block.startswith("$ ")]
    commands = [line[2:] for line in shown.splitlines() if line.startswith("$ ")]
    promised = [line for line in shown.splitlines() if not line.startswith("$ ")]
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    commands[1] += " || test $? -eq 8"  # the code of a log that is forked
    run_in_shell("\n".join(commands) + "\n", tmp_path)
    told = (tmp_path / "said").read_text() + (tmp_path / "complained").read_text()
    assert [line for line in promised if line not in told.splitlines()] == []


def test_no_command_block_of_the_readme_is_left_out() -> None:
    """A new one needs a test here: it is none of those above, nor the one that `.ci/run` runs."""
    run = (SUITE + "\n", "setsync demo\n", "setsync serve --data a", "$ setsync init")
    assert [one for one in blocks("sh") if not any(mark in one for mark in run)] == []
    assert set(re.findall(r"^```(\w*)$", README, re.MULTILINE)) == {"sh", "python", ""}


def test_the_tutorial_runs_from_its_first_command_to_its_last(tmp_path: Path) -> None:
    """As it stands but for the ports, and in the environment of the tests."""
    commands = "".join(blocks("sh", TUTORIAL))
    assert commands.startswith(INSTALLING)
    commands = with_free_ports(commands.removeprefix(INSTALLING), 7000, 7001, 2020)
    said = run_in_shell(commands, tmp_path)
    assert said.count("result            in sync") == 5
    assert re.search(r"^1 fork of 1 author", said, re.MULTILINE)
    assert "branch 1 is right" in said
    assert re.search(r"^http://127\.0\.0\.1:\d+/", said, re.MULTILINE)
    for log in ("a.log", "b.log"):
        assert '"event": "stopped"' in (tmp_path / log).read_text().splitlines()[-1]


def test_the_tutorial_shows_nothing_that_is_not_run() -> None:
    assert set(re.findall(r"^```(\w*)$", TUTORIAL, re.MULTILINE)) == {"sh", ""}
    assert TUTORIAL.count("```") == 2 * len(blocks("sh", TUTORIAL))


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
    (command,) = [line for line in README.splitlines() if line.endswith(SUITE)]
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")
