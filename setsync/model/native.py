"""The native entry format, tag 0x53.

| offset | size | field |
|---|---|---|
| 0 | 1 | tag, 0x53 |
| 1 | 32 | author, Ed25519 public key |
| 33 | 1 | length c of the collection's name, 1 to 255 |
| 34 | c | collection, UTF-8 |
| 34+c | 8 | timestamp, unsigned big-endian, milliseconds since 1970, claimed |
| 42+c | 1 | number k of links, at most 16 |
| 43+c | 32k | links, ids in strictly ascending order |
| 43+c+32k | 8 | payload size, unsigned big-endian |
| 51+c+32k | 32 | BLAKE3-256 of the payload |
| 83+c+32k | 64 | Ed25519 signature of every byte before it |

Nothing follows the signature. All fields have one spelling, so a header has one byte
string; the id is BLAKE3-256 of the whole header.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable
from itertools import pairwise

from blake3 import blake3

from setsync.errors import InvalidEntryError, InvalidNameError
from setsync.limits import MAX_LINKS, MAX_PAYLOAD
from setsync.model.collection import check_name
from setsync.model.formats import Claims
from setsync.model.keys import SIGNATURE_BYTES, SecretKey, is_valid_signature

TAG = 0x53
MAX_TIMESTAMP = 2**64 - 1
_FIXED = 1 + 32 + 1 + 8 + 1 + 8 + 32 + 64
# Names that were found good of late: 255 bytes each and as much again.
_NAMES = 256


class NativeFormat:
    """The format adapter; see `setsync.model.formats.EntryFormat`."""

    name = "native"
    tags = frozenset([TAG])

    def index(self) -> None:
        """The set itself is all that a native entry needs."""

    def decode(self, header: bytes) -> Claims:
        """Decode strictly. Raises InvalidEntryError `bad_header`."""
        if len(header) < _FIXED + 1:
            raise _bad_header(f"it has {len(header)} bytes, fewer than the shortest there is")
        name_end = 34 + header[33]
        if len(header) < _FIXED + header[33]:
            raise _bad_header("it ends inside the collection's name or what follows it")
        link_count = header[name_end + 8]
        expected = _FIXED + header[33] + 32 * link_count
        if link_count > MAX_LINKS:
            raise _bad_header(f"it has {link_count} links; at most {MAX_LINKS} are allowed")
        if len(header) != expected:
            raise _bad_header(f"it should have {expected} bytes and has {len(header)}")
        author, name, timestamp, links, size, payload_hash, signature = _layout(
            header[33], link_count
        ).unpack(header)
        if size > MAX_PAYLOAD:
            raise _bad_header(f"it claims a payload of {size} bytes; at most {MAX_PAYLOAD} exist")
        return Claims(
            self.name,
            author,
            _decode_name(name),
            timestamp,
            _decode_links(links),
            size,
            payload_hash,
            signature,
        )

    def check_collection(self, claims: Claims, payload: bytes | None, collection: str) -> None:
        """A native entry belongs to the collection it names. Raises `wrong_collection`."""
        if claims.collection != collection:
            raise InvalidEntryError(
                "wrong_collection",
                f"The entry names the collection {claims.collection!r}, not {collection!r}.",
            )

    def check_payload(self, claims: Claims, payload: bytes) -> None:
        """Size and BLAKE3 hash. Raises `bad_payload_size` or `bad_payload_hash`."""
        if len(payload) != claims.payload_size:
            raise InvalidEntryError(
                "bad_payload_size",
                f"The payload has {len(payload)} bytes; the entry says {claims.payload_size}.",
            )
        if blake3(payload).digest() != claims.payload_hash:
            raise InvalidEntryError(
                "bad_payload_hash", "The payload is not the one that the entry names."
            )

    def check_signature(self, claims: Claims, header: bytes) -> None:
        """Ed25519 over everything before the signature. Raises `bad_signature`."""
        if not is_valid_signature(claims.author, header[:-SIGNATURE_BYTES], claims.signature):
            raise InvalidEntryError(
                "bad_signature", f"The author {claims.author.hex()} did not sign these bytes."
            )


def sign_header(
    key: SecretKey, collection: str, payload: bytes, timestamp: int, links: Iterable[bytes] = ()
) -> bytes:
    """Make and sign the header of one entry.

    `timestamp` in milliseconds since 1970; `links` are ids, put in order here.
    Raises InvalidNameError for the collection, InvalidEntryError for anything else.
    """
    name = check_name(collection)
    ordered = sorted(set(links))
    if not 0 <= timestamp <= MAX_TIMESTAMP:
        raise InvalidEntryError("bad_timestamp", f"{timestamp} ms is not a 64-bit timestamp.")
    if len(ordered) > MAX_LINKS or any(len(link) != 32 for link in ordered):
        raise InvalidEntryError("bad_links", f"Links are ids of 32 bytes, at most {MAX_LINKS}.")
    if len(payload) > MAX_PAYLOAD:
        raise InvalidEntryError(
            "payload_too_large", f"A payload has at most {MAX_PAYLOAD} bytes, not {len(payload)}."
        )
    body = b"".join(
        [
            bytes([TAG]),
            key.public,
            bytes([len(name)]),
            name,
            timestamp.to_bytes(8, "big"),
            bytes([len(ordered)]),
            *ordered,
            len(payload).to_bytes(8, "big"),
            blake3(payload).digest(),
        ]
    )
    return body + key.sign(body)


@functools.cache
def _layout(name: int, links: int) -> struct.Struct:
    """Author, name, timestamp, links, payload's size and hash, signature: the table above."""
    return struct.Struct(f">x32sx{name}sQx{32 * links}sQ32s{SIGNATURE_BYTES}s")


@functools.lru_cache(_NAMES)
def _decode_name(encoded: bytes) -> str:
    """Remembered, since most entries that come together are of few collections."""
    try:
        name = encoded.decode("utf-8")
        check_name(name)
    except UnicodeDecodeError as error:
        raise _bad_header("its collection's name is not UTF-8") from error
    except InvalidNameError as error:
        raise _bad_header(f"its collection's name is not one: {error}") from error
    return name


def _decode_links(block: bytes) -> tuple[bytes, ...]:
    if not block:
        return ()
    links = tuple(block[i : i + 32] for i in range(0, len(block), 32))
    if any(one >= two for one, two in pairwise(links)):
        raise _bad_header("its links are not in strictly ascending order")
    return links


def _bad_header(what: str) -> InvalidEntryError:
    return InvalidEntryError("bad_header", f"The header is not a native one: {what}.")
