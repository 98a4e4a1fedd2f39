"""One entry by itself: everything that can be said of it without its log.

The order of the rules is the order of the bytes, then the signature, then the payload; the
links come later, in `log`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from blake3 import blake3

from bamboo_compat.core import checks
from bamboo_compat.core.entry import Entry, scan
from bamboo_compat.core.keys import SIGNATURE_BYTES, is_valid_signature
from bamboo_compat.core.profiles import read_operation
from bamboo_compat.core.report import Finding, Problem, Standing, Verdict
from bamboo_compat.core.yamf import Flavour

_YAMF = bytes(Flavour.YAMF.value)
_YASMF = bytes(Flavour.YASMF.value)
_FLAVOURS = (_YAMF, _YASMF)


class Member(NamedTuple):
    """An entry that may be in a set, in the few values that its log needs.

    `id` is BLAKE3-256 of its bytes and `twin` BLAKE2b-512, the two names that a link may
    have for it; `is_yamf` says which of them it uses itself.
    """

    where: int
    id: bytes
    twin: bytes
    is_yamf: bool
    author: bytes
    log_id: int
    seq_num: int
    backlink: bytes | None
    lipmaalink: bytes | None
    end_of_log: bool
    withheld: bool
    schema: str | None
    previous: bytes | None


def examine(data: bytes, payload: bytes | None = None, where: int = 0) -> Member | Problem:
    """Check one entry, and its payload if there is one. `where` comes back with the answer."""
    entry, end, findings = scan(data)
    if end != len(data) and entry is not None and (finding := checks.check_end(len(data) - end)):
        findings.append(finding)
    return _judge(data, end, entry, findings, payload, where)


def examine_first(data: bytes, at: int, where: int = 0) -> tuple[Member | Problem, int]:
    """Check the entry that begins at `at` among others; also says where it ends."""
    entry, end, findings = scan(data, at)
    return _judge(data[at:end], end - at, entry, findings, None, where), end


def _judge(
    data: bytes,
    end: int,
    entry: Entry | None,
    findings: list[Finding],
    payload: bytes | None,
    where: int,
) -> Member | Problem:
    if entry is None:
        return _refused(data, None, findings, where)
    signed = data[: end - SIGNATURE_BYTES]
    # Nearly every signature is right, and so is nearly every payload; the rules are for the others.
    if not is_valid_signature(entry.author, signed, entry.signature) and (
        finding := checks.check_signature(entry.author, signed, entry.signature)
    ):
        findings.append(finding)
    operation = None
    if payload is not None:
        if entry.payload_size != len(payload) or (
            entry.payload_hash != _YASMF + blake3(payload).digest()
        ):
            _check_payload(entry, payload, findings)
        operation = read_operation(payload)
    if findings:
        return _refused(data, entry, findings, where)
    schema, previous = operation if operation is not None else (None, None)
    return Member(
        where,
        blake3(data).digest(),
        blake2b(data).digest(),
        entry.payload_hash.startswith(_YAMF),
        entry.author,
        entry.log_id,
        entry.seq_num,
        entry.backlink,
        entry.lipmaalink,
        entry.end_of_log,
        payload is None,
        schema,
        previous,
    )


def _check_payload(entry: Entry, payload: bytes, findings: list[Finding]) -> None:
    # A hash of a flavour that does not exist is a finding already.
    if entry.payload_hash.startswith(_FLAVOURS) and (
        finding := checks.check_payload_hash(entry.payload_hash, payload)
    ):
        findings.append(finding)
    if finding := checks.check_payload_size(entry.payload_size, payload):
        findings.append(finding)


def _refused(data: bytes, entry: Entry | None, findings: list[Finding], where: int) -> Problem:
    return Problem(
        where,
        Verdict(blake3(data).digest(), Standing.REFUSED, tuple(findings)),
        entry.author if entry is not None else None,
        entry.log_id if entry is not None else None,
        entry.seq_num if entry is not None else None,
    )
