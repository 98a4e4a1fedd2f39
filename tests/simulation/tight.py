"""Batches and messages made small, so that a few entries need many of each.

None of these is part of what two nodes agree on: they only say when a sender begins the next
message, or how much is read at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from setsync import limits
from setsync.node import comparing, pushing, server, transfer, writer
from setsync.reconcile import wants

_TIGHT: tuple[tuple[object, str, int], ...] = (
    (transfer, "ENTRY_BATCH", 1_500),
    (transfer, "PAYLOAD_PIECE", 1_000),
    (transfer, "IDS_PER_READ", 5),
    (transfer, "_MOST_IN_MESSAGE", 4),
    (transfer, "UNCOMMITTED_BATCHES", 1),
    (writer, "COMMIT_ENTRIES", 3),
    (writer, "PEERS_COMMIT", 3),
    (writer, "WRITER_INBOX_BYTES", 2_000),
    (writer, "WRITER_PEER_BYTES", 500),
    (comparing, "_QUESTIONS_PER_MESSAGE", 2),
    (wants, "_MESSAGE_BYTES", 100),
    (server, "_ANSWER_BYTES", 200),
    (limits, "LISTED_COLLECTIONS", 4),
    (limits, "UNSENT_FRAMES", 0),
    (limits, "HEARD_IDS", 3),
    (pushing, "_MOST_AT_ONCE", 2),
)

# Keeping up in less time, so that a run has many intervals. What is waited for in a session
# stays as it is.
_BRISK: tuple[tuple[object, str, int], ...] = (
    (limits, "LIVE_SECONDS", 180),
    (limits, "MAX_RETRY_SECONDS", 60),
)


@contextlib.contextmanager
def tightened(is_tight: bool, is_brisk: bool = False) -> Iterator[None]:
    """The limits of this process, for as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        for place, name, value in (*(_TIGHT if is_tight else ()), *(_BRISK if is_brisk else ())):
            stack.enter_context(mock.patch.object(place, name, value))
        yield
