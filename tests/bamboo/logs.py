"""Logs made for tests, with our own encoder: right ones, and ones with a planted fault."""

from __future__ import annotations

from dataclasses import dataclass, field

from bamboo_compat.core import entry as entries
from bamboo_compat.core import keys, yamf
from bamboo_compat.core.lipmaa import has_lipmaalink, lipmaa
from bamboo_compat.core.yamf import Flavour

FLAVOURS = (Flavour.YASMF, Flavour.YAMF)
Record = tuple[bytes, bytes | None]


def seed(number: int) -> bytes:
    """The seed of test author `number`."""
    return bytes([number]) * 32


@dataclass
class Author:
    """A log as it grows. `hashes[n]` is the tagged hash of entry n."""

    number: int = 1
    log_id: int = 1024
    flavour: Flavour = Flavour.YASMF
    hashes: list[bytes] = field(default_factory=lambda: [b""])

    @property
    def key(self) -> bytes:
        """The public key."""
        return keys.public_key(seed(self.number))

    def copy(self) -> Author:
        """The same log on another machine: what it appends from here on is a fork."""
        return Author(self.number, self.log_id, self.flavour, [*self.hashes])

    def append(self, payload: bytes | None = None, *, end: bool = False) -> tuple[bytes, bytes]:
        """The next entry, as it should be."""
        seq_num = len(self.hashes)
        payload = f"payload {seq_num}".encode() if payload is None else payload
        data = self.make(seq_num, payload, end=end)
        self.hashes.append(yamf.hash_of(self.flavour, data))
        return data, payload

    def grow(self, count: int, word: str = "") -> list[Record]:
        """So many more entries."""
        first = len(self.hashes)
        return [self.append(f"{word} {n}".encode()) for n in range(first, first + count)]

    def make(
        self,
        seq_num: int,
        payload: bytes,
        *,
        end: bool = False,
        backlink: bytes | None = None,
        lipmaalink: bytes | None = None,
    ) -> bytes:
        """One entry with right links, or with those given, signed; the log does not grow."""
        if seq_num > 1 and backlink is None:
            backlink = self.hashes[seq_num - 1]
        if has_lipmaalink(seq_num) and lipmaalink is None:
            lipmaalink = self.hashes[lipmaa(seq_num)]
        return entries.sign(
            seed(self.number),
            self.log_id,
            seq_num,
            payload,
            backlink=backlink,
            lipmaalink=lipmaalink,
            end_of_log=end,
            flavour=self.flavour,
        )


def signed(number: int, body: bytes) -> bytes:
    """Any bytes, signed by a test author: for entries that our encoder refuses to make."""
    return body + keys.sign(seed(number), body)
