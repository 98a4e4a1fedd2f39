"""`setsync gc`: what it drops is gone here and stays away, and everything else is as it was."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from setsync.model.entry import Entry, make_entry
from setsync.model.keys import read_key_file
from setsync.node.local import now
from setsync.store.check import check
from setsync.store.contract import Origin
from setsync.store.lmdb_store import Store
from tests.bamboo.histories import member
from tests.bamboo.logs import Author
from tests.cli.running import Shell
from tests.helpers import MIDNIGHT, keys, some_bytes
from tests.node.processes import Process, Serving, run
from tests.store.processes import start_python

DAY = 86_400_000
ANNA = some_bytes("peer", "anna")


def made(count: int, collection: str = "notes", size: int = 100) -> list[Entry]:
    (author,) = keys(1, seed=8)
    return [
        make_entry(author, collection, some_bytes(collection, at, length=size), MIDNIGHT)
        for at in range(count)
    ]


def bring(node: Shell, some: list[Entry], *, days_ago: int = 0, peer: bytes = ANNA) -> None:
    with Store.open(node.data / "store") as store:
        store.add_many(some, [(0, Origin(now() - days_ago * DAY, peer))])


def here(node: Shell) -> set[bytes]:
    with Store.open(node.data / "store") as store:
        return {one.id for one in store if one.payload is not None}


def collected(node: Shell, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = node.ok("gc", *words, "--json").json("gc")
    return found


def test_old_payloads_go_and_ids_stay(node: Shell) -> None:
    old, new = made(3), made(2, "others")
    bring(node, old, days_ago=100)
    bring(node, new, days_ago=80)
    digests = node.digests()
    found = collected(node, "--older-than", "90d")
    assert found == {
        "dry_run": False,
        "dropped": {"entries": 3, "bytes": 300},
        "collections": [{"collection": "notes", "entries": 3, "bytes": 300}],
        "kept": {why: {"entries": 0, "bytes": 0} for why in ("own", "needed", "unknown_format")},
        "left": {"entries": 2, "bytes": 200},
    }
    assert here(node) == {one.id for one in new}
    assert node.digests() == digests
    told = node.ok("get", old[0].id.hex(), "--header", "--json").json("get")
    assert (told["payload_here"], told["payload_dropped"]) == (False, True)
    assert node.ok("check").code == 0


def test_a_dry_run_says_the_same_and_changes_nothing(node: Shell) -> None:
    bring(node, [*made(5), *made(4, "pictures/a", 2_000), *made(3, "pictures/b", 3_000)])
    before = here(node)
    words = ("--larger-than", "1k", "--collection", "pictures/**")
    told = collected(node, *words, "--dry-run")
    assert here(node) == before
    assert node.ok("gc", *words, "--dry-run").lines == [
        "pictures/b  3  9.0 kB",
        "pictures/a  4  8.0 kB",
        "Would drop: 7 payloads, 17.0 kB. Would be left: 0 payloads, 0 B.",
    ]
    assert collected(node, *words) == told | {"dry_run": False}
    assert len(here(node)) == 5


def test_a_budget_drops_the_oldest_until_the_rest_fits(node: Shell) -> None:
    some = made(10, size=1_024)
    bring(node, some)
    assert collected(node, "--keep-bytes", "4KiB")["left"] == {"entries": 4, "bytes": 4_096}
    assert here(node) == {one.id for one in some[6:]}


def test_what_may_be_nowhere_else_stays_unless_that_is_asked_for(node: Shell) -> None:
    """What was put here, what this author signed wherever it comes from, and what was imported."""
    node.put("notes", b"mine")
    (author,) = [read_key_file(node.data / "author.key")]
    bring(node, [make_entry(author, "notes", b"mine, too", 1)])
    bring(node, made(1), peer=b"")
    before = here(node)
    found = collected(node, "--larger-than", "0")
    assert (found["dropped"]["entries"], found["kept"]["own"]["entries"]) == (0, 3)
    assert "--own" in node.ok("gc", "--larger-than", "0").text
    assert here(node) == before
    assert collected(node, "--larger-than", "0", "--own")["dropped"]["entries"] == 3
    assert here(node) == set()


def test_where_a_budget_cannot_be_kept_that_is_said(node: Shell) -> None:
    node.put("notes", b"mine")
    assert "more than 2 B, and nothing else may go" in node.ok("gc", "--keep-bytes", "2").text


def test_evidence_of_a_fork_stays_and_is_counted(node: Shell) -> None:
    first, other = Author(log_id=1024), Author(log_id=1025)
    one = b"\x83\x01\x00\x63one"
    some = [member(record) for record in (first.append(one), first.append(one), other.append(one))]
    bring(node, some)
    found = collected(node, "--larger-than", "0")
    assert (found["dropped"]["entries"], found["kept"]["needed"]["entries"]) == (1, 2)
    assert "this node needs them" in node.ok("gc", "--larger-than", "0").text
    assert here(node) == {some[0].id, some[2].id}
    assert node.ok("check").code == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "Say what may go"),
        (("--own",), "Say what may go"),
        (("--older-than", "90"), "is no time like"),
        (("--larger-than", "big"), "is not a size like"),
        (("--collection", "a**"), "a**"),
    ],
)
def test_what_makes_no_rule_is_refused(node: Shell, words: tuple[str, ...], complaint: str) -> None:
    bring(node, made(2))
    outcome = node.run("gc", *words)
    assert outcome.code == 2
    assert complaint in outcome.complaint
    assert len(here(node)) == 2


def test_long_lists_of_collections_are_cut_and_json_has_all(node: Shell) -> None:
    bring(node, [made(1, f"c/{at}")[0] for at in range(25)])
    assert "... and 5 more collections." in node.ok("gc", "--larger-than", "0", "--dry-run").lines
    assert len(collected(node, "--larger-than", "0")["collections"]) == 25


# --- with others --------------------------------------------------------------------------


def test_beside_a_node_that_serves_it_drops_and_nobody_brings_it_again(
    node: Shell, other: Shell
) -> None:
    """Two nodes that serve, a third process that collects at one of them, and entries that come
    in meanwhile; then everybody syncs with everybody."""
    bring(node, made(1_500))
    with Serving(node.data) as theirs, Serving(other.data, "--peer", theirs.address) as ours:
        ours.wait_for_event("peer_state", state="live")
        with Process("gc", "--larger-than", "0", "--json", "--data", other.data) as process:
            node.put("later", *(b"%d" % at for at in range(50)))
            outcome = process.end()
        assert outcome.code == 0, outcome.stderr
        dropped = outcome.json["dropped"]["entries"]
        assert dropped >= 1_500
        for _ in range(2):
            assert run("sync", "--plain", "--data", other.data, theirs.address).code == 0
        assert len(here(other)) == 1_550 - dropped
        assert ours.stop().code == 0
        assert theirs.stop().code == 0
    assert other.digests() == node.digests()
    assert len(here(node)) == 1_550
    assert other.ok("payload", "missing", "--json").json("payload-missing")["count"] == 0
    assert node.ok("check").code == other.ok("check").code == 0


_KILLED = """
import os, signal, sys
from setsync.cli.main import main
from setsync.store import retention
from setsync.store.lmdb_store import Store
retention.DROPS_COMMIT = 20
commits, drop = int(sys.argv[2]), Store.drop_many
def counted(store, entries):
    global commits
    commits -= 1
    if not commits:
        os.kill(os.getpid(), signal.SIGKILL)
    return drop(store, entries)
Store.drop_many = counted
main(["gc", "--larger-than", "0", "--data", sys.argv[1]])
"""


def test_a_kill_in_the_middle_keeps_what_was_dropped_and_the_next_run_goes_on(node: Shell) -> None:
    some = made(100)
    bring(node, some)
    for left in (80, 60, 40):
        with start_python(_KILLED, node.data, 2) as process:
            process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert here(node) == {one.id for one in some[100 - left :]}
        with Store.open(node.data / "store") as store:
            assert check(store).findings == []
    assert collected(node, "--larger-than", "0")["dropped"]["entries"] == 40


def test_afterwards_compact_gives_the_room_back(node: Shell, tmp_path: Path) -> None:
    bring(node, made(1_000, size=400))
    node.ok("compact")
    collected(node, "--larger-than", "0")
    freed = node.ok("compact", "--json").json("compact")["freed"]
    assert freed > 300_000
    assert node.ok("check").code == 0
