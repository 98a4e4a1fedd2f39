"""The rooms of replication: all but the shell only compute."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bamboo_compat import replication

HERE = Path(replication.__path__[0])
# The rooms that know the set of a node; every other knows replication alone.
OF_THE_SET = {"index_source.py", "taking.py"}
WORLD = {"trio", "asyncio", "time", "datetime", "random", "secrets", "os", "socket", "lmdb"}


def modules(source: str) -> set[str]:
    """Every module that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", sorted(HERE.glob("*.py")), ids=lambda path: path.name)
def test_only_the_shell_knows_trio_and_the_node_and_nobody_time_or_chance(path: Path) -> None:
    imported = modules(path.read_text(encoding="utf-8"))
    worldly = {name for name in imported if name.split(".")[0] in WORLD}
    ours = {name for name in imported if name.split(".")[0] == "setsync"}
    if path.name == "run.py":
        assert worldly == {"trio"}
    else:
        assert worldly == set()
    if path.name not in {"run.py", *OF_THE_SET}:
        assert ours <= {"setsync.errors"}
