"""What stands for a digest on the wire: shorter, and different in every pass of a session.

An author who wants two sets to be taken for one another would have to know the key of a
session that has not begun. It is drawn from nonces of both sides, so one honest side is
enough. (What stands for an id is `idlist.keyed_ids`.)
"""

from __future__ import annotations

from blake3 import blake3

from setsync.reconcile.digest import COUNT_BYTES, Summary

SHORT = 8
FULL = 32
"""Widths of labels: 8 bytes, and the last rung of the ladder."""

_SESSION_CONTEXT = "setsync 2026-11 session key 1"


def session_key(initiator: bytes, responder: bytes, nonces: bytes, turn: int) -> bytes:
    """The 32-byte key of one pass of one session.

    `initiator` and `responder` are node ids (32 bytes), `nonces` the initiator's and the
    responder's nonce joined (64 bytes), `turn` numbers the passes, so that an unlucky
    coincidence in one is gone in the next.
    """
    material = nonces + initiator + responder + turn.to_bytes(1, "big")
    return blake3(material, derive_key_context=_SESSION_CONTEXT).digest()


def digest_label(summary: Summary, prefix: str, width: int, key: bytes) -> bytes:
    """What stands for a range's digest and count on the wire, `width` bytes."""
    text = summary.digest + summary.count.to_bytes(COUNT_BYTES, "big") + prefix.encode("ascii")
    return blake3(text, key=key).digest(length=width)
