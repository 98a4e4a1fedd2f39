"""What guests do beside `serve`: how they are found, and that none of it takes serve down."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import Any

import click
import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from bamboo_compat.cli import service
from bamboo_compat.cli.service import LogHeights
from bamboo_compat.replication.index_source import IndexSource
from bamboo_compat.replication.messages import Announce
from bamboo_compat.replication.source import Schemas
from setsync.cli.services import ENTRY_POINT_GROUP, ServiceCommand
from setsync.errors import UsageError
from setsync.node.local import inline
from setsync.node.node import open_local
from setsync.store.memory import MemoryStore
from tests.bamboo.replication.joined import Peer
from tests.bamboo.replication.memory import VENUE
from tests.node.ends import simulate

SETTINGS = {"log_heights": None, "log_heights_profile": None, "log_heights_schemas": ()}


def command(monkeypatch: pytest.MonkeyPatch, *targets: str) -> ServiceCommand:
    """A command whose services are these."""

    def found(group: str) -> Sequence[EntryPoint]:
        assert group == ENTRY_POINT_GROUP
        return [EntryPoint(f"guest{n}", target, group) for n, target in enumerate(targets)]

    monkeypatch.setattr("importlib.metadata.entry_points", found)
    return ServiceCommand("serve", params=[click.Option(["--listen"])])


def test_a_commands_own_options_stand_before_those_of_its_guests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve = command(monkeypatch, "bamboo_compat.cli.service:LOG_HEIGHTS")
    *names, added = [option.name for option in serve.get_params(click.Context(serve))]
    assert names == ["listen", *SETTINGS]
    assert added not in names  # --help, whatever click calls it


def test_a_guest_that_cannot_be_loaded_is_named_and_the_others_stay(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve = command(monkeypatch, "nowhere:X", "bamboo_compat.cli.service:LOG_HEIGHTS")
    assert len(serve.get_params(click.Context(serve))) == 1 + len(SETTINGS) + 1
    assert "The service 'guest0' cannot be loaded: No module named 'nowhere'" in (
        capsys.readouterr().err
    )


def test_no_other_command_looks_for_services() -> None:
    program = (
        "import sys; from setsync.cli.main import main; main(['status', '--data', '/nowhere']); "
        "sys.exit(any(name.startswith(('setsync.cli.serv', 'bamboo_compat', 'importlib.metadata')) "
        "for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_log_heights_run_only_where_an_address_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    serve = command(monkeypatch, "bamboo_compat.cli.service:LOG_HEIGHTS")
    assert serve.asked_for(SETTINGS) == []
    assert len(serve.asked_for(SETTINGS | {"log_heights": "127.0.0.1:0"})) == 1
    for wrong in ({"log_heights_profile": "rfc0001"}, {"log_heights_schemas": (VENUE,)}):
        with pytest.raises(UsageError):
            LogHeights().asked_for(SETTINGS | wrong)


def served(*connections: trio.abc.Stream) -> list[Any]:
    """Serve connections that come one after the other, until the last one is closed; what was
    logged of each session."""

    async def run() -> None:
        async with (
            open_local(MemoryStore(), offload=inline) as local,
            trio.open_nursery() as nursery,
        ):
            sessions = service._Sessions(local, "aquadoggo", ())
            for stream in connections[:-1]:
                nursery.start_soon(sessions.handle, stream)
                await trio.testing.wait_all_tasks_blocked()
            await sessions.handle(connections[-1])
            nursery.cancel_scope.cancel()

    with capture_logs() as told:
        simulate(run)
    assert {one["event"] for one in told} == {"log_heights_session_ended"}
    return told


def test_one_connection_too_many_is_closed_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "MAX_CONNECTIONS", 1)
    streams = [trio.testing.memory_stream_pair()[0] for _ in range(2)]
    first, second = served(*streams)
    assert (first["state"], first["reason"]) == ("failed", "It was one connection too many.")
    assert second["state"] == "cancelled"


def test_a_defect_of_ours_ends_its_session_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting, _ = trio.testing.memory_stream_pair()
    broken, peer = trio.testing.memory_stream_pair()
    asked: list[None] = []

    def schemas(_: IndexSource) -> Schemas:
        asked.append(None)
        if len(asked) > 1:
            raise ZeroDivisionError("planted")
        return Schemas()

    monkeypatch.setattr(IndexSource, "schemas", schemas)
    first, second = served(waiting, broken)
    assert first["reason"] == (
        "A defect of setsync, please report it: ZeroDivisionError('planted')"
    )
    assert second["state"] == "cancelled"
    del peer


def test_a_silent_peer_is_let_go_after_a_while() -> None:
    async def run() -> None:
        here, there = trio.testing.memory_stream_pair()
        async with (
            open_local(MemoryStore(), offload=inline) as local,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(Peer(there).say, Announce(0, (VENUE,)))
            await service._Sessions(local, "aquadoggo", ()).handle(here)

    with capture_logs() as told:
        simulate(run)
    [one] = told
    assert (one["state"], one["reason"]) == ("failed", "The other side said nothing for 60 s.")
