"""Every LMDB table's key and value bytes, written down once. `docs/storage.md` shows them.

Numbers are unsigned and big-endian, so that their order is LMDB's order.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from blake3 import blake3

from setsync.errors import DamagedStoreError
from setsync.model.refusal import Refusal
from setsync.reconcile.digest import COUNT_BYTES, DIGEST_BYTES, Summary, pack_prefix

FORMAT_VERSION = 1

LOG = b"log"
MEMBERS = b"members"
TRIE = b"trie"
COLLECTIONS = b"collections"
NAMES = b"names"
OPENERS = b"openers"
RECENT = b"recent"
SKETCHES = b"sketches"
ORIGINS = b"origins"
AUTHORS = b"authors"
BRINGERS = b"bringers"
WITHHELD = b"withheld"
REFUSED = b"refused"
STATE = b"state"
TABLES = (
    LOG,
    MEMBERS,
    TRIE,
    COLLECTIONS,
    NAMES,
    OPENERS,
    RECENT,
    SKETCHES,
    ORIGINS,
    AUTHORS,
    BRINGERS,
    WITHHELD,
    REFUSED,
    STATE,
)
# Room for tables of guests and of later versions; LMDB wants the number on opening.
MAX_TABLES = 32

STATE_FORMAT = b"format"
STATE_LAST_ARRIVAL = b"last_arrival"
STATE_ENTRIES = b"entries"
STATE_CHECKPOINT = b"checkpoint"
# That `authors` and `withheld` were counted: stores from before these tables lack it.
STATE_USAGE = b"usage"
USAGE_COUNTED = b"\x01"


# --- log: arrival number -> entry ---------------------------------------------------------


class PayloadState(enum.IntEnum):
    """Where an entry's payload is."""

    HERE = 0
    WITHHELD = 1
    DROPPED = 2


# Of an id, `8s` packs the first 8 bytes.
_LOG_HEAD = struct.Struct(">BBI8sI")
_HERE = PayloadState.HERE.value
_LOG_KIND_ENTRY = 1
LOG_HEAD_BYTES = _LOG_HEAD.size


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One arrived entry: the number of its collection, its exact bytes, its payload. `dropped`:
    the payload was removed here on purpose."""

    collection: int
    short_id: bytes
    header: bytes
    payload: bytes | None
    dropped: bool = False

    @property
    def size(self) -> int:
        """Bytes of header and payload."""
        return len(self.header) + len(self.payload or b"")


def arrival_key(arrival: int) -> bytes:
    """An arrival number, 8 bytes."""
    return arrival.to_bytes(8, "big")


def pack_log(
    collection: int, id_: bytes, header: bytes, payload: bytes | None, *, dropped: bool = False
) -> bytes:
    """kind 1 | payload state 1 | collection 4 | first 8 bytes of the id | header length 4 |
    header | payload.

    By the id's first bytes `setsync check` holds `recent` against the log. `dropped` goes
    with no payload.
    """
    if payload is not None:
        head = _LOG_HEAD.pack(_LOG_KIND_ENTRY, _HERE, collection, id_, len(header))
        return b"".join((head, header, payload))
    state = PayloadState.DROPPED if dropped else PayloadState.WITHHELD
    return _LOG_HEAD.pack(_LOG_KIND_ENTRY, state, collection, id_, len(header)) + header


def unpack_log(value: bytes) -> LogRecord:
    """Raises DamagedStoreError for bytes that this version never wrote."""
    try:
        kind, state, collection, short_id, length = _LOG_HEAD.unpack_from(value)
    except struct.error as error:
        raise DamagedStoreError("An entry in the log is cut short.") from error
    end = _LOG_HEAD.size + length
    if kind != _LOG_KIND_ENTRY or state not in (0, 1, 2) or end > len(value):
        raise DamagedStoreError("An entry in the log is not readable.")
    if state != PayloadState.HERE and end != len(value):
        raise DamagedStoreError("An entry in the log says it has no payload, and has one.")
    payload = value[end:] if state == PayloadState.HERE else None
    header = value[_LOG_HEAD.size : end]
    return LogRecord(collection, short_id, header, payload, state == PayloadState.DROPPED)


# --- collections: number -> summary and name; names: name -> number -----------------------

_COLLECTION_HEAD = COUNT_BYTES + DIGEST_BYTES


def collection_key(number: int) -> bytes:
    """A collection's number, 4 bytes."""
    return number.to_bytes(4, "big")


