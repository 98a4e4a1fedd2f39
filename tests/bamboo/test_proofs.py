"""A fork proof: what each kind shows to anyone, and its one spelling."""

from __future__ import annotations

from functools import partial

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from bamboo_compat.core import ForkKind, verify_log, yamf
from bamboo_compat.core.claims import (
    chain_of,
    check,
    make_after_end_proof,
    make_branch_proof,
    make_double_document_proof,
    make_double_schema_proof,
)
from bamboo_compat.core.entry import MAX_ENTRY
from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.core.proofs import (
    MAGIC,
    MAX_CHAIN,
    BadProofError,
    Proof,
    ProofReason,
    Signed,
    decode,
)
from bamboo_compat.core.yamf import Flavour
from tests.bamboo.contradictions import (
    all_proofs,
    branches,
    chain,
    create,
    ended,
    of_document,
    of_schema,
    read,
    reason_of,
    update,
)
from tests.bamboo.logs import FLAVOURS, Author

PROOFS = all_proofs()
# BLAKE3-256 of each file, so that every byte of it is pinned.
GOLDEN = {
    "branch": (370, "6b40bb9d8fab93d8cdb6bff87b9fa1f4056ae45915742ce8a6e58d23f54f2275"),
    "branch at entry 1": (302, "af90626147da77e48a1e82c6932da0887b99d1ffe6a24efb3e8e4cf77836f5e4"),
    "after_end by backlink": (
        404,
        "76a9ef4cb557e9f7196f1bb725e04d83bb3328e6acd7f298b0de50c1064d785c",
    ),
    "after_end by lipmaalink": (
        438,
        "116b5f9561be2a4f5ef1ba143a8c29eb51c074a9b7d68ea1e4e5502646321764",
    ),
    "double_schema, rfc0001": (
        355,
        "69dd2bc0e3370c64a0015f52a413f630ba3feb51a8e3deac442aed7a51f76cb3",
    ),
    "double_schema, aquadoggo": (
        777,
        "49e9df5e68641a321c8ef1f64723f64231a04c9c217c3f7c92ec883f99ef794f",
    ),
}


# --- right ones ---------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("form", list(PROOFS))
def test_a_proof_comes_back_from_its_file_and_shows_the_same(flavour: Flavour, form: str) -> None:
    proof = all_proofs(flavour)[form]
    assert decode(proof.encode()) == proof
    assert len(proof.encode()) == proof.size
    assert check(proof).kind is proof.kind


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_branch_names_both_entries_and_their_parent(flavour: Flavour) -> None:
    records = branches(flavour)
    one, two = sorted((data for data, _ in records[2:]), key=lambda data: blake3(data).digest())
    parent = yamf.hash_of(flavour, records[1][0])
    claim = check(make_branch_proof(one, two))
    assert claim == check(make_branch_proof(two, one))
    assert (claim.author, claim.log_ids, claim.seq_nums) == (Author().key, (1024, 1024), (3, 3))
    assert claim.hashes == (yamf.hash_of(flavour, one), yamf.hash_of(flavour, two))
    assert claim.parent == parent
    # Nodes call the parent by BLAKE3, which entries that name it by BLAKE2b do not tell.
    [fork] = verify_log(records).forks
    assert claim.fork_id == (fork.id if flavour is Flavour.YASMF else None)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_two_first_entries_have_no_parent_and_an_id(flavour: Flavour) -> None:
    records = branches(flavour, 0)
    claim = check(make_branch_proof(records[0][0], records[1][0]))
    assert (claim.parent, claim.seq_nums) == (b"", (1, 1))
    assert [claim.fork_id] == [fork.id for fork in verify_log(records).forks]


def test_entries_that_name_two_parents_are_a_fork_without_a_place() -> None:
    one = Author()
    one.grow(2)
    two = one.copy()
    one.append(b"one")
    two.append(b"two")
    claim = check(make_branch_proof(one.append()[0], two.append()[0]))
    assert (claim.seq_nums, claim.parent, claim.fork_id) == ((4, 4), b"", None)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("place", [4, 7])
def test_after_the_end_the_marker_and_one_link_to_it_are_enough(
    flavour: Flavour, place: int
) -> None:
    records = ended(flavour)
    claim = check(make_after_end_proof(records[3][0], records[place][0]))
    assert (claim.log_ids, claim.seq_nums) == ((1024, 1024), (4, place + 1))
    [fork] = verify_log(records).forks
    assert (claim.fork_id, claim.parent) == (fork.id, fork.parent)


