"""Real processes on real sockets, and a line between them that counts, cuts and remembers.

Nothing here waits for time to pass: a process is waited for by what it says or by its end, and
moments are chosen in bytes on the line.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from setsync.model.entry import Entry
from setsync.node.config import DataDirectory
from setsync.store.check import check
from setsync.store.lmdb_store import Store
from setsync.wire import messages as m
from tests.helpers import keys
from tests.secrets import WATCH

PATIENCE = 60.0
"""Seconds after which a process that says nothing is taken for a hung one."""


def make_node(path: Path, seed: int = 0) -> Path:
    """A data directory with keys that are the same in every run."""
    DataDirectory.init(path, *keys(2, seed))
    return path


def fill(path: Path, *batches: Sequence[Entry]) -> None:
    """Put entries into a node's store, as another process would."""
    with Store.open(path / "store", create=False) as store:
        for batch in batches:
            store.add_many(batch)


def contents(path: Path) -> set[tuple[str, bytes]]:
    """(collection, id) of everything a node holds."""
    with Store.open(path / "store", create=False) as store:
        return {(entry.collection, entry.id) for entry in store}


def roots(path: Path) -> object:
    """A node's collections with their summaries."""
    with Store.open(path / "store", create=False) as store, store.snapshot() as snapshot:
        return snapshot.collections()


def check_clean(path: Path) -> None:
    """Everything is recomputed: ids, signatures, payloads, every node of the trie."""
    with Store.open(path / "store", create=False) as store:
        report = check(store)
    assert not report.damage, report


def command(*words: str | Path) -> list[str]:
    """The command line of `setsync WORDS`."""
    return [sys.executable, "-m", "setsync", *map(str, words)]


@dataclass
class Outcome:
    """How a process ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one object on standard output."""
        return json.loads(self.stdout)


class Process:
    """A `setsync` of its own, whose standard error is read as it comes."""

    def __init__(self, *words: str | Path, stdin: bool = False) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SETSYNC")}
        self._process = subprocess.Popen(
            command(*words),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        self.heard: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        for line in stream:
            self._lines.put(line.decode("utf-8").rstrip("\n"))
        self._lines.put(None)

    @property
    def stdin(self) -> IO[bytes]:
        """What the process reads."""
        assert self._process.stdin is not None
        return self._process.stdin

    def wait_for_event(self, name: str, **fields: object) -> dict[str, Any]:
        """The next event that `serve` tells by this name, with these fields."""
        while True:
            line = self.wait_for(f'"event": "{name}"')
            event: dict[str, Any] = json.loads(line)
            if fields.items() <= event.items():
                return event

    def wait_for(self, text: str) -> str:
        """The next line on standard error that contains `text`."""
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            self.heard.append(line)
            if text in line:
                return line
        self._lines.put(None)
        raise AssertionError(f"It ended without saying {text!r}: {self.heard}")

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal; a process that has ended does not mind."""
        self._process.send_signal(how)

    def end(self) -> Outcome:
        """Wait until it has ended."""
        stdout = self._process.stdout
        assert stdout is not None
        with contextlib.suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        text = stdout.read().decode("utf-8")
        code = self._process.wait(PATIENCE)
        self._listener.join(PATIENCE)
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            self.heard.append(line)
        self._lines.put(None)
        stdout.close()
        assert self._process.stderr is not None
        self._process.stderr.close()
        said = "\n".join(self.heard)
        WATCH.hear("a process", said.encode())
        WATCH.hear("a process", text.encode())
        return Outcome(code, text, said)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self.end()


def run(*words: str | Path) -> Outcome:
    """Run a command to its end."""
    with Process(*words) as process:
        return process.end()


class Serving(Process):
    """A `setsync serve` that listens on a port of its own choice."""

    def __init__(self, data: Path, *words: str | Path) -> None:
        super().__init__("serve", "--data", data, "--listen", "127.0.0.1:0", "--plain", *words)
        try:
            event = self.wait_for_event("listening")
        except BaseException:
            self.__exit__()
            raise
        self.address = str(event["address"])
        self.port = int(self.address.rpartition(":")[2])

    def stop(self) -> Outcome:
        """End it in order."""
        self.kill(signal.SIGTERM)
        return self.end()


# --- the line -----------------------------------------------------------------------------


@dataclass
class Line:
    """A TCP proxy for one connection, which keeps every byte that passed.

    Once `at` bytes have passed, both ways together, `action` is called, between that byte
    and the next.
    """

    port: int
    at: int | None = None
    action: Callable[[], None] = lambda: None
    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._acted = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)

    def act(self) -> None:
        """Do it now, unless it was done."""
        with self._lock:
            if not self._acted:
                self._acted = True
                self.action()

    def _run(self) -> None:
        try:
            here, _ = self._listener.accept()
        except OSError:
            return
        try:
            there = socket.create_connection(("127.0.0.1", self.port))
        except OSError:
            here.close()
            return
        ways = [
            threading.Thread(target=self._pump, args=(here, there, self.up), daemon=True),
            threading.Thread(target=self._pump, args=(there, here, self.down), daemon=True),
        ]
        for way in ways:
            way.start()
        for way in ways:
            way.join()
        here.close()
        there.close()

    def _pump(self, source: socket.socket, goal: socket.socket, seen: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16_384):
                for part in self._cut(data):
                    with self._lock:
                        seen += part
                    goal.sendall(part)
                    if self._is_due():
                        self.act()
        with contextlib.suppress(OSError):
            goal.shutdown(socket.SHUT_WR)

    def _cut(self, data: bytes) -> Iterator[bytes]:
        left = len(data) if self.at is None else self.at - len(self.up) - len(self.down)
        if 0 < left < len(data):
            yield data[:left]
            yield data[left:]
        else:
            yield data

    def _is_due(self) -> bool:
        return self.at is not None and len(self.up) + len(self.down) >= self.at


def messages(stream: bytes) -> list[m.Message]:
    """The whole messages in what passed one way."""
    buffer = m.new_buffer()
    buffer.receive(stream)
    found: list[m.Message] = []
    while (frame := buffer.next_frame()) is not None:
        found.append(m.unpack(*frame))
    return found


def acknowledged(sent: bytes, heard: bytes) -> list[bytes]:
    """Headers of the entries in `sent` that `heard` says are durable, pass after pass."""
    passes: list[list[bytes]] = []
    for message in messages(sent):
        match message:
            case m.Totals() | m.Catalog():
                passes.append([])
            case m.Entries(groups) if passes:
                passes[-1] += [header for _, items in groups for header, _ in items]
    headers = [header for each in passes for header in each]
    counts = [message.count for message in messages(heard) if isinstance(message, m.Committed)]
    # Counts begin anew with each pass; the first of them is all a killed session gets to.
    return headers[: max(counts, default=0)]
