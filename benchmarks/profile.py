"""Where the time goes when many entries come at once: a table, and flame graphs.

    python -m benchmarks.profile [--entries 200000] [--out DIR]

Samples the commands as users run them, with all processes that they start, by py-spy
(`pip install 'setsync[bench]'`): an import, and both sides of a first sync. A sample counts for the
part of the program whose line is innermost; libraries in C are told apart by the line that called
them. Linux only; py-spy may have to be run as root.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.bulk import PATIENCE, address_in, new_node, write_file
from benchmarks.usage import SAMPLE_SECONDS

RATE = 200
# By the innermost line of Python; the first that fits.
PARTS: Mapping[str, tuple[str, ...]] = {
    "signatures (libsodium)": ("nacl/",),
    "checks but for the signature": ("setsync/model/",),
    "trie and its hashes": ("setsync/store/trie.py", "setsync/reconcile/digest.py"),
    "LMDB: nodes of the trie": ("setsync/store/nodes.py", "setsync/store/layout.py"),
    "LMDB: begin and commit, the disk included": ("setsync/store/environment.py",),
    "log and books of the store": ("setsync/store/lmdb_store.py", "setsync/store/usage.py"),
    "quotas": ("setsync/store/admission.py",),
    "kept sketches": ("setsync/store/sketches.py", "setsync/reconcile/sketch.py"),
    "the export file, msgpack": ("setsync/store/exchange.py", "setsync/store/importing.py"),
    "to and from the processes that verify": ("setsync/node/verifying.py",),
    "writer": ("setsync/node/writer.py", "setsync/node/turns.py", "setsync/node/refusals.py"),
    "messages, packed and unpacked": ("setsync/wire/", "setsync/node/transfer.py"),
    "channel: TLS and frames": ("ssl.py", "trio/_ssl.py", "setsync/node/channel.py"),
    "trio": ("trio/", "outcome/"),
    "starting: Python and imports": ("<frozen", "importlib", "numpy/", "click/", "setsync/cli/"),
}
REST = "the rest"
# Threads that wait for work; py-spy takes some of them for busy.
WAITS = ("get_events (trio/", "WorkerThread._work (trio/", "EpollIOManager.get_events (trio/")


class ProfileError(Exception):
    """py-spy is not there, or could not look."""


def share(stacks: Sequence[str]) -> Counter[str]:
    """Samples by part, from folded stacks: `outermost;...;innermost COUNT`."""
    found: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not frames[-1].startswith(WAITS):
            found[_part(frames)] += int(count)
    return found


def _part(stack: Sequence[str]) -> str:
    for frame in reversed(stack):
        if ".py:" not in frame and "<frozen" not in frame:
            continue
        for part, places in PARTS.items():
            if any(f"({place}" in frame or f"/{place}" in frame for place in places):
                return part
    return REST


class Sampled:
    """A command under py-spy. What was found is there once it has ended."""

    def __init__(self, folder: Path, form: str, *words: object) -> None:
        self._file = folder / f"{words[0]}.{form}"
        self._said = folder / f"{words[0]}.txt"
        options = ["--format", form, "--rate", str(RATE), "--subprocesses"]
        command = ["python", "-m", "setsync", *map(str, words)]
        # py-spy shows the command: no place of this machine is to be seen in it.
        places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        around = os.environ | {"PATH": places}
        try:
            with self._said.open("w") as said:
                self._process = subprocess.Popen(
                    ["py-spy", "record", *options, "--output", self._file.name, "--", *command],
                    stdout=said,
                    stderr=said,
                    cwd=folder,
                    env=around,
                )
        except OSError as error:
            raise ProfileError("py-spy is not installed: pip install 'setsync[bench]'") from error

    def is_running(self) -> bool:
        """Whether the command has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Have the command end in order."""
        if self.is_running():
            for child in Path(f"/proc/{self._process.pid}/task").glob("*/children"):
                for pid in child.read_text().split():
                    subprocess.run(["kill", "-TERM", pid], check=False)

    def found(self) -> str:
        """In the form that was asked for, without this machine's place of Python. Raises
        ProfileError."""
        self._process.wait(PATIENCE)
        if not self._file.exists():
            raise ProfileError(f"py-spy found nothing: {self._said.read_text()[-500:]}")
        text = self._file.read_text(encoding="utf-8")
        return text.replace(f"{Path(sys.executable).parent}{os.sep}", "")


@contextmanager
def sampled(folder: Path, form: str, *words: object) -> Iterator[Sampled]:
    """A command under py-spy that has been told to end at the end of the block."""
    running = Sampled(folder, form, *words)
    try:
        yield running
    finally:
        running.stop()


def measure(file: Path, folder: Path, form: str) -> dict[str, str]:
    """An import of a file, and both sides of a first sync, in one of py-spy's forms."""
    (folder / file.name).symlink_to(file)
    new_node(folder / "full")
    new_node(folder / "empty")
    found: dict[str, str] = {}
    with sampled(folder, form, "import", file.name, "--data", "full", "--progress", "none") as one:
        found["import"] = _finished(one)
    serve = ("serve", "--data", "full", "--listen", "127.0.0.1:0", "--access", "open")
    with sampled(folder, form, *serve, "--ready-file", "address") as server:
        sync = ("sync", address_in(folder / "address", server.is_running), "--data", "empty")
        with sampled(folder, form, *sync, "--trust-first", "--progress", "none") as client:
            found["first sync, receiving"] = _finished(client)
    found["first sync, sending"] = server.found()
    return found


def _finished(one: Sampled) -> str:
    while one.is_running():
        time.sleep(SAMPLE_SECONDS)
    return one.found()


def show(found: Mapping[str, str], console: Console) -> None:
    """Shares of each run, from folded stacks."""
    shares = {name: share(stacks.splitlines()) for name, stacks in found.items()}
    table = Table(title="Shares of all samples, %")
    table.add_column("")
    for name in shares:
        table.add_column(name, justify="right")
    for part in [*PARTS, REST]:
        row = [100 * one[part] / max(1, one.total()) for one in shares.values()]
        if max(row) >= 0.5:
            table.add_row(part, *(f"{value:.1f}" for value in row))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("--out", type=Path, metavar="DIR", help="put flame graphs there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="setsync-profile-") as name:
        file = Path(name) / "all.setsync"
        write_file(file, options.entries)
        found: dict[str, dict[str, str]] = {}
        for form in ("raw", "flamegraph") if options.out else ("raw",):
            folder = Path(name) / form
            folder.mkdir()
            found[form] = measure(file, folder, form)
    console = Console()
    show(found["raw"], console if console.is_terminal else Console(width=110))
    for what, picture in found.get("flamegraph", {}).items():
        words = what.replace(",", "").replace(" ", "-")
        title = f"setsync: {what}, {options.entries:,} entries"
        named = re.sub(r"py-spy record --format flamegraph [^<]*", title, picture)
        (options.out / f"flame-{words}.svg").write_text(named, encoding="utf-8")


if __name__ == "__main__":
    main()
