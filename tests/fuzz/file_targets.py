"""Targets of setsync beside the line: entries, export files, peers.json, addresses,
certificates, and the records that a damaged disk may hold."""

from __future__ import annotations

import contextlib
import io
import ssl
import warnings
from pathlib import Path
from typing import Any, BinaryIO

from setsync.errors import (
    DamagedStoreError,
    ExportFileError,
    InvalidEntryError,
    NewerFormatError,
    PeerIdentityError,
    PeersFileError,
    UsageError,
)
from setsync.model.entry import UnverifiedEntry, verify
from setsync.model.formats import Claims
from setsync.model.native import NativeFormat, sign_header
from setsync.node import peers
from setsync.node.address import Address, join_address, parse_key, split_address
from setsync.node.channel import key_in
from setsync.node.identity import Identity
from setsync.node.invites import Invite
from setsync.reconcile.digest import Summary
from setsync.store import layout
from setsync.store.contract import StoredEntry
from setsync.store.exchange import entries_promised, read_export, write_export
from tests.fuzz.target import Target, must, must_equal
from tests.helpers import MIDNIGHT, entries, keys

# --- native entries -----------------------------------------------------------------------

_NATIVE = NativeFormat()


def _spelled(claims: Claims) -> bytes:
    """A header written from its claims, by the table in docs and by no code of setsync's."""
    assert claims.collection is not None
    assert claims.timestamp is not None
    name = claims.collection.encode("utf-8")
    parts = [
        claims.author,
        bytes([len(name)]) + name,
        claims.timestamp.to_bytes(8, "big"),
        bytes([len(claims.links)]) + b"".join(claims.links),
        claims.payload_size.to_bytes(8, "big"),
        claims.payload_hash,
        claims.signature,
    ]
    return b"".join(parts)


def _native_law(data: bytes, claims: Claims) -> None:
    # `formats` looks at the tag and picks the decoder by it.
    must_equal(_spelled(claims), data[1:], "a header has one spelling")
    _verified_or_refused(UnverifiedEntry(claims.collection or "", data, None))
    _verified_or_refused(UnverifiedEntry(claims.collection or "", data, b"hello"))


def _verified_or_refused(entry: UnverifiedEntry) -> None:
    with contextlib.suppress(InvalidEntryError):
        must_equal(verify(entry).header, entry.header, "what is verified is what came")


def _native_samples() -> list[bytes]:
    (key,) = keys(1)
    links = [bytes([at]) * 32 for at in range(16)]
    return [
        sign_header(key, "notes", b"hello", MIDNIGHT),
        sign_header(key, "né/x", b"", 0, links[:2]),
        sign_header(key, "a" * 255, b"hello", 2**64 - 1),
        sign_header(key, "z", b"hello", MIDNIGHT, links),
    ]


# --- export files -------------------------------------------------------------------------

Exported = tuple[tuple[UnverifiedEntry, ...], int | None]


