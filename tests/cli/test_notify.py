"""What `serve` tells the service manager that started it, over a real datagram socket."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from setsync import limits
from setsync.cli.notify import Manager
from tests.node.processes import PATIENCE, Serving, make_node

STATUS = "Listening at setsync://KEY@127.0.0.1:7717"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(str(tmp_path / "notify"))
        ours.settimeout(PATIENCE)
        yield ours


def _heard(manager: socket.socket) -> list[str]:
    """The lines of all datagrams that have come."""
    lines = []
    manager.setblocking(False)
    while True:
        try:
            lines += manager.recv(4_096).decode().split("\n")
        except BlockingIOError:
            return lines


# --- in serve -----------------------------------------------------------------------------


def test_serve_says_that_it_is_ready_once_it_listens_and_alive_and_stopping(
    tmp_path: Path, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    with Serving(make_node(tmp_path / "node")) as server:
        ready, status = manager.recv(4_096).decode().split("\n")
        assert (ready, status) == ("READY=1", f"STATUS=Listening at {server.address}")
        with socket.create_connection(("127.0.0.1", server.port)):
            pass
        assert manager.recv(4_096) == b"WATCHDOG=1"
        assert manager.recv(4_096) == b"WATCHDOG=1"
        assert server.stop().code == 0
    *alive, last = _heard(manager)
    assert last == "STOPPING=1"
    assert set(alive) <= {"WATCHDOG=1"}


def test_a_manager_that_is_not_there_is_told_of_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    with Serving(make_node(tmp_path / "node")) as server:
        told = server.wait_for_event("notify_failed")
        assert told["message"].startswith("READY=1")
        assert "No such file" in told["reason"]
        assert server.stop().code == 0


# --- in time ------------------------------------------------------------------------------


async def test_the_watchdog_is_fed_twice_in_its_time_and_only_when_it_is_asked_for(
    manager: socket.socket, autojump_clock: trio.testing.MockClock
) -> None:
    with trio.move_on_after(100):
        await Manager(manager.getsockname(), 20.0).keep_informed(STATUS)
    # One more at the very end of the 100 s, if the clock gets there first.
    lines = _heard(manager)
    assert lines[:2] == ["READY=1", f"STATUS={STATUS}"]
    assert lines[-1] == "STOPPING=1"
    assert lines.count("WATCHDOG=1") in (9, 10)
    with trio.move_on_after(100):
        await Manager(manager.getsockname()).keep_informed(STATUS)
    assert _heard(manager) == ["READY=1", f"STATUS={STATUS}", "STOPPING=1"]


async def test_a_loop_that_hangs_does_not_feed_it(
    manager: socket.socket, autojump_clock: trio.testing.MockClock
) -> None:
    """The time jumps while one task keeps the loop: nothing is made up for afterwards."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Manager(manager.getsockname(), 2.0).keep_informed, STATUS)
        await trio.sleep(0.5)
        autojump_clock.jump(1_000)
        assert _heard(manager) == ["READY=1", f"STATUS={STATUS}"]
        await trio.testing.wait_all_tasks_blocked()
        assert _heard(manager) == ["WATCHDOG=1"]
        nursery.cancel_scope.cancel()


async def test_a_manager_that_does_not_read_is_not_waited_for(
    manager: socket.socket, autojump_clock: trio.testing.MockClock
) -> None:
    address = manager.getsockname()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                other.sendto(b"full", address)
    began = trio.current_time()
    with trio.move_on_after(10 * limits.NOTIFY_SECONDS):
        await Manager(address).keep_informed(STATUS)
    # READY and STOPPING each waited for its moment.
    assert trio.current_time() - began == pytest.approx(11 * limits.NOTIFY_SECONDS)
    assert set(_heard(manager)) == {"full"}


# --- what the environment says ------------------------------------------------------------


def test_without_a_socket_there_is_no_manager() -> None:
    assert Manager.of({"WATCHDOG_USEC": "1000000"}, 1) is None
    assert Manager.of({"NOTIFY_SOCKET": ""}, 1) is None


def test_an_abstract_socket_is_heard_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(f"\0setsync-test-{os.getpid()}")
        found = Manager.of({"NOTIFY_SOCKET": f"@setsync-test-{os.getpid()}"}, 1)
        assert found is not None

        async def main() -> None:
            with trio.move_on_after(0):
                await found.keep_informed(STATUS)

        trio.run(main)
        assert "STOPPING=1" in _heard(ours)


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("30000000", None, 30.0),
        ("30000000", "7", 30.0),
        ("30000000", "8", None),  # another process is watched
        ("0", None, None),
        ("-1", None, None),
        ("1e6", None, None),
        ("\N{ARABIC-INDIC DIGIT ONE}", None, None),
        ("9" * 19, None, None),
        (None, "7", None),
    ],
)
def test_the_watchdog_is_what_is_asked_of_this_process(
    usec: str | None, pid: str | None, seconds: float | None
) -> None:
    asked = {"NOTIFY_SOCKET": "/there", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    environment = {name: value for name, value in asked.items() if value is not None}
    assert Manager.of(environment, 7) == Manager("/there", seconds)


@given(st.dictionaries(st.sampled_from(["WATCHDOG_USEC", "WATCHDOG_PID"]), st.text()))
def test_whatever_the_environment_holds_a_watchdog_is_a_time_or_none(
    environment: dict[str, str],
) -> None:
    found = Manager.of({"NOTIFY_SOCKET": "/there", **environment}, 7)
    assert found is not None
    assert found.watchdog is None or found.watchdog > 0
