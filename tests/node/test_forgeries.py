"""Who lies about a key: stolen certificates, and keys under which anybody can sign.

OpenSSL itself takes signatures of everybody under a key of small order. These tests show that
it does, with handshakes that it accepts, and that we refuse them none the less.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import nacl.bindings as sodium
import pytest
import trio
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from setsync.errors import PeerIdentityError
from setsync.model.keys import SecretKey, is_valid_point
from setsync.node import identity
from setsync.node.channel import key_in
from tests.helpers import some_bytes
from tests.node.ends import simulate
from tests.node.forging import Forger
from tests.node.impostors import ANNA, BEN, MALLORY, Judged, dialling, face, listening

P = 2**255 - 19
Sign = Callable[[bytes], bytes]


def _certificate(public: bytes) -> bytes:
    return identity._node_certificate(public).public_bytes(Encoding.DER)


async def _show(certificate: bytes, sign: Sign, *, dialled: bool) -> tuple[Judged, bytes]:
    """Show a certificate to Anna and go on talking; her verdict, and what she said."""
    heard: list[bytes] = []

    async def forge(stream: trio.abc.Stream) -> None:
        forger = Forger(stream, certificate, sign)
        await (forger.answer() if dialled else forger.connect())
        await forger.say(b"let me in")
        heard.append(await forger.heard_until_the_end() if not dialled else b"")

    judged = await face(dialling(ANNA) if dialled else listening(ANNA), forge)
    return judged, b"".join(heard)


BOTH_WAYS = pytest.mark.parametrize("dialled", [False, True], ids=["dials us", "is dialled"])


# --- a stolen certificate -----------------------------------------------------------------


@BOTH_WAYS
def test_the_handshakes_made_by_hand_are_good_ones(dialled: bool) -> None:
    """With its own key the forger is let in: what follows is refused for its own sake."""
    judged, _ = simulate(_show_one, BEN.public, BEN.sign, dialled)
    assert judged.channel is not None
    assert judged.channel.peer == BEN.public


@BOTH_WAYS
def test_a_stolen_certificate_is_of_no_use_without_its_key(dialled: bool) -> None:
    for sign in (MALLORY.sign, lambda _: bytes(64), lambda _: b""):
        judged, heard = simulate(_show_one, BEN.public, sign, dialled)
        assert isinstance(judged.error, PeerIdentityError)
        assert "does not hold the key in its certificate" in judged.reason
        assert heard == b""


async def _show_one(public: bytes, sign: Sign, dialled: bool) -> tuple[Judged, bytes]:
    return await _show(_certificate(public), sign, dialled=dialled)


def test_a_signature_of_another_session_is_of_no_use() -> None:
    """What Ben once signed for Mallory does not convince Anna."""
    overheard: list[bytes] = []

    def sign(content: bytes) -> bytes:
        overheard.append(BEN.sign(content))
        return overheard[0]

    first, _ = simulate(_show_one, BEN.public, sign, False)
    again, _ = simulate(_show_one, BEN.public, sign, False)
    assert first.channel is not None
    assert "does not hold the key" in again.reason


# --- keys under which anybody can sign ----------------------------------------------------

_ORDER_8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"
_ORDER_8_TOO = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"


def _encoded(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


# Every byte string that decodes to one of the eight points of small order, in some library.
SMALL = [
    _encoded(y, sign)
    for y in (
        0,
        1,
        P - 1,
        P,
        P + 1,
        *(int.from_bytes(bytes.fromhex(text), "little") for text in (_ORDER_8, _ORDER_8_TOO)),
    )
    for sign in (0, 1)
]


def _mixed(secret: SecretKey, small: bytes) -> bytes:
    """An honest key, moved by a point of small order: on the curve, and in no good group."""
    return bytes(sodium.crypto_core_ed25519_add(secret.public, small))


MIXED = [_mixed(MALLORY, small) for small in (bytes.fromhex(_ORDER_8), _encoded(P - 1))]
# The honest points whose encodings could be longer: y and y + P fit into 255 bits alike.
NON_CANONICAL = [_encoded(P + y, sign) for y in range(2, 19) for sign in (0, 1)]


def _is_accepted(public: bytes, message: bytes, signature: bytes) -> bool:
    """OpenSSL's opinion."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _forge(public: bytes) -> Sign:
    """Signatures that OpenSSL takes for ones under `public`, about two times in three."""

    def sign(message: bytes) -> bytes:
        candidates = [point + bytes(32) for point in SMALL]
        good = (one for one in candidates if _is_accepted(public, message, one))
        return next(good, bytes(64))

    return sign


