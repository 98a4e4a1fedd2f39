"""Reading and writing the bytes of messages, records and archives: big-endian, nothing optional."""

from __future__ import annotations


class ShortError(ValueError):
    """The bytes end too early, or something follows them."""


class Fields:
    """Bytes, taken from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes. Raises ShortError."""
        end = self._at + size
        if end > len(self._data):
            raise ShortError(f"{end - len(self._data)} bytes are missing")
        found, self._at = self._data[self._at : end], end
        return found

    def number(self, size: int) -> int:
        """An unsigned number of `size` bytes. Raises ShortError."""
        return int.from_bytes(self.take(size), "big")

    def some(self, size: int, most: int) -> bytes:
        """Bytes behind their length, which has `size` bytes. Raises ValueError."""
        length = self.number(size)
        if length > most:
            raise ValueError(f"a field has {length} bytes; at most {most} are allowed")
        return self.take(length)

    def end(self) -> None:
        """Nothing may follow. Raises ShortError."""
        if self._at != len(self._data):
            raise ShortError(f"{len(self._data) - self._at} bytes follow")


def counted(data: bytes, size: int) -> bytes:
    """Bytes behind their length. Raises OverflowError where that has no room."""
    return len(data).to_bytes(size, "big") + data


def text_of(data: bytes) -> str:
    """UTF-8. Raises ValueError."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("a text is not UTF-8") from error
