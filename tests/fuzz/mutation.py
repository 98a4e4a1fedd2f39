"""Changed inputs from good ones, out of a seeded generator: the same seed, the same inputs.

It knows nothing of any format. What made a decoder answer in a new way is kept and changed
further, which is as much guidance as there is without looking into the code that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from tests.fuzz.target import MAX_INPUT

_WIDTHS = (1, 2, 4, 8)
# Where signs, widths and the lengths of heads change, and what the formats begin with.
_EDGES = (0, 1, 2, 22, 23, 24, 31, 32, 33, 127, 128, 246, 247, 248, 255)
_WIDE_EDGES = (*_EDGES, 256, 4096, 4097, 65_535, 65_536, 2**20, 2**31, 2**32 - 1, 2**40)
_TOKENS = (
    b"\x90", b"\x91\x90", b"\xc0", b"\xc4\x00", b"\xc7\x00\xff", b"\xdd\xff\xff\xff\xff",
    b"\xdc\x10\x00", b"\xcb", b"\x80", b"\x9f", b"\xbf", b"\xff", b"\xf6", b"\x5f", b"\x78\x00",
    b"\xed\xa0\x80", b"\xc3\xa9", b"\x00\x20", b"\x00\x40", b"{", b"}", b"[", b"]", b'"', b"null",
    b"-1", b"1e999", b"\\ud800", b":", b"\n", b"@", b"setsync://", b"schema",
)  # fmt: skip


def mutate(data: bytes, other: bytes, chance: Random) -> bytes:
    """One input after one to five changes; `other` is what a splice takes its piece from."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        chance.choice(_CHANGES)(changed, other, chance)
    return bytes(changed[:MAX_INPUT])


def _place(data: Sequence[int], chance: Random) -> int:
    """Somewhere; often near the front, where heads and lengths are."""
    end = len(data)
    return chance.randrange(min(end, 16) + 1) if chance.random() < 0.25 else chance.randint(0, end)


def _flip(data: bytearray, _: bytes, chance: Random) -> None:
    if data:
        data[min(_place(data, chance), len(data) - 1)] ^= 1 << chance.randrange(8)


def _set(data: bytearray, _: bytes, chance: Random) -> None:
    if data:
        at = min(_place(data, chance), len(data) - 1)
        data[at] = chance.choice((*_EDGES, chance.randrange(256)))


def _count(data: bytearray, _: bytes, chance: Random) -> None:
    """One more or one less: a length that nearly fits."""
    if data:
        at = min(_place(data, chance), len(data) - 1)
        data[at] = (data[at] + chance.choice((-1, 1))) % 256


def _number(data: bytearray, _: bytes, chance: Random) -> None:
    width = chance.choice(_WIDTHS)
    number = (chance.choice(_WIDE_EDGES) * chance.choice((1, -1))) % (1 << 8 * width)
    at = _place(data, chance)
    # Put over what is there, or between.
    data[at : at + width * chance.randrange(2)] = number.to_bytes(width, "big")


def _token(data: bytearray, _: bytes, chance: Random) -> None:
    at = _place(data, chance)
    data[at : at + chance.randrange(3)] = chance.choice(_TOKENS)


def _cut(data: bytearray, _: bytes, chance: Random) -> None:
    del data[_place(data, chance) :]


def _drop(data: bytearray, _: bytes, chance: Random) -> None:
    at = _place(data, chance)
    del data[at : at + chance.choice((1, 1, 2, 4, 8, 32))]


def _double(data: bytearray, _: bytes, chance: Random) -> None:
    """A chunk again, right after itself or elsewhere."""
    start = _place(data, chance)
    chunk = data[start : start + chance.choice((1, 2, 8, 32, 64, 200))]
    at = chance.choice((start, _place(data, chance)))
    data[at:at] = chunk * chance.choice((1, 1, 1, 2, 16))


def _splice(data: bytearray, other: bytes, chance: Random) -> None:
    """The beginning of one and the end of another, or a piece of another put in."""
    at, start = _place(data, chance), _place(other, chance)
    if chance.random() < 0.5:
        data[at:] = other[start:]
    else:
        data[at:at] = other[start : start + chance.randrange(64)]


_CHANGES: tuple[Callable[[bytearray, bytes, Random], None], ...] = (
    _flip, _set, _count, _number, _token, _cut, _drop, _double, _splice,
)  # fmt: skip
