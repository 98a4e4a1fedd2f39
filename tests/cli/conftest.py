"""A fresh node for every test that asks for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import Shell


@pytest.fixture
def node(tmp_path: Path) -> Shell:
    """A node that was just made."""
    shell = Shell(tmp_path / "node")
    shell.ok("init")
    return shell


@pytest.fixture
def other(tmp_path: Path) -> Shell:
    """A second one."""
    shell = Shell(tmp_path / "other")
    shell.ok("init")
    return shell
