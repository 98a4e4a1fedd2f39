"""A command of the operator's that is told of every new entry, on its standard input.

The node never waits for it. What it has not read yet waits in the store, where it is anyway: a
hook keeps nothing but the number of the last arrival that it handed over. A command that falls
too far behind is told how many entries it was not told of, and goes on with what is new; one that
ends is started again, later and later, and goes on after what its forerunner was given.

Lines that a command was given and had not read when it ended are gone; the arrival numbers show
the gap.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from subprocess import PIPE

import trio

from setsync import limits
from setsync.errors import UsageError
from setsync.node.arrivals import arrival_json, last_arrival, read_arrivals
from setsync.node.local import Local
from setsync.store.contract import EntryStore


class What(enum.StrEnum):
    """What can be said of a hook."""

    STARTED = "started"
    BEHIND = "behind"
    DROPPED = "dropped"
    ENDED = "ended"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class HookEvent:
    """Something happened to the command.

    `dropped`: entries it was not told of, with BEHIND the first of them, with DROPPED all since
    then. `code`: its exit code, negative for a signal. `retry`: seconds until it is started
    again. `reason`: why it could not be started.
    """

    what: What
    dropped: int = 0
    code: int | None = None
    retry: float | None = None
    reason: str = ""


def split_command(text: str) -> tuple[str, ...]:
    """A command line as a shell would split it; nothing else of a shell is understood.

    Raises UsageError when it cannot be split, or names no program that can be run.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"The command {text!r} cannot be split: {error}.") from error
    if not words:
        raise UsageError("The command is empty.")
    if shutil.which(words[0]) is None:
        raise UsageError(f"There is no program {words[0]!r} that can be run.")
    return words


@dataclass
class Hook:
    """Runs a command and tells it of entries as they come.

    `after` is the last arrival that was handed over or left out: what comes after it is told.
    `environment` is added to our own. `delivered` and `dropped` count entries.
    """

    command: Sequence[str]
    on_event: Callable[[HookEvent], None] = lambda event: None
    after: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    most_behind: int = limits.MAX_HOOK_BACKLOG
    delivered: int = 0
    dropped: int = 0
    # Of those that were left out, how many the command has not heard of.
    _untold: int = 0

    async def run(self, local: Local) -> None:
        """Start it, and again whenever it ends, until cancelled. Raises StoreError."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_backlog, local)
            await self._keep_running(local)

    async def _keep_running(self, local: Local) -> None:
        wait = limits.RETRY_SECONDS
        while True:
            began = trio.current_time()
            try:
                code = await self._run_once(local)
            except OSError as error:
                told = HookEvent(What.FAILED, reason=error.strerror or str(error))
            else:
                told = HookEvent(What.ENDED, code=code)
            if trio.current_time() - began > limits.MAX_HOOK_RETRY_SECONDS:
                wait = limits.RETRY_SECONDS  # it has worked for a while
            self.on_event(HookEvent(told.what, code=told.code, retry=wait, reason=told.reason))
            await trio.sleep(wait)
            wait = min(2 * wait, limits.MAX_HOOK_RETRY_SECONDS)

    # --- the process ----------------------------------------------------------------------

    async def _run_once(self, local: Local) -> int:
        """From its start to its end; the exit code. Raises OSError if it cannot be started."""
        process = await self._start()
        self.on_event(HookEvent(What.STARTED))
        assert process.stdin is not None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._feed, process.stdin, local, nursery.cancel_scope)
                await process.wait()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                code = await _end(process)
        return code

    async def _start(self) -> trio.Process:
        return await trio.lowlevel.open_process(
            list(self.command),
            stdin=PIPE,
            # What it prints is for the operator; our standard output is for our own result.
            stdout=sys.__stderr__,
            env={**os.environ, **self.environment},
            # A group of its own: Ctrl-C is meant for us, who then end it in order.
            process_group=0,
        )

    # --- what it is told ------------------------------------------------------------------

    async def _feed(
        self, stdin: trio.abc.SendStream, local: Local, scope: trio.CancelScope
    ) -> None:
        """Hand over what comes; cancels the scope when the command does not listen any more."""
        try:
            while True:
                heard = local.writer.news.next()
                if not await self._hand_over(stdin, local):
                    await heard.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            scope.cancel()

    async def _hand_over(self, stdin: trio.abc.SendStream, local: Local) -> bool:
        """The next few lines; whether there were any."""
        after = self.after
        lines = await local.offload(_read_lines, local.store, after)
        if self.after != after:
            return True  # some of these were left out meanwhile: look again
        if not lines:
            return False
        handed = after
        self.after = reached = lines[-1][0]
        try:
            await self._confess(stdin, after)
            # A line is shorter than PIPE_BUF and has a write of its own, so that the system takes
            # it whole or not at all: a command that is cut off never sees half a line.
            for arrival, line in lines:
                await stdin.send_all(line)
                handed = arrival
                self.delivered += 1
        finally:
            self._take_back(handed, reached)
        return True

    async def _confess(self, stdin: trio.abc.SendStream, after: int) -> None:
        """Say how many entries, the last of them with this arrival number, were left out."""
        if untold := self._untold:
            await stdin.send_all(_line({"dropped": untold, "since": after - untold}))
            self._untold -= untold
            self.on_event(HookEvent(What.DROPPED, dropped=untold))

    def _take_back(self, handed: int, reached: int) -> None:
        """What was on its way when the command ended is for the next one, unless entries after
        it were left out already: then it is left out too, so that what is missing is one run."""
        if self.after == reached:
            self.after = handed
        else:
            self._untold += reached - handed
            self.dropped += reached - handed

    async def _watch_backlog(self, local: Local) -> None:
        """Leave the oldest entries out when more wait than may, however long a write hangs."""
        while True:
            heard = local.writer.news.next()
            last = await local.offload(last_arrival, local.store)
            surplus = last - self.after - self.most_behind
            if surplus > 0:
                self._leave_out(surplus)
            await heard.wait()

    def _leave_out(self, count: int) -> None:
        if not self._untold:
            self.on_event(HookEvent(What.BEHIND, dropped=count))
        # Arrival numbers have no gaps, so that they count entries.
        self.after += count
        self._untold += count
        self.dropped += count


def _read_lines(store: EntryStore, after: int) -> list[tuple[int, bytes]]:
    """The next few entries as lines, each with its arrival number."""
    found = read_arrivals(store, after)
    return [(arrival.entry.arrival, _line(arrival_json(arrival))) for arrival in found]


def _line(value: Mapping[str, object]) -> bytes:
    return json.dumps(value).encode("ascii") + b"\n"


async def _end(process: trio.Process) -> int:
    """Close its input, let it finish, then ask, then force it to. Its exit code."""
    assert process.stdin is not None
    await process.stdin.aclose()
    for how in (signal.SIGTERM, signal.SIGKILL):
        with trio.move_on_after(limits.SHUTDOWN_GRACE):
            return await process.wait()
        # Its children too: a script may wait for one of them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
    return await process.wait()
