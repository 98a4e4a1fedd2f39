"""What pytest is told for a mutant: the quickest tests first, no shrinking, a bound on memory.

It is copied into each private tree, and knows nothing of this project.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from pathlib import Path

import pytest

MEMORY = 4 << 30
TIMES = Path("mutation-times.json")
FOREIGN = 9
_seen: dict[str, float] = {}


def pytest_configure() -> None:
    """A mutant that allocates for ever ends by itself; a falsified example is not made small."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    with contextlib.suppress(ImportError):
        from hypothesis import Phase, settings

        phases = [Phase.explicit, Phase.generate]
        settings.register_profile(
            "mutation", phases=phases, database=None, derandomize=True, deadline=None
        )
        settings.load_profile("mutation")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by what each test took without a fault, once that is known."""
    module = sys.modules.get(os.environ["MUTATED_MODULE"])
    if module is not None and not str(module.__file__).startswith(str(Path.cwd())):
        pytest.exit(f"{module.__file__} is not the private copy", returncode=FOREIGN)
    if TIMES.exists():
        times = json.loads(TIMES.read_text())
        items.sort(key=lambda item: times.get(item.nodeid, 0.0))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what it took."""
    _seen[report.nodeid] = _seen.get(report.nodeid, 0.0) + report.duration


def pytest_sessionfinish() -> None:
    """Keep the times of the first run, which is the one without a fault."""
    if not TIMES.exists():
        TIMES.write_text(json.dumps(_seen))
