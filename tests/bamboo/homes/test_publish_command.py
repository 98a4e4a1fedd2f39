"""`setsync bamboo publish` against a real home, and against homes that lie, forget and go away:
none of them gets a second signature for a number."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bamboo_compat.core.entry import decode
from bamboo_compat.core.yamf import Flavour, hash_of
from bamboo_compat.homes import roads
from bamboo_compat.homes.answering import handle_join
from bamboo_compat.homes.joining import join
from bamboo_compat.homes.ledger import Ledger, Place
from bamboo_compat.homes.receipts import is_for, make_receipt, read_receipt
from bamboo_compat.server.errors import BadOperationError
from bamboo_compat.server.publishing import Publisher
from bamboo_compat.server.schema import as_fields
from setsync.model.entry import Entry
from setsync.model.keys import SecretKey
from tests.bamboo.histories import member
from tests.bamboo.homes.scenes import CODE, Road, Server, author, key_of, opened
from tests.bamboo.homes.test_processes import told
from tests.bamboo.logs import Author
from tests.bamboo.server.clients import create, update
from tests.bamboo.server.serving import Served, entries_in, serving
from tests.cli.running import Outcome, Shell, validate
from tests.node.processes import command, contents, make_node, run


def publish(data: Path, payload: bytes, *words: str) -> Any:
    """The command, as a process of its own."""
    key = data / "author.key"
    done = subprocess.run(
        command("bamboo", "publish", key, "-", "--data", data, "--json", *words),
        input=payload,
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.returncode, json.loads(done.stdout)


# --- at a real home -----------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Served]:
    """A node that serves its page."""
    with serving(tmp_path / "home") as served:
        yield served


@pytest.fixture
def me(tmp_path: Path, home: Served) -> Path:
    """The directory of an author who has joined it over HTTP."""
    return joined(make_node(tmp_path / "me", 3), home)


def joined(data: Path, home: Served) -> Path:
    """After joining."""
    code = subprocess.run(
        command("home", "invite", "create", "--data", home.data, "--json"),
        capture_output=True,
        check=True,
    ).stdout
    words = ("home", "join", "--data", data, home.url.rstrip("/"), json.loads(code)["code"])
    assert run(*words).code == 0
    return data


def test_an_author_publishes_at_home_and_keeps_what_it_signed_and_what_the_home_signed(
    home: Served, me: Path
) -> None:
    code, first = publish(me, create())
    assert code == 0, first
    validate(first, "bamboo-publish")
    assert (first["log_id"], first["seq_num"], first["again"]) == (0, 1, False)
    code, second = publish(me, update(bytes.fromhex(first["hash"])), "--log", "0")
    assert code == 0, second
    assert (second["seq_num"], second["backlink"]) == (2, first["hash"])
    code, other = publish(me, create("another"))
    assert (other["log_id"], other["seq_num"]) == (1, 1)

    published = entries_in(home.data)
    assert sorted(published) == sorted(entries_in(me)), "it is here too"
    assert len(published) == 3
    kept = told("home-receipts", "home", "receipts", "--data", me)["receipts"]
    assert [(one["log_id"], one["seq_num"]) for one in kept] == [(0, 1), (0, 2), (1, 1)]
    assert kept[1]["receipt"] == second["receipt"]
    for one in kept:
        receipt = read_receipt(bytes.fromhex(one["receipt"]))
        headers = [header for header, _ in published]
        server = bytes.fromhex(one["server"])
        assert sum(is_for(receipt, header, server) for header in headers) == 1
    ledger = Ledger(me, bytes.fromhex(first["author"]), 0)
    head = ledger.head()
    assert head is not None
    assert (head.seq_num, head.hash.hex()) == (2, second["hash"])
    shown = run("home", "receipts", "--data", me, "--log", "1")
    assert shown.stdout.splitlines()[1].split()[:3] == ["1", "1", other["hash"]]


def test_what_is_no_operation_or_for_another_log_is_refused_before_anybody_is_asked_to_take_it(
    home: Served, me: Path
) -> None:
    before = contents(me)
    code, refused = publish(me, b"no operation")
    assert (code, refused["error"]["code"]) == (1, BadOperationError.code)
    code, refused = publish(me, create(), "--log", "7")
    assert (code, refused["error"]["code"]) == (13, "next_refused")
    assert contents(me) == before
    assert not (me / "ledger").exists()
    assert run("home", "receipts", "--data", me).stdout == ""


def test_nothing_is_signed_for_a_server_that_is_not_the_home(me: Path, tmp_path: Path) -> None:
    with serving(make_node(tmp_path / "other", 9)) as other:
        before = contents(me)
        code, refused = publish(me, create(), "--at", other.url)
        assert (code, refused["error"]["code"]) == (11, "not_the_home")
        assert contents(me) == before
        assert not (me / "ledger").exists()
        assert entries_in(other.data) == []


def test_without_a_page_of_the_home_one_is_told_to_say_where_it_is(tmp_path: Path) -> None:
    data = make_node(tmp_path / "alone", 7)
    code, refused = publish(data, create())
    assert (code, refused["error"]["code"]) == (2, "usage")
    code, refused = publish(data, create(), "--at", "http://127.0.0.1:1")
    assert (code, refused["error"]["code"]) == (4, "unreachable")
    assert not (data / "ledger").exists()


def test_a_copied_directory_publishes_nothing(me: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(me, copy)
    code, refused = publish(copy, create())
    assert (code, refused["error"]["code"]) == (12, "copied_directory")


def test_a_home_that_was_put_back_from_a_backup_gets_no_second_entry_for_a_number(
    tmp_path: Path,
) -> None:
    path, backup = tmp_path / "home", tmp_path / "old"
    with serving(path) as home:
        me = joined(make_node(tmp_path / "me", 3), home)
        _, first = publish(me, create())
    shutil.copytree(path / "store", backup)
    with serving(path) as home:
        at = ("--at", home.url)
        _, second = publish(me, update(bytes.fromhex(first["hash"])), *at)
        code, third = publish(me, update(bytes.fromhex(second["hash"])), *at)
        assert code == 0, third
    shutil.rmtree(path / "store")
    shutil.copytree(backup, path / "store")
    with serving(path) as home:
        at, before = ("--at", home.url), contents(me)
        code, refused = publish(me, update(bytes.fromhex(first["hash"]), name="again"), *at)
        assert (code, refused["error"]["code"]) == (13, "next_refused")
        assert "asks for number 2 of log 0; the next one is 4" in refused["error"]["message"]
        assert contents(me) == before
        receipts = told("home-receipts", "home", "receipts", "--data", me)["receipts"]
        assert len(receipts) == 3, "the home has signed that it had them"


# --- at homes that lie --------------------------------------------------------------------


@dataclass
class Hostile:
    """A home on a real socket, whose key is right, and whose words are not. `twist` alters what
    it says of the next entry, `taken` what it answers to an entry; a `pause` is made after each
    byte."""

    server: Server
    twist: Callable[[dict[str, Any]], dict[str, Any]] = lambda found: found
    taken: Callable[[bytes, dict[str, Any]], object] = lambda _, found: found
    pause: Callable[[], object] | None = None
    got: list[bytes] = field(default_factory=list)
    url: str = ""

    def answer(self, question: dict[str, Any]) -> object:
        """To one question of GraphQL."""
        variables = question["variables"]
        publisher = Publisher(self.server.store, self.server.directory.path, self.key, self._commit)
        if "nextArgs" in question["query"]:
            key = bytes.fromhex(variables["publicKey"])
            view = [bytes.fromhex(one) for one in variables.get("viewId", "").split("_") if one]
            found = as_fields(publisher.next_args(key, view))
            return {"data": {"nextArgs": self.twist(dict(found))}}
        header, payload = (bytes.fromhex(variables[name]) for name in ("entry", "operation"))
        self.got.append(header)
        receipt = make_receipt(self.server.key, header).pack().hex()
        told = {"data": {"publish": {}}, "extensions": {"receipt": {"publish": receipt}}}
        answer = self.taken(header, told)
        if answer is told:
            publisher.publish(header, payload)
        return answer

    @property
    def key(self) -> bytes:
        """Its node id."""
        return self.server.key.public

    def _commit(self, entry: Entry) -> None:
        self.server.store.add_many([entry])


@contextmanager
def listening(hostile: Hostile) -> Iterator[Hostile]:
    """Until the block ends it answers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == roads.PATH:
                content = handle_join(body, hostile.server.context())
            else:
                said = hostile.answer(json.loads(body))
                content = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            if hostile.pause is None or self.path == roads.PATH:
                self.wfile.write(content)
                return
            with suppress(OSError):
                for at in range(len(content)):
                    self.wfile.write(content[at : at + 1])
                    self.wfile.flush()
                    hostile.pause()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever)
    thread.start()
    hostile.url = f"http://127.0.0.1:{listener.server_port}"
    try:
        yield hostile
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[Hostile]:
    """It has welcomed author 1."""
    with opened(tmp_path / "hostile") as server:
        server.invite()
        with listening(Hostile(server)) as hostile:
            yield hostile


