"""What is mutated, and the tests that must notice: T31 of the design's security tests.

A fault here loses entries, takes forged ones or lets a stranger's bytes through, and nothing
downstream would tell.
"""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """A module, the tests next to it, and what of it is left alone because of `why`."""

    module: str
    tests: tuple[str, ...]
    leave: frozenset[str] = frozenset()
    why: str = ""


class Equivalent(NamedTuple):
    """A mutant that does what the original does: a line of `module` before and after, and why."""

    module: str
    before: str
    after: str
    why: str


TARGETS = (
    Target(
        "setsync/wire/codec.py",
        ("tests/wire/test_codec.py", "tests/wire/test_messages.py"),
    ),
    Target(
        "setsync/wire/framing.py",
        ("tests/wire/test_framing.py", "tests/wire/test_messages.py"),
    ),
    Target("setsync/store/trie.py", ("tests/store/test_trie.py",)),
    Target("setsync/model/checking.py", ("tests/model/test_checking.py",)),
    Target("setsync/store/importing.py", ("tests/store/test_importing.py",)),
    Target(
        "setsync/reconcile/peel.py",
        ("tests/reconcile/test_peel.py",),
        frozenset({"PASS_LIMIT"}),
        "nearly three times what any honest sketch takes: a pass more or less is the same bound",
    ),
    Target(
        "setsync/reconcile/sketch.py",
        ("tests/reconcile/test_sketch.py", "tests/reconcile/test_peel.py"),
        frozenset({"SYMBOLS_NEEDED", "_LIMIT_OVERHEAD", "_BLOCK", "_CHUNK"}),
        "quantiles that were measured, where one symbol is within the error; speed and memory",
    ),
    Target("setsync/model/entry.py", ("tests/model/test_entry.py",)),
    Target("setsync/model/native.py", ("tests/model/test_entry.py",)),
    Target(
        "bamboo_compat/core/checks.py",
        (
            "tests/bamboo/test_checks.py",
            "tests/bamboo/test_reasons.py",
            "tests/bamboo/test_entry.py",
        ),
    ),
    Target(
        "bamboo_compat/core/entry.py",
        ("tests/bamboo/test_entry.py", "tests/bamboo/test_reasons.py"),
    ),
)

_TRIE = "setsync/store/trie.py"
_PEEL = "setsync/reconcile/peel.py"
_SKETCH = "setsync/reconcile/sketch.py"
_BAMBOO = "bamboo_compat/core/entry.py"
_SIGNS = "a sign is 1 or -1"

EQUIVALENT = (
    Equivalent(
        "setsync/wire/codec.py",
        "return tuple(kind(item) for kind, item in zip(kinds, value, strict=True))",
        "return tuple(kind(item) for kind, item in zip(kinds, value, strict=(False)))",
        "other lengths were refused a line before",
    ),
    Equivalent(
        _TRIE,
        "while at >= 0 and at % ID_BYTES:  # a match across two ids: only a made-up set has one",
        "while (at > 0) and at % ID_BYTES:  # a match across two ids: only a made-up set has one",
        "at 0 the second condition ends the loop",
    ),
    Equivalent(
        _TRIE,
        "while at >= 0 and at % ID_BYTES:  # a match across two ids: only a made-up set has one",
        "while at >= (1) and at % ID_BYTES:  # a match across two ids: only a made-up set has one",
        "at 0 the second condition ends the loop",
    ),
    Equivalent(
        _TRIE,
        "if not part and leaf[:ID_BYTES] > high:",
        "if not part and (leaf[:ID_BYTES] >= high):",
        "the very last id of a range is in the part, unless it was asked for what is after it",
    ),
    Equivalent(
        _TRIE,
        "end = bisect_left(digits, prefix + _BEYOND, end + 1, high)",
        "end = bisect_left(digits, prefix + _BEYOND, end + (0), high)",
        "what is at `end` begins with the prefix too, so it is passed over all the same",
    ),
    Equivalent(
        "setsync/store/importing.py",
        "clock: Callable[[], float] = lambda: 0.0,",
        "clock: Callable[[], float] = lambda: (1.0),",
        "only how much it went on between two looks is used",
    ),
    Equivalent(
        _PEEL,
        "fresh.remove(self._ids[self._signs > 0])",
        "fresh.remove(self._ids[(self._signs >= 0)])",
        _SIGNS,
    ),
    Equivalent(
        _PEEL,
        "fresh.remove(self._ids[self._signs > 0])",
        "fresh.remove(self._ids[self._signs > (-1)])",
        _SIGNS,
    ),
    Equivalent(
        _PEEL,
        "fresh.add(self._ids[self._signs < 0])",
        "fresh.add(self._ids[(self._signs <= 0)])",
        _SIGNS,
    ),
    Equivalent(
        _PEEL,
        "fresh.add(self._ids[self._signs < 0])",
        "fresh.add(self._ids[self._signs < (1)])",
        _SIGNS,
    ),
    Equivalent(
        _PEEL,
        "return Complete(self._ids[self._signs > 0], self._ids[self._signs < 0])",
        "return Complete(self._ids[(self._signs >= 0)], self._ids[self._signs < 0])",
        _SIGNS,
    ),
    Equivalent(
        _PEEL,
        "return Complete(self._ids[self._signs > 0], self._ids[self._signs < 0])",
        "return Complete(self._ids[self._signs > (-1)], self._ids[self._signs < 0])",
        _SIGNS,
    ),
    Equivalent(
        _PEEL,
        "return Complete(self._ids[self._signs > 0], self._ids[self._signs < 0])",
        "return Complete(self._ids[self._signs > 0], self._ids[(self._signs <= 0)])",
        _SIGNS,
    ),
    Equivalent(
        _PEEL,
        "return Complete(self._ids[self._signs > 0], self._ids[self._signs < 0])",
        "return Complete(self._ids[self._signs > 0], self._ids[self._signs < (1)])",
        _SIGNS,
    ),
    Equivalent(
        _PEEL,
        "if self._is_mine is not None and (self._is_mine(find.ids) != (find.signs < 0)).any():",
        "if self._is_mine is not None and (self._is_mine(find.ids) != (find.signs < (1))).any():",
        _SIGNS,
    ),
    Equivalent(
        _PEEL,
        "if self._is_mine is not None and (self._is_mine(find.ids) != (find.signs < 0)).any():",
        "if self._is_mine is not None and (self._is_mine(find.ids) != ((find.signs <= 0))).any():",
        _SIGNS,
    ),
    Equivalent(
        _SKETCH,
        "if d >= last[0]:",
        "if (d > last[0]):",
        "both branches say what the last row says",
    ),
    Equivalent(
        _BAMBOO,
        'signature=b"",',
        "signature=(b'x'),",
        "it is not among the bytes that are signed, and not looked at",
    ),
    Equivalent(
        _BAMBOO,
        'tag = cursor.take("the tag", 1)[0]',
        'tag = cursor.take("the tag", 1)[(-1)]',
        "the first of one byte is the last",
    ),
    Equivalent(
        _BAMBOO,
        "if findings or entry is None:",
        "if (findings):",
        "reading only stops behind a finding; the second condition is for the type checker",
    ),
    Equivalent(
        _BAMBOO,
        "if known is not None and (end := start + known) <= len(self.data):",
        "if known is not None and ((end := (start + known)) < len(self.data)):",
        "a short cut: the way around it reads the same",
    ),
)
