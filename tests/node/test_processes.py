"""`serve`, `sync` and `diff` as users run them: real processes, real sockets, exit codes."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from setsync.errors import Abort
from setsync.model.entry import make_entry
from setsync.wire import messages as m
from tests.cli.running import validate
from tests.helpers import MIDNIGHT, entries, keys, withheld
from tests.node.processes import (
    Line,
    Process,
    Serving,
    contents,
    fill,
    make_node,
    messages,
    roots,
    run,
)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A node with 40 entries, 30 of which `there` has too."""
    node = make_node(tmp_path / "here", seed=1)
    fill(node, entries(40), entries(2, "system/keys"))
    return node


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A node with 35 entries, 5 of which only it has."""
    node = make_node(tmp_path / "there", seed=2)
    fill(node, entries(30), entries(5, seed=1), entries(3, "notes/é"))
    return node


# --- the main job -------------------------------------------------------------------------


def test_two_nodes_become_equal_and_every_byte_is_accounted_for(here: Path, there: Path) -> None:
    """What `sync --json` counts is what passed on the line, and what passed makes them equal."""
    with Serving(there) as server, Line(server.port) as line:
        done = run("sync", line.address, "--plain", "--data", here, "--json")
        assert done.code == 0, done.stderr
        stopped = server.stop()
    report = done.json
    assert (report["state"], report["in_sync"], report["newer"]) == ("done", True, 0)
    assert (report["missing_here"], report["missing_there"]) == (8, 12)
    assert report["entries"] == {"sent": 12, "received": 8}
    assert (report["bytes"]["sent"], report["bytes"]["received"]) == (len(line.up), len(line.down))
    phases = ("handshake", "reconcile", "entries", "close")
    for way in ("sent", "received"):
        assert sum(report["bytes"][phase][way] for phase in phases) == report["bytes"][way]
    assert roots(here) == roots(there)
    after = {row["name"]: row["after"] for row in report["collections"]}
    assert after == {
        name: {"count": summary.count, "digest": summary.digest.hex()}
        for name, summary in roots(here)  # type: ignore[attr-defined]
    }
    assert stopped.code == 0
    assert "done" in stopped.stderr


def test_equal_nodes_say_so_in_few_bytes(here: Path, tmp_path: Path) -> None:
    twin = make_node(tmp_path / "twin", seed=3)
    fill(twin, entries(40), entries(2, "system/keys"))
    with Serving(twin) as server:
        report = run("sync", server.address, "--plain", "--data", here, "--json").json
    assert report["in_sync"]
    assert report["round_trips"] == 1
    handshake = sum(report["bytes"]["handshake"].values())
    assert report["bytes"]["sent"] + report["bytes"]["received"] - handshake <= 300


@pytest.mark.parametrize(("direction", "mine", "theirs"), [("push", 42, 50), ("pull", 50, 38)])
def test_one_way_sessions_move_one_way(
    here: Path, there: Path, direction: str, mine: int, theirs: int
) -> None:
    with Serving(there) as server:
        words = ("sync", server.address, "--plain", "--data", here, "--direction", direction)
        assert run(*words).code == 0
    assert (len(contents(here)), len(contents(there))) == (mine, theirs)


def test_diff_and_a_dry_run_tell_and_move_nothing(here: Path, there: Path) -> None:
    before = contents(here), contents(there)
    with Serving(there) as server:
        diff = run("diff", server.address, "--plain", "--data", here, "--json")
        dry = run("sync", server.address, "--plain", "--data", here, "--dry-run", "--json")
        human = run("diff", server.address, "--plain", "--data", here)
    assert (diff.code, dry.code, human.code) == (0, 0, 0)
    told = {
        side: {(row["collection"], bytes.fromhex(row["id"])) for row in diff.json[side]}
        for side in ("missing_here", "missing_there")
    }
    assert told["missing_here"] == before[1] - before[0]
    assert told["missing_there"] == before[0] - before[1]
    assert (dry.json["missing_here"], dry.json["missing_there"]) == (8, 12)
    assert not dry.json["in_sync"]
    assert len(human.stdout.splitlines()) == 20
    assert (contents(here), contents(there)) == before


def test_status_against_another_node_says_what_differs_in_one_round_trip(
    here: Path, there: Path
) -> None:
    with Serving(there) as server:
        words = ("status", "--against", server.address, "--plain", "--data", here)
        done = run(*words, "--json")
        assert done.code == 9
        validate(done.json, "status-against")
        assert (done.json["up_to_date"], done.json["round_trips"]) == (False, 1)
        assert {
            row["collection"]: (row["here"], row["there"]) for row in done.json["differing"]
        } == {
            "notes": (40, 35),
            "notes/é": (0, 3),
            "system/keys": (2, 0),
        }
        assert "'setsync sync' makes it so" in run(*words).stderr
        assert run("sync", server.address, "--plain", "--data", here).code == 0
        assert run(*words).code == 0


def test_only_what_both_want_is_synchronised(here: Path, there: Path) -> None:
    with Serving(there, "--interest", "notes/**", "--interest", "system/*") as server:
        words = ("sync", server.address, "--plain", "--data", here, "--collection", "notes")
        report = run(*words, "--json").json
    assert [row["name"] for row in report["collections"]] == ["notes"]
    assert {name for name, _ in contents(here)} == {"notes", "system/keys"}
    assert {name for name, _ in contents(there)} == {"notes", "notes/é"}


def test_put_while_serve_runs_is_noticed_and_seen_by_the_next_session(
    here: Path, there: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"new\n")
    with Serving(there) as server:
        put = run("put", "notes", text, "--data", there)
        assert server.wait_for_event("new_entries")["count"] == 1
        assert run("sync", server.address, "--plain", "--data", here).code == 0
        assert server.stop().code == 0
    assert bytes.fromhex(put.stdout.strip()) in {id_ for _, id_ in contents(here)}


# --- starting and stopping ----------------------------------------------------------------


def test_the_ready_file_holds_the_address_as_long_as_the_node_listens(
    here: Path, there: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    ready.write_text("stale")
    with Serving(there, "--ready-file", ready) as server:
        # Whoever is answered was answered after the file was in place.
        assert run("sync", server.address, "--plain", "--data", here).code == 0
        assert ready.read_text() == server.address + "\n"
        assert server.stop().code == 0
    assert not ready.exists()


def test_an_ipv6_address_stands_in_brackets(here: Path, there: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 on this machine")
    words = ("serve", "--data", there, "--plain", "--listen", "[::1]:0")
    with Process(*words) as server:
        address = server.wait_for_event("listening")["address"]
        assert address.startswith("[::1]:")
        assert run("sync", address, "--plain", "--data", here).code == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends_in_order_when_told_to(there: Path, how: signal.Signals) -> None:
    with Serving(there, "--json") as server:
        server.kill(how)
        ended = server.end()
    assert ended.code == 0
    assert ended.json["state"] == "done"
    assert json.loads(ended.stderr.splitlines()[-1])["event"] == "stopped"


def test_a_port_that_is_taken_is_named(there: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        failed = run("serve", "--data", there, "--plain", "--listen", address, "--json")
    assert failed.code == 1
    assert failed.json["error"]["code"] == "listen"
    assert address in failed.json["error"]["message"]
    assert address in failed.stderr


def test_a_second_serve_on_one_directory_is_refused(there: Path) -> None:
    with Serving(there):
        second = run("serve", "--data", there, "--plain", "--listen", "127.0.0.1:0", "--json")
    assert second.code == 5
    assert second.json["error"]["code"] == "locked"


@pytest.mark.parametrize("address", ["0.0.0.0:0", "192.0.2.1:7000"])
def test_the_plain_channel_is_for_loopback_addresses_only(here: Path, address: str) -> None:
    for words in (("serve", "--listen", address), ("sync", address), ("diff", address)):
        failed = run(*words, "--plain", "--data", here)
        assert failed.code == 2, words
        assert "loopback" in failed.stderr


# --- exit codes ---------------------------------------------------------------------------


def _both(data: Path, address: str) -> list[tuple[int, str, str]]:
    """Exit code, error code and sentence of sync and of diff."""
    found = []
    for command in ("sync", "diff"):
        ended = run(command, address, "--plain", "--data", data, "--json")
        error = ended.json["error"]
        found.append((ended.code, error["code"], error["message"]))
        assert error["message"] in ended.stderr
    return found


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:", "::1:7", "127.0.0.1:65536", ":1"])
def test_an_address_that_is_none_is_a_usage_error(here: Path, address: str) -> None:
    assert [code for code, *_ in _both(here, address)] == [2, 2]


def test_a_missing_directory_is_code_5(tmp_path: Path) -> None:
    assert [each[:2] for each in _both(tmp_path / "none", "127.0.0.1:1")] == [
        (5, "data_directory")
    ] * 2


def test_nobody_there_is_code_4(here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    assert [each[:2] for each in _both(here, address)] == [(4, "unreachable")] * 2


@pytest.mark.parametrize(("host", "code"), [("nowhere.invalid", 4), ("a" * 70, 2)])
def test_a_host_that_does_not_exist_is_code_4_and_one_that_cannot_2(
    here: Path, host: str, code: int
) -> None:
    assert [each[0] for each in _both(here, f"{host}:7")] == [code, code]


@contextlib.contextmanager
def _impostor(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something that listens and is no node."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65_536)
                        answer(connection)
                        connection.shutdown(socket.SHUT_WR)
                        while connection.recv(65_536):
                            pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(30)


HELLO = m.Hello((1,), b"h" * 32, b"n" * 32, ("**",), m.BOTH, 100, ())
IMPOSTORS: dict[str, tuple[bytes, int, str]] = {
    "a web server": (b"HTTP/1.1 400 Bad Request\r\n\r\n", 3, "peer"),
    "a newer node": (m.pack(m.Hello((9,), b"h" * 32, b"n" * 32, (), 0, 0, ())), 3, "version"),
    "a busy node": (m.pack(m.AbortMessage(Abort.BUSY, "Full.")), 3, "refused"),
    "a node that stops": (m.pack(HELLO) + m.pack(m.AbortMessage(7, "Bye.")), 4, "cut"),
    "a node that dies": (m.pack(HELLO), 4, "cut"),
    "half a hello": (m.pack(HELLO)[:30], 4, "cut"),
    "nothing, as a secure node would": (b"", 3, "peer"),
}


@pytest.mark.parametrize("who", IMPOSTORS)
def test_whoever_answers_wrongly_gets_an_exit_code_of_its_own(here: Path, who: str) -> None:
    said, exit_code, code = IMPOSTORS[who]
    before = contents(here)
    with _impostor(lambda connection: connection.sendall(said)) as address:
        assert [each[:2] for each in _both(here, address)] == [(exit_code, code)] * 2
    assert contents(here) == before


def test_a_web_browser_at_our_port_does_no_harm(here: Path, there: Path) -> None:
    with Serving(there) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as browser:
            browser.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            browser.shutdown(socket.SHUT_WR)
            answer = b""
            while data := browser.recv(65_536):
                answer += data
        assert [type(each) for each in messages(answer)] == [m.AbortMessage]
        server.wait_for("failed")
        assert run("sync", server.address, "--plain", "--data", here).code == 0
        assert server.stop().code == 0


def test_a_session_that_ends_without_being_in_sync_is_code_9(here: Path) -> None:
    """A responder whose digest never fits, with an entry that is older than the session."""
    listed = m.Listed((("elsewhere", 1, b"?" * 16),))

    def answer(connection: socket.socket) -> None:
        stream = connection.makefile("rwb")
        buffer = m.new_buffer()

        def hear(kind: type) -> None:
            while True:
                while (frame := buffer.next_frame()) is not None:
                    if isinstance(m.unpack(*frame), kind):
                        return
                buffer.receive(connection.recv(65_536) or pytest.fail("cut"))

        def say(*said: m.Message) -> None:
            stream.write(b"".join(map(m.pack, said)))
            stream.flush()

        say(HELLO)
        for _ in range(3):
            hear(m.Catalog)
            say(listed)
            hear(m.Totals)
            hear(m.Sent)
            say(m.Committed(42), m.Sent())
            hear(m.Close)
            say(m.Closed(bytes(32)))
        hear(m.Catalog)
        say(listed)
        hear(m.AskIds)
        say(m.Ids(((0, bytes(32), 0),), 1), m.Ids((), 0))
        hear(m.Done)

    with _impostor(answer) as address:
        ended = run("sync", address, "--plain", "--data", here, "--json")
    assert ended.code == 9, ended.stderr
    assert (ended.json["state"], ended.json["in_sync"]) == ("done", False)


@pytest.mark.parametrize("command", ["sync", "diff"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_says_goodbye_and_ends_with_130(
    here: Path, command: str, how: signal.Signals
) -> None:
    goodbye: list[m.Message] = []
    process: list[Process] = []

    def answer(connection: socket.socket) -> None:
        connection.sendall(m.pack(HELLO))
        heard = connection.recv(65_536)
        process[0].kill(how)
        while data := connection.recv(65_536):
            heard += data
        goodbye.extend(messages(heard))

    with _impostor(answer) as address:
        words = (command, address, "--plain", "--data", here, "--json")
        process.append(Process(*words))
        with process[0]:
            ended = process[0].end()
    assert ended.code == 130
    assert ended.json["error"]["code"] == "interrupted"
    assert [each.code for each in goodbye if isinstance(each, m.AbortMessage)] == [Abort.CANCELLED]


def test_a_server_that_stops_tells_its_sessions(there: Path) -> None:
    """A session under way hears that the node is shutting down, and the node still ends."""
    with Serving(there) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as peer:
            peer.sendall(m.pack(HELLO))
            heard = peer.recv(65_536)
            server.kill(signal.SIGTERM)
            while data := peer.recv(65_536):
                heard += data
        assert server.end().code == 0
    (_, last) = messages(heard)
    assert isinstance(last, m.AbortMessage)
    assert last.code == Abort.CANCELLED


# --- real input ---------------------------------------------------------------------------

DPKG = Path("/var/lib/dpkg/status")


def _package_descriptions() -> dict[str, list[bytes]]:
    """The descriptions of the installed packages, by section."""
    found: dict[str, list[bytes]] = {}
    for paragraph in DPKG.read_bytes().split(b"\n\n"):
        fields = {
            name: value
            for line in paragraph.replace(b"\n ", b"\r").splitlines()
            for name, _, value in [line.partition(b": ")]
        }
        if b"Description" in fields:
            section = fields.get(b"Section", b"unknown").decode("ascii")
            found.setdefault(f"debian/{section}", []).append(fields[b"Description"])
    return found


@pytest.mark.skipif(not DPKG.exists(), reason="this is no Debian system")
def test_the_package_descriptions_of_a_debian_system_become_equal(tmp_path: Path) -> None:
    """One collection a section; each node has two thirds of them."""
    (author,) = keys(1)
    made = [
        make_entry(author, section, text, MIDNIGHT + at)
        for section, texts in _package_descriptions().items()
        for at, text in enumerate(dict.fromkeys(texts))
    ]
    one, two = make_node(tmp_path / "one", seed=1), make_node(tmp_path / "two", seed=2)
    fill(one, [entry for at, entry in enumerate(made) if at % 3 != 0])
    fill(two, [entry for at, entry in enumerate(made) if at % 3 != 1])
    with Serving(two) as server:
        report = run("sync", server.address, "--plain", "--data", one, "--json").json
    assert report["in_sync"]
    assert roots(one) == roots(two)
    assert contents(one) == {(entry.collection, entry.id) for entry in made}


def test_json_lines_in_many_languages_become_equal(tmp_path: Path) -> None:
    """Lines go in by `put --lines` and come out byte for byte at the other node."""
    words = ["naïve", "Ελλάδα", "日本語", "русский", "עברית", "🦀 crab", "a\u0301", "\u2028", "0"]
    lines = [json.dumps({"n": n, "text": w}, ensure_ascii=False) for n, w in enumerate(words * 9)]
    assert any(ord(character) > 127 for line in lines for character in line)
    one, two = make_node(tmp_path / "one", seed=1), make_node(tmp_path / "two", seed=2)
    for node, some in ((one, lines[:60]), (two, lines[20:])):
        file = tmp_path / f"{node.name}.jsonl"
        file.write_text("\n".join(some) + "\n", encoding="utf-8", newline="\n")
        put = run(
            "put",
            "sprachen/größe",
            "--lines",
            file,
            "--data",
            node,
            "--timestamp",
            "7",
            "--author",
            one / "author.key",
        )
        assert put.code == 0, put.stderr
    with Serving(two) as server:
        assert run("sync", server.address, "--plain", "--data", one).code == 0
    assert roots(one) == roots(two)
    assert len(contents(one)) == len(set(lines))


def test_a_withheld_payload_does_not_keep_nodes_from_being_in_sync(here: Path, there: Path) -> None:
    fill(here, [withheld(entry) for entry in entries(3, "large")])
    with Serving(there) as server:
        report = run("sync", server.address, "--plain", "--data", here, "--json").json
    assert report["in_sync"]
    assert roots(here) == roots(there)
