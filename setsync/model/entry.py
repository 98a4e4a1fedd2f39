"""Entries: bytes that somebody claims, and bytes that were checked.

`verify` is the only way from the one to the other, and the store takes only the other.
"""

from __future__ import annotations

from typing import Final, NamedTuple, NoReturn

from blake3 import blake3

from setsync.errors import InvalidEntryError
from setsync.limits import MAX_HEADER, MAX_PAYLOAD
from setsync.model.formats import Claims, EntryFormat, format_of
from setsync.model.keys import SecretKey
from setsync.model.native import sign_header

ID_BYTES = 32


def entry_id(header: bytes) -> bytes:
    """An entry's id: BLAKE3-256 of every byte of its header, signature included."""
    return blake3(header).digest()


class UnverifiedEntry(NamedTuple):
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

    Made by `verify` alone (and by `trusted` and `checked`, for bytes that were verified before
    they were stored); constructing one any other way raises TypeError.
    """

    __slots__ = ("_claims", "author", "collection", "header", "id", "payload")

    id: bytes
    author: bytes
    collection: str
    header: bytes
    payload: bytes | None
    _claims: Claims | None

    def __init__(
        self,
        proof: object,
        unverified: UnverifiedEntry,
        id_: bytes,
        author: bytes,
        claims: Claims | None,
    ) -> None:
        if proof is not _CHECKED:
            raise TypeError("An Entry is made by setsync.model.entry.verify.")
        put = object.__setattr__
        put(self, "id", id_)
        put(self, "author", author)
        put(self, "collection", unverified.collection)
        put(self, "header", unverified.header)
        put(self, "payload", unverified.payload)
        put(self, "_claims", claims)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"An Entry was checked as it is; its {name} stays.")

    def __reduce__(self) -> NoReturn:
        raise TypeError("An Entry is not copied or pickled; send its bytes and verify them.")

    @property
    def claims(self) -> Claims:
        """What the header says: author (Ed25519 public key, 32 bytes), collection and so on."""
        claims = self._claims
        if claims is None:
            claims = format_of(self.header).decode(self.header)
            object.__setattr__(self, "_claims", claims)
        return claims

    @property
    def format(self) -> str:
        """The name of its format."""
        return format_of(self.header).name

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
    return _entry(unverified, check(unverified))


def trusted(unverified: UnverifiedEntry) -> Entry:
    """An Entry without the signature check: for what was signed or checked a moment ago, and
    for benchmarks."""
    return _entry(unverified, _check_all_but_signature(unverified)[1])


def checked(unverified: UnverifiedEntry, id_: bytes, author: bytes) -> Entry:
    """An Entry of which `verify` said yes in another process that this one started for that;
    `id_` and `author`, 32 bytes each, are what it found there."""
    return Entry(_CHECKED, unverified, id_, author, None)


def check(unverified: UnverifiedEntry) -> Claims:
    """What `verify` does, for whoever needs no Entry of it: what a good entry claims."""
    entry_format, claims = _check_all_but_signature(unverified)
    entry_format.check_signature(claims, unverified.header)
    return claims


def _check_all_but_signature(unverified: UnverifiedEntry) -> tuple[EntryFormat, Claims]:
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
    return entry_format, claims


def _entry(unverified: UnverifiedEntry, claims: Claims) -> Entry:
    return Entry(_CHECKED, unverified, entry_id(unverified.header), claims.author, claims)


def make_entry(
    key: SecretKey, collection: str, payload: bytes, timestamp: int, links: tuple[bytes, ...] = ()
) -> Entry:
    """Sign a new native entry. Same arguments, same bytes: Ed25519 has no randomness.

    `timestamp` in milliseconds since 1970. Raises InvalidNameError, InvalidEntryError.
    """
    header = sign_header(key, collection, payload, timestamp, links)
    return trusted(UnverifiedEntry(collection, header, payload))
