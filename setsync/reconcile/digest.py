"""The fingerprint of a set of ids: a canonical Merkle trie over their hex digits.

Ids are hashes, so they are spread evenly and the trie needs no balancing. For a prefix p
and the ids S_p that begin with it:

- at most `LEAF_CAPACITY` ids:  digest(p) = BLAKE3(0x00 || the ids in order)
- more:  digest(p) = BLAKE3(0x01 || for each of 16 children: count as u64, digest)

(numbers big-endian). It depends on the set alone, never on the order of arrival, and two
different sets with one digest are a collision of BLAKE3. Sums and XORs of ids would be
cheaper to keep and can be forged by whoever may choose entries: see docs/decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from blake3 import blake3

LEAF_CAPACITY = 32
FANOUT = 16
DIGEST_BYTES = 32
COUNT_BYTES = 8
CHILD_BYTES = COUNT_BYTES + DIGEST_BYTES
MAX_DEPTH = 64
HEX = "0123456789abcdef"

_LEAF = b"\x00"
_INNER = b"\x01"


@dataclass(frozen=True, slots=True)
class Summary:
    """How many ids a range holds, and their digest (32 bytes)."""

    count: int
    digest: bytes

    def pack(self) -> bytes:
        """The 40 bytes that stand for this range in its parent."""
        return self.count.to_bytes(COUNT_BYTES, "big") + self.digest

    @classmethod
    def unpack(cls, packed: bytes | bytearray) -> Summary:
        """From those 40 bytes."""
        return cls(int.from_bytes(packed[:COUNT_BYTES], "big"), bytes(packed[COUNT_BYTES:]))


EMPTY = Summary(0, blake3(_LEAF).digest())


def leaf_digest(ids: bytes) -> bytes:
    """Digest of a leaf; `ids` are its 32-byte ids in order, joined."""
    return blake3(_LEAF + ids).digest()


def inner_digest(children: bytes | bytearray) -> bytes:
    """Digest of an inner node; `children` are 16 packed summaries, 640 bytes."""
    return blake3(_INNER + children).digest()


def unpack_children(children: bytes) -> list[Summary]:
    """The 16 summaries of an inner node's 640 bytes."""
    return [
        Summary.unpack(children[at : at + CHILD_BYTES])
        for at in range(0, FANOUT * CHILD_BYTES, CHILD_BYTES)
    ]


def summarise(ids: Sequence[bytes], depth: int = 0, capacity: int = LEAF_CAPACITY) -> Summary:
    """The summary of sorted distinct ids that share their first `depth` hex digits.

    Straight from the definition; the trie in the store must agree with it. Recursion ends
    by depth 64, where two ids would be equal.
    """
    if len(ids) <= capacity:
        return Summary(len(ids), leaf_digest(b"".join(ids)))
    children = summarise_children(ids, depth, capacity)
    return Summary(len(ids), inner_digest(b"".join(child.pack() for child in children)))


def summarise_children(
    ids: Sequence[bytes], depth: int, capacity: int = LEAF_CAPACITY
) -> list[Summary]:
    """The 16 child summaries of sorted ids that share their first `depth` hex digits."""
    return [
        summarise(ids[low:high], depth + 1, capacity) for low, high in pairwise(cuts(ids, depth))
    ]


def cuts(ids: Sequence[bytes], depth: int) -> list[int]:
    """Where each of the 16 digits at `depth` begins among sorted ids, and the end: 17 places."""
    places = [0] * (FANOUT + 1)
    for id_ in ids:
        places[nibble(id_, depth) + 1] += 1
    return list(accumulate(places))


# --- prefixes -----------------------------------------------------------------------------


def nibble(id_: bytes, depth: int) -> int:
    """The hex digit of an id at `depth`, 0 to 15."""
    byte = id_[depth >> 1]
    return byte & 15 if depth & 1 else byte >> 4


def lowest(prefix: str) -> bytes:
    """The smallest id that begins with the hex digits of `prefix`."""
    return bytes.fromhex(prefix.ljust(MAX_DEPTH, "0"))


def highest(prefix: str) -> bytes:
    """The largest id that begins with the hex digits of `prefix`."""
    return bytes.fromhex(prefix.ljust(MAX_DEPTH, "f"))


def pack_prefix(prefix: str) -> bytes:
    """A prefix as bytes, an odd last digit filled up with 0; the length stands elsewhere."""
    return bytes.fromhex(prefix + "0" * (len(prefix) & 1))
