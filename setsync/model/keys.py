"""Ed25519 keys and the files they live in; the only importer of nacl.

Verification is libsodium's and nobody else's: two libraries are two notions of "valid",
and two notions of valid are two sets that never become equal.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import nacl.bindings
import nacl.exceptions

from setsync.errors import KeyFileError

SEED_BYTES = 32
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

# A key file has one line.
_MOST_READ = 256
_FILE_LABEL = "setsync-ed25519-seed-1"


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A signing key, made from a 32-byte seed. It never shows itself in a repr."""

    seed: bytes = field(repr=False)
    public: bytes = field(init=False)
    _expanded: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_BYTES:
            raise KeyFileError(f"A key's seed has {SEED_BYTES} bytes, this one {len(self.seed)}.")
        public, expanded = nacl.bindings.crypto_sign_seed_keypair(self.seed)
        object.__setattr__(self, "public", public)
        object.__setattr__(self, "_expanded", expanded)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte detached Ed25519 signature of `message`."""
        signed: bytes = nacl.bindings.crypto_sign(message, self._expanded)
        return signed[:SIGNATURE_BYTES]


def is_valid_signature(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether libsodium accepts `signature` (64 bytes) under `public` (32 bytes).

    libsodium refuses small-order and non-canonical keys and non-canonical scalars, so a
    True here means the same on every node.
    """
    if len(public) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False  # the binding looks at neither length and would read past the end
    try:
        nacl.bindings.crypto_sign_open(signature + message, public)
    except (nacl.exceptions.BadSignatureError, nacl.exceptions.ValueError):
        return False
    return True


def is_valid_point(public: bytes) -> bool:
    """Whether a public key (32 bytes) is a canonical point of the main subgroup: under others
    anybody can make signatures that some libraries accept."""
    if len(public) != PUBLIC_KEY_BYTES:
        return False
    return bool(nacl.bindings.crypto_core_ed25519_is_valid_point(public))


def write_key_file(path: Path, key: SecretKey) -> None:
    """Write a new key file that only its owner can read; never over an existing one.

    Raises KeyFileError when the file exists or its folder cannot be written.
    """
    write_secret_file(path, key_file_text(key))


def write_secret_file(path: Path, text: str) -> None:
    """Write a new file (ASCII) that only its owner can read; never over an existing one.

    Raises KeyFileError when the file exists or its folder cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise KeyFileError(f"{path} exists already; a key is never written over.") from error
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise KeyFileError(f"{path} cannot be written: {error.strerror}.") from error


def key_file_text(key: SecretKey) -> str:
    """What stands in a key file: the secret, so never in a log or an answer."""
    return f"{_FILE_LABEL} {key.seed.hex()}\n"


def read_key_file(path: Path) -> SecretKey:
    """Read a key file; refuse one that others can read.

    Raises KeyFileError when it is missing, open to others, or not a key file.
    """
    content = read_secret_file(path)
    if content is None:
        raise KeyFileError(f"{path} cannot be read: {os.strerror(errno.ENOENT)}.")
    return SecretKey(_parse(path, content))


def read_secret_file(path: Path) -> bytes | None:
    """The beginning of a file that is for its owner only; None where there is no file.

    Raises KeyFileError for one that others can read, or that cannot be read.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_MOST_READ)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}.") from error
    if mode & 0o077:
        raise KeyFileError(f"{path} can be read by others (mode {mode:04o}); run: chmod 600 {path}")
    return content


def _parse(path: Path, content: bytes) -> bytes:
    words = content.split()
    try:
        if len(words) == 2 and words[0] == _FILE_LABEL.encode():
            seed = bytes.fromhex(words[1].decode("ascii"))
            if len(seed) == SEED_BYTES:
                return seed
    except ValueError:
        pass
    raise KeyFileError(f"{path} is not a setsync key file.")
