"""A check finds every planted fault and cries over nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import setsync.store.check as check_module
from setsync.model.refusal import Refusal
from setsync.node import verifying
from setsync.store import layout, sketches
from setsync.store.check import Kind, Report, check
from setsync.store.check.log import Sampler
from setsync.store.contract import Origin, Refuser, RefuserKind
from setsync.store.environment import Transaction
from setsync.store.lmdb_store import Store
from tests.helpers import entries, withheld

COUNTS = {"notes": 120, "letters": 40, "system/x": 3}
ALL = sum(COUNTS.values())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Three collections, two of them with inner nodes, one with kept sketches and arrivals
    since. Every test leaves it as it was."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketches, "KEPT_FROM", 64)
        patch.setattr(sketches, "SPLIT_FROM", 64)
        patch.setattr(sketches, "CHECKPOINT_EVERY", 100)
        with Store.open(tmp_path_factory.mktemp("check") / "store") as opened:
            for name, count in COUNTS.items():
                half = entries(count, name)[: count // 2]
                opened.add_many(half, [(0, Origin(count, bytes(32)))])
                opened.add_many(
                    [*entries(count, name)[:-1], withheld(entries(count, name)[-1])],
                    [(0, Origin(count))],
                )
            opened.note_refused(
                Refuser(RefuserKind.OURS), "notes", [(bytes(32), Refusal.AUTHOR_BLOCKED)], 5
            )
            yield opened


def rows(store: Store, table: bytes) -> list[tuple[bytes, bytes]]:
    """Everything in a table."""
    env = store.environment
    with env.read() as transaction, transaction.cursor(db=env.table(table)) as cursor:
        return list(cursor.iternext())


def change(store: Store, table: bytes, key: bytes, value: bytes | None) -> None:
    """Write a row behind the store's back; None takes it away."""

    def work(transaction: Transaction) -> None:
        db = store.environment.table(table)
        if value is None:
            transaction.delete(key, db=db)
        else:
            transaction.put(key, value, db=db)

    store.environment.write(work)


def checked_with(
    store: Store, table: bytes, key: bytes, value: bytes | None, sample: int | None = None
) -> Report:
    """The report on a store with one row changed, which is then changed back."""
    before = dict(rows(store, table)).get(key)
    change(store, table, key, value)
    try:
        return check(store, sample=sample, chance=random.Random(1))
    finally:
        change(store, table, key, before)


def kinds(report: Report) -> set[Kind]:
    """What the findings are about."""
    return {finding.kind for finding in report.findings}


def test_a_sound_store_is_clean(store: Store) -> None:
    report = check(store)
    assert report.findings == []
    assert (report.entries, report.signatures, report.damage) == (ALL, ALL, 0)
    assert report.nodes == len(rows(store, layout.TRIE)) + len(rows(store, layout.MEMBERS))


