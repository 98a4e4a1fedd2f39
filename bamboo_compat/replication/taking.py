"""What becomes of the entries that a peer brought, judged one after the other against the
index as it was before and what came before them in their batch. Stores nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from bamboo_compat.core.examining import Member, examine
from bamboo_compat.core.profiles import Profile
from bamboo_compat.core.report import Problem
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.replication.heights import NOT_ASKED_FOR
from bamboo_compat.replication.source import Carried, Divergence, Fate, LogKey, Outcome
from bamboo_compat.set.layout import Flag, LogRow, Node, node_key
from bamboo_compat.set.reading import Reader
from bamboo_compat.set.subjects import FLAGS, PROFILES
from setsync.model.collection import is_system
from setsync.model.entry import Entry, UnverifiedEntry, trusted

BREAKS_A_RULE = "It breaks a rule of Bamboo entries: {}."
NOT_WANTED = "This node does not want the collection that it belongs to."
TOO_LARGE = "It is of the system, and its payload is larger than this node takes."
NOT_KNOWN = "Its payload is withheld, and nothing here tells that its log was asked for."


@dataclass
class _Log:
    """A log as the batch finds it, and what the batch has added to it so far."""

    reader: Reader
    profile: str
    row: LogRow | None
    came: dict[int, set[bytes]] = field(default_factory=dict)
    """Both hashes of each entry that came, without their tags, by number."""
    with_payload: dict[bytes, bool] = field(default_factory=dict)
    """By id, of what came."""

    @cached_property
    def schemas(self) -> set[str]:
        """Those that its payloads name."""
        return set(self.reader.schemas_of(self.profile, self.row)) if self.row else set()

    def node(self, member: Member) -> Node | None:
        """The entry in the index."""
        if self.row is None:
            return None
        return self.reader.shelf.node(node_key(self.row.number, member.seq_num, member.id))

    def add(self, member: Member) -> None:
        """An entry came that is taken."""
        self.came.setdefault(member.seq_num, set()).update((member.id, member.twin))
        has_payload = not member.withheld or self.with_payload.get(member.id, False)
        self.with_payload[member.id] = has_payload
        if member.schema is not None:
            self.schemas.add(member.schema)

    def has_number(self, seq_num: int) -> bool:
        """Whether some entry has this number."""
        if seq_num in self.came:
            return True
        return self.row is not None and self.reader.has_number(self.row, seq_num)

    def has(self, tagged: bytes, seq_num: int) -> bool:
        """Whether an entry with this hash has this number."""
        if tagged[len(Flavour.YASMF.value) :] in self.came.get(seq_num, ()):
            return True
        if self.row is None:
            return False
        node = self.reader.shelf.named(tagged, self.row.number, seq_num)
        return node is not None and (node.log, node.seq_num) == (self.row.number, seq_num)


class Judged(NamedTuple):
    """What becomes of an entry, by its id; that of one that cannot be read is empty."""

    id: bytes
    outcome: Outcome


class Taking:
    """One batch. `entries` are to be stored once all are judged, in their order, as far as the
    node's rules and quotas allow. `speaks_of` says which collections are wanted."""

    def __init__(
        self,
        reader: Reader,
        profile: Profile,
        asked: frozenset[str],
        max_payload: int,
        speaks_of: Callable[[str], bool],
    ) -> None:
        self.entries: list[Entry] = []
        self._reader = reader
        self._profile = profile
        self._filed = FLAGS[PROFILES[profile.name]][0]
        self._asked = asked
        self._max_payload = max_payload
        self._speaks_of = speaks_of
        self._logs: dict[LogKey, _Log] = {}

    def judge(self, one: Carried) -> Judged:
        """What becomes of the next entry."""
        member = examine(one.entry, one.payload)
        if isinstance(member, Problem):
            return Judged(b"", refused(BREAKS_A_RULE.format(member.verdict.reason)))
        return Judged(member.id, self._judge(member, one))

    def _judge(self, member: Member, one: Carried) -> Outcome:
        log = self._log(LogKey(member.author, member.log_id))
        payload = one.payload
        if payload is None:
            if not self._asked & log.schemas:
                return unwanted(NOT_KNOWN)
            collection = self._claimed(member, log)
        else:
            if member.schema not in self._asked:
                return refused(NOT_ASKED_FOR)
            collection = self._profile.collection(member.log_id, member.schema)
            if len(payload) > self._max_payload:
                if is_system(collection):
                    return unwanted(TOO_LARGE)
                payload = None
        if not self._speaks_of(collection):
            return unwanted(NOT_WANTED)
        return self._take(member, log, UnverifiedEntry(collection, one.entry, payload))

    def _log(self, key: LogKey) -> _Log:
        log = self._logs.get(key)
        if log is None:
            log = self._logs[key] = _Log(self._reader, self._profile.name, self._reader.log(*key))
        return log

    def _claimed(self, member: Member, log: _Log) -> str:
        """Where an entry belongs whose payload nobody shows: to what its log is for, if that
        is one thing, and may be claimed without a proof."""
        if len(log.schemas) == 1:
            (schema,) = log.schemas
            collection = self._profile.collection(member.log_id, schema)
            if not is_system(collection):
                return collection
        return self._profile.collection(member.log_id, None)

    def _take(self, member: Member, log: _Log, unverified: UnverifiedEntry) -> Outcome:
        has_payload = unverified.payload is not None
        node = log.node(member)
        outcome = self._outcome(member, log, node, has_payload)
        # Without a payload it says nothing new of an entry that is filed already.
        is_filed = member.id in log.with_payload or (node is not None and node.has(self._filed))
        if has_payload or not is_filed:
            self.entries.append(trusted(unverified))
        log.add(member if has_payload else member._replace(withheld=True))
        return outcome

    def _outcome(self, member: Member, log: _Log, node: Node | None, has_payload: bool) -> Outcome:
        if node is None and member.id not in log.with_payload:
            return Outcome(Fate.NEW, divergence=_divergence(member, log))
        had_payload = log.with_payload.get(member.id, False) or (
            node is not None and not node.has(Flag.WITHHELD)
        )
        return Outcome(Fate.ATTACHED if has_payload and not had_payload else Fate.KNOWN)


def _divergence(member: Member, log: _Log) -> Divergence | None:
    """A new entry's log parts where another has its number, or where there are entries
    before it and none of them is the one that it names."""
    before = member.seq_num - 1
    parts = log.has_number(member.seq_num) or (
        member.backlink is not None
        and log.has_number(before)
        and not log.has(member.backlink, before)
    )
    return Divergence(LogKey(member.author, member.log_id), member.seq_num) if parts else None


def refused(reason: str) -> Outcome:
    """An entry that is not taken, and should not have been sent."""
    return Outcome(Fate.REFUSED, reason)


def unwanted(reason: str) -> Outcome:
    """An entry that is not taken here; its bringer could not know."""
    return Outcome(Fate.UNWANTED, reason)
