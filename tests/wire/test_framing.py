"""Frames out of a stream of bytes, however it is cut, and nothing else out of any other."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setsync import limits
from setsync.errors import Abort, PeerError
from setsync.wire.framing import FrameBuffer
from setsync.wire.messages import LAYOUTS, Message, new_buffer, pack, unpack
from tests.wire.samples import MESSAGES, SAMPLES

STREAM = b"".join(map(pack, SAMPLES))


def _all(buffer: FrameBuffer) -> list[Message]:
    found: list[Message] = []
    while (frame := buffer.next_frame()) is not None:
        found.append(unpack(*frame))
    return found


def _feed(data: bytes, step: int) -> list[Message]:
    buffer = new_buffer()
    found: list[Message] = []
    for at in range(0, len(data), step):
        buffer.receive(data[at : at + step])
        found += _all(buffer)
    assert not len(buffer)
    return found


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, len(STREAM)])
def test_a_stream_is_the_same_messages_however_it_is_cut(step: int) -> None:
    assert _feed(STREAM, step) == SAMPLES


@given(st.lists(MESSAGES, max_size=5), st.integers(1, 50))
def test_any_messages_survive_any_cutting(messages: list[Message], step: int) -> None:
    assert _feed(b"".join(map(pack, messages)), step) == messages


@given(MESSAGES, st.binary(max_size=4))
def test_a_tail_too_short_for_a_frame_waits(message: Message, tail: bytes) -> None:
    buffer = new_buffer()
    buffer.receive(pack(message) + tail)
    assert _all(buffer) == [message]
    assert len(buffer) == len(tail)


@settings(max_examples=300)
@given(st.integers(0, len(STREAM)), st.binary(max_size=40))
def test_every_prefix_with_noise_is_parsed_or_refused(cut: int, noise: bytes) -> None:
    buffer = new_buffer()
    buffer.receive(STREAM[:cut] + noise)
    try:
        found = _all(buffer)
    except PeerError:
        return
    whole = sum(1 for at in range(len(SAMPLES)) if len(_upto(at)) <= cut)
    assert found[:whole] == SAMPLES[:whole]


def _upto(at: int) -> bytes:
    return b"".join(map(pack, SAMPLES[: at + 1]))


def test_every_prefix_of_a_stream_is_whole_messages_and_patience() -> None:
    ends = {len(_upto(at)): at + 1 for at in range(len(SAMPLES))}
    buffer = new_buffer()
    found: list[Message] = []
    for at in range(len(STREAM)):
        buffer.receive(STREAM[at : at + 1])
        found += _all(buffer)
        if at + 1 in ends:
            assert found == SAMPLES[: ends[at + 1]]
            assert not len(buffer)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.message.__name__)
def test_a_length_is_refused_before_its_body_is_waited_for(layout: object) -> None:
    message_type, ceiling = layout.type, layout.ceiling  # type: ignore[attr-defined]
    for length, fits in ((0, False), (1, True), (ceiling + 1, True), (ceiling + 2, False)):
        buffer = new_buffer()
        buffer.receive(length.to_bytes(4, "big") + bytes([message_type]))
        if fits:
            frame = buffer.next_frame()
            assert frame == ((message_type, b"") if length == 1 else None)
        else:
            with pytest.raises(PeerError) as caught:
                buffer.next_frame()
            assert caught.value.abort == Abort.TOO_LARGE


@pytest.mark.parametrize("message_type", [0, 47, 127, 255])
def test_an_unknown_type_is_refused_whatever_its_length(message_type: int) -> None:
    for length in (0, 1, 100, 2**32 - 1):
        buffer = new_buffer()
        buffer.receive(length.to_bytes(4, "big") + bytes([message_type]))
        with pytest.raises(PeerError, match=f"type {message_type}"):
            buffer.next_frame()


def test_no_ceiling_is_over_the_limit() -> None:
    assert max(layout.ceiling for layout in LAYOUTS.values()) == limits.MAX_FRAME


def test_the_buffer_never_holds_more_than_a_frame_and_one_read() -> None:
    """Fed in reads of 64 KiB and emptied after each, as the connection does."""
    read = 64 * limits.KIB
    (largest,) = {layout.type for layout in LAYOUTS.values() if layout.message.__name__ == "Piece"}
    frame = (limits.MAX_FRAME + 1).to_bytes(4, "big") + bytes([largest]) + bytes(limits.MAX_FRAME)
    stream = frame * 4
    buffer = new_buffer()
    most = frames = 0
    for at in range(0, len(stream), read):
        buffer.receive(stream[at : at + read])
        most = max(most, len(buffer))
        while buffer.next_frame() is not None:
            frames += 1
    assert frames == 4
    assert most <= len(frame) + read


# --- mutation fuzz ------------------------------------------------------------------------


def _mutated(rng: random.Random, frame: bytes) -> bytes:
    """One to four changes: bytes set, flipped, inserted, cut out or doubled."""
    data = bytearray(frame)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data)) if data else 0
        match rng.randrange(6):
            case 0 if data:
                data[at] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at] = rng.choice(b"\x00\x7f\x80\x90\xc0\xc1\xc4\xc6\xd9\xdc\xdd\xdf\xff")
            case 2:
                data[at:at] = rng.randbytes(rng.randint(1, 4))
            case 3:
                del data[at : at + rng.randint(1, 8)]
            case 4:
                data[at:at] = data[at : at + rng.randint(1, 16)]
            case _ if len(data) >= 5:
                data[:4] = (len(data) - 4).to_bytes(4, "big")
    return bytes(data)


def _fuzz(rounds: int, seed: int) -> int:
    rng = random.Random(seed)
    frames = [pack(message) for message in SAMPLES]
    refused = 0
    for _ in range(rounds):
        data = _mutated(rng, rng.choice(frames))
        if rng.random() < 0.7 and len(data) >= 5:
            data = (len(data) - 4).to_bytes(4, "big") + data[4:]
        buffer = new_buffer()
        buffer.receive(data)
        try:
            while (frame := buffer.next_frame()) is not None:
                message = unpack(*frame)
                assert pack(message)[4:] == bytes([frame[0]]) + frame[1]
        except PeerError:
            refused += 1
    return refused


def test_mutated_frames_are_messages_or_refused() -> None:
    """Seed 1; whatever gets through is spelled as we would spell it."""
    assert _fuzz(5_000, seed=1) > 2_500


@pytest.mark.soak
def test_a_million_mutated_frames_are_messages_or_refused() -> None:
    assert _fuzz(1_000_000, seed=2) > 500_000
