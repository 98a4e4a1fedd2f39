"""The index's tables, key by key and value by value. `docs/bamboo-index.md` shows them.

Numbers are unsigned and big-endian. A log has a number of its own on each node; whatever
is said of its entries begins with that, so that one log lies together on the disk.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from bamboo_compat.core.report import Standing
from bamboo_compat.core.yamf import PREFIX, Flavour
from setsync.errors import DamagedStoreError

LOGS = b"bamboo.logs"
NUMBERS = b"bamboo.numbers"
NODES = b"bamboo.nodes"
NAMES = b"bamboo.names"
LOOSE = b"bamboo.loose"
HEADS = b"bamboo.heads"
CONTESTED = b"bamboo.contested"
LEVELS = b"bamboo.levels"
SUBJECTS = b"bamboo.subjects"
SCHEMAS = b"bamboo.schemas"
FORKS = b"bamboo.forks"
DOUBTS = b"bamboo.doubts"
STATE = b"bamboo.state"
TABLES = (
    LOGS,
    NUMBERS,
    NODES,
    NAMES,
    LOOSE,
    HEADS,
    CONTESTED,
    LEVELS,
    SUBJECTS,
    SCHEMAS,
    FORKS,
    DOUBTS,
    STATE,
)

ID_BYTES = 32
# A link is kept as one byte of flavour and 32 of digest, see `link_of`.
LINK_BYTES = 33
NAME_BYTES = 8
NOTHING = bytes(LINK_BYTES)
_YASMF: bytes = Flavour.YASMF.value
_BY_BLAKE3 = _YASMF[-1:]
_BY_BLAKE2B = Flavour.YAMF.value[-1:]


def link_to(id_: bytes) -> bytes:
    """A link to an entry that is here, by whichever hash it was written: 0x20 | id 32."""
    return _BY_BLAKE3 + id_


def link_of(tagged: bytes) -> bytes:
    """A link to what is not here, all of it in 33 bytes: 0x20 | BLAKE3 digest 32, or
    0x40 | BLAKE3 of the BLAKE2b digest 32. No two tagged hashes have the same."""
    digest = tagged[PREFIX:]
    if tagged.startswith(_YASMF):
        return _BY_BLAKE3 + digest
    return _BY_BLAKE2B + blake3(digest).digest()


def names_of(id_: bytes, twin: bytes) -> tuple[bytes, bytes]:
    """What links to an entry are kept as until it is here; by its BLAKE3 and its BLAKE2b."""
    return link_to(id_), _BY_BLAKE2B + blake3(twin).digest()


def id_of(link: bytes) -> bytes:
    """The id in a link to an entry that is here."""
    return link[1:]


def number_key(log: int) -> bytes:
    """A log's number, 4 bytes."""
    return log.to_bytes(4, "big")


def log_key(author: bytes, log_id: int) -> bytes:
    """author 32 | log id 8."""
    return author + log_id.to_bytes(8, "big")


def split_log_key(key: bytes) -> tuple[bytes, int]:
    """The author and the log id of a key of `logs`."""
    return key[:32], int.from_bytes(key[32:], "big")


def level_key(log: int, seq_num: int) -> bytes:
    """log 4 | sequence number 8: where all entries of one number lie."""
    return log.to_bytes(4, "big") + seq_num.to_bytes(8, "big")


LEVEL_BYTES = 12


def node_key(log: int, seq_num: int, id_: bytes) -> bytes:
    """log 4 | sequence number 8 | id 32."""
    return log.to_bytes(4, "big") + seq_num.to_bytes(8, "big") + id_


def split_node_key(key: bytes) -> tuple[int, int, bytes]:
    """Log, sequence number and id of a key of `nodes`, or of the end of another key."""
    return int.from_bytes(key[:4], "big"), int.from_bytes(key[4:12], "big"), key[12:]


# --- logs ---------------------------------------------------------------------------------

_LOG = struct.Struct(">I9Q")


@dataclass(slots=True)
class LogRow:
    """What is kept of a log as a whole. `numbers`: how many sequence numbers occur;
    `broken` counts the inherited too; `ended`: end-of-log markers."""

    number: int
    height: int = 0
    numbers: int = 0
    entries: int = 0
    verified: int = 0
    waiting: int = 0
    broken: int = 0
    inherited: int = 0
    withheld: int = 0
    ended: int = 0

    def pack(self) -> bytes:
        """number 4 | then the others in their order, 8 each."""
        return _LOG.pack(
            self.number,
            self.height,
            self.numbers,
            self.entries,
            self.verified,
            self.waiting,
            self.broken,
            self.inherited,
            self.withheld,
            self.ended,
        )

    @classmethod
    def unpack(cls, value: bytes) -> LogRow:
        """Raises DamagedStoreError."""
        try:
            return cls(*_LOG.unpack(value))
        except struct.error as error:
            raise DamagedStoreError("A record of a Bamboo log is not readable.") from error


