"""The wheel and the source archive, built once from a copy of the tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("setsync", "bamboo_compat", "pyproject.toml", "README.md", "LICENSE")


def copy_parts(target: Path, *more: str) -> Path:
    """Copy what a build needs, and nothing that a run has left."""
    target.mkdir()
    for name in (*PARTS, *more):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)
    return target


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with one wheel and one source archive."""
    folder = tmp_path_factory.mktemp("built")
    source = copy_parts(folder / "source", "docs", "tests", "benchmarks", "mkdocs.yml")
    words = [sys.executable, "-m", "hatchling", "build", "-d", str(folder / "dist")]
    subprocess.run(words, cwd=source, check=True, capture_output=True)
    return folder / "dist"


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    """The wheel."""
    (found,) = built.glob("*.whl")
    return found
