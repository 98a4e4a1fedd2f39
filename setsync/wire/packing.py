"""Entries in flight, compressed with zstandard where both sides know how and it is worth it.

Each message is compressed by itself: a batch is 256 KiB, which is window enough, and a cut
connection leaves nothing half understood. Nothing is decompressed before its declared size
is known to be that of a message and no more.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator

import zstandard

from setsync import limits
from setsync.errors import Abort, PeerError
from setsync.wire.framing import HEAD_BYTES
from setsync.wire.messages import LAYOUTS, Entries, Packed, Piece, pack, unpack

FEATURE = "zstd"

# At level 3 a batch of text takes 1 ms on one core, which sends 125 KB at 1 Gbit/s; higher
# levels take twice that for some per cent.
_LEVEL = 3
# A smaller message has nothing to repeat but its own keys.
_LEAST_BYTES = 256
# What shrinks by less than this is sent as it is, and so are the next messages after it.
_WORTH = 0.95
_SKIPPED = 8

_PACKABLE = {LAYOUTS[kind].type for kind in (Entries, Piece)}


# Each takes 0.65 MiB once it was used: as many are kept as threads use them at a time, and not
# one for each peer.
_COMPRESSORS: deque[zstandard.ZstdCompressor] = deque(maxlen=4)


@contextlib.contextmanager
def _compressor() -> Iterator[zstandard.ZstdCompressor]:
    """One that no other thread uses meanwhile."""
    try:
        compressor = _COMPRESSORS.pop()
    except IndexError:
        compressor = zstandard.ZstdCompressor(level=_LEVEL)
    yield compressor
    _COMPRESSORS.append(compressor)


class Packer:
    """Compresses the messages of one direction, as long as that helps."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._skip = 0

    def pack(self, message: Entries | Piece) -> Entries | Piece | Packed:
        """The message, or a smaller one that holds it."""
        if not self._enabled:
            return message
        if self._skip:
            self._skip -= 1
            return message
        frame = pack(message)
        body = frame[HEAD_BYTES:]
        if len(body) < _LEAST_BYTES:
            return message
        with _compressor() as compressor:
            data = compressor.compress(body)
        if len(data) > _WORTH * len(body):
            self._skip = _SKIPPED
            return message
        return Packed(frame[HEAD_BYTES - 1], len(body), data)


def unpacked(packed: Packed) -> Entries | Piece:
    """The message inside. Raises PeerError for anything but what `Packer` makes."""
    if packed.type not in _PACKABLE:
        raise PeerError(f"Messages of type {packed.type} are never compressed.")
    try:
        size = zstandard.frame_content_size(packed.data)
        if size != packed.size:
            raise PeerError(
                f"A compressed message says {packed.size} bytes outside and {size} inside.",
                Abort.TOO_LARGE,
            )
        decompressor = zstandard.ZstdDecompressor(max_window_size=2 * limits.MAX_FRAME)
        body = decompressor.decompress(
            packed.data, max_output_size=packed.size, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise PeerError(f"A compressed message cannot be read: {error}.") from error
    message = unpack(packed.type, body)
    assert isinstance(message, Entries | Piece)
    return message
