"""`sync` says how far the sets are equal now, and who is meant by an address or a name."""

from __future__ import annotations

import pytest

from setsync.node.config import DataDirectory
from tests.cli.running import Shell
from tests.node.processes import Serving
from tests.node.test_operators import Serving as SecureServing


@pytest.mark.parametrize(
    ("direction", "verdict"),
    [
        ("push", "in sync, as far as push asks"),
        ("pull", "in sync, as far as pull asks"),
        ("both", "in sync"),
    ],
)
def test_a_session_of_one_direction_says_how_far_the_sets_are_in_sync(
    node: Shell, other: Shell, direction: str, verdict: str
) -> None:
    node.put("notes", b"one")
    other.put("notes", b"two")
    with Serving(other.data) as server:
        done = node.ok("sync", server.address, "--plain", "--direction", direction)
        again = node.run("status", "--against", server.address, "--plain")
    assert f"result            {verdict}" in done.lines
    assert again.code == (0 if direction == "both" else 9)


def test_a_name_that_no_peer_has_is_code_10(node: Shell) -> None:
    node.ok("peers", "add", f"setsync://{'aa' * 32}@127.0.0.1:1", "--name", "anna")
    for words in (["sync", "anan"], ["status", "--against", "anan"], ["serve", "--peer", "anan"]):
        outcome = node.run(*words, "--json")
        assert outcome.code == 10, words
        assert outcome.json("error")["error"]["code"] == "no_such_peer"
        assert "'anan'" in outcome.complaint
    assert node.run("sync", "anan:").code == 2


def test_who_speaks_plainly_to_a_secure_node_is_told_what_it_may_want(
    node: Shell, other: Shell
) -> None:
    with SecureServing(other.data) as server:
        outcome = node.run("sync", server.place, "--plain", "--json")
    assert outcome.code == 3
    assert outcome.json("error")["error"]["code"] == "peer"
    assert "leave out --plain" in outcome.complaint


def test_a_peer_is_found_by_its_name_and_kept_from_us_by_its_name(
    node: Shell, other: Shell
) -> None:
    me = DataDirectory.open(node.data).node_key().public.hex()
    other.ok("peers", "add", me, "--name", "me")
    with SecureServing(other.data) as server:
        node.ok("peers", "add", server.address, "--name", "other")
        assert node.run("sync", "other").code == 0
        other.ok("peers", "block", "me")
        assert node.run("sync", "other").code == 3
