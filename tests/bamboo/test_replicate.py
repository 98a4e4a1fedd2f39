"""`serve --log-heights` and `bamboo replicate`: real processes that compare log heights."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.replication.heights import UNKNOWN_SCHEMA
from bamboo_compat.replication.messages import Announce, pack
from bamboo_compat.set.index import BambooIndex
from setsync.model.refusal import Refusal
from setsync.store.lmdb_store import Store
from tests.bamboo.logs import Author, Record
from tests.bamboo.replication.memory import EVENT, VENUE, log
from tests.bamboo.replication.memory import operation as payload_of
from tests.bamboo.replication.test_index_source import fill, forks
from tests.cli.running import validate
from tests.node.processes import (
    Line,
    Outcome,
    Process,
    Serving,
    check_clean,
    contents,
    make_node,
    roots,
    run,
)

RFC0001 = PROFILES["rfc0001"]
USER = 1024
# Two system logs and two of users.
HERE = [*log(1, 0, VENUE, 3), *log(1, USER, VENUE, 9), *log(2, USER + 1, EVENT, 4)]
THERE = [*log(2, 1, EVENT, 5), *log(1, USER, VENUE, 6), *log(3, USER, EVENT, 20)]


class Bridge(Serving):
    """A `setsync serve` that also answers Bamboo servers."""

    def __init__(self, data: Path, *words: str) -> None:
        heights = ("--log-heights", "127.0.0.1:0", "--log-heights-profile", "rfc0001")
        super().__init__(data, *heights, *words)
        (line,) = (line for line in self.heard if "log_heights_listening" in line)
        self.heights = str(json.loads(line)["address"])
        self.heights_port = int(self.heights.rpartition(":")[2])

    def wait_for_session(self, how: str) -> dict[str, Any]:
        """What it says of the next session that ended like this."""
        return self.wait_for_event("log_heights_session_ended", state=how)


def node(path: Path, records: Sequence[Record] = (), seed: int = 1) -> Path:
    """A data directory with these entries."""
    make_node(path, seed)
    with Store.open(path / "store") as store:
        fill(store, records, RFC0001)
    return path


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A node that dials."""
    return node(tmp_path / "here", HERE, seed=1)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A node that listens."""
    return node(tmp_path / "there", THERE, seed=2)


def words(address: str, data: Path, *more: str) -> tuple[str | Path, ...]:
    """The command."""
    profile = ("--profile", "rfc0001")
    return ("bamboo", "replicate", address, *profile, "--data", data, *more)


def replicate(address: str, data: Path, *more: str, code: int = 0) -> Any:
    """Its report."""
    ended = run(*words(address, data, "--json", *more))
    assert ended.code == code, ended.stderr
    validate(ended.json, "bamboo-replicate" if code in (0, 7) else "error")
    return ended.json


def collections(data: Path) -> list[str]:
    """Of every entry in order of arrival."""
    with Store.open(data / "store", create=False) as store:
        return [entry.collection for entry in store]


def fork_ids(data: Path) -> list[bytes]:
    """Every fork that a node knows of."""
    with Store.open(data / "store", create=False) as store:
        store.open_index(BambooIndex())
        return forks(store)


# --- two nodes ----------------------------------------------------------------------------


def test_two_nodes_replicate_both_ways_and_the_second_time_nothing_is_sent(
    here: Path, there: Path
) -> None:
    with Bridge(there) as server, Line(server.heights_port) as line:
        report = replicate(line.address, here, "--schema", VENUE, "--schema", EVENT)
        assert (report["sent"], report["new"], report["refused"]) == (3 + 3 + 4, 5 + 20, 0)
        assert report["bytes"] == {"sent": len(line.up), "received": len(line.down)}
        told = server.wait_for_session("done")
        numbers = [told[f"entries_{what}"] for what in ("sent", "new", "known")]
        assert numbers == [25, 10, 0]
        again = replicate(server.heights, here)
        assert (again["sent"], again["new"], again["known"]) == (0, 0, 0)
        assert again["schemas"] == {"system": sorted([EVENT, VENUE]), "user": [EVENT, VENUE]}
        assert server.stop().code == 0
    assert contents(here) == contents(there)
    assert roots(here) == roots(there)
    check_clean(here)
    check_clean(there)


def test_an_authors_quota_binds_what_comes_by_log_heights_on_either_side(tmp_path: Path) -> None:
    """Whoever listens tells its operator, whoever dials its user; the rest is stored."""
    many = node(tmp_path / "many", [*log(1, USER, VENUE, 20), *log(2, USER, VENUE, 3)], seed=1)
    few = [node(tmp_path / str(n), log(9, USER, VENUE, 1), seed=n) for n in (2, 3)]
    for data in few:
        assert run("policy", "quota", "--author-entries", "5", "--data", data).code == 0
    with Bridge(few[0]) as server:
        assert replicate(server.heights, many)["sent"] == 23
        told = server.wait_for_session("done")
        assert (told["entries_new"], told["refused"]) == (5 + 3, 15)
        assert told["refused_for"] == Refusal.AUTHOR_QUOTA.sentence
    with Bridge(many) as server:
        report = replicate(server.heights, few[1], code=7)
        assert (report["new"], report["refused"]) == (5 + 3, 15)
        assert report["refusals"] == [{"reason": Refusal.AUTHOR_QUOTA.sentence, "count": 15}]
    assert [len(collections(data)) for data in few] == [9, 9]
    check_clean(few[0])


def test_the_server_says_what_is_new_in_its_store(here: Path, there: Path) -> None:
    with Bridge(there) as server:
        replicate(server.heights, here)
        server.wait_for_event("new_entries")


def test_system_logs_arrive_before_those_of_users(tmp_path: Path, there: Path) -> None:
    empty = node(tmp_path / "empty", log(9, 0, EVENT, 1))
    with Bridge(there) as server:
        # Of a schema that is nowhere here nobody can say that it is the system's.
        replicate(server.heights, empty)
    arrived = [name.startswith("system/") for name in collections(empty)]
    assert arrived.count(True) == 1 + 5
    assert arrived == sorted(arrived, reverse=True)


def test_only_what_the_operator_names_is_replicated(tmp_path: Path, there: Path) -> None:
    empty = node(tmp_path / "empty")
    with Bridge(there, "--log-heights-schema", VENUE) as server:
        nothing = run(*words(server.heights, empty))
        assert nothing.code == 0
        assert "No schema is known to both; --schema names one" in nothing.stdout
        report = replicate(server.heights, empty, "--schema", EVENT, "--schema", VENUE)
    assert report["schemas"] == {"system": [], "user": [VENUE]}
    assert report["new"] == 6


def test_a_server_that_wants_nothing_of_bamboo_takes_and_gives_nothing(
    here: Path, there: Path
) -> None:
    before = contents(there)
    with Bridge(there, "--interest", "notes/**") as server:
        report = replicate(server.heights, here)
    assert (report["sessions"], report["sent"], report["new"]) == (0, 0, 0)
    assert contents(there) == before


def test_entries_of_unknown_schemas_are_refused_with_the_reason(tmp_path: Path) -> None:
    author = Author(5, USER)
    mixed = [author.append(payload_of(schema)) for schema in (VENUE, "gossip", VENUE)]
    there = node(tmp_path / "there", mixed)
    here = node(tmp_path / "here", log(1, USER, VENUE, 1))
    with Bridge(there) as server:
        ended = run(*words(server.heights, here))
        report = replicate(server.heights, here, code=7)
    assert ended.code == 7
    assert f"1 refused: {UNKNOWN_SCHEMA}" in ended.stdout
    assert "1 sent, 2 new, 0 known, 1 refused" in ended.stdout
    # A gap is left, and above it all is sent again.
    assert report["refusals"] == [{"reason": UNKNOWN_SCHEMA, "count": 1}]
    assert (report["new"], report["known"]) == (0, 1)


# --- forks --------------------------------------------------------------------------------


def test_a_branch_that_heights_leave_behind_is_carried_by_sync(tmp_path: Path) -> None:
    here = node(tmp_path / "here", log(1, USER, VENUE, 6), seed=1)
    there = node(tmp_path / "there", log(1, USER, VENUE, 6, fork_at=4), seed=2)
    with Bridge(there) as server:
        report = replicate(server.heights, here)
        assert (report["sent"], report["new"], report["diverged"]) == (0, 0, 0)
        assert fork_ids(here) == fork_ids(there) == []
        synced = run("sync", server.address, "--plain", "--data", here, "--json")
        assert synced.json["in_sync"]
    assert fork_ids(here) == fork_ids(there) != []
    assert len(contents(here)) == 6 + 3


def test_a_longer_branch_is_told_of_where_it_does_not_fit(tmp_path: Path) -> None:
    here = node(tmp_path / "here", log(1, USER, VENUE, 4), seed=1)
    there = node(tmp_path / "there", log(1, USER, VENUE, 6, fork_at=4), seed=2)
    twin = node(tmp_path / "twin", log(1, USER, VENUE, 4), seed=3)
    author = Author(1).key.hex()
    with Bridge(there) as server:
        report = replicate(server.heights, here)
        told = run(*words(server.heights, twin)).stdout
    assert report["divergences"] == [{"author": author, "log_id": USER, "seq_num": 5}]
    assert f"log {USER} of {author[:16]}, entry 5: " in told
    assert "'setsync fork list'" in told


# --- payloads -----------------------------------------------------------------------------


def test_a_payload_that_was_withheld_is_attached_when_a_peer_brings_it(tmp_path: Path) -> None:
    whole = log(1, USER, VENUE, 5)
    bare = (whole[3][0], None)
    here = node(tmp_path / "here", [*whole[:2], bare], seed=1)
    with Bridge(node(tmp_path / "there", whole, seed=2)) as server:
        report = replicate(server.heights, here)
    assert (report["new"], report["known"], report["payloads"]) == (2, 1, 1)
    right = RFC0001.collection(USER, VENUE)
    with Store.open(here / "store") as store:
        stored = {entry.header: entry.payload for entry in store if entry.collection == right}
    assert stored == dict(whole)


# --- peers that are none ------------------------------------------------------------------


@contextlib.contextmanager
def listener(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something that takes one connection and behaves as it likes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as stream:
                behave(stream)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(60)


def until_it_ends(stream: socket.socket) -> None:
    """Take whatever comes."""
    with contextlib.suppress(OSError):
        while stream.recv(65_536):
            pass


def test_peers_that_are_silent_or_talk_nonsense_keep_nobody_else_out(
    here: Path, there: Path
) -> None:
    with Bridge(there) as server:
        where = ("127.0.0.1", server.heights_port)
        with socket.create_connection(where) as silent, socket.create_connection(where) as loud:
            silent.recv(1)  # it announces; we say nothing
            loud.sendall(b"GET / HTTP/1.1\r\n\r\n")
            told = server.wait_for_session("failed")
            assert "is this a Bamboo server?" in told["reason"]
            assert replicate(server.heights, here)["new"] == 25
            server.wait_for_session("done")
            stopped = server.stop()
    assert stopped.code == 0
    assert '"state": "cancelled"' in stopped.stderr
    assert contents(there) >= contents(here)


def test_a_silent_server_can_be_left_with_ctrl_c(here: Path) -> None:
    heard = threading.Event()

    def silent(stream: socket.socket) -> None:
        stream.recv(1)
        heard.set()
        until_it_ends(stream)

    with listener(silent) as address, Process(*words(address, here, "--json")) as client:
        assert heard.wait(60)
        client.kill(signal.SIGINT)
        ended = client.end()
    assert ended.code == 130
    assert ended.json["state"] == "cancelled"


def failing(here: Path, behave: Callable[[socket.socket], None]) -> Outcome:
    """How it ends with such a server."""
    with listener(behave) as address:
        return run(*words(address, here))


def test_what_a_bad_server_does_is_said_with_an_exit_code(here: Path) -> None:
    before = contents(here)

    def nonsense(stream: socket.socket) -> None:
        stream.sendall(b"220 mail.example ESMTP\r\n")
        until_it_ends(stream)

    def cut(stream: socket.socket) -> None:
        stream.sendall(pack(Announce(0, (VENUE,))))
        stream.recv(1)

    assert failing(here, nonsense).code == 3
    assert failing(here, cut).code == 4
    nowhere = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{nowhere.getsockname()[1]}"
    nowhere.close()
    assert run(*words(address, here)).code == 4
    assert run(*words("192.0.2.1:7", here)).code == 2
    assert run(*words("nowhere", here)).code == 2
    assert contents(here) == before


# --- options ------------------------------------------------------------------------------


def test_serve_says_what_is_wrong_with_its_log_heights_options(there: Path) -> None:
    serve = ("serve", "--data", there, "--listen", "127.0.0.1:0", "--plain")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        busy = run(*serve, "--log-heights", address)
    assert busy.code == 1
    assert f"{address} cannot be listened on" in busy.stderr
    assert "--log-heights HOST:PORT" in busy.stderr
    assert run(*serve, "--log-heights", "192.0.2.1:7").code == 2
    assert run(*serve, "--log-heights", "nowhere").code == 2
    alone = run(*serve, "--log-heights-profile", "rfc0001")
    assert alone.code == 2
    assert "--log-heights HOST:PORT" in alone.stderr


# --- kills --------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [700, 9_000, 30_000, 60_000])
@pytest.mark.parametrize("kill_server", [False, True], ids=["client", "server"])
def test_a_node_that_is_killed_loses_nothing_and_the_next_time_all_arrives(
    tmp_path: Path, at: int, kill_server: bool
) -> None:
    mine = [record for number in (1, 2, 3) for record in log(number, USER, VENUE, 60)]
    theirs = [record for number in (4, 5, 6) for record in log(number, USER, VENUE, 60)]
    here, there = node(tmp_path / "here", mine, 1), node(tmp_path / "there", theirs, 2)
    before = contents(here), contents(there)
    with Bridge(there) as server, Line(server.heights_port, at) as line:
        with Process(*words(line.address, here)) as client:
            line.action = (server if kill_server else client).kill
            if line._is_due():
                line.act()
            ended = client.end()
        assert ended.code in ((0, 4) if kill_server else (0, -9)), ended.stderr
        line.act()
        server.kill(signal.SIGTERM)
        server.end()
    for data, old in zip((here, there), before, strict=True):
        check_clean(data)
        assert old <= contents(data), "what was there before is lost"
    with Bridge(there) as server:
        replicate(server.heights, here)
        server.wait_for_session("done")
    assert contents(here) == contents(there) == before[0] | before[1]
    assert roots(here) == roots(there)
