"""Compressed messages are the messages inside them, and never a bomb."""

from __future__ import annotations

import contextlib
import random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from setsync.errors import PeerError
from setsync.limits import MAX_FRAME
from setsync.wire.messages import Done, Entries, Packed, Piece, pack
from setsync.wire.packing import Packer, unpacked

TEXT = b"the same words again and again, " * 400


def batch(payload: bytes) -> Entries:
    """One entry."""
    return Entries((("notes", ((b"header" * 30, payload),)),))


@given(st.binary(max_size=2_000), st.integers(1, 200))
def test_what_is_packed_unpacks_to_the_same_message(content: bytes, times: int) -> None:
    message = batch(content * times)
    sent = Packer(enabled=True).pack(message)
    assert (unpacked(sent) if isinstance(sent, Packed) else sent) == message


def test_text_shrinks_and_a_piece_is_packed_as_well() -> None:
    packer = Packer(enabled=True)
    for message in (batch(TEXT), Piece(196_608, TEXT)):
        sent = packer.pack(message)
        assert isinstance(sent, Packed)
        assert len(pack(sent)) < len(pack(message)) / 10
        assert unpacked(sent) == message


def test_what_does_not_shrink_is_sent_as_it_is_and_not_tried_again_at_once() -> None:
    packer = Packer(enabled=True)
    noise = batch(random.Random(1).randbytes(5_000))
    assert packer.pack(noise) is noise
    assert packer.pack(batch(TEXT)) == batch(TEXT)
    sent = [packer.pack(batch(TEXT)) for _ in range(10)]
    assert any(isinstance(message, Packed) for message in sent)


def test_a_peer_that_cannot_unpack_gets_nothing_packed() -> None:
    assert Packer(enabled=False).pack(batch(TEXT)) == batch(TEXT)


def crafted(size: int, data: bytes, message_type: int = 13) -> Packed:
    """A packed message that says what it likes."""
    return Packed(message_type, size, data)


def test_a_bomb_is_refused_before_it_is_opened() -> None:
    """1 GiB of zeros in 32 KiB, told to be small, or told truly."""
    bomb = zstandard.ZstdCompressor().compress(b"\0" * (64 * 1024 * 1024))
    for size in (100, MAX_FRAME):
        with pytest.raises(PeerError, match="inside"):
            unpacked(crafted(size, bomb))


def test_a_frame_that_hides_its_size_is_refused() -> None:
    hidden = zstandard.ZstdCompressor(write_content_size=False).compress(b"\0" * 1_000)
    with pytest.raises(PeerError):
        unpacked(crafted(1_000, hidden))


@pytest.mark.parametrize("tail", [b"\0", b"tail", zstandard.ZstdCompressor().compress(b"more")])
def test_nothing_may_follow_the_compressed_frame(tail: bytes) -> None:
    sent = Packer(enabled=True).pack(batch(TEXT))
    assert isinstance(sent, Packed)
    with pytest.raises(PeerError):
        unpacked(crafted(sent.size, sent.data + tail))


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7), cut=st.integers(0, 10_000))
def test_a_changed_or_cut_frame_is_a_message_or_a_peer_error(at: int, bit: int, cut: int) -> None:
    sent = Packer(enabled=True).pack(batch(TEXT))
    assert isinstance(sent, Packed)
    data = bytearray(sent.data)
    data[at % len(data)] ^= 1 << bit
    for changed in (bytes(data), sent.data[: cut % len(sent.data)]):
        with contextlib.suppress(PeerError):
            assert isinstance(unpacked(crafted(sent.size, changed)), Entries)


def test_only_entries_and_pieces_are_ever_packed() -> None:
    frame = pack(Done())
    data = zstandard.ZstdCompressor().compress(frame[5:])
    with pytest.raises(PeerError, match="never compressed"):
        unpacked(crafted(len(frame) - 5, data, message_type=frame[4]))
