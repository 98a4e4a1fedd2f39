"""Invites of a home: a code marries as many as it is for; others hear why not (T26, L20)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bamboo_compat.homes.book import homes_file
from bamboo_compat.homes.errors import HomesFileError
from bamboo_compat.homes.marriages import marriages, open_homes, statements_in
from bamboo_compat.homes.messages import (
    Answer,
    IAm,
    Join,
    Noted,
    Refused,
    Tell,
    Welcomed,
    Who,
    Why,
)
from bamboo_compat.statements.format import decode
from bamboo_compat.statements.kinds import Goodbye, Hello, Topic, Welcome
from bamboo_compat.statements.make import make
from bamboo_compat.statements.reading import open_statements
from setsync.errors import StoreError
from setsync.model.entry import Entry, UnverifiedEntry, verify
from setsync.node.invites import show_code
from setsync.node.tries import Tries
from setsync.store.contract import Added, Origins
from tests.bamboo.homes import scenes
from tests.bamboo.homes.scenes import CODE, DAY, NOW, Server, hello_of, join_of, key_of

ROOT = Path(__file__).parents[3]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that nobody was invited to."""
    with scenes.opened(tmp_path / "server") as server:
        yield server


def test_invites_are_kept_as_they_were_made(server: Server) -> None:
    """Also revoked ones; and a file in which an invite says nothing of groups is read as well."""
    server.invite(uses=3)
    other = server.invite(bytes(16), days=2)
    with homes_file(server.directory.path).changing() as draft:
        draft.value.invites.revoke(other.id, NOW)
    kept = server.homes.invites
    path = server.directory.path / "homes.json"
    found = json.loads(path.read_text())
    assert found["invites"][other.digest.hex()] == {
        "made": NOW,
        "expires": NOW + 2 * DAY,
        "uses": 1,
        "name": "",
        "groups": [],
        "revoked": True,
    }
    for about in found["invites"].values():
        del about["groups"]
    path.write_text(json.dumps(found))
    assert server.homes.invites == kept


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"made": True}, "times or uses that are no numbers"),
        ({"uses": "1"}, "times or uses that are no numbers"),
        ({"name": None}, "no name, or does not say whether it was revoked"),
        ({"name": "x" * 1_000}, "A name has at most"),
        ({"revoked": 0}, "no name, or does not say whether it was revoked"),
    ],
)
def test_an_invite_that_cannot_be_is_told_and_the_file_is_not_read(
    server: Server, about: dict[str, object], why: str
) -> None:
    invite = server.invite()
    path = server.directory.path / "homes.json"
    found = json.loads(path.read_text())
    found["invites"][invite.digest.hex()] |= about
    path.write_text(json.dumps(found))
    with pytest.raises(HomesFileError, match=f"is not a list of homes.*{why}"):
        _ = server.homes


def why(answer: Answer) -> Why:
    """Why it was refused; the sentence is one."""
    assert isinstance(answer, Refused), answer
    assert answer.sentence.endswith((".", "?"))
    return answer.why


def homes_of(server: Server, number: int = 1) -> list[bytes]:
    """The servers of an author's open marriages."""
    open_statements(server.store)
    with server.store.snapshot() as snapshot:
        found = open_homes(marriages(statements_in(snapshot), key_of(number).public))
    return [one.server for one in found]


# --- being welcomed -----------------------------------------------------------------------


def test_who_joins_with_a_code_is_welcomed_and_both_statements_are_in_the_set(
    server: Server,
) -> None:
    invite = server.invite()
    answer = server.ask(join_of(1, server))
    assert isinstance(answer, Welcomed)
    welcome = decode(answer.welcome)
    hello = hello_of(1, server)
    assert welcome.author == server.key.public
    assert welcome.said == Welcome(key_of(1).public, hello.id, scenes.URL)
    assert homes_of(server) == [server.key.public]
    [client] = server.homes.clients.values()
    assert (client.author, client.invite, client.joined) == (key_of(1).public, invite.id, NOW)
    assert [one.uses for one in server.homes.invites.all()] == [0]


def test_who_asks_again_gets_the_same_welcome_and_uses_up_nothing(server: Server) -> None:
    """The answer may have been lost on the way."""
    server.invite(uses=2)
    first = server.ask(join_of(1, server))
    again = server.ask(join_of(1, server, b"x" * 16))
    assert isinstance(first, Welcomed)
    assert first == again
    assert [one.uses for one in server.homes.invites.all()] == [1]
    assert server.tries.allow("", 0.0)


