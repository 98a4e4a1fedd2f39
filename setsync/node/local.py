"""What every session of one node shares: its store, its writer, who it is, what it wants."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec, Protocol, TypeVar

import trio

from setsync.limits import DEFAULT_MAX_PAYLOAD, LOOKING_UP
from setsync.model.collection import EVERYTHING, Pattern, match_any
from setsync.node.groups import EVERYBODY
from setsync.node.policy import Policy
from setsync.node.writer import Writer
from setsync.store.contract import EntryStore

P = ParamSpec("P")
T = TypeVar("T")


class Offload(Protocol):
    """Runs a plain function that may touch the disk, off the event loop."""

    async def __call__(self, work: Callable[..., T], *arguments: object) -> T: ...


async def in_thread(work: Callable[..., T], *arguments: object) -> T:
    """In one of trio's worker threads, whole, and never abandoned half way."""
    return await trio.to_thread.run_sync(work, *arguments)


async def inline(work: Callable[..., T], *arguments: object) -> T:
    """Right here: for simulations, whose clock must not run on while a thread works."""
    await trio.lowlevel.checkpoint()
    return work(*arguments)


def now() -> int:
    """This machine's clock, in milliseconds since 1970. It tells people when, and decides
    nothing."""
    return time.time_ns() // 1_000_000


def everybody(key: bytes) -> tuple[str, ...]:
    """The groups of a peer that nobody has said anything about."""
    return (EVERYBODY,)


@dataclass
class Local:
    """One node. `nonce` makes 32 fresh bytes a session; `clock` is `now`; `policy` is asked
    anew each time, since commands change it while the node runs; `groups` are those of a
    peer, by its key."""

    store: EntryStore
    node_id: bytes
    writer: Writer
    interests: tuple[Pattern, ...] = (Pattern(EVERYTHING),)
    max_payload: int = DEFAULT_MAX_PAYLOAD
    offload: Offload = in_thread
    nonce: Callable[[], bytes] = field(default=lambda: os.urandom(32), repr=False)
    clock: Callable[[], int] = field(default=now, repr=False)
    policy: Callable[[], Policy] = field(default=Policy, repr=False)
    groups: Callable[[bytes], Sequence[str]] = field(default=everybody, repr=False)
    # Of the payloads that are missing here: which is asked for next, and who had none, when.
    payloads_after: int = 0
    asked_in_vain: dict[bytes, float] = field(default_factory=dict, repr=False)
    _looking_up: trio.CapacityLimiter = field(
        default_factory=lambda: trio.CapacityLimiter(LOOKING_UP), repr=False
    )

    async def look_up(self, work: Callable[..., T], *arguments: object) -> T:
        """`offload`, for what reads much and waits for nobody; so many at a time, in order."""
        async with self._looking_up:
            return await self.offload(work, *arguments)

    def wants(self, name: str) -> bool:
        """Whether a collection is among the interests."""
        return match_any(self.interests, name)
