"""A long catalogue costs what differs in it, not its length."""

from __future__ import annotations

from setsync.limits import LISTED_COLLECTIONS
from setsync.model.entry import Entry, make_entry
from setsync.node.client import Options
from setsync.store.memory import MemoryStore
from tests.helpers import MIDNIGHT, entries, keys
from tests.node.ends import roots, sync_in_memory


def collections(n: int) -> list[Entry]:
    """One entry in each of `n` collections."""
    return [entry for number in range(n) for entry in entries(1, f"c/{number}")]


def two(n: int) -> tuple[MemoryStore, MemoryStore]:
    """Two nodes with the same `n` collections."""
    a, b = MemoryStore(), MemoryStore()
    for store in (a, b):
        store.add_many(collections(n))
    return a, b


def test_of_ten_thousand_collections_three_differ_and_it_costs_under_two_kilobytes() -> None:
    a, b = two(10_000)
    a.add_many(entries(2, "c/7", seed=1))
    b.add_many(entries(2, "c/8", seed=1))
    # Of another author: the one of all others has opened as many collections as one may.
    b.add_many([make_entry(keys(2)[1], "only there", b"", MIDNIGHT)])
    met = sync_in_memory(a, b, Options(dry_run=True))
    sent, received = met.report.counters.sent, met.report.counters.received
    assert sent["reconcile"] + received["reconcile"] <= 2_048
    assert (met.report.missing_here, met.report.missing_there) == (3, 2)
    met = sync_in_memory(a, b)
    assert met.report.in_sync
    assert roots(a) == roots(b)


def test_one_more_than_are_listed_and_all_of_them_different() -> None:
    a, b = MemoryStore(), MemoryStore()
    n = LISTED_COLLECTIONS + 1
    for number in range(n):
        a.add_many(entries(3, f"c/{number}"))
        b.add_many(entries(3, f"c/{number}", seed=1))
    met = sync_in_memory(a, b)
    assert met.report.in_sync
    assert roots(a) == roots(b)
    assert met.report.missing_here == met.report.missing_there == 3 * n


def test_one_side_has_many_and_the_other_has_other_ones_or_none() -> None:
    for mine, theirs in ((0, 200), (200, 0), (3, 200), (200, 3)):
        a, b = MemoryStore(), MemoryStore()
        a.add_many(collections(mine))
        b.add_many(entries(1, "elsewhere"))
        b.add_many(collections(theirs)[1:])
        assert sync_in_memory(a, b).report.in_sync
        assert roots(a) == roots(b)


def test_system_collections_of_a_long_catalogue_still_go_first() -> None:
    a, b = two(100)
    b.add_many(entries(3, "aaa"))
    b.add_many(entries(3, "system/x"))
    b.add_many(entries(3, "zzz"))
    sync_in_memory(a, b)
    with a.snapshot() as snapshot:
        arrived = [entry.collection for entry in snapshot.since(100, 100)]
    assert arrived == ["system/x"] * 3 + ["aaa"] * 3 + ["zzz"] * 3
