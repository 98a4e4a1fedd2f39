"""`serve`: let other nodes sync with this one, until told to stop."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click
import trio

from setsync.cli import common
from setsync.cli.loop import run_stoppable
from setsync.cli.progress import size
from setsync.errors import LocalError
from setsync.model.collection import EVERYTHING, Pattern
from setsync.node import node
from setsync.node.config import DataDirectory
from setsync.node.server import Served


@click.command(
    epilog="Example: setsync serve --listen 127.0.0.1:7000 --plain --interest 'notes/**'",
    short_help="Let other nodes sync with this one.",
)
@click.option(
    "--listen",
    "address",
    default="127.0.0.1:7717",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen; port 0 picks a free one.",
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Gets the address once the node listens; removed at start and at the end.",
)
@click.option(
    "--interest",
    "interests",
    multiple=True,
    metavar="PATTERN",
    help="Only collections like this; everything by default. Repeatable.",
)
@click.option(
    "--plain",
    is_flag=True,
    help="Unencrypted, loopback addresses only. (The only channel there is yet.)",
)
@common.data_option
@common.json_option
def serve(
    address: str,
    ready_file: Path | None,
    interests: tuple[str, ...],
    plain: bool,
    data: Path,
    as_json: bool,
) -> None:
    """Answer other nodes until Ctrl-C or SIGTERM, which end the sessions in order.

    Entries that other commands put into this directory meanwhile are noticed within a second.
    """
    host, port = node.split_address(address)
    patterns = tuple(Pattern(text).text for text in interests or (EVERYTHING,))
    if ready_file is not None:
        _remove(ready_file)
    directory = DataDirectory.open(data)
    lock = directory.lock_for_serving()
    totals = _Totals()
    try:
        with common.opened(data) as (_, store):

            async def main() -> None:
                async with trio.open_nursery() as nursery:
                    listening = partial(
                        node.serve,
                        store,
                        host,
                        port,
                        interests=patterns,
                        node_id=directory.node_key().public,
                        max_payload=common.settings().max_payload,
                        on_session=totals.session,
                        on_notice=totals.notice,
                    )
                    addresses: list[tuple[str, int]] = await nursery.start(listening)
                    _announce(addresses, ready_file)

            run_stoppable(main)
    finally:
        if ready_file is not None:
            _remove(ready_file)
        os.close(lock)
    common.say("Stopped.")
    if as_json:
        common.print_json(totals.as_json())


def _announce(addresses: list[tuple[str, int]], ready_file: Path | None) -> None:
    shown = [node.join_address(*address) for address in addresses]
    common.say(f"Listening on {', '.join(shown)}.")
    if ready_file is None:
        return
    draft = ready_file.with_name(f"{ready_file.name}.{os.getpid()}.new")
    try:
        draft.write_text(shown[0] + "\n", encoding="ascii")
        draft.rename(ready_file)
    except OSError as error:
        raise LocalError(f"{ready_file} cannot be written: {error.strerror}.") from error


def _remove(ready_file: Path) -> None:
    try:
        ready_file.unlink(missing_ok=True)
    except OSError as error:
        raise LocalError(f"{ready_file} cannot be removed: {error.strerror}.") from error


class _Totals:
    """What came of serving, told as it happens and added up."""

    def __init__(self) -> None:
        self.sessions = {"done": 0, "failed": 0, "cancelled": 0}
        self.sent = 0
        self.received = 0

    def session(self, served: Served) -> None:
        self.sessions[served.state] += 1
        self.sent += served.entries_sent
        self.received += served.new_entries
        who = served.peer[:16] or "somebody"
        counters = served.counters
        how = (
            f"sent {served.entries_sent:,} entries, got {served.new_entries:,} new "
            f"({size(counters.total_sent())} out, {size(counters.total_received())} in)"
        )
        why = f": {served.reason}" if served.reason else ""
        common.say(f"Session with {who} {served.state}{why}; {how}.")

    def notice(self, count: int) -> None:
        common.say(f"New in the store: {count:,}.")

    def as_json(self) -> dict[str, object]:
        return {
            "state": "done",
            "sessions": self.sessions,
            "entries": {"sent": self.sent, "received": self.received},
        }
