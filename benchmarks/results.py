"""One measurement as a record, many as a JSON file, and as a table on the terminal.

    python -m benchmarks.results results.json more.json

Sizes are bytes, times are seconds. A value that a system does not let us measure is None (null in
JSON, a dash in the table), never 0.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from rich import box
from rich.console import Console
from rich.table import Table

FORMAT = 1
Number = TypeVar("Number", int, float)


class ResultError(ValueError):
    """A results file that does not say what this version can read."""


@dataclass(frozen=True)
class Result:
    """What one system needed to make two sets equal, or with a dry run to know how they differ.

    system                what was measured, with its version if it is not ours
    n, d                  common entries, and entries that only one side holds (both sides together)
    variant               how the difference lies and what was done, such as "scattered, dry run"
    bytes_up, bytes_down  payload on the wire from and to the initiator, everything included
    reconcile_bytes       of both: to know the difference, without connecting and without entries
    entry_bytes           of both: to ask for entries, send them and acknowledge them
    bytes_per_difference  reconcile_bytes / d; None if d is 0
    handshake_bytes       of both: to agree on a version, limits and keys
    close_bytes           of both: to be sure that both ended equal, and to part
    round_trips           waits of the initiator until the difference is known
    cpu_*                 CPU seconds of each side's process over the measured time
    wall                  seconds from connecting to done
    peak_rss_*            peak resident memory of each side's process, mapped database included
    note                  what else a reader should know
    seed                  of the entries
    moved                 entries that arrived where they were not, both sides together
    moved_again           entries that one more run between the same stores moved
    left_behind           entries of forks' second branches that still only one side holds
    left_logs             in how many logs these are
    """

    system: str
    n: int
    d: int
    variant: str
    bytes_up: int | None = None
    bytes_down: int | None = None
    reconcile_bytes: int | None = None
    entry_bytes: int | None = None
    bytes_per_difference: float | None = None
    round_trips: int | None = None
    cpu_initiator: float | None = None
    cpu_responder: float | None = None
    wall: float | None = None
    peak_rss_initiator: int | None = None
    peak_rss_responder: int | None = None
    note: str = ""
    handshake_bytes: int | None = None
    close_bytes: int | None = None
    seed: int = 1
    moved: int | None = None
    moved_again: int | None = None
    left_behind: int | None = None
    left_logs: int | None = None

    @property
    def total_bytes(self) -> int | None:
        """Payload in both directions."""
        return _sum(self.bytes_up, self.bytes_down)

    @property
    def besides_entries(self) -> int | None:
        """Everything in both directions but the entries: greetings and farewells included."""
        total = self.total_bytes
        return None if total is None or self.entry_bytes is None else total - self.entry_bytes

    @property
    def cpu(self) -> float | None:
        """CPU seconds of both sides together."""
        return _sum(self.cpu_initiator, self.cpu_responder)


def _sum(left: Number | None, right: Number | None) -> Number | None:
    return None if left is None or right is None else left + right


def per_difference(size: int | None, d: int) -> float | None:
    """Bytes per differing entry, None where there is none to divide by."""
    return None if size is None or d == 0 else size / d


def averaged(results: Sequence[Result]) -> list[Result]:
    """One record for the seeds of each system, size and variant: the means of their numbers."""
    groups: dict[tuple[str, str, int, int], list[Result]] = {}
    for result in results:
        key = (result.system, result.variant, result.n, result.d)
        groups.setdefault(key, []).append(result)
    found = [_mean(rows) if len(rows) > 1 else rows[0] for rows in groups.values()]
    return sorted(found, key=lambda result: (result.n, result.d))


def _mean(rows: Sequence[Result]) -> Result:
    changed: dict[str, Any] = {"note": f"mean of {len(rows)} seeds"}
    for field in dataclasses.fields(Result):
        values = [getattr(row, field.name) for row in rows]
        if field.name in ("n", "d", "seed") or not isinstance(values[0], int | float):
            continue
        if None not in values:
            mean = sum(values) / len(values)
            changed[field.name] = round(mean) if isinstance(values[0], int) else mean
    return dataclasses.replace(rows[0], **changed)


# --- JSON --------------------------------------------------------------------------------------


def dump(results: Iterable[Result], about: dict[str, Any] | None = None) -> str:
    """The results as JSON text; `about` says how they came about (date, machine, versions)."""
    rows = [dataclasses.asdict(result) for result in results]
    return json.dumps({"format": FORMAT, "about": about or {}, "results": rows}, indent=1) + "\n"


def load(text: str) -> list[Result]:
    """The results from JSON text. Raises ResultError for what `dump` would not have written."""
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise ResultError(f"expected results of format {FORMAT}, found {document['format']!r}")
        return [Result(**row) for row in document["results"]]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ResultError(f"not a results file: {error}") from error


def environment(now: datetime, *packages: str) -> dict[str, Any]:
    """What a reader must know to compare times: the day, the machine's kind, the versions."""
    return {
        "date": now.date().isoformat(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in packages},
    }


