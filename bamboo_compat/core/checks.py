"""The rules, one small function each: None where the rule is kept, else the finding.

None of them knows what is checked before or after it; the order is the caller's.
"""

from __future__ import annotations

from typing import Protocol

from bamboo_compat.core import varu64, yamf
from bamboo_compat.core.keys import is_valid_signature
from bamboo_compat.core.lipmaa import lipmaa
from bamboo_compat.core.report import Finding, Reason


class Located(Protocol):
    """What a link may lead to: an entry, and its place."""

    @property
    def author(self) -> bytes:
        """Public key."""

    @property
    def log_id(self) -> int:
        """Which of the author's logs."""

    @property
    def seq_num(self) -> int:
        """Which entry of the log."""

    @property
    def end_of_log(self) -> bool:
        """Whether nothing may follow it."""


# --- the bytes, in their order ------------------------------------------------------------


def check_length(field: str, wanted: int, left: int) -> Finding | None:
    """A field is not cut short."""
    if left >= wanted:
        return None
    return Finding(Reason.TRUNCATED, f"{wanted} bytes of {field}", f"{left} bytes")


def check_tag(tag: int) -> Finding | None:
    """An entry or an end-of-log marker; there is no third."""
    if tag in (0, 1):
        return None
    return Finding(Reason.BAD_TAG, "tag 0x00 or 0x01", f"0x{tag:02x}")


def check_canonical(field: str, number: int, width: int) -> Finding | None:
    """A number is written in the fewest bytes it fits."""
    shortest = varu64.canonical_width(number)
    if width == shortest:
        return None
    return Finding(
        Reason.NOT_CANONICAL,
        f"{field} {number} in {shortest} byte{'s'[: shortest > 1]}",
        f"{width} bytes",
    )


def check_seq_num(number: int) -> Finding | None:
    """Counting starts at 1."""
    if number >= 1:
        return None
    return Finding(Reason.BAD_SEQ_NUM, "1 or more", str(number))


def check_hash(field: str, kind: int, size: int) -> Finding | None:
    """A hash is of a flavour that exists."""
    if kind == yamf.KIND and size in yamf.SIZES:
        return None
    return Finding(
        Reason.BAD_HASH,
        f"{field} of kind 0 with 64 bytes (BLAKE2b) or 32 (BLAKE3)",
        f"kind {kind} with {size} bytes",
    )


def check_end(left: int) -> Finding | None:
    """Nothing follows the signature."""
    if left == 0:
        return None
    return Finding(Reason.TRAILING_BYTES, "nothing after the signature", f"{left} more bytes")


# --- signature and payload ----------------------------------------------------------------


def check_signature(author: bytes, signed: bytes, signature: bytes) -> Finding | None:
    """The author signed exactly these bytes."""
    if is_valid_signature(author, signed, signature):
        return None
    return Finding(Reason.BAD_SIGNATURE, f"a signature by {author.hex()}", "not one")


def check_payload_hash(claimed: bytes, payload: bytes) -> Finding | None:
    """The payload is the one that was signed."""
    if yamf.is_hash_of(claimed, payload):
        return None
    actual = yamf.hash_of(yamf.flavour_of(claimed), payload)
    return Finding(Reason.BAD_PAYLOAD_HASH, claimed.hex(), actual.hex())


def check_payload_size(claimed: int, payload: bytes) -> Finding | None:
    """The author did not lie about the payload's size."""
    if claimed == len(payload):
        return None
    return Finding(
        Reason.BAD_PAYLOAD_SIZE, f"{claimed} bytes, as the author claims", f"{len(payload)} bytes"
    )


# --- links --------------------------------------------------------------------------------


def check_backlink(entry: Located, target: Located | None, link: bytes) -> Finding | None:
    """The backlink leads to the entry before. No target: there is no such entry."""
    return _check_link(Reason.BAD_BACKLINK, entry, entry.seq_num - 1, target, link)


def check_lipmaalink(entry: Located, target: Located | None, link: bytes) -> Finding | None:
    """The lipmaalink leads to the entry that the specification names."""
    return _check_link(Reason.BAD_LIPMAALINK, entry, lipmaa(entry.seq_num), target, link)


def check_not_after_end(entry: Located, target: Located) -> Finding | None:
    """What a link leads to did not end the log."""
    if not target.end_of_log:
        return None
    return Finding(
        Reason.AFTER_END_OF_LOG,
        f"nothing after entry {target.seq_num}, the end of the log",
        f"entry {entry.seq_num}",
    )


def is_at(target: Located, entry: Located, seq_num: int) -> bool:
    """Whether `target` is the entry `seq_num` of the log that `entry` is in."""
    return (
        target.seq_num == seq_num
        and target.log_id == entry.log_id
        and target.author == entry.author
    )


def _check_link(
    reason: Reason, entry: Located, wanted: int, target: Located | None, link: bytes
) -> Finding | None:
    if target is not None and is_at(target, entry, wanted):
        return None
    return Finding(reason, f"entry {wanted} of the log", _where(entry, target, link))


def _where(entry: Located, target: Located | None, link: bytes) -> str:
    if target is None:
        return f"no such entry: {link.hex()}"
    if target.author != entry.author:
        return f"entry {target.seq_num} of log {target.log_id} of author {target.author.hex()}"
    if target.log_id != entry.log_id:
        return f"entry {target.seq_num} of log {target.log_id}"
    return f"entry {target.seq_num}"
