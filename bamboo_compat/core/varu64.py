"""VarU64: unsigned 64-bit numbers in 1 to 9 bytes (AljoschaMeyer/varu64, README).

| first byte | the number is |
|---|---|
| 0 to 247 | the first byte |
| 248 + w - 1, w of 1 to 8 | the next w bytes, big-endian |

Canonical is the shortest way to write a number, and only that is valid.
"""

from __future__ import annotations

MAX = 2**64 - 1
WIDE = 248


def encode(number: int) -> bytes:
    """The canonical bytes. Raises ValueError for what is not an unsigned 64-bit number."""
    if not 0 <= number <= MAX:
        raise ValueError(f"{number} is not an unsigned 64-bit number.")
    if number < WIDE:
        return bytes([number])
    width = (number.bit_length() + 7) // 8
    return bytes([WIDE - 1 + width]) + number.to_bytes(width, "big")


def read(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at` and where it ends, canonical or not.

    Raises IndexError when the data ends before it does.
    """
    first = data[at]
    at += 1
    if first < WIDE:
        return first, at
    end = at + first - WIDE + 1
    if end > len(data):
        raise IndexError(end)
    return int.from_bytes(data[at:end], "big"), end


def canonical_width(number: int) -> int:
    """How many bytes the canonical encoding has."""
    return 1 if number < WIDE else 1 + (number.bit_length() + 7) // 8