def write(path: Path, results: Iterable[Result], about: dict[str, Any] | None = None) -> None:
    """Write a results file, whole or not at all."""
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.write_text(dump(results, about))
    fresh.replace(path)


def read(paths: Iterable[Path]) -> list[Result]:
    """The results of several files, one after the other."""
    return [result for path in paths for result in load(path.read_text())]


# --- the table ---------------------------------------------------------------------------------


TEXT_COLUMNS = ("system", "variant")
NUMBER_COLUMNS = (
    "n",
    "d",
    "up",
    "down",
    "reconcile",
    "entries",
    "per d",
    "trips",
    "CPU s",
    "wall s",
    "peak RSS",
)
# Only where there is something to say in them: for sets made of logs.
LOG_COLUMNS = ("besides", "moved", "again", "left")
NARROWEST = 170
WITH_LOGS = 240


def table(results: Sequence[Result], title: str = "") -> Table:
    """A table of all results, in the order given, with a rule where n or d changes."""
    has_logs = _has_logs(results)
    caption = "bytes are TCP (or UDP) payload; CPU and memory are initiator + responder"
    grid = Table(title=title or None, caption=caption, box=box.SIMPLE_HEAD, pad_edge=False)
    for name in TEXT_COLUMNS:
        grid.add_column(name, no_wrap=True)
    for name in (*NUMBER_COLUMNS, *(LOG_COLUMNS if has_logs else ())):
        grid.add_column(name, justify="right", no_wrap=True)
    for here, after in zip(results, [*results[1:], None], strict=True):
        ends = after is not None and (after.n, after.d) != (here.n, here.d)
        grid.add_row(*cells(here), *(log_cells(here) if has_logs else ()), end_section=ends)
    return grid


def _has_logs(results: Sequence[Result]) -> bool:
    return any(result.moved is not None for result in results)


def log_cells(result: Result) -> list[str]:
    """The texts of LOG_COLUMNS; what is left behind with the number of logs it is in."""
    left = number(result.left_behind, ",d")
    if result.left_behind:
        left += f" in {number(result.left_logs, ',d')}"
    moved = (number(value, ",d") for value in (result.moved, result.moved_again))
    return [size(result.besides_entries), *moved, left]


def cells(result: Result) -> list[str]:
    """The texts of one row."""
    return [
        result.system,
        result.variant,
        count(result.n),
        count(result.d),
        size(result.bytes_up),
        size(result.bytes_down),
        size(result.reconcile_bytes),
        size(result.entry_bytes),
        number(result.bytes_per_difference, ".4g"),
        number(result.round_trips, "d"),
        f"{number(result.cpu_initiator, '.3g')} + {number(result.cpu_responder, '.3g')}",
        number(result.wall, ".3g"),
        f"{size(result.peak_rss_initiator)} + {size(result.peak_rss_responder)}",
    ]


def number(value: float | None, form: str) -> str:
    """A number in the given format, or a dash."""
    return "-" if value is None else format(value, form)


def count(value: int) -> str:
    """1000000 as '1 M', 20000 as '20 k', and 1234 as '1,234'."""
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if value >= unit and value % unit == 0:
            return f"{value // unit:,} {name}"
    return f"{value:,}"


def size(value: int | None) -> str:
    """Bytes with three digits and a decimal unit: '987 B', '4.46 kB', '18.9 MB'."""
    if value is None:
        return "-"
    if value < 1_000:
        return f"{value} B"
    unit = min(2, (len(str(value)) - 4) // 3)
    scaled = value / 1_000 ** (unit + 1)
    decimals = 2 if scaled < 10 else 1 if scaled < 100 else 0
    return f"{scaled:.{decimals}f} {('kB', 'MB', 'GB')[unit]}"


def show(
    results: Sequence[Result],
    title: str = "",
    console: Console | None = None,
    *,
    notes: bool = True,
) -> None:
    """Print the table, and the notes below it."""
    screen = console or _console(WITH_LOGS if _has_logs(results) else NARROWEST)
    screen.print(table(results, title))
    for result in results:
        if result.note and notes:
            where = f"{result.system}, {count(result.n)}, {count(result.d)}, {result.variant}"
            screen.print(f"[dim]{where}:[/dim] {result.note}", highlight=False)


def _console(narrowest: int) -> Console:
    """The terminal, or when piped into a file a width that holds every column."""
    screen = Console()
    return screen if screen.is_terminal else Console(width=narrowest)


def main(argv: list[str] | None = None) -> int:
    """Print the results of the files named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results")
    parser.add_argument("file", type=Path, nargs="+")
    show(read(parser.parse_args(argv).file))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
