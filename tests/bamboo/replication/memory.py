"""A source in memory, straight from the laws, and logs to put into it."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Iterable, Sequence

import cbor2

from bamboo_compat.core.examining import Member, examine
from bamboo_compat.core.log import Logbook
from bamboo_compat.core.report import Problem
from bamboo_compat.replication.source import (
    Carried,
    Divergence,
    Fate,
    Height,
    LogKey,
    Outcome,
    Place,
    Schemas,
    Stored,
)
from tests.bamboo.logs import Author, Record

SYSTEM = "schema_definition_v1"
VENUE = "venue_0020" + "ab" * 32
EVENT = "event_0020" + "cd" * 32
SCHEMAS = Schemas((SYSTEM,), (EVENT, VENUE))


def operation(schema: str, word: str = "") -> bytes:
    """A payload of a schema."""
    return cbor2.dumps([1, 0, schema, {"word": word}])


@functools.cache
def log(number: int, log_id: int, schema: str, length: int, fork_at: int = 0) -> tuple[Record, ...]:
    """A log's entries; from `fork_at` on they are those of a second branch."""
    author = Author(number, log_id)
    return tuple(
        author.append(operation(schema, f"{'other' if fork_at and n >= fork_at else 'one'} {n}"))
        for n in range(1, length + 1)
    )


class MemorySource:
    """Entries by log and place. `arrivals` are those taken from a peer, in order."""

    def __init__(self, records: Iterable[Record] = (), schemas: Schemas = SCHEMAS) -> None:
        self._schemas = schemas
        self._logs: dict[LogKey, dict[Place, tuple[Member, Stored]]] = {}
        self.book = Logbook()
        self.arrivals: list[str | None] = []
        self.batches: list[int] = []
        for data, payload in records:
            assert self._add(data, payload).fate is Fate.NEW

    def schemas(self) -> Schemas:
        """What it was made with."""
        return self._schemas

    def heights(
        self, schemas: frozenset[str], after: LogKey | None, limit: int
    ) -> Sequence[Height]:
        """All logs are looked at, every time."""
        keys = sorted(key for key in self._logs if self._schemas_of(key) & schemas)
        keys = [key for key in keys if after is None or key > after]
        return [Height(key, self.height(key)) for key in keys[:limit]]

    def height(self, key: LogKey) -> int:
        """The number before the first that is missing."""
        numbers = {place.seq_num for place in self._logs[key]}
        return next(n for n in range(len(numbers) + 2) if n + 1 not in numbers)

    def entries(
        self, log: LogKey, after: Place, up_to: int, max_entries: int, max_bytes: int
    ) -> Sequence[Stored]:
        """One log's entries, sorted anew every time."""
        places = sorted(self._logs[log])
        found: list[Stored] = []
        for place in places[bisect_right(places, after) :]:
            stored = self._logs[log][place][1]
            max_bytes -= len(stored.entry) + len(stored.payload or b"")
            if place.seq_num > up_to or len(found) == max_entries or (found and max_bytes < 0):
                break
            found.append(stored)
        return found

    def take(self, batch: Sequence[Carried], schemas: frozenset[str]) -> Sequence[Outcome]:
        """Checked by the core, one by one."""
        self.batches.append(len(batch))
        return [self._take(one, schemas) for one in batch]

    def _take(self, one: Carried, schemas: frozenset[str]) -> Outcome:
        examined = examine(one.entry, one.payload)
        if isinstance(examined, Problem):
            return Outcome(Fate.REFUSED, f"It breaks the rule {examined.verdict.reason}.")
        if one.payload is None and not self._schemas_of(_key(examined)) & schemas:
            return Outcome(Fate.UNWANTED, "Its payload is withheld, and its log not known.")
        outcome = self._add(one.entry, one.payload)
        if outcome.fate is Fate.NEW:
            self.arrivals.append(examined.schema)
        return outcome

    def _add(self, data: bytes, payload: bytes | None) -> Outcome:
        member = examine(data, payload)
        assert isinstance(member, Member)
        if not self.book.add(member):
            return Outcome(Fate.KNOWN)
        divergence = self._divergence(member)
        place = Place(member.seq_num, member.id)
        of_log = self._logs.setdefault(_key(member), {})
        of_log[place] = member, Stored(place, data, payload)
        return Outcome(Fate.NEW, divergence=divergence)

    def _divergence(self, member: Member) -> Divergence | None:
        """There is another entry of its number, or the one it names is another than ours."""
        of_log = [one for one, _ in self._logs.get(_key(member), {}).values()]
        rivals = [one for one in of_log if one.seq_num == member.seq_num]
        before = [one for one in of_log if one.seq_num == member.seq_num - 1]
        link = (member.backlink or b"")[2:]
        if rivals or (before and not any(link in (one.id, one.twin) for one in before)):
            return Divergence(_key(member), member.seq_num)
        return None

    def _schemas_of(self, key: LogKey) -> set[str]:
        members = [member for member, _ in self._logs.get(key, {}).values()]
        return {member.schema for member in members if member.schema is not None}

    def contents(self) -> set[bytes]:
        """Every entry."""
        return {stored.entry for log in self._logs.values() for _, stored in log.values()}


def _key(member: Member) -> LogKey:
    return LogKey(member.author, member.log_id)
