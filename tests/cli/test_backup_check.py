"""A backup is a node of its own; a check says what became of either."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

from setsync.store import layout
from setsync.store.environment import Transaction
from setsync.store.lmdb_store import Store
from tests.cli.running import Shell
from tests.helpers import entries


def test_a_backup_is_the_same_node(node: Shell, tmp_path: Path) -> None:
    node.put("notes", *(b"%d" % number for number in range(100)))
    made = node.ok("backup", str(tmp_path / "copy"), "--json").json("backup")
    assert made["directory"] == str(tmp_path / "copy")
    copy = Shell(tmp_path / "copy")
    then, now = (shell.ok("status", "--json").json("status") for shell in (node, copy))
    for field in ("node_id", "author", "collections", "entries", "last_arrival"):
        assert now[field] == then[field]
    assert copy.run("check").code == 0
    assert stat.S_IMODE(copy.data.stat().st_mode) == 0o700
    for path in (*copy.data.glob("*.key"), copy.data / "store" / "data.mdb"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_backup_of_a_node_in_use_shows_one_moment(node: Shell, tmp_path: Path) -> None:
    """Batches of ten go on arriving while another process copies: all of one or nothing."""
    some = entries(2000)
    with Store.open(node.data / "store") as running:
        running.add_many(some[:1000])
        with subprocess.Popen(
            [sys.executable, "-m", "setsync", "backup", str(tmp_path / "copy")],
            env=os.environ | {"SETSYNC_DATA": str(node.data)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as child:
            at = 1000
            while child.poll() is None:
                running.add_many(some[at : at + 10])
                at = min(at + 10, 2000)
        assert child.returncode == 0
    copy = Shell(tmp_path / "copy")
    copied = copy.ok("status", "--json").json("status")["entries"]
    assert 1000 <= copied <= at
    assert copied % 10 == 0
    assert copy.run("check").code == 0


def test_a_copy_goes_on_by_itself(node: Shell, tmp_path: Path) -> None:
    node.put("notes", b"a")
    node.ok("backup", str(tmp_path / "copy"))
    copy = Shell(tmp_path / "copy")
    copy.put("notes", b"b")
    assert copy.digests() != node.digests()
    node.put("notes", b"b")
    assert copy.digests() == node.digests()


def test_a_backup_goes_over_nothing(node: Shell, tmp_path: Path) -> None:
    target = tmp_path / "full"
    target.mkdir()
    (target / "letter.txt").write_text("mine")
    outcome = node.run("backup", str(target), "--json")
    assert outcome.code == 5
    assert outcome.json("error")["error"]["code"] == "data_directory"
    assert [path.name for path in target.iterdir()] == ["letter.txt"]


def test_a_backup_that_was_cut_off_is_no_data_directory(node: Shell, tmp_path: Path) -> None:
    node.ok("backup", str(tmp_path / "copy"))
    (tmp_path / "copy" / "setsync.json").unlink()
    assert Shell(tmp_path / "copy").run("status").code == 5


def damage(node: Shell) -> None:
    """Change the last byte of the first entry's payload."""

    def work(transaction: Transaction) -> None:
        log = store.environment.table(layout.LOG)
        value = transaction.get(layout.arrival_key(1), db=log)
        assert value is not None
        transaction.put(layout.arrival_key(1), value[:-1] + b"\0", db=log)

    with Store.open(node.data / "store") as store:
        store.environment.write(work)


def test_a_clean_check_is_0_and_damage_is_6(node: Shell) -> None:
    node.put("notes", b"a", b"b", b"c")
    clean = node.ok("check", "--json").json("check")
    assert (clean["clean"], clean["entries"], clean["damage"]) == (True, 3, 0)
    assert "all is well" in node.ok("check").text
    damage(node)
    outcome = node.run("check", "--json")
    assert outcome.code == 6
    found = outcome.json("check")
    assert (found["clean"], found["damage"]) == (False, 1)
    assert found["findings"][0]["kind"] == "entry"
    words = node.run("check")
    assert words.code == 6
    assert "arrival number 1" in words.text
    assert "backup" in words.complaint


def test_a_sample_checks_so_many_signatures(node: Shell) -> None:
    node.put("notes", *(b"%d" % number for number in range(30)))
    for asked, checked in ((0, 0), (7, 7), (100, 30)):
        words = ("check", "--sample", str(asked), "--json")
        assert node.ok(*words).json("check")["signatures"] == checked


def test_a_torn_file_is_6_before_it_is_used(node: Shell) -> None:
    """Whoever died left a file that says so; then the pages are verified first."""
    node.put("notes", *(b"%d" % number for number in range(500)))
    store = node.data / "store"
    (store / "open" / "1-dead").touch()
    content = bytearray((store / "data.mdb").read_bytes())
    content[3 * 4096 : 8 * 4096] = bytes(5 * 4096)
    (store / "data.mdb").write_bytes(content)
    outcome = node.run("check", "--json")
    assert outcome.code == 6
    assert outcome.json("error")["error"]["code"] == "damaged"
