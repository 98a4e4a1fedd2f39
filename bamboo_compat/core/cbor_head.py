"""CBOR (RFC 8949) from the front: the head of an item, a text, and the way past an item.

A head is an item's first byte and the number that belongs to it:

| bits of the first byte | value | means |
|---|---|---|
| 7 to 5 | 0 to 7 | major type |
| 4 to 0 | 0 to 23 | the number itself |
| 4 to 0 | 24, 25, 26, 27 | the number is in the next 1, 2, 4, 8 bytes, big-endian |
| 4 to 0 | 28 to 31 | refused: reserved, or a length that is not told |

A number may be written in more bytes than it needs. No value is made of anything but what is
asked for, so there is nothing on which two readers could differ.
"""

from __future__ import annotations

UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = range(8)

_IN_BYTE = 24
_REFUSED = 28
# Text in UTF-8 has at most so many bytes a character.
_WIDEST = 4


class BadHeadError(ValueError):
    """Not what it would have to be, or cut short."""


def read_head(data: bytes, at: int) -> tuple[int, int, int]:
    """Major type, number, and where the head ends. Raises BadHeadError."""
    try:
        first = data[at]
    except IndexError as error:
        raise BadHeadError(at) from error
    info = first & 0x1F
    if info < _IN_BYTE:
        return first >> 5, info, at + 1
    if info >= _REFUSED:
        raise BadHeadError(at)
    width = 1 << (info - _IN_BYTE)
    at += 1
    return first >> 5, int.from_bytes(take(data, at, width), "big"), at + width


def take(data: bytes, at: int, size: int) -> bytes:
    """So many bytes, all of them there. Raises BadHeadError."""
    taken = data[at : at + size]
    if len(taken) != size:
        raise BadHeadError(at)
    return taken


def read_text(data: bytes, at: int, most: int) -> tuple[str, int]:
    """A text of 1 to `most` characters, and where it ends. Raises BadHeadError.

    UTF-8 as Unicode and RFC 3629 have it: no surrogates, nothing written longer than needed.
    """
    major, size, at = read_head(data, at)
    if major != TEXT or not 0 < size <= _WIDEST * most:
        raise BadHeadError(at)
    try:
        text = take(data, at, size).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadHeadError(at) from error
    if len(text) > most:
        raise BadHeadError(at)
    return text, at + size


def skip(data: bytes, at: int, heads: int) -> tuple[int, int]:
    """The end of the item at `at`, and how many of at most `heads` heads are left after it.

    Raises BadHeadError. An array is its head and its items, a map its keys and values, a tag
    the item after it, bytes and text as many bytes; what these are is not looked at. Nothing
    here calls itself, so that depth needs no bound of its own.
    """
    wanted = 1
    while wanted:
        # Every item has a byte at least: a number of items that cannot be there ends here.
        if not heads or wanted > len(data) - at:
            raise BadHeadError(at)
        major, number, at = read_head(data, at)
        heads -= 1
        wanted -= 1
        match major:
            case 2 | 3:
                at += number
            case 4:
                wanted += number
            case 5:
                wanted += 2 * number
            case 6:
                wanted += 1
    if at > len(data):
        raise BadHeadError(at)
    return at, heads