def pack_collection(summary: Summary, name: str) -> bytes:
    """count 8 | digest 32 | name, UTF-8."""
    return summary.pack() + name.encode("utf-8")


def unpack_collection(value: bytes) -> tuple[Summary, str]:
    """Raises DamagedStoreError for bytes that this version never wrote."""
    if len(value) <= _COLLECTION_HEAD:
        raise DamagedStoreError("A collection's record is cut short.")
    try:
        name = value[_COLLECTION_HEAD:].decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedStoreError("A collection's name is not readable.") from error
    count = int.from_bytes(value[:COUNT_BYTES], "big")
    return Summary(count, value[COUNT_BYTES:_COLLECTION_HEAD]), name


# --- trie and members ---------------------------------------------------------------------


def trie_key(collection: bytes, prefix: str) -> bytes:
    """collection 4 | depth 1 | prefix, two digits a byte. Upper levels lie together."""
    return collection + bytes([len(prefix)]) + pack_prefix(prefix)


def leaf_key(collection: bytes, prefix: str) -> bytes:
    """collection 4 | prefix, two digits a byte, an odd last digit filled up with 0.

    Two leaves never share a key, since their ranges are disjoint, and the order of keys is
    the order of ranges: so the leaf around an id is the last key at or below it.
    """
    return collection + pack_prefix(prefix)


def leaf_keys(collection: bytes, prefixes: Iterable[str]) -> list[bytes]:
    """The same of many."""
    pack = bytes.fromhex
    return [collection + pack(one + "0" if len(one) & 1 else one) for one in prefixes]


# --- origins: first arrival number -> who brought it, when ---------------------------------

_ORIGIN_HEAD = struct.Struct(">QQ")
_ORIGIN_CHECK = 4
_PEER_SIZES = (0, 32)


def pack_origin(key: bytes, last: int, at: int, peer: bytes) -> bytes:
    """last arrival number 8 | milliseconds since 1970, 8 | node id, 32 or nothing | check 4.

    Nothing else in the store says who brought what, so a change could not be noticed but
    for the check: the first bytes of BLAKE3 of the key and of what stands before it.
    """
    told = _ORIGIN_HEAD.pack(last, at) + peer
    return told + _origin_check(key, told)


def unpack_origin(key: bytes, value: bytes) -> tuple[int, int, bytes]:
    """Last arrival number, milliseconds, node id. Raises DamagedStoreError."""
    told, check = value[:-_ORIGIN_CHECK], value[-_ORIGIN_CHECK:]
    size = len(told) - _ORIGIN_HEAD.size
    if size not in _PEER_SIZES or check != _origin_check(key, told):
        raise DamagedStoreError("A record of who brought entries is not readable.")
    last, at = _ORIGIN_HEAD.unpack_from(told)
    return last, at, told[_ORIGIN_HEAD.size :]


def _origin_check(key: bytes, told: bytes) -> bytes:
    digest: bytes = blake3(key + told).digest()
    return digest[:_ORIGIN_CHECK]


# --- authors and bringers: who keeps how much, and who brought how much in a day ------------

_USAGE_BYTES = 16
_BROUGHT = struct.Struct(">IQQ")
_DAY_MILLISECONDS = 86_400_000
_LAST_DAY = (1 << 32) - 1


# Entries and bytes as one number, so that adding to both is one addition.
ONE_ENTRY = 1 << 64
_USAGE_SIZE = ONE_ENTRY - 1


