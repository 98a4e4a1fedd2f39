"""The two hash flavours that occur inside entries, as one tagged byte string each.

| flavour | kind, VarU64 | size, VarU64 | digest | source |
|---|---|---|---|---|
| YAMF | 0x00 | 0x40 | BLAKE2b-512 | AljoschaMeyer/yamf-hash |
| YASMF | 0x00 | 0x20 | BLAKE3-256 | p2panda handbook; bamboo-rs/yasmf-hash |

Both call themselves kind 0; the size tells them apart.
"""

from __future__ import annotations

import enum
from hashlib import blake2b

from blake3 import blake3


class Flavour(enum.Enum):
    """How a hash was made. The value is its prefix."""

    YAMF = bytes([0x00, 0x40])
    YASMF = bytes([0x00, 0x20])


_YAMF = bytes(Flavour.YAMF.value)
_YASMF = bytes(Flavour.YASMF.value)
KIND = 0
SIZES = (0x40, 0x20)
PREFIX = 2
MAX_HASH = PREFIX + max(SIZES)
TAGS = {PREFIX + flavour.value[1]: bytes(flavour.value) for flavour in Flavour}
"""How a tagged hash of so many bytes begins."""


def hash_of(flavour: Flavour, data: bytes) -> bytes:
    """The tagged hash of `data`: 66 bytes in YAMF, 34 in YASMF."""
    if flavour is Flavour.YAMF:
        return _YAMF + blake2b(data).digest()
    digest: bytes = blake3(data).digest()
    return _YASMF + digest


def flavour_of(tagged: bytes) -> Flavour:
    """The flavour of a well-formed tagged hash."""
    return Flavour(tagged[:PREFIX])


def is_hash(tagged: bytes) -> bool:
    """Whether these bytes are a tagged hash of one of the two flavours."""
    return TAGS.get(len(tagged)) == tagged[:PREFIX]


def is_hash_of(tagged: bytes, data: bytes) -> bool:
    """Whether these bytes are a tagged hash, and that of `data`, in its own flavour."""
    return is_hash(tagged) and hash_of(flavour_of(tagged), data) == tagged
