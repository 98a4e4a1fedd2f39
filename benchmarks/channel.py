"""A bulk session over the secure channel and over the plain one, turn by turn, by the commands.

An empty node pulls everything from a full one. Both are `setsync` as users run it, each in a
process of its own; the seconds are those of the session, from its first byte to its last, as
`sync --json` tells them.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bulk import address_in
from setsync.bench.scratch import fill, made_up
from setsync.store.lmdb_store import Store

TARGET = 0.8


@dataclass(frozen=True, slots=True)
class Bulk:
    """Seconds of each turn, in order, over either channel."""

    entries: int
    plain: tuple[float, ...]
    secure: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Throughput over TLS to that over the plain channel: the median over the turns."""
        pairs = zip(self.plain, self.secure, strict=True)
        return statistics.median(plain / secure for plain, secure in pairs)


def measure(entries: int, turns: int) -> Bulk:
    """Fill one node, then let new ones pull from it, over either channel in turn."""
    with tempfile.TemporaryDirectory(prefix="setsync-channel-") as name:
        folder = Path(name)
        full = folder / "full"
        _setsync("init", "--data", full)
        with Store.open(full / "store", create=False) as store:
            fill([store], made_up(0, entries), lambda filled: None)
        with _serving(full, "--plain") as plain, _serving(full, "--access", "open") as secure:
            turn = [
                (_pull(folder / f"p{n}", plain, "--plain"), _pull(folder / f"s{n}", secure))
                for n in range(turns)
            ]
    return Bulk(entries, tuple(one for one, _ in turn), tuple(two for _, two in turn))


def _setsync(*words: str | Path) -> Any:
    command = [sys.executable, "-m", "setsync", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


@contextmanager
def _serving(data: Path, *words: str) -> Iterator[str]:
    """A copy of the node that serves, and its address."""
    copy = data.with_name(f"{data.name}{words[0]}")
    shutil.copytree(data, copy)
    ready = copy / "address"
    command = [sys.executable, "-m", "setsync", "serve", "--data", str(copy)]
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", "--ready-file", str(ready), *words],
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield address_in(ready, lambda: process.poll() is None)
        finally:
            process.terminate()


def _pull(data: Path, address: str, *words: str) -> float:
    _setsync("init", "--data", data)
    words = ("--direction", "pull", "--json", "--progress", "none", *words)
    report = json.loads(_setsync("sync", address, "--data", data, *words))
    shutil.rmtree(data)
    seconds: float = report["seconds"]
    return seconds
