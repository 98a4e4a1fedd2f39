"""What a fork proof shows, found by looking at its entries and at nothing else.

`branch`: two entries of one author, log and sequence number, with different bytes.
`after_end`: an end-of-log marker, and an entry of the same log with a higher number, one of
whose links is the marker's hash.
`double_schema` by rfc0001: two entries of one author in two logs, with payloads of one
schema. By aquadoggo: the same of one document, and from each entry the chain of operations
down to the document's first one.

In a chain every operation names in `previous` the hash of the next entry of the
chain, which may be another author's; the last follows none, and its hash is the name.

The sides of after_end stand in that order, those of the other kinds ascending by the id
(BLAKE3-256) of their first entries. That two entries differ in no more than the signature
is the author's doing too: nobody else can make a second one that libsodium takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import assert_never

from blake3 import blake3

from bamboo_compat.core.examining import Member, examine
from bamboo_compat.core.forks import double_id, fork_id
from bamboo_compat.core.profiles import PROFILES, read_operation
from bamboo_compat.core.proofs import (
    MAX_CHAIN,
    BadProofError,
    Proof,
    ProofReason,
    Side,
    Signed,
    where,
)
from bamboo_compat.core.report import ForkKind, Problem, Reason
from bamboo_compat.core.yamf import Flavour

_PAYLOAD = (Reason.BAD_PAYLOAD_HASH, Reason.BAD_PAYLOAD_SIZE)


@dataclass(frozen=True, slots=True)
class ForkClaim:
    """What is proven. Pairs are in the order of the proof; hashes are tagged, each in the
    flavour of its own entry's payload hash.

    `parent`: of a branch the hash by which both name the entry before, empty where they
    name it differently or there is none; of after_end the marker, as in the fork's id.
    `subject`: the schema, or the document. `fork_id`: the fork's name on every node that
    has these entries; None for a branch whose entries do not name one parent by BLAKE3.
    """

    kind: ForkKind
    author: bytes
    log_ids: tuple[int, int]
    seq_nums: tuple[int, int]
    hashes: tuple[bytes, bytes]
    parent: bytes
    subject: str
    profile: str
    fork_id: bytes | None


# --- making -------------------------------------------------------------------------------


def make_branch_proof(one: bytes, two: bytes) -> Proof:
    """Two entries for one place, in any order. Raises BadProofError where they are not."""
    return _checked(Proof(ForkKind.BRANCH, *_in_order((Signed(one),), (Signed(two),))))


def make_after_end_proof(marker: bytes, after: bytes) -> Proof:
    """An end-of-log marker and an entry that links to it. Raises BadProofError."""
    return _checked(Proof(ForkKind.AFTER_END, (Signed(marker),), (Signed(after),)))


def make_double_schema_proof(one: Signed, two: Signed) -> Proof:
    """Two entries of one schema in two logs, for rfc0001. Raises BadProofError."""
    return _checked(Proof(ForkKind.DOUBLE_SCHEMA, *_in_order((one,), (two,)), "rfc0001"))


def make_double_document_proof(one: Sequence[Signed], two: Sequence[Signed]) -> Proof:
    """Two chains down to one first operation, for aquadoggo. Raises BadProofError."""
    sides = _in_order(tuple(one), tuple(two))
    return _checked(Proof(ForkKind.DOUBLE_SCHEMA, *sides, "aquadoggo"))


def chain_of(start: Signed, find: Callable[[bytes], Signed | None]) -> Side:
    """The way from an operation to its document's first one.

    `find` gets a tagged hash of an entry and gives that entry with its payload, or None.
    Raises BadProofError where the way is not here, or is too long for a proof.
    """
    chain = [start]
    while (link := _previous(chain[-1])) is not None:
        found = find(link)
        if found is None:
            raise BadProofError(ProofReason.CHAIN_BROKEN, _told(link), "none")
        chain.append(found)
        if len(chain) > MAX_CHAIN:
            wanted = f"at most {MAX_CHAIN} entries to the first operation"
            raise BadProofError(ProofReason.TOO_LONG, wanted, "more")
    return tuple(chain)


def _checked(proof: Proof) -> Proof:
    check(proof)
    return proof


def _in_order(one: Side, two: Side) -> tuple[Side, Side]:
    """By id of the first entry; a side without one is refused by the proof itself."""
    first, second = sorted((one, two), key=lambda side: [_id(signed) for signed in side[:1]])
    return first, second


def _id(signed: Signed) -> bytes:
    digest: bytes = blake3(signed.entry).digest()
    return digest


def _previous(signed: Signed) -> bytes | None:
    if signed.payload is None:
        raise BadProofError(ProofReason.PAYLOAD_MISSING, "the payload of each operation", "none")
    operation = read_operation(signed.payload)
    if operation is None:
        raise _no_operation("the chain")
    return operation.previous


# --- checking -----------------------------------------------------------------------------


def check(proof: Proof) -> ForkClaim:
    """Verify every entry, and that they contradict each other. Raises BadProofError."""
    ones, twos = _examined(proof.one, 1), _examined(proof.two, 2)
    one, two = ones[0], twos[0]
    if one.id == two.id:
        raise BadProofError(ProofReason.EQUAL_ENTRIES, "two entries", "one of them twice")
    _want_equal(ProofReason.TWO_AUTHORS, "author", one.author.hex(), two.author.hex())
    match proof.kind:
        case ForkKind.BRANCH:
            return _branch(one, two)
        case ForkKind.AFTER_END:
            return _after_end(one, two)
        case ForkKind.DOUBLE_SCHEMA:
            return _double_schema(ones, twos, proof.profile)
        case _:
            assert_never(proof.kind)


def _examined(side: Side, number: int) -> list[Member]:
    """Each entry by itself; one after the other, so that the first bad one ends the work."""
    return [_examine(signed, where(number, place)) for place, signed in enumerate(side, start=1)]


def _examine(signed: Signed, name: str) -> Member:
    found = examine(signed.entry, signed.payload)
    if isinstance(found, Problem):
        finding = found.verdict.findings[0]
        reason = ProofReason.BAD_PAYLOAD if finding.reason in _PAYLOAD else ProofReason.BAD_ENTRY
        told = f"{finding.found} ({finding.reason}, {name})"
        raise BadProofError(reason, finding.expected, told, finding)
    if signed.payload is not None and found.schema is None:
        raise _no_operation(name)
    return found


def _branch(one: Member, two: Member) -> ForkClaim:
    _want_equal(ProofReason.TWO_LOGS, "log", one.log_id, two.log_id)
    _want_equal(ProofReason.TWO_NUMBERS, "sequence number", one.seq_num, two.seq_num)
    _want_order(one, two)
    named = one.backlink if one.backlink == two.backlink else None
    parent = named or b""
    place = (one.author, one.log_id, one.seq_num)
    # By BLAKE2b the parent's own id cannot be told, nor can it where they name two parents.
    is_known = one.seq_num == 1 or parent.startswith(Flavour.YASMF.value)
    id = fork_id(ForkKind.BRANCH, *place, parent) if is_known else None
    return _claim(ForkKind.BRANCH, one, two, id, parent=parent)


def _after_end(marker: Member, after: Member) -> ForkClaim:
    _want_equal(ProofReason.TWO_LOGS, "log", marker.log_id, after.log_id)
    if not marker.end_of_log:
        raise BadProofError(
            ProofReason.NOT_THE_END, "an end-of-log marker on side 1", "an entry that is none"
        )
    if after.seq_num <= marker.seq_num:
        raise BadProofError(
            ProofReason.NOT_AFTER_END,
            f"a higher number than {marker.seq_num} on side 2",
            str(after.seq_num),
        )
    if not _names(marker) & {after.backlink, after.lipmaalink}:
        raise BadProofError(
            ProofReason.NO_LINK_TO_END, f"a link to {_hash(marker).hex()}", "none on side 2"
        )
    parent = Flavour.YASMF.value + marker.id
    id = fork_id(ForkKind.AFTER_END, marker.author, marker.log_id, marker.seq_num + 1, parent)
    return _claim(ForkKind.AFTER_END, marker, after, id, parent=parent)


def _double_schema(ones: list[Member], twos: list[Member], profile: str) -> ForkClaim:
    one, two = ones[0], twos[0]
    if one.log_id == two.log_id:
        raise BadProofError(ProofReason.ONE_LOG, "two logs", f"log {one.log_id} twice")
    _want_order(one, two)
    is_schema = PROFILES[profile].log_per == "schema"
    subject = _common_schema(one, two) if is_schema else _common_document(ones, twos)
    id = double_id(PROFILES[profile], one.author, subject.encode("utf-8"))
    return _claim(ForkKind.DOUBLE_SCHEMA, one, two, id, subject=subject, profile=profile)


def _common_schema(one: Member, two: Member) -> str:
    _want_equal(ProofReason.SCHEMAS_DIFFER, "schema", one.schema, two.schema)
    return one.schema or ""


def _common_document(ones: list[Member], twos: list[Member]) -> str:
    first, other = _first_operation(ones, 1), _first_operation(twos, 2)
    _want_equal(ProofReason.TWO_DOCUMENTS, "document", _hash(first).hex(), _hash(other).hex())
    return _hash(first).hex()


def _first_operation(chain: list[Member], side: int) -> Member:
    """The end of the chain, if each names the one after it and the last names none."""
    for place, (upper, lower) in enumerate(pairwise(chain), start=2):
        if upper.previous not in _names(lower):
            expected, found = _told(upper.previous), f"{_hash(lower).hex()} at {where(side, place)}"
            raise BadProofError(ProofReason.CHAIN_BROKEN, expected, found)
    if chain[-1].previous is not None:
        found = f"the end of side {side}"
        raise BadProofError(ProofReason.CHAIN_BROKEN, _told(chain[-1].previous), found)
    return chain[-1]


# --- what they share ----------------------------------------------------------------------


def _claim(
    kind: ForkKind,
    one: Member,
    two: Member,
    id: bytes | None,
    *,
    parent: bytes = b"",
    subject: str = "",
    profile: str = "",
) -> ForkClaim:
    return ForkClaim(
        kind=kind,
        author=one.author,
        log_ids=(one.log_id, two.log_id),
        seq_nums=(one.seq_num, two.seq_num),
        hashes=(_hash(one), _hash(two)),
        parent=parent,
        subject=subject,
        profile=profile,
        fork_id=id,
    )


def _want_equal(reason: ProofReason, what: str, one: object, two: object) -> None:
    if one != two:
        raise BadProofError(reason, f"{what} {one} on both sides", f"{two} on side 2")


def _want_order(one: Member, two: Member) -> None:
    if one.id > two.id:
        raise BadProofError(
            ProofReason.OUT_OF_ORDER, "the entry of smaller id on side 1", "it on side 2"
        )


def _no_operation(name: str) -> BadProofError:
    return BadProofError(
        ProofReason.NOT_AN_OPERATION, f"an operation with a schema in {name}", "another payload"
    )


def _told(link: bytes | None) -> str:
    """What must come next in a chain."""
    return f"the entry {link.hex()}" if link is not None else "the end of the chain"


def _names(member: Member) -> set[bytes | None]:
    """The two hashes by which a link may name it."""
    return {Flavour.YASMF.value + member.id, Flavour.YAMF.value + member.twin}


def _hash(member: Member) -> bytes:
    """Its tagged hash, in its own flavour."""
    if member.is_yamf:
        return Flavour.YAMF.value + member.twin
    return Flavour.YASMF.value + member.id
