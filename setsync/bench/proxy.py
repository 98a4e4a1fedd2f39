"""A counting TCP proxy on loopback, which can also pretend to be a slow line.

A benchmark's byte counts come from here and never from a node's own report alone. The proxy sits
between two nodes, forwards what it reads, and counts payload bytes per direction.

`up` is from the side that connected (the initiator) to the target, `down` is the way back.

A chunk is counted when it has been read and before it is written onward, so whoever has received
a byte through the proxy finds it counted already: counters read after an exchange are exact.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from types import TracebackType

import trio
from trio import TaskStatus

from setsync.bench.counts import Counts, Ledger, Observer
from setsync.bench.forward import Address, serve
from setsync.bench.link import Link


class CountingProxy:
    """The proxy in a thread of its own.

        with CountingProxy(("127.0.0.1", 7000), link=Link(rtt=0.1)) as proxy:
            host, port = proxy.address
            ...
            proxy.mark()
            ...
            proxy.since_mark().total

    `observe` is called in the proxy's thread, in the order of the chunks of each direction.
    Leaving the block closes every connection.
    """

    def __init__(
        self, target: Address, *, link: Link | None = None, observe: Observer | None = None
    ) -> None:
        self.ledger = Ledger()
        self._target = target
        self._link = link
        self._observe = observe
        self._ready: queue.SimpleQueue[_Started | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="counting-proxy", daemon=True)
        self._started: _Started | None = None

    @property
    def address(self) -> Address:
        """Where to connect instead of the target."""
        if self._started is None:
            raise RuntimeError("the proxy is not running: use it in a with block")
        return self._started.address

    @property
    def counts(self) -> Counts:
        """Everything since the start."""
        return self.ledger.counts

    def mark(self) -> Counts:
        """Remember this moment for `since_mark`."""
        return self.ledger.mark()

    def since_mark(self) -> Counts:
        """Everything since the latest mark."""
        return self.ledger.since_mark()

    def wait_idle(self, seconds: float) -> bool:
        """Block until no connection is open, after which the counts are final.

        False if one still is after that time.
        """
        return self.ledger.wait_idle(seconds)

    def __enter__(self) -> CountingProxy:
        self._thread.start()
        outcome = self._ready.get()
        if isinstance(outcome, BaseException):
            raise outcome
        self._started = outcome
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        started, self._started = self._started, None
        if started is not None:
            trio.from_thread.run_sync(started.scope.cancel, trio_token=started.token)
        self._thread.join()

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:
            self._ready.put(error)

    async def _main(self) -> None:
        async with trio.open_nursery() as nursery:
            address = await nursery.start(self._serve)
            token = trio.lowlevel.current_trio_token()
            self._ready.put(_Started(address, nursery.cancel_scope, token))

    async def _serve(self, task_status: TaskStatus[Address]) -> None:
        await serve(
            self._target,
            self.ledger,
            link=self._link,
            observe=self._observe,
            task_status=task_status,
        )


@dataclass(frozen=True)
class _Started:
    address: Address
    scope: trio.CancelScope
    token: trio.lowlevel.TrioToken
