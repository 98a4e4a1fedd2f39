"""The laws of `setsync.reconcile.view`, as a check that names the one that is broken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from setsync.reconcile.digest import HEX, LEAF_CAPACITY, Summary, summarise
from setsync.reconcile.view import SetView


class BrokenLawError(AssertionError):
    """`law` is the name that stands in the module docstring of `setsync.reconcile.view`."""

    def __init__(self, law: str, prefix: str, expected: object, found: object) -> None:
        super().__init__(f"{law} at {prefix!r}: expected {expected!r}, found {found!r}")
        self.law = law


def check_laws(
    view: SetView,
    members: Sequence[bytes],
    capacity: int = LEAF_CAPACITY,
    prefixes: Iterable[str] | None = None,
) -> None:
    """Ask `view` everything about `prefixes` and compare with the sorted ids it should hold.

    Raises BrokenLawError with the law: order, count, children or digest.
    """
    for prefix in telling_prefixes(members) if prefixes is None else prefixes:
        _check_range(
            view, [id_ for id_ in members if id_.hex().startswith(prefix)], prefix, capacity
        )


def _check_range(view: SetView, expected: list[bytes], prefix: str, capacity: int) -> None:
    def must(law: str, wanted: object, found: object) -> None:
        if wanted != found:
            raise BrokenLawError(law, prefix, wanted, found)

    ids = [row.tobytes() for row in view.ids(prefix)]
    must("order", sorted(set(ids)), ids)
    must("order", expected, ids)
    for after, limit in _windows(expected):
        window = [row.tobytes() for row in view.ids(prefix, after, limit)]
        must("order", [id_ for id_ in expected if id_ > after][:limit], window)
    summary = view.summary(prefix)
    must("count", len(expected), summary.count)
    if len(prefix) < 64:
        children = list(view.children(prefix))
        must("children", 16, len(children))
        must("children", summary.count, sum(child.count for child in children))
        below: list[Summary] = [view.summary(prefix + digit) for digit in HEX]
        must("children", below, children)
    must("digest", summarise(expected, len(prefix), capacity).digest.hex(), summary.digest.hex())


def _windows(expected: list[bytes]) -> list[tuple[bytes, int | None]]:
    if not expected:
        return [(bytes(32), 1), (b"\xff" * 32, None)]
    middle = expected[len(expected) // 2]
    return [(b"", 1), (middle, None), (middle, 2), (expected[-1], 5), (expected[0], 0)]


def telling_prefixes(members: Sequence[bytes]) -> list[str]:
    """Prefixes at which a trie of these ids could go wrong: around every branching, one digit
    into empty ranges, below every leaf, and at the very ends."""
    found = {"", "0", "f", "00", "ff", "0" * 63, "0" * 64, "f" * 64}
    texts = [id_.hex() for id_ in members]
    for text, before, after in zip(texts, ["", *texts], [*texts[1:], ""], strict=False):
        fork = max(_shared(text, before), _shared(text, after))
        depths = {1, fork - 1, fork, fork + 1, fork + 2, fork + 3, 63, 64}
        found |= {text[:depth] for depth in depths if 0 <= depth <= 64}
        for depth in (fork, fork + 1, 64):
            if 1 <= depth <= 64:
                digit = HEX[(int(text[depth - 1], 16) + 1) % 16]
                found |= {text[: depth - 1] + digit, (text[: depth - 1] + digit + "7")[:64]}
    return sorted(found)


def _shared(one: str, two: str) -> int:
    count = 0
    while count < min(len(one), len(two)) and one[count] == two[count]:
        count += 1
    return count
