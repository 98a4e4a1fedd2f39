"""One entry: its bytes, read strictly and written back.

| field | bytes | there |
|---|---|---|
| tag | 1: 0x00, or 0x01 for an end-of-log marker | always |
| author | 32: Ed25519 public key | always |
| log id | VarU64 | always |
| sequence number | VarU64, 1 or more | always |
| lipmaalink | hash | where it is neither entry 1 nor a repetition of the backlink |
| backlink | hash | from entry 2 on |
| payload size | VarU64 | always |
| payload hash | hash | always |
| signature | 64: Ed25519 over every byte before | always |

Nothing follows the signature. VarU64 and hash are those of `varu64` and `yamf`. Every field
has one spelling, so a log's entry has one byte string.
"""

from __future__ import annotations

from typing import NamedTuple

from bamboo_compat.core import checks, keys, varu64, yamf
from bamboo_compat.core.lipmaa import has_lipmaalink
from bamboo_compat.core.report import Finding
from bamboo_compat.core.yamf import Flavour

MAX_ENTRY = 1 + 32 + 9 + 9 + 2 * yamf.MAX_HASH + 9 + yamf.MAX_HASH + 64
# A hash of a flavour that does not exist is stepped over if it says to be this long or less.
_STEP_OVER = 255
# How long a hash is, by how it begins.
_SIZES = {flavour.value: yamf.PREFIX + flavour.value[1] for flavour in Flavour}


class BadEntryError(ValueError):
    """These bytes are not an entry; `findings` say why, in the order of the bytes."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        first = findings[0]
        super().__init__(f"{first.reason}: expected {first.expected}, found {first.found}")
        self.findings = findings


class Entry(NamedTuple):
    """What an entry's bytes claim. Links and hashes are tagged, see `yamf`."""

    end_of_log: bool
    author: bytes
    log_id: int
    seq_num: int
    lipmaalink: bytes | None
    backlink: bytes | None
    payload_size: int
    payload_hash: bytes
    signature: bytes


class Scan(NamedTuple):
    """What can be read from some place on. `entry` is None where reading had to stop; it is
    only an entry if there are no findings."""

    entry: Entry | None
    end: int
    findings: list[Finding]


def scan(data: bytes, start: int = 0) -> Scan:
    """Read one entry from `start` on, past broken rules where that is possible."""
    plain = _read_plain(data, start)
    if plain is not None:
        return plain
    cursor = _Cursor(data, start)
    try:
        entry = _read(cursor)
    except _StopReading:
        return Scan(None, cursor.at, cursor.findings)
    return Scan(entry, cursor.at, cursor.findings)


def decode(data: bytes) -> Entry:
    """Read one entry, all of it and nothing else. Raises BadEntryError."""
    entry, end, findings = scan(data)
    if entry is not None and (finding := checks.check_end(len(data) - end)):
        findings.append(finding)
    if findings or entry is None:
        raise BadEntryError(tuple(findings))
    return entry


def encode(entry: Entry) -> bytes:
    """The bytes of an entry. Raises ValueError for what no entry can be."""
    if len(entry.signature) != keys.SIGNATURE_BYTES:
        raise ValueError(f"A signature has 64 bytes, not {len(entry.signature)}.")
    return unsigned(entry) + entry.signature


def unsigned(entry: Entry) -> bytes:
    """The bytes that are signed. Raises ValueError for what no entry can be."""
    if len(entry.author) != keys.PUBLIC_KEY_BYTES:
        raise ValueError(f"An author has 32 bytes, not {len(entry.author)}.")
    if entry.seq_num < 1:
        raise ValueError("Entries are counted from 1.")
    return b"".join(
        [
            bytes([entry.end_of_log]),
            entry.author,
            varu64.encode(entry.log_id),
            varu64.encode(entry.seq_num),
            _link("lipmaalink", entry.lipmaalink, has_lipmaalink(entry.seq_num)),
            _link("backlink", entry.backlink, entry.seq_num > 1),
            varu64.encode(entry.payload_size),
            _link("payload hash", entry.payload_hash, wanted=True),
        ]
    )


def sign(
    seed: bytes,
    log_id: int,
    seq_num: int,
    payload: bytes,
    *,
    backlink: bytes | None = None,
    lipmaalink: bytes | None = None,
    end_of_log: bool = False,
    flavour: Flavour = Flavour.YASMF,
) -> bytes:
    """Make the bytes of an entry. A lipmaalink that must not be spelled out is left out.

    Raises ValueError for a missing link and for what no entry can be.
    """
    entry = Entry(
        end_of_log=end_of_log,
        author=keys.public_key(seed),
        log_id=log_id,
        seq_num=seq_num,
        lipmaalink=lipmaalink if has_lipmaalink(seq_num) else None,
        backlink=backlink,
        payload_size=len(payload),
        payload_hash=yamf.hash_of(flavour, payload),
        signature=b"",
    )
    body = unsigned(entry)
    return body + keys.sign(seed, body)


