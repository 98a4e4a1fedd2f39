"""Id lists: the difference of two sets, as the plain set operation gives it."""

from itertools import accumulate

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from setsync.reconcile import golomb, idlist

KEY = bytes(range(32))
SETS = st.sets(st.integers(0, 400), max_size=120)
TOP = 2**64 - 1
# All magnitudes, and often next to where sums of 64 bits wrap.
WORDS = st.one_of(
    st.integers(0, TOP),
    st.integers(0, 50),
    st.integers(TOP - 50, TOP),
    st.integers(2**63 - 50, 2**63 + 50),
)


def coded_gaps(gaps: list[int], bits: int) -> bytes:
    """Any gaps in the layout of a list of `bits`, whatever they add up to."""
    width = golomb.best_width(1 << bits, len(gaps))
    return golomb.encode(np.array(gaps, np.uint64), np.full(len(gaps), width))


def full_ids(numbers: list[int]) -> NDArray[np.uint8]:
    stream = b"".join(blake3(number.to_bytes(8)).digest() for number in numbers)
    return np.frombuffer(stream, np.uint8).reshape(-1, 32)


def test_golden_keyed_ids() -> None:
    ids = np.arange(96, dtype=np.uint8).reshape(3, 32)
    assert [hex(value) for value in idlist.keyed_ids(ids, KEY).tolist()] == GOLDEN_KEYED


def test_keyed_ids_are_the_stated_sums() -> None:
    """The definition once more, in plain integers."""
    stream = blake3(KEY, derive_key_context="setsync 1 id list multilinear key").digest(length=144)
    keys = [int.from_bytes(stream[i : i + 8]) for i in range(0, 144, 8)]
    raw = blake3(b"an id").digest()
    words = [1, *(int.from_bytes(raw[i : i + 4]) for i in range(0, 32, 4))]
    upper, lower = (
        sum(k * w for k, w in zip(half, words, strict=True)) % 2**64 >> 32
        for half in (keys[:9], keys[9:])
    )
    found = idlist.keyed_ids(np.frombuffer(raw, np.uint8).reshape(1, 32), KEY)
    assert found.tolist() == [upper << 32 | lower]


def test_keyed_ids_look_at_every_byte_and_at_the_key() -> None:
    ids = np.zeros((33, 32), np.uint8)
    ids[np.arange(32), np.arange(32)] = 1
    hashed = idlist.keyed_ids(ids, KEY)
    assert len(set(hashed.tolist())) == 33
    assert not set(hashed.tolist()) & set(idlist.keyed_ids(ids, bytes(32)).tolist())


