"""One end of nostr-sdk, in a process of its own: a database, and a relay or a client on it.

Driven by `benchmarks.peer_nostr` over the worker protocol. Needs `nostr-sdk==0.44.8`.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import itertools
import time
from datetime import timedelta
from typing import Any

from benchmarks import workload as workloads
from benchmarks.workers import Fields, PeerError, run_worker
from benchmarks.workload import Part, Workload

AUTHORS = 16
BATCH = 1_000
PER_MINUTE = 1_000_000_000
SYNC_SECONDS = 600.0


def _sdk() -> Any:
    """The bindings, which bear no types. Imported late: only workers need them."""
    try:
        return importlib.import_module("nostr_sdk")
    except ImportError as error:
        raise PeerError("nostr-sdk is not installed: pip install nostr-sdk==0.44.8") from error


class Node:
    """One end: a database, and a relay or a client on it. Its methods answer the driver."""

    def __init__(self) -> None:
        self._sdk = _sdk()
        self._database: Any = None
        self._client: Any = None
        self._relay: Any = None

    async def open(self, fields: Fields) -> Fields:
        """Open or create the database in a folder."""
        self._database = self._sdk.NostrDatabase.lmdb(fields["folder"])
        return {}

    async def fill(self, fields: Fields) -> Fields:
        """Generate, sign and save one part of a workload, a batch at a time."""
        workload, part = Workload.from_fields(fields["workload"]), Part(fields["part"])
        signing = saving = 0.0
        items = workload.items(part)
        while batch := list(itertools.islice(items, BATCH)):
            begun = time.perf_counter()
            events = [self._sign(workload.seed, item) for item in batch]
            signed = time.perf_counter()
            # The database commits what is waiting in one transaction: one by one is far slower.
            saved = await asyncio.gather(*map(self._database.save_event, events))
            signing += signed - begun
            saving += time.perf_counter() - signed
            if not all(status.is_success() for status in saved):
                raise PeerError("the database refused an event")
        return {"signing": signing, "saving": saving}

    def _sign(self, seed: int, item: workloads.Item) -> Any:
        keys = self._keys(seed, item.second % AUTHORS)
        second = self._sdk.Timestamp.from_secs(item.second)
        note = self._sdk.EventBuilder.text_note(item.content)
        return note.custom_created_at(second).sign_with_keys(keys)

    def _keys(self, seed: int, author: int) -> Any:
        secret = hashlib.sha256(f"{seed}/author/{author}".encode()).hexdigest()
        return self._sdk.Keys.parse(secret)

    async def count(self, fields: Fields) -> Fields:
        """How many events the database holds."""
        return {"events": await self._database.count(self._sdk.Filter())}

    async def serve(self, fields: Fields) -> Fields:
        """Run a relay on the database, on a free loopback port, with its limits lifted."""
        sdk = self._sdk
        limit = sdk.RateLimit(max_reqs=PER_MINUTE, notes_per_minute=PER_MINUTE)
        builder = sdk.RelayBuilder().addr("127.0.0.1").database(self._database).rate_limit(limit)
        self._relay = sdk.LocalRelay(builder)
        await self._relay.run()
        return {"url": str(await self._relay.url())}

    async def prepare(self, fields: Fields) -> Fields:
        """Build a client on the database, with its limits lifted, without connecting it."""
        sdk = self._sdk
        options = sdk.ClientOptions().relay_limits(sdk.RelayLimits.disable())
        self._client = sdk.ClientBuilder().database(self._database).opts(options).build()
        return {}

    async def sync(self, fields: Fields) -> Fields:
        """Connect to a relay and reconcile everything, both ways."""
        sdk = self._sdk
        patience = timedelta(seconds=SYNC_SECONDS)
        options = sdk.SyncOptions().direction(sdk.SyncDirection.BOTH).initial_timeout(patience)
        if fields["dry_run"]:
            options = options.dry_run()
        begun = time.perf_counter()
        await self._client.add_relay(sdk.RelayUrl.parse(fields["url"]))
        await self._client.try_connect(patience)
        output = await self._client.sync(sdk.Filter(), options)
        wall = time.perf_counter() - begun
        if output.failed:
            raise PeerError(f"the relay failed: {list(output.failed.values())}")
        report = output.report
        names = ("local", "remote", "sent", "received")
        return {"wall": wall, **{name: len(getattr(report, name)) for name in names}}

    async def leave(self, fields: Fields) -> Fields:
        """Close what is open on the network."""
        if self._client is not None:
            await self._client.shutdown()
        if self._relay is not None:
            self._relay.shutdown()
        return {}


def main() -> None:
    """Answer the driver until it has no more to say."""
    node = Node()
    run_worker(
        {
            "open": node.open,
            "fill": node.fill,
            "count": node.count,
            "serve": node.serve,
            "prepare": node.prepare,
            "sync": node.sync,
            "leave": node.leave,
        }
    )


if __name__ == "__main__":
    main()
