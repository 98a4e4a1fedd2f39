"""The operator's token, and codes that log in once.

`web.token` in the data directory, one line, mode 0600, made by `init` or when it is needed first.
Whoever can read it is the operator. A code is made from it without asking the serving process: a
moment, chance, and a keyed digest of both; the serving process takes each once, for
WEB_LOGIN_SECONDS, and none that is older than itself.
"""

from __future__ import annotations

import base64
import hmac
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from setsync.errors import WebTokenError
from setsync.limits import WEB_LOGIN_SECONDS

_TOKEN_BYTES = 32
_NONCE_BYTES = 16
_MAC_BYTES = 32
_MOMENT_BYTES = 8
_CODE_BYTES = _MOMENT_BYTES + _NONCE_BYTES + _MAC_BYTES
_CODE_CONTEXT = "setsync 2026-11 web login code"


@dataclass(frozen=True, slots=True)
class Token:
    """The secret, 32 bytes."""

    secret: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """As it stands in the file and after `Bearer`."""
        return _encode(self.secret)

    def is_shown_by(self, text: str) -> bool:
        """Whether this is the token; takes as long whatever the answer."""
        return hmac.compare_digest(self.text.encode("ascii"), text.encode("utf-8"))

    def code(self, now: int, nonce: bytes) -> str:
        """A code that logs in once. `now` in ms, `nonce` 16 fresh bytes."""
        claim = now.to_bytes(_MOMENT_BYTES, "big") + nonce
        return _encode(claim + self._mac(claim))

    def read_code(self, text: str) -> tuple[int, bytes] | None:
        """When a code was made, and its nonce; None for what this token never made."""
        try:
            code = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            return None
        claim, mac = code[:-_MAC_BYTES], code[-_MAC_BYTES:]
        if len(code) != _CODE_BYTES or not hmac.compare_digest(mac, self._mac(claim)):
            return None
        return int.from_bytes(claim[:_MOMENT_BYTES], "big"), claim[_MOMENT_BYTES:]

    def _mac(self, claim: bytes) -> bytes:
        return blake3(
            claim, key=blake3(self.secret, derive_key_context=_CODE_CONTEXT).digest()
        ).digest()


@dataclass
class Codes:
    """Codes that were used, for one serving process that began at a moment in ms."""

    token: Token
    began: int
    _used: dict[bytes, int] = field(default_factory=dict, repr=False)

    def redeem(self, text: str, now: int) -> bool:
        """Whether a code logs in, at a moment in ms; it never does again."""
        read = self.token.read_code(text)
        if read is None:
            return False
        made, nonce = read
        life = int(WEB_LOGIN_SECONDS * 1000)
        self._used = {one: at for one, at in self._used.items() if now - at <= life}
        # One made before this process began may have been used with the process before.
        if not max(self.began, now - life) <= made <= now + 1000 or nonce in self._used:
            return False
        self._used[nonce] = made
        return True


def ensure_token(path: Path) -> Token:
    """The token in a file, which is made if it is missing. Raises WebTokenError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_token(path)
    except OSError as error:
        raise WebTokenError(f"{path} cannot be made: {error.strerror}.") from error
    token = Token(os.urandom(_TOKEN_BYTES))
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token.text + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise WebTokenError(f"{path} cannot be written: {error.strerror}.") from error
    return token


def read_token(path: Path) -> Token:
    """Raises WebTokenError when it is missing, open to others, or no token."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(256)
    except OSError as error:
        raise WebTokenError(f"{path} cannot be read: {error.strerror}.") from error
    if mode & 0o077:
        raise WebTokenError(f"{path} can be read by others (mode {mode:04o}).")
    try:
        secret = base64.urlsafe_b64decode(content.strip() + b"=")
    except ValueError:
        secret = b""
    if len(secret) != _TOKEN_BYTES or content != Token(secret).text.encode("ascii") + b"\n":
        raise WebTokenError(f"{path} holds no token.")
    return Token(secret)


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode("ascii").rstrip("=")
