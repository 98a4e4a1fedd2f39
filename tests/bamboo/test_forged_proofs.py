"""What passes for the proof of a fork and is none: refused, each by its own reason."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo_compat.core import ForkKind, yamf
from bamboo_compat.core.claims import (
    check,
    make_after_end_proof,
    make_branch_proof,
    make_double_document_proof,
    make_double_schema_proof,
)
from bamboo_compat.core.entry import MAX_ENTRY
from bamboo_compat.core.profiles import MAX_OPERATION
from bamboo_compat.core.proofs import (
    MAX_CHAIN,
    MAX_PROOF,
    BadProofError,
    Proof,
    ProofReason,
    Signed,
)
from bamboo_compat.core.yamf import Flavour
from tests.bamboo.contradictions import (
    all_proofs,
    create,
    ended,
    of_document,
    of_schema,
    read,
    reason_of,
    update,
)
from tests.bamboo.logs import Author, signed

R = ProofReason
Forgeries = dict[str, tuple[Callable[[], object], ProofReason]]
PROOFS = all_proofs()
ORDER = 2**252 + 27742317777372353535851937790883648493  # of Ed25519's group


# --- changed ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", list(PROOFS))
def test_every_changed_bit_anywhere_is_refused(form: str) -> None:
    data = PROOFS[form].encode()
    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            with pytest.raises(BadProofError):
                read(bytes(changed))


FILES = [proof.encode() for proof in PROOFS.values()]
CLAIMS = [check(proof) for proof in PROOFS.values()]
FORKED = {claim.author for claim in CLAIMS}
SIGNED = {hash for claim in CLAIMS for hash in claim.hashes}


@given(st.data())
def test_no_patchwork_of_proofs_and_entries_proves_anything_new(data: st.DataObject) -> None:
    """Pieces of true proofs and of an honest author's log, cut and pasted: refused, or a
    contradiction that the forked author really signed."""
    honest = Author(7)
    pool = [*FILES, *(entry for entry, _ in honest.grow(5))]
    file = bytearray(data.draw(st.sampled_from(FILES)))
    for _ in range(data.draw(st.integers(1, 3))):
        source = data.draw(st.sampled_from(pool))
        start = data.draw(st.integers(0, len(source)))
        piece = source[start : start + data.draw(st.integers(0, len(source)))]
        at = data.draw(st.integers(0, len(file)))
        file[at : at + data.draw(st.integers(0, len(file)))] = piece
    try:
        claim = read(bytes(file))
    except BadProofError:
        return
    assert {claim.author} == FORKED
    assert set(claim.hashes) <= SIGNED


# --- forged -------------------------------------------------------------------------------


def test_each_broken_rule_is_refused_by_its_own_reason() -> None:
    forgeries = _forgeries()
    for name, (attempt, reason) in forgeries.items():
        assert reason_of(attempt) is reason, name
    assert {reason for _, reason in forgeries.values()} == set(ProofReason)


def _forgeries() -> Forgeries:
    return {**_forged_files(), **_forged_branches(), **_forged_ends(), **_forged_doubles()}


def _forged_files() -> Forgeries:
    proof = PROOFS["branch"]
    file = proof.encode()
    double = PROOFS["double_schema, rfc0001"]
    document = PROOFS["double_schema, aquadoggo"]
    big = Signed(b"", bytes(MAX_OPERATION))
    return {
        "another file": (lambda: read(b"setsync-export"), R.NOT_A_PROOF),
        "a later version": (lambda: read(file[:11] + b"\x02" + file[12:]), R.BAD_VERSION),
        "a kind that is none": (lambda: read(file[:12] + b"\x04" + file[13:]), R.BAD_KIND),
        "a needless profile": (lambda: replace(proof, profile="rfc0001"), R.BAD_PROFILE),
        "no profile": (lambda: replace(double, profile=""), R.BAD_PROFILE),
        "an unknown profile": (
            lambda: read(double.encode().replace(b"rfc0001", b"rfc\xff\x1b[1")),
            R.BAD_PROFILE,
        ),
        "cut short": (lambda: read(file[:-1]), R.TRUNCATED),
        "something after": (lambda: read(file + b"\x00"), R.TRAILING_BYTES),
        "one proof after another": (lambda: read(file * 2), R.TRAILING_BYTES),
        "a side without an entry": (lambda: replace(proof, one=()), R.NO_ENTRY),
        "a side with two": (lambda: replace(proof, one=proof.one * 2), R.TOO_LONG),
        "a chain for rfc0001": (lambda: replace(double, one=double.one * 2), R.TOO_LONG),
        "a chain too long": (
            lambda: replace(document, one=document.one[:1] * (MAX_CHAIN + 1)),
            R.TOO_LONG,
        ),
        "an entry too long": (
            lambda: replace(proof, one=(Signed(bytes(MAX_ENTRY + 1)),)),
            R.TOO_LONG,
        ),
        "a payload too long": (
            lambda: replace(double, one=(Signed(b"", bytes(MAX_OPERATION + 1)),)),
            R.TOO_LONG,
        ),
        "too long in all": (lambda: replace(document, one=(big,) * 16), R.TOO_LONG),
        "a file too long": (lambda: read(file + bytes(MAX_PROOF)), R.TOO_LONG),
    }


def _forged_branches() -> Forgeries:
    author, other, elsewhere = Author(), Author(2), Author(log_id=9)
    chain_ = author.grow(4)
    others, elsewheres = other.grow(4), elsewhere.grow(4)
    second = author.make(3, b"another third")
    one, two = chain_[2][0], second
    body = two[:-64]
    s = int.from_bytes(two[-32:], "little") + ORDER
    swapped = PROOFS["branch"]

    def pair(one: bytes, two: bytes) -> Callable[[], object]:
        return lambda: make_branch_proof(one, two)

    return {
        "equal entries": (pair(one, one), R.EQUAL_ENTRIES),
        "two authors": (pair(one, others[2][0]), R.TWO_AUTHORS),
        "two logs": (pair(one, elsewheres[2][0]), R.TWO_LOGS),
        "entries of a plain chain": (pair(chain_[1][0], chain_[2][0]), R.TWO_NUMBERS),
        "signed by another": (pair(one, signed(2, body)), R.BAD_ENTRY),
        "signed for another entry": (pair(one, body + one[-64:]), R.BAD_ENTRY),
        "another spelling of a signature": (
            pair(two, two[:-32] + s.to_bytes(32, "little")),
            R.BAD_ENTRY,
        ),
        "another's name on it": (pair(one, two[:1] + other.key + two[33:]), R.BAD_ENTRY),
        "an entry cut short": (pair(one, two[:-1]), R.BAD_ENTRY),
        "an entry with more behind": (pair(one, one + b"\x00"), R.BAD_ENTRY),
        "no entry at all": (pair(one, b""), R.BAD_ENTRY),
        "sides swapped": (
            lambda: check(replace(swapped, one=swapped.two, two=swapped.one)),
            R.OUT_OF_ORDER,
        ),
        "a payload that shows nothing": (
            lambda: replace(swapped, one=(Signed(swapped.one[0].entry, b"private"),)),
            R.NEEDLESS_PAYLOAD,
        ),
    }


def _forged_ends() -> Forgeries:
    records = [data for data, _ in ended()]
    marker, after = records[3], records[4]
    elsewhere, other = Author(log_id=9), Author(2)
    linked = [elsewhere.hashes, other.hashes]
    for hashes in linked:
        hashes += [yamf.hash_of(Flavour.YASMF, data) for data in records[:4]]
    beside = Author()
    beside.grow(2)
    before = beside.make(3, b"before", backlink=yamf.hash_of(Flavour.YASMF, marker))

    def pair(one: bytes, two: bytes) -> Callable[[], object]:
        return lambda: make_after_end_proof(one, two)

    return {
        "a marker and a later one that names others": (pair(marker, records[5]), R.NO_LINK_TO_END),
        "the marker and the one before it": (pair(marker, records[2]), R.NOT_AFTER_END),
        "one with a lower number and a link": (pair(marker, before), R.NOT_AFTER_END),
        "a plain chain, but no end": (pair(after, records[5]), R.NOT_THE_END),
        "end and entry swapped": (pair(after, marker), R.NOT_THE_END),
        "a link from another log": (pair(marker, elsewhere.append()[0]), R.TWO_LOGS),
        "a link from another author": (pair(marker, other.append()[0]), R.TWO_AUTHORS),
    }


def _forged_doubles() -> Forgeries:
    one, two = of_schema()
    third = Signed(*Author(log_id=1050).append(create("another_v1")))
    same_log = Author(log_id=1030)
    same_log.append(create())
    plain = Signed(*Author(log_id=1060).append(b"plain words"))
    last, middle, first = of_document()
    unrelated = Signed(*Author(1, 8).append(create(name="of its own")))
    longer = Signed(one.entry, (one.payload or b"") + b"\x00")
    double = make_double_schema_proof

    def chains(one: list[Signed], two: list[Signed]) -> Callable[[], object]:
        return lambda: make_double_document_proof(one, two)

    return {
        "two schemas": (lambda: double(one, third), R.SCHEMAS_DIFFER),
        "a schema twice in one log": (
            lambda: double(one, Signed(*same_log.append(create()))),
            R.ONE_LOG,
        ),
        "payloads swapped": (
            lambda: double(Signed(one.entry, two.payload), Signed(two.entry, one.payload)),
            R.BAD_PAYLOAD,
        ),
        "a payload with more behind": (lambda: double(longer, two), R.BAD_PAYLOAD),
        "a payload left out": (lambda: double(Signed(one.entry), two), R.PAYLOAD_MISSING),
        "a payload that is no operation": (lambda: double(plain, two), R.NOT_AN_OPERATION),
        "a chain with a hole": (chains([last, first], [first]), R.CHAIN_BROKEN),
        "a chain without its end": (chains([last, middle], [first]), R.CHAIN_BROKEN),
        "a chain with more than its end": (
            chains([last, middle, first, first], [first]),
            R.CHAIN_BROKEN,
        ),
        "two documents": (chains([last, middle, first], [unrelated]), R.TWO_DOCUMENTS),
        "documents of one schema in two logs": (chains([one], [two]), R.TWO_DOCUMENTS),
    }


def test_a_bad_entry_is_told_with_its_own_finding_and_its_place() -> None:
    last, middle, first = of_document()
    broken = Signed(middle.entry[:-1] + b"\x00", middle.payload)
    with pytest.raises(BadProofError) as refusal:
        make_double_document_proof([last, broken, first], [first])
    assert refusal.value.finding is not None
    assert refusal.value.finding.reason == "bad_signature"
    assert "bad_signature, entry 2 of side " in refusal.value.found


def test_what_an_honest_author_signed_proves_nothing_in_any_combination() -> None:
    author = Author(7)
    payloads = [create(), update(b"\x00\x20" + bytes(32)), cbor2.dumps({"schema": "venue_v1"})]
    own = [Signed(*author.append(payload)) for payload in payloads]
    own.append(Signed(*author.append(create(), end=True)))
    for one, two in [*permutations(own, 2), *((entry, entry) for entry in own)]:
        bare = Signed(one.entry), Signed(two.entry)
        for attempt in (
            lambda bare=bare: check(Proof(ForkKind.BRANCH, bare[:1], bare[1:])),
            lambda bare=bare: check(Proof(ForkKind.AFTER_END, bare[:1], bare[1:])),
            lambda one=one, two=two: make_double_schema_proof(one, two),
            lambda one=one, two=two: make_double_document_proof([one], [two]),
            lambda one=one, two=two: make_double_document_proof([one, two], [two]),
        ):
            reason_of(attempt)


def test_a_thousand_forged_pairs_are_all_refused() -> None:
    """A forger has a log of the victim's and every key but the victim's."""
    chance = random.Random(5)
    victim = Author(7)
    log = [Signed(data, payload) for data, payload in victim.grow(12)]
    refused = [_is_refused(chance, victim.key, log) for _ in range(1000)]
    assert all(refused)


def _is_refused(chance: random.Random, key: bytes, log: list[Signed]) -> bool:
    true, other = chance.sample(log, 2)
    forger = Author(chance.randrange(20, 40), chance.choice([1024, 9]))
    forger.hashes += [yamf.hash_of(Flavour.YASMF, one.entry) for one in log[: chance.randrange(12)]]
    payload = create()
    invented, _ = forger.append(payload, end=chance.random() < 0.5)
    changed = bytearray(other.entry)
    changed[chance.randrange(len(changed))] ^= chance.randrange(1, 256)
    forged = chance.choice(
        [
            invented,
            invented[:1] + key + invented[33:],
            invented[:-64] + true.entry[-64:],
            signed(forger.number, invented[:1] + key + invented[33:-64]),
            bytes(changed),
            other.entry,
        ]
    )
    pair = (Signed(true.entry), Signed(forged))
    return all(_shows_nothing(*sides, payload) for sides in (pair, pair[::-1]))


def _shows_nothing(one: Signed, two: Signed, payload: bytes) -> bool:
    carried = Signed(one.entry, payload), Signed(two.entry, payload)
    for kind, left, right, profile in (
        (ForkKind.BRANCH, (one,), (two,), ""),
        (ForkKind.AFTER_END, (one,), (two,), ""),
        (ForkKind.DOUBLE_SCHEMA, carried[:1], carried[1:], "rfc0001"),
        (ForkKind.DOUBLE_SCHEMA, carried, carried[1:], "aquadoggo"),
    ):
        try:
            read(Proof(kind, left, right, profile).encode())
        except BadProofError:
            continue
        return False
    return True
