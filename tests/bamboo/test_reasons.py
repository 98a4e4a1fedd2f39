"""Every reason, from an entry that breaks one rule and no other, in both flavours."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bamboo_compat.core import verify_log, yamf
from bamboo_compat.core.report import Reason, Standing, Verdict
from bamboo_compat.core.yamf import Flavour
from tests.bamboo.logs import FLAVOURS, Author, Record, signed

Crafted = tuple[list[Record], Record]


def _good(author: Author, count: int = 5) -> list[Record]:
    return author.grow(count)


def truncated(author: Author) -> Crafted:
    context = _good(author)
    return context, (author.make(6, b"6")[:-1], b"6")


def trailing_bytes(author: Author) -> Crafted:
    context = _good(author)
    return context, (author.make(6, b"6") + b"\x00", b"6")


def not_canonical(author: Author) -> Crafted:
    first = author.make(1, b"1")  # f9 04 00: the log id 1024 in two bytes where two are due
    assert first[33:36] == b"\xf9\x04\x00"
    return [], (signed(1, first[:33] + b"\xfa\x00\x04\x00" + first[36:-64]), b"1")


def not_canonical_seq_num(author: Author) -> Crafted:
    first = author.make(1, b"1")
    return [], (signed(1, first[:36] + b"\xf8\x01" + first[37:-64]), b"1")


def not_canonical_size(author: Author) -> Crafted:
    first = author.make(1, b"1")
    return [], (signed(1, first[:37] + b"\xf8\x01" + first[38:-64]), b"1")


def not_canonical_hash(author: Author) -> Crafted:
    first = author.make(1, b"1")
    return [], (signed(1, first[:38] + b"\xf8\x00" + first[39:-64]), b"1")


def bad_tag(author: Author) -> Crafted:
    return [], (signed(1, b"\x02" + author.make(1, b"1")[1:-64]), b"1")


def bad_seq_num(author: Author) -> Crafted:
    first = author.make(1, b"1")
    return [], (signed(1, first[:36] + b"\x00" + first[37:-64]), b"1")


def bad_hash_kind(author: Author) -> Crafted:
    first = author.make(1, b"1")
    return [], (signed(1, first[:38] + b"\x01" + first[39:-64]), b"1")


def bad_hash_size(author: Author) -> Crafted:
    first = author.make(1, b"1")
    return [], (signed(1, first[:39] + b"\x21" + bytes(33)), b"1")


def bad_hash_endless(author: Author) -> Crafted:
    first = author.make(1, b"1")
    return [], (signed(1, first[:39] + b"\xff" + b"\xff" * 8 + bytes(33)), b"1")


def bad_signature(author: Author) -> Crafted:
    context = _good(author)
    return context, (signed(2, author.make(6, b"6")[:-64]), b"6")


def bad_author(author: Author) -> Crafted:
    first = author.make(1, b"1")
    # The identity: for some libraries the zero signature under it is valid for anything.
    body = first[:1] + b"\x01" + bytes(31) + first[33:-64]
    return [], (body + b"\x01" + bytes(63), b"1")


def bad_payload_hash(author: Author) -> Crafted:
    context = _good(author)
    return context, (author.make(6, b"6"), b"7")


def bad_payload_size(author: Author) -> Crafted:
    first = author.make(1, b"1")
    return [], (signed(1, first[:37] + b"\x02" + first[38:-64]), b"1")


def bad_backlink_absent(author: Author) -> Crafted:
    context = _good(author)
    absent = author.flavour.value + bytes(author.flavour.value[1])
    return context, (author.make(6, b"6", backlink=absent), b"6")


def bad_backlink_too_far(author: Author) -> Crafted:
    context = _good(author)
    return context, (author.make(6, b"6", backlink=author.hashes[4]), b"6")


def bad_backlink_other_log(author: Author) -> Crafted:
    other = Author(log_id=7, flavour=author.flavour)
    context = [*_good(author), *_good(other)]
    return context, (author.make(6, b"6", backlink=other.hashes[5]), b"6")


def bad_backlink_other_author(author: Author) -> Crafted:
    other = Author(2, flavour=author.flavour)
    context = [*_good(author), *_good(other)]
    return context, (author.make(6, b"6", backlink=other.hashes[5]), b"6")


def bad_lipmaalink_absent(author: Author) -> Crafted:
    context = _good(author, 7)
    absent = author.flavour.value + bytes(author.flavour.value[1])
    return context, (author.make(8, b"8", lipmaalink=absent), b"8")


def bad_lipmaalink_too_near(author: Author) -> Crafted:
    context = _good(author, 7)
    return context, (author.make(8, b"8", lipmaalink=author.hashes[5]), b"8")


def bad_lipmaalink_other_log(author: Author) -> Crafted:
    other = Author(log_id=7, flavour=author.flavour)
    context = [*_good(author, 7), *_good(other)]
    return context, (author.make(8, b"8", lipmaalink=other.hashes[4]), b"8")


def after_end_of_log(author: Author) -> Crafted:
    context = [*_good(author), author.append(end=True)]
    return context, author.append()


def after_end_by_lipmaalink(author: Author) -> Crafted:
    context: list[Record] = [*_good(author, 3), author.append(end=True)]
    rest = author.grow(4)
    # Entry 8 names 4; with 5, 6 and 7 it is broken by them as well, so its own fault is first.
    return [*context, *rest[:3]], rest[3]


CASES: list[Callable[[Author], Crafted]] = [
    truncated,
    trailing_bytes,
    not_canonical,
    not_canonical_seq_num,
    not_canonical_size,
    not_canonical_hash,
    bad_tag,
    bad_seq_num,
    bad_hash_kind,
    bad_hash_size,
    bad_hash_endless,
    bad_signature,
    bad_author,
    bad_payload_hash,
    bad_payload_size,
    bad_backlink_absent,
    bad_backlink_too_far,
    bad_backlink_other_log,
    bad_backlink_other_author,
    bad_lipmaalink_absent,
    bad_lipmaalink_too_near,
    bad_lipmaalink_other_log,
    after_end_of_log,
    after_end_by_lipmaalink,
]
# What a crafted case's name does not begin with.
EXPECTED = {"bad_author": "bad_signature", "after_end_by_lipmaalink": "after_end_of_log"}


def _reason(case: Callable[[Author], Crafted]) -> Reason:
    name = EXPECTED.get(case.__name__, case.__name__)
    return next(reason for reason in Reason if name.startswith(reason))


def _last(records: list[Record]) -> Verdict:
    return verify_log(records).verdicts[-1]


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("case", CASES)
def test_one_broken_rule_is_one_finding(
    case: Callable[[Author], Crafted], flavour: Flavour
) -> None:
    context, crafted = case(Author(flavour=flavour))
    report = verify_log([*context, crafted])
    verdict = report.verdicts[-1]
    assert [finding.reason for finding in verdict.findings] == [_reason(case)]
    assert verdict.findings[0].expected != verdict.findings[0].found
    assert report.problems[-1].verdict == verdict
    about_links = _reason(case) in ("bad_backlink", "bad_lipmaalink", "after_end_of_log")
    assert verdict.standing is (Standing.BROKEN if about_links else Standing.REFUSED)
    assert not verdict.inherited


def test_no_reason_is_left_out() -> None:
    assert {_reason(case) for case in CASES} == set(Reason)


def test_the_rules_are_checked_in_order_and_all_of_them() -> None:
    """One entry that breaks nearly everything: the bytes in their order, then the signature,
    then the payload."""
    body = b"\x05" + Author().key + b"\xf8\x00" + b"\x00" + b"\x07" + b"\x00\x20" + bytes(32)
    verdict = _last([(body + bytes(64) + b"more", b"12")])
    assert [finding.reason for finding in verdict.findings] == [
        Reason.BAD_TAG,
        Reason.NOT_CANONICAL,
        Reason.BAD_SEQ_NUM,
        Reason.TRAILING_BYTES,
        Reason.BAD_SIGNATURE,
        Reason.BAD_PAYLOAD_HASH,
        Reason.BAD_PAYLOAD_SIZE,
    ]


def test_both_links_can_be_wrong_at_once_and_at_an_end() -> None:
    author = Author()
    context = [*author.grow(2), author.append(end=True), *author.grow(4)]
    wrong = author.make(8, b"8", backlink=author.hashes[3], lipmaalink=author.hashes[2])
    verdict = _last([*context, (wrong, b"8")])
    assert [finding.reason for finding in verdict.findings] == [
        Reason.BAD_BACKLINK,
        Reason.BAD_LIPMAALINK,
        Reason.AFTER_END_OF_LOG,
    ]


def test_a_refused_copy_does_not_harm_the_good_one() -> None:
    author = Author()
    records = author.grow(3)
    report = verify_log([*records, (records[1][0], b"another payload")])
    assert (report.refused, report.verified, report.known) == (1, 3, 0)


def test_what_stands_on_a_refused_entry_has_nothing_to_stand_on() -> None:
    author = Author()
    records = author.grow(6)
    records[2] = (records[2][0], b"not its payload")
    report = verify_log(records)
    standings = [verdict.standing for verdict in report.verdicts]
    assert standings == ["verified", "verified", "refused", "broken", "broken", "broken"]
    assert [verdict.inherited for verdict in report.verdicts[3:]] == [False, True, True]
    assert report.verdicts[5].reason == Reason.BAD_BACKLINK


def test_a_withheld_payload_is_no_fault_and_is_counted() -> None:
    records = [(data, None) for data, _ in Author().grow(3)]
    report = verify_log(records)
    assert report.all_verified
    assert report.withheld == 3
    assert verify_log(data for data, _ in records) == report


def test_a_payload_may_come_with_a_later_copy() -> None:
    records = Author().grow(3)
    report = verify_log([*((data, None) for data, _ in records), records[1]])
    assert (report.known, report.withheld) == (1, 2)


def test_flavours_may_be_mixed_within_one_log() -> None:
    """A link in BLAKE2b to an entry that uses BLAKE3 itself, and the other way round."""
    author = Author()
    records: list[Record] = []
    for number in range(1, 20):
        author.flavour = FLAVOURS[number % 2]
        data = author.make(number, b"")
        records.append((data, b""))
        author.flavour = FLAVOURS[(number // 2) % 2]
        author.hashes.append(yamf.hash_of(author.flavour, data))
    assert verify_log(records).all_verified
    assert verify_log(reversed(records)).all_verified
