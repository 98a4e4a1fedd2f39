"""Every message: its exact bytes, there and back, and no second spelling of any of them."""

from __future__ import annotations

import struct

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setsync import limits
from setsync.errors import Abort, PeerError
from setsync.wire import messages as m
from setsync.wire.framing import pack_frame
from setsync.wire.messages import LAYOUTS, Message, pack, unpack
from tests.wire.samples import MESSAGES, SAMPLES


def _name(message: object) -> str:
    return type(message).__name__


def _split(frame: bytes) -> tuple[int, bytes]:
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    return frame[4], frame[5:]


# --- golden bytes -------------------------------------------------------------------------

A32, B32 = "61" * 32, "62" * 32
GOLDEN: dict[str, str] = {
    # length | type | array of n | the fields, one a line
    "Hello": "0000006d 01 9a"
    " 92 01 cd012c"  # versions 1 and 300
    f" c420 {A32}"  # node
    f" c420 {B32}"  # nonce
    " 92 a2 2a2a a5 6ec3a92f2a"  # interests ** and né/*
    " 02"  # pull
    " ce00100000"  # 1 MiB
    " 91 a1 78"  # features
    " 91 a4 612f2a2a"  # shares a/**
    " 91 a3 612f62"  # without a/b
    " c402 6f6f",  # invite
    "AbortMessage": "0000000c 02 92 03 a8 5370c3a47465722e",
    "Catalog": "00000014 03 91 c410 " + "63" * 16,
    "Same": "00000002 04 90",
    "Listing": "00000021 05 91 91 93 a5 6e6f746573 ce00011170 c410 " + "64" * 16,
    "Listed": "00000038 06 91 92"
    " 93 a1 61 00 c410 " + "65" * 16 + " 93 a2 c3a9 cf0000000100000000 c410 " + "66" * 16,
    "Questions": "0000001e 07 91 92"
    " 94 01 00 c402 02ab 92 02 08"  # children, two levels, 8 bytes
    " 94 03 ce00010000 c401 00 94 00 10 00 cd012c",
    "Answers": "00000014 08 91 92 92 93 01 02 cd012c c404 67676767 92 90 c400",
    "AskIds": "0000001e 09 91 92 95 00 c402 01a0 40 01 c408 "
    + "68" * 8
    + " 95 01 c401 00 00 00 c400",
    "Ids": "00000049 0a 92 91 93 00 c440 " + "69" * 64 + " 01 01",
    "Totals": "0000000c 0b 92 00 cf0000010000000000",
    "Want": "0000000d 0c 92 91 95 00 c401 00 00 00 c400 00",
    "Entries": "00000030 0d 91 91 92 a5 6e6f746573 94"
    " 92 c402 5331 c407 7061796c6f6164"  # with its payload
    " 92 c402 5332 c400"  # an empty payload
    " 92 c402 5333 c0"  # withheld
    " 92 c402 5334 ce00030d40",  # 200,000 bytes follow in pieces
    "Piece": "0000000b 0e 92 ce00030000 c402 6a6a",
    "Committed": "00000005 0f 91 cd07d0",
    "Sent": "00000002 10 90",
    "Close": "00000024 11 91 c420 " + "6b" * 32,
    "Closed": "00000024 12 91 c420 " + "6c" * 32,
    "Live": "00000002 17 90",
    "Ping": "00000002 18 90",
    "Done": "00000002 13 90",
    "Many": "00000005 14 91 cd1001",
    "AskNames": "00000014 15 91 91 95 00 c401 00 64 01 c408 " + "6d" * 8,
    "Packed": "0000000b 16 93 0d cd012c c403 6e6e6e",
    "Refused": "0000004d 19 91 91 93 a5 6e6f746573 03 c440 " + "70" * 64,
    "WantPayloads": "0000001c 1a 91 91 92 a5 6e6f746573 c410 " + "71" * 16,
}


@pytest.mark.parametrize("message", SAMPLES, ids=_name)
def test_the_bytes_of_every_message_are_these_for_ever(message: Message) -> None:
    golden = bytes.fromhex(GOLDEN[_name(message)])
    assert pack(message).hex(" ") == golden.hex(" ")
    assert unpack(*_split(golden)) == message


def test_there_is_a_sample_of_every_message() -> None:
    assert {type(message) for message in SAMPLES} == set(LAYOUTS)
    assert {layout.type for layout in LAYOUTS.values()} == set(range(1, len(LAYOUTS) + 1))


