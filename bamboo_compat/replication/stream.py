"""Where one message ends in a stream: CBOR says so itself, there is no length before it.

The splitter reads heads only: of each item its kind and length, never its content. It
keeps its place, so a byte is looked at once however the stream is cut. Of all that CBOR
has, messages use unsigned numbers, byte strings, text, arrays of definite length, false,
true and null; another head is refused where it stands. A head that promises more than its
message may have is refused before what it promises is waited for.
"""

from __future__ import annotations

from bamboo_compat.replication import limits
from bamboo_compat.replication.messages import CEILINGS, Ceiling
from setsync.errors import Abort, PeerError

_NUMBER, _BYTES, _TEXT, _ARRAY, _SIMPLE = 0, 2, 3, 4, 7
_FALSE_TRUE_NULL = (20, 21, 22)
# How many bytes follow a head's first one, by its low five bits.
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}


class Splitter:
    """Collects bytes as they come and gives messages' bytes as they become whole.

    Never holds more than the longest message and what was received with it.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._begin()

    def _begin(self) -> None:
        self._at = 0  # where the next head stands; past the end: its item is still coming
        self._open: list[int] = []  # items that each array which is open still wants
        self._items = 0
        self._ceiling: Ceiling | None = None

    def __len__(self) -> int:
        """Bytes held."""
        return len(self._buffer)

    def receive(self, data: bytes) -> None:
        """Take what arrived."""
        self._buffer += data

    def next_message(self) -> bytes | None:
        """The next message's bytes, or None until more come. Raises PeerError."""
        if self._ceiling is None:
            self._ceiling = self._find_ceiling()
            if self._ceiling is None:
                return None
        while (self._open or self._at == 0) and self._step(self._ceiling):
            pass
        if self._open or self._at == 0 or len(self._buffer) < self._at:
            return None
        message = bytes(self._buffer[: self._at])
        del self._buffer[: self._at]
        self._begin()
        return message

    def _find_ceiling(self) -> Ceiling | None:
        """Every message is an array of three or four, and its type is a one-byte number."""
        if not self._buffer:
            return None
        if self._buffer[0] not in (0x83, 0x84):
            raise PeerError("A message does not begin like one; is this a Bamboo server?")
        if len(self._buffer) < 2:
            return None
        ceiling = CEILINGS.get(self._buffer[1])
        if ceiling is None:
            raise PeerError("A message has no type that is known; is this a Bamboo server?")
        return ceiling

    def _step(self, ceiling: Ceiling) -> bool:
        """Read one head; False where it is not here yet."""
        head = self._head()
        if head is None:
            return False
        kind, value, end = head
        self._items += 1
        if kind in (_BYTES, _TEXT):
            self._check(end + value, self._items, ceiling)
            self._at = end + value
            self._close_arrays()
        elif kind == _ARRAY:
            # Every item of it takes a byte at least.
            self._check(end + value, self._items + value, ceiling)
            self._at = end
            self._open_array(value)
        else:
            self._check(end, self._items, ceiling)
            self._at = end
            self._close_arrays()
        return True

    def _head(self) -> tuple[int, int, int] | None:
        """Kind, number or length, and where the head ends."""
        at = self._at
        if at >= len(self._buffer):
            return None
        kind, low = self._buffer[at] >> 5, self._buffer[at] & 31
        if kind == _SIMPLE and low in _FALSE_TRUE_NULL:
            return kind, low, at + 1
        if kind not in (_NUMBER, _BYTES, _TEXT, _ARRAY) or low > 27:
            raise PeerError(
                f"A message holds the CBOR head 0x{self._buffer[at]:02x}; only numbers, strings, "
                "arrays of definite length, false, true and null occur."
            )
        if low < 24:
            return kind, low, at + 1
        end = at + 1 + _WIDTHS[low]
        if end > len(self._buffer):
            return None
        return kind, int.from_bytes(self._buffer[at + 1 : end], "big"), end

    def _open_array(self, length: int) -> None:
        if len(self._open) >= limits.MAX_DEPTH:
            raise PeerError(f"A message is nested deeper than {limits.MAX_DEPTH} arrays.")
        self._open.append(length)
        if length == 0:
            self._open.pop()
            self._close_arrays()

    def _close_arrays(self) -> None:
        """One item is complete, and with it every array whose last it was."""
        while self._open:
            self._open[-1] -= 1
            if self._open[-1]:
                return
            self._open.pop()

    def _check(self, size: int, items: int, ceiling: Ceiling) -> None:
        if size > ceiling.size:
            raise PeerError(
                f"A message says it has at least {size} bytes; at most {ceiling.size} are allowed.",
                Abort.TOO_LARGE,
            )
        if items > ceiling.items:
            raise PeerError(
                f"A message says it has at least {items} items; at most {ceiling.items} "
                "are allowed.",
                Abort.TOO_LARGE,
            )
