"""What is made from the program says what the program says, and says all of it."""

from __future__ import annotations

import inspect
import re
from types import ModuleType
from typing import Any

import pytest

from docs.reference import DOCS, limits, pages, protocol, quantities
from docs.reference.comments import Constant, Group, Section, members, sections
from docs.reference.markdown import prose, table, with_parts
from setsync.session.table import PHASES, TABLE
from setsync.wire.codec import Kind, array, blob, either, exactly, nil, record, text, uint
from setsync.wire.messages import LAYOUTS

PAGES = pages()
MODULES = list(limits.modules())


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_what_the_program_says(name: str) -> None:
    """If this fails: python -m docs.reference"""
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name]


# --- limits -------------------------------------------------------------------------------


def _constants(module: ModuleType) -> list[Constant]:
    parts = limits.limits_of(module)
    return [one for part in parts for group in part.groups for one in group.constants]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_limit_has_a_reason(module: ModuleType) -> None:
    without = [
        one.name
        for section in limits.limits_of(module)
        for group in section.groups
        for one in group.constants
        if not group.comment
    ]
    assert without == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_number_of_a_module_of_limits_stands_on_the_page(module: ModuleType) -> None:
    numbers = {
        name
        for name, value in vars(module).items()
        if isinstance(value, int | float) and re.match(f"{name}\\b", _definition(module, name))
    }
    named = {one.name for one in _constants(module)}
    assert numbers - {"KIB", "MIB", "GIB", "TIB"} == named
    for name in named:
        assert f"`{name}`" in PAGES["limits.md"]


def _definition(module: ModuleType, name: str) -> str:
    """The line that gives a public name its value; what is imported has none."""
    found = re.search(f"^(?!_){name} = .*$", inspect.getsource(module), re.MULTILINE)
    return found[0] if found else ""


SOURCE = """
KIB = 1024

# --- one part -----------------------------------------------------------

# Both of these,
# in two lines.
MAX_ONE = 4 * KIB
ONE_SECONDS: float = 7.0
MAX_NONE = 3  # beside it

MAX_BARE = 5

# --- the other ------------------------------------------------------------

def work() -> None:
    # Inside.
    local = 1

# Last.
MAX_LAST = 2**40
"""


def test_a_comment_holds_for_the_constants_below_it() -> None:
    assert sections(SOURCE) == [
        Section("", (Group((Constant("KIB", "1024", 2),), ""),)),
        Section(
            "one part",
            (
                Group(
                    (
                        Constant("MAX_ONE", "4 * KIB", 8),
                        Constant("ONE_SECONDS", "7.0", 9),
                        Constant("MAX_NONE", "3", 10),
                    ),
                    "Both of these, in two lines.",
                ),
                Group((Constant("MAX_BARE", "5", 12),), ""),
            ),
        ),
        Section("the other", (Group((Constant("MAX_LAST", "2 ** 40", 21),), "Last."),)),
    ]


def test_the_members_of_a_class_have_comments_too() -> None:
    source = "class A:\n    # One.\n    ONE = 1\n    # Two.\n    TWO = 2\n\nclass B:\n    X = 1\n"
    assert members(source, "A") == [
        Group((Constant("ONE", "1", 3),), "One."),
        Group((Constant("TWO", "2", 5),), "Two."),
    ]
    with pytest.raises(StopIteration):
        members(source, "C")


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (quantities.size(0), "0 bytes"),
        (quantities.size(914), "914 bytes"),
        (quantities.size(4096), "4 KiB"),
        (quantities.size(1025), "1,025 bytes"),
        (quantities.size(2**40), "1 TiB"),
        (quantities.time(0.5), "0.5 s"),
        (quantities.time(90.0), "90 s"),
        (quantities.time(900.0), "15 min"),
        (quantities.time(12 * 3600.0), "12 h"),
        (quantities.time(90 * 86_400), "90 d"),
        (quantities.count(100_000), "100,000"),
        (quantities.count(2**31 - 1), "2,147,483,647"),
        (quantities.count(2**40), "2^40"),
        (quantities.count(2**64 - 1), "2^64 - 1"),
        (quantities.count(4_000_000_000), "4,000,000,000"),
        (quantities.count(0.05), "0.05"),
    ],
)
def test_quantities_are_shown_as_people_read_them(shown: str, words: str) -> None:
    assert shown == words


# --- the protocol -------------------------------------------------------------------------


@pytest.mark.parametrize("message", LAYOUTS, ids=protocol.name_of)
def test_who_sends_a_message_by_its_docstring_may_send_it_by_the_table(message: type) -> None:
    assert protocol.claimed_sender(message) == protocol.sender(message)


def test_every_message_and_every_field_stands_in_the_tables() -> None:
    parts = protocol.parts()
    rows = parts["messages"].splitlines()[2:]
    assert len(rows) == len(LAYOUTS) == len(PHASES)
    for message, layout in LAYOUTS.items():
        [row] = [row for row in rows if row.startswith(f"| {layout.type} |")]
        assert protocol.name_of(message) in row
        assert row.endswith(f"| {PHASES[message]} |")
        name = f"| {protocol.name_of(message)} | `"
        assert parts["fields"].count(name) == len(message.__dataclass_fields__)  # type: ignore[attr-defined]
    allowed = sum(len(moves) for moves in TABLE.values())
    names = [protocol.name_of(message).replace("_", r"\_") for message in LAYOUTS]
    found = re.findall(r"\b(?:" + "|".join(map(re.escape, names)) + r")(?=[,; ])", parts["states"])
    assert len(found) == allowed


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (uint(), "0 to 2^64 - 1"),
        (uint(9, 3), "3 to 9"),
        (uint(1), "0 or 1"),
        (blob(64), "up to 64 bytes"),
        (blob(33, 1), "1 to 33 bytes"),
        (blob(4096, 1), "1 byte to 4 KiB"),
        (blob(4096, 32), "32 bytes to 4 KiB"),
        (exactly(32), "32 bytes"),
        (text(500), "text of up to 500 bytes"),
        (array(uint(7)), "up to 4,096 of: 0 to 7"),
        (array(record(exactly(2), nil), 3), "up to 3 of: (2 bytes; nil)"),
        (record(either(blob(2), nil)), "(up to 2 bytes, or nil)"),
        (record(), "()"),
    ],
)
def test_the_bounds_of_a_field_are_those_that_it_was_made_with(kind: Kind[Any], words: str) -> None:
    assert protocol.words(kind) == words


# --- Markdown -----------------------------------------------------------------------------


def test_a_part_is_made_anew_and_the_rest_stays() -> None:
    page = "Before.\n<!-- generated: a part -->\nold\nlines\n<!-- end -->\nAfter.\n"
    made = with_parts(page, {"a part": "new\n"})
    assert made == "Before.\n<!-- generated: a part -->\nnew\n<!-- end -->\nAfter.\n"
    assert with_parts(made, {"a part": "new\n"}) == made


@pytest.mark.parametrize("parts", [{}, {"other": ""}, {"a": "", "b": ""}])
def test_a_page_without_a_place_for_a_part_is_an_error(parts: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="has places for"):
        with_parts("<!-- generated: a -->\n<!-- end -->\n", parts)


def test_cells_cannot_break_a_table() -> None:
    assert prose("a | b_c `x_y` `d|e`") == r"a \| b\_c `x_y` `d\|e`"
    assert table(("a", "b"), [("1", "")]) == "| a | b |\n|---|---|\n| 1 | |\n"
