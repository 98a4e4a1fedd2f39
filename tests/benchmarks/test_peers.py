"""The other systems, where they are installed: small exchanges that must come out right."""

from __future__ import annotations

import importlib.util
import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.lo_count import udp_payload
from benchmarks.peer_nostr import Cache, measure
from benchmarks.workload import Layout, Workload
from setsync.bench.link import Link

needs_nostr = pytest.mark.skipif(
    importlib.util.find_spec("nostr_sdk") is None, reason="nostr-sdk is not installed"
)
needs_iroh = pytest.mark.skipif(
    importlib.util.find_spec("iroh") is None or shutil.which("unshare") is None,
    reason="iroh or unshare is not installed",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("databases"))


@needs_nostr
@pytest.mark.parametrize("layout", list(Layout))
def test_negentropy_finds_the_difference_and_moves_nothing_in_a_dry_run(
    cache: Cache, layout: Layout
) -> None:
    found = measure(Workload.even(500, 6, layout), cache, dry_run=True)
    assert found.reconcile_bytes is not None
    assert found.bytes_per_difference == found.reconcile_bytes / 6
    assert found.entry_bytes == 0
    assert found.round_trips


@needs_nostr
@pytest.mark.parametrize("sides", [(5, 3), (0, 4), (4, 0), (0, 0)])
def test_a_whole_exchange_makes_both_equal(cache: Cache, sides: tuple[int, int]) -> None:
    found = measure(Workload(300, *sides), cache, link=Link(rtt=0.001))
    assert found.total_bytes is not None
    assert found.entry_bytes is not None
    assert found.reconcile_bytes is not None
    assert found.entry_bytes >= 300 * found.d
    # What is neither is the HTTP upgrade.
    assert 0 < found.total_bytes - found.entry_bytes - found.reconcile_bytes < 1_000


@needs_nostr
def test_an_empty_side_gets_everything(cache: Cache) -> None:
    assert measure(Workload(0, 0, 40), cache).d == 40


@needs_iroh
def test_iroh_documents_become_equal_in_a_network_of_their_own(tmp_path: Path) -> None:
    out = tmp_path / "iroh.json"
    arguments = ["--n", "200", "--d", "6", "--cache", str(tmp_path / "cache"), "--json", str(out)]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.peer_iroh", *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    if "unshare" in run.stderr:
        pytest.skip("no right to make a network namespace here")
    assert run.returncode == 0, run.stderr
    (row,) = json.loads(out.read_text())["results"]
    assert row["bytes_up"] > 0 < row["bytes_down"]


def test_the_payload_of_a_udp_packet_is_its_length_without_headers() -> None:
    address = bytes([127, 0, 0, 1])
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 1028, 0, 0, 64, 17, 0) + address + address
    packet = ip + struct.pack("!HHHH", 4000, 5000, 1008, 0)
    assert udp_payload(packet + bytes(36), 1028) == (4000, 1000)
    assert udp_payload(packet[:20], 1028) is None
    assert udp_payload(packet.replace(b"\x40\x11", b"\x40\x06"), 1028) is None
