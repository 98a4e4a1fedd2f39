"""`ls` and `status` tell what is here, and nothing moves."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from setsync.cli.get import find_entry
from setsync.errors import AmbiguousPrefixError
from setsync.reconcile.digest import summarise
from setsync.store.lmdb_store import Store
from tests.cli.running import Shell
from tests.helpers import entries, entries_under, withheld


def test_a_new_node_holds_nothing(node: Shell) -> None:
    assert node.ok("ls").text == ""
    status = node.ok("status", "--json").json("status")
    assert (status["entries"], status["collections"], status["format"]) == (0, {}, 1)


def test_digests_are_those_of_the_definition(node: Shell) -> None:
    ids = node.put("notes", *(b"%d" % number for number in range(50)))
    other = node.put("letters", b"x")
    found = node.ok("ls", "--json").json("ls")["collections"]
    for name, some in (("notes", ids), ("letters", other)):
        summary = summarise(sorted(bytes.fromhex(id_) for id_ in some))
        assert found[name] == {"count": len(some), "digest": summary.digest.hex()}
    status = node.ok("status", "--json").json("status")
    assert status["collections"] == found
    assert status["entries"] == 51
    assert status["bytes_on_disk"] > 0
    assert list(found) == ["letters", "notes"]


def test_ls_prints_a_line_a_collection(node: Shell) -> None:
    node.put("notes", b"a", b"b")
    [line] = node.ok("ls").lines
    assert line.split() == ["notes", "2", node.digests()["notes"]]


def test_ids_are_bare_and_sorted(node: Shell) -> None:
    ids = node.put("notes", *(b"%d" % number for number in range(40)))
    assert node.ok("ls", "notes", "--ids").lines == sorted(ids)
    assert node.ok("ls", "notes", "--ids", "--json").json("ls-collection")["ids"] == sorted(ids)


def test_pages_join_without_gap_or_overlap(node: Shell) -> None:
    ids = sorted(node.put("notes", *(b"%d" % number for number in range(40))))
    pages: list[str] = []
    after: tuple[str, ...] = ()
    while page := node.ok("ls", "notes", "--ids", "--limit", "7", *after).lines:
        assert len(page) <= 7
        pages += page
        after = ("--after", page[-1])
    assert pages == ids


def test_entries_of_a_collection_are_told_one_a_line(node: Shell) -> None:
    [id_] = node.put("notes", b"hello", timestamp=1_700_000_000_123)
    node.put("far", b"", timestamp=2**64 - 1)
    [line] = node.ok("ls", "notes").lines
    assert line.split()[:2] == [id_, "2023-11-14T22:13:20.123Z"]
    [entry] = node.ok("ls", "notes", "--json").json("ls-collection")["entries"]
    assert (entry["id"], entry["payload_size"]) == (id_, 5)
    assert str(2**64 - 1) in node.ok("ls", "far").text


def test_a_withheld_payload_is_said_to_be(node: Shell) -> None:
    [entry] = entries(1)
    with Store.open(node.data / "store") as store:
        store.add(withheld(entry))
    assert "withheld" in node.ok("ls", "notes").text
    outcome = node.run("get", entry.id.hex(), "--json")
    assert outcome.code == 0
    assert outcome.json("get")["payload"] is None
    assert node.run("get", entry.id.hex()).code == 1


def test_an_ambiguous_prefix_is_refused_with_the_ids_it_could_be(node: Shell) -> None:
    # Two digits are what can be made in a moment; the command asks for eight, its finder not.
    two = entries_under("00", 2)
    with Store.open(node.data / "store") as store:
        store.add_many(two)
        assert find_entry(store, two[0].id.hex()[:12]).id == two[0].id
        with pytest.raises(AmbiguousPrefixError, match=two[0].id.hex()) as caught:
            find_entry(store, "00")
    assert caught.value.exit_code == 10


def test_an_unknown_collection_and_options_without_one(node: Shell) -> None:
    outcome = node.run("ls", "nowhere", "--json")
    assert outcome.code == 10
    assert outcome.json("error")["error"]["code"] == "no_such_collection"
    assert node.run("ls", "--ids").code == 2
    node.put("notes", b"a")
    assert node.run("ls", "notes", "--after", "abc").code == 2


# What takes long to load, and what only other commands need. `serve` needs all of it.
SLOW = {
    "trio",
    "numpy",
    "rich",
    "structlog",
    "cryptography",
    "ssl",
    "asyncio",
    "importlib.metadata",
}
OTHERS = {"bamboo_compat", "setsync.wire", "setsync.session", "msgpack", "cbor2", "zstandard"}
SELDOM = {"traceback", "tomllib", "difflib", "shlex", "setsync.cli.against"}


def loaded_by(node: Shell, *words: str) -> set[str]:
    """The modules that a command loads, in a process of its own. It is given nothing to read."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "setsync", *words],
        env=os.environ | {"SETSYNC_DATA": str(node.data)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("ls",), ("ls", "--json")])
def test_what_only_looks_loads_nothing_that_it_does_not_need(
    node: Shell, words: tuple[str, ...]
) -> None:
    """It must start fast, however much there is; benchmarks/startup.py measures how fast."""
    node.put("notes", b"a")
    loaded = loaded_by(node, *words)
    assert {"lmdb", "setsync.store.lmdb_store"} <= loaded
    assert not loaded & (SLOW | OTHERS | SELDOM)


def test_the_version_is_told_without_a_store(node: Shell) -> None:
    loaded = loaded_by(node, "--version")
    assert "setsync.cli.main" in loaded
    unneeded = {"lmdb", "nacl", "blake3", "setsync.store", "setsync.node", "setsync.model"}
    assert not loaded & (unneeded | SLOW | OTHERS | SELDOM)


def test_put_does_without_the_network(node: Shell) -> None:
    loaded = loaded_by(node, "put", "notes")
    assert "setsync.model.native" in loaded
    network = {"setsync.node.local", "setsync.node.writer", "setsync.session"}
    assert not loaded & (network | {"trio", "rich", "structlog", "ssl", "asyncio"})
