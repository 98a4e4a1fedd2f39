"""How a command line names an author's log: a few digits of the key, and a number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from setsync.errors import AmbiguousPrefixError, NoSuchEntryError

if TYPE_CHECKING:
    from bamboo_compat.set.layout import LogRow
    from bamboo_compat.set.reading import Reader

U64_MAX = (1 << 64) - 1
LOG_ID = click.IntRange(0, U64_MAX)
SEQ_NUM = click.IntRange(1, U64_MAX)
_KEY_BYTES = 40
_HEX = re.compile("[0-9a-f]{1,64}")


class NoSuchLogError(NoSuchEntryError):
    """'setsync bamboo logs' lists the logs that are here."""

    code = "no_such_log"


class AmbiguousAuthorError(AmbiguousPrefixError):
    """Give more digits of the author's key."""

    code = "ambiguous_author"


def author_prefix(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    """1 to 64 hex digits; upper case is lowered. Empty where none are given."""
    prefix = (value or "").lower()
    if value is not None and not _HEX.fullmatch(prefix):
        raise click.BadParameter(f"{value!r} is not 1 to 64 hex digits of a public key.")
    return prefix


def logs_of(reader: Reader, prefix: str, after: bytes = b"") -> Iterator[tuple[bytes, int, LogRow]]:
    """Author, log id and record of the logs of authors whose key begins with these digits,
    after the log with the key `after`."""
    whole, half = bytes.fromhex(prefix[: len(prefix) // 2 * 2]), prefix[len(prefix) // 2 * 2 :]
    if half and half != "0":
        # Just below all keys that begin with the whole bytes and this half of one.
        below = whole + bytes([int(half, 16) * 16 - 1]) + b"\xff" * _KEY_BYTES
        after = max(after, below)
    for author, log_id, row in reader.logs(whole, after):
        if not author.hex().startswith(prefix):
            return
        yield author, log_id, row


def find_log(reader: Reader, prefix: str, log_id: int) -> tuple[bytes, LogRow]:
    """The log of the one author whose key begins like this.

    Raises NoSuchLogError, AmbiguousAuthorError.
    """
    author = _find_author(reader, prefix)
    log = reader.log(author, log_id)
    if log is None:
        raise NoSuchLogError(f"Author {author.hex()} has no log {log_id} here.")
    return author, log


def _find_author(reader: Reader, prefix: str) -> bytes:
    first = next(logs_of(reader, prefix), None)
    if first is None:
        raise NoSuchLogError(f"No author whose key begins with {prefix} has a Bamboo log here.")
    author = first[0]
    # Past every log of this author.
    second = next(logs_of(reader, prefix, author + U64_MAX.to_bytes(8, "big")), None)
    if second is not None:
        raise AmbiguousAuthorError(
            f"More than one author's key begins with {prefix}: {author.hex()}, {second[0].hex()}."
        )
    return author