def test_an_empty_store_is_clean(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as empty:
        assert check(empty) == Report()


def test_withheld_payloads_gaps_and_small_leaves_are_no_damage(tmp_path: Path) -> None:
    some = entries(60)
    with Store.open(tmp_path / "store", leaf_capacity=2) as small:
        small.add_many([withheld(entry) for entry in some[:20]])
        small.add_many(some[10:])
        assert small.last_arrival() > len(some)
        assert check(small).findings == []


# What these say is nowhere else; whether it can be read is all that a check can tell.
NOTES = (layout.BRINGERS, layout.REFUSED)


@pytest.mark.parametrize(
    "table", [table for table in layout.TABLES if table not in NOTES], ids=bytes.decode
)
def test_a_changed_byte_is_found_whatever_value_it_is_in(store: Store, table: bytes) -> None:
    """100 of 100 and more: sixteen in every table, any byte, any bit."""
    chance = random.Random(table)
    found = rows(store, table)
    for _ in range(16):
        key, value = chance.choice(found)
        at, bit = chance.randrange(len(value)), 1 << chance.randrange(8)
        changed = bytearray(value)
        changed[at] ^= bit
        report = checked_with(store, table, key, bytes(changed))
        assert report.damage, f"{table!r} {key.hex()}: bit {bit} of byte {at}"
    assert check(store).damage == 0


@pytest.mark.parametrize(
    "table",
    [
        layout.LOG,
        layout.MEMBERS,
        layout.TRIE,
        layout.COLLECTIONS,
        layout.NAMES,
        layout.OPENERS,
        layout.RECENT,
        layout.AUTHORS,
        layout.WITHHELD,
    ],
    ids=bytes.decode,
)
def test_a_missing_row_is_found(store: Store, table: bytes) -> None:
    for key, _ in rows(store, table)[:3]:
        assert checked_with(store, table, key, None).damage


@pytest.mark.parametrize("table", NOTES, ids=bytes.decode)
def test_a_note_that_cannot_be_read_is_found(store: Store, table: bytes) -> None:
    [(key, value)] = rows(store, table)
    for wrong in (value[:-1], value + b"\0"):
        assert kinds(checked_with(store, table, key, wrong)) == {Kind.TABLES}


def test_a_refusal_by_nobody_or_for_no_reason_is_found(store: Store) -> None:
    [(key, value)] = rows(store, layout.REFUSED)
    for wrong_key, wrong in ((b"\3" + key[1:], value), (key[:-1], value), (key, value[:-1] + b"c")):
        assert kinds(checked_with(store, layout.REFUSED, wrong_key, wrong)) == {Kind.TABLES}


def test_usage_and_withheld_rows_of_nobody_are_found(store: Store) -> None:
    stray = layout.pack_usage(layout.ONE_ENTRY + 5)
    assert kinds(checked_with(store, layout.AUTHORS, bytes(32), stray)) == {Kind.COUNTER}
    assert kinds(checked_with(store, layout.AUTHORS, bytes(32), stray[1:])) == {Kind.TABLES}
    for arrival in (1, 10_000):
        row = layout.arrival_key(arrival), layout.pack_size(9)
        assert kinds(checked_with(store, layout.WITHHELD, *row)) == {Kind.TABLES}


def test_a_dropped_payload_is_no_damage_and_one_that_only_looks_dropped_is(store: Store) -> None:
    key, value = rows(store, layout.LOG)[3]
    record = layout.unpack_log(value)
    id_ = record.short_id + bytes(24)
    dropped = layout.pack_log(record.collection, id_, record.header, None, dropped=True)
    assert kinds(checked_with(store, layout.LOG, key, dropped)) == {Kind.COUNTER}


def test_a_member_without_its_entry_is_named(store: Store) -> None:
    key, value = rows(store, layout.LOG)[7]
    report = checked_with(store, layout.LOG, key, None)
    lost = entries(COUNTS["notes"], "notes")[7]
    assert layout.unpack_log(value).header == lost.header
    assert any(
        finding.kind is Kind.MEMBERSHIP and lost.id.hex() in finding.sentence
        for finding in report.findings
    )


def test_an_entry_that_is_no_member_is_named(store: Store) -> None:
    stranger = entries(1, "notes", seed=9)[0]
    value = layout.pack_log(1, stranger.id, stranger.header, stranger.payload)
    report = checked_with(store, layout.LOG, layout.arrival_key(10_000), value)
    assert {Kind.MEMBERSHIP, Kind.COUNTER} <= kinds(report)
    assert any(stranger.id.hex() in finding.sentence for finding in report.findings)


def test_nodes_that_belong_to_nothing_are_found(store: Store) -> None:
    leaf = rows(store, layout.MEMBERS)[0][1]
    inner = rows(store, layout.TRIE)[0][1]
    number = layout.collection_key(1)
    strays = [
        (layout.MEMBERS, layout.leaf_key(number, "0123"), leaf),
        (layout.MEMBERS, layout.leaf_key(number, "ffff"), leaf),
        (layout.MEMBERS, layout.leaf_key(layout.collection_key(99), "0"), leaf),
        (layout.TRIE, layout.trie_key(number, "0123"), inner),
        (layout.TRIE, layout.trie_key(layout.collection_key(99), ""), inner),
        (layout.TRIE, number + b"\x01\xff", inner),
    ]
    for table, key, value in strays:
        report = checked_with(store, table, key, value)
        assert kinds(report) & {Kind.TRIE, Kind.TABLES}
        assert kinds(report) <= {Kind.TRIE, Kind.TABLES, Kind.SKETCH}
        assert report.damage


def test_a_trie_that_agrees_with_itself_but_not_with_the_log_is_found(store: Store) -> None:
    """Arrival numbers are in no digest; two of them exchanged are found all the same."""
    key, value = next(row for row in rows(store, layout.MEMBERS) if len(row[1]) >= 80)
    changed = value[:-16] + value[-8:] + value[-16:-8]
    assert kinds(checked_with(store, layout.MEMBERS, key, changed)) == {Kind.MEMBERSHIP}


def test_a_sample_spares_signatures_and_payloads_and_nothing_else(store: Store) -> None:
    assert check(store, sample=5).signatures == 5
    key, value = rows(store, layout.LOG)[0]
    payload = value[:-1] + b"\0"
    assert checked_with(store, layout.LOG, key, payload).damage == 1
    assert checked_with(store, layout.LOG, key, payload, sample=0).damage == 0
    header = value[:40] + b"\0" + value[41:]
    assert checked_with(store, layout.LOG, key, header, sample=0).damage


def test_a_sample_has_exactly_the_size_asked_for_and_prefers_nobody() -> None:
    chance = random.Random(1)
    taken = [0] * 10
    for _ in range(2000):
        sampler = Sampler(10, 3, chance)
        chosen = [sampler.takes() for _ in range(10)]
        assert sum(chosen) == 3
        taken = [old + new for old, new in zip(taken, chosen, strict=True)]
    assert all(500 < count < 700 for count in taken)
    everything = Sampler(4, 9, chance)
    assert [everything.takes() for _ in range(5)] == [True] * 4 + [False]


def test_other_processes_find_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "VERIFIERS_FROM", 1)
    monkeypatch.setattr(verifying, "VERIFY_JOB_ENTRIES", 10)
    key, value = rows(store, layout.LOG)[5]
    change(store, layout.LOG, key, value[:-1] + b"\0")
    try:
        alone = check(store)
        with verifying.beside(verifying.Verifiers(2)) as verify:
            together = check(store, verify=verify)
    finally:
        change(store, layout.LOG, key, value)
    assert alone == together
    assert alone.damage == 1


def test_progress_ends_at_its_total(store: Store) -> None:
    heard: list[tuple[str, int, int]] = []
    check(store, on_steps=lambda phase, done, total: heard.append((phase, done, total)))
    assert [phase for phase, _, _ in heard] == sorted((p for p, _, _ in heard), reverse=True)
    assert ("reading", ALL, ALL) in heard
    assert heard[-1] == ("checking", ALL, ALL)


def test_findings_are_counted_when_they_are_too_many_to_tell() -> None:
    report = Report()
    for number in range(check_module.MAX_FINDINGS + 5):
        report.found(Kind.TRIE, str(number))
    assert report.damage == check_module.MAX_FINDINGS + 5
    assert len(report.findings) == check_module.MAX_FINDINGS


def test_what_arrives_while_a_check_runs_is_no_damage(store: Store, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as busy:
        busy.add_many(entries(50))
        more = iter(entries(20, "letters"))

        def arrive(phase: str, done: int, total: int) -> None:
            busy.add_many([next(more), next(more)])
            busy.add_many(entries(60)[50:])

        assert check(busy, on_steps=arrive).findings == []
        assert check(busy).findings == []