class _Dripping(io.BytesIO):
    """A file that gives a few bytes at a time, as a pipe may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(7 if size is None or size < 0 or size > 7 else size)


def _read(file: BinaryIO) -> tuple[list[UnverifiedEntry], ExportFileError | None]:
    found: list[UnverifiedEntry] = []
    try:
        found.extend(_each(file, found))
    except ExportFileError as error:
        return found, error
    return found, None


def _each(file: BinaryIO, found: list[UnverifiedEntry]) -> tuple[()]:
    for entry in read_export(file):
        found.append(entry)
    return ()


def _export(data: bytes) -> Exported:
    whole, error = _read(io.BytesIO(data))
    promised = entries_promised(io.BytesIO(data))
    dripped, cut_error = _read(_Dripping(data))
    must_equal((dripped, type(cut_error)), (whole, type(error)), "the same however it is read")
    for entry in whole:
        _verified_or_refused(entry)
    if error is not None:
        raise error
    return tuple(whole), promised


def _export_law(_: bytes, exported: Exported) -> None:
    """What was read and is written again is read as the same."""
    found, _promised = exported
    file = io.BytesIO()
    write_export(file, [StoredEntry(b"", 0, e.collection, e.header, e.payload) for e in found])
    file.seek(0)
    must_equal(entries_promised(file), len(found), "the end promises as many as there are")
    must_equal(_read(file), (list(found), None), "what is written is what is read")


def _exported(*some: StoredEntry) -> bytes:
    file = io.BytesIO()
    write_export(file, some)
    return file.getvalue()


def _export_samples() -> list[bytes]:
    stored = [StoredEntry(e.id, 1, "notes", e.header, e.payload) for e in entries(3)]
    withheld = StoredEntry(b"", 1, "notes", stored[0].header, None)
    strange = StoredEntry(b"", 1, "é", b"S", b"")
    return [_exported(), _exported(*stored[:1]), _exported(withheld, strange), _exported(*stored)]


# --- peers.json and addresses -------------------------------------------------------------

_FILE = Path("peers.json")


def _peers(data: bytes) -> peers.Book:
    return peers._FORMAT.decode(_FILE, data)


def _peers_law(_: bytes, book: peers.Book) -> None:
    written = peers._FORMAT.encode(_FILE, book)
    must_equal(peers._FORMAT.decode(_FILE, written), book, "what is written is what is read")


def _peers_samples() -> list[bytes]:
    known = peers.Peer(b"k" * 32, peers.Rule.BLOCKED, "Zoë", Address("::1", 7717, b"k" * 32))
    books = [peers.Book()]
    books.append(peers.Book({known.key: known}, {"example.org:7717": b"p" * 32}))
    other = peers.Peer(b"o" * 32, groups=("family", "friends"))
    books.append(peers.Book({known.key: known, other.key: other}, {}))
    invited = peers.Book()
    invited.invites.add(Invite(b"d" * 32, made=1, expires=2, uses=2, name="Zoë"), 1)
    books.append(invited)
    return [peers._FORMAT.encode(_FILE, book) for book in books]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _address(data: bytes) -> Address:
    text = _text(data)
    with contextlib.suppress(UsageError):
        must_equal(len(parse_key(text)), 32, "a key has 32 bytes")
    return Address.parse(text)


def _address_law(_: bytes, address: Address) -> None:
    must(address.host != "" and 0 <= address.port <= 65_535, "a host, and a port that exists")
    must_equal(Address.parse(str(address)), address, "what is shown is what is read")
    place = split_address(join_address(address.host, address.port))
    must_equal(place, (address.host, address.port), "a place comes back")


def _address_samples() -> list[bytes]:
    key = bytes(range(32))
    known = [Address("example.org", 7717, key), Address("::1", 1), Address("fe80::1%eth0", 9, key)]
    plain = ["localhost:0", "[127.0.0.1]:65535", "h:00080", key.hex(), key.hex().upper()]
    return [text.encode() for text in [*map(str, known), *plain]]


# --- certificates -------------------------------------------------------------------------


def _certificate(data: bytes) -> bytes:
    # The library warns of what it will refuse some day; refused or not is all that we ask.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return key_in(data)


def _certificate_law(_: bytes, key: bytes) -> None:
    must_equal(len(key), 32, "a key has 32 bytes")


def _certificate_samples() -> list[bytes]:
    identity = Identity.of(keys(1)[0])
    return [ssl.PEM_cert_to_DER_cert(identity.certificate.decode("ascii"))]


# --- what a damaged disk may hold ---------------------------------------------------------

_ARRIVAL = layout.arrival_key(7)


def _record(data: bytes) -> Any:
    kind, value = data[:1], data[1:]
    if kind == b"o":
        return layout.unpack_origin(_ARRIVAL, value)
    return layout.unpack_collection(value) if kind == b"c" else layout.unpack_log(value)


def _record_law(data: bytes, record: Any) -> None:
    match record:
        case layout.LogRecord(collection, short_id, header, payload):
            written = layout.pack_log(collection, short_id, header, payload)
        case (Summary() as summary, name):
            written = layout.pack_collection(summary, name)
        case (last, at, peer):
            written = layout.pack_origin(_ARRIVAL, last, at, peer)
    must_equal(written, data[1:], "a record has one spelling")


def _record_samples() -> list[bytes]:
    (entry,) = entries(1)
    return [
        b"l" + layout.pack_log(1, entry.id, entry.header, entry.payload),
        b"l" + layout.pack_log(2**32 - 1, entry.id, entry.header, None),
        b"c" + layout.pack_collection(Summary(3, bytes(range(32))), "né"),
        b"o" + layout.pack_origin(_ARRIVAL, 9, MIDNIGHT, b"n" * 32),
        b"o" + layout.pack_origin(_ARRIVAL, 7, 0, b""),
    ]


FILE_TARGETS = [
    Target("native", "one spelling of every header",
           _NATIVE.decode, (InvalidEntryError,), _native_samples, _native_law),
    Target("export", "the same entries however the file is read, and when written again",
           _export, (ExportFileError,), _export_samples, _export_law),
    Target("peers", "what is written is what is read",
           _peers, (PeersFileError, NewerFormatError), _peers_samples, _peers_law),
    Target("addresses", "what is shown is what is read",
           _address, (UsageError,), _address_samples, _address_law),
    Target("certificates", "a sound key of 32 bytes",
           _certificate, (PeerIdentityError,), _certificate_samples, _certificate_law),
    Target("records", "one spelling of what the store keeps",
           _record, (DamagedStoreError,), _record_samples, _record_law),
]  # fmt: skip
