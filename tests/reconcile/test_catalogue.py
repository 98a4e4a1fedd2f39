"""What a side tells of its collections, and the digest that stands for all of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsync.reconcile.catalogue import Catalogue, NumberedViews
from setsync.reconcile.digest import EMPTY, Summary, summarise
from setsync.reconcile.view import ListView, SetView
from tests.helpers import some_bytes

KEY = b"k" * 32
ONE = summarise([some_bytes(1)])
TWO = summarise(sorted([some_bytes(1), some_bytes(2)]))


def _of(*collections: tuple[str, Summary]) -> Catalogue:
    return Catalogue.of(collections, lambda name: True)


def test_the_digest_is_this_for_ever() -> None:
    assert _of().digest(KEY).hex() == GOLDEN_NOTHING
    assert _of(("notes", ONE), ("system/keys", EMPTY)).digest(KEY).hex() == GOLDEN_TWO


GOLDEN_NOTHING = "dd08873e1f3a996867c67d21854328965dd6efd3d6cb13a053ed1ef4175133b1"
GOLDEN_TWO = "30ad8c83127b7d49b9d3435fbd7d59cde2135097adbef02573e3bc177fd630fd"


def test_equal_digests_mean_equal_names_counts_and_roots() -> None:
    variants = [
        _of(),
        _of(("a", ONE)),
        _of(("b", ONE)),
        _of(("a", TWO)),
        _of(("a", Summary(2, ONE.digest))),
        _of(("a", ONE), ("b", ONE)),
        _of(("a", ONE), ("b", TWO)),
        _of(("ab", ONE)),
    ]
    digests = [each.digest(KEY) for each in variants]
    assert len(set(digests)) == len(variants)
    assert all(len(digest) == 32 for digest in digests)
    assert not {each.digest(b"l" * 32) for each in variants} & set(digests)


_names = st.sampled_from(["a", "b", "system", "system/keys", "systems", "é", "zz/1", "~"])


@given(st.dictionaries(_names, st.sampled_from([ONE, TWO, EMPTY])), st.randoms())
def test_the_order_given_does_not_matter_and_system_goes_first(
    collections: dict[str, Summary], rng: object
) -> None:
    items = list(collections.items())
    rng.shuffle(items)  # type: ignore[attr-defined]
    catalogue = _of(*items)
    assert catalogue == _of(*collections.items())
    names = [name for name, _ in catalogue.collections]
    system = [name for name in names if name == "system" or name.startswith("system/")]
    assert names[: len(system)] == system
    assert catalogue.entry_count == sum(summary.count for summary in collections.values())


def test_only_what_is_wanted_is_listed() -> None:
    catalogue = Catalogue.of([("a", ONE), ("b", TWO)], lambda name: name == "b")
    ((name, count, label),) = catalogue.listing(KEY)
    assert (name, count, len(label)) == ("b", 2, 16)


def test_a_collection_that_is_not_here_is_an_empty_set() -> None:
    held: dict[str, SetView] = {"a": ListView([some_bytes(1)])}
    views = NumberedViews(["a", "gone"], held.get)
    assert [views[at].summary("") for at in views] == [ONE, EMPTY]
    assert len(views) == 2
    assert views.get(2) is None
    for number in (2, -1):
        with pytest.raises(KeyError):
            views[number]
