"""Links that only look like an entry's hash: they lead nowhere, whatever came first."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from hashlib import blake2b

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from bamboo_compat.core.report import ForkKind
from bamboo_compat.core.yamf import Flavour
from setsync.store.memory import MemoryStore
from tests.bamboo.contradictions import create, update
from tests.bamboo.histories import member
from tests.bamboo.logs import FLAVOURS, Author, Record
from tests.bamboo.test_index import agrees, indexed, told

PROFILES = ("rfc0001", "aquadoggo")


def tagged(flavour: Flavour, digest: bytes) -> bytes:
    """A digest as a link has it, whether or not it is one."""
    prefix: bytes = flavour.value
    return prefix + digest


def honest(data: bytes) -> list[bytes]:
    """The two hashes that name an entry."""
    return [
        tagged(Flavour.YASMF, blake3(data).digest()),
        tagged(Flavour.YAMF, blake2b(data).digest()),
    ]


def forged(data: bytes) -> list[bytes]:
    """Hashes that begin like one of an entry's, or are made of one, and name nothing."""
    id_, twin = blake3(data).digest(), blake2b(data).digest()
    return [
        tagged(Flavour.YAMF, id_ + b"\xee" * 32),
        tagged(Flavour.YAMF, id_ + b"\xdd" * 32),
        tagged(Flavour.YAMF, twin[:32] + b"\xee" * 32),
        tagged(Flavour.YASMF, twin[:32]),
        tagged(Flavour.YASMF, blake3(twin).digest()),
        tagged(Flavour.YASMF, blake3(tagged(Flavour.YAMF, twin)).digest()),
    ]


def in_this_order(records: Sequence[Record], profile: str = "rfc0001") -> MemoryStore:
    """A store in which these came one by one."""
    store = MemoryStore()
    indexed(store, [member(record, profile) for record in records])
    return store


@pytest.mark.parametrize("number", range(6))
def test_an_entry_whose_link_begins_like_a_hash_waits_in_either_order(number: int) -> None:
    author = Author()
    first = author.append(b"first")
    second = author.make(2, b"second", backlink=forged(first[0])[number]), b"second"
    for order in ([first, second], [second, first]):
        store = in_this_order(order)
        agrees(store, order)
        [log] = told(store)[0]
        assert (log.verified, log.waiting, log.trusted) == (1, 1, 1)


@pytest.mark.parametrize("number", range(6))
def test_nobody_goes_on_after_an_end_by_a_link_that_begins_like_its_hash(number: int) -> None:
    author = Author()
    end = author.append(b"end", end=True)
    after = author.make(2, b"after", backlink=forged(end[0])[number]), b"after"
    for order in ([end, after], [after, end]):
        store = in_this_order(order)
        agrees(store, order)
        assert told(store)[1] == []


@pytest.mark.parametrize("number", range(6))
def test_an_operation_that_follows_half_a_hash_is_of_no_document(number: int) -> None:
    one, other = Author(log_id=0), Author(log_id=1)
    first = one.append(create())
    second = other.append(update(forged(first[0])[number]))
    for order in ([first, second], [second, first]):
        store = in_this_order(order, "aquadoggo")
        agrees(store, order, "aquadoggo")
        assert told(store)[1] == []


def test_links_to_what_is_not_here_make_one_family_only_if_they_are_equal() -> None:
    author = Author()
    absent = b"\x11" * 32
    links = [
        tagged(Flavour.YASMF, absent),
        tagged(Flavour.YAMF, absent + b"\x02" * 32),
        tagged(Flavour.YAMF, absent + b"\x03" * 32),
        tagged(Flavour.YASMF, blake3(absent + b"\x02" * 32).digest()),
    ]
    seconds = [
        (author.make(2, b"%d" % n, backlink=link), b"%d" % n) for n, link in enumerate(links)
    ]
    found = set()
    for order in itertools.permutations(seconds):
        store = in_this_order(order)
        agrees(store, order)
        found.add(tuple((fork.id, fork.parent) for fork in told(store)[1]))
    [[(_, parent)]] = found
    assert parent == b""


def test_an_entry_that_names_half_its_parent_is_no_branch_beside_a_child() -> None:
    author = Author()
    first = author.append(b"first")
    stranger = author.copy()
    second = author.append(b"second")
    for link in forged(first[0]):
        half = stranger.make(2, b"half", backlink=link), b"half"
        for order in itertools.permutations([first, second, half]):
            store = in_this_order(order)
            agrees(store, order)
            [fork] = told(store)[1]
            assert (fork.kind, fork.parent) == (ForkKind.BRANCH, b"")


# --- any world ----------------------------------------------------------------------------


@st.composite
def forgeries(draw: st.DrawFn, most: int = 14) -> list[Record]:
    """Entries of a few logs in some order, each link of which is right, or the hash of another
    entry, or only looks like one. What operations follow is chosen in the same way."""
    authors = [Author(1, 1024, draw(st.sampled_from(FLAVOURS)))]
    names = [tagged(Flavour.YASMF, b"\x11" * 32), tagged(Flavour.YAMF, b"\x11" * 64)]
    made: list[Record] = []
    for step in range(draw(st.integers(2, most))):
        author = draw(st.sampled_from(authors))
        if draw(st.integers(0, 3)) == 0:
            log_id = draw(st.sampled_from([author.log_id, 1025]))
            flavour = draw(st.sampled_from(FLAVOURS))
            hashes = [*author.hashes] if log_id == author.log_id else [b""]
            author = Author(1, log_id, flavour, hashes)
            authors.append(author)
        payload = _payload(draw, step, names)
        is_end = draw(st.integers(0, 11)) == 0
        if draw(st.booleans()):
            made.append(author.append(payload, end=is_end))
        else:
            seq_num = draw(st.sampled_from([2, 3, 4, 8, 13, len(author.hashes) + 1]))
            links = [draw(st.sampled_from(names)) for _ in range(2)]
            data = author.make(seq_num, payload, end=is_end, backlink=links[0], lipmaalink=links[1])
            made.append((data, payload))
        names += honest(made[-1][0]) + forged(made[-1][0])
    order = draw(st.permutations(made))
    return [record for record in order if draw(st.integers(0, 9))]


def _payload(draw: st.DrawFn, step: int, names: Sequence[bytes]) -> bytes:
    match draw(st.integers(0, 3)):
        case 0:
            return b"payload %d" % step
        case 1:
            return create(name=str(step))
        case _:
            return update(draw(st.sampled_from(names)))


@pytest.mark.parametrize("profile", PROFILES)
@settings(deadline=None, max_examples=200)
@given(records=forgeries(), chance=st.randoms(use_true_random=False))
def test_no_forged_link_makes_the_index_say_what_looking_at_everything_does_not(
    profile: str, records: list[Record], chance: random.Random
) -> None:
    store = MemoryStore()
    sizes = iter(lambda: chance.choice([1, 2, 9]), 0)
    indexed(store, [member(record, profile) for record in records], sizes)
    if records:
        agrees(store, records, profile)
