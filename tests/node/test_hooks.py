"""A hook is told of every new entry, whatever becomes of it, and the node never waits for it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from setsync import limits
from setsync.errors import UsageError
from setsync.model.entry import Entry, UnverifiedEntry
from setsync.node.hooks import Hook, HookEvent, What, split_command
from setsync.node.local import Local, Offload, in_thread, inline
from setsync.node.node import open_local
from setsync.store.contract import Origin
from setsync.store.memory import MemoryStore
from tests.cli.running import validate
from tests.helpers import entries
from tests.node.ends import simulate
from tests.node.processes import PATIENCE

# Writes down what it reads, line by line, and at its end that it was told of the end.
NOTES = """
import os, sys
out = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
for line in sys.stdin.buffer:
    os.write(out, line)
os.write(out, b'"end"\\n')
"""
# Does so once somebody has written into the pipe that is its second argument.
LATE = "import sys; open(sys.argv[2]).read()" + NOTES
# Takes one line and ends.
ONE_LINE = """
import os, sys
os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND), os.read(0, 65_536).splitlines(True)[0])
sys.exit(3)
"""
# Hears nothing of the end of its input, nor of being asked to go.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND), b'"here"\\n')
while True:
    time.sleep(60)
"""


@dataclass
class Notes:
    """A pipe with a name into which a command writes what it was told."""

    path: Path
    _file: int = field(init=False)
    _stream: trio.lowlevel.FdStream = field(init=False)
    _buffer: bytes = b""

    def __post_init__(self) -> None:
        os.mkfifo(self.path)
        # For both, or it would end whenever a command does.
        self._stream = trio.lowlevel.FdStream(os.open(self.path, os.O_RDWR | os.O_NONBLOCK))

    async def line(self) -> Any:
        """The next line, read as JSON."""
        with trio.fail_after(PATIENCE):
            while b"\n" not in self._buffer:
                self._buffer += await self._stream.receive_some()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    async def ids(self, count: int) -> list[str]:
        """Those of the next lines."""
        return [(await self.line())["id"] for _ in range(count)]


@dataclass
class Events:
    """What a hook has said, and a way to wait for it."""

    all: list[HookEvent] = field(default_factory=list)
    _next: trio.Event = field(default_factory=trio.Event)

    def hear(self, event: HookEvent) -> None:
        """Take an event."""
        self.all.append(event)
        self._next, heard = trio.Event(), self._next
        heard.set()

    async def until(self, what: What, times: int = 1) -> list[HookEvent]:
        """The events of this kind, once there are so many."""
        with trio.fail_after(PATIENCE):
            while len(found := [one for one in self.all if one.what is what]) < times:
                await self._next.wait()
        return found


@dataclass
class Running:
    """A hook, the node around it and what it has said."""

    local: Local
    notes: Notes
    events: Events = field(default_factory=Events)
    hook: Hook = field(init=False)

    async def add(self, some: Sequence[Entry], origin: Origin | None = None) -> list[str]:
        """Put entries in; their ids, once they are durable."""
        claims = [UnverifiedEntry(one.collection, one.header, one.payload) for one in some]
        await (await self.local.writer.submit(claims, origin)).wait()
        return [one.id.hex() for one in some]


@asynccontextmanager
async def running(
    tmp_path: Path,
    script: str,
    *more: str | Path,
    most_behind: int = 1_000,
    offload: Offload = in_thread,
) -> AsyncIterator[Running]:
    """A hook that runs a Python script with the pipe of its notes, and `more`."""
    notes = Notes(tmp_path / "notes")
    words = (sys.executable, "-c", script, str(notes.path), *map(str, more))
    async with open_local(MemoryStore(), offload=offload) as local, trio.open_nursery() as nursery:
        found = Running(local, notes)
        found.hook = Hook(words, found.events.hear, most_behind=most_behind)
        nursery.start_soon(found.hook.run, local)
        yield found
        nursery.cancel_scope.cancel()


async def test_it_gets_a_line_for_each_entry_in_the_order_of_arrival(tmp_path: Path) -> None:
    async with running(tmp_path, NOTES) as here:
        ids = await here.add(entries(250))
        first = await here.notes.line()
        assert [first["id"], *await here.notes.ids(249)] == ids
        (later,) = await here.add(entries(1, "letters"), Origin(7, b"p" * 32))
        last = await here.notes.line()
    validate(first, "watch")
    validate(last, "watch")
    assert (first["brought_by"], first["brought_at"]) == (None, None)
    assert (last["id"], last["brought_by"], last["brought_at"]) == (later, (b"p" * 32).hex(), 7)
    assert (here.hook.delivered, here.hook.dropped) == (251, 0)