def test_welcomes_are_one_chain_also_after_a_stop_between_the_file_and_the_store(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.invite(uses=3)
    server.ask(join_of(1, server))
    kept = server.store.add_many
    calls: list[object] = []

    def fails_later(entries: Sequence[Entry], origins: Origins) -> Added:
        """The last client's statements are looked after first, and that goes well."""
        calls.append(entries)
        if len(calls) > 1:
            raise StoreError("The power went.")
        return kept(entries, origins)

    monkeypatch.setattr(server.store, "add_many", fails_later)
    assert why(server.ask(join_of(2, server))) is Why.FAILED
    monkeypatch.setattr(server.store, "add_many", kept)
    assert set(server.homes.clients) == {key_of(1).public, key_of(2).public}
    assert isinstance(server.ask(join_of(3, server)), Welcomed)
    open_statements(server.store)
    with server.store.snapshot() as snapshot:
        chain = statements_in(snapshot).chain(server.key.public, Topic.HOMES)
    assert [one.count for one in chain.statements] == [1, 2, 3]
    assert chain.is_sound
    assert homes_of(server, 2) == [server.key.public]


# --- being refused ------------------------------------------------------------------------


def test_each_of_what_can_be_wrong_with_a_code_has_its_own_answer(server: Server) -> None:
    used, late, gone = (bytes([n]) * 8 + bytes(8) for n in (1, 2, 3))
    server.invite(used)
    server.ask(join_of(1, server, used))
    server.invite(late, days=0)
    taken_back = server.invite(gone)
    with homes_file(server.directory.path).changing() as draft:
        draft.value.invites.revoke(taken_back.id, NOW)
    said = {}
    for code, expected in (
        (b"never made", Why.NO_SUCH_INVITE),
        (b"", Why.NO_SUCH_INVITE),
        (used, Why.USED_UP),
        (late, Why.EXPIRED),
        (gone, Why.REVOKED),
    ):
        server.tries = Tries()
        answer = server.ask(join_of(2, server, code))
        assert why(answer) is expected
        assert isinstance(answer, Refused)
        said[expected] = answer.sentence
        if code:
            server.tries = Tries()
            assert why(server.ask(Who(code))) is expected
    assert len(set(said.values())) == 4
    assert set(server.homes.clients) == {key_of(1).public}
    assert homes_of(server, 2) == []


def test_what_is_not_signed_for_this_server_and_for_now_uses_up_nothing(server: Server) -> None:
    server.invite()
    good = join_of(1, server)
    other = key_of(9)
    for bad, expected in (
        (replace(good, signature=bytes(64)), Why.NOT_SIGNED),
        (replace(good, signature=other.sign(good.to_sign(server.key.public))), Why.NOT_SIGNED),
        (replace(good, code=b"another"), Why.NOT_SIGNED),
        (replace(good, signature=key_of(1).sign(good.to_sign(other.public))), Why.NOT_SIGNED),
        (join_of(1, server, minutes=-1), Why.NOT_NOW),
        (join_of(1, server, minutes=60), Why.NOT_NOW),
    ):
        assert why(server.ask(bad)) is expected
    server.now += 3_600_000
    assert why(server.ask(good)) is Why.NOT_NOW, "a recorded request is worth nothing later"
    server.now = NOW
    stranger = make(key_of(1), Hello(other.public, ""), NOW, None)
    assert why(server.ask(join_of(1, server, hello=stranger))) is Why.NOT_FOR_US
    farewell = make(key_of(1), Goodbye(bytes(32)), NOW, None)
    assert why(server.ask(join_of(1, server, hello=farewell))) is Why.NOT_FOR_US
    assert isinstance(server.ask(good), Welcomed), "the invite was good all the time"


def test_who_is_at_home_elsewhere_is_told_where_and_may_come_after_a_goodbye(
    server: Server, tmp_path: Path
) -> None:
    with scenes.opened(tmp_path / "other", 210) as other:
        other.invite()
        first = hello_of(1, other)
        answer = other.ask(join_of(1, other, hello=first))
        assert isinstance(answer, Welcomed)
        copies = [UnverifiedEntry(one.collection, one.header, one.payload) for one in other.store]
        server.store.add_many([verify(one) for one in copies])
    server.invite()
    second = make(key_of(1), Hello(server.key.public), NOW, decode(first.header))
    refused = server.ask(join_of(1, server, hello=second))
    assert why(refused) is Why.MARRIED
    assert isinstance(refused, Refused)
    assert scenes.URL in refused.sentence
    assert [one.uses for one in server.homes.invites.all()] == [1]
    farewell = make(key_of(1), Goodbye(first.id), NOW, decode(first.header))
    third = make(key_of(1), Hello(server.key.public), NOW, decode(farewell.header))
    bare = Join(CODE, NOW - 1, NOW + 1, (first.header, farewell.header, third.header))
    signed = replace(bare, signature=key_of(1).sign(bare.to_sign(server.key.public)))
    assert isinstance(server.ask(signed), Welcomed)
    assert homes_of(server) == [server.key.public]


def test_a_goodbye_is_noted_from_clients_and_from_nobody_else(server: Server) -> None:
    server.invite()
    hello = hello_of(1, server)
    farewell = make(key_of(1), Goodbye(hello.id), NOW, decode(hello.header))
    assert why(server.ask(Tell((farewell.header,)))) is Why.NOT_FOR_US
    server.ask(join_of(1, server, hello=hello))
    assert server.ask(Tell((hello.header, farewell.header))) == Noted(2)
    assert homes_of(server) == []


# --- guessing (L20) -----------------------------------------------------------------------


def test_guesses_from_one_address_are_five_and_then_one_a_minute(server: Server) -> None:
    server.invite()
    server.address = "192.0.2.1"
    answers = [why(server.ask(Who(bytes([n]) * 16))) for n in range(8)]
    assert answers == 5 * [Why.NO_SUCH_INVITE] + 3 * [Why.TOO_OFTEN]
    assert why(server.ask(join_of(1, server))) is Why.TOO_OFTEN, "even with the right one"
    assert isinstance(server.ask(Who()), IAm), "asking who is there is no guess"
    server.address = "192.0.2.2"
    assert isinstance(server.ask(Who(CODE)), IAm), "others are not kept out"
    server.address, server.ticks = "192.0.2.1", 61.0
    assert why(server.ask(Who(b"guess"))) is Why.NO_SUCH_INVITE
    assert why(server.ask(Who(b"guess"))) is Why.TOO_OFTEN


def test_guesses_from_everywhere_are_twenty_and_then_one_a_minute(server: Server) -> None:
    counted = Counter[Why]()
    for number in range(60):
        server.address = f"192.0.2.{number}"
        counted[why(server.ask(Who(b"guess %d" % number)))] += 1
    assert counted == {Why.NO_SUCH_INVITE: 20, Why.TOO_OFTEN: 40}


def test_good_codes_do_not_count_as_guesses(server: Server) -> None:
    server.invite(uses=30)
    server.address = "192.0.2.1"
    for number in range(1, 31):
        assert isinstance(server.ask(join_of(number, server)), Welcomed)


# --- secrets ------------------------------------------------------------------------------


def test_a_code_is_in_no_file_and_in_no_answer(server: Server) -> None:
    server.invite(uses=2)
    said = [repr(server.ask(join_of(1, server))), repr(join_of(2, server)), repr(Who(CODE))]
    said.append(repr(server.ask(join_of(2, server, CODE[::-1]))))
    for path in server.directory.path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for form in (CODE, CODE.hex().encode(), show_code(CODE).encode()):
                assert form not in content, path
    assert not [one for one in said if CODE.hex() in one or repr(CODE) in one]
    assert server.directory.path.joinpath("homes.json").stat().st_mode & 0o077 == 0


# --- many at once (T26) -------------------------------------------------------------------

GUESTS = """
import sys, threading, time
from pathlib import Path
from bamboo_compat.homes.messages import Welcomed
from tests.bamboo.homes import scenes

with scenes.opened(Path(sys.argv[1])) as server:
    server.now, first = scenes.NOW, int(sys.argv[2])
    requests = [scenes.join_of(number, server) for number in range(first, first + 10)]
    start = threading.Barrier(11)

    def guest(request):
        start.wait()
        answer = server.ask(request)
        told = "in" if isinstance(answer, Welcomed) else answer.why.name
        sys.stdout.write(told + "\\n")

    threads = [threading.Thread(target=guest, args=(one,)) for one in requests]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.readline()
    start.wait()
    for thread in threads:
        thread.join()
"""


def test_of_fifty_who_redeem_one_code_at_once_one_is_welcomed(
    server: Server, tmp_path: Path
) -> None:
    """Five processes of ten threads each, on one directory."""
    server.invite()
    place = server.directory.path
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", GUESTS, place, str(1 + 10 * number)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(5)
    ]
    for one in crowd:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    said = Counter[str]()
    for one in crowd:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in crowd:
        said.update(one.communicate(timeout=120)[0].split())
    assert said == {"in": 1, "USED_UP": 49}
    [client] = server.homes.clients.values()
    married = [number for number in range(1, 51) if homes_of(server, number)]
    assert [key_of(number).public for number in married] == [client.author]
    assert [one.uses for one in server.homes.invites.all()] == [0]
