"""The bit codec: what goes in comes out, and nothing else decodes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from setsync.reconcile import golomb
from setsync.reconcile.golomb import U64

Drawn = list[tuple[int, int, int]]
VALUES = st.lists(st.tuples(st.integers(0, 63), st.integers(0, 2**64 - 1), st.integers(0, 63)))


def arrays(drawn: Drawn) -> tuple[U64, NDArray[np.int64]]:
    """Values of all magnitudes, with widths that may or may not suit them."""
    widths = np.array([width for width, _, _ in drawn], np.int64)
    values = np.array([value >> shift for _, value, shift in drawn], np.uint64)
    return values, widths


@given(VALUES)
def test_decode_gives_back_what_encode_took(drawn: Drawn) -> None:
    values, widths = arrays(drawn)
    assert (golomb.decode(golomb.encode(values, widths), widths) == values).all()


@given(VALUES, st.data())
def test_a_changed_code_is_another_value_or_refused(drawn: Drawn, data: st.DataObject) -> None:
    values, widths = arrays(drawn)
    code = bytearray(golomb.encode(values, widths))
    for _ in range(data.draw(st.integers(1, 3))):
        if code:
            code[data.draw(st.integers(0, len(code) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed = bytes(code[: data.draw(st.integers(0, len(code)))]) + data.draw(st.binary(max_size=9))
    try:
        decoded = golomb.decode(changed, widths)
    except ValueError:
        return
    assert golomb.encode(decoded, widths) == changed


def test_golden_bytes() -> None:
    """5 = 101 and 0 = 000 at width 2: low parts by plane 0 0, 1 0; quotients 10, 0; padding 0."""
    code = golomb.encode(np.array([5, 0], np.uint64), np.array([2, 2]))
    assert code.hex() == f"{0b0010_100_0:02x}"


def test_a_value_far_above_its_width_is_escaped() -> None:
    code = golomb.encode(np.array([1 << 63], np.uint64), np.array([0]))
    assert code.hex() == "ffffffff00" + "8000000000000000"


def test_the_first_quotient_that_is_escaped_is_32() -> None:
    values, widths = np.array([31, 32, 33], np.uint64), np.zeros(3, np.int64)
    code = golomb.encode(values, widths)
    ones = f"{'1' * 31}0{'1' * 32}0{'1' * 32}0".ljust(104, "0")
    assert code == int(ones, 2).to_bytes(13) + bytes(7) + b"\x20" + bytes(7) + b"\x21"
    assert golomb.decode(code, widths).tolist() == [31, 32, 33]


@pytest.mark.parametrize(
    ("code", "widths", "complaint"),
    [
        ("", [3], "need 4 bits"),
        ("80", [8], "need 9 bits"),
        ("f0", [0, 0, 0, 0, 0], "end after 4 quotients of 5"),
        ("01", [0], "padding"),
        ("0000", [0], "expected 0 bytes of escaped"),
        ("ffffffff80", [0], "over 32 one bits"),
        ("ffffffff00" + "00" * 7 + "1f", [0], "below 32"),
        ("7fffffff80" + "80" + "00" * 7, [1], "no 64-bit value"),
    ],
)
def test_each_flaw_has_its_own_complaint(code: str, widths: list[int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        golomb.decode(bytes.fromhex(code), np.array(widths))


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_best_width_is_the_cheapest_for_geometric_gaps(mean: int, count: int) -> None:
    chosen = golomb.best_width(mean * count, count)

    def cost(width: int) -> float:
        x = math.exp(-(2.0**width) / mean)
        return width + 1 + x / (1 - x)

    neighbours = [cost(width) for width in (chosen - 1, chosen + 1) if width >= 0]
    assert cost(chosen) <= min(neighbours) + 1e-6


@pytest.mark.parametrize(
    ("universe", "count", "width"),
    [
        (1000, 0, 0),
        (10**9, 481_211_825, 0),
        (10**9, 481_211_824, 1),
        (2**64, 1, 63),
        (2**80, 1, 63),
    ],
)
def test_best_width_at_its_ends(universe: int, count: int, width: int) -> None:
    """Both sides must find the same width, so the very edge is part of the format."""
    assert golomb.best_width(universe, count) == width
