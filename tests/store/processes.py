"""Other processes for the tests of the store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run `code` in a new interpreter; talk with it over its standard streams."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_python(code: str, *arguments: object) -> str:
    """Run `code` to its end and return what it printed. It must end well."""
    with start_python(code, *arguments) as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output.strip()


def say(process: subprocess.Popen[str], line: str = "go") -> None:
    """Send a line to a process."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    """The next line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()