def _link(field: str, tagged: bytes | None, wanted: bool) -> bytes:
    if (tagged is not None) != wanted:
        raise ValueError(f"The {field} {'is missing' if wanted else 'must be left out'}.")
    if tagged is None:
        return b""
    if tagged[:2] not in (Flavour.YAMF.value, Flavour.YASMF.value) or len(tagged) != 2 + tagged[1]:
        raise ValueError(f"The {field} is not a hash: {tagged.hex()}.")
    return tagged


def _read_plain(data: bytes, at: int) -> Scan | None:
    """Nearly every entry, straight down; None for one that the cursor has to look at.

    The cursor says what the rules are. This only saves its time, a tenth of that of a
    signature, so it is written out: one byte for most numbers, two that tell a hash's flavour,
    64 of signature. A test holds the two against each other.
    """
    sizes = _SIZES
    try:
        tag = data[at]
        author = data[at + 1 : at + 33]
        log_id = data[at + 33]
        at += 34
        if log_id >= varu64.WIDE:
            log_id, at = _plain_number(data, at - 1)
        seq_num = data[at]
        at += 1
        if seq_num >= varu64.WIDE:
            seq_num, at = _plain_number(data, at - 1)
        lipmaalink = backlink = None
        if seq_num > 1:
            if has_lipmaalink(seq_num):
                end = at + sizes[data[at : at + 2]]
                lipmaalink = data[at:end]
                at = end
            end = at + sizes[data[at : at + 2]]
            backlink = data[at:end]
            at = end
        payload_size = data[at]
        at += 1
        if payload_size >= varu64.WIDE:
            payload_size, at = _plain_number(data, at - 1)
        end = at + sizes[data[at : at + 2]]
        payload_hash = data[at:end]
    except (IndexError, KeyError, _StopReading):
        return None
    signature = data[end : end + 64]
    if tag > 1 or seq_num == 0 or len(signature) != 64:
        return None
    entry = Entry(
        tag == 1,
        author,
        log_id,
        seq_num,
        lipmaalink,
        backlink,
        payload_size,
        payload_hash,
        signature,
    )
    return Scan(entry, end + 64, [])


def _plain_number(data: bytes, at: int) -> tuple[int, int]:
    """A number of several bytes."""
    number, end = varu64.read(data, at)
    if end - at != varu64.canonical_width(number):
        raise _StopReading
    return number, end


def _read(cursor: _Cursor) -> Entry:
    tag = cursor.take("the tag", 1)[0]
    cursor.note(checks.check_tag(tag))
    author = cursor.take("the author", keys.PUBLIC_KEY_BYTES)
    log_id = cursor.number("log id")
    seq_num = cursor.number("sequence number")
    cursor.note(checks.check_seq_num(seq_num))
    return Entry(
        tag == 1,
        author,
        log_id,
        seq_num,
        cursor.hash("a lipmaalink") if has_lipmaalink(seq_num) else None,
        cursor.hash("a backlink") if seq_num > 1 else None,
        cursor.number("payload size"),
        cursor.hash("a payload hash"),
        cursor.take("the signature", keys.SIGNATURE_BYTES),
    )


class _StopReading(Exception):  # noqa: N818 - nothing went wrong that is not in the findings
    pass


class _Cursor:
    """A place in some bytes, and what was wrong on the way there."""

    __slots__ = ("at", "data", "findings")

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at
        self.findings: list[Finding] = []

    def note(self, finding: Finding | None) -> None:
        if finding is not None:
            self.findings.append(finding)

    def take(self, field: str, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            self._stop(checks.check_length(field, size, len(self.data) - self.at))
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def number(self, field: str) -> int:
        start = self.at
        if start < len(self.data) and (first := self.data[start]) < varu64.WIDE:
            self.at = start + 1
            return first
        try:
            number, self.at = varu64.read(self.data, start)
        except IndexError:
            left = len(self.data) - start
            wanted = self.data[start] - 246 if left else 1
            self._stop(checks.check_length(f"the {field}", wanted, left))
        self.note(checks.check_canonical(field, number, self.at - start))
        return number

    def hash(self, field: str) -> bytes:
        start = self.at
        known = _SIZES.get(self.data[start : start + yamf.PREFIX])
        if known is not None and (end := start + known) <= len(self.data):
            self.at = end
            return self.data[start:end]
        kind = self.number(f"kind of {field}")
        size = self.number(f"size of {field}")
        unknown = checks.check_hash(field, kind, size)
        if unknown is not None:
            self.findings.append(unknown)
            if size > _STEP_OVER:
                raise _StopReading
        self.take(field, size)
        return self.data[start : self.at]

    def _stop(self, finding: Finding | None) -> None:
        self.note(finding)
        raise _StopReading
