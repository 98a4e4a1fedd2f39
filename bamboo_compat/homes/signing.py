"""Signing what a server asks for, or refusing it.

A server that tells an author what to sign next can make it fork its log: by a lie, or because it
lost entries. So what is signed is never what the server says, but what follows from what was
signed here before, and a server that says otherwise is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bamboo_compat.core.entry import sign
from bamboo_compat.core.lipmaa import has_lipmaalink, lipmaa
from bamboo_compat.core.yamf import Flavour, hash_of
from bamboo_compat.homes.errors import NextRefusedError
from bamboo_compat.homes.ledger import Ledger, Place
from setsync.model.keys import SecretKey


@dataclass(frozen=True, slots=True)
class NextArgs:
    """What a server says that the next entry is. Links are tagged hashes."""

    log_id: int
    seq_num: int
    backlink: bytes | None
    lipmaalink: bytes | None


class Older(Protocol):
    """Where the entries below the head are found by their links."""

    def hash_at(self, seq_num: int) -> bytes | None:
        """The tagged hash of the entry with this number that our head stands on; None where it is
        not known."""


def sign_next(
    args: NextArgs,
    ledger: Ledger,
    key: SecretKey,
    payload: bytes,
    *,
    flavour: Flavour = Flavour.YASMF,
    older: Older | None = None,
) -> bytes:
    """The header of the next entry, once it is on the disk that it was signed.

    `ledger` is that of the key and of `args.log_id`. `older` is asked first: below a head that was
    decided to be right, numbers in the ledger may be those of the other branch.
    Raises NextRefusedError where the server asks for anything but the entry after our head with
    our own links; LedgerError. Nothing is signed then.
    """
    expected = next_args(ledger, older)
    _compare(args, expected, ledger, older)
    header = sign(
        key.seed,
        expected.log_id,
        expected.seq_num,
        payload,
        backlink=expected.backlink,
        lipmaalink=expected.lipmaalink,
        flavour=flavour,
    )
    ledger.use(expected.seq_num, header, payload, hash_of(flavour, header))
    return header


def next_args(ledger: Ledger, older: Older | None = None) -> NextArgs:
    """What the next entry is by our own account. Raises NextRefusedError where an entry that it
    has to name is not known, LedgerError."""
    head = ledger.head()
    if head is None:
        return NextArgs(ledger.log_id, 1, None, None)
    seq_num = head.seq_num + 1
    lipmaalink = None
    if has_lipmaalink(seq_num):
        lipmaalink = _hash_at(ledger, older, lipmaa(seq_num))
        if lipmaalink is None:
            raise NextRefusedError(
                f"The next entry of log {ledger.log_id} has to name entry {lipmaa(seq_num)}, "
                "and it is not known here."
            )
    return NextArgs(ledger.log_id, seq_num, head.hash, lipmaalink)


def _hash_at(ledger: Ledger, older: Older | None, seq_num: int) -> bytes | None:
    found = older.hash_at(seq_num) if older is not None else None
    return found if found is not None else ledger.hash_at(seq_num)


def _compare(args: NextArgs, expected: NextArgs, ledger: Ledger, older: Older | None) -> None:
    """Raises NextRefusedError, which says the first difference."""
    if args.log_id != expected.log_id:
        raise NextRefusedError(f"This is about log {args.log_id}, not {expected.log_id}.")
    if args.seq_num != expected.seq_num:
        raise NextRefusedError(
            f"The server asks for number {args.seq_num} of log {args.log_id}; "
            f"the next one is {expected.seq_num}."
        )
    if args.backlink != expected.backlink:
        raise NextRefusedError(
            f"The server says that entry {args.seq_num} of log {args.log_id} follows "
            f"{_shown(args.backlink)}; ours is {_shown(expected.backlink)}."
        )
    # Where it need not be spelled out, a server may leave it out or name it all the same.
    wanted = {expected.lipmaalink}
    if expected.lipmaalink is None and expected.seq_num > 1:
        wanted.add(_hash_at(ledger, older, lipmaa(expected.seq_num)))
    if args.lipmaalink not in wanted:
        raise NextRefusedError(
            f"The server says that entry {args.seq_num} of log {args.log_id} names "
            f"{_shown(args.lipmaalink)}; ours is {_shown(expected.lipmaalink)}."
        )


def _shown(link: bytes | None) -> str:
    return link.hex() if link is not None else "nothing"


__all__ = ["NextArgs", "Older", "Place", "next_args", "sign_next"]
