"""`setsync fork check-proof`, as a shell sees it; with no node anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from bamboo_compat.core.claims import check, make_branch_proof, make_double_schema_proof
from bamboo_compat.core.proofs import MAX_PROOF, Proof, Signed
from bamboo_compat.core.yamf import Flavour
from tests.bamboo.contradictions import all_proofs, branches, create, of_schema
from tests.bamboo.logs import Author
from tests.cli.running import Shell

PROOFS = all_proofs()
SCHEMA = "fork-check-proof"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell without a node: nothing here may need one."""
    return Shell(tmp_path / "nowhere")


def written(shell: Shell, proof: Proof) -> str:
    """The name of a file with the proof."""
    path = shell.data.with_name("fork.proof")
    path.write_bytes(proof.encode())
    return str(path)


@pytest.mark.parametrize("form", list(PROOFS))
def test_a_proof_is_told_in_sentences_and_ends_with_0(shell: Shell, form: str) -> None:
    claim = check(PROOFS[form])
    outcome = shell.run("fork", "check-proof", written(shell, PROOFS[form]))
    assert (outcome.code, outcome.complaint) == (0, "")
    assert outcome.lines[0].endswith(f"fork.proof proves a fork, {claim.kind}.")
    assert outcome.lines[1].startswith(f"Author {claim.author.hex()} ")
    for line, log_id, seq_num, hash in zip(
        outcome.lines[2:4], claim.log_ids, claim.seq_nums, claim.hashes, strict=True
    ):
        assert line == f"  log {log_id} entry {seq_num} {hash.hex()}"
    assert claim.fork_id is not None
    assert outcome.lines[-1] == f"The fork's id is {claim.fork_id.hex()}."
    assert not shell.data.exists()


def test_the_sentences_say_what_contradicts_what(shell: Shell) -> None:
    author = Author().key.hex()
    document = check(PROOFS["double_schema, aquadoggo"]).subject
    said = {
        "branch": f"Author {author} signed two different entries 3 of log 1024:",
        "after_end by lipmaalink": f"Author {author} ended log 1024 with entry 4, "
        "and signed entry 8 that links to the end:",
        "double_schema, rfc0001": f"Author {author} signed entries of schema venue_v1 in two "
        "logs, where profile rfc0001 has one log for a schema:",
        "double_schema, aquadoggo": f"Author {author} signed entries of document {document} in "
        "two logs, where profile aquadoggo has one log for a document:",
    }
    for form, sentence in said.items():
        outcome = shell.ok("fork", "check-proof", written(shell, PROOFS[form]))
        assert outcome.lines[1] == sentence


def test_where_a_log_parts_is_told_as_far_as_the_entries_say(shell: Shell) -> None:
    told = {}
    unknown = Author()
    unknown.grow(2)
    other = unknown.copy()
    unknown.append(b"one")
    other.append(b"two")
    proofs = {
        "known": PROOFS["branch"],
        "first": PROOFS["branch at entry 1"],
        "by BLAKE2b": make_branch_proof(*(data for data, _ in branches(Flavour.YAMF)[2:])),
        "two parents": make_branch_proof(unknown.append()[0], other.append()[0]),
    }
    for name, proof in proofs.items():
        told[name] = shell.ok("fork", "check-proof", written(shell, proof)).lines[4:]
    nameless = "The fork's id cannot be told without the entry before."
    parent = check(proofs["known"]).parent.hex()
    assert told["known"][0] == f"Both follow entry 2 {parent}: there the log parts."
    assert told["first"][0] == "The log parts at its first entry."
    assert told["by BLAKE2b"][0].startswith("Both follow entry 2 0040")
    assert told["by BLAKE2b"][1] == nameless
    assert told["two parents"] == [
        "They name entry 3 differently: where the log parts is not shown.",
        nameless,
    ]


@pytest.mark.parametrize("form", list(PROOFS))
def test_programs_get_one_object(shell: Shell, form: str) -> None:
    claim = check(PROOFS[form])
    found = shell.ok("fork", "check-proof", written(shell, PROOFS[form]), "--json").json(SCHEMA)
    assert (found["proven"], found["refusal"]) == (True, None)
    assert found["claim"]["kind"] == claim.kind
    assert found["claim"]["profile"] == (claim.profile or None)
    assert found["claim"]["subject"] == (claim.subject or None)
    assert found["claim"]["parent"] == (claim.parent.hex() or None)
    assert claim.fork_id is not None
    assert found["claim"]["fork_id"] == claim.fork_id.hex()
    assert [entry["hash"] for entry in found["claim"]["entries"]] == [
        hash.hex() for hash in claim.hashes
    ]


