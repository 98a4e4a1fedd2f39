"""A home is bound by its node's rules, quotas and free disk, whoever brings statements to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bamboo_compat.homes.answering import Refusals
from bamboo_compat.homes.messages import Join, Noted, Refused, Tell, Welcomed, Why
from bamboo_compat.statements.format import decode
from bamboo_compat.statements.kinds import Goodbye, Topic
from bamboo_compat.statements.make import make
from setsync.model.collection import Pattern
from setsync.model.entry import Entry
from setsync.model.refusal import Refusal
from setsync.store.contract import Quotas
from tests.bamboo.homes import scenes
from tests.bamboo.homes.scenes import CODE, NOW, Server, hello_of, join_of, key_of

ANNA = key_of(1).public


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with an invite for two."""
    with scenes.opened(tmp_path / "server") as server:
        server.invite(uses=2)
        yield server


def block(server: Server) -> None:
    """Take nothing of author 1 any more."""
    with server.directory.policy.changing() as draft:
        draft.value = draft.value.blocking_author(ANNA, "anna")


def allow(server: Server, entries: int) -> None:
    """So many entries of an author and no more."""
    with server.directory.policy.changing() as draft:
        draft.value = replace(draft.value, quotas=Quotas(author_entries=entries))


def here(server: Server) -> int:
    """How many entries of author 1 are here."""
    with server.store.snapshot() as snapshot:
        return snapshot.usage(ANNA).entries


def goodbyes(count: int, last: Entry) -> list[bytes]:
    """Headers of as many statements by author 1, behind its last one."""
    found: list[bytes] = []
    for _ in range(count):
        last = make(key_of(1), Goodbye(bytes(32), "x"), NOW, decode(last.header))
        found.append(last.header)
    return found


def joined(server: Server) -> Entry:
    """Author 1 joins; its hello."""
    hello = hello_of(1, server)
    assert isinstance(server.ask(join_of(1, server, hello=hello)), Welcomed)
    return hello


# --- joining ------------------------------------------------------------------------------


def check_turned_away(server: Server, sentence: str) -> None:
    """Author 1 does not get in, is told why, and nothing has changed."""
    answer = server.ask(join_of(1, server))
    assert answer == Refused(Why.NOT_FOR_US, sentence)
    assert server.homes.clients == {}
    assert [one.uses for one in server.homes.invites.all()] == [2]
    assert len(list(server.store)) == 0


def test_a_blocked_author_is_not_married_and_uses_up_no_invite(server: Server) -> None:
    block(server)
    check_turned_away(server, Refusal.AUTHOR_BLOCKED.sentence)
    assert isinstance(server.ask(join_of(2, server)), Welcomed), "others are"


def test_an_author_over_its_quota_is_not_married_and_uses_up_no_invite(server: Server) -> None:
    allow(server, 0)
    check_turned_away(server, Refusal.AUTHOR_QUOTA.sentence)
    allow(server, 1)
    joined(server)


def test_where_statements_about_homes_are_blocked_nobody_is_married(server: Server) -> None:
    with server.directory.policy.changing() as draft:
        draft.value = draft.value.blocking_collection(Pattern(Topic.HOMES.collection))
    check_turned_away(server, "This node does not keep system/homes.")


def test_on_a_disk_with_little_room_nobody_is_married(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("setsync.node.room.REMOTE_RESERVE", 1 << 60)
    monkeypatch.setattr("setsync.node.room.DISK_SHARE", 1.0)
    answer = server.ask(join_of(1, server))
    assert isinstance(answer, Refused)
    assert answer.why is Why.FAILED
    assert [one.uses for one in server.homes.invites.all()] == [2]
    monkeypatch.undo()
    joined(server)


def test_who_joined_is_answered_again_though_the_quota_is_used_up_since(server: Server) -> None:
    """The same hello brings nothing new; what comes with it is bound."""
    hello = hello_of(1, server)
    first = server.ask(join_of(1, server, hello=hello))
    allow(server, 1)
    assert server.ask(join_of(1, server, hello=hello)) == first
    more = (*goodbyes(1, hello), hello.header)
    bare = Join(CODE, NOW - 1, NOW + 1, more)
    signed = replace(bare, signature=key_of(1).sign(bare.to_sign(server.key.public)))
    assert server.ask(signed) == Refused(Why.NOT_FOR_US, Refusal.AUTHOR_QUOTA.sentence)
    assert here(server) == 1


# --- what clients tell --------------------------------------------------------------------


def test_an_authors_quota_binds_what_clients_tell_and_the_rest_is_kept(server: Server) -> None:
    """The answer says how many are kept."""
    hello = joined(server)
    allow(server, 3)
    told = goodbyes(20, hello)
    assert server.ask(Tell((hello.header, *told[:4]))) == Noted(3)
    assert here(server) == 3
    assert server.ask(Tell(tuple(told[4:]))) == Refused(
        Why.NOT_FOR_US, Refusal.AUTHOR_QUOTA.sentence
    )
    assert server.ask(Tell((hello.header, *told[:2]))) == Noted(3), "what is here is kept"
    assert here(server) == 3


def test_a_blocked_author_tells_nothing_more(server: Server) -> None:
    hello = joined(server)
    block(server)
    answer = server.ask(Tell(tuple(goodbyes(2, hello))))
    assert answer == Refused(Why.NOT_FOR_US, Refusal.AUTHOR_BLOCKED.sentence)
    assert here(server) == 1


# --- what the operator hears --------------------------------------------------------------


def test_the_operator_hears_of_refusals_once_a_second_with_how_many_there_were(
    server: Server,
) -> None:
    heard: list[dict[str, object]] = []
    server.refusals = Refusals(lambda **fields: heard.append(fields))
    hello = joined(server)
    allow(server, 1)
    for second in (0.0, 0.2, 0.9, 1.1):
        server.ticks = second
        server.ask(Tell((hello.header, *goodbyes(3, hello))))
    about = {"author": ANNA.hex(), "reason": Refusal.AUTHOR_QUOTA.sentence}
    assert heard == [about | {"count": 3}, about | {"count": 9}]


def test_the_operator_hears_why_this_node_could_not_do_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[dict[str, object]] = []
    server.refusals = Refusals(lambda **fields: heard.append(fields))
    monkeypatch.setattr("setsync.node.room.REMOTE_RESERVE", 1 << 60)
    monkeypatch.setattr("setsync.node.room.DISK_SHARE", 1.0)
    server.ask(join_of(1, server))
    [one] = heard
    assert "are kept free" in str(one["reason"])
