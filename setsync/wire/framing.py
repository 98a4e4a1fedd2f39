"""Frames: where one message ends in a stream of bytes.

| offset | size | field |
|---|---|---|
| 0 | 4 | n, unsigned big-endian: bytes that follow, 1 to 1 MiB |
| 4 | 1 | type of the message |
| 5 | n - 1 | its fields, a msgpack array |

The ceiling of a frame depends on its type and is enforced before the body is waited for.
"""

from __future__ import annotations

from collections.abc import Mapping

from setsync.errors import Abort, PeerError

HEAD_BYTES = 5


def pack_frame(message_type: int, body: bytes) -> bytes:
    """One frame."""
    return (len(body) + 1).to_bytes(4, "big") + bytes([message_type]) + body


class FrameBuffer:
    """Collects bytes as they come and gives frames as they become whole.

    `ceilings` maps each known type to the longest body it may have. Never holds more than
    the longest frame and what was received with it.
    """

    def __init__(self, ceilings: Mapping[int, int]) -> None:
        self._ceilings = ceilings
        self._buffer = bytearray()

    def __len__(self) -> int:
        """Bytes held."""
        return len(self._buffer)

    def receive(self, data: bytes) -> None:
        """Take what arrived."""
        self._buffer += data

    def next_frame(self) -> tuple[int, bytes] | None:
        """The next frame's type and body, or None until more bytes come.

        Raises PeerError for an unknown type or a length over its ceiling.
        """
        if len(self._buffer) < HEAD_BYTES:
            return None
        length = int.from_bytes(self._buffer[:4], "big")
        message_type = self._buffer[4]
        ceiling = self._ceilings.get(message_type)
        if ceiling is None:
            raise PeerError(f"There is no message of type {message_type}; is this setsync?")
        if not 1 <= length <= ceiling + 1:
            raise PeerError(
                f"A message of type {message_type} says it has {length} bytes; "
                f"at most {ceiling + 1} are allowed.",
                Abort.TOO_LARGE,
            )
        if len(self._buffer) < 4 + length:
            return None
        body = bytes(self._buffer[HEAD_BYTES : 4 + length])
        del self._buffer[: 4 + length]
        return message_type, body
