"""What a verifier says: values only. Everything here is frozen and has one meaning."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Reason(enum.StrEnum):
    """Which rule an entry breaks. The first nine keep it out of a set; the last three are
    about its log."""

    TRUNCATED = "truncated"
    TRAILING_BYTES = "trailing_bytes"
    NOT_CANONICAL = "not_canonical"
    BAD_TAG = "bad_tag"
    BAD_SEQ_NUM = "bad_seq_num"
    BAD_HASH = "bad_hash"
    BAD_SIGNATURE = "bad_signature"
    BAD_PAYLOAD_HASH = "bad_payload_hash"
    BAD_PAYLOAD_SIZE = "bad_payload_size"
    BAD_BACKLINK = "bad_backlink"
    BAD_LIPMAALINK = "bad_lipmaalink"
    AFTER_END_OF_LOG = "after_end_of_log"


class Standing(enum.StrEnum):
    """What its links say of an entry, or that it is none."""

    VERIFIED = "verified"
    WAITING = "waiting"
    BROKEN = "broken"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule: what the rule wants, and what is there instead."""

    reason: Reason
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What holds of one entry as it was given. `id` is BLAKE3-256 of its bytes.

    `inherited`: broken only because what it stands on is; the findings are then those of
    the entry that it stands on.
    """

    id: bytes
    standing: Standing
    findings: tuple[Finding, ...] = ()
    inherited: bool = False

    @property
    def reason(self) -> Reason | None:
        """The first broken rule, in the order in which rules are checked."""
        return self.findings[0].reason if self.findings else None


@dataclass(frozen=True, slots=True)
class Problem:
    """A refused or broken entry, and where it was. What it claims is None where unreadable."""

    where: int
    verdict: Verdict
    author: bytes | None
    log_id: int | None
    seq_num: int | None


@dataclass(frozen=True, slots=True)
class Head:
    """An entry that nothing here follows. `hash` in the flavour of its own payload hash."""

    seq_num: int
    hash: bytes


class ForkKind(enum.StrEnum):
    """The three ways in which an author contradicts the log."""

    BRANCH = "branch"
    DOUBLE_SCHEMA = "double_schema"
    AFTER_END = "after_end"


@dataclass(frozen=True, slots=True)
class Branch:
    """One side of a fork: its first entry, the longest way on from there, where that ends."""

    log_id: int
    seq_num: int
    hash: bytes
    length: int
    head: bytes


@dataclass(frozen=True, slots=True)
class Fork:
    """One point at which a log parts. `id` is the same wherever the same entries are.

    branch: `seq_num` is that of the entries that differ, `parent` the entry they share
    (empty: there is none, or it is not here). after_end: `parent` is the end-of-log
    marker, `seq_num` the one after it. double_schema: `subject` is the schema, or the
    document; log id and sequence number are those where it first occurs, log by log, in
    `branches`.
    """

    id: bytes
    kind: ForkKind
    author: bytes
    log_id: int
    seq_num: int
    parent: bytes
    branches: tuple[Branch, ...]
    subject: str = ""


@dataclass(frozen=True, slots=True)
class LogState:
    """One log as far as it is here. `gaps` are ranges, first and last, of missing numbers.

    `trusted`: the highest verified entry before the earliest fork; 0 where there is none.
    """

    author: bytes
    log_id: int
    entries: int
    height: int
    heads: tuple[Head, ...]
    gaps: tuple[tuple[int, int], ...]
    ended: bool
    verified: int
    waiting: int
    broken: int
    inherited: int
    withheld: int
    trusted: int
    schemas: tuple[str, ...]
    forks: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class LogReport:
    """Everything found in the entries that were given, of one log or of many.

    `entries` counts what was given; `known` of them had been given before. `problems` are
    the first of the refused and of the broken by a fault of their own, in the order in
    which they were given; the counters count all. `verdicts`, if asked for, has one for
    every entry given.
    """

    entries: int
    known: int
    refused: int
    verified: int
    waiting: int
    broken: int
    inherited: int
    withheld: int
    logs: tuple[LogState, ...]
    forks: tuple[Fork, ...]
    problems: tuple[Problem, ...]
    verdicts: tuple[Verdict, ...] = ()

    @property
    def all_verified(self) -> bool:
        """Nothing refused, nothing broken, nothing waiting."""
        return not (self.refused or self.broken or self.waiting)

    @property
    def forked(self) -> bool:
        """Whether an author contradicts a log somewhere."""
        return bool(self.forks)
