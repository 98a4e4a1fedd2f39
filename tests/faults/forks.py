"""A process that tries things out, each in a fork of its own.

What is tried may end with a signal, and that is what the caller wants to know. A new
interpreter each time would cost half a second; a fork costs milliseconds, and the signal is
counted for the one thing that was tried. What takes long and opens nothing is done once,
before the forks, by the module's `warm_up`; a store works only in the process that opened it.

`Forks` is the caller's side. The other side is this module as a program: a line of JSON says
what to call, a line of JSON says how it ended.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
# Only against hanging: a trial that takes so long ends with SIGALRM, and is counted as such.
_PATIENCE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Ended:
    """How a trial ended: by a signal, with a traceback, or with a result."""

    signal: int
    traceback: str
    result: Any


class Forks:
    """The functions of one module, called in forks of another process."""

    def __init__(self, module: str, environment: Mapping[str, str] | None = None) -> None:
        # Threads of numpy's that no trial needs would be lost in every fork.
        quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forks", module],
            cwd=ROOT,
            env={**os.environ, **quiet, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, function: str, *arguments: object) -> Ended:
        """Call a function with arguments that JSON can carry, and wait for its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([function, arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process that forks has ended"
        return Ended(**json.loads(line))

    def close(self) -> None:
        """End the process; nothing of it is under way."""
        self._process.communicate()
        assert self._process.returncode == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# --- the other side -----------------------------------------------------------------------


def main() -> None:
    """Serve calls until the caller closes its end."""
    module = importlib.import_module(sys.argv[1])
    module.warm_up()
    for line in sys.stdin:
        function, arguments = json.loads(line)
        print(json.dumps(_in_a_fork(getattr(module, function), arguments)), flush=True)


def _in_a_fork(function: Any, arguments: list[object]) -> dict[str, object]:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _report(function, arguments, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return {"signal": -code, "traceback": "", "result": None}
    result: dict[str, object] = json.loads(told)
    return {"signal": 0, **result}


def _report(function: Any, arguments: list[object], pipe: int) -> None:
    """Never returns: the rest of the program is the parent's."""
    signal.alarm(_PATIENCE_SECONDS)
    try:
        told = {"traceback": "", "result": function(*arguments)}
    except BaseException:
        told = {"traceback": traceback.format_exc(), "result": None}
    with os.fdopen(pipe, "wb") as stream:
        stream.write(json.dumps(told).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
