"""Tells apart what a websocket connection carries, by the label each message starts with.

Reads a byte stream as it passes by (RFC 6455): the HTTP upgrade, then frames. A text message of
nostr is a JSON array whose first element names it, as in `["NEG-MSG","<id>","<hex>"]`; bytes are
charged to that label, frame headers included, so that the labels add up to the stream's length.
Nothing is kept but the first bytes of each message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

HTTP = "HTTP"
UNNAMED = "unnamed"
CONTROL = {0x8: "close", 0x9: "ping", 0xA: "pong"}
_HEAD_END = b"\r\n\r\n"
_LABEL_BYTES = 24
_CONTINUATION = 0


@dataclass(frozen=True)
class FrameHeader:
    """The header of one frame (RFC 6455, 5.2): `size` bytes, then `payload` bytes."""

    opcode: int
    size: int
    payload: int
    mask: bytes

    @classmethod
    def parse(cls, data: bytes) -> FrameHeader | None:
        """Read the header that `data` starts with; None if it is not all there."""
        if len(data) < 2:
            return None
        masked, short = data[1] >= 0x80, data[1] & 0x7F
        wide = {126: 2, 127: 8}.get(short, 0)
        size = 2 + wide + 4 * masked
        if len(data) < size:
            return None
        payload = int.from_bytes(data[2 : 2 + wide], "big") if wide else short
        return cls(data[0] & 0x0F, size, payload, data[size - 4 : size] if masked else b"")

    def unmask(self, payload: bytes) -> bytes:
        """The first bytes of the payload as its sender wrote them."""
        if not self.mask:
            return payload
        return bytes(byte ^ self.mask[i % 4] for i, byte in enumerate(payload))


def label_of(text: bytes) -> str:
    """The first string of the JSON array that `text` starts with, or `UNNAMED`."""
    parts = text.split(b'"', 2)
    if len(parts) < 3 or parts[0].strip() != b"[":
        return UNNAMED
    return parts[1].decode(errors="replace")


@dataclass
class Tally:
    """Bytes and messages per label in one direction of one connection.

    `feed` takes the stream in pieces of any size. What is charged lags behind what was fed by less
    than one frame header and a label; at the end of a whole stream the two are equal.
    """

    sizes: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    _pending: bytes = b""
    _upgraded: bool = False
    _message: str = UNNAMED
    _frame: str = UNNAMED
    _unfinished: int = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self._pending += data
        while self._step():
            pass

    def size_of(self, labels: Iterable[str]) -> int:
        """Bytes charged to any of these labels."""
        return sum(self.sizes[label] for label in labels)

    def _step(self) -> bool:
        """Read one more thing if it is there: the upgrade, a header, or payload."""
        if not self._upgraded:
            return self._read_upgrade()
        if self._unfinished:
            return self._read_payload()
        return self._read_header()

    def _read_upgrade(self) -> bool:
        end = self._pending.find(_HEAD_END)
        if end >= 0:
            self._upgraded = True
            self.messages[HTTP] += 1
            self._charge(HTTP, end + len(_HEAD_END))
        return self._upgraded

    def _read_payload(self) -> bool:
        size = min(self._unfinished, len(self._pending))
        self._unfinished -= size
        self._charge(self._frame, size)
        return size > 0

    def _read_header(self) -> bool:
        """Read a frame's header, with as much of the payload at hand as its label needs."""
        header = FrameHeader.parse(self._pending)
        if header is None:
            return False
        peek = self._pending[header.size :][: min(header.payload, _LABEL_BYTES)]
        if len(peek) < min(header.payload, _LABEL_BYTES):
            return False
        self._name_frame(header, peek)
        self._unfinished = header.payload
        self._charge(self._frame, header.size)
        return True

    def _name_frame(self, header: FrameHeader, peek: bytes) -> None:
        """A control frame may stand between the parts of a message: its label does not stick."""
        if header.opcode == _CONTINUATION:
            self._frame = self._message
            return
        if header.opcode in CONTROL:
            self._frame = CONTROL[header.opcode]
        else:
            self._frame = self._message = label_of(header.unmask(peek))
        self.messages[self._frame] += 1

    def _charge(self, label: str, size: int) -> None:
        self.sizes[label] += size
        self._pending = self._pending[size:]
