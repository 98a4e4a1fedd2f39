"""`demo`: two nodes, each a process with its own directory, become equal on real text.

Everything goes through the commands a user would type: init, import, serve, sync, status.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from blake3 import blake3

from setsync.cli import common
from setsync.cli.docstrings import Text, read_docstrings
from setsync.cli.progress import showing, size
from setsync.errors import InvalidNameError, LocalError
from setsync.limits import MAX_COLLECTION_NAME
from setsync.model.collection import check_name
from setsync.model.entry import Entry, make_entry
from setsync.model.keys import SecretKey
from setsync.node.progress import OnProgress, Progress
from setsync.store.contract import StoredEntry
from setsync.store.exchange import write_export

_START_SECONDS = 30.0
_LONGEST_LINE = 1024 * 1024

OnLine = Callable[[dict[str, Any]], None]


@click.command(
    epilog="Example: setsync demo --keep /tmp/two-nodes",
    short_help="Watch two nodes become equal on real text.",
)
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="JSON lines instead: one object a line, its 'collection' (if it has one) is used.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep the two nodes, in DIR/a and DIR/b.",
)
@common.unused_data_option
@common.json_option
@common.progress_option
def demo(source: Path | None, keep: Path | None, as_json: bool, progress: str) -> None:
    """Fill two nodes with overlapping thirds of real text and let one sync with the other.

    The text is every docstring of this Python's standard library; a collection is a
    top-level module. Node A gets two thirds of the entries, node B another two thirds.
    """
    with showing(progress) as on_progress, _folder(keep) as folder:
        entries = _entries(source, on_progress)
        a = Node("a", folder / "a", [e for at, e in enumerate(entries) if at % 3 != 2])
        b = Node("b", folder / "b", [e for at, e in enumerate(entries) if at % 3 != 0])
        _fill([a, b], on_progress)
        before = [a.status(), b.status()]
        with a.serving() as address:
            report = b.sync(address, on_progress)
        result = _result(before, [a.status(), b.status()], report)
    if as_json:
        common.print_json(result)
    else:
        _print_table(result)
        if keep is not None:
            common.say(f"The nodes are in {keep / 'a'} and {keep / 'b'}.")
    if not result["equal"]:
        raise LocalError("The two nodes did not become equal.")


# --- the entries --------------------------------------------------------------------------


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="setsync-demo-") as folder:
            yield Path(folder)
        return
    if keep.exists() and any(keep.iterdir()):
        raise LocalError(f"{keep} is not empty.")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep


def _entries(source: Path | None, on_progress: OnProgress) -> list[Entry]:
    """Sign every text once, so that what both nodes get is the same entry on both."""
    if source is not None:
        texts = list(_read_lines(source))
        on_progress(Progress("reading", len(texts), len(texts), "lines"))
    else:
        texts = read_docstrings(
            lambda done, total: on_progress(Progress("reading", done, total, "files"))
        )
    if not texts:
        raise LocalError("There is no text to fill the nodes with.")
    key = SecretKey(os.urandom(32))
    now = time.time_ns() // 1_000_000
    signed = (make_entry(key, text.module, text.payload, now) for text in texts)
    return list({entry.id: entry for entry in signed}.values())


def _read_lines(source: Path) -> Iterator[Text]:
    """Each line is one payload, kept as it is."""
    with source.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE + 1), b""), 1):
            payload = line.rstrip(b"\r\n")
            if len(payload) > _LONGEST_LINE:
                raise LocalError(f"Line {number} of {source} is over {_LONGEST_LINE} bytes.")
            if payload:
                yield Text(_collection_of(payload, source, number), payload)


def _collection_of(payload: bytes, source: Path, number: int) -> str:
    try:
        value = json.loads(payload)
    except ValueError as error:
        raise LocalError(f"Line {number} of {source} is not JSON: {error}.") from error
    name = value.get("collection") if isinstance(value, dict) else None
    if name is None:
        return "lines"
    try:
        check_name(str(name))
    except InvalidNameError as error:
        raise LocalError(
            f"Line {number} of {source} names a collection that cannot be "
            f"(1 to {MAX_COLLECTION_NAME} bytes, a path): {error.message}"
        ) from error
    return str(name)


# --- the nodes ----------------------------------------------------------------------------


@dataclass
class Node:
    """One of the two: its directory, and the commands it is driven with."""

    name: str
    path: Path
    entries: Sequence[Entry]
    _watched: subprocess.Popen[bytes] | None = None
    _is_stopped: bool = False

    def command(self, *words: str) -> list[str]:
        """A command line for this node's directory."""
        return [sys.executable, "-m", "setsync", *words, "--data", str(self.path)]

    def run(self, *words: str) -> dict[str, Any]:
        """Run a command to its end; what it printed as JSON. Raises LocalError."""
        done = subprocess.run(self.command(*words, "--json"), capture_output=True, check=False)
        return _printed(words[0], done.returncode, done.stdout, done.stderr)

    def status(self) -> dict[str, Any]:
        """What `setsync status` says."""
        return self.run("status")

    def watch(self, words: Sequence[str], on_line: OnLine) -> dict[str, Any]:
        """Run a command, handing on its lines of progress as they come."""
        command = self.command(*words, "--json", "--progress", "json")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            other: list[bytes] = []
            self._watched = child
            if self._is_stopped:
                _stop(child)
            try:
                for line in child.stderr:
                    try:
                        on_line(json.loads(line))
                    except ValueError:
                        other.append(line)
                output = child.stdout.read()
                child.wait()
            finally:
                _stop(child)
        return _printed(words[0], child.returncode, output, b"".join(other))

    def stop(self) -> None:
        """End what another thread watches, and let it watch nothing more."""
        self._is_stopped = True
        if self._watched is not None:
            _stop(self._watched)

    def sync(self, address: str, on_progress: OnProgress) -> dict[str, Any]:
        """Reconcile with the node at `address`."""
        return self.watch(["sync", address, "--plain"], lambda line: on_progress(_event(line)))

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on loopback for as long as the block lasts; the address."""
        ready = self.path.with_name(f"{self.name}.ready")
        words = ["serve", "--listen", "127.0.0.1:0", "--plain", "--ready-file", str(ready)]
        with subprocess.Popen(
            self.command(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as child:
            try:
                yield _wait_for(ready, child)
            finally:
                _stop(child)


def _event(line: dict[str, Any]) -> Progress:
    names = Progress.__dataclass_fields__
    return Progress(**{name: line[name] for name in names if name in line})


def _printed(what: str, code: int, output: bytes, complaint: bytes) -> dict[str, Any]:
    if code:
        said = complaint.decode("utf-8", "replace").strip() or "it said nothing"
        raise LocalError(f"'setsync {what}' ended with exit code {code}: {said}")
    result: dict[str, Any] = json.loads(output)
    return result


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a process of ours in order, or, after a while, otherwise."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()


def _wait_for(ready: Path, child: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while not ready.exists():
        if child.poll() is not None or time.monotonic() > deadline:
            assert child.stdout is not None
            said = child.stdout.read().decode("utf-8", "replace") if child.poll() else ""
            raise LocalError(f"Node A did not begin to serve. {said}".rstrip())
        time.sleep(0.02)
    return ready.read_text(encoding="ascii").strip()


def _fill(nodes: Sequence[Node], on_progress: OnProgress) -> None:
    """Make both directories and import the entries, both nodes at once."""
    total = sum(len(node.entries) for node in nodes)
    done = dict.fromkeys((node.name for node in nodes), 0)
    failures: list[Exception] = []

    def fill(node: Node) -> None:
        def show(line: dict[str, Any]) -> None:
            if line.get("unit") == "entries":
                done[node.name] = int(line["done"])
                on_progress(Progress("filling", sum(done.values()), total, "entries"))

        export = node.path.with_name(f"{node.name}.export")
        try:
            node.run("init")
            with export.open("wb") as file:
                write_export(file, map(_stored, node.entries))
            node.watch(["import", str(export)], show)
            export.unlink()
        except (LocalError, OSError) as error:
            failures.append(error)

    on_progress(Progress("filling", 0, total, "entries"))
    threads = [threading.Thread(target=fill, args=(node,)) for node in nodes]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        for node in nodes:
            node.stop()
        for thread in threads:
            if thread.is_alive():
                thread.join()
        raise
    if failures:
        raise failures[0]
    on_progress(Progress("filling", total, total, "entries"))


def _stored(entry: Entry) -> StoredEntry:
    return StoredEntry(entry.id, 0, entry.collection, entry.header, entry.payload)


# --- the result ---------------------------------------------------------------------------


def _result(
    before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]], report: dict[str, Any]
) -> dict[str, Any]:
    """The object of `demo --json`; its schema is docs/json/demo.json."""
    nodes = {
        name: {
            "entries_before": then["entries"],
            "entries_after": now["entries"],
            "collections": len(now["collections"]),
            "digest": _fingerprint(now),
        }
        for name, then, now in zip("ab", before, after, strict=True)
    }
    return {
        "state": report["state"],
        "equal": report["in_sync"] and nodes["a"]["digest"] == nodes["b"]["digest"],
        "nodes": nodes,
        "missing_here": report["missing_here"],
        "missing_there": report["missing_there"],
        "bytes": report["bytes"],
        "round_trips": report["round_trips"],
        "seconds": report["seconds"],
        "naive_bytes": 32 * sum(then["entries"] for then in before),
    }


def _fingerprint(status: dict[str, Any]) -> str:
    """One digest over the name, count and root of every collection."""
    return blake3(json.dumps(status["collections"], sort_keys=True).encode()).hexdigest()


def _print_table(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    a, b = result["nodes"]["a"], result["nodes"]["b"]
    table = Table(title="Two nodes became equal" if result["equal"] else "The nodes differ")
    table.add_column("")
    table.add_column("node A (serves)", justify="right")
    table.add_column("node B (syncs)", justify="right")
    table.add_row("entries before", f"{a['entries_before']:,}", f"{b['entries_before']:,}")
    table.add_row("lacked", f"{result['missing_there']:,}", f"{result['missing_here']:,}")
    table.add_row("entries after", f"{a['entries_after']:,}", f"{b['entries_after']:,}")
    table.add_row("collections", str(a["collections"]), str(b["collections"]))
    table.add_row("root digest", a["digest"][:16] + "…", b["digest"][:16] + "…")
    table.add_section()
    table.add_row("", "A to B", "B to A")
    for phase in ("handshake", "reconcile", "entries", "close"):
        ways = result["bytes"][phase]
        table.add_row(f"bytes, {phase}", size(ways["received"]), size(ways["sent"]))
    console = Console()
    console.print(table)
    compared = result["bytes"]["reconcile"]
    spent = compared["sent"] + compared["received"]
    console.print(
        f"{result['missing_here'] + result['missing_there']:,} differences found in "
        f"{result['round_trips']} round trips and {size(spent)}; exchanging all ids would have "
        f"taken {size(result['naive_bytes'])}. The session took {result['seconds']:.2f} s.",
        highlight=False,
    )
    console.print(f"root digest A  {a['digest']}\nroot digest B  {b['digest']}", highlight=False)
