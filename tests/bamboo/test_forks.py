"""Forks: found, told once, under one id; and not where there is none."""

from __future__ import annotations

import random
from collections.abc import Sequence

import cbor2
import pytest
from blake3 import blake3

from bamboo_compat.core import Fork, ForkKind, verify_log, yamf
from bamboo_compat.core.forks import fork_id
from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.core.yamf import Flavour
from tests.bamboo.logs import FLAVOURS, Author, Record, signed


def forked(flavour: Flavour = Flavour.YASMF) -> tuple[list[Record], Author, Author]:
    """A log that parts after entry 3, 5 more on one side and 2 on the other."""
    one = Author(flavour=flavour)
    common = one.grow(3)
    two = one.copy()
    return [*common, *one.grow(5, "one"), *two.grow(2, "two")], one, two


def the_fork(records: Sequence[Record], *, partial: bool = False, profile: str = "rfc0001") -> Fork:
    """The only one."""
    [fork] = verify_log(records, partial=partial, profile=PROFILES[profile]).forks
    return fork


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_branch_is_told_once_with_both_sides(flavour: Flavour) -> None:
    records, one, two = forked(flavour)
    fork = the_fork(records)
    assert (fork.kind, fork.author, fork.log_id, fork.seq_num) == ("branch", one.key, 1024, 4)
    parent = yamf.hash_of(Flavour.YASMF, records[2][0])
    assert fork.parent == parent
    assert {branch.hash: (branch.length, branch.head) for branch in fork.branches} == {
        one.hashes[4]: (5, one.hashes[8]),
        two.hashes[4]: (2, two.hashes[5]),
    }
    layout = b"\x01" + one.key + (1024).to_bytes(8, "big") + (4).to_bytes(8, "big") + parent
    assert fork.id == blake3(layout).digest()


def test_the_log_is_trusted_up_to_the_entry_before() -> None:
    report = verify_log(forked()[0])
    assert report.all_verified  # links are right on both sides
    assert report.logs[0].trusted == 3
    assert [head.seq_num for head in report.logs[0].heads] == [5, 8]


def test_any_order_finds_the_same_under_the_same_id() -> None:
    records, _, _ = forked()
    chance = random.Random(1)
    told = set()
    for _ in range(50):
        chance.shuffle(records)
        told.add(verify_log(records).forks)
    assert len(told) == 1


def test_more_branches_make_no_more_reports() -> None:
    author = Author()
    common = author.grow(2)
    sides = [author.copy() for _ in range(5)]
    records = [
        *common,
        *(record for n, side in enumerate(sides) for record in side.grow(n + 1, f"{n}")),
    ]
    fork = the_fork(records)
    assert sorted(branch.length for branch in fork.branches) == [1, 2, 3, 4, 5]
    assert fork.id == the_fork(records[:6]).id  # as it was with fewer branches


def test_a_branch_that_parts_again_is_a_second_fork() -> None:
    records, _, two = forked()
    three = two.copy()
    records += [*two.grow(1, "two"), *three.grow(1, "three")]
    assert [fork.seq_num for fork in verify_log(records).forks] == [4, 6]


def test_a_branch_is_as_long_as_its_longest_way_on() -> None:
    for short in range(1, 9):  # which of the two is met first depends on their hashes
        long = short + 1
        records, _, two = forked()
        outer = two.copy()
        records += [*two.grow(long, f"long {short}"), *outer.grow(short, f"short {short}")]
        first = verify_log(records).forks[0]
        side = next(branch for branch in first.branches if branch.hash == two.hashes[4])
        assert (side.length, side.head) == (2 + long, two.hashes[-1])


def test_a_lipmaalink_to_the_end_of_another_branch_is_after_the_end() -> None:
    one = Author()
    common = one.grow(3)
    two = one.copy()
    end = one.append(end=True)
    rest = two.grow(4)
    wrong = two.make(8, b"8", lipmaalink=one.hashes[4])
    report = verify_log([*common, end, *rest, (wrong, b"8")])
    assert report.verdicts[-1].reason == "after_end_of_log"
    assert [fork.kind for fork in report.forks] == [ForkKind.BRANCH, ForkKind.AFTER_END]


def test_two_first_entries_have_no_parent() -> None:
    author = Author()
    records = [*author.copy().grow(3, "a"), *author.copy().grow(2, "b")]
    fork = the_fork(records)
    assert (fork.seq_num, fork.parent) == (1, b"")
    assert verify_log(records).logs[0].trusted == 0


def test_where_parents_are_missing_the_fork_is_certain_and_its_place_is_not() -> None:
    records, _, _ = forked()
    fourth, fifth, other_fifth = records[3], records[4], records[9]
    for some in ([fifth, other_fifth], [fourth, fifth, other_fifth]):
        fork = the_fork(some, partial=True)
        assert (fork.seq_num, fork.parent, len(fork.branches)) == (5, b"", 2)
    whole = the_fork([*some, records[8]], partial=True)
    # Both fourth entries are here now and name one parent, though that is not here.
    assert (whole.seq_num, whole.parent) == (4, yamf.hash_of(Flavour.YASMF, records[2][0]))
    assert whole.id == the_fork(records).id


