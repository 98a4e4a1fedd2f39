"""An entry's bytes: one spelling each, read strictly, whatever is thrown at the reader."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bamboo_compat.core import entry as entries
from bamboo_compat.core import examine, varu64, yamf
from bamboo_compat.core.examining import examine_first
from bamboo_compat.core.lipmaa import has_lipmaalink
from bamboo_compat.core.report import Finding, Problem, Reason
from bamboo_compat.core.yamf import Flavour
from tests.bamboo.logs import FLAVOURS, Author, seed

# An entry made by p2panda-js 0.8.1, the 13th of its log: both links are there.
GOLDEN = bytes.fromhex(
    "00dbc3052aff041bdf4a87c53aa0003e8c203fbd1e8194175aa4738441ae4fd9a0f904000d0020f10ffd822a6631"
    "97d1524f61b72109071ac50430139449725f557b378b83992f00206ce93a0d6bd9ae543c5f54959d173f26deba66"
    "68bb494cf1d123fc438b3279900a0020507f3f291c1700d24808c38d440e1b82c30be4e2cfad2ef6365caafee5d2"
    "bfdbe7a91dd0d004c28205f181d17210f921ffd9a7e144b4c1c30096ef666dcfce3b8cdcc4d37b4744571bc267b7"
    "a42f1fdb924ffe52baff6a329834e6c95d06c60c"
)


def test_golden_bytes_field_by_field() -> None:
    entry = entries.decode(GOLDEN)
    assert not entry.end_of_log
    assert GOLDEN[0] == 0
    assert entry.author == GOLDEN[1:33]
    assert (entry.log_id, GOLDEN[33:36].hex()) == (1024, "f90400")
    assert (entry.seq_num, GOLDEN[36]) == (13, 13)
    assert entry.lipmaalink == GOLDEN[37:71]
    assert entry.backlink == GOLDEN[71:105]
    assert (entry.payload_size, GOLDEN[105]) == (10, 10)
    assert entry.payload_hash == GOLDEN[106:140] == yamf.hash_of(Flavour.YASMF, b"payload 13")
    assert entry.signature == GOLDEN[140:]
    assert not isinstance(examine(GOLDEN, b"payload 13"), Problem)


def test_our_own_golden_bytes_in_blake2b() -> None:
    data = entries.sign(seed(1), 248, 1, b"hello bamboo!", flavour=Flavour.YAMF, end_of_log=True)
    assert data.hex() == (
        "018a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5cf8f8010d0040"
        # BLAKE2b-512 of "hello bamboo!", as in bamboo-rs's vectors of an older layout
        "69db5208a271c53de8a1b6220e6a4d7fcccd89e6c0c7e75c833e34dc68d932624f2ccf27513f42fb7d0e4390a9"
        "9b225bad41ba14a6297537246dbe4e6ce150e8" + data[-64:].hex()
    )


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (0, "00"),
        (247, "f7"),
        (248, "f8f8"),
        (255, "f8ff"),
        (256, "f90100"),
        (65535, "f9ffff"),
        (65536, "fa010000"),
        (2**56, "ff0100000000000000"),
        (2**64 - 1, "ffffffffffffffffff"),
    ],
)
def test_varu64_as_its_specification_has_it(number: int, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    assert varu64.encode(number) == data
    assert varu64.read(data, 0) == (number, len(data))
    assert varu64.canonical_width(number) == len(data)
    for cut in range(len(data)):
        with pytest.raises(IndexError):
            varu64.read(data[:cut], 0)


@pytest.mark.parametrize("number", [-1, 2**64])
def test_varu64_has_64_bits(number: int) -> None:
    with pytest.raises(ValueError, match="64-bit"):
        varu64.encode(number)


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_varu64_comes_back(number: int, before: bytes, after: bytes) -> None:
    data = before + varu64.encode(number) + after
    assert varu64.read(data, len(before)) == (number, len(data) - len(after))


def samples() -> list[bytes]:
    """Entries 1, 2, 4 and an end of log, in both flavours, with short and long log ids; and
    entries 247 to 249, with payloads of sizes around the first that takes two bytes."""
    found: list[bytes] = []
    for flavour in FLAVOURS:
        for log_id in (0, 247, 248, 2**64 - 1):
            author = Author(log_id=log_id, flavour=flavour)
            made = [*author.grow(4), author.append(end=True)]
            found.extend(made[at][0] for at in (0, 1, 3, 4))
        wide = Author(flavour=flavour)
        made = [*wide.grow(246), *(wide.append(bytes(size)) for size in (247, 248, 300))]
        found.extend(data for data, _ in made[246:])
    return found


SAMPLES = samples()


@pytest.mark.parametrize("data", SAMPLES)
def test_what_is_encoded_decodes_to_itself(data: bytes) -> None:
    assert entries.encode(entries.decode(data)) == data
    assert len(data) <= entries.MAX_ENTRY


def test_the_largest_entry_there_can_be_is_as_long_as_the_limit() -> None:
    most = 2**64 - 1
    seq_num = next(number for number in range(2**63, most) if has_lipmaalink(number))
    tagged = yamf.hash_of(Flavour.YAMF, b"")
    largest = entries.Entry(True, bytes(32), most, seq_num, tagged, tagged, most, tagged, bytes(64))
    data = entries.encode(largest)
    assert entries.decode(data) == largest
    assert len(data) == entries.MAX_ENTRY


@pytest.mark.parametrize(
    ("data", "expected", "found"),
    [
        (b"", "1 bytes of the tag", "0 bytes"),
        (GOLDEN[:32], "32 bytes of the author", "31 bytes"),
        (GOLDEN[:33], "1 bytes of the log id", "0 bytes"),
        (GOLDEN[:34], "3 bytes of the log id", "1 bytes"),
        (GOLDEN[:35], "3 bytes of the log id", "2 bytes"),
        (GOLDEN[:36], "1 bytes of the sequence number", "0 bytes"),
        (GOLDEN[:37], "1 bytes of the kind of a lipmaalink", "0 bytes"),
        (GOLDEN[:38], "1 bytes of the size of a lipmaalink", "0 bytes"),
        (GOLDEN[:70], "32 bytes of a lipmaalink", "31 bytes"),
        (GOLDEN[:104], "32 bytes of a backlink", "31 bytes"),
        (GOLDEN[:105], "1 bytes of the payload size", "0 bytes"),
        (GOLDEN[:139], "32 bytes of a payload hash", "31 bytes"),
        (GOLDEN[:-1], "64 bytes of the signature", "63 bytes"),
    ],
)
def test_where_bytes_are_missing_it_says_how_many_of_what(
    data: bytes, expected: str, found: str
) -> None:
    with pytest.raises(entries.BadEntryError) as caught:
        entries.decode(data)
    assert [*caught.value.findings] == [Finding(Reason.TRUNCATED, expected, found)]
    assert str(caught.value) == f"truncated: expected {expected}, found {found}"


def test_a_hash_that_does_not_exist_is_stepped_over_up_to_255_bytes() -> None:
    first = Author().make(1, b"1")
    head, tail = first[:38], first[38 + 34 :]
    for size, there in ((255, True), (256, False)):
        data = head + b"\x00" + varu64.encode(size) + bytes(size) + tail
        found = entries.scan(data)
        assert [finding.reason for finding in found.findings] == [Reason.BAD_HASH]
        assert (found.entry is not None) == there
        assert found.entry is None or found.entry.signature == first[-64:]


@given(st.data())
@settings(max_examples=500)
def test_nothing_else_decodes(data: st.DataObject) -> None:
    """Whatever decodes is what its fields encode to: there is no second spelling."""
    original = data.draw(st.sampled_from(SAMPLES))
    at = data.draw(st.integers(0, len(original)))
    cut = data.draw(st.integers(0, 4))
    changed = original[:at] + data.draw(st.binary(max_size=6)) + original[at + cut :]
    try:
        entry = entries.decode(changed)
    except entries.BadEntryError:
        return
    assert entries.encode(entry) == changed


@given(st.binary(max_size=400))
@example(b"")
@example(b"\xff" * 400)
@example(b"\x00" * 400)
def test_any_bytes_are_an_entry_or_refused_with_reasons(data: bytes) -> None:
    examined = examine(data, b"")
    assert isinstance(examined, Problem)
    assert examined.verdict.findings
    assert examine_first(data + b"\x00", 0)[1] <= len(data) + 1


@given(st.data())
@settings(max_examples=500)
def test_the_short_cut_and_the_cursor_read_alike(data: st.DataObject) -> None:
    original = data.draw(st.sampled_from(SAMPLES))
    at = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original + data.draw(st.binary(max_size=2)))
    changed[at] = data.draw(st.integers(0, 255))
    for some in (original, bytes(changed), bytes(changed[:at])):
        short = entries._read_plain(some, 0)
        cursor = entries._Cursor(some, 0)
        try:
            long = entries.Scan(entries._read(cursor), cursor.at, cursor.findings)
        except entries._StopReading:
            long = entries.Scan(None, cursor.at, cursor.findings)
        assert (short is None) == bool(long.findings or long.entry is None)
        assert short is None or short == long


@pytest.mark.parametrize("data", SAMPLES)
def test_an_entry_cut_short_anywhere_is_refused(data: bytes) -> None:
    for end in range(len(data)):
        examined = examine(data[:end])
        assert isinstance(examined, Problem)
        assert examined.verdict.reason == "truncated"


@pytest.mark.parametrize("data", SAMPLES)
def test_any_byte_changed_anywhere_is_refused(data: bytes) -> None:
    """More than "changes its verdict or its id": the signature covers every byte."""
    chance = random.Random(data)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= chance.randrange(1, 256)
        assert isinstance(examine(bytes(changed)), Problem)


@pytest.mark.soak
def test_a_hundred_thousand_mutations_are_refused() -> None:
    chance = random.Random(4)
    for _ in range(100_000):
        changed = bytearray(chance.choice(SAMPLES))
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(changed) + 1)
            match chance.randrange(3):
                case 0:
                    changed[at : at + 1] = bytes([chance.randrange(256)])
                case 1:
                    changed.insert(at, chance.randrange(256))
                case _:
                    del changed[at : at + 1]
        if bytes(changed) not in SAMPLES:
            assert isinstance(examine(bytes(changed)), Problem)


def test_entries_one_after_the_other_are_told_apart() -> None:
    stream, at, seen = b"".join(SAMPLES), 0, []
    while at < len(stream):
        examined, end = examine_first(stream, at)
        assert not isinstance(examined, Problem)
        seen.append(stream[at:end])
        at = end
    assert seen == SAMPLES


def test_the_encoder_refuses_what_no_entry_can_be() -> None:
    good = entries.decode(SAMPLES[2])
    for bad in (
        good._replace(author=b"short"),
        good._replace(seq_num=0),
        good._replace(backlink=None),
        good._replace(lipmaalink=None),
        good._replace(seq_num=5),  # has no lipmaalink of its own
        good._replace(log_id=2**64),
        good._replace(payload_size=-1),
        good._replace(payload_hash=b"\x00\x21" + bytes(33)),
        good._replace(backlink=b"\x00\x20" + bytes(31)),
        good._replace(signature=bytes(63)),
    ):
        with pytest.raises(ValueError, match=r"."):
            entries.encode(bad)


def _changed(entry: entries.Entry, field: str, value: Any) -> entries.Entry:
    return entry._replace(**{field: value})


@pytest.mark.parametrize(
    ("field", "name"),
    [("lipmaalink", "lipmaalink"), ("backlink", "backlink"), ("payload_hash", "payload hash")],
)
def test_the_encoder_says_which_hash_is_wrong_and_how(field: str, name: str) -> None:
    good = entries.decode(SAMPLES[2])
    with pytest.raises(ValueError, match=f"^The {name} is missing"):
        entries.encode(_changed(good, field, None))
    with pytest.raises(ValueError, match=f"^The {name} is not a hash: 0020[.]$"):
        entries.encode(_changed(good, field, b"\x00\x20"))
    if field != "payload_hash":
        with pytest.raises(ValueError, match=f"^The {name} must be left out"):
            entries.encode(_changed(entries.decode(SAMPLES[0]), field, good.payload_hash))
