"""`setsync serve --log-heights`: answering Bamboo servers beside setsync's own nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from bamboo_compat.cli import settings
from bamboo_compat.core.profiles import PROFILES
from setsync.cli import logging
from setsync.cli.settings_options import option_of, parameter_of
from setsync.errors import ListenError, SetsyncError, UsageError
from setsync.limits import MAX_CONNECTIONS
from setsync.node.address import join_address, split_address
from setsync.node.node import check_loopback

if TYPE_CHECKING:
    import trio

    from bamboo_compat.replication.report import Report, Tally
    from setsync.cli.services import Running
    from setsync.node.local import Local

# Of the places where logs part, so many are told of each session.
_SHOWN = 3


class LogHeightsListenError(ListenError):
    """Choose another port with --log-heights HOST:PORT (0 picks a free one), or stop what
    uses it."""


class LogHeights:
    """See `setsync.cli.services.Service`."""

    def options(self) -> Sequence[click.Option]:
        """All begin with the same words."""
        return [option_of(setting) for setting in settings.LOG_HEIGHTS]

    def asked_for(self, values: Mapping[str, Any]) -> Running | None:
        """A listener, if there is an address to listen on."""
        address, profile, schemas = (values[name] for name in _NAMES)
        if address is None:
            if profile is not None or schemas:
                raise UsageError("--log-heights HOST:PORT says where to answer Bamboo servers.")
            return None
        return _Listener(*split_address(address), profile or "aquadoggo", tuple(schemas))


LOG_HEIGHTS = LogHeights()
_NAMES = tuple(parameter_of(setting) for setting in settings.LOG_HEIGHTS)


@dataclass(frozen=True)
class _Listener:
    """What was asked for. Called, it runs."""

    host: str
    port: int
    profile: str
    schemas: tuple[str, ...]

    async def __call__(self, local: Local, *, task_status: trio.TaskStatus[None]) -> None:
        """Answer until cancelled. Raises UsageError, ListenError."""
        import trio

        listeners = await self._listen()
        shown = [join_address(*each.socket.getsockname()[:2]) for each in listeners]
        for address in shown:
            logging.logger().info("log_heights_listening", address=address)
        task_status.started()
        async with trio.open_nursery() as nursery:
            sessions = _Sessions(local, self.profile, self.schemas)
            await trio.serve_listeners(sessions.handle, listeners, handler_nursery=nursery)

    async def _listen(self) -> list[trio.SocketListener]:
        import trio

        await check_loopback(self.host)
        try:
            return list(await trio.open_tcp_listeners(self.port, host=self.host))
        except OSError as error:
            where, why = join_address(self.host, self.port), error.strerror or str(error)
            raise LogHeightsListenError(f"{where} cannot be listened on: {why}.") from error


class _Sessions:
    """Connections, each of its own: what ends one leaves the others alone."""

    def __init__(self, local: Local, profile: str, schemas: Sequence[str]) -> None:
        self._local = local
        self._profile = PROFILES[profile]
        self._schemas = schemas
        self._running = 0
        self._ended = 0

    async def handle(self, stream: trio.abc.Stream) -> None:
        """One connection, told of when it is over. One too many is closed unheard: the
        protocol has no word for it."""
        from bamboo_compat.replication.report import Tally

        tally = Tally()
        state, reason = "cancelled", ""
        self._running += 1
        try:
            if self._running > MAX_CONNECTIONS:
                state, reason = "failed", "It was one connection too many."
                await stream.aclose()
                return
            await self._replicate(stream, tally)
            state = "done"
        except SetsyncError as error:
            state, reason = "failed", error.message
        except Exception as error:  # a defect of ours must not take the other sessions down
            state, reason = "failed", f"A defect of setsync, please report it: {error!r}"
        finally:
            self._running -= 1
            self._tell(state, reason, tally.report())

    def _tell(self, state: str, reason: str, report: Report) -> None:
        """One event for a session that is over."""
        self._ended += 1
        log = logging.logger(session=self._ended)
        tell = log.warning if state == "failed" else log.info
        why = {"reason": reason} if reason else {}
        tell("log_heights_session_ended", state=state, **why, **_numbers(report))

    async def _replicate(self, stream: trio.abc.Stream, tally: Tally) -> None:
        from bamboo_compat.replication.index_source import IndexSource
        from bamboo_compat.replication.run import replicate
        from bamboo_compat.replication.table import Role
        from setsync.store.contract import Origin

        began, policy = self._local.clock(), self._local.policy()

        make = partial(
            IndexSource,
            self._local.store,
            self._profile,
            max_payload=self._local.max_payload,
            origin=Origin(began),
            only=self._schemas,
            speaks_of=lambda name: self._local.wants(name) and not policy.blocks(name),
            policy=self._local.policy,
        )
        await replicate(
            stream,
            await self._local.offload(make),
            role=Role.RESPONDER,
            now=began // 1000,
            offload=self._local.offload,
            tally=tally,
        )


def _numbers(report: Report) -> dict[str, object]:
    """What became of a session, as fields."""
    from bamboo_compat.cli.replicate import place_of

    fields: dict[str, object] = {
        "entries_sent": report.sent,
        "entries_new": report.new,
        "entries_known": report.known,
        "bytes_sent": report.bytes_out,
        "bytes_received": report.bytes_in,
    }
    if report.refusals:
        fields |= {"refused": report.refusals, "refused_for": report.refused[0][0]}
    if report.divergences:
        fields["not_ours"] = [place_of(one) for one in report.divergences[:_SHOWN]]
    return fields
