"""`setsync fork check-proof`: does this file prove a fork?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bamboo_compat.cli.wording import REFUSED
from bamboo_compat.core.claims import ForkClaim, check
from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.core.proofs import MAX_PROOF, BadProofError, decode
from bamboo_compat.core.report import ForkKind
from setsync.cli.common import json_option, print_json, printable, unused_data_option


@click.command("check-proof")
@click.argument("file", type=click.Path(allow_dash=True), metavar="FILE|-")
@unused_data_option
@json_option
def check_proof(file: str, as_json: bool) -> int:
    """Check the proof of a fork in FILE, or on standard input with '-'.

    A proof is the signed entries that contradict each other. Nobody has to be trusted or
    asked, and no store is touched. Exit codes: 0 it proves a fork, 7 it does not, 1 the
    file cannot be read.

    \b
    Example:
      setsync fork check-proof fork.proof
    """
    try:
        claim = check(decode(_read(file)))
    except BadProofError as refusal:
        _tell_refusal(file, refusal, as_json)
        return REFUSED
    _tell_claim(file, claim, as_json)
    return 0


def _read(file: str) -> bytes:
    """The file, and of one that is too long no more than shows it. Raises OSError."""
    if file == "-":
        return sys.stdin.buffer.read(MAX_PROOF + 1)
    with Path(file).open("rb") as opened:
        return opened.read(MAX_PROOF + 1)


# --- refused ------------------------------------------------------------------------------


def _tell_refusal(file: str, refusal: BadProofError, as_json: bool) -> None:
    if as_json:
        refused = _refusal_json(refusal)
        print_json({"file": file, "proven": False, "claim": None, "refusal": refused})
    else:
        _say(f"{_named(file)} proves no fork. {refusal}.")


def _refusal_json(refusal: BadProofError) -> dict[str, object]:
    finding = refusal.finding
    return {
        "reason": refusal.reason,
        "expected": refusal.expected,
        "found": refusal.found,
        "finding": finding.reason if finding is not None else None,
    }


# --- proven -------------------------------------------------------------------------------


def _tell_claim(file: str, claim: ForkClaim, as_json: bool) -> None:
    if as_json:
        told = _claim_json(claim)
        print_json({"file": file, "proven": True, "claim": told, "refusal": None})
        return
    _say(f"{_named(file)} proves a fork, {claim.kind}.")
    for sentence in _sentences(claim):
        _say(sentence)


def _claim_json(claim: ForkClaim) -> dict[str, object]:
    return {
        "kind": claim.kind,
        "profile": claim.profile or None,
        "author": claim.author.hex(),
        "entries": [
            {"log_id": log_id, "seq_num": seq_num, "hash": hash.hex()}
            for log_id, seq_num, hash in _entries(claim)
        ],
        "parent": claim.parent.hex() or None,
        "subject": claim.subject or None,
        "fork_id": claim.fork_id.hex() if claim.fork_id is not None else None,
    }


def _sentences(claim: ForkClaim) -> list[str]:
    shown = [f"  log {log} entry {number} {hash.hex()}" for log, number, hash in _entries(claim)]
    return [_what(claim), *shown, *_parent(claim), _fork_id(claim)]


def _entries(claim: ForkClaim) -> list[tuple[int, int, bytes]]:
    return list(zip(claim.log_ids, claim.seq_nums, claim.hashes, strict=True))


def _what(claim: ForkClaim) -> str:
    """The contradiction in one sentence."""
    author = f"Author {claim.author.hex()}"
    log_id, (first, second) = claim.log_ids[0], claim.seq_nums
    match claim.kind:
        case ForkKind.BRANCH:
            return f"{author} signed two different entries {first} of log {log_id}:"
        case ForkKind.AFTER_END:
            return (
                f"{author} ended log {log_id} with entry {first}, "
                f"and signed entry {second} that links to the end:"
            )
        case ForkKind.DOUBLE_SCHEMA:
            per = PROFILES[claim.profile].log_per
            return (
                f"{author} signed entries of {per} {claim.subject} in two logs, "
                f"where profile {claim.profile} has one log for a {per}:"
            )


def _parent(claim: ForkClaim) -> list[str]:
    """Where a branch parts, as far as its entries tell."""
    if claim.kind is not ForkKind.BRANCH:
        return []
    seq_num = claim.seq_nums[0]
    if seq_num == 1:
        return ["The log parts at its first entry."]
    if claim.parent:
        return [f"Both follow entry {seq_num - 1} {claim.parent.hex()}: there the log parts."]
    return [f"They name entry {seq_num - 1} differently: where the log parts is not shown."]


def _fork_id(claim: ForkClaim) -> str:
    if claim.fork_id is None:
        return "The fork's id cannot be told without the entry before."
    return f"The fork's id is {claim.fork_id.hex()}."


def _named(file: str) -> str:
    return "Standard input" if file == "-" else file


def _say(sentence: str) -> None:
    """One line, whatever a stranger's schema has in it: a second one could be a lie."""
    click.echo(printable(sentence))
