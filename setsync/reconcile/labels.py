"""What stands for an id or a digest on the wire: shorter, and different in every session.

An author who wants two entries to be taken for one another would have to know the key of a
session that has not begun. Both functions below are keyed by nonces of both sides, so one
honest side is enough.

**Ids.** A label of 8 bytes is a multilinear hash over the id's eight 32-bit words, twice:

    h = ((k_0 + sum of k_i * w_i for i = 1..8) mod 2^64) >> 32

with random 64-bit k. For two different ids chosen before the key, both halves agree with
probability at most 2^-64 (Lemire and Kaser, "Strongly universal string hashing is fast",
The Computer Journal 57(11), 2014, theorem 3.1, K = 64 and L = 32). It is used because it
is exact about that probability and because numpy does it for a million ids at once; it is
no cryptographic hash, and needs to be none: whoever knows the key is a party to the session
and can lie more cheaply. A label of 32 bytes is the id itself, the last rung of the ladder.

**Digests.** `BLAKE3-keyed(key, digest || count || prefix)`, cut to the width asked for.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from setsync.reconcile.digest import COUNT_BYTES, Summary
from setsync.reconcile.view import IdArray

SHORT = 8
FULL = 32

Labels = npt.NDArray[Any]
"""Labels of ids, in the order of the ids: shape (n,), uint64 or 32-byte strings."""

_SESSION_CONTEXT = "setsync 2026-11 session key 1"
_LABEL_CONTEXT = b"id labels 1"


def session_key(initiator: bytes, responder: bytes, nonces: bytes, turn: int) -> bytes:
    """The 32-byte key of one pass of one session.

    `initiator` and `responder` are node ids (32 bytes), `nonces` the initiator's and the
    responder's nonce joined (64 bytes), `turn` numbers the passes, so that an unlucky
    coincidence in one is gone in the next.
    """
    material = nonces + initiator + responder + turn.to_bytes(1, "big")
    return blake3(material, derive_key_context=_SESSION_CONTEXT).digest()


def id_labels(ids: IdArray, width: int, key: bytes) -> Labels:
    """Labels of ids (n, 32): uint64 for width 8, the ids as 32-byte strings for 32."""
    if width == FULL:
        return np.ascontiguousarray(ids).view("S32").reshape(-1)
    words = np.ascontiguousarray(ids).view(">u4").astype(np.uint64)
    high, low = _label_keys(key)
    return (_multilinear(words, high) << np.uint64(32)) | _multilinear(words, low)


def _multilinear(words: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64]) -> Labels:
    total = np.full(len(words), keys[0])
    for column in range(8):
        total += words[:, column] * keys[column + 1]
    return total >> np.uint64(32)


@functools.lru_cache(maxsize=8)
def _label_keys(key: bytes) -> npt.NDArray[np.uint64]:
    """Two rows of nine 64-bit keys, drawn from the session key."""
    stream = blake3(_LABEL_CONTEXT, key=key).digest(length=2 * 9 * 8)
    return np.frombuffer(stream, dtype="<u8").astype(np.uint64).reshape(2, 9)


def pack_labels(labels: Labels) -> bytes:
    """Labels as joined bytes, 8 or 32 each; numbers big-endian."""
    if labels.dtype == np.uint64:
        return labels.astype(">u8").tobytes()
    return labels.tobytes()


def unpack_labels(blob: bytes, width: int) -> Labels:
    """The reverse of `pack_labels`. Raises ValueError when the length does not fit."""
    if len(blob) % width:
        raise ValueError(f"A list of {width}-byte labels has {len(blob)} bytes.")
    if width == SHORT:
        return np.frombuffer(blob, dtype=">u8").astype(np.uint64)
    return np.frombuffer(blob, dtype="S32")


def digest_label(summary: Summary, prefix: str, width: int, key: bytes) -> bytes:
    """What stands for a range's digest and count on the wire, `width` bytes."""
    text = summary.digest + summary.count.to_bytes(COUNT_BYTES, "big") + prefix.encode("ascii")
    return blake3(text, key=key).digest(length=width)
