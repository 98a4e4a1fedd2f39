"""A lock that is taken in turns. `tests/bamboo/test_append.py` has it between processes."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from setsync.node.filelock import lock_file

PATIENCE = 60.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a lock is to be."""
    return tmp_path / "some.lock"


def is_waited_for(path: Path) -> bool:
    """Whether somebody stands in the queue."""
    descriptor = os.open(path.with_suffix(".queue"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_the_lock_is_held_until_its_descriptor_is_closed(path: Path) -> None:
    held = lock_file(path, 0)
    with pytest.raises(TimeoutError):
        lock_file(path, 0)
    assert not is_waited_for(path)  # who went away waits no more
    os.close(held)
    os.close(lock_file(path, 0))


def test_both_files_are_for_their_owner_only(path: Path) -> None:
    os.close(lock_file(path, 0))
    found = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    assert found == {"some.lock": 0o600, "some.queue": 0o600}


def test_a_lock_that_cannot_be_opened_holds_up_nobody(path: Path) -> None:
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        lock_file(path, 0)
    path.rmdir()
    os.close(lock_file(path, 0))


def paused(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, Callable[[], None]]:
    """Every pause lasts until the function is called; the event says that one has begun."""
    waits, over = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        waits.set()
        assert over.wait(PATIENCE)

    monkeypatch.setattr("setsync.node.filelock.time.sleep", sleep)
    return waits, over.set


def test_who_lets_the_lock_go_does_not_get_it_again_before_one_who_waits(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the lock is free, and the one who waits has not looked again."""
    waits, go_on = paused(monkeypatch)
    held = lock_file(path, 0)
    thread = threading.Thread(target=lambda: os.close(lock_file(path, PATIENCE)))
    thread.start()
    assert waits.wait(PATIENCE)
    os.close(held)
    with pytest.raises(TimeoutError):
        lock_file(path, 0)
    go_on()
    thread.join(PATIENCE)
    os.close(lock_file(path, 0))
