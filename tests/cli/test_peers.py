"""`setsync peers`: what the commands do to peers.json, and what they print."""

from __future__ import annotations

import json

import pytest

from setsync.node.config import DataDirectory
from setsync.node.peers import Book
from tests.cli.running import Shell

ANNA, BEN = "aa" * 32, "bb" * 32
AT_ANNAS = f"setsync://{ANNA}@example.org:7717"


def _book(node: Shell) -> Book:
    return DataDirectory.open(node.data).peers.read()


def _pin(node: Shell, place: str, key: str) -> None:
    with DataDirectory.open(node.data).peers.changing() as book:
        book.pins[place] = bytes.fromhex(key)


def test_a_peer_is_added_by_its_address_and_found_in_the_list(node: Shell) -> None:
    added = node.ok("peers", "add", AT_ANNAS, "--name", "anna", "--json").json("peer")
    assert added == {"key": ANNA, "rule": "allowed", "name": "anna", "address": AT_ANNAS}
    listed = node.ok("peers", "list", "--json").json("peers")
    assert (listed["peers"], listed["pins"]) == ([added], {})


def test_adding_again_keeps_what_is_not_said_anew(node: Shell) -> None:
    node.ok("peers", "add", AT_ANNAS, "--name", "anna")
    added = node.ok("peers", "add", ANNA, "--json").json("peer")
    assert (added["name"], added["address"]) == ("anna", AT_ANNAS)
    moved = AT_ANNAS.replace("example.org", "[::1]")
    added = node.ok("peers", "add", moved, "--name", "anna 2", "--json").json("peer")
    assert (added["name"], added["address"]) == ("anna 2", moved)


def test_a_peer_is_blocked_and_allowed_by_key_or_address(node: Shell) -> None:
    """Also one that was never listed; adding lifts a block."""
    assert node.ok("peers", "block", ANNA, "--json").json("peer")["rule"] == "blocked"
    assert node.ok("peers", "allow", AT_ANNAS, "--json").json("peer")["rule"] == "allowed"
    node.ok("peers", "block", AT_ANNAS)
    assert node.ok("peers", "add", ANNA.upper(), "--json").json("peer")["rule"] == "allowed"
    assert list(_book(node).peers) == [bytes.fromhex(ANNA)]


def test_a_peer_is_forgotten_with_the_places_where_it_was_trusted(node: Shell) -> None:
    node.ok("peers", "add", AT_ANNAS)
    _pin(node, "example.org:1", ANNA)
    _pin(node, "example.org:2", BEN)
    removed = node.ok("peers", "remove", ANNA, "--json").json("peers-remove")
    assert removed == {"removed": ANNA}
    assert not _book(node).peers
    assert list(_book(node).pins) == ["example.org:2"]
    assert node.ok("peers", "list", "--json").json("peers")["pins"] == {"example.org:2": BEN}
    node.ok("peers", "remove", BEN)
    assert not _book(node).pins


def test_forgetting_whom_nobody_knows_is_code_10(node: Shell) -> None:
    outcome = node.run("peers", "remove", ANNA, "--json")
    assert outcome.code == 10
    assert outcome.json("error")["error"]["code"] == "no_such_peer"
    assert ANNA in outcome.complaint


def test_the_list_is_a_table_for_people(node: Shell) -> None:
    assert "No peer is known here" in node.ok("peers", "list").complaint
    node.ok("peers", "add", AT_ANNAS, "--name", "anna")
    _pin(node, "example.org:2", BEN)
    heading, anna, ben = node.ok("peers", "list").lines
    assert heading.split()[:4] == ["KEY", "RULE", "NAME", "ADDRESS"]
    assert anna.split()[:4] == [ANNA, "allowed", "anna", "example.org:7717"]
    assert ben.startswith(f"{BEN}  trusted at first sight ")
    assert "example.org:2" in ben


def test_a_name_cannot_speak_to_the_terminal(node: Shell) -> None:
    node.ok("peers", "add", ANNA, "--name", "\x1b[2Janna\r\u202e")
    shown = node.ok("peers", "list").text
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize("command", ["add", "allow", "block", "remove"])
@pytest.mark.parametrize("who", ["anna", "example.org:7717", ANNA[1:], "setsync://x@y:1"])
def test_who_is_named_by_neither_key_nor_address_is_a_usage_error(
    node: Shell, command: str, who: str
) -> None:
    outcome = node.run("peers", command, who, "--json")
    assert outcome.code == 2
    assert outcome.json("error")["error"]["code"] == "usage"
    assert not _book(node).peers


def test_a_file_of_a_newer_version_is_left_alone(node: Shell) -> None:
    path = node.data / "peers.json"
    path.write_text(json.dumps({"setsync_peers": 9}))
    for words in (["list"], ["add", ANNA], ["remove", ANNA]):
        outcome = node.run("peers", *words, "--json")
        assert outcome.code == 5
        assert outcome.json("error")["error"]["code"] == "newer_format"
    path.write_text("{")
    outcome = node.run("peers", "list", "--json")
    assert (outcome.code, outcome.json("error")["error"]["code"]) == (1, "peers_file")
    assert path.read_text() == "{"


@pytest.mark.parametrize("words", [["list"], ["add", ANNA], ["block", ANNA], ["remove", ANNA]])
def test_without_a_node_there_is_no_list(node: Shell, words: list[str]) -> None:
    outcome = node.run("peers", *words, "--data", str(node.data / "nowhere"))
    assert outcome.code == 5
    assert "does not exist" in outcome.complaint


def test_syncing_with_a_bare_place_asks_whose_key_is_there(node: Shell) -> None:
    outcome = node.run("sync", "127.0.0.1:1", "--json")
    assert outcome.code == 2
    assert outcome.json("error")["error"]["code"] == "usage"
    assert "--trust-first" in outcome.complaint


def test_a_node_tells_its_address_when_it_is_made(node: Shell, other: Shell) -> None:
    """And that address is what `peers add` takes, once the host is filled in."""
    told = Shell(node.data.with_name("third")).ok("init", "--json").json("init")
    assert told["address"] == f"setsync://{told['node_id']}@HOST:7717"
    added = other.ok("peers", "add", told["address"].replace("HOST", "example.org"), "--json")
    assert added.json("peer")["key"] == told["node_id"]
