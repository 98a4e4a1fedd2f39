"""Golden bytes: the index's tables, read out of a real store field by field."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from bamboo_compat.core.forks import fork_id
from bamboo_compat.core.report import ForkKind, Standing
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.set import layout
from bamboo_compat.set.layout import Flag, ForkRow, Level, LogRow, Node, unpack_node
from setsync.errors import DamagedStoreError
from setsync.store.lmdb_store import Store
from tests.bamboo.histories import member
from tests.bamboo.logs import Author

OPERATION = b"\x83\x01\x00\x63one"

Rows = dict[str, list[tuple[bytes, bytes]]]


def number(value: int, size: int = 8) -> bytes:
    return value.to_bytes(size, "big")


@pytest.fixture
def author() -> Author:
    return Author()


@pytest.fixture
def tables(tmp_path: Path, author: Author) -> Rows:
    """A log of four entries, the fourth twice, and of the fifth the end without its payload;
    the second of another log, which hashes with BLAKE2b and waits for the first."""
    common = author.grow(3)
    other = author.copy()
    fourths = [author.append(OPERATION), other.append(b"other")]
    end, _ = author.append(b"end", end=True)
    waiting = Author(2, flavour=Flavour.YAMF)
    missing, _ = waiting.append(b"missing")
    records = [*common, *fourths, (end, None), waiting.append(OPERATION)]
    with Store.open(tmp_path / "store") as store:
        store.add_many([member(record) for record in records])
        env = store.environment
        with env.read() as transaction:
            found: Rows = {}
            for name in layout.TABLES:
                with transaction.cursor(db=env.table(name)) as cursor:
                    found[name.decode()] = list(cursor.iternext())
    found["missing"] = [(missing, b"")]
    found["ids"] = [(blake3(data).digest(), data) for data, _ in records]
    return found


def ids(tables: Rows) -> list[bytes]:
    return [id_ for id_, _ in tables["ids"]]


def test_logs_have_a_number_and_nine_counters(tables: Rows, author: Author) -> None:
    key = author.key + number(1024)
    counters = (5, 5, 6, 6, 0, 0, 0, 1, 1)
    assert dict(tables["bamboo.logs"])[key] == number(1, 4) + b"".join(map(number, counters))
    assert dict(tables["bamboo.numbers"])[number(1, 4)] == key


def test_nodes_have_arrivals_standing_flags_and_links(tables: Rows) -> None:
    one, two, three, four, other, five, waiting = ids(tables)
    nodes = dict(tables["bamboo.nodes"])
    assert len(nodes) == 7
    first = nodes[number(1, 4) + number(1) + one]
    assert first == number(1) + number(1) + b"\x01" + number(512 + 2048, 2)
    third = nodes[number(1, 4) + number(3) + three]
    assert third == number(3) + number(3) + b"\x01" + number(8 + 32 + 512 + 2048, 2) + b"\x20" + two
    for id_, arrival in ((four, 4), (other, 5)):
        fourth = nodes[number(1, 4) + number(4) + id_]
        flags = number(8 + 16 + 32 + 64 + 512 + 2048, 2)
        assert fourth == number(arrival) * 2 + b"\x01" + flags + b"\x20" + three + b"\x20" + one
    fifth = nodes[number(1, 4) + number(5) + five]
    flags = number(1 + 2 + 8 + 32 + 512, 2)
    assert fifth == number(6) + number(0) + b"\x01" + flags + b"\x20" + four
    second = nodes[number(2, 4) + number(2) + waiting]
    assert second[:19] == number(7) * 2 + b"\x00" + number(8 + 512 + 2048, 2)


def test_names_are_the_beginnings_of_both_hashes(tables: Rows) -> None:
    one, data = tables["ids"][0]
    place = number(1, 4) + number(1) + one[:8]
    names = {key for key, _ in tables["bamboo.names"]}
    assert {one[:8] + place, blake2b(data).digest()[:8] + place} <= names
    assert len(names) == 14


def test_loose_links_heads_levels_and_contested_numbers(tables: Rows) -> None:
    one, _, three, four, other, five, waiting = ids(tables)
    second = number(2, 4) + number(2) + waiting
    missing = b"\x40" + blake3(blake2b(tables["missing"][0][0]).digest()).digest()
    assert dict(tables["bamboo.nodes"])[second][19:] == missing
    assert tables["bamboo.loose"] == [(missing + b"\x00" + second, b"")]
    level = number(1, 4) + number(4)
    heads = {key for key, _ in tables["bamboo.heads"]}
    assert heads == {level + other, number(1, 4) + number(5) + five, second}
    assert tables["bamboo.levels"] == [(level, number(2) + number(1) + number(0))]
    assert {key for key, _ in tables["bamboo.contested"]} == {
        level + link + b"\x20" + target + id_
        for link, target in ((b"\x00", three), (b"\x01", one))
        for id_ in (four, other)
    }


def test_subjects_and_schemas(tables: Rows, author: Author) -> None:
    four = number(1, 4) + number(4) + ids(tables)[3]
    name = blake3(b"\x01" + author.key + b"one").digest()
    assert dict(tables["bamboo.subjects"])[name + number(1024)] == four
    schema = blake3(b"one").digest()[:16]
    assert tables["bamboo.schemas"] == [
        (b"\x00\x01" + schema, b"one"),
        (b"\x01\x01" + schema + number(1, 4), b""),
        (b"\x01\x01" + schema + number(2, 4), b""),
        (b"\x02" + number(1, 4) + b"\x01" + schema, b""),
        (b"\x02" + number(2, 4) + b"\x01" + schema, b""),
    ]


def test_forks_doubts_and_state(tables: Rows, author: Author) -> None:
    parent = b"\x00\x20" + ids(tables)[2]
    fork = fork_id(ForkKind.BRANCH, author.key, 1024, 4, parent)
    row = b"\x01\x00" + number(1, 4) + number(4) + number(5) + parent
    assert tables["bamboo.forks"] == [(fork, row)]
    assert tables["bamboo.doubts"] == [(number(1, 4) + number(4) + fork, b"")]
    assert tables["bamboo.state"] == [(b"logs", number(2, 4)), (b"version", number(2, 4))]


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 2**64 - 1),
    st.binary(min_size=32, max_size=32),
    st.sampled_from([Standing.WAITING, Standing.VERIFIED, Standing.BROKEN]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 34, 66]),
)
def test_a_node_reads_back_as_it_was_written(
    log: int,
    seq_num: int,
    id_: bytes,
    standing: Standing,
    backlink: bool,
    lipmaalink: bool,
    document: int,
) -> None:
    flags = Flag.HAS_BACKLINK * backlink | Flag.HAS_LIPMAALINK * lipmaalink | Flag.RFC0001
    links = (b"b" * 33 * backlink, b"l" * 33 * lipmaalink)
    node = Node(log, seq_num, id_, 7, 9, standing, flags, *links, bytes(document))
    again = unpack_node(node.key, node.pack())
    assert all(getattr(again, name) == getattr(node, name) for name in Node.__slots__)


def test_a_record_that_is_cut_is_damage() -> None:
    node = Node(1, 1, bytes(32), 1, 1, Standing.VERIFIED, 0, b"", b"", b"")
    for cut in range(len(node.pack())):
        with pytest.raises(DamagedStoreError):
            unpack_node(node.key, node.pack()[:cut])
    for record, unpack in (
        (LogRow(1).pack(), LogRow.unpack),
        (Level(2, 1, 0).pack(), Level.unpack),
        (ForkRow(1, 0, 1, 1, 1, b"").pack(), ForkRow.unpack),
    ):
        unpack(record)
        with pytest.raises(DamagedStoreError):
            unpack(record[:-1])
