"""What the commands about forks share: finding one, and telling of one."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import click

from bamboo_compat.cli.payloads import shortened
from bamboo_compat.cli.wording import short
from bamboo_compat.core.report import Branch, Fork, ForkKind
from bamboo_compat.set.reading import Reader
from setsync.errors import AmbiguousPrefixError, DamagedStoreError, NoSuchEntryError
from setsync.store.contract import Origin, Snapshot

SHORTEST = 8
_HEX = re.compile("[0-9a-f]{8,64}")
# So many ids may begin alike before we stop counting.
_ALIKE = 1_000
# Of a schema's name, where it is told in passing.
_NAME = 24


class NoSuchForkError(NoSuchEntryError):
    """'setsync fork list' lists the forks that are here, with their ids."""

    code = "no_such_fork"


class AmbiguousForkError(AmbiguousPrefixError):
    """Give more digits of the id."""


# --- one by its id ------------------------------------------------------------------------


def id_prefix(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """8 to 64 hex digits; upper case is lowered."""
    prefix = value.lower()
    if not _HEX.fullmatch(prefix):
        raise click.BadParameter(f"{value!r} is not {SHORTEST} to 64 hex digits of a fork's id.")
    return prefix


def find_fork(reader: Reader, prefix: str) -> Fork:
    """The one fork whose id begins with `prefix`. Raises NoSuchForkError, AmbiguousForkError."""
    found = _beginning_with(reader, prefix)
    if not found:
        raise NoSuchForkError(f"No fork's id begins with {prefix}.")
    if len(found) > 1:
        first, second = found[:2]
        raise AmbiguousForkError(
            f"More than one fork's id begins with {prefix}: {first.hex()}, {second.hex()}."
        )
    fork = reader.fork(found[0])
    if fork is None:
        raise DamagedStoreError("The index lists a fork that it does not have.")
    return fork


def short_id(reader: Reader, fork: bytes) -> str:
    """As many digits of an id as no other fork here has, 8 at least."""
    digits = fork.hex()
    others = [id_.hex() for id_ in reader.find_forks(fork[: SHORTEST // 2], _ALIKE) if id_ != fork]
    length = SHORTEST
    while any(other.startswith(digits[:length]) for other in others):
        length += 1
    return digits[:length]


def _beginning_with(reader: Reader, prefix: str) -> list[bytes]:
    whole_bytes = bytes.fromhex(prefix[: len(prefix) // 2 * 2])
    found = reader.find_forks(whole_bytes, _ALIKE)
    return [id_ for id_ in found if id_.hex().startswith(prefix)]


# --- for people ---------------------------------------------------------------------------


def where_it_parts(fork: Fork, *, with_author: bool = True, longest: int = _NAME) -> str:
    """The contradiction in one sentence without its end; a stranger's schema may be in it."""
    of_author = f" of {short(fork.author)}" if with_author else ""
    log = f"log {fork.log_id}{of_author}"
    match fork.kind:
        case ForkKind.AFTER_END:
            return f"{log} goes on after its end, entry {fork.seq_num - 1}"
        case ForkKind.DOUBLE_SCHEMA:
            return f"{len(fork.branches)} logs{of_author} for {subject(fork, longest)}"
        case ForkKind.BRANCH:
            if fork.seq_num == 1:
                return f"{log} parts at its first entry"
            if fork.parent:
                return f"{log} parts after entry {fork.seq_num - 1}"
            return (
                f"{log} has more than one entry {fork.seq_num}; "
                "where it parts the entries here do not tell"
            )


def subject(fork: Fork, most: int) -> str:
    """What a double_schema is about. A document is called by a hash, a schema by letters."""
    is_document = re.fullmatch("0020[0-9a-f]{64}|0040[0-9a-f]{128}", fork.subject) is not None
    return f"{'document' if is_document else 'schema'} {shortened(fork.subject, most)}"


def branch_words(fork: Fork, branch: Branch) -> str:
    """How long a branch is, and where it ends."""
    log = f"log {branch.log_id}, " if fork.kind is ForkKind.DOUBLE_SCHEMA else ""
    last = branch.seq_num + branch.length - 1
    span = f"entries {branch.seq_num} to {last}" if branch.length > 1 else f"entry {last}"
    return f"{log}{span}, head {short(branch.head)}"


def origin_words(origin: Origin | None, arrival: int) -> str:
    """When this node got something, and from whom."""
    if origin is None:
        return f"arrival {arrival}; when and from whom was not noted"
    whom = f"from node {short(origin.peer)}" if origin.peer else "brought at this machine"
    return f"{moment(origin.at)} {whom}, arrival {arrival}"


def moment(at: int) -> str:
    """Milliseconds since 1970, in UTC to the second."""
    try:
        return datetime.fromtimestamp(at / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{at} ms"


# --- for programs -------------------------------------------------------------------------


def fork_json(reader: Reader, snapshot: Snapshot, fork: Fork) -> dict[str, object]:
    """A fork as docs/json/fork-list.json has it; what only this node knows under `local`."""
    return {
        "id": fork.id.hex(),
        "kind": fork.kind,
        "author": fork.author.hex(),
        "log_id": fork.log_id,
        "seq_num": fork.seq_num,
        "parent": fork.parent.hex() or None,
        "subject": fork.subject or None,
        "branches": [branch_json(branch) for branch in fork.branches],
        "local": local_json(snapshot, found_at(reader, fork)),
    }


def branch_json(branch: Branch) -> dict[str, object]:
    """One side."""
    return {
        "log_id": branch.log_id,
        "seq_num": branch.seq_num,
        "hash": branch.hash.hex(),
        "length": branch.length,
        "head": branch.head.hex(),
    }


def found_at(reader: Reader, fork: Fork) -> int:
    """The arrival number with which this node saw a fork."""
    row = reader.fork_row(fork.id)
    return row.found if row is not None else 0


def local_json(snapshot: Snapshot, arrival: int) -> dict[str, object]:
    """What this node knows of an arrival, and nobody else."""
    origin = snapshot.origin(arrival)
    return {
        "arrival": arrival,
        "at": origin.at if origin is not None else None,
        "peer": origin.peer.hex() or None if origin is not None else None,
    }
