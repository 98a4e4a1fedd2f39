"""The benchmark of many entries at once: what it runs, counts and tells; never how fast it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import bulk, profile
from benchmarks.bulk import BulkError, Run, command, new_node, signed
from setsync.model.entry import UnverifiedEntry, verify
from setsync.store.exchange import read_export
from setsync.store.lmdb_store import Store

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_entries_are_valid_have_300_bytes_and_are_the_same_every_time() -> None:
    for header, payload, id_ in signed(98, 103):
        entry = verify(UnverifiedEntry(bulk.COLLECTION, header, payload))
        assert (entry.id, entry.size) == (id_, 300)
    assert signed(98, 103) == signed(90, 110)[8:13]


@linux
def test_both_commands_are_measured_on_all_entries(tmp_path: Path) -> None:
    imported, synced = bulk.measure(tmp_path, 300)
    assert [imported.what, synced.what] == ["import", "first sync"]
    assert (len(imported.cpu), len(synced.cpu)) == (1, 2)
    for run in (imported, synced):
        assert run.entries == 300
        assert min(run.wall, run.bare, *run.cpu, *run.anonymous) > 0
        assert run.ratio == pytest.approx(run.entries / run.wall / run.bare)
    with (tmp_path / "all.setsync").open("rb") as file:
        ids = {verify(entry).id for entry in read_export(file)}
    for name in ("full", "empty"):
        with Store.open(tmp_path / name / "store", create=False) as store:
            assert {entry.id for entry in store} == ids


@linux
def test_a_command_that_fails_is_told_with_its_words(tmp_path: Path) -> None:
    data = new_node(tmp_path / "node")
    with (
        command("import", tmp_path / "nothing", "--data", data) as running,
        pytest.raises(BulkError, match="nothing"),
    ):
        running.finish()


def test_the_table_says_what_is_to_be_reached(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run("import", 1_000_000, 40.0, 36_000.0, (72.0,), (160_000_000,), 131.0)
    bulk.show([run], Console(width=140))
    said = capsys.readouterr().out
    assert all(word in said for word in ("25,000", "0.69", ">= 0.7", "72.0", "160", "131"))


def test_the_figures_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run("import", 10, 1.0, 20.0, (0.5,), (1,), 2.0)
    monkeypatch.setattr(bulk, "measure", lambda folder, entries: [run])
    target = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", ["bulk", "--json", str(target), "--dir", str(tmp_path)])
    bulk.main()
    (kept,) = json.loads(target.read_text(encoding="utf-8"))["runs"]
    assert (kept["rate"], kept["ratio"]) == (10.0, 0.5)
    assert list(tmp_path.iterdir()) == [target]


def test_a_sample_counts_for_the_innermost_line_of_python() -> None:
    stacks = [
        "process 1:python;run (trio/_core/_run.py:9);verify (nacl/signing.py:1);sodium (lib.so) 3",
        "process 1:python;run (setsync/store/lmdb_store.py:7);_grow (setsync/store/trie.py:2) 2",
        "process 1:python;main (elsewhere.py:1) 1",
    ]
    assert profile.share(stacks) == {
        "signatures (libsodium)": 3,
        "trie and its hashes": 2,
        profile.REST: 1,
    }
