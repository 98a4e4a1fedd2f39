"""`setsync peers`: what the commands do to peers.json, and what they print."""

from __future__ import annotations

import json

import pytest

from setsync.node.config import DataDirectory
from setsync.node.invites import digest_of, parse_code
from setsync.node.peers import Book, Rule
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
    assert added == {
        "key": ANNA,
        "rule": "allowed",
        "name": "anna",
        "address": AT_ANNAS,
        "groups": [],
    }
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
    assert heading.split() == ["KEY", "RULE", "NAME", "ADDRESS", "GROUPS"]
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
@pytest.mark.parametrize("who", ["example.org:7717", "setsync://x@y:1"])
def test_who_is_named_by_neither_key_nor_address_is_a_usage_error(
    node: Shell, command: str, who: str
) -> None:
    outcome = node.run("peers", command, who, "--json")
    assert outcome.code == 2
    assert outcome.json("error")["error"]["code"] == "usage"
    assert not _book(node).peers


def test_a_listed_peer_is_blocked_allowed_and_forgotten_by_its_name(node: Shell) -> None:
    node.ok("peers", "add", AT_ANNAS, "--name", "anna")
    assert node.ok("peers", "block", "anna", "--json").json("peer")["rule"] == "blocked"
    assert node.ok("peers", "allow", "anna", "--json").json("peer")["rule"] == "allowed"
    removed = node.ok("peers", "remove", "anna", "--json").json("peers-remove")
    assert removed == {"removed": ANNA}
    assert not _book(node).peers


@pytest.mark.parametrize("command", ["allow", "block", "remove"])
@pytest.mark.parametrize("who", ["anan", "", ANNA[1:]])
def test_who_is_named_as_nobody_is_is_code_10(node: Shell, command: str, who: str) -> None:
    node.ok("peers", "add", ANNA, "--name", "anna")
    before = _book(node).peers
    outcome = node.run("peers", command, who, "--json")
    assert outcome.code == 10
    assert outcome.json("error")["error"]["code"] == "no_such_peer"
    assert _book(node).peers == before


def test_a_name_that_two_peers_have_chooses_neither(node: Shell) -> None:
    for key in (ANNA, BEN):
        node.ok("peers", "add", key, "--name", "anna")
    outcome = node.run("peers", "block", "anna")
    assert outcome.code == 2
    assert "2 peers are named 'anna'" in outcome.complaint
    assert {peer.rule for peer in _book(node).peers.values()} == {Rule.ALLOWED}


# --- groups -------------------------------------------------------------------------------


def test_groups_are_set_by_adding_and_allowing_and_kept_where_none_are_named(node: Shell) -> None:
    words = ("--group", "team", "--group", "family", "--group", "team")
    for command in ("add", "allow"):
        told = node.ok("peers", command, ANNA, *words, "--json").json("peer")
        assert told["groups"] == ["family", "team"]
        for other in ("add", "block", "allow"):
            assert node.ok("peers", other, ANNA, "--json").json("peer")["groups"] == told["groups"]
        one = node.ok("peers", command, ANNA, "--group", "work", "--json").json("peer")
        assert one["groups"] == ["work"]
    assert node.ok("peers", "list", "--json").json("peers")["peers"] == [one]
    assert node.ok("peers", "list").lines[1].split()[-1] == "work"


def test_no_group_takes_a_peer_out_of_all(node: Shell) -> None:
    node.ok("peers", "add", ANNA, "--group", "team")
    assert node.ok("peers", "allow", ANNA, "--no-groups", "--json").json("peer")["groups"] == []
    node.ok("peers", "add", ANNA, "--group", "team")
    assert node.ok("peers", "add", ANNA, "--no-groups", "--json").json("peer")["groups"] == []
    assert node.run("peers", "add", ANNA, "--no-groups", "--group", "team").code == 2


@pytest.mark.parametrize(
    "groups",
    [["Team"], [""], ["a b"], ["x" * 33], ["listed"], ["everybody"], [str(n) for n in range(17)]],
)
def test_a_group_that_cannot_be_is_a_usage_error_and_changes_nothing(
    node: Shell, groups: list[str]
) -> None:
    words = [word for group in groups for word in ("--group", group)]
    for command in (["add", ANNA], ["allow", ANNA], ["invite", "create"]):
        outcome = node.run("peers", *command, *words, "--json")
        assert (outcome.code, outcome.json("error")["error"]["code"]) == (2, "usage")
    assert _book(node) == Book()


# --- invites ------------------------------------------------------------------------------


