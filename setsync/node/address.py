"""Where another node is, and which key has to be there: `setsync://KEY@host:port`.

Without the key, `host:port`, an address says nothing of who answers there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from setsync.errors import UsageError

SCHEME = "setsync://"
DEFAULT_PORT = 7717
_KEY = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Address:
    """A host, a port, and the key of the node there (32 bytes) where it is known."""

    host: str
    port: int
    key: bytes | None = None

    @property
    def place(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        return join_address(self.host, self.port)

    def __str__(self) -> str:
        return self.place if self.key is None else f"{SCHEME}{self.key.hex()}@{self.place}"

    @classmethod
    def to_fill_in(cls, key: bytes) -> Address:
        """A node's own, which knows its key and port and not what others call its machine."""
        return cls("HOST", DEFAULT_PORT, key)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises UsageError."""
        if not text.startswith(SCHEME):
            return cls(*split_address(text))
        key, at, place = text.removeprefix(SCHEME).partition("@")
        if not at or not _KEY.fullmatch(key):
            raise UsageError(f"{text!r} is not setsync://KEY@HOST:PORT, the key in 64 hex digits.")
        return cls(*split_address(place), bytes.fromhex(key))


def join_address(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(text: str) -> tuple[str, int]:
    """The reverse of `join_address`. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if "[" in host or "]" in host:
        colon = ""
    is_number = port.isascii() and port.isdigit() and len(port) <= 5
    if not colon or not host or not is_number or int(port) > 65_535:
        raise UsageError(f"{text!r} is not HOST:PORT (an IPv6 address stands in brackets).")
    check_host(host)
    return host, int(port)


def check_host(host: str) -> None:
    """Whether it could be looked up: what asks for it otherwise raises UnicodeError.

    Raises UsageError.
    """
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise UsageError(
            f"{host!r} is no name of a host: between its dots stand 1 to 63 letters."
        ) from error


def is_key(text: str) -> bool:
    """Whether this is a node's key: 64 hex digits."""
    return _KEY.fullmatch(text.lower()) is not None


def parse_key(text: str) -> bytes:
    """A node's key, in 64 hex digits or out of its address. Raises UsageError."""
    if text.startswith(SCHEME):
        key = Address.parse(text).key
        assert key is not None
        return key
    if not is_key(text):
        raise UsageError(f"{text!r} is neither a node's key, 64 hex digits, nor its address.")
    return bytes.fromhex(text)
