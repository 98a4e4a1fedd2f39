"""Names of collections, and the patterns people use to say which they want.

A name is a path of segments, `notes/2026/travel`. A pattern is a path whose segments may
be `*` (exactly one segment) or `**` (any number of them, none included).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from setsync.errors import InvalidNameError
from setsync.limits import MAX_COLLECTION_NAME, MAX_PATTERN

EVERYTHING = "**"
ONE_SEGMENT = "*"
SYSTEM = "system"

# Code points, not Unicode categories: categories change with the Unicode version a Python
# was built with, and two nodes must agree for ever on what a name is. Names are shown on
# terminals, so none may hold what a terminal obeys: C0, DEL, C1.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f*]")


def check_name(name: str) -> bytes:
    """The UTF-8 bytes of a good collection name.

    Raises InvalidNameError: not 1 to 255 bytes of UTF-8, an empty segment, a control
    character, or a `*`, which belongs to patterns.
    """
    encoded = _utf8(name)
    if not 1 <= len(encoded) <= MAX_COLLECTION_NAME:
        raise InvalidNameError(
            f"A collection's name has 1 to {MAX_COLLECTION_NAME} bytes, this one {len(encoded)}."
        )
    _check_segments(name, _FORBIDDEN)
    return encoded


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidNameError("A collection's name must be UTF-8 text.") from error


def _check_segments(text: str, forbidden: re.Pattern[str]) -> None:
    if forbidden.search(text):
        raise InvalidNameError(f"{text!r} holds a character that a collection's name cannot.")
    if "" in text.split("/"):
        raise InvalidNameError(f"{text!r} has an empty segment.")


def is_system(name: str) -> bool:
    """Whether a collection goes before all others: `system` and everything under it."""
    return name == SYSTEM or name.startswith(SYSTEM + "/")


def system_first(name: str) -> tuple[bool, bytes]:
    """A sort key: system collections, then the rest, each by the bytes of its name."""
    return (not is_system(name), name.encode("utf-8"))


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which collections somebody means. `text` is what they wrote.

    Raises InvalidNameError when the text is not a pattern.
    """

    text: str
    _segments: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= len(_utf8(self.text)) <= MAX_PATTERN:
            raise InvalidNameError(f"A pattern has 1 to {MAX_PATTERN} bytes.")
        _check_segments(self.text, _CONTROL)
        segments = tuple(self.text.split("/"))
        for segment in segments:
            if "*" in segment and segment not in (ONE_SEGMENT, EVERYTHING):
                raise InvalidNameError(f"In {self.text!r} a '*' shares its segment with text.")
        object.__setattr__(self, "_segments", segments)

    def matches(self, name: str) -> bool:
        """Whether the collection `name` is meant."""
        return _matches(self._segments, name.split("/"))


def _matches(pattern: Sequence[str], name: Sequence[str]) -> bool:
    """Greedy matching that steps back only to the last `**`.

    An earlier `**` need never be tried again, since the last one can swallow whatever it
    could: the work is at most len(pattern) * len(name), whoever wrote the pattern. (A
    regular expression of many `**` would take exponentially long to say no.)
    """
    p = n = 0
    star, swallowed = -1, 0
    while n < len(name):
        if p < len(pattern) and pattern[p] == EVERYTHING:
            star, swallowed = p, n
            p += 1
        elif p < len(pattern) and pattern[p] in (ONE_SEGMENT, name[n]):
            p, n = p + 1, n + 1
        elif star >= 0:
            swallowed += 1
            p, n = star + 1, swallowed
        else:
            return False
    return all(segment == EVERYTHING for segment in pattern[p:])


def match_any(patterns: Iterable[Pattern], name: str) -> bool:
    """Whether any of `patterns` means the collection `name`."""
    return any(pattern.matches(name) for pattern in patterns)
