"""Where an author's log goes on, and that two who append never do it at one place.

An entry is only ever put after a head that is verified, in a log that has not parted (or of
which it is decided which branch is right) and has not ended: an entry after anything else could
turn out to be a fork, and no entry can be taken back. Whoever appends holds the lock while it
reads the place, signs and commits.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bamboo_compat.core.lipmaa import has_lipmaalink, lipmaa, path
from bamboo_compat.core.report import ForkKind, Standing
from bamboo_compat.set.branches import KINDS_BY_NUMBER
from bamboo_compat.set.layout import Flag, LogRow, Node
from bamboo_compat.set.reading import Reader
from setsync.errors import LocalError, StoreLockedError
from setsync.node.filelock import lock_file

LOCK = "append.lock"
# What one append takes is a commit to the disk, and many may wait for their turn.
WAIT_SECONDS = 30.0
_LAST = (1 << 64) - 1
# A log may be in doubt by many forks of other logs; so many are looked at for one of its own.
_FORKS = 1_000


class LogForkedError(LocalError):
    """Nothing can be added until it is decided which branch is right: 'setsync fork show ID' shows
    them, 'setsync fork decide ID --branch N' decides."""

    code = "log_forked"
    exit_code = 8


class LogSetAsideError(LocalError):
    """It was decided that another log is the right one: publish there. 'setsync fork list' tells
    of the decision."""

    code = "log_set_aside"
    exit_code = 8


class LogEndedError(LocalError):
    """An author who ends a log means it; begin another one, with another log id."""

    code = "log_ended"


class HeadNotVerifiedError(LocalError):
    """Get what is missing from a node that has it; an entry after this head might be a fork."""

    code = "head_not_verified"


class LinkMissingError(LocalError):
    """Get the missing entries from a node that has them; the new entry has to name one."""

    code = "link_missing"


@dataclass(frozen=True, slots=True)
class NextPlace:
    """What the next entry says of its place. Links are tagged hashes; a lipmaalink that
    must not be spelled out is None."""

    seq_num: int
    backlink: bytes | None
    lipmaalink: bytes | None


class Effective(Protocol):
    """A log as decisions leave it; see `bamboo_compat.decisions.resolving.Resolution`."""

    @property
    def tips(self) -> Sequence[Node]:
        """Where it ends, the highest number first."""

    @property
    def undecided(self) -> Sequence[bytes]:
        """The ids of the forks that nobody has decided."""


def next_place(
    reader: Reader, author: bytes, log_id: int, effective: Effective | None = None
) -> NextPlace:
    """Where the log goes on; entry 1 where nothing of it is here. Without `effective` no fork
    counts as decided.

    That an author has two logs for one thing is no reason to refuse, until it is decided that
    this is the wrong one. Raises LogForkedError, LogSetAsideError, LogEndedError,
    HeadNotVerifiedError, LinkMissingError.
    """
    log = reader.log(author, log_id)
    if log is None:
        return NextPlace(1, None, None)
    if effective is None:
        undecided, tips = reader.forks_of(log, _FORKS), reader.at(log, log.height)
    else:
        undecided, tips = list(effective.undecided), list(effective.tips)
    _refuse_fork(reader, undecided, log_id)
    if log.ended and (effective is None or any(tip.has(Flag.END_OF_LOG) for tip in tips)):
        raise LogEndedError(f"Log {log_id} has ended.")
    head = _head(reader, log, log_id, tips)
    seq_num = head.seq_num + 1
    lipmaalink = None
    if has_lipmaalink(seq_num):
        lipmaalink = reader.shelf.hash(_walk(reader, head, lipmaa(seq_num), log_id))
    return NextPlace(seq_num, reader.shelf.hash(head), lipmaalink)


def _refuse_fork(reader: Reader, undecided: Sequence[bytes], log_id: int) -> None:
    for fork in undecided:
        row = reader.fork_row(fork)
        if row is not None and KINDS_BY_NUMBER[row.kind] is not ForkKind.DOUBLE_SCHEMA:
            what = (
                f"parts at entry {row.seq_num}"
                if KINDS_BY_NUMBER[row.kind] is ForkKind.BRANCH
                else f"goes on after its end, entry {row.seq_num - 1}"
            )
            raise LogForkedError(f"Log {log_id} {what}: fork {fork.hex()}.")


def _head(reader: Reader, log: LogRow, log_id: int, tips: Sequence[Node]) -> Node:
    """The entry with the highest number, which has to be verified."""
    height = max((tip.seq_num for tip in tips), default=0)
    found = [tip for tip in tips if tip.seq_num == height]
    if not found:
        raise LogSetAsideError(f"Log {log_id} is set aside as a whole.")
    if len(found) > 1:
        raise LogForkedError(f"Log {log_id} has {len(found)} entries with number {height}.")
    if height == _LAST:
        raise LogEndedError(f"Log {log_id} has the last number that there is.")
    [head] = found
    if head.standing is not Standing.VERIFIED:
        what = f"The head of log {log_id}, entry {head.seq_num}, is {head.standing}"
        raise HeadNotVerifiedError(f"{what}{_why(reader, log)}.")
    if reader.is_followed(head):
        # What follows was set aside; another entry in its place would be a branch.
        raise LogSetAsideError(f"Log {log_id} is set aside after entry {head.seq_num}.")
    return head


def _why(reader: Reader, log: LogRow) -> str:
    """The first gap, if there is one: it is what a waiting head waits for."""
    gaps = reader.gaps(log, 1)
    if not gaps:
        return ""
    [(first, last)] = gaps
    return f"; {'entry' if first == last else 'entries'} {_numbers(first, last)} missing"


def _numbers(first: int, last: int) -> str:
    return f"{first} is" if first == last else f"{first} to {last} are"


def _walk(reader: Reader, head: Node, goal: int, log_id: int) -> Node:
    """The entry `goal` that the head stands on, reached by links alone: an entry that only
    has the right number may be of a branch that nobody has seen yet."""
    node = head
    for seq_num in path(head.seq_num, goal)[1:]:
        is_lipmaa = lipmaa(node.seq_num) == seq_num
        target = reader.lipmaa_target(node) if is_lipmaa else reader.parent(node)
        if target is None:
            raise LinkMissingError(
                f"The next entry of log {log_id} has to name entry {goal}, and the entry {seq_num} "
                f"that entry {node.seq_num} names, on the way there, is not here."
            )
        node = target
    return node


# --- one at a time ------------------------------------------------------------------------


@contextlib.contextmanager
def append_lock(directory: Path, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Held while an entry's place is read and the entry is committed, by every process and
    thread that appends to logs in this data directory. They take turns.

    Raises StoreLockedError when it is not free in time.
    """
    try:
        descriptor = lock_file(directory / LOCK, wait_seconds)
    except TimeoutError as error:
        raise StoreLockedError(
            f"Others have been appending to logs in {directory} for {wait_seconds:g} seconds."
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)  # which also lets the lock go
