"""Many peers at one node: what idle ones cost, and whether those at work are served alike.

    python -m benchmarks.many [--quick] [--runs 3] [--json FILE]

The node is `setsync serve` in a process of its own, with a data directory, over TLS. The peers are
real clients, each with a key; several share a process, and so the machine's cores with the node.
Measured are

- the node's anonymous memory (RssAnon) with and without idle live connections;
- equal sessions that all begin at one moment: how long each takes from its first packet until the
  sets are equal, and the node's memory meanwhile, with that of the processes below it;
- the same beside a bulk session, which is `setsync sync` itself, that pushes or pulls.

What one of the equal peers brings is in a collection that no other wants, so that all have the same
to do. In a run "together" everything is in one collection, and who is later also fetches what
others have brought. Entries are signed beforehand, from a fixed seed. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bulk import address_in
from benchmarks.folders import copy_settled
from benchmarks.many_node import key_of
from benchmarks.usage import anonymous
from benchmarks.workers import Fields, Worker
from setsync.model.entry import Entry, make_entry
from setsync.store.environment import LOCK_FILE
from setsync.store.lmdb_store import Store

SHARED, BULK = "shared", "bulk"
ENTRY_BYTES = 300
_HEADER_BYTES = 147
_FIRST = 1_600_000_000_000
_BATCH = 10_000
CONNECTIONS = 400
PROCESSES = 2
PATIENCE = 30.0
MOST_SECONDS = 900.0
SAMPLE_SECONDS = 0.05
# Of a bulk session: its handshake and its first commits are not its rate.
WARM = 0.1
SETTLE_SECONDS = 2.0
TARGET = 3.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Numbers: peers that stay, peers that sync, common entries, entries that each lacks and that
    each brings, and entries of a bulk session."""

    idle: int = 200
    sessions: int = 50
    common: int = 20_000
    each: int = 200
    bulk: int = 100_000


QUICK = Plan(common=3_000, each=20, bulk=20_000)


@dataclass(frozen=True, slots=True)
class Idle:
    """Bytes of the node's anonymous memory without connections, and with so many live ones."""

    connections: int
    alone: int
    together: int

    @property
    def each(self) -> float:
        """Bytes a connection."""
        return (self.together - self.alone) / self.connections


@dataclass(frozen=True, slots=True)
class Crowded:
    """Equal sessions at once. `seconds` of each, in order; `tries` in all; `memory` of the node in
    bytes at most. `bulk_rate`: entries a second that a bulk session moved meanwhile."""

    name: str
    seconds: tuple[float, ...]
    tries: int
    memory: int
    bulk_rate: float | None = None

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def slowest(self) -> float:
        """Seconds."""
        return max(self.seconds)

    @property
    def fairness(self) -> float:
        """The slowest to the median."""
        return self.slowest / self.median


@dataclass(frozen=True, slots=True)
class Alone:
    """A bulk session that has the node for itself: entries a second, and bytes at most."""

    name: str
    rate: float | None
    memory: int


# --- stores -------------------------------------------------------------------------------


def made(number: int, collection: str, first: int, count: int) -> list[Entry]:
    """Signed entries of a node, 300 bytes each with their payloads."""
    author = key_of(number)
    size = ENTRY_BYTES - _HEADER_BYTES - len(collection)
    return [
        make_entry(
            author,
            collection,
            hashlib.shake_128(b"%d %d" % (number, at)).digest(size),
            _FIRST + at,
        )
        for at in range(first, first + count)
    ]


def _add(folder: Path, entries: Sequence[Entry]) -> None:
    with Store.open(folder, create=not folder.exists()) as store:
        for at in range(0, len(entries), _BATCH):
            store.add_many(entries[at : at + _BATCH])


def _count(store: Store, collection: str) -> int:
    with store.snapshot() as snapshot:
        view = snapshot.view(collection)
        return view.summary("").count if view is not None else 0


@dataclass(frozen=True)
class Stores:
    """What everybody holds before: stores that are copied for each run."""

    folder: Path
    plan: Plan

    def build(self) -> None:
        """The node has everything that is common and what all peers lack. Two bulk peers: one has
        a collection more than the node, and the other's is at the node."""
        plan = self.plan
        common = made(0, SHARED, 0, plan.common)
        lacking = made(0, SHARED, plan.common, plan.each)
        bulk = made(1, BULK, 0, plan.bulk)
        _add(self.folder / "peer", common)
        for name, more in (("small", []), ("large", bulk)):
            _setsync("init", "--data", self.folder / name)
            _add(self.folder / name / "store", [*common, *lacking, *more])

    def node(self, name: str, target: Path) -> Path:
        """A data directory, copied."""
        copy_settled(self.folder / name, target)
        return target

    def peer(self, number: int, own: str, target: Path) -> Path:
        """The store of a peer, with what it brings in the collection `own`."""
        copy_settled(self.folder / "peer", target, LOCK_FILE)
        _add(target, made(number, own, 0, self.plan.each))
        return target


# --- the node -----------------------------------------------------------------------------


