"""What a command takes before and after its work: from starting Python to the end of the process.

    python -m benchmarks.startup            a store of 1 M entries, about a minute
    python -m benchmarks.startup --quick    10 k entries, a few seconds

Every command is a process of its own, started as the installed script starts it. The commands take
turns, a round each after a first one that does not count, so that what else the machine does meets
all of them alike. Beside each stands what it takes beyond a bare `import lmdb, click` of the same
round. CPU is user and system time as the kernel tells it when the process has ended.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.store import COLLECTION, Maker
from setsync.store.lmdb_store import Store

ENTRIES, QUICK_ENTRIES = 1_000_000, 10_000
ROUNDS, QUICK_ROUNDS = 15, 3
BATCH = 10_000
BARE = "import lmdb, click"
NOTHING = "pass"
# Milliseconds of wall beyond BARE, of what only looks into the store.
TARGET_MS = 150.0
_PYTHONS = ("PYTHONDONTWRITEBYTECODE", "PYTHONPROFILEIMPORTTIME", "PYTHONDEVMODE")
_SCRIPT = "import sys; from setsync.cli.main import main; sys.exit(main())"


class CommandError(Exception):
    """A command that is measured did not end as it should."""


@dataclass(frozen=True)
class Command:
    """One line of the table. `brings`: whether it gets a payload on standard input, a new one
    each time. `is_bound`: whether the target is its."""

    name: str
    arguments: tuple[str, ...]
    brings: bool = False
    is_bound: bool = False

    def run(self, data: Path, number: int) -> Took:
        """Once, over the data directory. Raises CommandError."""
        start = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, *self.arguments],
            env=_environment(data),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            assert process.stderr is not None
            if self.brings:
                process.stdin.write(b"%d" % number)
            process.stdin.close()
            said = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise CommandError(f"{self.name} ended with {process.returncode}: {said.decode()}")
        return Took(wall * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3)


@dataclass(frozen=True)
class Took:
    """Milliseconds of one run."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Started:
    """Medians of all runs of one command, in milliseconds; `beyond`: what it took more than the
    bare imports of the same round."""

    command: str
    wall_ms: float
    cpu_ms: float
    wall_beyond_ms: float
    cpu_beyond_ms: float
    target_ms: float | None


def _python(code: str) -> Command:
    return Command(f"python -c '{code}'", ("-c", code))


def _ours(*words: str, brings: bool = False, is_bound: bool = False) -> Command:
    return Command(" ".join(("setsync", *words)), ("-c", _SCRIPT, *words), brings, is_bound)


def _environment(data: Path) -> dict[str, str]:
    """Ours, with bytecode that is written once, as where a package was installed. It goes beside
    the data directory, and nothing that lies beside the sources already is taken."""
    ours = {name: value for name, value in os.environ.items() if name not in _PYTHONS}
    bytecode = data.with_name("bytecode")
    return ours | {"SETSYNC_DATA": str(data), "PYTHONPYCACHEPREFIX": str(bytecode)}


COMMANDS = (
    _python(NOTHING),
    _python("import lmdb"),
    _python(BARE),
    _ours("--version"),
    _ours("--help"),
    _ours("status", is_bound=True),
    _ours("status", "--json", is_bound=True),
    _ours("ls"),
    _ours("put", "startup", brings=True),
)


def fill(data: Path, entries: int) -> None:
    """Make a data directory with so many entries in it, in the order of their ids."""
    _ours("init").run(data, 0)
    maker = Maker()
    numbers = maker.order("by id", entries)
    with Store.open(data / "store", create=False) as store:
        for low in range(0, entries, BATCH):
            store.add_many([maker.entry(number) for number in numbers[low : low + BATCH]])
        with store.snapshot() as snapshot:
            assert dict(snapshot.collections())[COLLECTION].count == entries


def measure(data: Path, rounds: int) -> Iterator[Started]:
    """Every command in turn, `rounds` times after one that does not count."""
    runs = [
        {command.name: command.run(data, number) for command in COMMANDS}
        for number in range(rounds + 1)
    ][1:]
    bare = _python(BARE).name
    for command in COMMANDS:
        took = [run[command.name] for run in runs]
        more = [
            Took(one.wall - run[bare].wall, one.cpu - run[bare].cpu)
            for one, run in zip(took, runs, strict=True)
        ]
        yield Started(
            command.name,
            statistics.median(one.wall for one in took),
            statistics.median(one.cpu for one in took),
            statistics.median(one.wall for one in more),
            statistics.median(one.cpu for one in more),
            TARGET_MS if command.is_bound else None,
        )


def table(started: Sequence[Started], entries: int) -> Table:
    """What docs/benchmarks.md shows."""
    found = Table(title=f"From start to end, a store of {entries:,} entries, ms")
    found.add_column("command", no_wrap=True)
    for heading in ("wall", "CPU", "wall beyond", "CPU beyond", "to reach"):
        found.add_column(heading, justify="right", no_wrap=True)
    for row in started:
        found.add_row(
            row.command,
            f"{row.wall_ms:.1f}",
            f"{row.cpu_ms:.1f}",
            f"{row.wall_beyond_ms:.1f}",
            f"{row.cpu_beyond_ms:.1f}",
            "" if row.target_ms is None else f"<= {row.target_ms:.0f}",
        )
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 when a command fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="10 k entries, three rounds")
    parser.add_argument("--entries", type=int, metavar="N", help="entries in the store")
    parser.add_argument("--rounds", type=int, metavar="N", help="runs of each command")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--dir", type=Path, help="where the store is made (default: temporary)")
    options = parser.parse_args(arguments)
    entries = options.entries or (QUICK_ENTRIES if options.quick else ENTRIES)
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    console = Console()
    if not console.is_terminal:
        console = Console(width=100)
    with tempfile.TemporaryDirectory(dir=options.dir) as scratch:
        data = Path(scratch) / "data"
        try:
            fill(data, entries)
            started = list(measure(data, rounds))
        except CommandError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    console.print(table(started, entries))
    console.print(f"Medians of {rounds} rounds; beyond: more than {_python(BARE).name}.")
    if options.json:
        result = {
            "date": time.strftime("%Y-%m-%d"),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "entries": entries,
            "rounds": rounds,
            "started": [asdict(row) for row in started],
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
