"""`kill -9` of either process at any byte of a sync, and of an import at any byte of its file.

Afterwards the store opens, everything in it is as it should be, nothing that was there before
or was acknowledged is lost, and the next sync completes. The seed is printed; moments are
counted in bytes that passed, so that they are reached on slow machines and fast ones.
"""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest
import trio
import trio.testing

from setsync.model.entry import entry_id
from setsync.node.node import respond, sync
from setsync.store.exchange import write_export
from setsync.store.lmdb_store import Store
from tests.helpers import entries
from tests.node.processes import (
    Line,
    Process,
    Serving,
    acknowledged,
    check_clean,
    contents,
    fill,
    make_node,
    roots,
)

_EACH = 150
# What a session over so many entries on both sides takes on the line, and a little more.
_BYTES = 2 * _EACH * 260 + 2_000


def sync_directories(one: Path, two: Path) -> None:
    """A session between two directories in this process, which must make them equal."""

    async def main() -> None:
        here, there = trio.testing.memory_stream_pair()
        with Store.open(one / "store") as mine, Store.open(two / "store") as theirs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(respond, theirs, there)
                report = await sync(mine, here)
        assert report.in_sync

    trio.run(main)
    assert roots(one) == roots(two)


def kill_during_a_sync(here: Path, there: Path, at: int, *, kill_server: bool) -> None:
    """`here` syncs with `there`; one of them dies after `at` bytes on the line."""
    before = contents(here), contents(there)
    with Serving(there) as server, Line(server.port, at) as line:
        with Process("sync", line.address, "--plain", "--data", here) as client:
            victim = server if kill_server else client
            line.action = victim.kill
            if line._is_due():
                line.act()
            ended = client.end()
        line.act()
        if kill_server:
            assert server.end().code < 0
            assert ended.code in (0, 4), ended.stderr
        else:
            assert ended.code in (0, -9), ended.stderr
            assert server.stop().code == 0
    for data, old in zip((here, there), before, strict=True):
        check_clean(data)
        assert old <= contents(data), "what was there before is lost"
    for data, sent, heard in ((there, line.up, line.down), (here, line.down, line.up)):
        promised = {entry_id(header) for header in acknowledged(bytes(sent), bytes(heard))}
        assert promised <= {id_ for _, id_ in contents(data)}, "what was acknowledged is lost"
    sync_directories(here, there)


def kill_during_an_import(data: Path, export: bytes, at: int) -> None:
    """The importing process dies when it has been given `at` bytes of the file."""
    before = contents(data)
    with Process("import", "-", "--data", data, "--progress", "json", stdin=True) as process:
        try:
            process.stdin.write(export[:at])
            process.stdin.flush()
        finally:
            process.kill()
        said = process.end().stderr
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    durable = max((line["done"] for line in lines if line["phase"] == "importing"), default=0)
    check_clean(data)
    found = contents(data)
    assert before <= found, "what was there before is lost"
    assert durable <= len(found), "what was said to be durable is lost"


def _run_kills(tmp_path: Path, syncs: int, imports: int, seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    here = there = tmp_path
    for turn in range(syncs):
        if turn % 8 == 0:  # fresh directories now and then, or checking them takes most time
            print(f"{turn} syncs were cut short by now", flush=True)
            here, there = (make_node(tmp_path / f"{turn}{side}", seed=1) for side in "ab")
        fill(here, entries(_EACH, "notes", seed=2 * turn), entries(3, "system/keys", seed=turn))
        fill(there, entries(_EACH, "notes", seed=2 * turn + 1))
        at = rng.randrange(1, _BYTES)
        kill_during_a_sync(here, there, at, kill_server=bool(rng.getrandbits(1)))
    source = io.BytesIO()
    with Store.open(tmp_path / "source") as store:
        for part in range(3):
            store.add_many(entries(1_500, f"part{part}", seed=99))
        write_export(source, store)
    data = make_node(tmp_path / "importer", seed=2)
    for _ in range(imports):
        kill_during_an_import(data, source.getvalue(), rng.randrange(len(source.getvalue())))
    with Process("import", "-", "--data", data, stdin=True) as process:
        process.stdin.write(source.getvalue())
        assert process.end().code == 0
    assert len(contents(data)) == 4_500
    print(f"{syncs} syncs and {imports} imports were cut short, and nothing was lost")


def test_thirty_kills_lose_nothing(tmp_path: Path) -> None:
    _run_kills(tmp_path, syncs=22, imports=8, seed=20_261_122)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_five_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    _run_kills(tmp_path, syncs=370, imports=130, seed=random.SystemRandom().getrandbits(32))
