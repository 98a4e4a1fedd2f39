"""Ed25519 by libsodium, and nobody else's: two libraries are two notions of "valid".

The only importer of nacl in this package.
"""

from __future__ import annotations

import nacl.bindings
import nacl.exceptions

SEED_BYTES = 32
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64


def public_key(seed: bytes) -> bytes:
    """The public key of a 32-byte seed."""
    public: bytes = nacl.bindings.crypto_sign_seed_keypair(_checked(seed))[0]
    return public


def sign(seed: bytes, message: bytes) -> bytes:
    """The 64-byte detached signature of `message`."""
    _, expanded = nacl.bindings.crypto_sign_seed_keypair(_checked(seed))
    signed: bytes = nacl.bindings.crypto_sign(message, expanded)
    return signed[:SIGNATURE_BYTES]


def is_valid_signature(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether libsodium accepts it. It refuses small-order and non-canonical keys, so True
    here is True on every machine."""
    if len(public) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False  # the binding looks at neither length and would read past the end
    try:
        nacl.bindings.crypto_sign_open(signature + message, public)
    except (nacl.exceptions.BadSignatureError, nacl.exceptions.ValueError):
        return False
    return True


def _checked(seed: bytes) -> bytes:
    if len(seed) != SEED_BYTES:
        raise ValueError(f"A key's seed has {SEED_BYTES} bytes, this one {len(seed)}.")
    return seed
