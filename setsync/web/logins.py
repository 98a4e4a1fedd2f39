"""Who has logged in: browsers, each with a cookie, and a token that its own pages carry.

In the memory of the serving process alone, by the digests of the cookies: when it ends, all log
in again.
"""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from blake3 import blake3

from setsync.limits import MAX_WEB_LOGINS, WEB_SESSION_SECONDS


def _fresh() -> bytes:
    return os.urandom(32)


@dataclass(frozen=True, slots=True)
class Login:
    """One browser. `csrf` stands in its pages, which no other origin can read."""

    csrf: str = field(repr=False)
    began: int

    def is_ours(self, csrf: str) -> bool:
        """Whether a page of this browser shows its token."""
        return hmac.compare_digest(self.csrf.encode("ascii"), csrf.encode("utf-8"))


@dataclass
class Logins:
    """All of them, the oldest first."""

    chance: Callable[[], bytes] = _fresh
    _by_digest: dict[bytes, Login] = field(default_factory=dict, repr=False)

    def open(self, now: int) -> str:
        """Log a browser in, at a moment in ms; its cookie."""
        while len(self._by_digest) >= MAX_WEB_LOGINS:
            del self._by_digest[next(iter(self._by_digest))]
        cookie = _text(self.chance())
        self._by_digest[_digest(cookie)] = Login(_text(self.chance()), now)
        return cookie

    def find(self, cookie: str, now: int) -> Login | None:
        """Whose cookie this is; nobody's after WEB_SESSION_SECONDS."""
        login = self._by_digest.get(_digest(cookie))
        if login is not None and now - login.began > WEB_SESSION_SECONDS * 1000:
            self.close(cookie)
            return None
        return login

    def close(self, cookie: str) -> None:
        """Log a browser out."""
        self._by_digest.pop(_digest(cookie), None)


def _digest(cookie: str) -> bytes:
    # Looked up by its digest: how long that takes tells nothing about the cookie.
    return blake3(cookie.encode("utf-8", "surrogatepass")).digest()


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode("ascii").rstrip("=")
