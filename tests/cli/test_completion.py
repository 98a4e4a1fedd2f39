"""The shells are told our commands, and no command is loaded for that."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from setsync.cli.main import COMMANDS
from tests.cli.running import Shell


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_script_that_calls_us(node: Shell, shell: str) -> None:
    script = node.ok("completion", shell).text
    assert "_SETSYNC_COMPLETE" in script
    found = node.ok("completion", shell, "--json").json("completion")
    assert (found["shell"], found["script"].strip()) == (shell, script.strip())


def test_an_unknown_shell_is_refused(node: Shell) -> None:
    assert node.run("completion", "cmd").code == 2


def test_commands_and_options_are_completed_as_bash_asks_for_them() -> None:
    def complete(words: str, at: int) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-m", "setsync"],
            env=os.environ
            | {"_SETSYNC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)},
            capture_output=True,
            text=True,
            check=True,
        )
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert complete("setsync ", 1)[: len(COMMANDS)] == list(COMMANDS)  # then the guests'
    assert complete("setsync s", 1) == ["sync", "serve", "status"]
    assert "--timestamp" in complete("setsync put --t", 2)
