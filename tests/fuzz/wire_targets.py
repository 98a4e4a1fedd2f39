"""Targets of what two nodes of setsync say to each other: frames, messages and their parts."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from setsync.errors import PeerError
from setsync.reconcile import golomb, idlist, questions, symbolwire
from setsync.reconcile.sketch import SketchKey, Symbols, encode
from setsync.reconcile.wants import ALL, SHORT_IDS, WHOLE_IDS, Wanted
from setsync.wire import messages as m
from setsync.wire.framing import HEAD_BYTES, pack_frame
from setsync.wire.packing import Packer, unpacked
from tests.fuzz.target import Target, must, must_equal, weight
from tests.wire.samples import SAMPLES

# --- frames and messages ------------------------------------------------------------------

Heard = tuple[tuple[m.Message, ...], int, str]
"""Messages, bytes that wait for more, and why it ended if it did."""


def cut(data: bytes) -> list[bytes]:
    """The same bytes as a network might bring them, in pieces of a size that depends on them."""
    size = 1 + sum(data) % 61
    return [data[at : at + size] for at in range(0, len(data), size)]


def _hear(pieces: Sequence[bytes]) -> tuple[Heard, PeerError | None]:
    buffer = m.new_buffer()
    heard: list[m.Message] = []
    for piece in pieces:
        buffer.receive(piece)
        try:
            while (frame := buffer.next_frame()) is not None:
                heard.append(m.unpack(*frame))
        except PeerError as error:
            return (tuple(heard), 0, str(error)), error
    return (tuple(heard), len(buffer), ""), None


def _frames(data: bytes) -> Heard:
    whole, error = _hear([data])
    must_equal(_hear(cut(data))[0], whole, "frames are the same however the stream is cut")
    if error is not None:
        raise error
    return whole


def _frames_law(data: bytes, heard: Heard) -> None:
    messages, waiting, _ = heard
    spelled = b"".join(m.pack(message) for message in messages)
    must_equal(spelled + data[len(data) - waiting :], data, "a message has one spelling")


def _frame_samples() -> list[bytes]:
    frames = [m.pack(message) for message in SAMPLES]
    return [b"".join(frames[at : at + 3]) for at in range(0, len(frames), 3)]


def _body(message: m.Message) -> bytes:
    return m.pack(message)[HEAD_BYTES:]


def _message(data: bytes) -> m.Message:
    if not data or data[0] not in {layout.type for layout in m.LAYOUTS.values()}:
        raise PeerError("There is no message of this type.")  # the buffer's refusal, not unpack's
    return m.unpack(data[0], data[1:])


def _message_law(data: bytes, message: m.Message) -> None:
    must_equal(m.pack(message), pack_frame(data[0], data[1:]), "a message has one spelling")


def _message_samples() -> list[bytes]:
    return [m.pack(message)[HEAD_BYTES - 1 :] for message in SAMPLES]


_PACKED = m.LAYOUTS[m.Packed].type


def _packed(data: bytes) -> m.Packed:
    packed = m.unpack(_PACKED, data)
    assert isinstance(packed, m.Packed)
    return packed


def _packed_law(_: bytes, packed: m.Packed) -> None:
    try:
        message = unpacked(packed)
    except PeerError:
        return
    frame = m.pack(message)
    must_equal((frame[4], len(frame) - HEAD_BYTES), (packed.type, packed.size), "what was declared")
    # Measured against what was declared, not against what came: that is what packing is for.
    must(weight(message) <= 64 * packed.size + 4096, "a message weighs what its bytes may")


def _packed_samples() -> list[bytes]:
    rows = tuple((bytes([65 + at]) * 60, b"payload " * 8) for at in range(5))
    large: list[m.Entries | m.Piece] = [
        m.Entries((("notes", (*rows, (b"S", None))),)),
        m.Piece(70_000, b"ab" * 400),
    ]
    packed = [Packer(True).pack(message) for message in large]
    return [_body(one) for one in packed] + [_body(m.Packed(13, 300, b"nnn"))]


# --- questions and wants ------------------------------------------------------------------


def _items(message: type[m.Message], data: bytes) -> tuple[Any, ...]:
    found: Any = m.unpack(m.LAYOUTS[message].type, data)
    return tuple(found.items)


def _questions(data: bytes) -> tuple[questions.Question, ...]:
    return tuple(questions.from_wire(item) for item in _items(m.Questions, data))


def _questions_law(data: bytes, asked: tuple[questions.Question, ...]) -> None:
    wires = tuple(questions.to_wire(one) for one in asked)
    must_equal(_body(m.Questions(wires)), data, "a question has one spelling")


def _question_samples() -> list[bytes]:
    place, deep = questions.Range(0, ""), questions.Range(70_000, "a" * 63)
    asked: list[questions.Question] = [
        questions.AskChildren(place, 2, 8),
        questions.AskChildren(deep, 1, 32),
        questions.AskList(questions.Range(3, "0f3"), 27),
        questions.AskList(place, questions.WHOLE),
        questions.AskSketch(place, 0, 16, 0, 300),
    ]
    wires = tuple(questions.to_wire(one) for one in asked)
    return [_body(m.Questions((wire,))) for wire in wires] + [_body(m.Questions(wires))]


def _wants(data: bytes) -> tuple[Wanted, ...]:
    return tuple(Wanted.from_wire(item) for item in _items(m.AskIds, data))


def _wants_law(data: bytes, wants: tuple[Wanted, ...]) -> None:
    must_equal(_body(m.AskIds(tuple(w.to_wire() for w in wants))), data, "one spelling")
    for wanted in wants:
        if wanted.kind not in (ALL, WHOLE_IDS):
            bits = 64 if wanted.kind == SHORT_IDS else wanted.kind
            numbers = wanted.numbers()
            must_equal(len(numbers), wanted.count, "as many ids as are told")
            must_equal(idlist.encode_ids(numbers, bits), wanted.values, "one spelling of ids")


def _want_samples() -> list[bytes]:
    root = questions.Range(1, "3")
    wants = [
        Wanted(root, ALL, 0),
        Wanted(root, 30, 3, idlist.encode_ids(_sorted(3, 30), 30)),
        Wanted(root, SHORT_IDS, 2, idlist.encode_ids(_sorted(2, 64), 64)),
        Wanted(root, WHOLE_IDS, 2, bytes(range(64))),
    ]
    wires = tuple(wanted.to_wire() for wanted in wants)
    return [_body(m.AskIds((wire,))) for wire in wires] + [_body(m.AskIds(wires))]


# --- numbers in few bits ------------------------------------------------------------------

_U64 = np.uint64


def _sorted(count: int, bits: int) -> idlist.U64:
    step = (1 << bits) // (count + 1)
    return np.array([step * at + at % 5 for at in range(1, count + 1)], _U64)


_LIST = struct.Struct(">IB")


def _head(layout: struct.Struct, data: bytes) -> tuple[Any, ...]:
    """What travels beside the bytes; here it goes before them."""
    return layout.unpack(data[: layout.size].ljust(layout.size, b"\0"))


def _ids(data: bytes) -> idlist.U64:
    return idlist.decode_ids(data[_LIST.size :], *_head(_LIST, data))


def _ids_law(data: bytes, values: idlist.U64) -> None:
    count, bits = _head(_LIST, data)
    must_equal(len(values), count, "as many ids as are told")
    must_equal(idlist.encode_ids(values, bits), data[_LIST.size :], "a list has one spelling")


def _id_samples() -> list[bytes]:
    shapes = [(0, 1), (1, 64), (5, 20), (40, 17), (3, 5), (100, 64)]
    return [
        _LIST.pack(count, bits) + idlist.encode_ids(_sorted(count, bits), bits)
        for count, bits in shapes
    ] + [_LIST.pack(2, 8) + idlist.encode_ids(np.array([255, 255], _U64), 8)]


def _golomb_widths(data: bytes) -> tuple[Any, bytes]:
    count = data[0] if data else 0
    widths = np.array([byte % 64 for byte in data[1 : 1 + count]], np.int64)
    return widths, data[1 + count :]


def _golomb(data: bytes) -> golomb.U64:
    widths, coded = _golomb_widths(data)
    return golomb.decode(coded, widths)


def _golomb_law(data: bytes, values: golomb.U64) -> None:
    widths, coded = _golomb_widths(data)
    must_equal(golomb.encode(values, widths), coded, "numbers have one spelling")


def _golomb_samples() -> list[bytes]:
    cases = [
        ([], []),
        ([0, 1, 2, 31], [0, 0, 0, 0]),
        ([32, 33, 2**64 - 1], [0, 0, 0]),
        ([2**64 - 1, 7, 2**33], [63, 3, 20]),
        ([9] * 40, [3] * 40),
    ]
    return [
        bytes([len(widths), *widths])
        + golomb.encode(np.array(values, _U64), np.array(widths, np.int64))
        for values, widths in cases
    ]


_CELLS = struct.Struct(">IIQ")
_KEY = SketchKey.UNIVERSAL


def _symbols(data: bytes) -> Symbols:
    start, stop, size = _head(_CELLS, data)
    return symbolwire.unpack(data[_CELLS.size :], start, stop, size, _KEY)


def _symbols_law(data: bytes, symbols: Symbols) -> None:
    start, stop, size = _head(_CELLS, data)
    must_equal((symbols.start, symbols.stop), (start, stop), "the cells that are told")
    must_equal(symbolwire.pack(symbols, size), data[_CELLS.size :], "symbols have one spelling")


def _symbol_samples() -> list[bytes]:
    shapes = [(0, 6, 10), (16, 32, 300), (5, 5, 0), (0, 64, 3), (900, 910, 2**40)]
    return [
        _CELLS.pack(start, stop, size)
        + symbolwire.pack(encode(_sorted(min(size, 300), 64), start, stop, _KEY), size)
        for start, stop, size in shapes
    ]


NUMBERS = (ValueError,)
ASKED = (PeerError, ValueError)
WIRE_TARGETS = [
    Target("frames", "the same messages however the stream is cut; one spelling",
           _frames, (PeerError,), _frame_samples, _frames_law),
    Target("messages", "one spelling of every message",
           _message, (PeerError,), _message_samples, _message_law),
    Target("packed", "inside is what was declared outside, and no more",
           _packed, (PeerError,), _packed_samples, _packed_law),
    Target("questions", "one spelling of every question",
           _questions, ASKED, _question_samples, _questions_law),
    Target("wants", "one spelling, and as many ids as are told",
           _wants, ASKED, _want_samples, _wants_law),
    Target("ids", "one spelling; no number claimed makes room",
           _ids, NUMBERS, _id_samples, _ids_law, factor=80),
    Target("golomb", "one spelling", _golomb, NUMBERS, _golomb_samples, _golomb_law, factor=80),
    Target("symbols", "one spelling; no number claimed makes room",
           _symbols, NUMBERS, _symbol_samples, _symbols_law, factor=80),
]  # fmt: skip
