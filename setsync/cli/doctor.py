"""`setsync doctor`: what is wrong with this node, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from setsync.cli import common

if TYPE_CHECKING:
    from setsync.node.config import DataDirectory
    from setsync.node.doctor import Check
    from setsync.node.settings import Settled
    from setsync.store.lmdb_store import Store


@click.command(epilog="Example: setsync doctor --offline --json")
@click.option("--offline", is_flag=True, help="Dial nobody.")
@common.data_option
@common.json_option
def doctor(offline: bool, data: Path, as_json: bool) -> int:
    """Look for what is wrong with this node, and say what to do about each thing.

    Clock, disk, map, permissions, open files, port, peers, whether the directory was copied, who
    uses it and how the last one left. Nothing is changed, and 'serve' may run meanwhile. Exit
    codes: 0 all is fine, 1 something was found.
    """
    from setsync.cli.loop import run_stoppable
    from setsync.node.config import DataDirectory
    from setsync.node.doctor import State

    directory = DataDirectory.open(data)
    checks = run_stoppable(partial(_examine, directory, offline))
    if checks is None:
        raise KeyboardInterrupt
    found = [check for check in checks if check.state is State.FINDING]
    if as_json:
        common.print_json({"findings": len(found), "checks": [asdict(check) for check in checks]})
    else:
        _print(checks)
    return common.FAILED if found else 0


async def _examine(directory: DataDirectory, offline: bool) -> list[Check]:
    """All checks, in the order in which they are told. What fails is a finding."""
    from setsync.node import doctor
    from setsync.node.local import now

    settled, checks = _settings(directory)
    checks += doctor.check_permissions(directory)
    checks.append(doctor.check_place(directory))
    checks.append(doctor.check_clock(directory, now()))
    checks.append(doctor.check_disk(directory))
    found, may_open = doctor.check_processes(directory)
    checks += found
    peers = len(settled.texts("peers"))
    checks.append(doctor.check_files(directory, settled.number("max-connections"), peers))
    checks.append(await doctor.check_port(directory, settled.needed("listen")))
    with ExitStack() as stack:
        store, opened = _opened(directory, settled, may_open)
        if store is not None:
            stack.enter_context(store)
        checks += opened
        if not offline:
            checks += await _peers(directory, settled, store)
        checks += _guests(directory, store)
    return checks


def _settings(directory: DataDirectory) -> tuple[Settled, list[Check]]:
    """What holds, or the defaults where that cannot be said."""
    from setsync.cli.config import settled_in
    from setsync.errors import SetsyncError
    from setsync.node import doctor
    from setsync.node.settings import all_settings, settle

    table = all_settings()
    checks = list(doctor.check_environment(table, os.environ))
    try:
        settled = settled_in(directory.path, table)
    except SetsyncError as error:
        checks.append(doctor.of_error("settings", error))
        settled = settle(table, flags={}, environment={}, file={})
    return settled, checks or [doctor.fine("settings", "They can be read.")]


def _opened(
    directory: DataDirectory, settled: Settled, may_open: bool
) -> tuple[Store | None, list[Check]]:
    """The store, if that is not left to another command, and what it says of its map."""
    from setsync.errors import SetsyncError
    from setsync.node import doctor
    from setsync.node.config import Settings

    if not may_open:
        return None, [doctor.unknown("map", "The store was not opened; see above.")]
    settings = Settings(settled.number("max-payload"), settled.number("map-size"))
    try:
        store = directory.open_store(settings)
    except SetsyncError as error:
        return None, [doctor.of_error("store", error)]
    return store, [doctor.check_map(store)]


async def _peers(directory: DataDirectory, settled: Settled, store: Store | None) -> list[Check]:
    from setsync.errors import SetsyncError
    from setsync.node import doctor
    from setsync.node.dialling import Dialler
    from setsync.node.node import open_local
    from setsync.store.memory import MemoryStore

    try:
        key = directory.node_key()
        dialler = Dialler(key, directory.peers, network=directory.network_key())
    except SetsyncError:
        return [doctor.unknown("peers", "Nobody can be dialled without the keys; see above.")]
    around = open_local(
        store if store is not None else MemoryStore(),
        node_id=key.public,
        policy=directory.policy.read,
        groups=directory.groups_of,
    )
    async with around as local:
        return await doctor.check_peers(dialler, local, settled.texts("peers"))


def _guests(directory: DataDirectory, store: Store | None) -> Iterator[Check]:
    """What other packages find, in a word of their own."""
    from importlib.metadata import entry_points

    from setsync.errors import SetsyncError
    from setsync.node import doctor

    group = entry_points(group=doctor.ENTRY_POINT_GROUP)
    for point in sorted(group, key=lambda one: one.name):
        try:
            examine: doctor.Examination = point.load()
            yield from list(examine(doctor.Examined(directory, store)))
        except SetsyncError as error:
            yield doctor.of_error(point.name, error)
        except Exception as error:  # the others' checks are none the worse for it
            yield doctor.unknown(point.name, f"It could not be looked at: {error}")


_MARKS = {"fine": "ok", "finding": "LOOK", "unknown": "?"}


def _print(checks: list[Check]) -> None:
    common.print_columns((_MARKS[check.state], check.name, check.what) for check in checks)
    advice = [f"{check.name}: {check.advice}" for check in checks if check.advice]
    if advice:
        click.echo("\nWhat to do:")
        for sentence in advice:
            click.echo(common.printable(f"- {sentence}"))
