"""The websocket tally: every byte charged once, to the right label, however the stream is cut."""

from __future__ import annotations

import struct

import pytest

from benchmarks.websocket import HTTP, UNNAMED, FrameHeader, Tally, label_of

UPGRADE = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"


def frame(payload: bytes, *, opcode: int = 1, final: bool = True, mask: bytes = b"") -> bytes:
    first = opcode | (0x80 if final else 0)
    flag = 0x80 if mask else 0
    if len(payload) < 126:
        head = struct.pack("!BB", first, flag | len(payload))
    elif len(payload) < 65536:
        head = struct.pack("!BBH", first, flag | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, flag | 127, len(payload))
    body = bytes(b ^ mask[i % 4] for i, b in enumerate(payload)) if mask else payload
    return head + mask + body


SHORT = frame(b'["OK","00",true,""]')
MIDDLE = frame(b'["NEG-MSG","s","' + b"ab" * 500 + b'"]', mask=b"\x01\xfe\x33\x80")
LONG = frame(b'["EVENT",{"content":"' + b"x" * 70_000 + b'"}]')
PING = frame(b"", opcode=9)
FIRST_PART = frame(b'["EVENT","s",{"id"', final=False)
LAST_PART = frame(b':"00"}]', opcode=0)
STREAM = UPGRADE + SHORT + MIDDLE + FIRST_PART + PING + LAST_PART + LONG + SHORT


def expected() -> tuple[dict[str, int], dict[str, int]]:
    sizes = {
        HTTP: len(UPGRADE),
        "OK": 2 * len(SHORT),
        "NEG-MSG": len(MIDDLE),
        "EVENT": len(FIRST_PART) + len(LAST_PART) + len(LONG),
        "ping": len(PING),
    }
    return sizes, {HTTP: 1, "OK": 2, "NEG-MSG": 1, "EVENT": 2, "ping": 1}


def test_a_whole_stream_is_charged_to_its_labels() -> None:
    tally = Tally()
    tally.feed(STREAM)
    assert (dict(tally.sizes), dict(tally.messages)) == expected()
    assert tally.sizes.total() == len(STREAM)
    assert tally.size_of(["OK", "EVENT", "nothing"]) == tally.sizes["OK"] + tally.sizes["EVENT"]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 1000, 65536])
def test_the_pieces_of_a_stream_do_not_matter(step: int) -> None:
    tally = Tally()
    for start in range(0, len(STREAM), step):
        tally.feed(STREAM[start : start + step])
        assert tally.sizes.total() <= start + step
    assert (dict(tally.sizes), dict(tally.messages)) == expected()


def test_a_frame_header_is_read_only_when_it_is_all_there() -> None:
    whole = frame(bytes(300), mask=b"abcd")
    for size in range(8):
        assert FrameHeader.parse(whole[:size]) is None
    assert FrameHeader.parse(whole) == FrameHeader(1, 8, 300, b"abcd")


@pytest.mark.parametrize("text", [b"", b"hello", b'{"a":1}', b"[1,2]", b'["open'])
def test_what_is_no_named_array_has_no_name(text: bytes) -> None:
    assert label_of(text) == UNNAMED