async def test_it_is_told_of_what_came_after_the_arrival_it_begins_with(tmp_path: Path) -> None:
    store = MemoryStore()
    store.add_many(entries(3))
    notes = Notes(tmp_path / "notes")
    hook = Hook((sys.executable, "-c", NOTES, str(notes.path)), after=3)
    async with open_local(store) as local, trio.open_nursery() as nursery:
        nursery.start_soon(hook.run, local)
        ids = await Running(local, notes).add(entries(5)[3:])
        assert await notes.ids(2) == ids
        nursery.cancel_scope.cancel()


async def test_its_input_ends_when_the_node_stops_and_it_may_finish(tmp_path: Path) -> None:
    async with running(tmp_path, NOTES) as here:
        await here.add(entries(1))
        await here.notes.line()
    assert await here.notes.line() == "end"


async def test_one_that_does_not_listen_is_ended_by_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SHUTDOWN_GRACE", 0.05)
    async with running(tmp_path, STUBBORN) as here:
        assert await here.notes.line() == "here"
    # Leaving the block above waits for its end.


async def test_one_that_reads_nothing_holds_up_nobody_and_learns_how_much_it_missed(
    tmp_path: Path,
) -> None:
    start = tmp_path / "start"
    os.mkfifo(start)
    pool = entries(3_000)
    async with running(tmp_path, LATE, start, most_behind=500, offload=inline) as here:
        await here.events.until(What.STARTED)
        # First as many as may wait, until the pipe is full and the hook hangs in it: a command
        # whose pipe has room is told of a gap at once, and the next gap would be another.
        ids = await here.add(pool[:500])
        await trio.testing.wait_all_tasks_blocked()
        assert here.hook.delivered < 500
        assert not await here.events.until(What.BEHIND, times=0)
        # Far more than a pipe holds: if the node waited for the command, this would never end.
        with trio.fail_after(PATIENCE):
            for at in range(500, 3_000, 50):
                ids += await here.add(pool[at : at + 50])
        await trio.testing.wait_all_tasks_blocked()
        assert len(await here.events.until(What.BEHIND)) == 1
        await trio.to_thread.run_sync(start.write_text, "go")
        told = [await here.notes.line()]
        while told[-1].get("id") != ids[-1]:
            told.append(await here.notes.line())
        (dropped,) = await here.events.until(What.DROPPED)
    (gap,) = [at for at, line in enumerate(told) if "dropped" in line]
    validate(told[gap], "watch")
    shown = [line["id"] for line in told if "id" in line]
    missed = told[gap]["dropped"]
    assert shown == ids[:gap] + ids[gap + missed :]
    assert told[gap]["since"] == told[gap - 1]["arrival"] == gap
    assert (dropped.dropped, here.hook.dropped) == (missed, missed)
    assert here.hook.delivered + missed == len(ids)


async def test_one_that_ends_is_started_again_and_goes_on_ever_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RETRY_SECONDS", 0.01)
    async with running(tmp_path, ONE_LINE) as here:
        for at, entry in enumerate(entries(3)):
            (id_,) = await here.add([entry])
            assert (await here.notes.line())["id"] == id_
            ended = (await here.events.until(What.ENDED, at + 1))[-1]
            assert (ended.code, ended.retry) == (3, 0.01 * 2**at)
    assert here.hook.delivered == 3


async def test_one_that_a_signal_has_ended_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RETRY_SECONDS", 0.01)
    script = "import os; os.kill(os.getpid(), 9)"
    async with running(tmp_path, script) as here:
        assert (await here.events.until(What.ENDED, 2))[0].code == -signal.SIGKILL


async def test_one_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RETRY_SECONDS", 0.01)
    events = Events()
    hook = Hook(("./no-such-program",), events.hear)
    async with open_local(MemoryStore()) as local, trio.open_nursery() as nursery:
        nursery.start_soon(hook.run, local)
        first, second = await events.until(What.FAILED, 2)
        nursery.cancel_scope.cancel()
    assert first == HookEvent(What.FAILED, retry=0.01, reason="No such file or directory")
    assert second.retry == 0.02


def test_the_pause_grows_to_a_minute_and_is_short_again_for_one_that_has_worked() -> None:
    events: list[HookEvent] = []

    class Dying(Hook):
        async def _run_once(self, local: Local) -> int:
            await trio.sleep(100 if len(events) == 8 else 0)
            return 1

    async def main() -> None:
        hook = Dying(("true",), events.append)
        async with open_local(MemoryStore(), offload=inline) as local:
            with trio.move_on_after(400):
                await hook.run(local)

    simulate(main)
    assert [one.retry for one in events[:10]] == [1, 2, 4, 8, 16, 32, 60, 60, 1, 2]


@pytest.mark.parametrize("text", ["", "  ", "'half", "no-such-program --here"])
def test_a_command_line_that_cannot_work_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        split_command(text)


def test_a_command_line_is_split_and_not_expanded() -> None:
    assert split_command("sh -c 'a | b' $HOME '*'") == ("sh", "-c", "a | b", "$HOME", "*")