# --- nodes --------------------------------------------------------------------------------


class Flag:
    """What is known of an entry; bits of a node's flags. Plain numbers: an enum's arithmetic
    takes longer than all else that is done with them."""

    END_OF_LOG: Final = 1
    WITHHELD: Final = 2
    INHERITED: Final = 4
    HAS_BACKLINK: Final = 8
    HAS_LIPMAALINK: Final = 16
    BACKLINK_FOUND: Final = 32
    LIPMAALINK_FOUND: Final = 64
    BACKLINK_ASTRAY: Final = 128
    LIPMAALINK_ASTRAY: Final = 256
    RFC0001: Final = 512
    AQUADOGGO: Final = 1024
    RFC0001_READ: Final = 2048
    AQUADOGGO_READ: Final = 4096


_NODE = struct.Struct(">QQBH")
_STANDINGS = (Standing.WAITING, Standing.VERIFIED, Standing.BROKEN)
_STANDING_NUMBERS = {standing: number for number, standing in enumerate(_STANDINGS)}


class Node:
    """An entry in the index.

    A link is `link_to` the entry that it leads to once that is here (`..._FOUND`: in its
    place, `..._ASTRAY`: not what it should be), else `link_of` the hash as written.
    `arrival` is the first copy's, `payload_arrival` that of a copy with the payload, or 0; with
    WITHHELD that of a copy whose payload was dropped here. `document`: tagged hash of the
    operation that the document began with, or nothing.
    """

    __slots__ = (
        "arrival",
        "backlink",
        "document",
        "flags",
        "id",
        "lipmaalink",
        "log",
        "payload_arrival",
        "seq_num",
        "standing",
    )

    def __init__(
        self,
        log: int,
        seq_num: int,
        id_: bytes,
        arrival: int,
        payload_arrival: int,
        standing: Standing,
        flags: int,
        backlink: bytes,
        lipmaalink: bytes,
        document: bytes,
    ) -> None:
        self.log = log
        self.seq_num = seq_num
        self.id = id_
        self.arrival = arrival
        self.payload_arrival = payload_arrival
        self.standing = standing
        self.flags = flags
        self.backlink = backlink
        self.lipmaalink = lipmaalink
        self.document = document

    @property
    def key(self) -> bytes:
        """Its key in `nodes`."""
        return node_key(self.log, self.seq_num, self.id)

    def has(self, flag: int) -> bool:
        """Whether a flag is set."""
        return bool(self.flags & flag)

    def pack(self) -> bytes:
        """arrival 8 | payload's arrival 8 | standing 1 | flags 2 | backlink 33 if there is
        one | lipmaalink 33 if it is spelled out | document."""
        head = _NODE.pack(
            self.arrival, self.payload_arrival, _STANDING_NUMBERS[self.standing], self.flags
        )
        return b"".join((head, self.backlink, self.lipmaalink, self.document))


def unpack_node(key: bytes, value: bytes) -> Node:
    """Raises DamagedStoreError for bytes that this version never wrote."""
    try:
        arrival, payload_arrival, standing, flags = _NODE.unpack_from(value)
        at = _NODE.size
        backlink = lipmaalink = b""
        if flags & Flag.HAS_BACKLINK:
            backlink = value[at : at + LINK_BYTES]
            at += LINK_BYTES
        if flags & Flag.HAS_LIPMAALINK:
            lipmaalink = value[at : at + LINK_BYTES]
            at += LINK_BYTES
        log, seq_num, id_ = split_node_key(key)
        return Node(
            log,
            seq_num,
            id_,
            arrival,
            payload_arrival,
            _STANDINGS[standing],
            flags,
            backlink,
            lipmaalink,
            value[at:],
        )
    except (struct.error, IndexError) as error:
        raise DamagedStoreError("A record of a Bamboo entry is not readable.") from error


# --- names: the beginning of either hash -> where the entry is ----------------------------