@pytest.fixture
def shell(tmp_path: Path, hostile: Hostile) -> Shell:
    """Author 1, at home there."""
    with author(tmp_path / "one") as person:
        join(person, Road(hostile.server, hostile.url), CODE)
    return Shell(tmp_path / "one")


def ask(shell: Shell, payload: bytes, *words: str) -> Outcome:
    """The command, in this process."""
    key = str(shell.data / "author.key")
    return shell.run("bamboo", "publish", key, "-", *words, stdin=payload)


def code_of(shell: Shell, payload: bytes) -> str:
    """The error's."""
    outcome = ask(shell, payload, "--json")
    assert outcome.code != 0
    return str(outcome.json("error")["error"]["code"])


def signed_once(hostile: Hostile) -> int:
    """How many numbers the home got an entry for: none of them two."""
    by_place: dict[tuple[int, int], bytes] = {}
    for header in hostile.got:
        entry = decode(header)
        assert by_place.setdefault((entry.log_id, entry.seq_num), header) == header
    return len(by_place)


def grow(shell: Shell, count: int) -> list[bytes]:
    """Publish so many entries of one document; their hashes."""
    found: list[bytes] = []
    for number in range(count):
        payload = update(found[-1], name=f"{number}") if found else create()
        outcome = ask(shell, payload, "--json")
        assert outcome.code == 0, outcome.complaint
        found.append(bytes.fromhex(outcome.json("bamboo-publish")["hash"]))
    return found


