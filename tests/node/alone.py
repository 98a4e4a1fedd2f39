"""A node in a process of its own, under limits of a test's choice, that tells what it costs.

    python -m tests.node.alone FOLDER '{"limits": {"SEND_TIMEOUT": 2}, "blocked": ["ab..."]}'

It listens over the secure channel, lets everybody in, and answers each line on standard input
with a line of JSON. What it measures, it measures itself: the memory of the process, how late its
event loop is, and how long an entry that is written here takes until it is durable.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trio

from setsync import limits
from setsync.model.entry import UnverifiedEntry
from setsync.node.door import Door, Rules
from setsync.node.identity import Identity
from setsync.node.listening import listen
from setsync.node.local import Local
from setsync.node.node import open_local
from setsync.node.policy import Policy
from setsync.node.server import Served
from setsync.node.verifying import Verifiers
from setsync.store.lmdb_store import Store
from tests.helpers import entries
from tests.node.ends import roots
from tests.node.impostors import ANNA

ROOM = Rules(connections=1_000, pending=1_000, rate=10_000)
PATIENCE = 600.0
# The loop is asked so often, and the node's owner writes so often, in seconds.
_TICK, _PAUSE = 0.01, 0.1


def at_percent(values: list[float], percent: int) -> float:
    """The value that so many percent do not go over; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0


# --- the process --------------------------------------------------------------------------


@dataclass
class _Meter:
    """What the process has measured since it was asked last. Times in seconds."""

    local: Local
    late: list[float] = field(default_factory=list)
    published: list[float] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def hear(self, served: Served) -> None:
        """Count a session that is over."""
        self.ended[served.state] += 1
        if served.reason:
            self.reasons[served.reason.partition(":")[0][:60]] += 1

    async def watch(self) -> None:
        """See how late the event loop comes back."""
        while True:
            due = trio.current_time() + _TICK
            await trio.sleep_until(due)
            self.late.append(trio.current_time() - due)

    async def publish(self) -> None:
        """Write an entry now and then, as the node's owner would."""
        for entry in entries(2_000, "own"):
            claim = UnverifiedEntry(entry.collection, entry.header, entry.payload)
            started = trio.current_time()
            await (await self.local.writer.submit([claim])).wait()
            self.published.append(trio.current_time() - started)
            await trio.sleep(_PAUSE)

    def figures(self) -> dict[str, Any]:
        """All of it, and begin anew."""
        with self.local.store.snapshot() as snapshot:
            held = {name: summary.count for name, summary in snapshot.collections()}
        told = {
            "anonymous": _anonymous_memory(),
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "held": held,
            "late_p50": at_percent(self.late, 50),
            "late_p99": at_percent(self.late, 99),
            "late_most": max(self.late, default=0.0),
            "publish_p50": at_percent(self.published, 50),
            "publish_p95": at_percent(self.published, 95),
            "publishes": len(self.published),
            "ended": dict(self.ended),
            "reasons": dict(self.reasons),
        }
        self.late, self.published = [], []
        self.ended, self.reasons = Counter(), Counter()
        return told


def _anonymous_memory() -> int:
    """Bytes of this process that no file stands behind; LMDB's map is not among them."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * limits.KIB
    raise AssertionError("This test needs Linux.")


async def _answer(meter: _Meter, door: Door, nursery: trio.Nursery) -> None:
    """One line for each, until there are no more."""
    buffer = b""
    stdin = trio.lowlevel.FdStream(os.dup(sys.stdin.fileno()))
    async for data in stdin:
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            match line.decode():
                case "figures":
                    told = meter.figures() | {"pending": door.pending, "through": door.through}
                case "publish":
                    nursery.start_soon(meter.publish)
                    told = {}
                case "roots":
                    told = {"roots": repr(roots(meter.local.store))}
                case other:
                    raise AssertionError(other)
            print(json.dumps(told), flush=True)
    nursery.cancel_scope.cancel()


async def _main(folder: Path, settings: dict[str, Any]) -> None:
    for name, value in settings.get("limits", {}).items():
        assert hasattr(limits, name)
        setattr(limits, name, value)
    policy = Policy(frozenset(bytes.fromhex(key) for key in settings.get("blocked", ())))
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1_024)
    door = Door(ROOM)
    with Store.open(folder) as store:
        async with (
            open_local(
                store, node_id=ANNA.public, policy=lambda: policy, verifiers=Verifiers(None)
            ) as local,
            trio.open_nursery() as nursery,
        ):
            meter = _Meter(local)
            me = Identity.of(ANNA)
            nursery.start_soon(partial(listen, local, listeners, meter.hear, me, door=door))
            nursery.start_soon(meter.watch)
            print(json.dumps({"port": listeners[0].socket.getsockname()[1]}), flush=True)
            await _answer(meter, door, nursery)


# --- the test's side ----------------------------------------------------------------------


class Alone:
    """Such a process. Asking it blocks until it has answered."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.node.alone", folder, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.port: int = self._heard()["port"]

    def ask(self, what: str) -> dict[str, Any]:
        """Its answer to "figures", "publish" or "roots"."""
        assert self._process.stdin is not None
        self._process.stdin.write(what.encode() + b"\n")
        self._process.stdin.flush()
        return self._heard()

    def _heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "The node has ended."
        told: dict[str, Any] = json.loads(line)
        return told

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if error is not None:
            self._process.kill()
        self._process.stdin.close()
        code = self._process.wait(PATIENCE)
        self._process.stdout.close()
        assert error is not None or code == 0


if __name__ == "__main__":
    trio.run(_main, Path(sys.argv[1]), json.loads(sys.argv[2]))
