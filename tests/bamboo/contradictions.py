"""Authors who contradict their logs, and proofs of it, made for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cbor2
import pytest

from bamboo_compat.core import yamf
from bamboo_compat.core.claims import (
    ForkClaim,
    chain_of,
    check,
    make_after_end_proof,
    make_branch_proof,
    make_double_document_proof,
    make_double_schema_proof,
)
from bamboo_compat.core.proofs import BadProofError, Proof, ProofReason, Signed, decode
from bamboo_compat.core.yamf import Flavour
from tests.bamboo.logs import Author, Record


def create(schema: str = "venue_v1", name: str = "x") -> bytes:
    """The payload of an operation that follows none."""
    encoded: bytes = cbor2.dumps([1, 0, schema, {"name": name}])
    return encoded


def update(*previous: bytes, schema: str = "venue_v1") -> bytes:
    """The payload of an operation that follows others."""
    encoded: bytes = cbor2.dumps([1, 1, schema, list(previous), {"name": "y"}])
    return encoded


def branches(flavour: Flavour = Flavour.YASMF, shared: int = 2) -> list[Record]:
    """A log of so many entries, and the two that part after them."""
    author = Author(flavour=flavour)
    common = author.grow(shared)
    return [*common, author.copy().append(b"one"), author.append(b"two")]


def ended(flavour: Flavour = Flavour.YASMF) -> list[Record]:
    """Entry 4 ends the log; 5 has it as its backlink, 8 as its lipmaalink."""
    author = Author(flavour=flavour)
    return [*author.grow(3), author.append(end=True), *author.grow(4)]


def of_schema(flavour: Flavour = Flavour.YASMF) -> list[Signed]:
    """One schema in two logs."""
    logs = [Author(log_id=log_id, flavour=flavour) for log_id in (1030, 1040)]
    return [Signed(*log.append(create(name=str(log.log_id)))) for log in logs]


def of_document(flavour: Flavour = Flavour.YASMF) -> list[Signed]:
    """A document's way through three logs: made by author 1 in log 0, changed by author 2,
    and again by author 1, in log 5. The last is the first of the list."""
    other, second = Author(2, 3, flavour), Author(1, 5, flavour)
    first = Author(1, 0, flavour)
    made = first.append(create())
    changed = other.append(update(first.hashes[1]))
    again = second.append(update(other.hashes[1], first.hashes[1]))
    return [Signed(*again), Signed(*changed), Signed(*made)]


def chain(start: Signed, known: Sequence[Signed]) -> tuple[Signed, ...]:
    """`chain_of` among the entries that are given, by either hash."""
    names = {yamf.hash_of(flavour, signed.entry): signed for signed in known for flavour in Flavour}
    return chain_of(start, names.get)


def all_proofs(flavour: Flavour = Flavour.YASMF) -> dict[str, Proof]:
    """One of each form."""
    parted, end, first = branches(flavour), ended(flavour), branches(flavour, 0)
    document = of_document(flavour)
    return {
        "branch": make_branch_proof(parted[2][0], parted[3][0]),
        "branch at entry 1": make_branch_proof(first[0][0], first[1][0]),
        "after_end by backlink": make_after_end_proof(end[3][0], end[4][0]),
        "after_end by lipmaalink": make_after_end_proof(end[3][0], end[7][0]),
        "double_schema, rfc0001": make_double_schema_proof(*of_schema(flavour)),
        "double_schema, aquadoggo": make_double_document_proof(
            chain(document[0], document), chain(document[2], document)
        ),
    }


# --- looking at them -------------------------------------------------------------------


def reason_of(attempt: Callable[[], object]) -> ProofReason:
    """Why it is refused; fails if it is not."""
    with pytest.raises(BadProofError) as refusal:
        attempt()
    assert str(refusal.value) == (
        f"{refusal.value.reason}: expected {refusal.value.expected}, found {refusal.value.found}"
    )
    return refusal.value.reason


def read(data: bytes) -> ForkClaim:
    """What `setsync fork check-proof` does."""
    return check(decode(data))