def test_a_link_to_the_marker_may_be_of_the_other_flavour() -> None:
    for flavour, other in (FLAVOURS, FLAVOURS[::-1]):
        author = Author(flavour=flavour)
        author.grow(3)
        marker, _ = author.append(end=True)
        after = author.make(5, b"5", backlink=yamf.hash_of(other, marker))
        fork = verify_log([marker, after], partial=True).forks[0]
        assert check(make_after_end_proof(marker, after)).fork_id == fork.id


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_one_schema_in_two_logs_is_shown_by_rfc0001(flavour: Flavour) -> None:
    records = of_schema(flavour)
    claim = check(make_double_schema_proof(*records))
    assert (claim.subject, claim.profile, sorted(claim.log_ids)) == (
        "venue_v1",
        "rfc0001",
        [1030, 1040],
    )
    assert [claim.fork_id] == [fork.id for fork in verify_log(records).forks]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_one_document_in_two_logs_is_shown_by_two_chains(flavour: Flavour) -> None:
    document = of_document(flavour)
    claim = check(make_double_document_proof(document, document[2:]))
    assert claim == check(make_double_document_proof(document[2:], document))
    assert claim.subject == yamf.hash_of(flavour, document[2].entry).hex()
    assert (claim.author, sorted(claim.log_ids)) == (Author(1).key, [0, 5])
    report = verify_log(document, profile=PROFILES["aquadoggo"])
    assert [claim.fork_id] == [fork.id for fork in report.forks]


def test_a_chain_may_be_as_long_as_its_limit_and_no_longer() -> None:
    long, short = Author(log_id=0), Author(log_id=1)
    entries = [Signed(*long.append(create()))]
    for _ in range(MAX_CHAIN):
        entries.append(Signed(*long.append(update(long.hashes[-1]))))
    side = Signed(*short.append(update(long.hashes[1])))
    make_double_document_proof(chain(entries[-2], entries), [side, entries[0]])
    assert reason_of(lambda: chain(entries[-1], entries)) is ProofReason.TOO_LONG


def test_a_chain_of_which_a_part_is_not_here_is_told() -> None:
    document = of_document()
    assert reason_of(lambda: chain_of(document[0], lambda _: None)) is ProofReason.CHAIN_BROKEN
    bare = Signed(document[1].entry)
    assert reason_of(lambda: chain_of(document[0], lambda _: bare)) is ProofReason.PAYLOAD_MISSING
    other = Signed(document[1].entry, b"plain words")
    assert reason_of(lambda: chain_of(document[0], lambda _: other)) is ProofReason.NOT_AN_OPERATION
    circle = document[0]
    assert reason_of(lambda: chain_of(circle, lambda _: circle)) is ProofReason.TOO_LONG


# --- the bytes ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", list(PROOFS))
def test_the_files_stay_what_they_are(form: str) -> None:
    data = PROOFS[form].encode()
    assert (len(data), blake3(data).hexdigest()) == GOLDEN[form]


def test_a_file_read_out_field_by_field() -> None:
    proof = PROOFS["double_schema, aquadoggo"]
    data = proof.encode()
    assert data[:14] == b"bamboo-fork\x01\x02\x09"
    assert data[14:23] == b"aquadoggo"
    at = 23
    for side in (proof.one, proof.two):
        assert data[at : at + 2] == len(side).to_bytes(2, "big")
        at += 2
        for entry, payload in side:
            assert payload is not None
            expected = len(entry).to_bytes(2, "big") + entry
            expected += (len(payload) + 1).to_bytes(4, "big") + payload
            assert data[at : at + len(expected)] == expected
            at += len(expected)
    assert at == len(data)
    branch = PROOFS["branch"]
    one, two = branch.one[0].entry, branch.two[0].entry
    assert branch.encode() == b"".join(
        [
            b"bamboo-fork\x01\x01\x00",
            *(b"\x00\x01", len(one).to_bytes(2, "big"), one, bytes(4)),
            *(b"\x00\x01", len(two).to_bytes(2, "big"), two, bytes(4)),
        ]
    )


ENTRIES = st.binary(max_size=MAX_ENTRY)
BARE = st.tuples(ENTRIES.map(Signed))
CARRYING = st.builds(Signed, ENTRIES, st.binary(max_size=40))
CHAINS = st.lists(CARRYING, min_size=1, max_size=4).map(tuple)
ANY_PROOF = st.one_of(
    st.builds(Proof, st.sampled_from([ForkKind.BRANCH, ForkKind.AFTER_END]), BARE, BARE),
    st.builds(
        Proof,
        st.just(ForkKind.DOUBLE_SCHEMA),
        st.tuples(CARRYING),
        st.tuples(CARRYING),
        st.just("rfc0001"),
    ),
    st.builds(Proof, st.just(ForkKind.DOUBLE_SCHEMA), CHAINS, CHAINS, st.just("aquadoggo")),
)


@given(ANY_PROOF)
def test_decoding_gives_what_was_encoded(proof: Proof) -> None:
    assert decode(proof.encode()) == proof


@given(ANY_PROOF, st.data())
def test_nothing_else_decodes(proof: Proof, data: st.DataObject) -> None:
    """Whatever decodes is the one spelling of what it decodes to."""
    file = bytearray(proof.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(file)))
        file[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        decoded = decode(bytes(file))
    except BadProofError:
        return
    assert decoded.encode() == file


@given(st.binary(max_size=200))
def test_noise_is_refused_and_nothing_worse(noise: bytes) -> None:
    for data in (noise, MAGIC + noise, MAGIC + b"\x01" + noise):
        reason_of(partial(read, data))


@pytest.mark.parametrize("form", list(PROOFS))
def test_a_file_cut_short_at_any_byte_is_refused(form: str) -> None:
    data = PROOFS[form].encode()
    for end in range(len(data)):
        assert reason_of(partial(decode, data[:end])) is ProofReason.TRUNCATED