def _forge_mixed(public: bytes) -> Sign:
    """The same, with an honest key's scalar, for a key that was moved away from it."""
    half = sodium.crypto_hash_sha512(MALLORY.seed)[:32]
    clamped = bytes([half[0] & 248, *half[1:31], half[31] & 63 | 64])
    scalar = sodium.crypto_core_ed25519_scalar_reduce(clamped + bytes(32))

    def sign(message: bytes) -> bytes:
        for attempt in range(200):
            nonce = sodium.crypto_core_ed25519_scalar_reduce(some_bytes(attempt, length=64))
            point = sodium.crypto_scalarmult_ed25519_base_noclamp(nonce)
            digest = sodium.crypto_hash_sha512(point + public + message)
            factor = sodium.crypto_core_ed25519_scalar_reduce(digest)
            product = sodium.crypto_core_ed25519_scalar_mul(factor, scalar)
            signature = point + sodium.crypto_core_ed25519_scalar_add(nonce, product)
            if _is_accepted(public, message, signature):
                return bytes(signature)
        return bytes(64)

    return sign


def test_openssl_takes_keys_that_libsodium_does_not() -> None:
    """Why there is a second look: whoever has no private key at all signs under these."""
    for public in SMALL:
        assert any(
            _is_accepted(public, message, _forge(public)(message))
            for message in (bytes([number]) for number in range(64))
        ), public.hex()
    for public in MIXED:
        assert _is_accepted(public, b"message", _forge_mixed(public)(b"message"))


@BOTH_WAYS
@pytest.mark.parametrize("public", [*SMALL, *MIXED], ids=lambda public: public.hex()[:8])
def test_a_key_under_which_others_can_sign_is_refused(public: bytes, dialled: bool) -> None:
    """In handshakes that OpenSSL brings to their end, and so would let in."""
    sign = _forge(public) if public in SMALL else _forge_mixed(public)
    for _ in range(60):
        judged, heard = simulate(_show_one, public, sign, dialled)
        assert isinstance(judged.error, PeerIdentityError)
        assert heard == b""
        if "does not hold the key" not in judged.reason:  # this time the forgery was good
            assert judged.reason == f"The other side's key {public.hex()} is not a sound one."
            return
    raise AssertionError("No forgery was good enough to be refused by us.")


@pytest.mark.parametrize("public", [*SMALL, *MIXED, *NON_CANONICAL], ids=lambda one: one.hex())
def test_a_certificate_of_an_unsound_key_has_no_key(public: bytes) -> None:
    assert not is_valid_point(public)
    with pytest.raises(PeerIdentityError, match=r"not a sound one|cannot be read"):
        key_in(_certificate(public))


def test_a_certificate_of_a_sound_key_has_it() -> None:
    assert key_in(_certificate(ANNA.public)) == ANNA.public


@pytest.mark.parametrize("what", [b"", b"\x30", b"\x30\x82\x01\x00" + bytes(256), bytes(2_000)])
def test_what_is_no_certificate_is_refused_with_a_sentence(what: bytes) -> None:
    with pytest.raises(PeerIdentityError, match=r"no certificate of a node|cannot be read"):
        key_in(what)


def test_a_certificate_cut_or_changed_anywhere_is_read_or_refused() -> None:
    """OpenSSL has checked its signature by then, which everybody can make for any content."""
    good = _certificate(ANNA.public)
    for at in range(0, len(good), 3):
        for changed in (good[:at], good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :]):
            with contextlib.suppress(PeerIdentityError):
                assert len(key_in(changed)) == 32
