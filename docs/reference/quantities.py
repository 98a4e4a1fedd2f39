"""Numbers as people read them."""

from __future__ import annotations

_BYTES = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
_TIMES = {"d": 86_400, "h": 3_600, "min": 60}
# From here on a power of two says more than its digits.
_LARGE = 2**31


def count(value: float) -> str:
    """100,000; 2^40; 2^64 - 1."""
    if not isinstance(value, int):
        return f"{value:,g}"
    if value >= _LARGE:
        for less, words in ((0, ""), (1, " - 1")):
            power = (value + less).bit_length() - 1
            if value + less == 2**power:
                return f"2^{power}{words}"
    return f"{value:,}"


def size(value: int) -> str:
    """Bytes: 256 KiB, 914 bytes."""
    for unit, many in _BYTES.items():
        if value and value % many == 0:
            return f"{value // many:,} {unit}"
    return f"{count(value)} bytes"


def time(seconds: float) -> str:
    """15 min, 0.5 s."""
    for unit, many in _TIMES.items():
        if seconds >= many and seconds % many == 0:
            return f"{seconds / many:g} {unit}"
    return f"{seconds:g} s"
