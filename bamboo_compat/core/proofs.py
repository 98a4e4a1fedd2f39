"""A fork proof: the signed entries that contradict each other, in one file.

Whoever has the file needs nothing else and nobody's word to see the contradiction, see
`claims`. Here are only its bytes. Numbers are unsigned and big-endian.

| offset | size | type | field |
|---|---|---|---|
| 0 | 11 | ASCII | magic: `bamboo-fork` |
| 11 | 1 | u8 | version: 1 |
| 12 | 1 | u8 | kind: 1 branch, 2 double_schema, 3 after_end |
| 13 | 1 | u8 | size of the profile's name; 0 for branch and after_end |
| 14 | so many | ASCII | profile, of double_schema: `rfc0001` or `aquadoggo` |
| then | | side | first side |
| then | | side | second side |

| in a side | size | type | field |
|---|---|---|---|
| 0 | 2 | u16 | how many entries: 1; by `aquadoggo` 1 to 1,000 |
| 2 | | | the entries |

| in an entry | size | type | field |
|---|---|---|---|
| 0 | 2 | u16 | size of the entry, at most 322 |
| 2 | so many | bytes | the entry, signature included |
| then | 4 | u32 | 0: no payload; else the payload's size plus 1, at most 1 MiB plus 1 |
| then | so many | bytes | payload |

Nothing follows the second side. Of double_schema every entry has its payload, of the other
kinds none has. The sides stand in one order (see `claims`), so two entries have one file.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

from bamboo_compat.core.entry import MAX_ENTRY
from bamboo_compat.core.profiles import MAX_OPERATION, PROFILES
from bamboo_compat.core.report import Finding, ForkKind

MAGIC = b"bamboo-fork"
VERSION = 1
# A check costs a signature an entry: two chains of this length take about 0.1 seconds, and
# a document that was changed so often before one author mixed up logs is hardly there.
MAX_CHAIN = 1000
# As much as one payload of the set holds, so that a proof can travel as an entry.
MAX_PROOF = 16 * 1024 * 1024

_KINDS = {1: ForkKind.BRANCH, 2: ForkKind.DOUBLE_SCHEMA, 3: ForkKind.AFTER_END}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}


class ProofReason(enum.StrEnum):
    """Which rule a proof breaks: of its bytes, of its entries, of what they say together."""

    NOT_A_PROOF = "not_a_proof"
    BAD_VERSION = "bad_version"
    BAD_KIND = "bad_kind"
    BAD_PROFILE = "bad_profile"
    TRUNCATED = "truncated"
    TRAILING_BYTES = "trailing_bytes"
    TOO_LONG = "too_long"
    NO_ENTRY = "no_entry"
    PAYLOAD_MISSING = "payload_missing"
    NEEDLESS_PAYLOAD = "needless_payload"

    BAD_ENTRY = "bad_entry"
    BAD_PAYLOAD = "bad_payload"
    NOT_AN_OPERATION = "not_an_operation"

    EQUAL_ENTRIES = "equal_entries"
    TWO_AUTHORS = "two_authors"
    TWO_LOGS = "two_logs"
    TWO_NUMBERS = "two_numbers"
    NOT_THE_END = "not_the_end"
    NOT_AFTER_END = "not_after_end"
    NO_LINK_TO_END = "no_link_to_end"
    ONE_LOG = "one_log"
    OUT_OF_ORDER = "out_of_order"
    SCHEMAS_DIFFER = "schemas_differ"
    CHAIN_BROKEN = "chain_broken"
    TWO_DOCUMENTS = "two_documents"


class BadProofError(ValueError):
    """These bytes or entries prove no fork.

    `finding`: what is wrong with an entry by itself, for bad_entry and bad_payload.
    """

    def __init__(
        self, reason: ProofReason, expected: str, found: str, finding: Finding | None = None
    ) -> None:
        super().__init__(f"{reason}: expected {expected}, found {found}")
        self.reason = reason
        self.expected = expected
        self.found = found
        self.finding = finding


class Signed(NamedTuple):
    """An entry's bytes, and its payload where the proof needs it."""

    entry: bytes
    payload: bytes | None = None


