"""Many peers at one node: that all of it is measured. Never the time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import many
from benchmarks.many import Crowded, Plan, made
from setsync.model.entry import UnverifiedEntry, verify

SMALL = Plan(idle=3, sessions=4, common=60, each=5, bulk=1_000)


def test_what_peers_bring_is_signed_has_300_bytes_and_is_the_same_in_every_run() -> None:
    entries = made(7, "from/7", 0, 3)
    claims = [UnverifiedEntry(one.collection, one.header, one.payload) for one in entries]
    assert {claim.size for claim in claims} == {many.ENTRY_BYTES}
    ids = [verify(claim).id for claim in claims]
    assert ids == [one.id for one in made(7, "from/7", 0, 3)]
    assert set(ids).isdisjoint(one.id for one in made(8, "from/7", 0, 3))


def test_fairness_is_the_slowest_to_the_median() -> None:
    one = Crowded("apart", (1.0, 2.0, 2.0, 5.0), tries=6, memory=2**20)
    assert (one.median, one.slowest, one.fairness) == (2.0, 5.0, 2.5)
    assert "2 turned away" in many.show_crowded(one)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_idle_peers_and_peers_at_work_alone_and_beside_bulk_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "QUICK", SMALL)
    monkeypatch.setattr(many, "SETTLE_SECONDS", 0.0)
    out = tmp_path / "out.json"
    assert many.main(["--quick", "--json", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["plan"]["sessions"] == SMALL.sessions
    assert found["idle"]["connections"] == SMALL.idle
    assert found["idle"]["together"] > 0
    assert [one["name"] for one in found["alone"]] == ["push", "pull"]
    assert [one["name"] for one in found["crowded"]] == ["apart", "together", "push", "pull"]
    for one in found["crowded"]:
        assert len(one["seconds"]) == SMALL.sessions
        assert one["tries"] >= SMALL.sessions
        assert one["memory"] > 0
        assert one["fairness"] >= 1
    text = capsys.readouterr().out
    for words in ("idle live connections", "bulk push alone", "beside a bulk pull"):
        assert words in text
