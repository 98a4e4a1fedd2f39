"""A node whose store is held by somebody else refuses in words, goes on, and tells what hangs."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from setsync import limits
from setsync.errors import StoreBusyError
from setsync.node.live import Phase
from setsync.node.watchdog import watch_snapshots, watch_writes
from setsync.store.contract import Added
from setsync.store.environment import Environment, SlowSnapshots, Transaction
from tests.helpers import entries
from tests.node import processes
from tests.node.ends import members, simulate
from tests.node.processes import Serving, check_clean, contents, fill, make_node, run
from tests.node.test_live import all_equal, network, put
from tests.store.processes import hear
from tests.store.test_busy import go_on, stopped_writer

_IMPATIENT = """
import sys
from setsync import limits
limits.WRITE_LOCK_SECONDS = 0.3
from setsync.cli.main import main
sys.exit(main())
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that do not wait half a minute for their turn."""

    def command(*words: str | Path) -> list[str]:
        return [sys.executable, "-c", _IMPATIENT, *map(str, words)]

    monkeypatch.setattr(processes, "command", command)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is looked for")
@pytest.mark.usefixtures("impatient")
def test_a_node_behind_a_stopped_writer_refuses_in_words_and_goes_on_when_it_can(
    tmp_path: Path,
) -> None:
    here, there = make_node(tmp_path / "here", 1), make_node(tmp_path / "there", 2)
    fill(here, entries(5))
    fill(there, entries(40)[20:])
    (tmp_path / "letter").write_text("hello")
    with Serving(here, "--access", "open") as node:
        with stopped_writer(here / "store") as writer:
            refused = run("sync", node.address, "--data", there, "--plain")
            assert refused.code == 3, refused.stderr
            event = node.wait_for_event("session_ended", state="failed")
            assert f"process {writer.pid} holds it and is stopped" in event["reason"]
            put_here = run("put", "notes", tmp_path / "letter", "--data", here)
            assert put_here.code == 5
            assert f"process {writer.pid} holds it" in put_here.stderr
            assert "kill -CONT" in put_here.stderr
            go_on(writer)
            assert hear(writer) == "written"
        assert run("sync", node.address, "--data", there, "--plain").code == 0
        assert node.stop().code == 0
    assert contents(here) == contents(there)
    assert len(contents(here)) == 40
    check_clean(here)


def test_who_keeps_up_with_a_peer_tries_again_while_the_store_is_busy() -> None:
    async def main() -> None:
        async with network(2, [(0, 1)]) as (nodes, _, [keeper]):
            await trio.sleep(5)
            store = nodes[0].store
            add_many, refused = store.add_many, 0

            def busy(*_: object, **__: object) -> Added:
                nonlocal refused
                refused += 1
                raise StoreBusyError("Process 17 holds it.")

            store.add_many = busy  # type: ignore[method-assign]
            await put(nodes[1], entries(9))
            await trio.sleep(30)
            assert refused > 1
            assert keeper.state.phase is Phase.WAITING
            assert keeper.state.last_error == "Process 17 holds it."
            assert not members(store)
            store.add_many = add_many  # type: ignore[method-assign]
            await trio.sleep(2 * limits.MAX_RETRY_SECONDS)
            assert all_equal(nodes)
            assert len(members(store)) == 9
            assert (keeper.state.phase, keeper.state.last_error) == (Phase.LIVE, "")

    simulate(main)


# --- what is told of a store --------------------------------------------------------------


async def test_slow_snapshots_are_told_once_a_minute_and_short_ones_never(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    environment = Environment(tmp_path, map_size=limits.MIB, clock=autojump_clock.current_time)
    told: list[tuple[float, SlowSnapshots]] = []

    def heard(slow: SlowSnapshots) -> None:
        told.append((trio.current_time() - start, slow))

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_snapshots, environment, heard)
        for seconds in (1.0, 7.0, 9.0, 100.0):
            with environment.read():
                await trio.sleep(seconds)
        await trio.sleep(1_000)
        nursery.cancel_scope.cancel()
    found = [(round(at), slow.count, round(slow.longest)) for at, slow in told]
    assert found == [(60, 3, 43), (120, 1, 100)]  # one was still open at the first
    environment.close()


async def test_a_write_that_does_not_end_is_told_again_and_again_and_is_let_go_on(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    environment = Environment(tmp_path, map_size=limits.MIB, clock=autojump_clock.current_time)
    begun, go, told = threading.Event(), threading.Event(), list[float]()
    written: list[str] = []

    def hang(_: Transaction) -> str:
        begun.set()
        assert go.wait(processes.PATIENCE)
        return "written"

    async def write() -> None:
        written.append(await trio.to_thread.run_sync(environment.write, hang))

    async with trio.open_nursery() as writing:
        writing.start_soon(write)
        await trio.to_thread.run_sync(begun.wait)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_writes, environment, told.append)
            await trio.sleep(95)
            nursery.cancel_scope.cancel()
        assert [round(seconds) for seconds in told] == [30, 60, 90]
        assert not written
        go.set()
    assert written == ["written"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_writes, environment, told.append)
        await trio.sleep(1_000)
        nursery.cancel_scope.cancel()
    assert len(told) <= 3, "of a store at rest nothing is told"
    environment.close()
