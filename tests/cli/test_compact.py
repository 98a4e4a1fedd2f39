"""`setsync compact`: less room, the same node, and never beside another process."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from setsync.errors import StoreBusyError, StoreInUseError
from setsync.store import compact as compacting
from setsync.store.environment import DATA_FILE
from setsync.store.lmdb_store import Store
from setsync.store.presence import DRAFT
from tests.cli.running import Shell
from tests.helpers import entries
from tests.node.processes import Process, Serving, run
from tests.store.processes import run_python, start_python


@pytest.fixture
def grown(node: Shell) -> Shell:
    """A node whose file has free pages."""
    some = entries(900)
    with Store.open(node.data / "store") as store:
        for at in range(0, len(some), 30):
            store.add_many(some[at : at + 30])
    return node


def file_size(node: Shell) -> int:
    return (node.data / "store" / DATA_FILE).stat().st_size


def test_the_file_is_smaller_and_the_node_is_the_same(grown: Shell) -> None:
    then = grown.ok("status", "--json").json("status")
    found = grown.ok("compact", "--json").json("compact")
    assert found == {
        "dry_run": False,
        "before": then["bytes_on_disk"],
        "after": file_size(grown),
        "freed": then["bytes_on_disk"] - file_size(grown),
    }
    assert found["freed"] > 0
    now = grown.ok("status", "--json").json("status")
    for field in ("node_id", "author", "collections", "entries", "last_arrival"):
        assert now[field] == then[field]
    assert now["map"]["size"] == then["map"]["size"]
    assert grown.ok("check").code == 0
    grown.put("notes", b"and on it goes")


def test_a_dry_run_tells_beside_others_and_changes_nothing(grown: Shell) -> None:
    before = file_size(grown)
    with Serving(grown.data) as serving:
        outcome = run("compact", "--dry-run", "--json", "--data", grown.data)
        assert outcome.code == 0, outcome.stderr
        assert serving.stop().code == 0
    assert outcome.json["before"] == before
    assert 0 < outcome.json["freed"] < before
    assert file_size(grown) == before
    assert f"{before:,} bytes" in grown.ok("compact", "--dry-run").text


def test_it_says_in_words_what_it_has_done(grown: Shell) -> None:
    before = file_size(grown)
    told = grown.ok("compact").text
    assert f"had {before:,} bytes and has {file_size(grown):,} now" in told


def test_it_shows_how_far_it_is(grown: Shell) -> None:
    steps = [
        json.loads(line)
        for line in grown.ok("compact", "--progress", "json").complaint.splitlines()
    ]
    assert {(step["phase"], step["unit"]) for step in steps} == {
        ("exporting", "rows"),
        ("checking", "rows"),
    }
    assert steps[-1]["done"] == steps[-1]["total"]


def test_beside_serve_it_is_refused_with_the_number_of_the_process(grown: Shell) -> None:
    before = file_size(grown)
    with Serving(grown.data) as serving:
        outcome = grown.run("compact", "--json")
        assert outcome.code == StoreInUseError.exit_code == 5
        error = outcome.json("error")["error"]
        assert error["code"] == "in_use"
        assert f"process {serving._process.pid}." in error["message"]
        assert "End those processes first" in outcome.complaint
        assert file_size(grown) == before
        assert serving.stop().code == 0
    assert grown.ok("compact", "--json").json("compact")["freed"] > 0


def test_serve_waits_for_it_and_then_serves_the_new_file(
    grown: Shell, other: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is started while the new file is being verified, and cannot listen before the end."""
    started: list[Process] = []
    verify = compacting._verify_pages

    def slowly(draft: Path) -> None:
        words = ("serve", "--data", grown.data, "--listen", "127.0.0.1:0", "--plain")
        started.append(Process(*words))
        verify(draft)

    monkeypatch.setattr(compacting, "_verify_pages", slowly)
    after = grown.ok("compact", "--json").json("compact")["after"]
    with started[0] as serving:
        address = str(serving.wait_for_event("listening")["address"])
        other.ok("sync", address, "--plain")
        [id_] = grown.put("notes", b"written to the new file")
        assert other.digests() != grown.digests()
        other.ok("sync", address, "--plain")
        assert other.digests() == grown.digests()
        serving.kill(signal.SIGTERM)
        assert serving.end().code == 0
    assert other.ok("get", id_).raw == b"written to the new file"
    assert grown.ok("get", id_).raw == b"written to the new file"
    assert file_size(grown) >= after
    assert grown.ok("check").code == 0


def test_who_comes_while_it_is_stopped_is_told_by_whom(grown: Shell) -> None:
    """Compacting is stopped at its end, and never goes on."""
    stops = """
import os, signal, sys
from setsync.cli.main import main
from setsync.store import compact
compact.sync_to_disk = lambda path: os.kill(os.getpid(), signal.SIGSTOP)
main(["compact", "--data", sys.argv[1], "--progress", "none"])
"""
    short = """
import sys
from setsync import limits
from setsync.cli.main import main
limits.WRITE_LOCK_SECONDS = 0.2
print(main(["status", "--json", "--data", sys.argv[1]]))
"""
    with start_python(stops, grown.data) as process:
        try:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            told, code = run_python(short, grown.data).splitlines()
        finally:
            process.kill()
    assert int(code) == StoreBusyError.exit_code
    message = json.loads(told)["error"]["message"]
    assert f"process {process.pid} holds it and is stopped" in message
    assert grown.ok("check").code == 0


def test_a_kill_in_the_middle_loses_nothing_and_the_next_command_tidies_up(grown: Shell) -> None:
    before, digests = file_size(grown), grown.digests()
    with Process("compact", "--progress", "json", "--data", grown.data) as process:
        process.wait_for('"exporting"')
        process.kill()
        assert process.end().code in (0, -signal.SIGKILL)
    assert grown.digests() == digests
    assert file_size(grown) <= before
    assert not (grown.data / "store" / DRAFT).exists()
    assert grown.ok("check").code == 0
    grown.ok("compact")


def test_it_ends_by_ctrl_c_and_leaves_the_old_file(
    grown: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file_size(grown)

    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(compacting, "verify_file", interrupt)
    assert grown.run("compact").code == 130
    assert file_size(grown) == before
    assert grown.ok("check").code == 0


def test_what_is_no_data_directory_is_refused(node: Shell, tmp_path: Path) -> None:
    assert node.run("compact", "--data", str(tmp_path / "nowhere")).code == 5
