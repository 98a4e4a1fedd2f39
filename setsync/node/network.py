"""A network's key: 32 bytes that its nodes share and strangers do not know.

It opens no session and signs nothing; it only lets two nodes prove to each other that they
belong together before either shows who it is (`gate`). Three proofs, each under a key of its own
that is derived from the shared one, so that no message can be taken for another and none of them
comes back to its sender as an answer.

    call    = MAGIC 16 | nonce 32 | proof of the dialler's nonce 32
    answer  = nonce 32 | proof of both nonces 32
    reply   = proof of both nonces 32
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from setsync.errors import KeyFileError, NetworkKeyFileError
from setsync.model.keys import read_secret_file, write_secret_file

SECRET_BYTES = 32
NONCE_BYTES = 32
PROOF_BYTES = 32
MAGIC = b"setsync/network1"
CALL_BYTES = len(MAGIC) + NONCE_BYTES + PROOF_BYTES
ANSWER_BYTES = NONCE_BYTES + PROOF_BYTES
REPLY_BYTES = PROOF_BYTES
# What a node without a key says to a call. It proves nothing, and only chooses a sentence.
NO_KEY = b"setsync: this node has no network key\n".ljust(ANSWER_BYTES, b"\0")

_FILE_LABEL = "setsync-network-key-1"
_CALL = "setsync 2026-11 network key: call of the dialler"
_ANSWER = "setsync 2026-11 network key: answer of the listener"
_REPLY = "setsync 2026-11 network key: reply of the dialler"
_NAME = "setsync 2026-11 network key: name for people"


@dataclass(frozen=True, slots=True)
class NetworkKey:
    """The shared secret, 32 bytes. It never shows itself in a repr. Raises KeyFileError."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise NetworkKeyFileError(
                f"A network's key has {SECRET_BYTES} bytes, this one {len(self.secret)}."
            )

    @property
    def name(self) -> str:
        """16 hex digits by which people compare keys; nothing of the key can be told from it."""
        return self._derived(_NAME).hex()[:16]

    # --- what is said ---------------------------------------------------------------------

    def call(self, nonce: bytes) -> bytes:
        """The dialler's first word."""
        return MAGIC + nonce + self._proof(_CALL, nonce)

    def answer(self, call: bytes, nonce: bytes) -> bytes:
        """The listener's to a call that `is_call` accepted, with a nonce of its own."""
        return nonce + self._proof(_ANSWER, _nonce_of(call) + nonce)

    def reply(self, call: bytes, answer: bytes) -> bytes:
        """The dialler's to an answer that `is_answer` accepted."""
        return self._proof(_REPLY, _nonce_of(call) + answer[:NONCE_BYTES])

    # --- whether the other side knows the key ---------------------------------------------

    def is_call(self, call: bytes) -> bool:
        """Whether somebody with the key has once made this call; it may be a repetition."""
        return hmac.compare_digest(call, self.call(_nonce_of(call)))

    def is_answer(self, answer: bytes, call: bytes) -> bool:
        """Whether whoever answered this call knows the key."""
        return hmac.compare_digest(answer, self.answer(call, answer[:NONCE_BYTES]))

    def is_reply(self, reply: bytes, call: bytes, answer: bytes) -> bool:
        """Whether whoever replied to our answer knows the key."""
        return hmac.compare_digest(reply, self.reply(call, answer))

    def _derived(self, context: str) -> bytes:
        return blake3(self.secret, derive_key_context=context).digest()

    def _proof(self, context: str, nonces: bytes) -> bytes:
        return blake3(nonces, key=self._derived(context)).digest()


def _nonce_of(call: bytes) -> bytes:
    return call[len(MAGIC) : len(MAGIC) + NONCE_BYTES]


# --- the file -----------------------------------------------------------------------------


def key_text(key: NetworkKey) -> str:
    """What stands in the file: the secret, so never in a log or an answer."""
    return f"{_FILE_LABEL} {key.secret.hex()}\n"


def parse_key_text(content: bytes, place: str) -> NetworkKey:
    """The reverse. Raises NetworkKeyFileError for anything else, which names `place` as its
    origin."""
    words = content.split()
    try:
        if len(words) == 2 and words[0] == _FILE_LABEL.encode():
            secret = bytes.fromhex(words[1].decode("ascii"))
            if len(secret) == SECRET_BYTES:
                return NetworkKey(secret)
    except ValueError:
        pass
    raise NetworkKeyFileError(f"{place} is no network's key.")


def write_network_key(path: Path, key: NetworkKey) -> None:
    """Write a new file that only its owner can read; never over an existing one.

    Raises NetworkKeyFileError when the file exists or its folder cannot be written.
    """
    try:
        write_secret_file(path, key_text(key))
    except KeyFileError as error:
        raise NetworkKeyFileError(error.message) from error


def read_network_key(path: Path) -> NetworkKey | None:
    """The key in a file; None where there is no file.

    Raises KeyFileError for one that others can read or that is no key: a node that was given a
    key never goes on without it.
    """
    content = read_secret_file(path)
    return None if content is None else parse_key_text(content, str(path))
