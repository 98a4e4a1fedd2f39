"""A whole story between four real processes: a home that is left, a copied directory that goes on
there, the fork that comes of it, and the author's word for one branch.

Ben's and Cleo's nodes only carry entries; A and B are homes; Anna is the author.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bamboo_compat.homes.migration import Step
from tests.bamboo.homes.test_processes import Home, append, code_of, error_of, join, told
from tests.node.processes import Process, check_clean, contents, make_node, run

LOG = "1024"
# Each look takes a command or two, so this is about a minute on a busy machine.
LOOKS = 60


@dataclass
class Town:
    """Where everybody lives. `serving` ends every process."""

    path: Path
    serving: ExitStack

    def home(self, name: str, number: int) -> Home:
        """A new node that serves."""
        return self.serving.enter_context(Home(make_node(self.path / name, number)))

    def serve(self, data: Path, *words: str) -> Home:
        """A node that is there already."""
        return self.serving.enter_context(Home(data, *words))


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """An empty one."""
    with ExitStack() as serving:
        yield Town(tmp_path, serving)


def test_a_fork_that_a_copied_directory_made_is_found_decided_and_over_on_four_nodes(
    town: Town,
) -> None:
    a, b = town.home("a", 1), town.home("b", 2)
    anna = make_node(town.path / "anna", 3)
    key = anna / "author.key"
    _live_at(a, anna, key)
    _be_tempted_at(b, anna, key)
    copy = town.path / "copy"
    shutil.copytree(anna, copy)

    _move_while_the_old_home_dies(a, b, anna)
    mine = _appended(anna, key, "at the new home")
    a = town.serve(a.data, "--listen", a.url.rpartition("@")[2])
    theirs = _go_on_in_the_copy(a, copy, key)

    homes = _meet(town, a, b, anna)
    nodes = [a.data, b.data, anna, *homes]
    fork = _the_fork_everywhere(nodes, {mine, theirs})
    _decide(nodes, fork, key, anna, mine)
    last = _appended(anna, key, "and on it goes")
    _in_the_end_all_is_equal(nodes, _author(anna), fork, last)
    _the_copy_is_told(a, copy, key)


# --- chapters -----------------------------------------------------------------------------


def _live_at(a: Home, anna: Path, key: Path) -> None:
    assert join(anna, a, code_of(a, "--name", "anna")).code == 0
    for number in range(3):
        _appended(anna, key, f"entry {number + 1}")
    assert run("sync", "--data", anna, a.url).code == 0


def _be_tempted_at(b: Home, anna: Path, key: Path) -> None:
    """B has heard of the marriage, and does not publish for Anna, whoever asks it to."""
    assert run("peers", "add", "--data", b.data, _node(anna)).code == 0
    assert run("sync", "--data", anna, b.url).code == 0
    before = contents(b.data)
    refused = append(b.data, key, "here too?", "--json")
    home = told("home-status", "home", "status", "--data", anna)["home"]["url"]
    assert (refused.code, error_of(refused)) == (11, "not_the_home")
    assert home in refused.stderr, "it says where home is"
    again = run("home", "join", "--data", anna, b.url, code_of(b), "--json")
    assert (again.code, error_of(again)) == (11, "already_married")
    assert contents(b.data) == before


def _move_while_the_old_home_dies(a: Home, b: Home, anna: Path) -> None:
    """A dies as soon as the goodbye begins, and so does the move; typed again, it goes on."""
    code = code_of(b)
    words = ("home", "migrate", "--data", anna, b.url, code)
    with Process(*words) as move:
        move.wait_for(f" {Step.GOODBYE.value}: ")
        a.kill()
        move.kill()
        move.end()
    a.end()
    status = told("home-status", "home", "status", "--data", anna)
    assert status["move"], "it is known where it stood"
    resumed = run(*words)
    assert resumed.code == 0, resumed.stderr
    assert "1/6" not in resumed.stderr, "what was done is not done again"
    status = told("home-status", "home", "status", "--data", anna)
    assert (status["home"]["url"], status["move"], status["warnings"]) == (b.url, None, [])
    [client] = told("home-clients", "home", "clients", "--data", b.data)["clients"]
    assert client["state"] == "at home"


def _go_on_in_the_copy(a: Home, copy: Path, key: Path) -> str:
    """Its owner adopts it, though that is dangerous: then it signs what Anna signed already."""
    refused = append(copy, key, "from the copy", "--json")
    assert (refused.code, error_of(refused)) == (12, "copied_directory")
    unsure = run("home", "adopt", "--data", copy, "--json")
    assert (unsure.code, error_of(unsure)) == (2, "not_confirmed")
    assert run("home", "adopt", "--data", copy, "--yes").code == 0
    found = _appended(copy, key, "from the copy")
    assert run("sync", "--data", copy, a.url).code == 0
    return found


def _meet(town: Town, a: Home, b: Home, anna: Path) -> list[Path]:
    """Cleo's node keeps up with both homes, Anna's with hers; so everything comes everywhere."""
    cleo = make_node(town.path / "cleo", 4)
    for home in (a, b):
        assert run("peers", "add", "--data", home.data, _node(cleo)).code == 0
    town.serve(cleo, "--peer", a.url, "--peer", b.url)
    town.serve(anna, "--peer", b.url)
    return [cleo]


def _the_fork_everywhere(nodes: Sequence[Path], heads: set[str]) -> str:
    """The same report on each: what is told of it hangs on nothing but the entries."""
    _until(lambda: len({_digests(node) for node in nodes}) == 1)
    [fork] = {one["id"] for node in nodes for one in _forks(node)}
    pages = [_page(node, fork) for node in nodes]
    assert all(page == pages[0] for page in pages)
    assert (pages[0]["kind"], pages[0]["seq_num"]) == ("branch", 4)
    assert {branch["hash"] for branch in pages[0]["branches"]} == heads
    assert pages[0]["decision"]["state"] == "undecided"
    proofs = set()
    for node in nodes:
        file = node.with_suffix(".proof")
        assert run("fork", "proof", fork, "--data", node, "--output", file).code == 0
        proofs.add(file.read_bytes())
    assert len(proofs) == 1
    assert run("fork", "check-proof", nodes[0].with_suffix(".proof")).code == 0
    return str(fork)


def _decide(nodes: Sequence[Path], fork: str, key: Path, anna: Path, right: str) -> None:
    """Until then nothing is added to the log; after it, the log goes on, on every node."""
    stopped = append(anna, key, "not now", "--json")
    assert (stopped.code, error_of(stopped)) == (8, "log_forked")
    words = ("fork", "decide", fork, "--data", anna, "--branch", right, "--as-author", key)
    unsure = run(*words, "--json")
    assert (unsure.code, error_of(unsure)) == (2, "not_confirmed")
    assert run(*words, "--yes", "--reason", "the copy was an old one").code == 0
    _until(lambda: len({_digests(node) for node in nodes}) == 1)
    for node in nodes:
        decision = _page(node, fork)["decision"]
        assert (decision["by"], decision["hash"]) == ("author", right)


def _in_the_end_all_is_equal(nodes: Sequence[Path], author: str, fork: str, head: str) -> None:
    """Sets, logs, heads, and what is told of the fork."""
    _until(lambda: len({_digests(node) for node in nodes}) == 1)
    logs = [told("bamboo-logs", "bamboo", "logs", "--data", node)["logs"] for node in nodes]
    assert all(one == logs[0] for one in logs)
    log = [told("bamboo-log", "bamboo", "log", author, LOG, "--data", node) for node in nodes]
    assert all(one == log[0] for one in log)
    assert log[0]["effective_heads"] == [{"seq_num": 5, "hash": head}]
    assert log[0]["trusted"] == 5
    pages = [_page(node, fork) for node in nodes]
    assert all(page == pages[0] for page in pages)
    for node in nodes:
        check_clean(node)


def _the_copy_is_told(a: Home, copy: Path, key: Path) -> None:
    """Once it has heard of the move it signs nothing more."""
    assert run("sync", "--data", copy, a.url).code == 0
    refused = append(copy, key, "me again", "--json")
    assert (refused.code, error_of(refused)) == (11, "not_the_home")
    status = told("home-status", "home", "status", "--data", copy)
    assert status["warnings"]


# --- looking ------------------------------------------------------------------------------


def _appended(data: Path, key: Path, text: str, *words: str) -> str:
    """The hash of a new entry."""
    outcome = append(data, key, text, *words, "--json")
    assert outcome.code == 0, outcome.stderr
    return str(outcome.json["hash"])


def _until(is_so: Callable[[], bool]) -> None:
    """Look again and again; each look is a command, and they are counted."""
    assert any(is_so() for _ in range(LOOKS))


def _digests(data: Path) -> str:
    found = told("status", "status", "--data", data)["collections"]
    return json.dumps(found, sort_keys=True)


def _forks(data: Path) -> list[dict[str, Any]]:
    found = told("fork-list", "fork", "list", "--data", data)["forks"]
    assert isinstance(found, list)
    return found


def _page(data: Path, fork: str) -> dict[str, Any]:
    """What `fork show` tells, but for what is this node's own."""
    found = told("fork-show", "fork", "show", fork, "--data", data)
    assert isinstance(found, dict)
    for part in (found, *found["sides"]):
        del part["local"]
    return found


def _author(data: Path) -> str:
    return str(told("home-status", "home", "status", "--data", data)["author"])


def _node(data: Path) -> str:
    return str(told("status", "status", "--data", data)["node_id"])