LIES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "a number that is used": lambda found: found | {"seqNum": "3"},
    "the first number": lambda found: found | {"seqNum": "1", "backlink": None},
    "a number above the next": lambda found: found | {"seqNum": "9"},
    "the highest number": lambda found: found | {"seqNum": str((1 << 64) - 1)},
    "another entry before": lambda found: found | {"backlink": "0020" + "ab" * 32},
    "no entry before": lambda found: found | {"backlink": None},
    "a skiplink of its own": lambda found: found | {"skiplink": "0020" + "cd" * 32},
    "another log": lambda found: found | {"logId": "5", "seqNum": "1", "backlink": None},
    "a log below": lambda found: found | {"logId": "1"},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_home_that_lies_about_what_is_next_gets_no_signature(
    shell: Shell, hostile: Hostile, lie: str
) -> None:
    hashes = grow(shell, 4)
    hostile.twist, before = LIES[lie], contents(shell.data)
    outcome = ask(shell, update(hashes[-1]))
    assert outcome.code == 13
    assert "Nothing was signed." in outcome.complaint
    assert len(hostile.got) == signed_once(hostile) == 4
    assert contents(shell.data) == before
    hostile.twist = lambda found: found
    assert ask(shell, update(hashes[-1])).code == 0, "once it says the truth"


def test_a_home_that_opens_a_log_that_is_used_gets_no_signature(
    shell: Shell, hostile: Hostile
) -> None:
    grow(shell, 2)
    hostile.twist = lambda found: found | {"logId": "0"}
    outcome = ask(shell, create("another"))
    assert outcome.code == 13
    assert "opens log 0" in outcome.complaint
    assert len(hostile.got) == 2


NONSENSE: dict[str, object] = {
    "no JSON": b"<html>",
    "a list": [],
    "no data": {"data": None},
    "a number as a number": {"data": {"nextArgs": {"logId": 0, "seqNum": 1}}},
    "a link that is none": {
        "data": {"nextArgs": {"logId": "0", "seqNum": "2", "backlink": "00", "skiplink": None}}
    },
    "a number of a thousand digits": {
        "data": {
            "nextArgs": {"logId": "9" * 1000, "seqNum": "1", "backlink": None, "skiplink": None}
        }
    },
    "more than there can be": b" " * 100_000,
    "brackets": b"[" * 60_000,
}


