"""Golden bytes of every table, read out field by field, from a store that was really written.

A change that makes one of these fail changes the format on disk: raise FORMAT_VERSION, keep
reading the old one, and change docs/storage.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3

from setsync.errors import DamagedStoreError
from setsync.model.refusal import Refusal
from setsync.reconcile.digest import Summary, leaf_digest
from setsync.store import layout
from setsync.store.contract import Origin, Refuser, RefuserKind
from setsync.store.lmdb_store import Store
from tests.helpers import entries, keys, withheld


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, list[tuple[bytes, bytes]]]:
    """Every table of a store that holds five entries of `notes` and two of `other`."""
    notes, other = entries(5), entries(2, "other")
    with Store.open(tmp_path, leaf_capacity=4) as store:
        store.add_many([*notes[:3], withheld(other[0])])
        store.add_many([notes[0], *notes[3:], other[1]], [(0, None), (2, Origin(5, bytes(32)))])
        env = store.environment
        found: dict[str, list[tuple[bytes, bytes]]] = {}
        with env.read() as transaction:
            for name in layout.TABLES:
                with transaction.cursor(db=env.table(name)) as cursor:
                    found[name.decode()] = list(cursor.iternext())
    return found


def test_the_log_has_arrival_number_then_collection_header_and_payload(
    tables: dict[str, list[tuple[bytes, bytes]]],
) -> None:
    order = [*entries(5)[:3], entries(2, "other")[0], *entries(5)[3:], entries(2, "other")[1]]
    # The second batch begins with a known entry, which leaves number 5 unused.
    assert [int.from_bytes(key, "big") for key, _ in tables["log"]] == [1, 2, 3, 4, 6, 7, 8]
    assert all(len(key) == 8 for key, _ in tables["log"])
    for (_, value), entry in zip(tables["log"], order, strict=True):
        assert value[0] == 1, "kind: an entry"
        without = entry is entries(2, "other")[0]
        assert value[1] == (1 if without else 0), "payload: 0 here, 1 withheld"
        assert value[2:6] == (1 if entry.collection == "notes" else 2).to_bytes(4, "big")
        assert value[6:14] == entry.id[:8], "short id"
        assert value[14:18] == len(entry.header).to_bytes(4, "big")
        assert value[18 : 18 + len(entry.header)] == entry.header
        assert value[18 + len(entry.header) :] == (b"" if without else entry.payload)


def test_names_and_collections_point_at_each_other(
    tables: dict[str, list[tuple[bytes, bytes]]],
) -> None:
    assert tables["names"] == [(b"notes", b"\0\0\0\1"), (b"other", b"\0\0\0\2")]
    (first, notes), (second, other) = tables["collections"]
    assert (first, second) == (b"\0\0\0\1", b"\0\0\0\2")
    assert notes[:8] == (5).to_bytes(8, "big"), "count"
    assert notes[40:] == b"notes"
    ids = sorted(entry.id for entry in entries(2, "other"))
    assert other == (2).to_bytes(8, "big") + leaf_digest(b"".join(ids)) + b"other"


def test_members_are_leaves_ids_first_and_then_their_arrival_numbers(
    tables: dict[str, list[tuple[bytes, bytes]]],
) -> None:
    arrivals = {entry.id: n for entry, n in zip(entries(5), (1, 2, 3, 6, 7), strict=True)}
    leaves = [(key, value) for key, value in tables["members"] if key[:4] == b"\0\0\0\1"]
    found: list[bytes] = []
    for key, value in leaves:
        digit = key[4:5]
        assert len(key) == 5
        assert digit[0] & 15 == 0, "an odd last digit is filled up with 0"
        count = len(value) // 40
        ids = [value[at : at + 32] for at in range(0, 32 * count, 32)]
        assert all(id_[0] >> 4 == digit[0] >> 4 for id_ in ids)
        assert value[32 * count :] == b"".join(arrivals[id_].to_bytes(8, "big") for id_ in ids)
        found += ids
    assert found == sorted(arrivals)
    (root_leaf,) = [(key, value) for key, value in tables["members"] if key[:4] == b"\0\0\0\2"]
    ids = sorted(entry.id for entry in entries(2, "other"))
    numbers = {entries(2, "other")[0].id: 4, entries(2, "other")[1].id: 8}
    assert root_leaf == (
        b"\0\0\0\2",
        b"".join(ids) + b"".join(numbers[id_].to_bytes(8, "big") for id_ in ids),
    )


def test_the_trie_has_inner_nodes_alone_sixteen_times_count_and_digest(
    tables: dict[str, list[tuple[bytes, bytes]]],
) -> None:
    ((key, value),) = tables["trie"]
    assert key == b"\0\0\0\1" + b"\0", "collection 1, depth 0, no digits"
    assert len(value) == 640
    for digit in range(16):
        ids = sorted(entry.id for entry in entries(5) if entry.id[0] >> 4 == digit)
        count, digest = value[40 * digit : 40 * digit + 8], value[40 * digit + 8 : 40 * digit + 40]
        assert count == len(ids).to_bytes(8, "big")
        assert digest == leaf_digest(b"".join(ids))


def test_openers_count_the_collections_of_an_author(
    tables: dict[str, list[tuple[bytes, bytes]]],
) -> None:
    assert tables["openers"] == [(keys(1)[0].public, (2).to_bytes(8, "big"))]


def test_origins_tell_from_which_arrival_to_which_who_brought_them_and_when(
    tables: dict[str, list[tuple[bytes, bytes]]],
) -> None:
    [(key, value)] = tables["origins"]
    told = (8).to_bytes(8, "big") + (5).to_bytes(8, "big") + bytes(32)
    assert key == (7).to_bytes(8, "big")
    assert value == told + blake3(key + told).digest()[:4]


def test_state_has_the_format_two_counters_and_that_usage_was_counted(
    tables: dict[str, list[tuple[bytes, bytes]]],
) -> None:
    assert tables["state"] == [
        (b"entries", (7).to_bytes(8, "big")),
        (b"format", (1).to_bytes(4, "big")),
        (b"last_arrival", (8).to_bytes(8, "big")),
        (b"usage", b"\x01"),
    ]


def test_authors_have_entries_and_bytes(tables: dict[str, list[tuple[bytes, bytes]]]) -> None:
    size = sum(entry.size for entry in (*entries(5), *entries(2, "other")))
    size -= len(entries(2, "other")[0].payload or b"")
    expected = (7).to_bytes(8, "big") + size.to_bytes(8, "big")
    assert tables["authors"] == [(keys(1)[0].public, expected)]


def test_bringers_have_the_day_entries_and_bytes_of_what_was_new(
    tables: dict[str, list[tuple[bytes, bytes]]],
) -> None:
    [(peer, value)] = tables["bringers"]
    size = entries(5)[4].size + entries(2, "other")[1].size
    assert peer == bytes(32)
    assert value == bytes(4) + (2).to_bytes(8, "big") + size.to_bytes(8, "big")


def test_withheld_has_the_size_that_the_header_says(
    tables: dict[str, list[tuple[bytes, bytes]]],
) -> None:
    size = len(entries(2, "other")[0].payload or b"")
    assert tables["withheld"] == [((4).to_bytes(8, "big"), size.to_bytes(8, "big"))]


def test_refused_has_who_where_and_what_then_when_and_why(tmp_path: Path) -> None:
    peer, id_ = bytes(range(32)), b"i" * 32
    with Store.open(tmp_path) as store:
        noted = [(id_, Refusal.PEER_QUOTA)]
        store.note_refused(Refuser(RefuserKind.THEIRS, peer), "notes", noted, 7)
        env = store.environment
        with env.read() as transaction, transaction.cursor(db=env.table(b"refused")) as cursor:
            [(key, value)] = list(cursor.iternext())
    assert key == b"\2" + peer + blake3(b"notes").digest()[:8] + id_
    assert value == (7).to_bytes(8, "big") + b"\4"


def test_days_are_utc_and_the_last_one_never_ends() -> None:
    assert [layout.day_of(at) for at in (0, 86_399_999, 86_400_000)] == [0, 0, 1]
    assert layout.day_of(2**64 - 1) == 2**32 - 1


def test_a_dropped_payload_is_state_2_with_nothing_behind_the_header() -> None:
    value = layout.pack_log(9, b"i" * 32, b"header", None, dropped=True)
    assert value == b"\1\2" + (9).to_bytes(4, "big") + b"i" * 8 + (6).to_bytes(4, "big") + b"header"
    expected = layout.LogRecord(9, b"i" * 8, b"header", None, dropped=True)
    assert layout.unpack_log(value) == expected


def test_rows_of_another_length_are_damage() -> None:
    for unpack in (layout.unpack_usage, layout.unpack_brought, layout.unpack_size):
        for length in (0, 7, 15, 19, 21):
            with pytest.raises(DamagedStoreError):
                unpack(bytes(length))


def test_keys_of_nodes() -> None:
    seven = layout.collection_key(7)
    assert layout.trie_key(seven, "") == bytes.fromhex("0000000700")
    assert layout.trie_key(seven, "abc") == bytes.fromhex("0000000703abc0")
    assert layout.leaf_key(seven, "") == bytes.fromhex("00000007")
    assert layout.leaf_key(seven, "abc") == bytes.fromhex("00000007abc0")
    assert layout.leaf_key(seven, "abcd") == bytes.fromhex("00000007abcd")
    assert len(layout.trie_key(seven, "0" * 64)) == 37


@pytest.mark.parametrize("payload", [None, b"", b"some text"])
def test_a_log_record_reads_back_and_every_cut_or_foreign_byte_in_its_head_is_damage(
    payload: bytes | None,
) -> None:
    value = layout.pack_log(9, b"i" * 32, b"header", payload)
    assert layout.unpack_log(value) == layout.LogRecord(9, b"i" * 8, b"header", payload)
    for cut in range(18 + 6):
        with pytest.raises(DamagedStoreError):
            layout.unpack_log(value[:cut])
    for at, wrong in ((0, 0), (0, 2), (1, 3), (1, 255), (14, 1)):
        with pytest.raises(DamagedStoreError):
            layout.unpack_log(value[:at] + bytes([wrong]) + value[at + 1 :])
    for state in (1, 2) if payload else ():
        with pytest.raises(DamagedStoreError):
            layout.unpack_log(value[:1] + bytes([state]) + value[2:])
    if payload is None:
        with pytest.raises(DamagedStoreError):
            layout.unpack_log(value + b"x")


def test_a_collection_record_reads_back_and_a_cut_one_is_damage() -> None:
    value = layout.pack_collection(Summary(3, bytes(range(32))), "é")
    assert layout.unpack_collection(value) == (Summary(3, bytes(range(32))), "é")
    for cut in (*range(41), 41):
        with pytest.raises(DamagedStoreError):
            layout.unpack_collection(value[:cut])
