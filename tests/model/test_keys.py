"""Keys, the files they live in, and libsodium's verdicts, which are everybody's."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from setsync.errors import KeyFileError
from setsync.model.keys import SecretKey, is_valid_signature, read_key_file, write_key_file
from tests.helpers import keys, some_bytes

# RFC 8032, section 7.1: seed, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701"
        "cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d"
        "0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
]

# All encodings of points whose order divides 8, canonical and not.
SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]

# Two signatures of "two notions of valid" under the seed 00 01 .. 1f, one r apart by a point
# of order 2: every verifier takes the first, those that multiply by 8 the second as well.
COFACTORED = (
    "fe272cacb2ce755fc828d420da97cb0cc65a6da437336537bb4fd61de566bafb"
    "e69e5356e3d30628f5e9a58279cb1a4b52d1b07afe6629f296c463a3dcca8307",
    "efd7d3534d318aa037d72bdf256834f339a5925bc8cc9ac844b029e21a994504"
    "22e3824a10f7319d4890432713c5e5a678f7f1406300e85a2a71337668386a09",
)


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_the_vectors_of_rfc_8032(seed: str, public: str, message: str, signature: str) -> None:
    key = SecretKey(bytes.fromhex(seed))
    assert key.public.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    assert is_valid_signature(key.public, bytes.fromhex(message), bytes.fromhex(signature))


def test_any_flipped_bit_of_signature_message_or_key_is_refused() -> None:
    (key,) = keys(1)
    parts = [key.public, b"message", key.sign(b"message")]
    for which, part in enumerate(parts):
        for bit in range(8 * len(part)):
            changed = list(parts)
            changed[which] = _flip(part, bit)
            assert not is_valid_signature(*changed)


def _flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("public", SMALL_ORDER)
def test_keys_of_small_order_sign_nothing(public: str) -> None:
    """Under such a key the all-zero signature fits many messages for whoever multiplies by 8."""
    for signature in (bytes(64), bytes.fromhex(SMALL_ORDER[1]) + bytes(32)):
        for n in range(64):
            assert not is_valid_signature(bytes.fromhex(public), some_bytes(n), signature)


def test_a_scalar_that_is_not_reduced_is_refused() -> None:
    """Else anybody could make a second signature, and so a second id, of a signed entry."""
    (key,) = keys(1)
    signature = key.sign(b"once")
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(signature[32:], "little") + order
    assert not is_valid_signature(
        key.public, b"once", signature[:32] + scalar.to_bytes(32, "little")
    )


def test_a_signature_that_only_fits_when_multiplied_by_8_is_refused() -> None:
    """Libraries differ here (RFC 8032 allows both), and a difference between two nodes would
    keep their sets apart for ever. R is r*B plus a point of order 2, and S fits r."""
    key = SecretKey(bytes(range(32)))
    plain, with_torsion = map(bytes.fromhex, COFACTORED)
    assert is_valid_signature(key.public, b"two notions of valid", plain)
    assert not is_valid_signature(key.public, b"two notions of valid", with_torsion)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_or_signature_of_another_length_is_simply_not_valid(length: int) -> None:
    (key,) = keys(1)
    assert not is_valid_signature(bytes(length), b"message", key.sign(b"message"))
    if length != 64:
        assert not is_valid_signature(key.public, b"message", bytes(length))
    signature = key.sign(b"message")
    assert not is_valid_signature(key.public, b"essage", signature + b"m")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_seed_has_32_bytes(length: int) -> None:
    with pytest.raises(KeyFileError, match=f"this one {length}"):
        SecretKey(bytes(length))


def test_a_key_never_shows_its_seed() -> None:
    (key,) = keys(1)
    assert key.seed.hex() not in repr(key)
    assert repr(key.seed)[2:-1] not in repr(key)
    assert copy.copy(key) == key


# --- files --------------------------------------------------------------------------------


def test_a_key_file_reads_back_and_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "author.key"
    (key,) = keys(1)
    write_key_file(path, key)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == b"setsync-ed25519-seed-1 " + key.seed.hex().encode() + b"\n"
    assert read_key_file(path) == key


def test_a_key_file_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "author.key"
    one, two = keys(2)
    write_key_file(path, one)
    with pytest.raises(KeyFileError, match="exists already"):
        write_key_file(path, two)
    assert read_key_file(path) == one


def test_a_key_file_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be written"):
        write_key_file(tmp_path / "missing" / "author.key", keys(1)[0])


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644, 0o666])
def test_a_key_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "author.key"
    write_key_file(path, keys(1)[0])
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"chmod 600 {path}"):
        read_key_file(path)
    path.chmod(0o400)
    assert read_key_file(path) == keys(1)[0]


SEED = "11" * 32


@pytest.mark.parametrize(
    "content",
    [
        "",
        "setsync-ed25519-seed-1",
        f"setsync-ed25519-seed-2 {SEED}",
        SEED,
        f"setsync-ed25519-seed-1 {SEED[:-2]}",
        f"setsync-ed25519-seed-1 {SEED}11",
        f"setsync-ed25519-seed-1 {SEED} more",
        f"setsync-ed25519-seed-1 {'zz' * 32}",
        f"setsync-ed25519-seed-1 {'é' * 32}",
        "-----BEGIN OPENSSH PRIVATE KEY-----\n" * 20,
    ],
)
def test_what_is_no_key_file_is_refused_without_showing_what_is_in_it(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "author.key"
    path.write_text(content, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="is not a setsync key file") as caught:
        read_key_file(path)
    assert "1111" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(KeyFileError, match="cannot be read"):
            read_key_file(path)