def _setsync(*words: str | Path) -> str:
    command = [sys.executable, "-m", "setsync", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@dataclass(frozen=True)
class Node:
    """One that serves: its address, its process, its store."""

    address: str
    pid: int
    store: Path


@contextlib.contextmanager
def serving(data: Path) -> Iterator[Node]:
    """The node under test, as its operator would run it for a crowd."""
    ready = data / "address"
    (data / "setsync.toml").write_text(f"max-connections = {CONNECTIONS}\n", encoding="ascii")
    command = [sys.executable, "-m", "setsync", "serve", "--data", str(data), "--access", "open"]
    with (
        (data / "log").open("wb") as log,
        subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0", "--ready-file", str(ready)], stderr=log
        ) as process,
    ):
        try:
            address = address_in(ready, lambda: process.poll() is None)
            yield Node(address, process.pid, data / "store")
        finally:
            process.terminate()


class Watch:
    """Looks at a node for as long as a with block lasts: its memory and that of the processes
    below it in bytes at most, and how many entries of a collection are in a store."""

    def __init__(self, pid: int, store: Store, collection: str) -> None:
        self.memory = 0
        self.seen: list[tuple[float, int]] = []
        self._pid, self._store, self._collection = pid, store, collection
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._stopped:
                self.memory = max(self.memory, anonymous(self._pid))
                self.seen.append((time.monotonic(), _count(self._store, self._collection)))
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._stopped, SAMPLE_SECONDS)

    def until(self, count: int, within: float) -> None:
        """Wait for so many entries. Raises RuntimeError if they do not come within the seconds."""
        with self._changed:
            if not self._changed.wait_for(partial(self._has, count), within):
                raise RuntimeError("the bulk session does not get on")

    def _has(self, count: int) -> bool:
        return bool(self.seen) and self.seen[-1][1] >= count

    def rate(self, begin: float, end: float) -> float | None:
        """Entries a second between two moments of `time.monotonic`, or until all were there; None
        where that was no time at all."""
        last = self.seen[-1][1]
        full = next(at for at, count in self.seen if count == last)
        there = [one for one in self.seen if begin <= one[0] <= min(end, full)]
        if len(there) < 2:
            return None
        (first, before), (until, after) = there[0], there[-1]
        return (after - before) / (until - first)


# --- what is measured ---------------------------------------------------------------------


def measure_idle(stores: Stores, folder: Path) -> Idle:
    """Memory with nobody there, once somebody has been, and with everybody."""
    plan = stores.plan
    # The same set: who stays has nothing to move.
    own = folder / "own"
    copy_settled(stores.folder / "small" / "store", own, LOCK_FILE)
    asked: Fields = {"folder": str(own), "interests": [SHARED]}
    with serving(stores.node("small", folder / "node")) as node:
        with Worker("benchmarks.many_node") as first:
            first.ask("stay", address=node.address, first=900, count=5, **asked)
        time.sleep(SETTLE_SECONDS)
        alone = anonymous(node.pid)
        with Worker("benchmarks.many_node") as crowd:
            crowd.ask(
                "stay",
                within=MOST_SECONDS,
                address=node.address,
                first=1_000,
                count=plan.idle,
                **asked,
            )
            time.sleep(SETTLE_SECONDS)
            together = anonymous(node.pid)
            assert crowd.ask("live") == {"live": plan.idle}
    return Idle(plan.idle, alone, together)


def measure_crowd(stores: Stores, folder: Path, name: str, bulk: str = "") -> Crowded:
    """All peers at once, beside a bulk session if there is one: "push" or "pull"."""
    plan = stores.plan
    together = name == "together"
    nodes = []
    for at in range(plan.sessions):
        own = SHARED if together else f"from/{at}"
        peer = stores.peer(2_000 + at, own, folder / f"peer{at}")
        nodes.append([2_000 + at, str(peer), [SHARED, own]])
    data = stores.node("large" if bulk == "pull" else "small", folder / "node")
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(serving(data))
        crowds = [stack.enter_context(Worker("benchmarks.many_node")) for _ in range(PROCESSES)]
        for at, crowd in enumerate(crowds):
            crowd.ask("open", nodes=nodes[at::PROCESSES])
        watch = stack.enter_context(_bulk(stores, folder, node, bulk))
        found = _all_at_once(crowds, node.address)
        begin = min(one["begun"] for one in found)
        end = max(one["ended"] for one in found)
        rate = watch.rate(begin, end) if bulk else None
    _check(found, plan, together)
    with Store.open(data / "store", create=False) as store:
        all_ = {SHARED} if together else {f"from/{at}" for at in range(plan.sessions)}
        brought = sum(_count(store, one) for one in all_)
        before = plan.common + plan.each if together else 0
        assert brought == before + plan.sessions * plan.each, brought
    seconds = sorted(one["ended"] - one["begun"] for one in found)
    tries = sum(one["tries"] for one in found)
    return Crowded(name, tuple(seconds), tries, watch.memory, rate)


def _check(found: Sequence[Fields], plan: Plan, together: bool) -> None:
    """That all did what they were measured for."""
    assert len(found) == plan.sessions
    if together or any(one["tries"] > 1 for one in found):
        return
    for one in found:
        entries = one["report"]["entries"]
        assert (entries["sent"], entries["received"]) == (plan.each, plan.each), entries