@pytest.mark.parametrize("what", NONSENSE)
def test_an_answer_that_is_none_is_told_and_nothing_is_signed(
    shell: Shell, hostile: Hostile, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(hostile, "answer", lambda question: NONSENSE[what])
    assert code_of(shell, create()) == "peer"
    assert not (shell.data / "ledger").exists()


def test_what_the_home_has_against_it_is_told_in_its_words(
    shell: Shell, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = {"message": "Not today.", "extensions": {"code": "over_quota", "advice": "Ask."}}
    monkeypatch.setattr(hostile, "answer", lambda question: {"errors": [error]})
    outcome = ask(shell, create())
    assert outcome.code == 3
    assert "Not today. Ask." in outcome.complaint


def test_what_a_home_did_not_take_is_given_to_it_again_and_not_signed_again(
    shell: Shell, hostile: Hostile
) -> None:
    [first] = grow(shell, 1)
    hostile.taken = lambda header, found: {"errors": [{"message": "Try later."}]}
    assert code_of(shell, update(first)) == "not_taken"
    assert code_of(shell, update(first)) == "not_taken"
    [lost] = {header for header in hostile.got if decode(header).seq_num == 2}
    hostile.taken = lambda header, found: found
    again = ask(shell, update(first), "--json").json("bamboo-publish")
    assert (again["seq_num"], again["again"]) == (2, True)
    assert again["hash"] == hash_of(Flavour.YASMF, lost).hex()
    third = ask(shell, update(bytes.fromhex(again["hash"])), "--json").json("bamboo-publish")
    assert (third["seq_num"], third["again"]) == (3, False)
    assert signed_once(hostile) == 3


def test_what_was_not_taken_goes_before_what_comes_next(shell: Shell, hostile: Hostile) -> None:
    [first] = grow(shell, 1)
    hostile.taken = lambda header, found: b"nothing"
    assert code_of(shell, update(first, name="two")) == "not_taken"
    lost = hash_of(Flavour.YASMF, hostile.got[-1])
    hostile.taken = lambda header, found: found
    found = ask(shell, update(lost, name="three"), "--json").json("bamboo-publish")
    assert (found["seq_num"], found["backlink"]) == (3, lost.hex())
    assert [decode(header).seq_num for header in hostile.got] == [1, 2, 2, 3]
    assert signed_once(hostile) == 3


def test_an_entry_of_which_the_home_has_another_is_kept_here_and_the_fork_is_told(
    shell: Shell, hostile: Hostile
) -> None:
    """The power went between ledger and store, and a copy has published the same number."""
    [first] = grow(shell, 1)
    other, mine = (Author(1, 0, hashes=[b"", first]) for _ in range(2))
    theirs = other.append(update(first, name="theirs"))
    header, payload = mine.append(update(first, name="mine"))
    Ledger(shell.data, mine.key, 0).use(2, header, payload, mine.hashes[2])
    hostile.server.store.add_many([member(theirs, "aquadoggo")])
    with author(shell.data) as person:
        person.store.add_many([member(theirs, "aquadoggo")])
    for _ in range(2):
        assert code_of(shell, update(other.hashes[2])) == "log_forked"
        with author(shell.data) as person:
            [kept] = [one for one in person.store if one.header == header]
        assert kept.payload == payload
        assert kept.collection.startswith("bamboo/aquadoggo/"), "where the log is"
    assert len(hostile.got) == 1, "the home was not given what it could not take"
    head = Ledger(shell.data, mine.key, 0).head()
    assert head == Place(2, mine.hashes[2])


def other_key(header: bytes, found: dict[str, Any]) -> object:
    """A receipt that is signed, by somebody else."""
    receipt = make_receipt(SecretKey(b"x" * 32), header).pack().hex()
    return found | {"extensions": {"receipt": {"publish": receipt}}}


def damaged(header: bytes, found: dict[str, Any]) -> object:
    """A receipt that nobody signed."""
    receipt = found["extensions"]["receipt"]["publish"]
    return found | {"extensions": {"receipt": {"publish": receipt[:-2] + "00"}}}


def without(header: bytes, found: dict[str, Any]) -> object:
    """No receipt."""
    return {"data": found["data"]}


@pytest.mark.parametrize("taken", [other_key, damaged, without])
def test_a_home_that_gives_no_receipt_of_its_own_is_told_of_and_no_number_is_lost(
    shell: Shell, hostile: Hostile, taken: Callable[[bytes, dict[str, Any]], object]
) -> None:
    hostile.taken = taken
    assert code_of(shell, create()) == "not_taken"
    receipts = shell.ok("home", "receipts", "--json").json("home-receipts")
    assert receipts["receipts"] == []
    [(header, _)] = entries_in(shell.data)
    assert header == hostile.got[0]
    head = Ledger(shell.data, key_of(1).public, 0).head()
    assert head is not None
    assert head.seq_num == 1


def test_a_home_that_answers_a_byte_at_a_time_is_given_up_after_a_while(
    shell: Shell, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline is for the whole answer: each byte comes in time."""
    monkeypatch.setattr(roads, "QUESTION_SECONDS", 1.0)
    given_up = threading.Event()

    monkeypatch.setattr(hostile, "pause", lambda: given_up.wait(0.1))
    outcome = ask(shell, create())
    given_up.set()
    assert outcome.code == 4
    assert "within 1 s" in outcome.complaint
    assert not (shell.data / "ledger").exists()
