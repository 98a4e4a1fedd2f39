"""What `serve` does: a node, what runs beside it, and what is told of both."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import trio

from setsync.cli import common, logging
from setsync.cli.discovering import Discovering
from setsync.cli.guests import guests_of
from setsync.cli.loop import run_stoppable
from setsync.cli.notify import Manager
from setsync.cli.reloading import Keeping, Reloading, let_open_files, patterns_of, targets_of
from setsync.cli.services import Running, run_services
from setsync.cli.web_options import PageOptions
from setsync.errors import LocalError
from setsync.node import node
from setsync.node.access import Access, Mode
from setsync.node.address import Address
from setsync.node.arrivals import last_arrival
from setsync.node.client import Options
from setsync.node.config import DataDirectory
from setsync.node.dialling import Dialler, Target
from setsync.node.discovery import check_library
from setsync.node.door import Door, Rules
from setsync.node.hooks import Hook, HookEvent, What
from setsync.node.identity import Identity
from setsync.node.live import Keeper, PeerState, Phase
from setsync.node.local import Local, now
from setsync.node.policy import Policy
from setsync.node.server import Served
from setsync.node.settings import Setting, Settled
from setsync.node.states import States
from setsync.node.verifying import Verifiers
from setsync.node.watchdog import watch_snapshots, watch_writes
from setsync.store.environment import SlowSnapshots
from setsync.store.lmdb_store import Store

if TYPE_CHECKING:
    from setsync.cli.web_serving import PageRun


@dataclass
class Serving:
    """One run of `serve`, from what its options ask for."""

    directory: DataDirectory
    address: Address
    ready_file: Path | None
    table: Sequence[Setting]
    settings: Settled
    reread: Callable[[], Settled]
    dialler: Dialler
    services: Sequence[Running]
    command: Sequence[str]
    policy: Callable[[], Policy]
    web: PageOptions | None = None
    _page: PageRun | None = field(default=None, init=False)
    _hook: Hook | None = field(default=None, init=False)
    _discovering: Discovering | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._states = States(self.directory.states_path, self.directory.peers.read)
        self._totals = Totals(self._states)
        self._interests = tuple(pattern.text for pattern in patterns_of(self.settings))
        self._limit = self.settings.number("max-payload")
        self._door = Door(Rules(connections=self.settings.number("max-connections")))
        targets = targets_of(self.settings, self.dialler)
        self._keeping = Keeping(targets, self._keeper, self._states)
        self._reloading = Reloading(
            self.table, self.settings, self.reread, self.dialler, self._keeping, self._door
        )
        if self.web is not None:
            self._page = self.web.prepare(self.directory, self._states, self.dialler)
            self._totals.on_served = self._page.served
        if self.settings.switch("discover"):
            # Before anything has begun: the library behind it may not be installed.
            check_library()
            self._discovering = Discovering(self.dialler, targets, self._states, self._keeper)

    def run(self) -> Totals:
        """Until told to stop. Raises LocalError, StoreError and its kinds."""
        lock = self.directory.lock_for_serving()
        let_open_files(self.settings)
        try:
            with common.opened(self.directory.path) as (_, store):
                if self.command:
                    around = {"SETSYNC_DATA": str(self.directory.path.absolute())}
                    self._hook = Hook(self.command, _tell_of_hook, last_arrival(store), around)
                run_stoppable(partial(self._main, store))
        finally:
            if self.ready_file is not None:
                remove(self.ready_file)
            os.close(lock)
        self._totals.stopped(self._hook)
        return self._totals

    async def _main(self, store: Store) -> None:
        # From the start, or the signal would end the process.
        with trio.open_signal_receiver(signal.SIGHUP) as hang_ups:
            await self._serve(store, hang_ups)

    async def _serve(self, store: Store, hang_ups: AsyncIterator[int]) -> None:
        """Before the address is told, all that was asked for is there."""
        async with trio.open_nursery() as nursery:
            if self._page is not None:
                await self._page.open()
            if self.services:
                await nursery.start(self._guests(store))
            found: list[tuple[str, int]] = await nursery.start(self._node(store))
            key = None if self.dialler.plain else self.dialler.secret.public
            addresses = [Address(*one, key) for one in found]
            if self._discovering is not None:
                await self._discovering.announce(addresses)
            nursery.start_soon(self._reloading.run, hang_ups)
            _announce(addresses, self.ready_file)
            if (manager := Manager.of(os.environ, os.getpid())) is not None:
                await manager.keep_informed(f"Listening at {addresses[0]}")

    def _guests(self, store: Store) -> Callable[..., Awaitable[None]]:
        return partial(
            run_services,
            self.services,
            store,
            interests=self._interests,
            node_id=self.dialler.secret.public,
            max_payload=self._limit,
            policy=self.policy,
            on_local=self._reloading.include,
        )

    def _node(self, store: Store) -> Callable[..., Awaitable[None]]:
        plain, secret = self.dialler.plain, self.dialler.secret
        return partial(
            node.serve,
            store,
            self.address.host,
            self.address.port,
            interests=self._interests,
            node_id=secret.public,
            max_payload=self._limit,
            identity=None if plain else Identity.of(secret),
            access=None
            if plain
            else Access.of(Mode(self.settings.needed("access")), self.directory.peers),
            network=self.dialler.network,
            policy=self.policy,
            on_session=self._totals.session,
            on_notice=self._totals.notice,
            beside=self._beside(store),
            guests=None if plain else guests_of(self.directory),
            door=self._door,
            verifiers=Verifiers(
                self.settings.number_if_set("verifiers"),
                lambda: logging.logger().warning("verifier_ended"),
            ),
        )

    def _beside(self, store: Store) -> list[Callable[[Local], Awaitable[None]]]:
        work: list[Callable[[Local], Awaitable[None]]] = [
            self._begin,
            self._states.run,
            lambda _: watch_snapshots(store.environment, _tell_of_snapshots),
            lambda _: watch_writes(store.environment, _tell_of_write),
        ]
        if self._hook is not None:
            work.append(self._hook.run)
        if self._discovering is not None:
            work.append(self._discovering.run)
        if self._page is not None:
            work.append(partial(self._page.run, store))
        work.append(self._keeping.run)
        return work

    async def _begin(self, local: Local) -> None:
        self._reloading.include(local)

    def _keeper(self, target: Target, local: Local) -> Keeper:
        keeper = _keeper(self.dialler, target, self._states, local)
        if self._page is not None:
            self._page.watch(keeper)
        return keeper


def _keeper(dialler: Dialler, target: Target, states: States, local: Local) -> Keeper:
    """What keeps up with one peer, and tells how it goes."""
    key = target.address.key.hex() if target.address.key is not None else target.address.place
    told: tuple[Phase, str] | None = None

    def heard(state: PeerState) -> None:
        nonlocal told
        if state.phase in (Phase.LIVE, Phase.WAITING) and told != (state.phase, state.last_error):
            told = (state.phase, state.last_error)
            log = logging.logger(peer=key, address=keeper.target.address.place)
            if state.last_error:  # such a session is over, and counted
                tell, number, fields = log.warning, state.sessions, {"reason": state.last_error}
            else:
                tell, number, fields = log.info, state.sessions + 1, {}
            tell("peer_state", session=number, state=state.phase.value, **fields)

    options = Options(local.interests)
    keeper = Keeper(dialler, target, local, options, on_change=heard)
    states.keepers[key] = keeper
    return keeper


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


def remove(ready_file: Path) -> None:
    """Take a ready file away, if it is there. Raises LocalError."""
    try:
        ready_file.unlink(missing_ok=True)
    except OSError as error:
        raise LocalError(f"{ready_file} cannot be removed: {error.strerror}.") from error


def _tell_of_snapshots(slow: SlowSnapshots) -> None:
    logging.logger().warning("slow_snapshot", count=slow.count, seconds=round(slow.longest, 1))


def _tell_of_write(seconds: float) -> None:
    logging.logger().warning("slow_write", seconds=round(seconds, 1))


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


class Totals:
    """What came of serving, told as it happens and added up."""

    def __init__(self, states: States) -> None:
        self._states = states
        self.sessions = {"done": 0, "failed": 0, "cancelled": 0}
        self.sent = 0
        self.received = 0
        self.on_served: Callable[[Served], None] = lambda served: None

    def session(self, served: Served) -> None:
        self.sessions[served.state] += 1
        self.sent += served.entries_sent
        self.received += served.new_entries
        self._states.served(served, now())
        self.on_served(served)
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
