"""What replication asks of a node: four questions, and the laws of their answers.

- **heights_ascend**: a page of `heights` is strictly ascending by (author, log id), wholly
  behind `after`, and not longer than `limit`; an empty page means that there are no more.
- **height**: a log's `seq_num` is the highest number such that entries 1 to there are all
  here. Of a forked log numbers count and not branches: one entry of each is enough. 0 says
  that entry 1 is missing.
- **entries_ascend**: a page of `entries` is strictly ascending by (sequence number, id),
  wholly behind `after`, and ends at `up_to`; all entries of a number are given, not one;
  an empty page means that there are no more.
- **take_answers**: `take` gives as many outcomes as it was given entries, in their order,
  and has committed all that is NEW or ATTACHED when it returns.

The questions may come from several threads, reading ones while a `take` is under way. A
connection has at most one `take` under way.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Schemas(NamedTuple):
    """The schema ids that a node knows: those of the system, and those of its users."""

    system: tuple[str, ...] = ()
    user: tuple[str, ...] = ()


class LogKey(NamedTuple):
    """Which log, of all authors."""

    author: bytes
    log_id: int


class Height(NamedTuple):
    """How far a log is here without a gap."""

    log: LogKey
    seq_num: int


class Place(NamedTuple):
    """Where an entry stands in its log. `id` is BLAKE3-256 of it: branches share numbers."""

    seq_num: int
    id: bytes


class Stored(NamedTuple):
    """An entry as a node gives it out. `payload` is None where it is withheld."""

    place: Place
    entry: bytes
    payload: bytes | None


class Carried(NamedTuple):
    """An entry as a peer brought it; of a schema that was asked for, or withheld."""

    entry: bytes
    payload: bytes | None


class Divergence(NamedTuple):
    """A log parts here: the entry of this number, or the one that it names, is not ours."""

    log: LogKey
    seq_num: int


class Fate(enum.Enum):
    """What became of an entry that was brought."""

    NEW = "new"
    KNOWN = "known"
    ATTACHED = "attached"
    """Known without its payload, which is here now."""
    REFUSED = "refused"
    """For a fault that its bringer can see: it breaks a rule, or was not asked for."""
    UNWANTED = "unwanted"
    """Refused too, for what only this node knows: its rules and settings, what it has."""


class Outcome(NamedTuple):
    """What became of an entry, why it was refused, and whether its log parts with ours.

    Reasons are counted, so they are few: one a rule, without a word of the entry's own.
    """

    fate: Fate
    reason: str = ""
    divergence: Divergence | None = None


class Source(Protocol):
    """A node, as far as replication knows it. Raises StoreError where the disk fails."""

    def schemas(self) -> Schemas:
        """What this node knows and wants to replicate: what is announced."""

    def heights(
        self, schemas: frozenset[str], after: LogKey | None, limit: int
    ) -> Sequence[Height]:
        """The logs that hold entries of any of these schemas, those behind `after`."""

    def entries(
        self, log: LogKey, after: Place, up_to: int, max_entries: int, max_bytes: int
    ) -> Sequence[Stored]:
        """The log's entries behind `after`, up to and with the number `up_to`.

        At most `max_entries` and about `max_bytes`, but one at least if there is one.
        """

    def take(self, batch: Sequence[Carried], schemas: frozenset[str]) -> Sequence[Outcome]:
        """Check and store entries. An entry without its payload says no schema: it is taken
        only if its log is known to be of one of `schemas`, from what is here or from an
        entry before it in the batch, and else UNWANTED."""


BEFORE_ALL = b""
BEHIND_ALL = b"\xff" * 33
"""As the id of a place: before, and behind, every entry of that number."""


class BrokenLawError(Exception):
    """A source broke one of its laws: a defect of ours. `args[0]` begins with its name."""
