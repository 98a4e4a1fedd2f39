"""`serve`: let other nodes sync with this one, until told to stop."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, assert_never

import click
import trio

from setsync.cli import common, logging
from setsync.cli.loop import run_stoppable
from setsync.cli.services import ServiceCommand, run_services
from setsync.errors import LocalError
from setsync.model.collection import EVERYTHING, Pattern
from setsync.node import node
from setsync.node.access import Access, Mode
from setsync.node.address import Address, split_address
from setsync.node.arrivals import last_arrival
from setsync.node.client import Options
from setsync.node.config import DataDirectory
from setsync.node.dialling import Dialler, Target
from setsync.node.hooks import Hook, HookEvent, What, split_command
from setsync.node.identity import Identity
from setsync.node.live import Keeper, PeerState, Phase
from setsync.node.local import Local, now
from setsync.node.server import Served
from setsync.node.states import States


@click.command(
    cls=ServiceCommand,
    epilog="Example: setsync serve --listen 0.0.0.0:7717 --interest 'notes/**'",
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
    "--peer",
    "peers",
    multiple=True,
    metavar="ADDRESS|NAME",
    help="Keep up with this node: catch up, then exchange what is new as it comes. Repeatable.",
)
@click.option(
    "--access",
    type=click.Choice([mode.value for mode in Mode]),
    default=Mode.LISTED.value,
    show_default=True,
    help="Whom to talk to: everybody but the blocked, or those whom 'peers' lists.",
)
@click.option("--plain", is_flag=True, help="Unencrypted, loopback addresses only; for measuring.")
@click.option(
    "--on-entry",
    "command",
    metavar="COMMAND",
    help="Run this once and hand it new entries, a JSON object a line on its standard input. "
    "Split into words like a shell would, and not expanded.",
)
@click.option(
    "--log",
    type=click.Choice(logging.CHOICES),
    default="auto",
    show_default=True,
    help="How to tell what happens, on standard error; auto: pretty on a terminal, else JSON.",
)
@common.data_option
@common.json_option
def serve(
    address: str,
    ready_file: Path | None,
    interests: tuple[str, ...],
    peers: tuple[str, ...],
    access: str,
    plain: bool,
    command: str | None,
    log: str,
    data: Path,
    as_json: bool,
    **guests: Any,
) -> None:
    """Answer other nodes until Ctrl-C or SIGTERM, which end the sessions in order.

    Entries that other commands put into this directory meanwhile are noticed within a second.
    """
    logging.configure(log)
    host, port = split_address(address)
    patterns = tuple(Pattern(text).text for text in interests or (EVERYTHING,))
    assert isinstance(serve, ServiceCommand)
    services = serve.asked_for(guests)
    words = split_command(command) if command is not None else ()
    if ready_file is not None:
        _remove(ready_file)
    directory = DataDirectory.open(data)
    dialler = Dialler(directory.node_key(), directory.peers, plain=plain)
    targets = [dialler.find(peer) for peer in peers]
    lock = directory.lock_for_serving()
    states = States(directory.states_path)
    totals = _Totals(states)
    hook = None
    try:
        with common.opened(data) as (_, store):
            if words:
                around = {"SETSYNC_DATA": str(directory.path.absolute())}
                hook = Hook(words, _tell_of_hook, last_arrival(store), around)

            async def main() -> None:
                node_id, limit = directory.node_key().public, common.settings().max_payload
                async with trio.open_nursery() as nursery:
                    # Before the address is told: by then all that was asked for is there.
                    if services:
                        beside = partial(
                            run_services,
                            services,
                            store,
                            interests=patterns,
                            node_id=node_id,
                            max_payload=limit,
                        )
                        await nursery.start(beside)
                    listening = partial(
                        node.serve,
                        store,
                        host,
                        port,
                        interests=patterns,
                        node_id=node_id,
                        max_payload=limit,
                        identity=None if plain else Identity.of(directory.node_key()),
                        access=None if plain else Access(Mode(access), directory.peers.read),
                        on_session=totals.session,
                        on_notice=totals.notice,
                        beside=[
                            lambda local: states.run(local.offload),
                            *([hook.run] if hook is not None else []),
                            *(partial(_keep_up, dialler, target, states) for target in targets),
                        ],
                    )
                    addresses: list[tuple[str, int]] = await nursery.start(listening)
                    key = None if plain else node_id
                    _announce([Address(*one, key) for one in addresses], ready_file)

            run_stoppable(main)
    finally:
        if ready_file is not None:
            _remove(ready_file)
        os.close(lock)
    totals.stopped(hook)
    if as_json:
        common.print_json(totals.as_json())


async def _keep_up(dialler: Dialler, target: Target, states: States, local: Local) -> None:
    """Keep up with one peer, and tell how it goes."""
    key = target.address.key.hex() if target.address.key is not None else target.address.place
    told: tuple[Phase, str] | None = None
    log = logging.logger(peer=key, address=target.address.place)

    def heard(state: PeerState) -> None:
        nonlocal told
        if state.phase in (Phase.LIVE, Phase.WAITING) and told != (state.phase, state.last_error):
            told = (state.phase, state.last_error)
            if state.last_error:  # such a session is over, and counted
                tell, number, fields = log.warning, state.sessions, {"reason": state.last_error}
            else:
                tell, number, fields = log.info, state.sessions + 1, {}
            tell("peer_state", session=number, state=state.phase.value, **fields)

    options = Options(local.interests)
    keeper = Keeper(dialler, target, local, options, on_change=heard)
    states.keepers[key] = keeper
    await keeper.run()


def _announce(addresses: list[Address], ready_file: Path | None) -> None:
    shown = [str(address) for address in addresses]
    for address in shown:
        logging.logger().info("listening", address=address)
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


def _tell_of_hook(event: HookEvent) -> None:
    """What happens to the command of `--on-entry`."""
    log = logging.logger()
    match event.what:
        case What.STARTED:
            log.info("hook_started")
        case What.BEHIND:
            log.warning("hook_behind")
        case What.DROPPED:
            log.warning("hook_dropped", dropped=event.dropped)
        case What.ENDED:
            log.warning("hook_ended", code=event.code, retry=event.retry)
        case What.FAILED:
            log.warning("hook_failed", reason=event.reason, retry=event.retry)
        case _:
            assert_never(event.what)


class _Totals:
    """What came of serving, told as it happens and added up."""

    def __init__(self, states: States) -> None:
        self._states = states
        self.sessions = {"done": 0, "failed": 0, "cancelled": 0}
        self.sent = 0
        self.received = 0

    def session(self, served: Served) -> None:
        self.sessions[served.state] += 1
        self.sent += served.entries_sent
        self.received += served.new_entries
        self._states.served(served, now())
        counters = served.counters
        log = logging.logger(peer=served.peer, session=sum(self.sessions.values()))
        tell = log.warning if served.state == "failed" else log.info
        tell(
            "session_ended",
            state=served.state,
            entries_sent=served.entries_sent,
            entries_new=served.new_entries,
            bytes_sent=counters.total_sent(),
            bytes_received=counters.total_received(),
            **({"reason": served.reason} if served.reason else {}),
        )

    def notice(self, count: int) -> None:
        logging.logger().info("new_entries", count=count)

    def stopped(self, hook: Hook | None) -> None:
        """The last event: everything added up."""
        fields = {} if hook is None else {"hook_told": hook.delivered, "hook_dropped": hook.dropped}
        logging.logger().info(
            "stopped",
            sessions=sum(self.sessions.values()),
            entries_sent=self.sent,
            entries_new=self.received,
            **fields,
        )

    def as_json(self) -> dict[str, object]:
        return {
            "state": "done",
            "sessions": self.sessions,
            "entries": {"sent": self.sent, "received": self.received},
        }
