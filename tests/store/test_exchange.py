"""The export file: its bytes are pinned, and no file makes the reader do anything but read."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterable

import msgpack
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from setsync.errors import ExportFileError
from setsync.limits import MAX_PAYLOAD
from setsync.model.entry import Entry, UnverifiedEntry, make_entry
from setsync.model.keys import SecretKey
from setsync.store import exchange
from setsync.store.contract import StoredEntry
from setsync.store.exchange import (
    Choice,
    chosen,
    entries_promised,
    read_export,
    write_export,
)
from setsync.store.memory import MemoryStore
from tests.helpers import entries, withheld


def exported(some: Iterable[Entry]) -> bytes:
    """An export file of these entries."""
    file = io.BytesIO()
    write_export(file, (StoredEntry(e.id, 0, e.collection, e.header, e.payload) for e in some))
    return file.getvalue()


def read(content: bytes) -> list[UnverifiedEntry]:
    """All entries of an export file."""
    return list(read_export(io.BytesIO(content)))


def bare(some: Iterable[Entry]) -> list[UnverifiedEntry]:
    """What an export file says of entries."""
    return [UnverifiedEntry(e.collection, e.header, e.payload) for e in some]


def test_a_file_is_pinned_byte_by_byte() -> None:
    """Version 1 is for ever: these bytes may never change."""
    key = SecretKey(bytes(range(32)))
    entry = make_entry(key, "notes", b"hello", 1)
    content = exported([entry, withheld(make_entry(key, "x", b"", 2))])
    about = b"[collection, header, payload or nil] an entry; " + (
        b"at the end [entries, blake3 of all before]"
    )
    header, second = entry.header, make_entry(key, "x", b"", 2).header
    before_the_end = b"".join(
        [
            b"\x93\xaesetsync-export\x01\xd9" + bytes([len(about)]) + about,
            b"\x93\xa5notes\xc4" + bytes([len(header)]) + header + b"\xc4\x05hello",
            b"\x93\xa1x\xc4" + bytes([len(second)]) + second + b"\xc0",
        ]
    )
    assert content == before_the_end + b"\x92\x02\xc4\x20" + blake3(before_the_end).digest()
    assert blake3(content).hexdigest() == (
        "6b738ee71eabc0ba99df50779e58fe0c1260cd4e9613d57ba7b83216211ca0b8"
    )


@given(st.integers(0, 20))
def test_what_is_written_is_read(count: int) -> None:
    some = entries(20)[:count]
    assert read(exported(some)) == bare(some)
    assert entries_promised(io.BytesIO(exported(some))) == count


@pytest.mark.parametrize("count", [0, 127, 128, 255, 256, 300, 65_536])
def test_the_end_promises_the_number_however_wide_it_is(count: int) -> None:
    end = msgpack.packb([count, bytes(32)])
    assert entries_promised(io.BytesIO(b"\x93" * 50 + end)) == count


def test_a_file_cut_anywhere_gives_the_whole_entries_before_the_cut() -> None:
    some = entries(4)
    content = exported(some)
    known = bare(some)
    for cut in range(len(content)):
        got: list[UnverifiedEntry] = []
        with pytest.raises(ExportFileError):
            _collect(content[:cut], got)
        assert got == known[: len(got)]
    assert read(content) == known


def _collect(content: bytes, into: list[UnverifiedEntry]) -> None:
    """As `read`, but what came before a fault is kept."""
    for entry in read_export(io.BytesIO(content)):
        into.append(entry)


def test_a_changed_byte_is_noticed_wherever_it_is() -> None:
    """The end covers every byte; what else complains does so earlier. (The words of the
    first item are covered as well.)"""
    content = exported(entries(2))
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1
        with pytest.raises(ExportFileError):
            read(bytes(changed))


def test_something_after_the_end_is_refused() -> None:
    with pytest.raises(ExportFileError, match="follows the end"):
        read(exported(entries(1)) + b"\0")


def test_another_version_and_another_file_are_told_apart() -> None:
    with pytest.raises(ExportFileError, match="version 2"):
        read(msgpack.packb([exchange.MAGIC, 2, "news"]))
    for content in (b"", b"\0", b"{}", msgpack.packb(["zip", 1, ""]), b"\x93" * 100):
        with pytest.raises(ExportFileError, match="not a setsync export"):
            read(content)


@given(st.binary(max_size=300))
def test_noise_after_good_entries_is_an_export_file_error(noise: bytes) -> None:
    good = exported(entries(1))[: -len(msgpack.packb([1, bytes(32)]))]
    got: list[UnverifiedEntry] = []
    with pytest.raises(ExportFileError):
        _collect(good + noise, got)
    assert got[:1] == bare(entries(1))


FIRST = msgpack.packb([exchange.MAGIC, exchange.VERSION, ""])


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(b"\xdd\xff\xff\xff\xff", id="an array of 4 billion"),
        pytest.param(b"\x93\xa1x\xc4\x00\xc6\xff\xff\xff\xff", id="a payload of 4 GiB"),
        pytest.param(b"\x93\xdb\xff\xff\xff\xff", id="a name of 4 GiB"),
        pytest.param(b"\x93" * 900_000, id="arrays in arrays"),
        pytest.param(b"\x93\x80\x80\x80" * 500_000, id="maps"),
        pytest.param(b"\x93\x81" * 500_000, id="maps in arrays"),
        pytest.param(b"\x93\xd4\x00\x00\x00\x00", id="an extension"),
        pytest.param(b"\x93\xa1x\xc4\x00" + b"\xc6\x00\xff\xff\xff" + bytes(100), id="a promise"),
    ],
)
def test_a_bomb_is_refused_and_costs_next_to_nothing(item: bytes) -> None:
    content = FIRST + item
    tracemalloc.start()
    try:
        with pytest.raises(ExportFileError):
            read(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20


def test_the_largest_payload_there_can_be_passes() -> None:
    content = FIRST + msgpack.packb(["x", b"h", bytes(MAX_PAYLOAD)])
    [entry] = _first(content, 1)
    assert len(entry.payload or b"") == MAX_PAYLOAD
    with pytest.raises(ExportFileError):
        read(FIRST + msgpack.packb(["x", b"h", bytes(MAX_PAYLOAD + 1)]))


def _first(content: bytes, count: int) -> list[UnverifiedEntry]:
    reader = read_export(io.BytesIO(content))
    return [next(reader) for _ in range(count)]


# --- choosing ---


def test_an_export_ends_with_what_had_arrived_when_it_began() -> None:
    """Or it might never end, while entries come faster than they are written."""
    store = MemoryStore()
    some = entries(6)
    store.add_many(some[:3])
    walk = chosen(store, Choice())
    first = next(walk)
    store.add_many(some[3:])
    assert [first.id, *(entry.id for entry in walk)] == [entry.id for entry in some[:3]]