def _all_at_once(crowds: Sequence[Worker], address: str) -> list[Fields]:
    at = time.monotonic() + 0.5

    def ask(crowd: Worker) -> list[Fields]:
        reply = crowd.ask("sync", within=MOST_SECONDS, address=address, at=at)
        sessions: list[Fields] = reply["sessions"]
        return sessions

    with ThreadPoolExecutor(len(crowds)) as pool:
        return [one for some in pool.map(ask, crowds) for one in some]


def measure_bulk(stores: Stores, folder: Path, bulk: str) -> Alone:
    """A bulk session alone."""
    data = stores.node("large" if bulk == "pull" else "small", folder / "node")
    with serving(data) as node, _bulk(stores, folder, node, bulk) as watch:
        begin = watch.seen[-1][0]
        watch.until(stores.plan.bulk, MOST_SECONDS)
        return Alone(bulk, watch.rate(begin, time.monotonic()), watch.memory)


@contextlib.contextmanager
def _bulk(stores: Stores, folder: Path, node: Node, bulk: str) -> Iterator[Watch]:
    """A bulk session under way, and the look at it; it is waited for at the end."""
    if not bulk:
        with Store.open(node.store, create=False) as store, Watch(node.pid, store, BULK) as watch:
            yield watch
        return
    data = stores.node("small" if bulk == "pull" else "large", folder / "bulk")
    there = data / "store" if bulk == "pull" else node.store
    command = [sys.executable, "-m", "setsync", "sync", node.address, "--data", str(data)]
    with (
        Store.open(there, create=False) as store,
        Watch(node.pid, store, BULK) as watch,
        subprocess.Popen(
            [*command, "--direction", bulk, "--json", "--progress", "none"],
            stdout=subprocess.PIPE,
        ) as process,
    ):
        try:
            watch.until(int(WARM * stores.plan.bulk), PATIENCE)
            yield watch
            said, _ = process.communicate(timeout=MOST_SECONDS)
            assert json.loads(said)["in_sync"], said
        finally:
            process.kill()


def measure(stores: Stores, runs: int, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Everything, each run on copies of the stores."""
    scratch = stores.folder / "run"

    @contextlib.contextmanager
    def fresh() -> Iterator[Path]:
        scratch.mkdir()
        yield scratch
        shutil.rmtree(scratch)

    with fresh() as folder:
        idle = measure_idle(stores, folder)
        say(show_idle(idle))
    alone: list[Alone] = []
    crowded: list[Crowded] = []
    for _ in range(runs):
        for bulk in ("push", "pull"):
            with fresh() as folder:
                alone.append(measure_bulk(stores, folder, bulk))
                say(show_alone(alone[-1]))
        for name, bulk in (("apart", ""), ("together", ""), ("push", "push"), ("pull", "pull")):
            with fresh() as folder:
                crowded.append(measure_crowd(stores, folder, name, bulk))
                say(show_crowded(crowded[-1]))
    return {
        "plan": asdict(stores.plan),
        "idle": asdict(idle) | {"each": idle.each},
        "alone": [asdict(one) for one in alone],
        "crowded": [
            asdict(one) | {"median": one.median, "slowest": one.slowest, "fairness": one.fairness}
            for one in crowded
        ],
    }


# --- what is shown ------------------------------------------------------------------------

_WORDS = {
    "apart": "nobody else",
    "together": "everything in one collection",
    "push": "beside a bulk push",
    "pull": "beside a bulk pull",
}


def show_idle(idle: Idle) -> str:
    """A line."""
    return (
        f"{idle.connections} idle live connections: {idle.each / 1024:.1f} KiB each "
        f"({idle.alone / 2**20:.1f} MiB without, {idle.together / 2**20:.1f} MiB with them)"
    )


def show_alone(alone: Alone) -> str:
    """A line."""
    return (
        f"bulk {alone.name} alone: {_rate(alone.rate)}, node at most {alone.memory / 2**20:.0f} MiB"
    )


def show_crowded(one: Crowded) -> str:
    """A line."""
    bulk = f", bulk {_rate(one.bulk_rate)}" if one.name in ("push", "pull") else ""
    return (
        f"{len(one.seconds)} at once, {_WORDS[one.name]}: median {one.median:.2f} s, "
        f"slowest {one.slowest:.2f} s, {one.fairness:.2f} times the median (to reach: "
        f"{TARGET:g}), {one.tries - len(one.seconds)} turned away, "
        f"node at most {one.memory / 2**20:.0f} MiB{bulk}"
    )


def _rate(rate: float | None) -> str:
    return f"{rate:,.0f} entries a second" if rate is not None else "too short to tell"


def main(words: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="under a minute: smaller sets")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(words)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="setsync-many-") as name:
        stores = Stores(Path(name), QUICK if options.quick else Plan())
        stores.build()
        found = measure(stores, options.runs)
    found |= {"cores": os.cpu_count(), "load": [load, os.getloadavg()[0]]}
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
