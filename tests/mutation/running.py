"""Tests against mutants: each runs in a process with a deadline, in a private copy of the tree."""

from __future__ import annotations

import contextlib
import enum
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.plugin import TIMES

# What a run needs of the project.
PARTS = ("setsync", "bamboo_compat", "tests", "docs", "pyproject.toml")
_UNNEEDED = shutil.ignore_patterns("__pycache__", "node_modules", ".hypothesis")
# A mutant has so many times what the tests take without it, and seconds for a busy machine.
_TIMES_AS_LONG = 4
_GRACE = 15.0
_FIRST_DEADLINE = 300.0
_PASSED, _FAILED, _INTERRUPTED, _INTERNAL_ERROR = 0, 1, 2, 3


class Fate(enum.Enum):
    """What became of a mutant."""

    KILLED = "killed"
    HUNG = "killed by the deadline"
    SURVIVED = "survived"


class ToolError(Exception):
    """The tests cannot tell anything: they fail without a fault, or there are none."""


class Tree:
    """A private copy of the tree, in which one module at a time has a fault.

    `tests` are paths in it, and `module` is the path of the mutated one.
    """

    def __init__(self, project: Path, copy: Path, module: str, tests: Sequence[str]) -> None:
        self._root = copy
        self._module = copy / module
        self._name = module.removesuffix(".py").replace("/", ".")
        self._tests = tests
        self._deadline = _FIRST_DEADLINE
        _copy(project, copy)
        self._original = self._module.read_text(encoding="utf-8")

    @property
    def original(self) -> str:
        """The module's text as it was copied."""
        return self._original

    def measure(self) -> float:
        """Run the tests without a fault, in seconds. Raises ToolError unless they pass."""
        (self._root / TIMES).unlink(missing_ok=True)
        start = time.monotonic()
        code, output = self._run(compile_all=True)
        if code != _PASSED:
            raise ToolError(f"The tests of {self._name} do not pass as they are:\n{output[-3000:]}")
        took = time.monotonic() - start
        self._deadline = _TIMES_AS_LONG * took + _GRACE
        return took

    def judge(self, source: str) -> Fate:
        """Run the tests with `source` as the module's text."""
        self._write(source)
        try:
            code, output = self._run()
        finally:
            self._write(self._original)
        if code is None:
            return Fate.HUNG
        if code == _PASSED:
            return Fate.SURVIVED
        # Killed by a signal, or a test that failed, or a module that cannot be loaded.
        if code < 0 or code in (_FAILED, _INTERRUPTED, _INTERNAL_ERROR):
            return Fate.KILLED
        raise ToolError(f"pytest ended with {code}:\n{output[-3000:]}")

    def _write(self, source: str) -> None:
        self._module.write_text(source, encoding="utf-8")
        # Compiled code is told from older by a time in seconds and a size, which may be the same.
        for compiled in (self._module.parent / "__pycache__").glob(f"{self._module.stem}.*.pyc"):
            compiled.unlink()

    def _run(self, *, compile_all: bool = False) -> tuple[int | None, str]:
        """pytest's exit code, None where the deadline ended it, and what it said."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(self._root),
            "PYTHONDONTWRITEBYTECODE": "" if compile_all else "1",
            "MUTATED_MODULE": self._name,
        }
        words = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=line", "-p", "mutation_plugin"]
        words += ["-p", "no:cacheprovider", f"--basetemp={self._root / 'basetemp'}", *self._tests]
        with (self._root / "output").open("w+b") as output:
            process = subprocess.Popen(
                words,
                cwd=self._root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code: int | None = process.wait(self._deadline)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
            output.seek(0)
            return code, output.read().decode("utf-8", "replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a run: it is the leader of a group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _copy(project: Path, copy: Path) -> None:
    for part in PARTS:
        source = project / part
        if source.is_dir():
            shutil.copytree(source, copy / part, ignore=_UNNEEDED)
        elif source.exists():
            shutil.copyfile(source, copy / part)
    shutil.copyfile(Path(__file__).with_name("plugin.py"), copy / "mutation_plugin.py")
