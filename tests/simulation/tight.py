"""Batches and messages made small, so that a few entries need many of each.

None of these is part of what two nodes agree on: they only say when a sender begins the next
message, or how much is read at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from setsync import limits
from setsync.node import client, server, transfer, writer

_TIGHT: tuple[tuple[object, str, int], ...] = (
    (transfer, "ENTRY_BATCH", 1_500),
    (transfer, "PAYLOAD_PIECE", 1_000),
    (transfer, "IDS_PER_READ", 5),
    (transfer, "_MOST_IN_MESSAGE", 4),
    (transfer, "UNCOMMITTED_BATCHES", 1),
    (writer, "COMMIT_ENTRIES", 3),
    (writer, "WRITER_INBOX_BYTES", 2_000),
    (client, "_QUESTIONS_PER_MESSAGE", 2),
    (client, "_WANTS_BYTES", 100),
    (server, "_ANSWER_BYTES", 200),
    (limits, "LISTED_COLLECTIONS", 4),
    (limits, "UNSENT_FRAMES", 1),
)


@contextlib.contextmanager
def tightened(is_tight: bool) -> Iterator[None]:
    """The limits of this process, for as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        for place, name, value in _TIGHT if is_tight else ():
            stack.enter_context(mock.patch.object(place, name, value))
        yield