def test_truncated_keyed_ids_collide_as_often_as_chance() -> None:
    """One pair of ids that differ in a single bit, over 4,000 keys, cut to 6 bits: about 62."""
    pair = np.zeros((2, 32), np.uint8)
    pair[1, 17] = 128
    hashes = [
        idlist.keyed_ids(pair, blake3(bytes([i % 256, i // 256])).digest()) for i in range(4000)
    ]
    equal = sum(int(a) >> 58 == int(b) >> 58 for a, b in hashes)
    assert 30 <= equal <= 100


@pytest.mark.parametrize(
    ("n_a", "n_b", "bits"),
    [(0, 0, 10), (1, 1, 10), (1, 2, 11), (1000, 1000, 30), (10**6, 10**6, 50), (2**27, 2**27, 64)],
)
def test_truncation_bits(n_a: int, n_b: int, bits: int) -> None:
    assert idlist.truncation_bits(n_a, n_b) == bits
    assert n_a * n_b / 2**bits <= 2**-10


def test_truncation_bits_stay_within_a_word() -> None:
    assert idlist.truncation_bits(2**27, 2**27 + 1) == 64
    assert idlist.truncation_bits(2**40, 2**40) == 64
    assert idlist.truncation_bits(1, 1, spare=0) == 1


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 24))
def test_spare_bits_bound_the_false_matches(n_a: int, n_b: int, spare: int) -> None:
    """By no more bits than it takes."""
    bits = idlist.truncation_bits(n_a, n_b, spare)
    assert n_a * n_b * 2**spare <= 2**bits < 2 * n_a * n_b * 2**spare


@given(SETS, SETS, st.sampled_from([62, 64]))
def test_a_list_compared_with_a_list_is_the_plain_set_operation(
    initiator: set[int], responder: set[int], bits: int
) -> None:
    mine, theirs = sorted(initiator), sorted(responder)
    held, order = idlist.truncate(idlist.keyed_ids(full_ids(mine), KEY), bits)
    sent, their_order = idlist.truncate(idlist.keyed_ids(full_ids(theirs), KEY), bits)
    read = idlist.decode_ids(idlist.encode_ids(sent, bits), len(theirs), bits)
    only_mine, only_theirs = order[~np.isin(held, read)], their_order[~np.isin(read, held)]
    assert {mine[i] for i in only_mine} == initiator - responder
    assert {theirs[i] for i in only_theirs} == responder - initiator


@given(st.lists(WORDS, max_size=80), st.integers(1, 64))
def test_duplicates_after_truncation_are_kept(values: list[int], bits: int) -> None:
    cut, order = idlist.truncate(np.array(values, np.uint64), bits)
    read = idlist.decode_ids(idlist.encode_ids(cut, bits), len(values), bits)
    assert read.tolist() == [values[i] >> (64 - bits) for i in order]
    assert read.tolist() == sorted(value >> (64 - bits) for value in values)


@given(st.lists(WORDS, max_size=12).map(sorted))
def test_short_ids_are_listed_at_64_bits(values: list[int]) -> None:
    code = idlist.encode_ids(np.array(values, np.uint64), 64)
    assert idlist.decode_ids(code, len(values), 64).tolist() == values


@given(st.lists(WORDS, max_size=6), st.sampled_from([1, 20, 62, 63, 64]))
def test_no_sum_of_gaps_hides_that_it_wrapped(gaps: list[int], bits: int) -> None:
    """Whatever the gaps: their sums in plain integers if those fit, else the complaint."""
    sums, code = list(accumulate(gaps)), coded_gaps(gaps, bits)
    if max(sums, default=0) < 2**bits:
        assert idlist.decode_ids(code, len(gaps), bits).tolist() == sums
    else:
        with pytest.raises(ValueError, match=f"does not fit {bits} bits"):
            idlist.decode_ids(code, len(gaps), bits)


@given(st.binary(max_size=40), st.integers(0, 40), st.integers(1, 64))
def test_any_bytes_are_a_canonical_id_list_or_refused(data: bytes, count: int, bits: int) -> None:
    try:
        values = idlist.decode_ids(data, count, bits)
    except ValueError:
        return
    assert len(values) == count
    assert (np.sort(values) == values).all()
    assert idlist.encode_ids(values, bits) == data


@given(st.sets(st.integers(0, 2**20 - 1), min_size=1, max_size=60), st.data())
def test_a_changed_list_is_another_list_or_refused(values: set[int], data: st.DataObject) -> None:
    code = bytearray(idlist.encode_ids(np.array(sorted(values), np.uint64), 20))
    code[data.draw(st.integers(0, len(code) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed = bytes(code[: data.draw(st.integers(0, len(code)))])
    try:
        read = idlist.decode_ids(changed, len(values), 20)
    except ValueError:
        return
    assert idlist.encode_ids(read, 20) == changed


def test_a_declared_count_beyond_the_bytes_is_refused_before_room_is_made() -> None:
    with pytest.raises(ValueError, match="cannot stand in 4 bytes"):
        idlist.decode_ids(b"abcd", 2**60, 40)
    with pytest.raises(ValueError, match="-1 values cannot stand"):
        idlist.decode_ids(b"abcd", -1, 40)


@pytest.mark.parametrize(
    ("gaps", "bits"),
    [
        ([2**20], 20),
        ([5, 2**20 - 5], 20),
        ([5, 2**64 - 3], 20),
        ([2**63, 2**63], 20),
        ([TOP, 1], 64),
        ([1, TOP], 64),
        ([TOP, TOP], 64),
        ([2**63, 2**63], 64),
        ([2**63, 2**63, TOP], 64),
    ],
)
def test_values_beyond_their_bits_are_refused(gaps: list[int], bits: int) -> None:
    """Too large by themselves, by their sum, or wrapping to less, even to nothing and back."""
    with pytest.raises(ValueError, match=f"does not fit {bits} bits"):
        idlist.decode_ids(coded_gaps(gaps, bits), len(gaps), bits)


def test_bytes_per_id_are_what_the_docstring_says() -> None:
    rng = np.random.default_rng(2)
    for size, limit in ((10_000, 3.2), (200_000, 3.75)):
        bits = idlist.truncation_bits(size, size)
        keyed = rng.integers(0, 2**64, size, dtype=np.uint64)
        values, _ = idlist.truncate(keyed, bits)
        assert len(idlist.encode_ids(values, bits)) <= limit * size


def test_golden_list() -> None:
    values = np.array([3, 3, 700, 1023], np.uint64)
    assert idlist.encode_ids(values, 10).hex() == GOLDEN_LIST


def test_golden_list_of_whole_words() -> None:
    """2^64 - 1 at width 63: 63 one bits, the quotient 1 as 10, and seven bits of padding."""
    values = np.array([2**64 - 1], np.uint64)
    assert idlist.encode_ids(values, 64).hex() == "ff" * 8 + "00"


@pytest.mark.parametrize("bits", [0, 65])
def test_bits_out_of_range_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.64 bits"):
        idlist.encode_ids(np.zeros(1, np.uint64), bits)


def test_wrong_shapes_and_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        idlist.keyed_ids(np.zeros((2, 31), np.uint8), KEY)
    with pytest.raises(ValueError, match="32 bytes"):
        idlist.keyed_ids(np.zeros((2, 32), np.uint8), b"short")


GOLDEN_KEYED = ["0xb5a29fee64ae1015", "0x1f79863d1ab6d270", "0x89506c8cd0bf94cc"]
GOLDEN_LIST = "122209b3ec"