def test_what_follows_the_end_is_a_fork() -> None:
    author = Author()
    records: list[Record] = [*author.grow(4), author.append(end=True), *author.grow(3)]
    report = verify_log(records)
    [fork] = report.forks
    assert (fork.kind, fork.seq_num) == (ForkKind.AFTER_END, 6)
    assert fork.parent == author.hashes[5]
    assert [(branch.hash, branch.length) for branch in fork.branches] == [(author.hashes[6], 3)]
    assert (report.broken, report.inherited, report.logs[0].trusted) == (3, 2, 5)
    assert report.logs[0].ended
    assert fork.id == fork_id(fork.kind, author.key, 1024, 6, author.hashes[5])
    # The marker and the one that links to it are enough, under the same id.
    assert the_fork([records[4], records[5]], partial=True).id == fork.id


def test_an_entry_after_an_end_counts_only_if_it_links_to_it() -> None:
    author = Author()
    records: list[Record] = [*author.grow(4), author.append(end=True), *author.grow(3)]
    # Entry 8 links to 7 and 4. It may be on a branch of which 5 to 7 are not here.
    assert not verify_log([*records[:5], records[7]], partial=True).forked
    assert not verify_log([*records[:5], records[7]]).forked


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_lipmaalink_to_the_end_is_enough(flavour: Flavour) -> None:
    author = Author(flavour=flavour)
    records: list[Record] = [*author.grow(3), author.append(end=True), *author.grow(4)]
    fork = the_fork([records[3], records[7]], partial=True)
    assert (fork.kind, fork.seq_num) == (ForkKind.AFTER_END, 5)
    assert [branch.seq_num for branch in fork.branches] == [8]


def test_another_branch_may_go_on_where_one_ended() -> None:
    author = Author()
    common = author.grow(4)
    other = author.copy()
    records = [*common, author.append(end=True), *other.grow(4, "on")]
    assert the_fork(records).kind is ForkKind.BRANCH


def test_an_end_without_more_is_no_fork() -> None:
    author = Author()
    report = verify_log([*author.grow(4), author.append(end=True)])
    assert report.all_verified
    assert not report.forked


def operation(schema: str) -> bytes:
    """A payload that creates something."""
    encoded: bytes = cbor2.dumps([1, 0, schema, {"a": 1}])
    return encoded


def test_one_schema_in_two_logs_is_one_fork_however_many_logs() -> None:
    logs = [Author(log_id=log_id) for log_id in (1030, 1024, 1040)]
    records = [log.append(operation("a_schema")) for log in logs]
    records.append(Author(log_id=1050).append(operation("another")))
    records.append(Author(2, log_id=1060).append(operation("a_schema")))
    fork = the_fork(records)
    assert (fork.kind, fork.subject) == (ForkKind.DOUBLE_SCHEMA, "a_schema")
    assert [branch.log_id for branch in fork.branches] == [1024, 1030, 1040]
    assert fork.id == the_fork(records[:2]).id
    assert fork.id == blake3(b"\x02" + logs[0].key + bytes(16) + b"a_schema").digest()
    trusted = {state.log_id: state.trusted for state in verify_log(records).logs}
    assert trusted == {1024: 0, 1030: 0, 1040: 0, 1050: 1, 1060: 1}


def test_a_schema_that_is_called_like_a_document_is_another_fork() -> None:
    """The author's document in hex is a schema, too: one fork by each profile."""
    one, other = Author(log_id=0), Author(log_id=1)
    made = one.append(operation("x"))
    document = one.hashes[1].hex()
    changed = other.append(cbor2.dumps([1, 1, "x", [one.hashes[1]], {}]))
    of_document = the_fork([made, changed], profile="aquadoggo")
    logs = [Author(log_id=log_id) for log_id in (2000, 2001)]
    of_schema = the_fork([log.append(operation(document)) for log in logs])
    assert of_document.subject == of_schema.subject == document
    assert of_document.id != of_schema.id
    layout = b"\x04" + one.key + bytes(16) + document.encode()
    assert of_document.id == blake3(layout).digest()


# --- evidence that is none ----------------------------------------------------------------


def test_forged_evidence_shows_nothing() -> None:
    records, one, _ = forked()
    first, second = records[3], records[8]
    another = Author(2)
    another.grow(3)
    elsewhere = Author(log_id=9)
    elsewhere.grow(3)
    body = one.make(4, b"invented")[:-64]
    forgeries = {
        "equal": first,
        "of another author": another.append(),
        "of another log": elsewhere.append(),
        "with a bad signature": (signed(2, body), b"invented"),
        "with a signature of another entry": (body + second[0][-64:], b"invented"),
        "cut short": (second[0][:-1], second[1]),
        "with a payload that is not its own": (second[0], b"invented"),
        "with the author changed": (second[0][:1] + another.key + second[0][33:], second[1]),
    }
    for name, forgery in forgeries.items():
        for order in ([first, forgery], [forgery, first]):
            assert not verify_log(order, partial=True).forked, name
    assert verify_log([first, second], partial=True).forked


def test_a_thousand_forged_pairs_show_nothing() -> None:
    records, _, _ = forked()
    chance = random.Random(3)
    for _ in range(1000):
        changed = bytearray(records[8][0])
        changed[chance.randrange(len(changed))] ^= chance.randrange(1, 256)
        assert not verify_log([records[3], (bytes(changed), None)], partial=True).forked
