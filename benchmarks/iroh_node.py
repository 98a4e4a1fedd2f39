"""One end of iroh-docs, in a process of its own: a node on a folder, with one document.

Driven by `benchmarks.peer_iroh` over the worker protocol. Needs `iroh==0.35.0`.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.isolation import require_isolation
from benchmarks.workers import Fields, PeerError, run_worker
from benchmarks.workload import Part, Workload

KEY_BYTES = 60
BLOB = b"one blob for all entries"
BATCH = 500
SYNC_SECONDS = 300.0


def _iroh() -> Any:
    """The bindings. Imported late: only workers need them."""
    try:
        return importlib.import_module("iroh")
    except ImportError as error:
        raise PeerError("iroh is not installed: pip install iroh==0.35.0") from error


class Node:
    """One end: a node on a folder, with one document. Its methods answer the driver."""

    def __init__(self) -> None:
        require_isolation()
        self._iroh = _iroh()
        self._node: Any = None
        self._doc: Any = None
        self._author: Any = None
        self._blob: Any = None
        self._finished = asyncio.Event()
        self._failure: str | None = None

    async def open(self, fields: Fields) -> Fields:
        """Start a node on a folder, with the key given, and open its document or make one."""
        iroh = self._iroh
        iroh.iroh_ffi.uniffi_set_event_loop(asyncio.get_running_loop())
        options = iroh.NodeOptions(
            enable_docs=True,
            gc_interval_millis=0,
            ipv4_addr="127.0.0.1:0",
            ipv6_addr="[::1]:0",
            node_discovery=iroh.NodeDiscoveryConfig.NONE,
            secret_key=bytes([fields["key"]]) * 32,
        )
        self._node = await iroh.Iroh.persistent_with_options(fields["folder"], options)
        self._author = await self._node.authors().default()
        self._blob = (await self._node.blobs().add_bytes(BLOB)).hash
        known = await self._node.docs().list()
        docs = self._node.docs()
        self._doc = await (docs.open(known[0].namespace) if known else docs.create())
        return await self._address()

    async def _address(self) -> Fields:
        address = await self._node.net().node_addr()
        loopback = [a for a in address.direct_addresses() if a.startswith("127.")]
        return {"id": await self._node.net().node_id(), "address": loopback[0]}

    async def fill(self, fields: Fields) -> Fields:
        """Sign and save one part of a workload."""
        workload, part = Workload.from_fields(fields["workload"]), Part(fields["part"])
        begun = time.perf_counter()
        keys = _keys(workload, part)
        while batch := list(itertools.islice(keys, BATCH)):
            await asyncio.gather(
                *(self._doc.set_hash(self._author, key, self._blob, len(BLOB)) for key in batch)
            )
        return {"seconds": time.perf_counter() - begun}

    async def listen(self, fields: Fields) -> Fields:
        """Let others synchronise the document with this node."""
        await self._doc.start_sync([])
        return {}

    async def watch(self, fields: Fields) -> Fields:
        """Be told when a synchronisation has ended."""
        await self._doc.subscribe(_callback(self._iroh, self._hear))
        return {}

    def _hear(self, event: Any) -> None:
        if event.type() == self._iroh.LiveEventType.SYNC_FINISHED:
            self._failure = event.as_sync_finished().result
            self._finished.set()

    async def sync(self, fields: Fields) -> Fields:
        """Connect to a node and synchronise the document once."""
        iroh = self._iroh
        node = iroh.PublicKey.from_string(fields["id"])
        begun = time.perf_counter()
        await self._doc.start_sync([iroh.NodeAddr(node, None, [fields["address"]])])
        await asyncio.wait_for(self._finished.wait(), SYNC_SECONDS)
        wall = time.perf_counter() - begun
        if self._failure:
            raise PeerError(f"the synchronisation failed: {self._failure}")
        return {"wall": wall}

    async def lacks(self, fields: Fields) -> Fields:
        """How many entries of one part are not in the document."""
        workload, part = Workload.from_fields(fields["workload"]), Part(fields["part"])
        missing = 0
        for key in _keys(workload, part):
            missing += await self._doc.get_exact(self._author, key, False) is None
        return {"missing": missing}

    async def leave(self, fields: Fields) -> Fields:
        """Flush and shut down."""
        await self._node.node().shutdown()
        return {}


def _callback(iroh: Any, hear: Any) -> Any:
    """A subscriber as the bindings want it: a subclass of one of their classes."""

    class Callback(iroh.SubscribeCallback):  # type: ignore[misc]  # the base is only known at run time
        async def event(self, event: Any) -> None:
            hear(event)

    return Callback()


def _keys(workload: Workload, part: Part) -> Iterator[bytes]:
    """Entry keys of a workload: nothing else distinguishes its entries here."""
    return (item.content[:KEY_BYTES].encode() for item in workload.items(part))


def main() -> None:
    """Answer the driver until it has no more to say."""
    node = Node()
    names = ("open", "fill", "listen", "watch", "sync", "lacks", "leave")
    run_worker({name: getattr(node, name) for name in names})


if __name__ == "__main__":
    main()
