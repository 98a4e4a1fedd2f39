"""Names of collections, and the patterns that say which are meant."""

from __future__ import annotations

import sys
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsync.errors import InvalidNameError
from setsync.limits import MAX_PATTERN_SEGMENTS, MAX_PATTERNS
from setsync.model.collection import (
    Matcher,
    Pattern,
    check_fits,
    check_name,
    is_system,
    match_any,
    system_first,
)


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "notes",
        "notes/2026/travel",
        "é",
        "日本語/メモ",
        " spaced out ",
        ".",
        "a" * 255,
        "é" * 127,
    ],
)
def test_a_good_name_gives_its_bytes(name: str) -> None:
    assert check_name(name) == name.encode()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "has 1 to 255 bytes, this one 0"),
        ("a" * 256, "this one 256"),
        ("é" * 128, "this one 256"),
        ("/", "empty segment"),
        ("/a", "empty segment"),
        ("a/", "empty segment"),
        ("a//b", "empty segment"),
        ("*", "cannot"),
        ("a/**", "cannot"),
        ("a*b", "cannot"),
        ("\ud800", "UTF-8"),
        *[(f"a{chr(code)}", "cannot") for code in (*range(0x20), *range(0x7F, 0xA0))],
    ],
)
def test_a_bad_name_is_refused_with_its_reason(name: str, why: str) -> None:
    with pytest.raises(InvalidNameError, match=why):
        check_name(name)


@pytest.mark.parametrize(
    ("pattern", "named", "others"),
    [
        ("notes", ["notes"], ["note", "notes/a", "a/notes", "Notes"]),
        ("*", ["notes", "a"], ["a/b"]),
        ("**", ["a", "a/b", "a/b/c"], []),
        ("notes/*", ["notes/a", "notes/é"], ["notes", "notes/a/b", "x/a"]),
        ("notes/**", ["notes", "notes/a", "notes/a/b"], ["note", "x/notes"]),
        ("**/a", ["a", "b/a", "c/b/a"], ["a/b", "ba"]),
        ("*/a", ["b/a"], ["a", "c/b/a"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z", "a/z/z"], ["a", "z", "a/z/y", "b/a/z"]),
        ("a/**/*", ["a/b", "a/b/c"], ["a", "b/c"]),
        ("**/**", ["a", "a/b"], []),
        ("**/m/**/m/**", ["m/m", "a/m/b/m/c"], ["m", "a/m/b"]),
    ],
)
def test_what_a_pattern_means(pattern: str, named: list[str], others: list[str]) -> None:
    assert [name for name in named if not Pattern(pattern).matches(name)] == []
    assert [name for name in others if Pattern(pattern).matches(name)] == []


@pytest.mark.parametrize(
    "pattern", ["", "/", "a/", "a//b", "a*", "***", "a/b**", "a\n", "a\x9b", "\udfff", "a" * 512]
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidNameError):
        Pattern(pattern)


def _slow(pattern: list[str], name: list[str]) -> bool:
    """The definition, by trying everything."""
    if not pattern:
        return not name
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        return any(_slow(rest, name[skip:]) for skip in range(len(name) + 1))
    return bool(name) and head in ("*", name[0]) and _slow(rest, name[1:])


_patterns = st.lists(st.sampled_from(["a", "b", "*", "**"]), min_size=1, max_size=7)
_names = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=7)


@given(_patterns, _names)
def test_the_quick_matcher_agrees_with_trying_everything(
    pattern: list[str], name: list[str]
) -> None:
    assert Pattern("/".join(pattern)).matches("/".join(name)) == _slow(pattern, name)


@given(st.lists(_patterns, max_size=5), _names)
def test_several_patterns_at_once_mean_what_any_of_them_means(
    patterns: list[list[str]], name: list[str]
) -> None:
    matcher = Matcher(Pattern("/".join(each)) for each in patterns)
    assert matcher.matches("/".join(name)) == any(_slow(each, name) for each in patterns)


def _lines_run(matcher: Matcher, name: str) -> int:
    """How many lines of Python it takes to look at a name."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> object:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        matcher.matches(name)
    finally:
        sys.settrace(before)
    return lines


def test_the_work_of_matching_grows_with_the_name_and_not_with_the_patterns() -> None:
    """As many patterns as may come, each of which nearly matches at every place of the name."""
    hostile = [Pattern("**/" + "/".join("a" * at) + "/b") for at in range(20, 45)]
    check_fits(hostile)
    name = "/".join("a" * 128)
    assert 128 < _lines_run(Matcher(hostile), name) == _lines_run(Matcher(hostile[:1]), name)
    assert _lines_run(Matcher(hostile), name) < 10 * 128


@pytest.mark.parametrize(
    "patterns",
    [
        ["a"] * (MAX_PATTERNS + 1),
        ["/".join("a" * 129)] * (MAX_PATTERN_SEGMENTS // 128),
        ["/".join(["**", "a"] * 80)] * 7,
    ],
)
def test_more_patterns_or_longer_ones_than_fit_into_a_hello_are_refused(
    patterns: list[str],
) -> None:
    with pytest.raises(InvalidNameError, match="At most"):
        check_fits([Pattern(text) for text in patterns])


def test_as_many_patterns_as_fit_into_a_hello_are_taken() -> None:
    check_fits([Pattern("/".join("a" * 16))] * 64)


def test_any_of_several_patterns_is_enough_and_none_means_nothing() -> None:
    patterns = [Pattern("a/*"), Pattern("b")]
    assert match_any(patterns, "a/x")
    assert match_any(patterns, "b")
    assert not match_any(patterns, "c")
    assert not match_any([], "a")


def test_system_collections_come_first_and_then_the_order_of_bytes() -> None:
    names = ["zebra", "system/b", "é", "system", "systems", "System", "system/a/b", "a"]
    assert sorted(names, key=system_first) == [
        "system", "system/a/b", "system/b", "System", "a", "systems", "zebra", "é",
    ]  # fmt: skip
    assert [name for name in names if is_system(name)] == ["system/b", "system", "system/a/b"]
