"""A disk that is really full: the system's own errors, in processes of their own.

`tests/store/test_disk_full.py` looks at the store from inside one process. Here what counts
is that the process lives, and what an operator at the command line is told. A small disk
needs the right to mount one; a limit on the size of files is there for everybody.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from setsync.limits import MIB
from setsync.store.exchange import write_export
from setsync.store.lmdb_store import Store
from tests.faults.forks import Forks
from tests.faults.work import large
from tests.node.processes import check_clean, contents, make_node, run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB, 4 of them taken by a file called `ballast`."""
    point = tmp_path / "disk"
    point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(point)]
    try:
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk cannot be mounted here; the limit on file sizes stands for it")
    try:
        (point / "ballast").write_bytes(bytes(4 * MIB))
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


def _check(told: dict[str, object], folder: Path) -> None:
    errors = told["errors"]
    assert isinstance(errors, list)
    assert len(errors) == 4, "the one that found the disk full, and three tries after it"
    assert all(str(folder) in sentence for _, sentence in errors)
    assert told["whole"], "what was acknowledged is there, and nothing of the batch that failed"
    assert told["damage"] == 0
    assert isinstance(told["before"], int)
    assert told["before"] > 2
    assert told["after"] == 2, "with room again the same process goes on"


def test_on_a_full_disk_the_process_lives_and_goes_on_when_there_is_room(
    beside: Forks, small_disk: Path
) -> None:
    store = small_disk / "store"
    ended = beside.call("fill_up", str(store), str(small_disk / "ballast"))
    assert (ended.signal, ended.traceback) == (0, "")
    _check(ended.result, store)
    assert {kind for kind, _ in ended.result["errors"]} == {"StoreFullError"}
    assert "is full" in ended.result["errors"][0][1]


def test_at_a_limit_on_file_sizes_the_process_lives_and_goes_on_when_it_is_lifted(
    beside: Forks, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    ended = beside.call("fill_up", str(store), "")
    assert (ended.signal, ended.traceback) == (0, "")
    _check(ended.result, store)


def test_an_import_onto_a_full_disk_ends_with_a_sentence_and_the_next_one_completes_it(
    small_disk: Path, tmp_path: Path
) -> None:
    export = tmp_path / "export"
    with Store.open(tmp_path / "source") as store, export.open("wb") as file:
        for number in range(10):
            store.add_many(large(number))
        write_export(file, store)
    data = make_node(small_disk / "node")
    ended = run("import", export, "--data", data)
    assert ended.code == 5
    assert "is full" in ended.stderr
    assert str(data) in ended.stderr
    assert "Free some space" in ended.stderr
    check_clean(data)
    before = contents(data)
    assert 0 < len(before) < 160
    (small_disk / "ballast").unlink()
    ended = run("import", export, "--data", data)
    assert ended.code == 0, ended.stderr
    assert len(contents(data)) == 160