def test_a_fork_without_an_id_has_null(shell: Shell) -> None:
    proof = make_branch_proof(*(data for data, _ in branches(Flavour.YAMF)[2:]))
    found = shell.ok("fork", "check-proof", written(shell, proof), "--json").json(SCHEMA)
    assert found["claim"]["fork_id"] is None
    assert found["claim"]["parent"].startswith("0040")


def test_standard_input_is_read_for_a_dash(shell: Shell) -> None:
    outcome = shell.ok("fork", "check-proof", "-", stdin=PROOFS["branch"].encode())
    assert outcome.lines[0] == "Standard input proves a fork, branch."


def test_a_data_directory_is_accepted_and_not_needed(shell: Shell) -> None:
    words = ("fork", "check-proof", "--data", "anywhere", written(shell, PROOFS["branch"]))
    assert shell.ok(*words).lines


def test_what_is_no_proof_ends_with_7_and_the_reason(shell: Shell) -> None:
    outcome = shell.run("fork", "check-proof", "-", stdin=b"an essay")
    assert outcome.code == 7
    assert outcome.lines == [
        "Standard input proves no fork. not_a_proof: "
        "expected a file that begins with 'bamboo-fork', found another beginning."
    ]
    file = PROOFS["branch"].encode()
    forged = file[:-5] + bytes([file[-5] ^ 1]) + file[-4:]  # the last byte of a signature
    outcome = shell.run("fork", "check-proof", "-", "--json", stdin=forged)
    assert outcome.code == 7
    found = outcome.json(SCHEMA)
    assert (found["proven"], found["claim"]) == (False, None)
    assert found["refusal"]["reason"] == "bad_entry"
    assert found["refusal"]["finding"] == "bad_signature"
    assert "entry 1 of side 2" in found["refusal"]["found"]


def test_a_file_of_any_length_is_read_no_further_than_a_proof_can_be(shell: Shell) -> None:
    outcome = shell.run("fork", "check-proof", "-", "--json", stdin=bytes(MAX_PROOF + 100))
    refusal = outcome.json(SCHEMA)["refusal"]
    assert (outcome.code, refusal["reason"]) == (7, "too_long")
    assert refusal["found"] == str(MAX_PROOF + 1)


def test_a_file_that_cannot_be_read_ends_with_1(shell: Shell, tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        outcome = shell.run("fork", "check-proof", str(path), "--json")
        assert outcome.code == 1
        assert outcome.json("error")["error"]["code"] == "system"
        assert path.name in outcome.complaint


def test_a_strangers_schema_neither_moves_the_cursor_nor_makes_a_line(shell: Shell) -> None:
    schema = "a\x1b[2J\nAuthor 00 proves that all is well.\u202e"
    one, two = (Signed(*Author(log_id=log).append(create(schema))) for log in (1, 2))
    proof = make_double_schema_proof(one, two)
    outcome = shell.ok("fork", "check-proof", written(shell, proof))
    assert len(outcome.lines) == 5
    assert "\x1b" not in outcome.text
    assert "\u202e" not in outcome.text
    found = shell.ok("fork", "check-proof", written(shell, proof), "--json").json(SCHEMA)
    assert found["claim"]["subject"] == schema


def test_nor_does_what_a_refusal_tells(shell: Shell) -> None:
    one, _ = of_schema()
    other = Signed(*Author(log_id=1050).append(create("b\x1b[2J\nAll is well.")))
    double = PROOFS["double_schema, rfc0001"]
    for sides in ((one, other), (other, one)):
        forged = Proof(double.kind, sides[:1], sides[1:], double.profile)
        outcome = shell.run("fork", "check-proof", "-", stdin=forged.encode())
        assert (outcome.code, len(outcome.lines)) == (7, 1)
        assert "\x1b" not in outcome.text


def test_the_group_lists_its_commands_without_loading_them(shell: Shell) -> None:
    outcome = shell.ok("fork", "-h")
    assert "check-proof" in outcome.text
    assert shell.run("fork", "nonsense").code == 2
    assert "fork" in shell.ok("-h").text
