"""Receipts: a home signs that it took an entry, so that losing it later can be proven.

| offset | size | field |
|---|---|---|
| 0 | 4 | "SHR1" |
| 4 | 32 | author |
| 36 | 8 | log id |
| 44 | 8 | sequence number |
| 52 | 1 | length h of the hash, 34 or 66 |
| 53 | h | tagged hash of the entry |
| 53+h | 32 | the server's key, its node id |
| 85+h | 64 | the server's Ed25519 signature over a label and every byte before it |

The same entry gets the same receipt each time. The client keeps them in one file for each log,
`receipts/AUTHOR/LOG`, in slots of 256 bytes by number: the length 1, the receipt, zeros.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bamboo_compat.core import keys
from bamboo_compat.core.entry import decode
from bamboo_compat.core.yamf import Flavour, hash_of
from bamboo_compat.homes.errors import LedgerError
from bamboo_compat.homes.fields import Fields, counted
from bamboo_compat.homes.limits import MAX_LEDGER_NUMBER
from setsync.errors import PeerError
from setsync.model.keys import SecretKey

_MARK = b"SHR1"
_LABEL = b"setsync home receipt 1\0"
_FOLDER = "receipts"
_SLOT = 256
_MAX_HASH = 66


@dataclass(frozen=True, slots=True)
class Receipt:
    """`server` took the entry of `author` with this place and hash."""

    author: bytes
    log_id: int
    seq_num: int
    hash: bytes
    server: bytes
    signature: bytes = bytes(64)

    def unsigned(self) -> bytes:
        """Every byte before the signature."""
        place = self.log_id.to_bytes(8, "big") + self.seq_num.to_bytes(8, "big")
        return _MARK + self.author + place + counted(self.hash, 1) + self.server

    def pack(self) -> bytes:
        """The bytes of a receipt."""
        return self.unsigned() + self.signature


def make_receipt(server: SecretKey, header: bytes) -> Receipt:
    """The receipt for a Bamboo entry that the store of this server has. Raises BadEntryError."""
    entry = decode(header)
    flavour = next(one for one in Flavour if entry.payload_hash.startswith(one.value))
    bare = Receipt(
        entry.author, entry.log_id, entry.seq_num, hash_of(flavour, header), server.public
    )
    return Receipt(
        bare.author,
        bare.log_id,
        bare.seq_num,
        bare.hash,
        bare.server,
        server.sign(_LABEL + bare.unsigned()),
    )


def read_receipt(data: bytes) -> Receipt:
    """Read and check one: also that the server signed it. Raises PeerError."""
    fields = Fields(data)
    try:
        if fields.take(4) != _MARK:
            raise ValueError("it does not begin like one")
        author, log_id, seq_num = fields.take(32), fields.number(8), fields.number(8)
        hash_ = fields.some(1, _MAX_HASH)
        receipt = Receipt(author, log_id, seq_num, hash_, fields.take(32), fields.take(64))
        fields.end()
    except ValueError as error:
        raise PeerError(f"This is no receipt: {error}.") from error
    if not keys.is_valid_signature(receipt.server, _LABEL + receipt.unsigned(), receipt.signature):
        raise PeerError("The server did not sign this receipt.")
    return receipt


def is_for(receipt: Receipt, header: bytes, server: bytes) -> bool:
    """Whether a receipt is a server's for just this entry."""
    entry = decode(header)
    flavour = next(one for one in Flavour if entry.payload_hash.startswith(one.value))
    said = (receipt.author, receipt.log_id, receipt.seq_num, receipt.hash, receipt.server)
    return said == (entry.author, entry.log_id, entry.seq_num, hash_of(flavour, header), server)


class Receipts:
    """Those that are kept in a data directory."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / _FOLDER

    def keep(self, receipt: Receipt) -> None:
        """Keep one that was checked; durable when it returns. Raises LedgerError."""
        if not 0 < receipt.seq_num <= MAX_LEDGER_NUMBER:
            raise LedgerError(f"No receipt is kept for number {receipt.seq_num}.")
        path = self._path(receipt.author, receipt.log_id)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                slot = counted(receipt.pack(), 1).ljust(_SLOT, b"\0")
                os.pwrite(descriptor, slot, receipt.seq_num * _SLOT)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise LedgerError(f"{path} cannot be written: {error.strerror}.") from error

    def find(self, author: bytes, log_id: int, seq_num: int) -> Receipt | None:
        """The receipt for a place in a log, if a whole one is kept."""
        try:
            with self._path(author, log_id).open("rb") as file:
                file.seek(seq_num * _SLOT)
                slot = file.read(_SLOT)
        except OSError:
            return None
        if len(slot) != _SLOT or not slot[0]:
            return None
        try:
            found = read_receipt(slot[1 : 1 + slot[0]])
        except PeerError:
            return None
        place = found.author, found.log_id, found.seq_num
        return found if place == (author, log_id, seq_num) else None

    def last(self, author: bytes, log_id: int) -> Receipt | None:
        """The one for the highest number: what a home has signed that it has."""
        return next(self._downwards(author, log_id), None)

    def kept(self, author: bytes, log_id: int | None = None) -> Iterator[Receipt]:
        """All of an author, or of one log: by log id, the lowest number first."""
        names = [str(log_id)] if log_id is not None else self._logs(author)
        for name in names:
            yield from reversed(list(self._downwards(author, int(name))))

    def _logs(self, author: bytes) -> list[str]:
        try:
            names = [path.name for path in (self._folder / author.hex()).iterdir()]
        except OSError:
            return []
        return sorted((name for name in names if name.isascii() and name.isdigit()), key=int)

    def _downwards(self, author: bytes, log_id: int) -> Iterator[Receipt]:
        try:
            slots = self._path(author, log_id).stat().st_size // _SLOT
        except OSError:
            return
        for number in range(slots - 1, 0, -1):
            if (found := self.find(author, log_id, number)) is not None:
                yield found

    def _path(self, author: bytes, log_id: int) -> Path:
        return self._folder / author.hex() / str(log_id)
