"""A node in a process of its own, driven by one JSON object per line.

The benchmark starts one worker per node, so that CPU and memory of the two sides can be told apart.
The driver writes `{"do": NAME, ...}` to the worker's standard input and reads one reply line,
`{"ok": {...}}` or `{"error": "..."}`. Nothing else may be printed by a worker on standard output.
End of input ends the worker.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import trio

Fields = dict[str, Any]
Handler = Callable[[Fields], Awaitable[Fields]]

START_SECONDS = 60.0
END_SECONDS = 20.0


def _environment() -> dict[str, str]:
    """The driver's own, with this package importable from wherever the driver was started."""
    root = str(Path(__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


class WorkerError(Exception):
    """A worker failed, ended early, or did not answer in time."""


class PeerError(Exception):
    """Another system is not there, or did not do what it was asked."""


class Worker:
    """The driver's end: `python -m MODULE ARGUMENTS...` and its two pipes.

    Leaving the with block closes the pipes, waits, and kills the process only if it stays.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self._name = " ".join(command[1:])
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=_environment()
        )
        self._pending = b""

    @property
    def pid(self) -> int:
        """The process to measure."""
        return self._process.pid

    def ask(self, do: str, *, within: float = START_SECONDS, **fields: Any) -> Fields:
        """Send one command and wait at most `within` seconds for its reply."""
        line = json.dumps({"do": do, **fields}).encode() + b"\n"
        try:
            self._pipe(self._process.stdin).write(line)
        except (BrokenPipeError, ValueError) as error:  # ended, or closed by us
            raise WorkerError(f"{self._name} has ended before it was asked to {do}") from error
        reply: Fields = json.loads(self._read_line(do, within))
        if "error" in reply:
            raise WorkerError(f"{self._name} failed to {do}:\n{reply['error']}")
        return dict(reply["ok"])

    def _read_line(self, do: str, within: float) -> bytes:
        stdout = self._pipe(self._process.stdout)
        while b"\n" not in self._pending:
            if not select.select([stdout], [], [], within)[0]:
                raise WorkerError(f"{self._name} did not {do} within {within:g} s")
            part = stdout.read(65536)
            if not part:
                raise WorkerError(f"{self._name} ended while it was asked to {do}")
            self._pending += part
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            raise WorkerError("the worker has no pipe")
        return pipe

    def close(self) -> None:
        """End the worker and wait for it."""
        self._pipe(self._process.stdin).close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pipe(self._process.stdout).close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


async def answer_line(handlers: Mapping[str, Handler], line: str) -> str:
    """The reply to one line: what the handler it names says, or why it failed."""
    fields: Fields = json.loads(line)
    try:
        reply: Fields = {"ok": await handlers[fields.pop("do")](fields)}
    except Exception:
        reply = {"error": traceback.format_exc()}
    return json.dumps(reply) + "\n"


async def answer(handlers: Mapping[str, Handler], lines: IO[str], replies: IO[str]) -> None:
    """The worker's end: call the handler a line names, reply, until the input ends.

    Reading blocks the event loop on purpose: between two commands a worker's Python does nothing,
    so that what is measured is the node and not its harness.
    """
    for line in lines:
        replies.write(await answer_line(handlers, line))
        replies.flush()


def run_worker(handlers: Mapping[str, Handler]) -> None:
    """Serve standard input with asyncio, the loop that the foreign bindings require."""
    asyncio.run(answer(handlers, sys.stdin, sys.stdout))


async def answer_beside(handlers: Mapping[str, Handler]) -> None:
    """The same on trio, for a node that runs in the worker's own loop: a thread reads."""
    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        reply = await answer_line(handlers, line)
        sys.stdout.write(reply)
        sys.stdout.flush()
