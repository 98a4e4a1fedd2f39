"""Names of collections, and the patterns people use to say which they want.

A name is a path of segments, `notes/2026/travel`. A pattern is a path whose segments may
be `*` (exactly one segment) or `**` (any number of them, none included).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from setsync.errors import InvalidNameError
from setsync.limits import (
    MAX_COLLECTION_NAME,
    MAX_PATTERN,
    MAX_PATTERN_SEGMENTS,
    MAX_PATTERNS,
)

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


class Matcher:
    """Whether a name is what any of some patterns mean.

    All of them are read at once: each place in each pattern is a bit of one number, and the bits
    that are set are the places reached so far. So a segment of a name takes a few operations,
    whoever wrote the patterns and however many there are. (Stepping back to the last `**` takes
    a step a segment of each pattern; a regular expression of many `**` takes exponentially long
    to say no.) The method is Baeza-Yates' and Gonnet's, "A New Approach to Text Searching", 1992.
    """

    __slots__ = ("_any", "_begin", "_end", "_here", "_stay")

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        # Places before all segments, before a `*`, before a `**`, and behind all segments.
        self._begin = self._any = self._stay = self._end = 0
        # Places before a segment that has this text, or any.
        self._here: dict[str, int] = {}
        place = 1
        for pattern in patterns:
            self._begin |= place
            for segment in pattern.text.split("/"):
                if segment == EVERYTHING:
                    if self._stay & (place >> 1):
                        continue  # two in a row mean the same as one
                    self._stay |= place
                elif segment == ONE_SEGMENT:
                    self._any |= place
                else:
                    self._here[segment] = self._here.get(segment, 0) | place
                place <<= 1
            self._end |= place
            place <<= 1
        for segment, places in self._here.items():
            self._here[segment] = places | self._any

    def matches(self, name: str) -> bool:
        """Whether the collection `name` is meant."""
        here, any_, stay = self._here, self._any, self._stay
        places = self._begin
        places |= (places & stay) << 1
        for segment in name.split("/"):
            places = ((places & here.get(segment, any_)) << 1) | (places & stay)
            places |= (places & stay) << 1
            if not places:
                return False
        return bool(places & self._end)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which collections somebody means. `text` is what they wrote.

    Raises InvalidNameError when the text is not a pattern.
    """

    text: str
    _matcher: Matcher = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= len(_utf8(self.text)) <= MAX_PATTERN:
            raise InvalidNameError(f"A pattern has 1 to {MAX_PATTERN} bytes.")
        _check_segments(self.text, _CONTROL)
        for segment in self.text.split("/"):
            if "*" in segment and segment not in (ONE_SEGMENT, EVERYTHING):
                raise InvalidNameError(f"In {self.text!r} a '*' shares its segment with text.")
        object.__setattr__(self, "_matcher", Matcher([self]))

    @property
    def depth(self) -> int:
        """How many segments it has."""
        return self.text.count("/") + 1

    def matches(self, name: str) -> bool:
        """Whether the collection `name` is meant."""
        return self._matcher.matches(name)


def match_any(patterns: Iterable[Pattern], name: str) -> bool:
    """Whether any of `patterns` means the collection `name`."""
    return any(pattern.matches(name) for pattern in patterns)


def check_fits(patterns: Sequence[Pattern]) -> None:
    """Raises InvalidNameError for more patterns, or longer ones, than one list in a HELLO has."""
    segments = sum(pattern.depth for pattern in patterns)
    if len(patterns) > MAX_PATTERNS or segments > MAX_PATTERN_SEGMENTS:
        raise InvalidNameError(
            f"At most {MAX_PATTERNS} patterns of {MAX_PATTERN_SEGMENTS:,} segments in all can be "
            f"told to another node, and these are {len(patterns):,} of {segments:,}."
        )
