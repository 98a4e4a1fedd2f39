"""SIGHUP: `serve` reads its settings anew, and goes on with what may change while it runs.

Everything new is looked at before anything changes, so that a file with a fault in it changes
nothing. Sessions that are under way end as they began; the next ones have the new interests and
limits.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

import trio

from setsync.cli import logging
from setsync.errors import SetsyncError
from setsync.model.collection import EVERYTHING, Pattern
from setsync.node.address import Address
from setsync.node.dialling import Dialler, Target
from setsync.node.door import Door
from setsync.node.files import files_needed, let_open
from setsync.node.live import Keeper, Phase
from setsync.node.local import Local
from setsync.node.settings import Setting, Settled
from setsync.node.states import States


def patterns_of(settings: Settled) -> tuple[Pattern, ...]:
    """The interests; everything where none are set."""
    return tuple(Pattern(text) for text in settings.texts("interests") or (EVERYTHING,))


def let_open_files(settings: Settled) -> None:
    """Let this process open as many files as it will need, or tell that it may not."""
    connections = settings.number("max-connections")
    needed = files_needed(connections, len(settings.texts("peers")))
    allowed = let_open(needed)
    if allowed < needed:
        logging.logger().warning(
            "too_few_files",
            needed=needed,
            allowed=allowed,
            reason=f"With max-connections {connections} as many files may be open, and the system "
            "allows fewer. Raise its hard limit (ulimit -Hn; LimitNOFILE= for systemd), or lower "
            "max-connections.",
        )


def targets_of(settings: Settled, dialler: Dialler) -> list[Target]:
    """The peers to keep up with, each once. Raises UsageError, PeersFileError."""
    found = [dialler.find(text) for text in settings.texts("peers")]
    return list({target.address: target for target in found}.values())


@dataclass
class Keeping:
    """Keeps up with peers, of which others may come and go meanwhile. `make` makes what keeps up
    with one and tells how that goes."""

    targets: list[Target]
    make: Callable[[Target, Local], Keeper]
    states: States
    _scopes: dict[Address, trio.CancelScope] = field(default_factory=dict, init=False)
    _running: tuple[trio.Nursery, Local] | None = field(default=None, init=False)

    async def run(self, local: Local) -> None:
        """Until cancelled. Raises StoreError."""
        async with trio.open_nursery() as nursery:
            self._running = nursery, local
            for target in self.targets:
                self._begin(target)
            await trio.sleep_forever()

    def change(self, targets: Sequence[Target]) -> tuple[list[str], list[str]]:
        """Keep up with these from now on; the places that came, and those that went."""
        before = {target.address for target in self.targets}
        after = {target.address for target in targets}
        come = [target for target in targets if target.address not in before]
        gone = [target for target in self.targets if target.address not in after]
        # In place: whoever looks for others in the local network leaves these out.
        self.targets[:] = targets
        for target in gone:
            if (scope := self._scopes.pop(target.address, None)) is not None:
                scope.cancel()
        if self._running is not None:
            for target in come:
                self._begin(target)
        return _places(come), _places(gone)

    def _begin(self, target: Target) -> None:
        assert self._running is not None
        nursery, local = self._running
        scope = self._scopes[target.address] = trio.CancelScope()
        nursery.start_soon(self._keep_up, self.make(target, local), scope)

    async def _keep_up(self, keeper: Keeper, scope: trio.CancelScope) -> None:
        with scope:
            await keeper.run()
        for key, known in list(self.states.keepers.items()):
            if known is keeper:
                del self.states.keepers[key]
                self.states.peers[key] = replace(keeper.now(), phase=Phase.WAITING)


def _places(targets: Sequence[Target]) -> list[str]:
    return [target.address.place for target in targets]


def _has_terminal() -> bool:
    """Whether standard input is a terminal that is still there."""
    return os.isatty(0)


@dataclass
class Reloading:
    """Takes over what has changed. `read` gives the settings as they are now; `locals` are the
    nodes that run around the store, and `door` lets others in to them."""

    table: Sequence[Setting]
    settings: Settled
    read: Callable[[], Settled]
    dialler: Dialler
    keeping: Keeping
    door: Door
    locals: list[Local] = field(default_factory=list)
    _had_terminal: bool = field(default_factory=_has_terminal, init=False)

    def include(self, local: Local) -> None:
        """A node runs that is to have what changes, and what has changed before it ran."""
        self.locals.append(local)
        self._apply(patterns_of(self.settings))

    async def run(self, signals: AsyncIterator[int]) -> None:
        """At every signal, until cancelled."""
        async for _ in signals:
            if self._had_terminal and not _has_terminal():
                # It was closed, and nobody means to reload.
                os.kill(os.getpid(), signal.SIGTERM)
                return
            self.reload()

    def reload(self) -> None:
        """Take over all of what may change, or nothing; tell which."""
        try:
            settings = self.read()
            patterns = patterns_of(settings)
            targets = targets_of(settings, self.dialler)
        except SetsyncError as error:
            logging.logger().warning("reload_failed", reason=error.message)
            return
        may_change = {setting.name for setting in self.table if setting.reloads}
        changed = self.settings.changed(settings)
        self.settings |= {name: settings[name] for name in may_change}
        self._apply(patterns)
        let_open_files(self.settings)
        come, gone = self.keeping.change(targets)
        logging.logger().info(
            "reloaded",
            changed=[name for name in changed if name in may_change],
            needs_restart=[name for name in changed if name not in may_change],
            peers_added=come,
            peers_removed=gone,
        )

    def _apply(self, patterns: tuple[Pattern, ...]) -> None:
        self.door.admit(self.settings.number("max-connections"))
        for local in self.locals:
            local.interests = patterns
            local.max_payload = self.settings.number("max-payload")
        for keeper in self.keeping.states.keepers.values():
            keeper.options = replace(keeper.options, interests=patterns)
