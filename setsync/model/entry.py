"""Entries: bytes that somebody claims, and bytes that were checked.

`verify` is the only way from the one to the other, and the store takes only the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NoReturn

from blake3 import blake3

from setsync.errors import InvalidEntryError
from setsync.limits import MAX_HEADER, MAX_PAYLOAD
from setsync.model.formats import Claims, format_of
from setsync.model.keys import SecretKey
from setsync.model.native import sign_header

ID_BYTES = 32


def entry_id(header: bytes) -> bytes:
    """An entry's id: BLAKE3-256 of every byte of its header, signature included."""
    return blake3(header).digest()


@dataclass(frozen=True, slots=True)
class UnverifiedEntry:
    """What somebody says is an entry of `collection`. `payload` is None when withheld."""

    collection: str
    header: bytes
    payload: bytes | None

    @property
    def size(self) -> int:
        """Bytes of header and payload."""
        return len(self.header) + len(self.payload or b"")


_CHECKED: Final = object()


class Entry:
    """An entry whose header, payload, collection and signature have been checked.

    Made by `verify` alone (and by `trusted`, for bytes that were verified before they
    were stored); constructing one any other way raises TypeError.
    """

    __slots__ = ("claims", "collection", "header", "id", "payload")

    id: bytes
    collection: str
    header: bytes
    payload: bytes | None
    claims: Claims

    def __init__(
        self, proof: object, collection: str, header: bytes, payload: bytes | None, claims: Claims
    ) -> None:
        if proof is not _CHECKED:
            raise TypeError("An Entry is made by setsync.model.entry.verify.")
        put = object.__setattr__
        put(self, "id", entry_id(header))
        put(self, "collection", collection)
        put(self, "header", header)
        put(self, "payload", payload)
        put(self, "claims", claims)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"An Entry was checked as it is; its {name} stays.")

    def __reduce__(self) -> NoReturn:
        raise TypeError("An Entry is not copied or pickled; send its bytes and verify them.")

    @property
    def author(self) -> bytes:
        """The author's Ed25519 public key, 32 bytes."""
        return self.claims.author

    @property
    def size(self) -> int:
        """Bytes of header and payload."""
        return len(self.header) + len(self.payload or b"")

    def __repr__(self) -> str:
        return f"Entry({self.id.hex()[:16]} in {self.collection!r})"


def verify(unverified: UnverifiedEntry) -> Entry:
    """Check everything about an entry, cheap things first; the signature is last.

    The verdict is a function of the bytes alone. Raises InvalidEntryError, whose `reason`
    names the broken rule: header_too_large, unknown_format, bad_header, wrong_collection,
    payload_too_large, bad_payload_size, bad_payload_hash, bad_signature (a guest's format
    may have reasons of its own).
    """
    return _check(unverified, signature=True)


def trusted(unverified: UnverifiedEntry) -> Entry:
    """An Entry without the signature check: for what was signed or checked a moment ago, by
    this process or by another that it started for that, and for benchmarks."""
    return _check(unverified, signature=False)


def _check(unverified: UnverifiedEntry, *, signature: bool) -> Entry:
    header, payload = unverified.header, unverified.payload
    if len(header) > MAX_HEADER:
        raise InvalidEntryError(
            "header_too_large", f"A header has at most {MAX_HEADER} bytes, not {len(header)}."
        )
    entry_format = format_of(header)
    claims = entry_format.decode(header)
    entry_format.check_collection(claims, payload, unverified.collection)
    if payload is not None:
        if len(payload) > MAX_PAYLOAD:
            raise InvalidEntryError(
                "payload_too_large",
                f"A payload has at most {MAX_PAYLOAD} bytes, not {len(payload)}.",
            )
        entry_format.check_payload(claims, payload)
    if signature:
        entry_format.check_signature(claims, header)
    return Entry(_CHECKED, unverified.collection, header, payload, claims)


def make_entry(
    key: SecretKey, collection: str, payload: bytes, timestamp: int, links: tuple[bytes, ...] = ()
) -> Entry:
    """Sign a new native entry. Same arguments, same bytes: Ed25519 has no randomness.

    `timestamp` in milliseconds since 1970. Raises InvalidNameError, InvalidEntryError.
    """
    header = sign_header(key, collection, payload, timestamp, links)
    return trusted(UnverifiedEntry(collection, header, payload))
