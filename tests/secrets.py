"""Nothing that the tests make a node say holds a secret that they made.

Secrets are noted as they are made: the seed of every `SecretKey`, and every code of an invite as
its digest is computed. What is said is noted as it comes: log records, standard output and error
of the tests, what a command or process of the tests writes, and sentences that tell a peer why. At
the end of the run each secret is looked for in it: raw, in hex and in base64.

What is there to show a secret (a new invite, an exported key) is not listened to by who runs it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from itertools import pairwise

# Shorter ones would be found by chance.
_LEAST = 12


def spellings(secret: bytes) -> Iterator[bytes]:
    """How a secret could stand in a text; base64 at each of its three alignments."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # Characters that hold bits of what stands before or after are cut off.
            text = encode(bytes(shift) + secret + bytes(3))
            yield text[-(-8 * shift // 6) : (8 * (shift + len(secret))) // 6]


class Watch:
    """Secrets made so far, and where one of them was said."""

    def __init__(self) -> None:
        self._by_start: dict[bytes, set[bytes]] = {}
        self._said: dict[bytes, str] = {}

    def add(self, secret: bytes) -> None:
        """A secret was made."""
        if len(secret) < _LEAST or _is_plain(secret):
            return
        for spelling in spellings(secret):
            self._by_start.setdefault(spelling[:_LEAST], set()).add(spelling)

    def hear(self, where: str, said: bytes) -> None:
        """Something was said."""
        if len(said) >= _LEAST:
            self._said.setdefault(said, where)

    def leaks(self) -> list[str]:
        """Where secrets were said: one line for each text."""
        return [
            f"{where}: {text[:40]!r}..."
            for text, where in self._said.items()
            if any(self._found(text))
        ]

    def _found(self, text: bytes) -> Iterable[bytes]:
        starts = self._by_start
        windows = (text[at : at + _LEAST] for at in range(len(text) - _LEAST + 1))
        for at, window in enumerate(windows):
            for spelling in starts.get(window, ()):
                if text.startswith(spelling, at):
                    yield spelling

    @property
    def counts(self) -> tuple[int, int]:
        """Secrets (by their spellings) and texts."""
        return sum(map(len, self._by_start.values())), len(self._said)


def _is_plain(secret: bytes) -> bool:
    """Whether bytes are zeros, or count up: a test's own, and found in others of its texts."""
    steps = {(after - before) % 256 for before, after in pairwise(secret)}
    return len(set(secret)) < 4 or len(steps) == 1


WATCH = Watch()
