"""The mutation tool: it finds the faults there are to make, and knows a weak test from a good one.

The figures of the project's own modules come from `python -m tests.mutation`, see docs/testing.md.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutation.__main__ import PROJECT, is_equivalent
from tests.mutation.mutants import mutants
from tests.mutation.running import Fate, ToolError, Tree
from tests.mutation.targets import EQUIVALENT, TARGETS, Target

MODULE = """\
def grade(points):
    if points >= 50:
        return "passed"
    while points < 0:
        points += 1
    return "failed"
"""
WEAK = """\
from setsync.grading import grade
def test_grades():
    assert grade(90) == "passed"
    assert grade(10) == "failed"
"""
GOOD = (
    WEAK
    + """\
def test_the_bound():
    assert grade(50) == "passed"
    assert grade(-1) == grade(49) == "failed"
"""
)


def afters(source: str) -> set[str]:
    return {mutant.after for mutant in mutants(source)}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("f(a < b)", {"pass", "f((a <= b))", "f((a >= b))"}),
        ("x = a and b", {"x = (a or b)", "x = (a)", "x = (b)"}),
        ("x = not a", {"x = (a)"}),
        ("x = 7", {"x = (8)", "x = (6)"}),
        ("x = True", {"x = (False)"}),
        ("x = b'a'", {"x = (b'ax')"}),
        ("x = f(a, b)", {"x = (f(b, a))"}),
        ("x = max(a, b)", set()),
        ("a.b += c", {"pass", "a.b -= c"}),
        ("a.b = c", {"pass"}),
        ("del a[b]", {"pass"}),
        ("if a: raise b", {"if (not a): raise b", "if a: pass"}),
        ("x = a if b else c", {"x = (c if b else a)"}),
        ("'A docstring.'", set()),
        ("x: Literal[3] = f'{4} to {a + 5}'", set()),
        ("x = 'a sentence for people'", set()),
        ("@made(3)\ndef f(a: G[1]) -> G[2]: pass", set()),
    ],
)
def test_every_kind_of_fault_is_made_and_none_that_only_people_read(
    source: str, wanted: set[str]
) -> None:
    assert afters(source) == wanted


def test_returned_values_are_lost_and_loops_go_on() -> None:
    source = "def f(a):\n    for b in a:\n        break\n    return b\n"
    assert [(mutant.line, mutant.after) for mutant in mutants(source)] == [
        (3, "pass"),
        (4, "return None"),
    ]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.module)
def test_a_mutant_is_another_program_with_one_line_changed(target: Target) -> None:
    source = (PROJECT / target.module).read_text(encoding="utf-8")
    found = mutants(source, target.leave)
    assert len(found) >= 30
    assert len({mutant.source for mutant in found}) == len(found)
    for mutant in found[:: len(found) // 20]:
        ast.parse(mutant.source)
        lines = source.splitlines()
        assert mutant.source.splitlines()[: mutant.line - 1] == lines[: mutant.line - 1]
        assert lines[mutant.line - 1].strip() == mutant.before
        assert mutant.source.splitlines()[mutant.line - 1].strip() == mutant.after.split("\n")[0]
    assert all((PROJECT / path).exists() for path in target.tests)
    assert bool(target.leave) == bool(target.why)


def test_every_row_of_equivalents_is_of_a_mutant_there_is() -> None:
    """A row that no longer fits would hide nothing, and one that fits twice too much."""
    rows = {(one.module, one.before, one.after) for one in EQUIVALENT}
    assert len(rows) == len(EQUIVALENT)
    for target in TARGETS:
        made = mutants((PROJECT / target.module).read_text(encoding="utf-8"), target.leave)
        fitting = [mutant for mutant in made if is_equivalent(target.module, mutant)]
        assert len(fitting) == sum(one.module == target.module for one in EQUIVALENT)
    assert all(one.module in {target.module for target in TARGETS} for one in EQUIVALENT)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project, whose module lies where this one's do."""
    for path, text in (
        ("setsync/__init__.py", ""),
        ("setsync/grading.py", MODULE),
        ("tests/test_weak.py", WEAK),
        ("tests/test_good.py", GOOD),
        ("tests/test_wrong.py", WEAK + "    assert grade(10) == 'passed'\n"),
        ("pyproject.toml", "[tool.pytest.ini_options]\n"),
    ):
        (tmp_path / "project" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / path).write_text(text, encoding="utf-8")
    return tmp_path / "project"


def tree(project: Path, copy: str, test: str) -> Tree:
    return Tree(project, project.parent / copy, "setsync/grading.py", [f"tests/{test}"])


def test_a_weak_test_lets_a_fault_live_that_a_good_one_kills(project: Path) -> None:
    [fault] = [one for one in mutants(MODULE) if one.after == "if (points > 50):"]
    assert (fault.line, fault.before) == (2, "if points >= 50:")
    fates = []
    for copy, test in (("weak", "test_weak.py"), ("good", "test_good.py")):
        some = tree(project, copy, test)
        some.measure()
        fates.append(some.judge(fault.source))
        assert (project.parent / copy / "setsync/grading.py").read_text() == MODULE
    assert fates == [Fate.SURVIVED, Fate.KILLED]
    assert (project / "setsync/grading.py").read_text() == MODULE


def test_a_fault_that_hangs_is_ended_by_the_deadline(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.mutation.running._FIRST_DEADLINE", 1.5)
    [fault] = [one for one in mutants(MODULE) if one.after == "points -= 1"]
    assert tree(project, "good", "test_good.py").judge(fault.source) is Fate.HUNG


def test_tests_that_fail_without_a_fault_tell_nothing(project: Path) -> None:
    with pytest.raises(ToolError, match="do not pass as they are"):
        tree(project, "wrong", "test_wrong.py").measure()
