"""Groups of peers, by name: whom a collection may be shared with.

Two are nobody's to fill: `everybody`, and `listed`, who is known and allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from setsync.errors import UsageError
from setsync.limits import MAX_GROUP_NAME, MAX_GROUPS

EVERYBODY = "everybody"
LISTED = "listed"
_NAME = re.compile(f"[a-z0-9-]{{1,{MAX_GROUP_NAME}}}")


def group_names(names: Iterable[str]) -> tuple[str, ...]:
    """Groups that a peer may be put into, each once and in order. Raises UsageError."""
    found = tuple(sorted(set(names)))
    for name in found:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot be a group's name: that is 1 to {MAX_GROUP_NAME} of a-z, 0-9, -."
            )
        if name in (EVERYBODY, LISTED):
            raise UsageError(f"Who is in the group {name!r} follows from the list itself.")
    if len(found) > MAX_GROUPS:
        raise UsageError(f"A peer is in at most {MAX_GROUPS} groups.")
    return found


def groups_in(found: object) -> tuple[str, ...]:
    """Groups as a file lists them. Raises ValueError, UsageError."""
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError("groups are a list of names")
    return group_names(found)