def name_key(digest: bytes, log: int, seq_num: int, id_: bytes) -> bytes:
    """beginning of the digest 8 | log 4 | sequence number 8 | beginning of the id 8."""
    return digest[:NAME_BYTES] + node_key(log, seq_num, id_[:NAME_BYTES])


# --- loose: links to what is not here ------------------------------------------------------


class Link(enum.IntEnum):
    """What an entry names another by."""

    BACKLINK = 0
    LIPMAALINK = 1
    PREVIOUS = 2


def loose_key(target: bytes, link: Link, node: bytes = b"") -> bytes:
    """`link_of` what is missing 33 | which link 1 | key of the entry that has it, 44."""
    return target + bytes([link]) + node


# --- contested numbers: where several entries have one ------------------------------------


def contested_key(level: bytes, link: Link, target: bytes, id_: bytes = b"") -> bytes:
    """log 4 | sequence number 8 | which link 1 | what it leads to 33 | id 32."""
    return level + bytes([link]) + target + id_


_LEVEL = struct.Struct(">QQQ")


@dataclass(slots=True)
class Level:
    """A number that several entries have: how many, of how many parents, and how many of
    them with a parent that is not (known to be) here."""

    entries: int
    families: int
    orphans: int

    def pack(self) -> bytes:
        """entries 8 | families 8 | orphans 8."""
        return _LEVEL.pack(self.entries, self.families, self.orphans)

    @classmethod
    def unpack(cls, value: bytes) -> Level:
        """Raises DamagedStoreError."""
        try:
            return cls(*_LEVEL.unpack(value))
        except struct.error as error:
            raise DamagedStoreError("A record of a contested number is not readable.") from error


# --- forks --------------------------------------------------------------------------------

_FORK = struct.Struct(">BBIQQ")


@dataclass(frozen=True, slots=True)
class ForkRow:
    """Where a log parts. `found`: the arrival number at which this node saw it. `about`:
    the parent; of a double schema its subject. `profile`: 0, or 1 rfc0001, 2 aquadoggo."""

    kind: int
    profile: int
    log: int
    seq_num: int
    found: int
    about: bytes

    def pack(self) -> bytes:
        """kind 1 | profile 1 | log 4 | sequence number 8 | found 8 | about."""
        head = _FORK.pack(self.kind, self.profile, self.log, self.seq_num, self.found)
        return head + self.about

    @classmethod
    def unpack(cls, value: bytes) -> ForkRow:
        """Raises DamagedStoreError."""
        try:
            kind, profile, log, seq_num, found = _FORK.unpack_from(value)
        except struct.error as error:
            raise DamagedStoreError("A record of a fork is not readable.") from error
        return cls(kind, profile, log, seq_num, found, value[_FORK.size :])


def doubt_key(log: int, seq_num: int, fork: bytes) -> bytes:
    """log 4 | sequence number 8 | fork 32: from where on a log is in doubt."""
    return level_key(log, seq_num) + fork


# --- subjects: what a log is for -----------------------------------------------------------


def subject_key(subject: bytes, log_id: int) -> bytes:
    """beginning of BLAKE3 of profile, author and subject 32 | log id 8."""
    return subject + log_id.to_bytes(8, "big")


# --- schemas: which there are, and which log has which -------------------------------------


class SchemaRow(enum.IntEnum):
    """What a key of `schemas` begins with."""

    TEXT = 0
    LOG_OF_SCHEMA = 1
    SCHEMA_OF_LOG = 2


def schema_text_key(profile: int, name: bytes) -> bytes:
    """0 | profile 1 | beginning of the schema's BLAKE3, 16. The value: the schema, UTF-8."""
    return bytes([SchemaRow.TEXT, profile]) + name


def log_of_schema_key(profile: int, name: bytes, log: bytes = b"") -> bytes:
    """1 | profile 1 | beginning of the schema's BLAKE3, 16 | log 4."""
    return bytes([SchemaRow.LOG_OF_SCHEMA, profile]) + name + log


def schema_of_log_key(log: int, profile: int | None = None, name: bytes = b"") -> bytes:
    """2 | log 4 | profile 1 | beginning of the schema's BLAKE3, 16."""
    last = b"" if profile is None else bytes([profile])
    return bytes([SchemaRow.SCHEMA_OF_LOG]) + number_key(log) + last + name


SCHEMA_NAME_BYTES = 16

STATE_VERSION = b"version"
VERSION = (2).to_bytes(4, "big")
STATE_LOGS = b"logs"
