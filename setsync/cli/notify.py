"""What `serve` tells the service manager that started it: ready, still alive, stopping.

The protocol is systemd's, see sd_notify(3): datagrams of `NAME=VALUE` lines to the Unix socket that
NOTIFY_SOCKET names. Without that variable nothing is told. The watchdog is fed by a task of the
event loop, so that a loop that hangs falls silent and is started anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import trio

from setsync import limits
from setsync.cli import logging

_MICROSECONDS = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Manager:
    """The service manager: its socket's address, and the seconds of silence that it bears."""

    address: str
    watchdog: float | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str], pid: int) -> Manager | None:
        """The manager that the environment names to the process `pid`; None without one."""
        address = environment.get("NOTIFY_SOCKET", "")
        if not address:
            return None
        if address.startswith("@"):  # Linux's abstract names begin with a zero byte
            address = "\0" + address[1:]
        return cls(address, _watchdog(environment, pid))

    async def keep_informed(self, status: str) -> None:
        """Say that the node is ready and what it does, feed the watchdog, and say at the end
        that it is stopping. Runs until cancelled; a manager that cannot be told stops nothing."""
        try:
            await self._tell(f"READY=1\nSTATUS={status}")
            await self._feed()
        finally:
            with trio.CancelScope(shield=True):
                await self._tell("STOPPING=1")

    async def _feed(self) -> None:
        """Twice as often as is asked for, as sd_watchdog_enabled(3) advises."""
        if self.watchdog is None:
            await trio.sleep_forever()
        while True:
            await trio.sleep(self.watchdog / 2)
            await self._tell("WATCHDOG=1")

    async def _tell(self, message: str) -> None:
        """One datagram; a manager that does not read is waited for a moment and no longer."""
        try:
            with (
                trio.fail_after(limits.NOTIFY_SECONDS),
                trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM) as line,
            ):
                # Only of a connected socket the system knows when the other end has room.
                await line.connect(self.address)
                await line.send(message.encode("utf-8"))
        except (OSError, trio.TooSlowError) as error:
            reason = str(error) or "it does not read"
            logging.logger().warning("notify_failed", message=message, reason=reason)


def _watchdog(environment: Mapping[str, str], pid: int) -> float | None:
    """Seconds; None where no watchdog is asked for, or one of another process."""
    micros, whose = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", str(pid))
    if whose != str(pid) or not _MICROSECONDS.fullmatch(micros):
        return None
    return int(micros) / 1_000_000
