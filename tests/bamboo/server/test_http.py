"""/graphql of a real `setsync serve --web`: who may ask, from where, and what is on the disk."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bamboo_compat.core import keys, verify_log
from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.homes.book import Client, homes_file
from bamboo_compat.homes.receipts import is_for, read_receipt
from bamboo_compat.server.limits import MAX_ALIASES
from bamboo_compat.server.publishing import NextArgs
from bamboo_compat.statements.format import decode as decode_statement
from bamboo_compat.statements.kinds import Hello, Welcome
from bamboo_compat.statements.make import make
from setsync.limits import MAX_WEB_BODY
from setsync.model.entry import Entry
from setsync.model.keys import SecretKey
from setsync.node.config import DataDirectory
from setsync.node.invites import Invite, digest_of, show_code
from setsync.store.lmdb_store import Store
from tests.bamboo.histories import member
from tests.bamboo.logs import seed
from tests.bamboo.server.clients import VENUE, create, delete, hash_of, sign, update
from tests.bamboo.server.serving import NEXT_ARGS, Answer, Served, args_of, entries_in, serving
from tests.node.processes import make_node, run

EVIL = "https://evil.example"
APP = "https://app.example"
FIRST = NextArgs(0, 1)


@pytest.fixture(scope="module")
def open_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A node on loopback as it is by default, but for one origin that may ask."""
    with serving(tmp_path_factory.mktemp("http") / "node", "--graphql-origin", APP) as node:
        yield node


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token."""
    return {"authorization": f"Bearer {token}"}


# --- the way of an entry ------------------------------------------------------------------


def test_an_answered_publication_survives_the_death_of_the_node(tmp_path: Path) -> None:
    """It is answered after the commit, not before: killed at once, the node has it."""
    path = tmp_path / "node"
    with serving(path) as node:
        header, answer = node.act(1, create())
        assert answer.json["data"]["publish"]["seqNum"] == "2"
        node.process.kill(signal.SIGKILL)
        node.process.end()
    assert entries_in(path) == [(header, create())]


def test_a_publication_comes_with_a_receipt_that_the_node_has_signed(open_node: Served) -> None:
    header, answer = open_node.act(1, create("receipt"))
    receipt = read_receipt(bytes.fromhex(answer.json["extensions"]["receipt"]["publish"]))
    node = DataDirectory.open(open_node.data).node_key().public
    assert is_for(receipt, header, node)
    again = open_node.publish(header, create("receipt"))
    assert again.json["extensions"] == answer.json["extensions"]


def test_of_many_publications_for_one_place_at_once_exactly_one_is_taken(
    open_node: Served,
) -> None:
    header, _ = open_node.act(2, create("contested"))
    document = head = hash_of(header)
    made = [(header, create("contested"))]
    for turn in range(5):
        args = args_of(open_node.next_args(2, document))
        assert args.backlink == head
        payloads = [update(head, name=f"{turn} {rival}") for rival in range(6)]
        rivals = [(sign(2, args, payload), payload) for payload in payloads]
        with ThreadPoolExecutor(len(rivals)) as pool:
            answers = list(pool.map(lambda rival: open_node.publish(*rival), rivals))
        won = [one for one, got in zip(rivals, answers, strict=True) if "errors" not in got.json]
        assert len(won) == 1
        assert {got.code for got in answers if "errors" in got.json} == {"not_the_next"}
        made += won
        head = hash_of(won[0][0])
    report = verify_log(made, profile=PROFILES["aquadoggo"])
    assert report.all_verified
    assert not report.forked


def test_what_is_published_is_told_to_other_commands(open_node: Served) -> None:
    header, _ = open_node.act(3, create("found"))
    author = keys.public_key(seed(3)).hex()
    found = run("bamboo", "log", author, "0", "--data", open_node.data)
    assert found.code == 0
    assert hash_of(header)[2:].hex()[:16] in found.stdout


# --- refused publications -----------------------------------------------------------------


def store(path: Path, *entries: Entry) -> None:
    """Put entries into a node that does not run."""
    with Store.open(path / "store") as opened:
        opened.add_many(entries)


def test_an_author_who_is_at_home_elsewhere_is_sent_there(tmp_path: Path) -> None:
    """Already when asking what to sign: what is not signed forks nothing."""
    path = make_node(tmp_path / "node")
    anna, elsewhere = SecretKey(seed(1)), SecretKey(seed(9))
    hello = make(anna, Hello(elsewhere.public, "https://home.example"), 1, None)
    welcome = make(elsewhere, Welcome(anna.public, decode_statement(hello.header).id), 2, None)
    store(path, hello, welcome)
    with serving(path) as node:
        answer = node.next_args(1)
        assert answer.code == "not_the_home"
        assert "https://home.example" in answer.json["errors"][0]["message"]
        payload = create()
        header = sign(1, args_of(node.next_args(2)), payload)
        assert node.publish(header, payload).code == "not_the_home"
        assert "errors" not in node.act(2, create())[1].json
    assert len(entries_in(path)) == 1


def test_a_forked_log_is_refused_with_the_fork(tmp_path: Path) -> None:
    path = make_node(tmp_path / "node")
    first = sign(1, FIRST, create())
    second = sign(1, FIRST, create("other"))
    store(
        path, member((first, create()), "aquadoggo"), member((second, create("other")), "aquadoggo")
    )
    with serving(path) as node:
        answer = node.next_args(1, hash_of(first))
        assert answer.code == "log_forked"
        assert "parts at entry 1" in answer.json["errors"][0]["message"]
        operation = update(hash_of(first))
        place = args_of(node.next_args(1))
        assert node.publish(sign(1, place, operation), operation).code == "log_forked"


def test_the_nodes_own_rules_bind_publishers(tmp_path: Path) -> None:
    path = make_node(tmp_path / "node")
    blocked = keys.public_key(seed(1)).hex()
    assert run("policy", "block", "author", blocked, "--data", path).code == 0
    with serving(path, "--interest", f"bamboo/aquadoggo/{VENUE}") as node:
        _, answer = node.act(1, create())
        assert answer.code == "not_wanted"
        _, answer = node.act(2, create(schema="event_v1"))
        assert answer.code == "not_wanted"
        assert "errors" not in node.act(2, create())[1].json


# --- who may ask --------------------------------------------------------------------------


def test_with_tokens_wanted_a_stranger_is_told_what_to_show(tmp_path: Path) -> None:
    """The operator's token and an invite are good for any author; an author who is at home here
    needs neither, for itself."""
    path = make_node(tmp_path / "node")
    directory = DataDirectory.open(path)
    code = bytes(range(16))
    now = time.time_ns() // 1_000_000
    with homes_file(path).changing() as draft:
        draft.value.invites.add(Invite(digest_of(code), now, now + 3_600_000, 1), now)
        anna = keys.public_key(seed(1))
        draft.value.clients[anna] = Client(anna, now, "", "anna", b"\1", b"\2")
    with serving(path, "--graphql", "token") as node:
        for headers in ({}, {"authorization": "Basic eDp5"}, bearer("wrong"), bearer("")):
            answer = node.next_args(2, headers=headers)
            assert answer.code == "login", headers
        assert node.next_args(2, headers=bearer("wrong")).status == 401
        token = directory.web_token_path.read_text().strip()
        for shown in (token, show_code(code)):
            assert "errors" not in node.next_args(2, headers=bearer(shown)).json
        # The invite was not used up by that.
        assert homes_file(path).read().invites.find(code, now).uses == 1
        header, answer = node.act(1, create())
        assert "errors" not in answer.json
        hers = create("not at home")
        assert node.publish(sign(2, FIRST, hers), hers).code == "login"
    assert entries_in(path) == [(header, create())]


def test_guesses_are_limited(tmp_path: Path) -> None:
    """After the tries that an address has, also a good invite is not looked at (L20)."""
    path = make_node(tmp_path / "node")
    with serving(path, "--graphql", "token") as node:
        told = [_message(node.next_args(1, headers=bearer("wrong"))) for _ in range(40)]
        assert "Too many" not in told[0]
        assert "Too many" in told[-1]


def _message(answer: Answer) -> str:
    found: str = answer.json["errors"][0]["message"]
    return found


def test_turned_off_there_is_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "node", "--graphql", "off") as node:
        assert node.send({"query": "{ __typename }"}).status == 404


# --- from where ---------------------------------------------------------------------------

QUESTION = {"query": NEXT_ARGS, "variables": {"publicKey": "ab" * 32}}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "evil.example"}, 421),
        ({"origin": EVIL}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": APP}, 200),
        ({"origin": APP, "sec-fetch-site": "cross-site"}, 200),
        ({"origin": APP, "host": "evil.example"}, 421),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_pages_from_elsewhere_cannot_ask(
    open_node: Served, headers: dict[str, str], status: int
) -> None:
    """Not by another name for this machine, nor by a form, nor from an origin that nobody let
    in."""
    answer = open_node.send(QUESTION, headers)
    assert answer.status == status
    allowed = answer.headers.get("access-control-allow-origin")
    assert allowed == (APP if headers.get("origin") == APP else None)


def test_a_browser_hears_which_origins_may_ask(open_node: Served) -> None:
    asks = {"access-control-request-method": "POST", "content-type": ""}
    answer = open_node.send(headers={"origin": APP, **asks}, method="OPTIONS")
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert "access-control-allow-credentials" not in answer.headers
    assert open_node.send(headers={"origin": EVIL, **asks}, method="OPTIONS").status == 405
    elsewhere = open_node.send(headers={"origin": APP, **asks}, method="OPTIONS", path="/peers")
    assert elsewhere.status == 405


def test_a_page_that_may_ask_here_may_not_ask_elsewhere(open_node: Served) -> None:
    """And what it may ask it asks as a stranger, with whatever cookie."""
    answer = open_node.send(headers={"origin": APP}, method="GET", path="/api/overview")
    assert answer.status == 403


@pytest.mark.parametrize("text", ["http://", "app.example", "https://a/b", "*", "null"])
def test_what_is_no_origin_is_refused_at_the_start(tmp_path: Path, text: str) -> None:
    path = make_node(tmp_path / "node")
    ended = run("serve", "--data", path, "--web", "127.0.0.1:0", "--graphql-origin", text)
    assert ended.code == 2
    assert "is no origin" in ended.stderr


# --- requests that are none ---------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'"x"', b'{"query": 1}', b"null"]
)
def test_a_body_that_is_no_question_is_refused(open_node: Served, body: bytes) -> None:
    answer = open_node.send(body)
    assert answer.status == 400
    assert answer.code in ("bad_request", "bad_argument")


@pytest.mark.parametrize("member", ["query", "operationName"])
def test_half_a_character_in_a_question_is_answered_and_no_defect(
    open_node: Served, member: str
) -> None:
    """JSON can write half of a surrogate pair; an answer that names it has to be JSON too."""
    body = {"query": "{ __typename }", member: "\ud800"}
    answer = open_node.send(json.dumps(body).encode("ascii"))
    assert (answer.status, len(answer.json["errors"])) == (200, 1)
    assert answer.body.isascii()


def test_a_body_over_the_limit_is_not_read(open_node: Served) -> None:
    announced = {"content-length": str(MAX_WEB_BODY + 1)}
    assert open_node.send(b"", announced).status == 413


def test_too_much_is_told_as_graphql_does(open_node: Served) -> None:
    fields = " ".join(f'a{n}: nextArgs(publicKey: "") {{ logId }}' for n in range(MAX_ALIASES + 1))
    answer = open_node.send({"query": "{" + fields + "}"})
    assert (answer.status, answer.code) == (200, "too_much")


def test_who_types_the_address_gets_to_the_playground(open_node: Served) -> None:
    """Which is for the operator."""
    answer = open_node.send(method="GET")
    assert (answer.status, answer.headers["location"]) == (303, "/graphql/playground")
    assert open_node.send(method="GET", path="/graphql/playground").status == 401


def test_nothing_of_a_refusal_is_stored(open_node: Served) -> None:
    before = len(entries_in(open_node.data))
    header = sign(3, FIRST, delete(hash_of(b"x")))
    assert open_node.publish(header, delete(hash_of(b"x"))).code == "unknown_document"
    assert len(entries_in(open_node.data)) == before
