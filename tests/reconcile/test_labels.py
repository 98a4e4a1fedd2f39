"""Keys and labels, pinned: two versions that disagree here can never find themselves equal."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from setsync.reconcile.digest import EMPTY, Summary
from setsync.reconcile.labels import FULL, SHORT, digest_label, session_key
from tests.helpers import some_bytes

NODE_A, NODE_B = b"a" * 32, b"b" * 32
NONCES = b"n" * 32 + b"m" * 32


def test_the_session_key_is_this_for_ever() -> None:
    assert session_key(NODE_A, NODE_B, NONCES, 0).hex() == GOLDEN_KEY
    assert digest_label(EMPTY, "", 16, bytes(32)).hex() == GOLDEN_EMPTY
    assert digest_label(Summary(300, b"d" * 32), "0af", SHORT, b"k" * 32).hex() == GOLDEN_LABEL


GOLDEN_KEY = "51fca6779620c429198e8ca2493cf5403debff72d35ddb944af361bc2ca19e9b"
GOLDEN_EMPTY = "c2c7ea5a7fbfb2f3d35f1b2ca99c29ee"
GOLDEN_LABEL = "16aa269976f3ef89"


def test_whatever_goes_into_the_key_changes_it() -> None:
    keys = [
        session_key(NODE_A, NODE_B, NONCES, 0),
        session_key(NODE_A, NODE_B, NONCES, 1),
        session_key(NODE_B, NODE_A, NONCES, 0),
        session_key(NODE_A, NODE_A, NONCES, 0),
        session_key(NODE_A, NODE_B, NONCES[32:] + NONCES[:32], 0),
        session_key(NODE_A, NODE_B, b"x" + NONCES[1:], 0),
        session_key(NODE_A, NODE_B, NONCES[:-1] + b"x", 0),
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 32 for key in keys)


@given(st.integers(0, 2**40), st.text("0123456789abcdef", max_size=64))
def test_a_shorter_label_is_the_beginning_of_a_longer_one(count: int, prefix: str) -> None:
    summary, key = Summary(count, some_bytes(count)), some_bytes("key")
    whole = digest_label(summary, prefix, FULL, key)
    assert digest_label(summary, prefix, SHORT, key) == whole[:SHORT]
    assert digest_label(summary, prefix, 16, key) == whole[:16]


def test_a_label_depends_on_digest_count_prefix_and_key() -> None:
    variants = [
        digest_label(Summary(count, digest), prefix, SHORT, key)
        for count in (1, 256)
        for digest in (b"d" * 32, b"e" * 32)
        for prefix in ("", "0", "00", "1")
        for key in (b"k" * 32, b"l" * 32)
    ]
    assert all(one != two for one, two in combinations(variants, 2))


def test_labels_cut_down_to_few_bits_collide_as_often_as_chance_has_it() -> None:
    """Of 500,000 pairs of labels of 12 bits about 122 agree: the label is no worse than random."""
    labels = [
        digest_label(Summary(1, some_bytes("digest", at)), "ab", SHORT, b"k" * 32)
        for at in range(1_000)
    ]
    cut = [int.from_bytes(label[:2], "big") >> 4 for label in labels]
    agreeing = sum(one == two for one, two in combinations(cut, 2))
    assert 80 <= agreeing <= 170