def pack_usage(usage: int) -> bytes:
    """entries 8 | bytes of headers and payloads 8."""
    return usage.to_bytes(_USAGE_BYTES, "big")


def unpack_usage(value: bytes) -> int:
    """Entries times ONE_ENTRY, and bytes. Raises DamagedStoreError."""
    if len(value) != _USAGE_BYTES:
        raise DamagedStoreError("What an author keeps here is not readable.")
    return int.from_bytes(value, "big")


NO_USAGE = bytes(_USAGE_BYTES)


def add_usage(value: bytes, more: int) -> bytes:
    """A row with so much more in it. Raises DamagedStoreError."""
    return (unpack_usage(value) + more).to_bytes(_USAGE_BYTES, "big")


def split_usage(usage: int) -> tuple[int, int]:
    """Entries and bytes."""
    return usage >> 64, usage & _USAGE_SIZE


def day_of(at: int) -> int:
    """The UTC day of a moment in milliseconds since 1970, counted from there."""
    return min(at // _DAY_MILLISECONDS, _LAST_DAY)


def pack_brought(day: int, entries: int, size: int) -> bytes:
    """day since 1970, 4 | entries 8 | bytes of headers and payloads 8."""
    return _BROUGHT.pack(day, entries, size)


def unpack_brought(value: bytes) -> tuple[int, int, int]:
    """Day, entries and bytes. Raises DamagedStoreError."""
    try:
        day, entries, size = _BROUGHT.unpack(value)
    except struct.error as error:
        raise DamagedStoreError("What a peer brought in a day is not readable.") from error
    return day, entries, size


# --- withheld: arrival number -> size of a payload that is not here ------------------------


def pack_size(size: int) -> bytes:
    """A payload's size by its header, 8."""
    return size.to_bytes(8, "big")


def unpack_size(value: bytes) -> int:
    """Raises DamagedStoreError."""
    if len(value) != 8:
        raise DamagedStoreError("The size of a payload that is not here is not readable.")
    return int.from_bytes(value, "big")


# --- refused: who refuses which entry -> when, and why -------------------------------------

_REFUSED = struct.Struct(">QB")
_REFUSED_KEY_BYTES = 1 + 32 + 8 + 32
_REFUSER_KINDS = 3


def refused_key(kind: int, peer: bytes, collection: str, id_: bytes = b"") -> bytes:
    """kind of refuser 1 | peer 32 | beginning of BLAKE3 of the collection's name 8 | id 32."""
    name: bytes = blake3(collection.encode("utf-8", "replace")).digest()
    return bytes([kind]) + peer + name[:8] + id_


def pack_refused(at: int, reason: int) -> bytes:
    """milliseconds since 1970, 8 | reason 1."""
    return _REFUSED.pack(at, reason)


def unpack_refused(key: bytes, value: bytes) -> tuple[int, Refusal]:
    """When, in milliseconds, and why. Raises DamagedStoreError."""
    try:
        at, reason = _REFUSED.unpack(value)
        refusal = Refusal(reason)
    except (struct.error, ValueError) as error:
        raise DamagedStoreError("A refusal is not readable.") from error
    if len(key) != _REFUSED_KEY_BYTES or key[0] >= _REFUSER_KINDS:
        raise DamagedStoreError("A refusal is by nobody, or of nothing.")
    return at, refusal


# --- sketches -----------------------------------------------------------------------------


def recent_key(first_arrival: bytes, collection: bytes) -> bytes:
    """first arrival number of the batch 8 | collection 4. The value: short ids, 8 bytes each."""
    return first_arrival + collection


def recent_collection(key: bytes) -> bytes:
    """The collection that a key of `recent` names."""
    return key[8:]


def sketch_key(collection: bytes, prefix: str) -> bytes:
    """collection 4 | the digit of a first-level range, in ASCII, or nothing for the whole."""
    return collection + prefix.encode("ascii")
