"""docs/operations.md leaves out no refusal and no event, and names none that there is not."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import setsync.errors
from bamboo_compat.decisions import errors as decisions
from bamboo_compat.homes import errors as homes
from bamboo_compat.set import shelf
from setsync.limits import MAX_HOOK_BACKLOG, SHUTDOWN_GRACE
from setsync.node.config import DataDirectory
from tests.helpers import keys

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
# Of failures that have no class of their own; see setsync.cli.common.failure_of.
OTHERS = {("interrupted", 130), ("system", 1), ("bug", 1)}


def _rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    part = PAGE[PAGE.index(f"## {heading}\n") :]
    part = part[: part.find("\n## ", 1)] if "\n## " in part[1:] else part
    rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


def test_every_refusal_stands_in_the_table_with_its_exit_code() -> None:
    found = {
        (code, int(row[1]))
        for row in _rows("When something is refused")
        for code in re.findall("`([a-z_]+)`", row[0])
    }
    own = _told_by(setsync.errors) | _told_by(shelf) | OTHERS
    assert own <= found
    assert found - own <= _told_by(homes) | _told_by(decisions)
    assert _told_by(homes) <= found


def _told_by(module: ModuleType) -> set[tuple[str, int]]:
    """Code and exit code of every error in a module."""
    kinds = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, setsync.errors.SetsyncError)
    ]
    return {(kind.code, kind.exit_code) for kind in kinds}


def test_every_event_stands_in_the_table() -> None:
    sources = [
        *(ROOT / "setsync/cli").glob("*ing.py"),
        ROOT / "setsync/cli/notify.py",
        *(ROOT / "setsync/web").glob("*.py"),
        ROOT / "bamboo_compat/cli/service.py",
        ROOT / "bamboo_compat/cli/home_service.py",
    ]
    told = re.compile(r'(?:info|warning|tell|warn)\(\s*"(\w+)"')
    events = {name for path in sources for name in told.findall(path.read_text("utf-8"))}
    assert {row[0].strip("`") for row in _rows("Reading the log")} == events


def test_every_file_that_init_makes_stands_in_the_table(tmp_path: Path) -> None:
    DataDirectory.init(tmp_path / "node", *keys(2))
    shown = {row[0].strip("`/") for row in _rows("What is in the data directory")}
    assert {path.name for path in (tmp_path / "node").iterdir()} <= shown


def test_the_numbers_are_the_limits() -> None:
    assert f"{MAX_HOOK_BACKLOG:,} entries behind" in PAGE
    assert SHUTDOWN_GRACE == 3
    assert "three seconds to finish" in PAGE
