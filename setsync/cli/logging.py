"""What `serve` and its guests tell while they run: one event a line, named, with fields.

For eyes on a terminal, for programs anywhere else. docs/operations.md lists the events. A field
is a number, a name, an address, a key's public half or a sentence; payloads and secrets never
come in here, and no exception does with what its variables held.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging as standard
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from setsync.cli.common import printable

CHOICES = ("auto", "pretty", "json")

# These lead, in this order; the other fields follow as they were given.
_FIRST = ("timestamp", "level", "event")
# Enough of a key's 64 digits to know it again; programs get all of them.
_WHOLE_KEY, _SHORT_KEY = 64, 16


def configure(choice: str, stream: TextIO | None = None) -> None:
    """Send events to standard error as `--log` says; auto: pretty on a terminal, else JSON."""
    stream = sys.stderr if stream is None else stream
    is_pretty = choice == "pretty" or (choice == "auto" and stream.isatty())
    structlog.configure(
        processors=_for_eyes() if is_pretty else _for_programs(),
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        context_class=dict,
        logger_factory=lambda *_: _Lines(stream),
        cache_logger_on_first_use=False,
    )
    _listen_to_libraries()


def logger(**fields: object) -> FilteringBoundLogger:
    """Something that tells events, all with these fields; `bind` adds more."""
    found: FilteringBoundLogger = structlog.get_logger(**fields)
    return found


def _listen_to_libraries() -> None:
    root = standard.getLogger()
    root.handlers = [one for one in root.handlers if not isinstance(one, Libraries)]
    root.addHandler(Libraries())


class Libraries(standard.Handler):
    """What libraries warn of, as events, of each of their loggers one a second: what they say may
    have many lines, and somebody may be making them say it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(standard.WARNING)
        self._clock = clock
        self._due: dict[str, float] = {}

    def emit(self, record: standard.LogRecord) -> None:
        """Tell of it, unless its logger was told of within a second."""
        now = self._clock()
        if now < self._due.get(record.name, now):
            return
        self._due[record.name] = now + 1.0
        error = record.exc_info[1] if record.exc_info else None
        if record.name == _ACCEPTING and isinstance(error, OSError):
            logger().warning("accept_failed", reason=_why_not_accepted(error))
            return
        reason = record.getMessage() + (f" ({error!r})" if error is not None else "")
        logger().warning("library_warning", library=record.name, reason=reason)


# Where trio says that a connection could not be accepted, and that it tries again.
_ACCEPTING = "trio.serve_listeners"


def _why_not_accepted(error: OSError) -> str:
    if error.errno == errno.EMFILE:
        return (
            "As many files are open as the system lets this process open. Raise that (ulimit -n; "
            "LimitNOFILE= for systemd), or lower max-connections."
        )
    return f"A connection could not be accepted: {error.strerror}."


class _Lines:
    """The far end of every logger."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def info(self, line: str) -> None:
        """Write a line. Whoever read along may have gone; that is no reason to stop the node."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    warning = error = info


def _for_programs() -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        lambda _logger, _level, event: json.dumps(_in_order(event)),
    ]


def _for_eyes() -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
        lambda _logger, _level, event: pretty_line(_in_order(event)),
    ]


def _in_order(event: MutableMapping[str, Any]) -> dict[str, Any]:
    return {name: event.pop(name) for name in _FIRST} | dict(event)


def pretty_line(event: Mapping[str, Any]) -> str:
    """`2026-05-17 12:00:00  new_entries  count=3`"""
    when, level, name = (event[key] for key in _FIRST)
    fields = [f"{key}={_value(key, event[key])}" for key in event if key not in _FIRST]
    marks = [] if level == "info" else [level.upper()]
    return "  ".join([when, *marks, name, *fields])


def _value(key: str, value: object) -> str:
    """Bare if it is one word, else in quotes; nothing in it that a terminal would obey."""
    text = str(value)
    if key == "peer" and len(text) == _WHOLE_KEY:
        text = text[:_SHORT_KEY]
    is_word = text and not any(character.isspace() or character == '"' for character in text)
    return printable(text if is_word else json.dumps(text, ensure_ascii=False))