def test_an_invite_is_printed_once_with_the_line_that_the_guest_types(node: Shell) -> None:
    """And its code is in no file and in no other output."""
    own = node.ok("status", "--json").json("status")["node_id"]
    told = node.ok("peers", "invite", "create", "--json").json("invite")
    assert (told["state"], told["uses"], told["groups"]) == ("open", 1, [])
    assert told["expires"] - told["made"] == 7 * 86_400_000
    assert told["address"] == f"setsync://{own}@HOST:7717"
    assert told["command"] == f"setsync sync {told['address']} --invite {told['code']}"
    shown = node.ok("peers", "invite", "create", "--at", "[::1]:7", "--uses", "3")
    code = next(line.split()[1] for line in shown.lines if line.startswith("code "))
    assert shown.lines[-1].endswith(f"setsync sync setsync://{own}@[::1]:7 --invite {code}")
    listed = node.ok("peers", "invite", "list", "--json").json("invites")["invites"]
    assert listed[0]["id"] == told["id"]
    assert [one["uses"] for one in listed] == [1, 3]
    everything = "".join(
        [node.ok("peers", *words).text for words in (["list"], ["invite", "list"])]
        + [path.read_text() for path in node.data.glob("*.json")]
    )
    for secret in (code, told["code"]):
        assert secret not in everything
        assert secret.replace("-", "") not in everything
        assert parse_code(secret).hex() not in everything
        assert digest_of(parse_code(secret)) in _book(node).invites.by_digest


def test_an_invite_carries_a_name_and_groups_for_who_comes_with_it(node: Shell) -> None:
    words = ("--name", "course", "--group", "b", "--group", "a", "--uses", "12", "--expires", "90m")
    told = node.ok("peers", "invite", "create", *words, "--json").json("invite")
    assert told["expires"] - told["made"] == 90 * 60_000
    with DataDirectory.open(node.data).peers.changing() as book:
        book.redeem(bytes.fromhex(ANNA), parse_code(told["code"]), told["made"])
    [anna] = node.ok("peers", "list", "--json").json("peers")["peers"]
    assert (anna["rule"], anna["name"], anna["groups"]) == ("allowed", "course", ["a", "b"])
    [row] = node.ok("peers", "invite", "list").lines[1:]
    assert row.split()[:3] == [told["id"], "open", "11"]
    assert row.split()[-3:] == ["course", "a", "b"]


def test_an_invite_is_revoked_by_its_id_and_stays_in_the_list_as_such(node: Shell) -> None:
    told = node.ok("peers", "invite", "create", "--json").json("invite")
    outcome = node.ok("peers", "invite", "revoke", told["id"].upper(), "--json")
    assert outcome.json("invites-revoke") == {"revoked": told["id"]}
    [one] = node.ok("peers", "invite", "list", "--json").json("invites")["invites"]
    assert one["state"] == "revoked"
    again = node.run("peers", "invite", "revoke", "0" * 8, "--json")
    assert (again.code, again.json("error")["error"]["code"]) == (10, "no_such_invite")


def test_a_list_without_invites_says_how_to_make_one(node: Shell) -> None:
    outcome = node.ok("peers", "invite", "list")
    assert (outcome.text, "invite create" in outcome.complaint) == ("", True)
    assert node.ok("peers", "invite", "list", "--json").json("invites") == {"invites": []}


@pytest.mark.parametrize(
    "words",
    [
        ["--uses", "0"],
        ["--uses", "1001"],
        ["--expires", "0d"],
        ["--expires", "91d"],
        ["--expires", "7"],
        ["--expires", "-1d"],
        ["--expires", "٣d"],
        ["--expires", "1y"],
        ["--name", "x" * 65],
        ["--at", "example.org"],
    ],
    ids=" ".join,
)
def test_an_invite_out_of_bounds_is_a_usage_error_and_none_is_made(
    node: Shell, words: list[str]
) -> None:
    outcome = node.run("peers", "invite", "create", *words, "--json")
    assert (outcome.code, outcome.json("error")["error"]["code"]) == (2, "usage")
    assert _book(node) == Book()


@pytest.mark.parametrize("words", [["create"], ["list"], ["revoke"]])
def test_every_command_for_invites_has_help_with_an_example(node: Shell, words: list[str]) -> None:
    text = node.ok("peers", "invite", *words, "-h").text
    for part in ("Example: setsync peers invite", "--data", "--json"):
        assert part in text


@pytest.mark.parametrize(
    ("address", "words", "said"),
    [
        (AT_ANNAS, ["--invite", "abcd-efgh"], "26 letters and digits"),
        (AT_ANNAS, ["--invite", " "], "26 letters and digits"),
        ("127.0.0.1:1", ["--invite", "a" * 26, "--trust-first"], "neither --trust-first"),
        ("127.0.0.1:1", ["--invite", "a" * 26, "--plain"], "nor --plain"),
    ],
)
def test_an_invite_that_is_none_or_goes_to_whoever_answers_is_sent_nowhere(
    node: Shell, address: str, words: list[str], said: str
) -> None:
    outcome = node.run("sync", address, *words, "--json")
    assert (outcome.code, outcome.json("error")["error"]["code"]) == (2, "usage")
    assert said in outcome.complaint
    assert "abcd" not in outcome.complaint


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
