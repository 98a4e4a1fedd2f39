"""`doctor` finds each planted fault, says what to do about it, and changes nothing."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from bamboo_compat.homes.joining import join
from setsync import limits
from setsync.model.entry import UnverifiedEntry, verify
from setsync.node import doctor, room
from tests.bamboo.homes import scenes
from tests.cli.running import Shell
from tests.node.processes import Process, Serving, make_node, run

CHECKS = {
    "settings",
    "permissions",
    "place",
    "clock",
    "disk",
    "processes",
    "files",
    "port",
    "map",
    "peers",
    "homes",
}


@pytest.fixture(autouse=True)
def _port_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else runs on this machine may listen on the usual one."""
    monkeypatch.setenv("SETSYNC_LISTEN", "127.0.0.1:0")


def findings(node: Shell, *words: str, code: int = 1) -> dict[str, dict[str, Any]]:
    """The findings by name, each with something to do."""
    outcome = node.run("doctor", "--json", *words)
    assert outcome.code == code, outcome.text + outcome.complaint
    told = outcome.json("doctor")
    found = [check for check in told["checks"] if check["state"] == "finding"]
    assert told["findings"] == len(found)
    assert all(check["advice"] for check in found)
    assert all(not check["advice"] for check in told["checks"] if check not in found)
    return {check["name"]: check for check in found}


def only(node: Shell, name: str, *words: str) -> str:
    """What the one finding says, which is of this name."""
    found = findings(node, *words)
    assert found.keys() == {name}
    return str(found[name]["what"])


def _pid(process: Process) -> int:
    return process._process.pid


def test_a_node_that_is_well_has_no_findings_and_every_check_says_so(node: Shell) -> None:
    outcome = node.ok("doctor", "--json")
    told = outcome.json("doctor")
    assert {check["name"] for check in told["checks"]} == CHECKS
    assert {check["state"] for check in told["checks"]} == {"fine"}
    lines = node.ok("doctor").lines
    assert all(line.startswith("ok ") for line in lines)


def test_the_page_lists_every_check() -> None:
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text(encoding="utf-8")
    part = page[page.index("## When something does not work") :]
    part = part[: part.index("\n## ", 1)]
    shown = {line.split("`")[1] for line in part.splitlines() if line.startswith("| `")}
    assert shown == CHECKS


def test_a_directory_that_is_none_is_a_failure_and_no_finding(tmp_path: Path) -> None:
    assert Shell(tmp_path / "nowhere").run("doctor", "--json").code == 5


def test_nothing_is_changed_by_it(node: Shell) -> None:
    def files() -> dict[str, bytes]:
        found = (path for path in node.data.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in found if "lock" not in path.name}

    node.ok("doctor")  # the store's gate remembers who came last
    before = {name: kept for name, kept in files().items() if not name.endswith("gate")}
    node.ok("doctor")
    after = {name: kept for name, kept in files().items() if not name.endswith("gate")}
    assert after == before


# --- how many files -----------------------------------------------------------------------


def test_more_connections_than_the_process_that_serves_may_open_files(node: Shell) -> None:
    (node.data / "setsync.toml").write_text("max-connections = 1_000")
    with Serving(node.data) as server:
        resource.prlimit(_pid(server), resource.RLIMIT_NOFILE, (1_000, 1_000))
        said = only(node, "files", "--offline")
    assert "1,484 open files, and may have 1,000" in said


# --- files --------------------------------------------------------------------------------


def test_a_fault_in_the_settings(node: Shell) -> None:
    (node.data / "setsync.toml").write_text("listn = 'x'")
    assert "'listen' may be meant" in only(node, "settings")


