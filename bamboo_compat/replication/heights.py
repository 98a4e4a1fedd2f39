"""From heights to entries: what we have, what the other side lacks, what it brought.

Everything here asks the source in steps of bounded work, so that whoever drives it can
wait, write or stop in between. Nothing here waits itself.

Only what stands below every gap is told and sent: a server refuses an entry whose backlink
it does not have, so what is above a gap would end the session there and be sent again the
next time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from bamboo_compat.core.profiles import MAX_OPERATION, read_operation
from bamboo_compat.replication import limits
from bamboo_compat.replication.machine import TooMuchToTellError
from bamboo_compat.replication.messages import AuthorHeights, Have
from bamboo_compat.replication.source import (
    BEHIND_ALL,
    BrokenLawError,
    Carried,
    Fate,
    Height,
    LogKey,
    Outcome,
    Place,
    Source,
    Stored,
)

NOT_ASKED_FOR = "Its schema was not asked for in this session."
UNKNOWN_SCHEMA = "This node does not know its schema."
NO_OPERATION = "Its payload is not an operation, so it has no schema that was asked for."


class _Pages:
    """A source's heights, page by page. Its first law is checked here, because a source
    that breaks it could go round for ever."""

    def __init__(self, source: Source, schemas: frozenset[str]) -> None:
        self._source = source
        self._schemas = schemas
        self._after: LogKey | None = None

    def next_page(self) -> Sequence[Height]:
        """The next logs; none when there are no more."""
        page = self._source.heights(self._schemas, self._after, limits.LOGS_PER_PAGE)
        if len(page) > limits.LOGS_PER_PAGE:
            raise BrokenLawError("heights_ascend: a page is longer than was asked for")
        for height in page:
            if self._after is not None and height.log <= self._after:
                raise BrokenLawError("heights_ascend: a log is not behind the one before")
            self._after = height.log
        return page


class HaveBuilder:
    """Our log heights, gathered page by page into the one message that holds them."""

    def __init__(self, source: Source, session: int, schemas: frozenset[str]) -> None:
        self.finished = False
        self._session = session
        self._pages = _Pages(source, schemas)
        self._authors: dict[bytes, list[tuple[int, int]]] = {}
        self._logs = 0
        self._size = 64

    def step(self) -> None:
        """Gather a page. Raises TooMuchToTellError where the message would be refused."""
        page = self._pages.next_page()
        self.finished = not page
        for (author, log_id), seq_num in page:
            if seq_num == 0:
                continue
            logs = self._authors.get(author)
            if logs is None:
                logs = self._authors[author] = []
                self._size += 1 + 2 + len(author) + 5
            logs.append((log_id, seq_num))
            self._size += 1 + _width(log_id) + _width(seq_num)
            self._logs += 1
        self._check()

    def have(self) -> Have:
        """The message, once finished."""
        heights = (AuthorHeights(author, tuple(logs)) for author, logs in self._authors.items())
        return Have(self._session, tuple(heights))

    def _check(self) -> None:
        if (
            self._logs > limits.MAX_LOGS
            or len(self._authors) > limits.MAX_AUTHORS
            or self._size > limits.MAX_HAVE_MESSAGE
        ):
            raise TooMuchToTellError(
                f"There are {self._logs} logs of {len(self._authors)} authors to tell of, or "
                f"more; one message has room for {limits.MAX_LOGS} logs, "
                f"{limits.MAX_AUTHORS} authors and {limits.MAX_HAVE_MESSAGE} bytes."
            )


def _width(number: int) -> int:
    """Bytes of a number in CBOR."""
    return next(size for most, size in _WIDTHS if number < most)


_WIDTHS = ((24, 1), (2**8, 2), (2**16, 3), (2**32, 5), (2**64, 9))


class Offer(NamedTuple):
    """A part of a log that the other side lacks: behind `after`, up to `up_to`."""

    log: LogKey
    after: Place
    up_to: int


class Outbox:
    """The entries that the other side lacks, batch by batch: log by log, each in order."""

    def __init__(self, source: Source, schemas: frozenset[str], theirs: Have) -> None:
        self.finished = False
        self._source = source
        self._pages = _Pages(source, schemas)
        self._told = {author: dict(logs) for author, logs in theirs.heights}
        self._offers: deque[Offer] = deque()

    def next_batch(self) -> list[Stored]:
        """Some entries; perhaps none although there are more to come."""
        if not self._offers:
            page = self._pages.next_page()
            self.finished = not page
            self._offers.extend(offer for height in page if (offer := self._offer(height)))
        batch: list[Stored] = []
        size = 0
        while self._offers and len(batch) < limits.BATCH_ENTRIES and size < limits.BATCH_BYTES:
            read = self._read(limits.BATCH_ENTRIES - len(batch), limits.BATCH_BYTES - size)
            batch += read
            size += sum(len(one.entry) + len(one.payload or b"") for one in read)
        return batch

    def _offer(self, height: Height) -> Offer | None:
        above = self._told.get(height.log.author, {}).get(height.log.log_id, 0)
        if height.seq_num <= above:
            return None
        return Offer(height.log, Place(above, BEHIND_ALL), height.seq_num)

    def _read(self, max_entries: int, max_bytes: int) -> list[Stored]:
        """A page of the first offer's entries; the rest of the offer stays in its place."""
        offer = self._offers.popleft()
        page = self._source.entries(*offer, max_entries, max_bytes)
        after = offer.after
        for stored in page:
            if stored.place <= after or stored.place.seq_num > offer.up_to:
                raise BrokenLawError("entries_ascend: an entry is not behind the one before")
            after = stored.place
        if page:
            self._offers.appendleft(offer._replace(after=after))
        return [_sendable(stored) for stored in page]


def _sendable(stored: Stored) -> Stored:
    """A payload that is too long for an operation has no schema here or anywhere, and no
    message has room for it. The entry goes without, or the log would have a gap."""
    if stored.payload is not None and len(stored.payload) > MAX_OPERATION:
        return stored._replace(payload=None)
    return stored


# --- what the peer brought ----------------------------------------------------------------


def refusal(payload: bytes | None, asked: frozenset[str], known: frozenset[str]) -> str | None:
    """Why an entry is refused unseen, for its schema; None where it may be taken.

    Without a payload it says no schema: then its log has to, and that the source knows.
    """
    if payload is None:
        return None
    operation = read_operation(payload)
    if operation is None:
        return NO_OPERATION
    if operation.schema in asked:
        return None
    return NOT_ASKED_FOR if operation.schema in known else UNKNOWN_SCHEMA


def take_batch(
    source: Source, batch: Sequence[Carried], asked: frozenset[str], known: frozenset[str]
) -> list[Outcome]:
    """Give the source what was asked for; the outcomes are those of the whole batch."""
    refused = [refusal(one.payload, asked, known) for one in batch]
    wanted = [one for one, reason in zip(batch, refused, strict=True) if reason is None]
    taken = source.take(wanted, asked) if wanted else ()
    if len(taken) != len(wanted):
        raise BrokenLawError("take_answers: not as many outcomes as entries")
    outcomes = iter(taken)
    return [
        next(outcomes) if reason is None else Outcome(Fate.REFUSED, reason) for reason in refused
    ]