@given(MESSAGES)
def test_what_was_packed_is_what_is_unpacked(message: Message) -> None:
    frame = pack(message)
    assert unpack(*_split(frame)) == message
    assert pack(unpack(*_split(frame))) == frame


# --- strictness ---------------------------------------------------------------------------


def _refused(message_type: int, body: bytes) -> str:
    with pytest.raises(PeerError) as caught:
        unpack(message_type, body)
    assert caught.value.abort in (Abort.PROTOCOL, Abort.TOO_LARGE)
    return caught.value.message


@pytest.mark.parametrize("message", SAMPLES, ids=_name)
def test_a_missing_an_extra_and_a_strange_field_are_refused(message: Message) -> None:
    message_type, body = _split(pack(message))
    fields = msgpack.unpackb(body, use_list=False)
    strange: list[object] = [1.5, True, False, {}, {"a": 1}, -1, "\ud7ff" * 400, [[[]]], b"x" * 9]
    bad = [(*fields, 0), (*fields, None), fields[:-1] if fields else (0,), {"a": 1}, 7, None, b""]
    for at in range(len(fields)):
        for value in strange:
            changed = (*fields[:at], value, *fields[at + 1 :])
            if type(value) is not type(fields[at]):
                bad.append(changed)
    for value in bad:
        _refused(message_type, msgpack.packb(value))


@pytest.mark.parametrize("message", SAMPLES, ids=_name)
def test_nothing_may_follow_the_fields_and_nothing_may_lack(message: Message) -> None:
    message_type, body = _split(pack(message))
    for at in range(len(body)):
        _refused(message_type, body[:at])
    for tail in (b"\0", b"\xc0", b"\x90", body):
        _refused(message_type, body + tail)


def _longer_spellings(body: bytes) -> list[bytes]:
    """The same values with the header of one item written longer than needed."""
    found: list[bytes] = []
    for at, byte in enumerate(body):
        rest = body[at + 1 :]
        if byte <= 0x7F:
            found += [body[:at] + bytes([0xCC, byte]) + rest]
            found += [body[:at] + b"\xcd\0" + bytes([byte]) + rest]
            found += [body[:at] + b"\xd0" + bytes([byte]) + rest]
        elif 0x90 <= byte <= 0x9F:
            found += [body[:at] + b"\xdc\0" + bytes([byte & 15]) + rest]
            found += [body[:at] + b"\xdd\0\0\0" + bytes([byte & 15]) + rest]
        elif 0xA0 <= byte <= 0xBF:
            found += [body[:at] + bytes([0xD9, byte & 31]) + rest]
            found += [body[:at] + b"\xda\0" + bytes([byte & 31]) + rest]
        elif byte == 0xC4:
            found += [body[:at] + b"\xc5\0" + rest, body[:at] + b"\xc6\0\0\0" + rest]
        elif byte == 0xCD:
            found += [body[:at] + b"\xce\0\0" + rest, body[:at] + b"\xd1" + rest]
        elif byte == 0xCE:
            found += [body[:at] + b"\xcf\0\0\0\0" + rest, body[:at] + b"\xd2" + rest]
    return found


@pytest.mark.parametrize("message", SAMPLES, ids=_name)
def test_a_value_has_one_spelling(message: Message) -> None:
    """Longer headers of numbers, texts, byte strings and arrays than they need are refused.

    (Some of the changed bytes lie inside strings: then the message is broken another way, or
    it is another message, which has one spelling too.)
    """
    message_type, body = _split(pack(message))
    for changed in _longer_spellings(body):
        try:
            other = unpack(message_type, changed)
        except PeerError:
            continue
        assert other != message
        assert _split(pack(other))[1] == changed


FOREIGN = {
    "float32": b"\xca\0\0\0\0",
    "float64": b"\xcb" + bytes(8),
    "ext1": b"\xd4\x01\0",
    "ext of nothing": b"\xc7\0\x01",
    "ext8": b"\xc7\x01\x01\0",
    "timestamp": b"\xd6\xff\0\0\0\0",
    "timestamp of nothing": b"\xc7\0\xff",
    "map": b"\x80",
    "map of one": b"\x81\x01\x01",
    "map of many": b"\xdf\xff\xff\xff\xff",
    "true": b"\xc3",
    "false": b"\xc2",
    "negative": b"\xff",
    "never used": b"\xc1",
    "array of many": b"\xdd\xff\xff\xff\xff",
    "array over the limit": b"\xdc\x10\x01" + bytes(4097),
    "text that is not UTF-8": b"\xa2\xc3\x28",
    "a surrogate": b"\xa3\xed\xa0\x80",
    "bytes that are not there": b"\xc6\xff\xff\xff\xff",
    "text that is not there": b"\xdb\xff\xff\xff\xff",
    "nested for ever": b"\x91" * 100_000,
    "nested and wide": b"\xdc\x0f\xff" * 2_000,
}


