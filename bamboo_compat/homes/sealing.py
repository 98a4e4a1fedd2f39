"""A secret key under a passphrase: Argon2id and SecretBox, both libsodium's.

| size | field |
|---|---|
| 16 | salt |
| 4 | operations |
| 4 | memory, KiB |
| 24 | nonce |
| 48 | SecretBox of the 32 bytes of the seed |

Costs stand beside what they protect; those over `MAX_KEY_OPERATIONS` and `MAX_KEY_MEMORY` are
refused, since a stranger's file must not choose how much of this machine it takes.
"""

from __future__ import annotations

import nacl.bindings
import nacl.exceptions
import nacl.pwhash.argon2id
import nacl.secret

from bamboo_compat.homes.errors import ArchiveError, PassphraseError
from bamboo_compat.homes.fields import Fields
from bamboo_compat.homes.limits import MAX_KEY_MEMORY, MAX_KEY_OPERATIONS, MAX_PASSPHRASE
from setsync.limits import KIB
from setsync.model.keys import SecretKey

SALT_BYTES = 16
NONCE_BYTES = 24
SEALED_BYTES = SALT_BYTES + 4 + 4 + NONCE_BYTES + 48
# Under this a box can be opened by trying.
_LEAST_OPERATIONS = 1
_LEAST_MEMORY = 8 * KIB


def seal(
    key: SecretKey,
    passphrase: str,
    chance: bytes,
    *,
    operations: int = MAX_KEY_OPERATIONS,
    memory: int = MAX_KEY_MEMORY,
) -> bytes:
    """The key, for whoever knows the passphrase. `chance`: 40 fresh bytes for salt and nonce.

    Raises PassphraseError.
    """
    salt, nonce = chance[:SALT_BYTES], chance[SALT_BYTES:]
    box = _box(passphrase, salt, operations, memory)
    costs = operations.to_bytes(4, "big") + (memory // KIB).to_bytes(4, "big")
    return salt + costs + nonce + box.encrypt(key.seed, nonce).ciphertext


def unseal(sealed: bytes, passphrase: str) -> SecretKey:
    """The reverse. Raises PassphraseError for a wrong one, ArchiveError for what is no such box."""
    fields = Fields(sealed)
    try:
        salt, operations = fields.take(SALT_BYTES), fields.number(4)
        memory, nonce = fields.number(4) * KIB, fields.take(NONCE_BYTES)
        content = fields.take(48)
        fields.end()
    except ValueError as error:
        raise ArchiveError(f"The key in it is none: {error}.") from error
    if not _LEAST_OPERATIONS <= operations <= MAX_KEY_OPERATIONS:
        raise ArchiveError(f"Its key wants {operations} operations; {MAX_KEY_OPERATIONS} at most.")
    if not _LEAST_MEMORY <= memory <= MAX_KEY_MEMORY:
        raise ArchiveError(f"Its key wants {memory:,} bytes of memory, over the limit.")
    try:
        seed = _box(passphrase, salt, operations, memory).decrypt(content, nonce)
    except nacl.exceptions.CryptoError as error:
        raise PassphraseError("This is not the passphrase of the key in the archive.") from error
    return SecretKey(seed)


def _box(passphrase: str, salt: bytes, operations: int, memory: int) -> nacl.secret.SecretBox:
    encoded = passphrase.encode("utf-8")
    if not 0 < len(encoded) <= MAX_PASSPHRASE:
        raise PassphraseError(f"A passphrase has 1 to {MAX_PASSPHRASE:,} bytes.")
    size = nacl.secret.SecretBox.KEY_SIZE
    return nacl.secret.SecretBox(
        nacl.pwhash.argon2id.kdf(size, encoded, salt, opslimit=operations, memlimit=memory)
    )
