"""Two operators and their nodes, as processes: from strangers to peers, and to strangers again."""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from setsync.model.keys import read_key_file
from setsync.node.config import DataDirectory
from setsync.node.identity import Identity
from tests.helpers import entries
from tests.node.processes import Outcome, Process, contents, fill, make_node, run


class Serving(Process):
    """A `setsync serve` with its secure channel."""

    def __init__(self, data: Path, *words: str) -> None:
        super().__init__("serve", "--data", data, "--listen", "127.0.0.1:0", *words)
        try:
            self.address = str(self.wait_for_event("listening")["address"])
        except BaseException:
            self.__exit__()
            raise
        self.place = self.address.partition("@")[2]


@pytest.fixture
def annas(tmp_path: Path) -> Path:
    node = make_node(tmp_path / "anna", seed=11)
    fill(node, entries(20))
    return node


@pytest.fixture
def bens(tmp_path: Path) -> Path:
    node = make_node(tmp_path / "ben", seed=12)
    fill(node, entries(10, seed=1))
    return node


def _key(node: Path) -> str:
    return DataDirectory.open(node).node_key().public.hex()


class Terminal:
    """What an operator saw, all of it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def run(self, *words: str | Path) -> Outcome:
        outcome = run(*words)
        self.seen += [outcome.stdout, outcome.stderr]
        return outcome


def _secrets(node: Path) -> Iterator[str]:
    """Every form in which a key of this node could show itself."""
    for path in (node / "node.key", node / "author.key"):
        secret = read_key_file(path)
        yield secret.seed.hex()
        yield base64.b64encode(secret.seed).decode().rstrip("=")
        yield repr(secret.seed)
        yield Identity.of(secret).key.decode().splitlines()[1]


def test_two_operators_become_peers_and_part_again(annas: Path, bens: Path) -> None:
    """Refused, told what to type, typed, in sync, blocked; and no secret on any screen."""
    terminal = Terminal()
    with Serving(annas) as server:
        assert server.address == f"setsync://{_key(annas)}@{server.place}"
        sync = ("sync", server.address, "--data", bens, "--json")

        refused = terminal.run(*sync)
        assert refused.code == 3
        assert refused.json["error"]["code"] == "not_listed"
        # The line to type is in the refusal, word for word.
        line = refused.json["error"]["message"].partition("has to type: setsync ")[2].split()
        assert line == ["peers", "add", _key(bens)]
        assert contents(annas).isdisjoint(contents(bens))

        assert terminal.run(*line, "--name", "ben", "--data", annas).code == 0
        report = terminal.run(*sync)
        assert report.code == 0, report.stderr
        assert report.json["in_sync"]
        assert report.json["peer"] == _key(annas)
        assert len(contents(annas)) == 30
        assert contents(annas) == contents(bens)

        assert terminal.run("peers", "block", _key(bens), "--data", annas).code == 0
        blocked = terminal.run(*sync)
        assert (blocked.code, blocked.json["error"]["code"]) == (3, "refused")
        assert terminal.run("peers", "remove", _key(bens), "--data", annas).code == 0
        assert terminal.run(*sync).json["error"]["code"] == "not_listed"

        server.kill(signal.SIGTERM)  # in order, as a service manager would
        ended = server.end()
    assert ended.code == 0
    terminal.seen += [ended.stdout, ended.stderr]
    shown = "\n".join(terminal.seen)
    for node in (annas, bens):
        for secret in _secrets(node):
            assert secret not in shown
    assert "PRIVATE KEY" not in shown


def test_trusting_at_first_sight_holds_from_then_on(
    annas: Path, bens: Path, tmp_path: Path
) -> None:
    """The second node at that place has another key, and is refused naming both."""
    with Serving(annas, "--access", "open") as server:
        bare = ("sync", server.place, "--data", bens, "--json")
        assert run(*bare).code == 2
        first = run(*bare, "--trust-first")
        assert first.code == 0, first.stderr
        assert run(*bare).code == 0
    pins = json.loads((bens / "peers.json").read_text())["pins"]
    assert pins == {server.place: _key(annas)}

    other = make_node(tmp_path / "other", seed=13)
    with Process("serve", "--data", other, "--listen", server.place, "--access", "open") as swapped:
        swapped.wait_for_event("listening")
        for words in (bare, (*bare, "--trust-first")):
            refused = run(*words)
            assert (refused.code, refused.json["error"]["code"]) == (3, "identity")
            for key in (_key(annas), _key(other)):
                assert key in refused.json["error"]["message"]


def test_a_node_that_is_dialled_under_a_wrong_key_or_by_itself(annas: Path, bens: Path) -> None:
    with Serving(annas, "--access", "open") as server:
        wrong = f"setsync://{_key(bens)}@{server.place}"
        refused = run("sync", wrong, "--data", bens, "--json")
        assert (refused.code, refused.json["error"]["code"]) == (3, "identity")
        itself = run("sync", server.address, "--data", annas, "--json")
        assert (itself.code, itself.json["error"]["code"]) == (3, "identity")
        assert "is this node itself" in itself.json["error"]["message"]


def test_plain_and_secure_nodes_do_not_understand_each_other(annas: Path, bens: Path) -> None:
    """Neither side falls back to anything."""
    with Serving(annas, "--access", "open") as server:
        plain = run("sync", server.place, "--plain", "--data", bens, "--json")
        assert plain.code == 3
        assert "leave out --plain" in plain.json["error"]["message"]
    with Process("serve", "--data", annas, "--listen", "127.0.0.1:0", "--plain") as server_without:
        place = str(server_without.wait_for_event("listening")["address"])
        secure = run("sync", f"setsync://{_key(annas)}@{place}", "--data", bens, "--json")
        assert secure.code == 3
        assert "no secure channel" in secure.json["error"]["message"]
    assert contents(annas).isdisjoint(contents(bens))