Side = tuple[Signed, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """What a file holds: of the right shape, and nothing known yet of what it shows.

    A side is one entry, or by `aquadoggo` the way from it to its document's first
    operation. Raises BadProofError where it would not fit the file.
    """

    kind: ForkKind
    one: Side
    two: Side
    profile: str = ""

    def __post_init__(self) -> None:
        _check_profile(self.kind, self.profile)
        for number, side in enumerate((self.one, self.two), start=1):
            _check_count(len(side), self.longest_side, f"side {number}")
            for place, signed in enumerate(side, start=1):
                _check_signed(signed, self.kind, where(number, place))
        _check_most(self.size, MAX_PROOF, "bytes of proof")

    @property
    def longest_side(self) -> int:
        """How many entries a side may have."""
        is_chain = self.profile != "" and PROFILES[self.profile].log_per == "document"
        return MAX_CHAIN if is_chain else 1

    @property
    def size(self) -> int:
        """Of the file, in bytes."""
        entries = [*self.one, *self.two]
        carried = sum(6 + len(signed.entry) + len(signed.payload or b"") for signed in entries)
        return len(MAGIC) + 3 + len(self.profile) + 4 + carried

    def encode(self) -> bytes:
        """The file."""
        head = bytes([VERSION, _NUMBERS[self.kind], len(self.profile)])
        sides = [_side(side) for side in (self.one, self.two)]
        return b"".join([MAGIC, head, self.profile.encode("ascii"), *sides])


def decode(data: bytes) -> Proof:
    """Read a file strictly: one proof, one byte string. Raises BadProofError."""
    _check_most(len(data), MAX_PROOF, "bytes of proof")
    if not MAGIC.startswith(data[: len(MAGIC)]):
        wanted = f"a file that begins with '{MAGIC.decode()}'"
        raise BadProofError(ProofReason.NOT_A_PROOF, wanted, "another beginning")
    reader = _Reader(data)
    reader.take("the magic", len(MAGIC))
    version = reader.number("the version", 1)
    if version != VERSION:
        raise BadProofError(ProofReason.BAD_VERSION, f"version {VERSION}", str(version))
    number = reader.number("the kind", 1)
    if number not in _KINDS:
        raise BadProofError(ProofReason.BAD_KIND, "kind 1, 2 or 3", str(number))
    profile = reader.take("the profile", reader.number("the profile's size", 1))
    one, two = reader.side(), reader.side()
    if reader.left:
        raise BadProofError(
            ProofReason.TRAILING_BYTES, "nothing after the second side", f"{reader.left} more bytes"
        )
    return Proof(_KINDS[number], one, two, profile.decode("ascii", "backslashreplace"))


def where(side: int, place: int) -> str:
    """How a proof's entry is called in a sentence; both count from 1."""
    return f"entry {place} of side {side}"


# --- the shape ----------------------------------------------------------------------------


def _check_profile(kind: ForkKind, profile: str) -> None:
    """A profile where it matters, and there a known one."""
    if kind is not ForkKind.DOUBLE_SCHEMA and profile:
        raise BadProofError(ProofReason.BAD_PROFILE, f"no profile for {kind}", repr(profile))
    if kind is ForkKind.DOUBLE_SCHEMA and profile not in PROFILES:
        raise BadProofError(ProofReason.BAD_PROFILE, f"one of {', '.join(PROFILES)}", repr(profile))


def _check_count(count: int, most: int, side: str) -> None:
    if count == 0:
        raise BadProofError(ProofReason.NO_ENTRY, f"an entry in {side}", "none")
    _check_most(count, most, f"{'entry' if most == 1 else 'entries'} in {side}")


def _check_signed(signed: Signed, kind: ForkKind, name: str) -> None:
    """Neither part longer than it can be; a payload exactly where it shows something."""
    _check_most(len(signed.entry), MAX_ENTRY, f"bytes of {name}")
    if kind is ForkKind.DOUBLE_SCHEMA:
        if signed.payload is None:
            raise BadProofError(ProofReason.PAYLOAD_MISSING, f"the payload of {name}", "none")
        _check_most(len(signed.payload), MAX_OPERATION, f"bytes of the payload of {name}")
    elif signed.payload is not None:
        raise BadProofError(ProofReason.NEEDLESS_PAYLOAD, f"{name} alone", "a payload too")


def _check_most(count: int, most: int, what: str) -> None:
    if count > most:
        raise BadProofError(ProofReason.TOO_LONG, f"at most {most} {what}", str(count))


# --- the bytes ----------------------------------------------------------------------------


def _side(side: Side) -> bytes:
    return len(side).to_bytes(2, "big") + b"".join(_signed(signed) for signed in side)


def _signed(signed: Signed) -> bytes:
    size = len(signed.entry).to_bytes(2, "big")
    if signed.payload is None:
        return size + signed.entry + bytes(4)
    return size + signed.entry + (len(signed.payload) + 1).to_bytes(4, "big") + signed.payload


class _Reader:
    """A place in a file. It takes slices only, so what a file claims costs no memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes follow."""
        return len(self._data) - self._at

    def take(self, field: str, size: int) -> bytes:
        """The next so many bytes."""
        if size > self.left:
            raise BadProofError(
                ProofReason.TRUNCATED, f"{size} bytes of {field}", f"{self.left} bytes"
            )
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def number(self, field: str, width: int) -> int:
        """The next number."""
        return int.from_bytes(self.take(field, width), "big")

    def side(self) -> Side:
        """The next side."""
        return tuple(self._signed() for _ in range(self.number("a side's count", 2)))

    def _signed(self) -> Signed:
        entry = self.take("an entry", self.number("an entry's size", 2))
        size = self.number("a payload's size", 4)
        return Signed(entry, self.take("a payload", size - 1) if size else None)
