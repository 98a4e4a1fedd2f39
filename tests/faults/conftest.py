"""The shim, built once; a process behind it, and one beside it, that fork for each trial."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import shim as shim_module
from tests.faults.forks import Ended, Forks
from tests.faults.shim import before, build

WORK = "tests.faults.work"


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim's library. Without Linux and gcc the tests that need it say so and are left out."""
    if why := shim_module.missing():
        pytest.skip(why)
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def beside() -> Iterator[Forks]:
    """Forks of a process whose disk is sound."""
    with Forks(WORK) as forks:
        yield forks


@pytest.fixture(scope="session")
def behind(shim: Path) -> Iterator[Forks]:
    """Forks of a process whose disk can be made to fail."""
    with Forks(WORK, before(shim)) as forks:
        yield forks


Opener = Callable[..., Ended]


@pytest.fixture
def open_after_a_crash(beside: Forks, tmp_path: Path) -> Opener:
    """Open an image as a store whose last process died; see `work.open_image`."""
    folder = tmp_path / "image"

    def open_it(image: bytes, most: int, sample: int | None = None, more: int = 0) -> Ended:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "open").mkdir(parents=True)
        (folder / "open" / "1-died").touch()
        (folder / "data.mdb").write_bytes(image)
        return beside.call("open_image", str(folder), most, sample, more)

    return open_it