@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_values_are_refused_wherever_they_stand(what: str) -> None:
    for layout in LAYOUTS.values():
        for body in (FOREIGN[what], b"\x91" + FOREIGN[what], b"\x91\x91" + FOREIGN[what]):
            _refused(layout.type, body)


OVER = [
    m.Hello((1,), b"a" * 31, b"b" * 32, (), 0, 0, ()),
    m.Hello((1,), b"a" * 32, b"b" * 32, (), 3, 0, ()),
    m.Hello((1,), b"a" * 32, b"b" * 32, (), 0, limits.MAX_PAYLOAD + 1, ()),
    m.Hello((1,), b"a" * 32, b"b" * 32, ("a",) * (limits.MAX_PATTERNS + 1), 0, 0, ()),
    m.Hello((1,), b"a" * 32, b"b" * 32, ("é" * 256,), 0, 0, ()),
    m.Hello((1,) * 17, b"a" * 32, b"b" * 32, (), 0, 0, ()),
    m.Hello((65_536,), b"a" * 32, b"b" * 32, (), 0, 0, ()),
    m.Hello((1,), b"a" * 32, b"b" * 32, (), 0, 0, (), ("a",) * (limits.MAX_PATTERNS + 1)),
    m.Hello((1,), b"a" * 32, b"b" * 32, (), 0, 0, (), (), ("a",) * (limits.MAX_PATTERNS + 1)),
    m.Hello((1,), b"a" * 32, b"b" * 32, (), 0, 0, (), (), (), bytes(limits.MAX_INVITE + 1)),
    m.Refused((("a", 256, bytes(32)),)),
    m.Refused((("a", 1, bytes(31)),)),
    m.WantPayloads((("a", bytes(7)),)),
    m.WantPayloads((("a", bytes(8 * limits.MAX_WANTED_PAYLOADS + 1)),)),
    m.AbortMessage(256, ""),
    m.AbortMessage(1, "é" * 251),
    m.Catalog(b"c" * 17),
    m.Listed((("a" * 256, 0, b"e" * 16),)),
    m.Listed((("a", 2**40 + 1, b"e" * 16),)),
    m.Questions(((1, 2**32, b"\0", (8,)),)),
    m.Questions(((1, 0, b"", (8,)),)),
    m.Questions(((1, 0, bytes(34), (8,)),)),
    m.Questions(((1, 0, b"\0", (8,) * 9),)),
    m.Questions(((1, 0, b"\0", (2**32,)),)),
    m.Want(((0, b"\0", 256, 0, b""),), 0),
    m.Want(((0, b"\0", 1, limits.MAX_WANTED_IDS + 1, b""),), 0),
    m.Want((), 2),
    m.Entries(()),
    m.Entries((("a", ()),)),
    m.Entries((("a", ((b"S", None),)),) * 2),
    m.Entries((("a", ((b"", None),)),)),
    m.Entries((("a", ((bytes(limits.MAX_HEADER + 1), None),)),)),
    m.Entries((("a", ((b"S", 0),)),)),
    m.Entries((("a", ((b"S", limits.MAX_PAYLOAD + 1),)),)),
    m.Piece(0, b""),
    m.Piece(0, bytes(limits.PAYLOAD_PIECE + 1)),
    m.Close(b""),
]


@pytest.mark.parametrize("message", OVER, ids=_name)
def test_every_field_has_its_bounds(message: Message) -> None:
    assert "wrong; expected" in _refused(*_split(pack(message)))


@settings(max_examples=300)
@given(st.sampled_from(sorted(layout.type for layout in LAYOUTS.values())), st.binary(max_size=64))
def test_any_body_is_a_message_or_refused(message_type: int, body: bytes) -> None:
    try:
        message = unpack(message_type, body)
    except PeerError:
        return
    assert pack(message) == pack_frame(message_type, body)


def test_the_head_of_a_frame_is_a_length_and_a_type() -> None:
    assert pack_frame(7, b"abc") == struct.pack(">IB", 4, 7) + b"abc"
