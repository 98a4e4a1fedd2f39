"""The fingerprint of a set: its definition written a second time, and its strength."""

from __future__ import annotations

import itertools

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from setsync.reconcile.digest import (
    EMPTY,
    HEX,
    LEAF_CAPACITY,
    Summary,
    cuts,
    highest,
    inner_digest,
    leaf_digest,
    lowest,
    nibble,
    pack_prefix,
    summarise,
    summarise_children,
    unpack_children,
)
from setsync.reconcile.view import EmptyView, ListView
from tests.helpers import id_sets, ids, some_bytes
from tests.store.laws import check_laws


def by_the_book(members: set[str], prefix: str = "", capacity: int = LEAF_CAPACITY) -> bytes:
    """The definition in protocol.md, on hex strings and sets."""
    inside = sorted(id_ for id_ in members if id_.startswith(prefix))
    if len(inside) <= capacity:
        return blake3(b"\x00" + bytes.fromhex("".join(inside))).digest()
    body = b""
    for digit in HEX:
        count = sum(id_.startswith(prefix + digit) for id_ in inside)
        body += count.to_bytes(8, "big")
        body += by_the_book(set(inside), prefix + digit, capacity)
    return blake3(b"\x01" + body).digest()


@given(id_sets(max_size=60), st.integers(1, 5))
def test_the_digest_is_that_of_the_definition(members: list[bytes], capacity: int) -> None:
    expected = by_the_book({id_.hex() for id_ in members}, capacity=capacity)
    assert summarise(members, 0, capacity) == Summary(len(members), expected)


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 600])
def test_a_leaf_holds_up_to_32_ids(count: int) -> None:
    members = sorted(some_bytes(n) for n in range(count))
    expected = by_the_book({id_.hex() for id_ in members})
    assert summarise(members).digest == expected
    assert (summarise(members).digest == leaf_digest(b"".join(members))) == (count <= 32)


def test_golden_roots_which_every_machine_must_reach() -> None:
    assert EMPTY.digest.hex() == blake3(b"\x00").digest().hex()
    assert EMPTY.digest.hex() == "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"
    one_to_a_hundred = sorted(blake3(n.to_bytes(4, "big")).digest() for n in range(1, 101))
    assert (
        summarise(one_to_a_hundred[:32]).digest.hex()
        == "164cec4a402194de4e2da6df437c3511c114cc090db73aa14f2379bad0a2cb2b"
    )
    assert (
        summarise(one_to_a_hundred).digest.hex()
        == "2974378fa63e0e52f2853e1da11fb6bfa1290c2892c16ed5cf25556b4351a801"
    )


def test_the_children_of_a_range_pack_into_the_node_that_the_range_hashes() -> None:
    members = sorted(some_bytes(n) for n in range(100))
    children = summarise_children(members, 0)
    node = b"".join(child.pack() for child in children)
    assert len(node) == 640
    assert unpack_children(node) == children
    assert inner_digest(node) == summarise(members).digest


@given(ids(), st.integers(0, 64))
def test_the_ends_of_a_range_enclose_what_begins_with_its_prefix(id_: bytes, depth: int) -> None:
    prefix = id_.hex()[:depth]
    assert lowest(prefix) <= id_ <= highest(prefix)
    assert lowest(prefix).hex().startswith(prefix)
    assert highest(prefix).hex().startswith(prefix)
    assert pack_prefix(prefix) == bytes.fromhex(prefix + "0" * (depth % 2))
    if depth < 64:
        assert HEX[nibble(id_, depth)] == id_.hex()[depth]


@given(id_sets(), st.integers(0, 3))
def test_cuts_divide_sorted_ids_by_their_digit(members: list[bytes], depth: int) -> None:
    group = [id_ for id_ in members if not members or id_[:2] == members[0][:2]]
    places = cuts(group, depth + 4)
    assert (places[0], places[-1], len(places)) == (0, len(group), 17)
    if depth == 0:
        for digit, (low, high) in enumerate(itertools.pairwise(places)):
            assert all(nibble(id_, 4) == digit for id_ in group[low:high])


def test_an_empty_view_keeps_the_laws() -> None:
    check_laws(EmptyView(), [])


@given(id_sets(), st.integers(1, 4))
def test_the_memory_view_keeps_the_laws(members: list[bytes], capacity: int) -> None:
    check_laws(ListView(members[::-1], capacity), members, capacity)


# --- strength: sets that collide under cheaper fingerprints -------------------------------


def xor(members: list[bytes]) -> int:
    total = 0
    for id_ in members:
        total ^= int.from_bytes(id_, "big")
    return total


def ids_that_cancel() -> list[bytes]:
    """Hashes whose XOR is zero: linear algebra over GF(2) on any 257 of them."""
    basis: dict[int, tuple[int, int]] = {}  # highest bit -> value, and which hashes it is made of
    some = [some_bytes("xor", n) for n in range(257)]
    for n, id_ in enumerate(some):
        value, made_of = int.from_bytes(id_, "big"), 1 << n
        while value:
            top = value.bit_length()
            if top not in basis:
                basis[top] = (value, made_of)
                break
            value ^= basis[top][0]
            made_of ^= basis[top][1]
        else:
            return [one for m, one in enumerate(some) if made_of >> m & 1]
    raise AssertionError("257 vectors of 256 bits are never independent")


def test_sets_that_collide_under_xor_have_different_roots() -> None:
    common = sorted(some_bytes("common", n) for n in range(300))
    cancelling = ids_that_cancel()
    assert cancelling
    more = sorted(common + cancelling)
    assert xor(common) == xor(more)
    assert summarise(common).digest != summarise(more).digest
    half = cancelling[: len(cancelling) // 2]
    other = [id_ for id_ in cancelling if id_ not in half]
    one, two = sorted(common + half), sorted(common + other)
    assert xor(one) == xor(two)
    assert summarise(one).digest != summarise(two).digest


def sets_with_one_sum(bits: int) -> tuple[list[bytes], list[bytes]]:
    """Two disjoint sets of two hashes each, of equal sum modulo 2**bits: a birthday search."""
    some = [some_bytes("sum", n) for n in range(2_000)]
    seen: dict[int, tuple[bytes, bytes]] = {}
    for one, two in itertools.combinations(some, 2):
        total = (int.from_bytes(one, "big") + int.from_bytes(two, "big")) % 2**bits
        before = seen.setdefault(total, (one, two))
        if not {one, two} & set(before):
            return [one, two], list(before)
    raise AssertionError("none among two million pairs")


def test_sets_that_collide_under_a_sum_have_different_roots() -> None:
    """At 32 bits, so that it takes a second; at 256 it takes an hour and is as easy."""
    one, two = sets_with_one_sum(32)
    common = [some_bytes("common", n) for n in range(300)]
    sums = [
        sum(int.from_bytes(id_, "big") for id_ in common + extra) % 2**32 for extra in (one, two)
    ]
    assert sums[0] == sums[1]
    roots = [summarise(sorted(common + extra)) for extra in (one, two)]
    assert roots[0].count == roots[1].count
    assert roots[0].digest != roots[1].digest


def test_one_id_more_one_less_or_another_changes_the_root() -> None:
    members = sorted(some_bytes(n) for n in range(200))
    roots = {summarise(members).digest}
    for n in range(0, 200, 9):
        flipped = bytearray(members[n])
        flipped[n % 32] ^= 1 << n % 8
        without = members[:n] + members[n + 1 :]
        roots.add(summarise(without).digest)
        roots.add(summarise(sorted([*without, bytes(flipped)])).digest)
    assert len(roots) == 1 + 2 * len(range(0, 200, 9))