def test_a_variable_that_means_nothing(node: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SETSYNC_INTEREST", "notes")
    monkeypatch.setenv("SETSYNC_QQQ", "of somebody else")
    said = only(node, "settings")
    assert "SETSYNC_INTEREST is set and means nothing; 'interests' may be meant" in said


@pytest.mark.parametrize("name", ["node.key", "author.key", "store/data.mdb", "peers.json"])
def test_a_secret_that_others_can_read(node: Shell, name: str) -> None:
    node.ok("peers", "add", "ab" * 32)
    (node.data / name).chmod(0o644)
    assert name in only(node, "permissions")


def test_a_directory_into_which_others_can_write(node: Shell) -> None:
    node.data.chmod(0o777)
    assert "Others can write" in only(node, "permissions")


def test_a_key_that_is_gone(node: Shell) -> None:
    (node.data / "node.key").unlink()
    assert "node.key" in only(node, "permissions")


def test_a_copied_directory(node: Shell, tmp_path: Path) -> None:
    shutil.copytree(node.data, tmp_path / "copy")
    assert "copied" in only(Shell(tmp_path / "copy"), "place")
    node.ok("doctor")


def test_a_restored_backup(node: Shell, tmp_path: Path) -> None:
    node.ok("backup", str(tmp_path / "copy"))
    assert "restored from a backup" in only(Shell(tmp_path / "copy"), "place")


def test_a_clock_that_was_set_back(node: Shell) -> None:
    path = node.data / "setsync.json"
    when = path.stat().st_mtime + limits.CLOCK_TOLERANCE_SECONDS + 60
    os.utime(path, (when, when))
    assert "setsync.json was written" in only(node, "clock")


def test_a_clock_behind_a_peers_last_session(node: Shell) -> None:
    key, later = "ab" * 32, 4_000_000_000_000
    state = {
        "address": "anna:1",
        "phase": "live",
        "since": 1,
        "last_ok": later,
        "last_error": "",
        "sessions": 1,
        "entries_sent": 0,
        "entries_received": 0,
        "bytes_sent": 0,
        "bytes_received": 0,
        "told": 0,
        "lag": None,
    }
    content = {"setsync_peer_states": 1, "peers": {key: state}}
    (node.data / "peers-state.json").write_text(json.dumps(content))
    assert "the last good session with anna:1 was" in only(node, "clock")


# --- the disk and who is at it ------------------------------------------------------------


def test_a_disk_without_room(node: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "REMOTE_RESERVE", 2**62)
    monkeypatch.setattr(room, "DISK_SHARE", 1.0)
    assert "Nothing from other nodes is taken" in only(node, "disk")


def test_a_map_that_is_nearly_full(node: Shell) -> None:
    node.put("notes", *[bytes([n]) * 1_000 for n in range(1, 100) if n != 10])
    used = node.ok("status", "--json").json("status")["map"]["used"]
    (node.data / "setsync.toml").write_text(f"map-size = {used + 8192}\n")
    said = findings(node)["map"]
    assert "is used" in said["what"]
    assert "Set map-size to" in said["advice"]


def test_a_store_that_was_not_left_in_order(node: Shell) -> None:
    with Serving(node.data) as server:
        server.kill(signal.SIGKILL)
        server.end()
    said = only(node, "processes")
    assert "did not leave in order" in said
    assert only(node, "processes") == said  # looking does not verify, and heals nothing
    node.ok("status")
    node.ok("doctor")


def test_a_stopped_process_that_has_the_store_open(node: Shell) -> None:
    with Serving(node.data) as server:
        server.kill(signal.SIGSTOP)
        os.waitid(os.P_PID, _pid(server), os.WSTOPPED | os.WNOWAIT)
        said = only(node, "processes", "--offline")
        assert f"Process {_pid(server)} has the store open and is stopped" in said
        server.kill(signal.SIGCONT)


def test_a_running_node_is_no_finding_and_is_named(node: Shell) -> None:
    with Serving(node.data) as server:
        told = node.ok("doctor", "--json").json("doctor")["checks"]
        said = {check["name"]: check["what"] for check in told}
        assert said["port"] == f"Process {_pid(server)} serves this directory."
        assert str(_pid(server)) in said["processes"]


def test_a_store_that_is_damaged(node: Shell) -> None:
    (node.data / "store" / "data.mdb").write_bytes(b"")
    assert "is empty" in findings(node, "--offline")["store"]["what"]


# --- the network --------------------------------------------------------------------------


def test_a_port_that_is_taken_and_by_whom(node: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("SETSYNC_LISTEN", f"127.0.0.1:{port}")
        said = only(node, "port")
        assert f"127.0.0.1:{port} cannot be listened on" in said
        if Path("/proc/net/tcp").exists():
            assert list(doctor.listening_processes(port)) == [os.getpid()]
            assert f"Process {os.getpid()} listens there." in said


@pytest.mark.parametrize("address", ["192.0.2.1:7717", "ü_b:7717"])
def test_an_address_that_is_not_this_machines(
    node: Shell, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Also one by a name that nobody can have."""
    monkeypatch.setenv("SETSYNC_LISTEN", address)
    assert f"{address} cannot be listened on" in only(node, "port")


def test_a_peer_that_cannot_be_reached_and_nobody_is_dialled_offline(node: Shell) -> None:
    node.ok("peers", "add", f"setsync://{'ab' * 32}@127.0.0.1:1", "--name", "anna")
    assert "Nobody answers at 127.0.0.1:1" in only(node, "peers")
    node.ok("doctor", "--offline")
    node.ok("peers", "block", "ab" * 32)
    node.ok("doctor")


def test_a_peer_of_the_settings_of_whom_nothing_is_known(node: Shell) -> None:
    (node.data / "setsync.toml").write_text('peers = ["anna"]\n')
    assert "anna" in only(node, "peers")


class Secure(Process):
    """A `serve` over the secure channel."""

    def __init__(self, data: Path) -> None:
        super().__init__("serve", "--data", data, "--listen", "127.0.0.1:0")
        self.address = str(self.wait_for_event("listening")["address"])


def test_a_peer_that_does_not_list_us_says_what_to_type(node: Shell, tmp_path: Path) -> None:
    me = node.ok("status", "--json").json("status")["node_id"]
    there = make_node(tmp_path / "there", seed=2)
    with Secure(there) as server:
        node.ok("peers", "add", server.address)
        assert f"setsync peers add {me}" in only(node, "peers")
        assert run("peers", "add", me, "--data", there).code == 0
        node.ok("doctor")


def test_a_peer_that_says_nothing_is_given_up(node: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DOCTOR_DIAL_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        node.ok("peers", "add", f"setsync://{'ab' * 32}@127.0.0.1:{port}")
        assert f"127.0.0.1:{port} did not answer" in only(node, "peers")


def test_more_peers_than_are_dialled_are_counted(
    node: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_DOCTOR_DIALS", 1)
    for n in (1, 2, 3):
        node.ok("peers", "add", f"setsync://{n:064x}@127.0.0.1:{n}")
    told = node.run("doctor", "--json").json("doctor")["checks"]
    states = [(check["state"], check["what"]) for check in told if check["name"] == "peers"]
    assert states[1] == ("unknown", "2 more were not asked.")
    assert len(states) == 2


# --- guests -------------------------------------------------------------------------------


def test_an_author_with_two_homes(tmp_path: Path) -> None:
    """They come about where an author joins from two directories that do not know each other."""
    with (
        scenes.opened(tmp_path / "a", 200) as a,
        scenes.opened(tmp_path / "b", 210) as b,
        scenes.author(tmp_path / "me") as me,
        scenes.author(tmp_path / "again") as again,
    ):
        for person, server in ((me, a), (again, b)):
            server.invite()
            join(person, scenes.Road(server), scenes.CODE)
        found = [*me.store, *again.store, *a.store, *b.store]
        me.store.add_many(
            [verify(UnverifiedEntry(one.collection, one.header, one.payload)) for one in found]
        )
        author = me.author
    said = only(Shell(tmp_path / "me"), "homes")
    assert f"Author {author.hex()} has 2 homes" in said


def test_a_guest_that_fails_is_told_of_and_hides_nothing(
    node: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.metadata

    real = importlib.metadata.entry_points

    def found(*, group: str) -> Any:
        if group != doctor.ENTRY_POINT_GROUP:
            return real(group=group)
        return [EntryPoint("broken", "nowhere:X", group), *real(group=group)]

    monkeypatch.setattr(importlib.metadata, "entry_points", found)
    told = node.ok("doctor", "--json").json("doctor")["checks"]
    states = {check["name"]: check["state"] for check in told}
    assert (states["broken"], states["homes"]) == ("unknown", "fine")
