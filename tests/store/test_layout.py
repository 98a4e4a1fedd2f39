"""Golden bytes of every table, read out field by field, from a store that was really written.

A change that makes one of these fail changes the format on disk: raise FORMAT_VERSION, keep
reading the old one, and change docs/storage.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3

from setsync.errors import DamagedStoreError
from setsync.reconcile.digest import Summary, leaf_digest
from setsync.store import layout
from setsync.store.contract import Origin
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


def test_state_has_the_format_and_two_counters(
    tables: dict[str, list[tuple[bytes, bytes]]],
) -> None:
    assert tables["state"] == [
        (b"entries", (7).to_bytes(8, "big")),
        (b"format", (1).to_bytes(4, "big")),
        (b"last_arrival", (8).to_bytes(8, "big")),
    ]


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
    for at, wrong in ((0, 0), (0, 2), (1, 2), (1, 255), (14, 1)):
        with pytest.raises(DamagedStoreError):
            layout.unpack_log(value[:at] + bytes([wrong]) + value[at + 1 :])
    if payload is None:
        with pytest.raises(DamagedStoreError):
            layout.unpack_log(value + b"x")


def test_a_collection_record_reads_back_and_a_cut_one_is_damage() -> None:
    value = layout.pack_collection(Summary(3, bytes(range(32))), "é")
    assert layout.unpack_collection(value) == (Summary(3, bytes(range(32))), "é")
    for cut in (*range(41), 41):
        with pytest.raises(DamagedStoreError):
            layout.unpack_collection(value[:cut])
