"""The rules one by one: what keeps each at its very bounds, and what is said where it is broken."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bamboo_compat.core import checks, keys, yamf
from bamboo_compat.core.report import Finding, Reason
from bamboo_compat.core.yamf import Flavour
from tests.bamboo.logs import seed

AUTHOR = keys.public_key(seed(1))


@dataclass
class Place:
    """An entry, by its place in a log."""

    seq_num: int
    log_id: int = 7
    author: bytes = b"\x0a"
    end_of_log: bool = False


@pytest.mark.parametrize(
    "finding",
    [
        checks.check_length("the tag", 4, 4),
        checks.check_length("the tag", 4, 5),
        checks.check_tag(0),
        checks.check_tag(1),
        checks.check_canonical("log id", 247, 1),
        checks.check_canonical("log id", 248, 2),
        checks.check_seq_num(1),
        checks.check_hash("a backlink", 0, 64),
        checks.check_hash("a backlink", 0, 32),
        checks.check_end(0),
        checks.check_signature(AUTHOR, b"text", keys.sign(seed(1), b"text")),
        checks.check_payload_hash(yamf.hash_of(Flavour.YASMF, b"x"), b"x"),
        checks.check_payload_hash(yamf.hash_of(Flavour.YAMF, b"x"), b"x"),
        checks.check_payload_size(0, b""),
        checks.check_payload_size(2, b"xy"),
        checks.check_backlink(Place(5), Place(4), b""),
        checks.check_lipmaalink(Place(13), Place(4), b""),
        checks.check_not_after_end(Place(5), Place(4)),
    ],
)
def test_nothing_is_found_where_the_rule_is_kept(finding: Finding | None) -> None:
    assert finding is None


@pytest.mark.parametrize(
    ("finding", "reason", "expected", "found"),
    [
        (
            checks.check_length("the tag", 4, 3),
            Reason.TRUNCATED,
            "4 bytes of the tag",
            "3 bytes",
        ),
        (checks.check_tag(2), Reason.BAD_TAG, "tag 0x00 or 0x01", "0x02"),
        (
            checks.check_canonical("log id", 247, 2),
            Reason.NOT_CANONICAL,
            "log id 247 in 1 byte",
            "2 bytes",
        ),
        (
            checks.check_canonical("log id", 248, 3),
            Reason.NOT_CANONICAL,
            "log id 248 in 2 bytes",
            "3 bytes",
        ),
        (checks.check_seq_num(0), Reason.BAD_SEQ_NUM, "1 or more", "0"),
        (
            checks.check_hash("a backlink", 1, 32),
            Reason.BAD_HASH,
            "a backlink of kind 0 with 64 bytes (BLAKE2b) or 32 (BLAKE3)",
            "kind 1 with 32 bytes",
        ),
        (
            checks.check_hash("a backlink", 0, 33),
            Reason.BAD_HASH,
            "a backlink of kind 0 with 64 bytes (BLAKE2b) or 32 (BLAKE3)",
            "kind 0 with 33 bytes",
        ),
        (
            checks.check_end(1),
            Reason.TRAILING_BYTES,
            "nothing after the signature",
            "1 more bytes",
        ),
        (
            checks.check_signature(AUTHOR, b"text", keys.sign(seed(1), b"other")),
            Reason.BAD_SIGNATURE,
            f"a signature by {AUTHOR.hex()}",
            "not one",
        ),
        (
            checks.check_payload_hash(yamf.hash_of(Flavour.YAMF, b"x"), b"y"),
            Reason.BAD_PAYLOAD_HASH,
            yamf.hash_of(Flavour.YAMF, b"x").hex(),
            yamf.hash_of(Flavour.YAMF, b"y").hex(),
        ),
        (
            checks.check_payload_size(3, b"xy"),
            Reason.BAD_PAYLOAD_SIZE,
            "3 bytes, as the author claims",
            "2 bytes",
        ),
        (
            checks.check_backlink(Place(5), None, b"\xab"),
            Reason.BAD_BACKLINK,
            "entry 4 of the log",
            "no such entry: ab",
        ),
        (
            checks.check_backlink(Place(5), Place(3), b"\xab"),
            Reason.BAD_BACKLINK,
            "entry 4 of the log",
            "entry 3",
        ),
        (
            checks.check_lipmaalink(Place(13), Place(4, log_id=8), b"\xab"),
            Reason.BAD_LIPMAALINK,
            "entry 4 of the log",
            "entry 4 of log 8",
        ),
        (
            checks.check_lipmaalink(Place(13), Place(4, author=b"\x0b"), b"\xab"),
            Reason.BAD_LIPMAALINK,
            "entry 4 of the log",
            "entry 4 of log 7 of author 0b",
        ),
        (
            checks.check_not_after_end(Place(5), Place(4, end_of_log=True)),
            Reason.AFTER_END_OF_LOG,
            "nothing after entry 4, the end of the log",
            "entry 5",
        ),
    ],
)
def test_a_broken_rule_says_what_it_wants_and_what_is_there(
    finding: Finding | None, reason: Reason, expected: str, found: str
) -> None:
    assert finding == Finding(reason, expected, found)


def test_a_target_is_the_entry_of_that_number_of_the_same_log_and_author() -> None:
    here = Place(5)
    assert checks.is_at(Place(4), here, 4)
    for other in (Place(3), Place(4, log_id=8), Place(4, author=b"\x0b")):
        assert not checks.is_at(other, here, 4)
