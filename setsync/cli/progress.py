"""Progress for eyes and for programs: one stream of events, four ways to show it.

Everything goes through `Forward` first, which is why nothing ever runs backwards, whatever
the parts of a node report and in whatever order: a phase that was left does not come back,
a number never shrinks, and a total once known stays known.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Protocol, TextIO

from setsync.cli.common import printable
from setsync.node.progress import OnProgress, Progress

if TYPE_CHECKING:
    import rich.progress

# Eyes and logs want a line now and then; programs may want to draw a bar of their own.
PLAIN_SECONDS = 1.0
JSON_SECONDS = 0.1


@contextlib.contextmanager
def showing(choice: str, stream: TextIO | None = None) -> Iterator[OnProgress]:
    """Show what the yielded function is told, on standard error, as `--progress` says.

    It may be called from any thread.
    """
    stream = sys.stderr if stream is None else stream
    renderer = _renderer(choice, stream)
    screen = Screen(renderer)
    try:
        yield screen.show
    finally:
        screen.close()


def _renderer(choice: str, stream: TextIO) -> Renderer:
    if choice == "auto":
        choice = "bar" if stream.isatty() and os.environ.get("TERM") != "dumb" else "plain"
    match choice:
        case "bar":
            return Bar(stream)
        case "plain":
            return Throttled(lambda step: _write(stream, plain_line(step)), PLAIN_SECONDS)
        case "json":
            return Throttled(lambda step: _write(stream, json_line(step)), JSON_SECONDS)
        case _:
            return Throttled(lambda step: None, PLAIN_SECONDS)


def _write(stream: TextIO, line: str) -> None:
    # Whoever watched may have gone; that is no reason to stop the work.
    with contextlib.suppress(OSError, ValueError):
        stream.write(line + "\n")
        stream.flush()


# --- never backwards ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """A moment of progress that never lies behind an earlier one.

    `fraction` is how much of the phase is done, 0 to 1; None while the total is unknown.
    `first` marks the first step of its phase.
    """

    progress: Progress
    fraction: float | None
    first: bool


class Forward:
    """Turns events that may come late or out of order into steps that only go on."""

    def __init__(self) -> None:
        self._left: set[str] = set()
        self._now: Progress | None = None
        self._fraction: float | None = None

    def advance(self, event: Progress) -> Step | None:
        """The step that an event makes, or None when its phase is over already."""
        if event.phase in self._left:
            return None
        last = self._now
        first = last is None or last.phase != event.phase
        if last is not None:
            event = self._onward(last, event)
        self._fraction = self._fraction_of(event, None if first else self._fraction)
        self._now = event
        return Step(event, self._fraction, first)

    def _onward(self, last: Progress, event: Progress) -> Progress:
        event = replace(
            event,
            bytes_sent=max(last.bytes_sent, event.bytes_sent),
            bytes_received=max(last.bytes_received, event.bytes_received),
        )
        if last.phase != event.phase:
            self._left.add(last.phase)
            return event
        known = [total for total in (last.total, event.total) if total is not None]
        return replace(event, done=max(last.done, event.done), total=max(known) if known else None)

    @staticmethod
    def _fraction_of(event: Progress, before: float | None) -> float | None:
        if event.total is None:
            return before
        now = min(1.0, event.done / event.total) if event.total else 1.0
        return now if before is None else max(before, now)


class Renderer(Protocol):
    """Draws steps, one after the other."""

    def draw(self, step: Step) -> None:
        """Show one step; it may be left out for a later one."""

    def close(self) -> None:
        """Show what was left out; nothing comes after."""


class Screen:
    """One stream of events on one renderer, whichever threads they come from."""

    def __init__(self, renderer: Renderer) -> None:
        self._forward = Forward()
        self._renderer = renderer
        self._lock = threading.Lock()

    def show(self, event: Progress) -> None:
        """Take an event."""
        with self._lock:
            step = self._forward.advance(event)
            if step is not None:
                self._renderer.draw(step)

    def close(self) -> None:
        """Show the last state."""
        with self._lock:
            self._renderer.close()


# --- lines --------------------------------------------------------------------------------


class Throttled:
    """At most one step a while, but always a phase's first and last one."""

    def __init__(
        self,
        write: Callable[[Step], None],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._seconds = seconds
        self._clock = clock
        self._due = 0.0
        self._waiting: Step | None = None

    def draw(self, step: Step) -> None:
        """Write the step, or keep it until it is due or its phase ends."""
        if step.first:
            self.close()
        if step.first or self._clock() >= self._due:
            self._put(step)
        else:
            self._waiting = step

    def close(self) -> None:
        """Write what was kept."""
        if self._waiting is not None:
            self._put(self._waiting)

    def _put(self, step: Step) -> None:
        self._waiting = None
        self._due = self._clock() + self._seconds
        self._write(step)


def plain_line(step: Step) -> str:
    """`transferring: 1,200 of 5,000 entries (24 %), 1.2 MB sent, notes/2026`"""
    progress = step.progress
    parts = [amount(step)] if progress.done or progress.total is not None else []
    parts += traffic(progress)
    if progress.collection is not None:
        parts.append(printable(progress.collection))
    if progress.message:
        parts.append(printable(progress.message))
    return f"{progress.phase}: {', '.join(parts)}" if parts else progress.phase


def json_line(step: Step) -> str:
    """The event as docs/json/progress.json describes it."""
    return json.dumps(asdict(step.progress) | {"fraction": step.fraction})


def amount(step: Step) -> str:
    """How much of the phase is done, in words."""
    progress = step.progress
    as_bytes = progress.unit == "bytes"
    done = size(progress.done) if as_bytes else f"{progress.done:,}"
    if progress.total is None:
        return done if as_bytes else f"{done} {progress.unit}"
    total = size(progress.total) if as_bytes else f"{progress.total:,} {progress.unit}"
    # Down, not to the nearest: 100 % is said when it is.
    return f"{done} of {total} ({int(100 * (step.fraction or 0.0))} %)"


def traffic(progress: Progress) -> list[str]:
    """What went over the line so far, in words."""
    counts = ((progress.bytes_sent, "sent"), (progress.bytes_received, "received"))
    return [f"{size(count)} {way}" for count, way in counts if count]


def size(count: int) -> str:
    """Bytes for people: `1.2 MB`, powers of a thousand."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


# --- a bar --------------------------------------------------------------------------------


class Bar:
    """One line on a terminal that fills up; rich draws it."""

    def __init__(self, stream: TextIO) -> None:
        # Loaded here, since whoever pipes our errors into a file needs none of it.
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            TimeElapsedColumn(),
            console=Console(file=stream),
            # What is printed meanwhile belongs on standard output, not above the bar.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: rich.progress.TaskID | None = None
        self._rich.start()

    def draw(self, step: Step) -> None:
        """Move the bar of the phase, or begin the next one."""
        words = ", ".join([amount(step), *traffic(step.progress)])
        if step.first or self._task is None:
            self._finish()
            self._task = self._rich.add_task(step.progress.phase, total=None, words="")
        self._rich.update(
            self._task,
            total=None if step.fraction is None else 1.0,
            completed=step.fraction or 0.0,
            words=words,
        )

    def _finish(self) -> None:
        """A phase that was left stands still, though its total may never have been known."""
        if self._task is not None:
            self._rich.update(self._task, total=1.0, completed=1.0)
            self._rich.stop_task(self._task)

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._rich.stop()
