"""Who may talk to a node, and what both operators read when somebody may not."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import trio
import trio.lowlevel
import trio.testing

from setsync.errors import Abort, NotListedError, PeerIdentityError, PeerRefusedError, SetsyncError
from setsync.node.access import Access, Mode
from setsync.node.channel import dial
from setsync.node.client import Options, run_initiator
from setsync.node.dialling import Target
from setsync.node.identity import Identity
from setsync.node.peers import Book, Peer, PeersFile, Rule
from setsync.node.server import Served, run_responder
from setsync.wire import messages as m
from tests.node.ends import EMPTY_CATALOG, HELLO, Side, members, opened, simulate
from tests.node.ends import Peer as Scripted
from tests.node.impostors import ANNA, BEN, MALLORY
from tests.node.secure import listening_node, put_on_list, store_of, sync_with

# --- the rule -----------------------------------------------------------------------------

VERDICTS = [
    (Mode.LISTED, None, NotListedError),
    (Mode.LISTED, Rule.ALLOWED, None),
    (Mode.LISTED, Rule.BLOCKED, PeerRefusedError),
    (Mode.OPEN, None, None),
    (Mode.OPEN, Rule.ALLOWED, None),
    (Mode.OPEN, Rule.BLOCKED, PeerRefusedError),
    (Mode.INVITED, Rule.ALLOWED, None),
    (Mode.INVITED, Rule.BLOCKED, PeerRefusedError),
]


@pytest.mark.parametrize(("mode", "rule", "expected"), VERDICTS)
def test_who_may_talk(mode: Mode, rule: Rule | None, expected: type[SetsyncError] | None) -> None:
    book = Book({ANNA.public: Peer(ANNA.public, rule)} if rule is not None else {})
    access = Access(mode, lambda: book, lambda: contextlib.nullcontext(book))
    with pytest.raises(expected) if expected is not None else contextlib.nullcontext():
        assert access.check(ANNA.public)


def test_a_stranger_may_be_let_in_by_an_invite_where_invites_are_taken() -> None:
    """Where they are, the list has to be one that can be changed."""
    book = Book()
    access = Access(Mode.INVITED, lambda: book, lambda: contextlib.nullcontext(book))
    assert not access.check(ANNA.public)
    with pytest.raises(ValueError, match="can be changed"):
        Access(Mode.INVITED, lambda: book)


def test_a_key_is_in_the_groups_that_the_list_says() -> None:
    """Who is blocked or unknown is one of everybody, and of nobody else."""
    book = Book()
    book.put(Peer(ANNA.public, groups=("team", "family")))
    book.put(Peer(BEN.public, Rule.BLOCKED, groups=("team",)))
    for mode in (Mode.LISTED, Mode.OPEN):
        access = Access(mode, lambda: book)
        assert access.groups(ANNA.public) == ("everybody", "listed", "family", "team")
        assert access.groups(BEN.public) == ("everybody",)
        assert access.groups(MALLORY.public) == ("everybody",)


def test_a_refusal_tells_what_to_type_and_a_block_tells_nothing() -> None:
    book = Book({BEN.public: Peer(BEN.public, Rule.BLOCKED)})
    access = Access(Mode.LISTED, lambda: book)
    with pytest.raises(NotListedError, match=f"setsync peers add {ANNA.public.hex()}"):
        access.check(ANNA.public)
    with pytest.raises(PeerRefusedError, match="does not talk to you"):
        access.check(BEN.public)


# --- a node that listens, and some that dial ----------------------------------------------


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    folder.mkdir()
    return folder


def test_a_node_lets_in_whom_it_lists_and_a_change_holds_at_once(mine: Path, theirs: Path) -> None:
    async def main() -> None:
        async with listening_node(theirs) as node:
            target = Target(node.address)
            refused = await sync_with(target, mine)
            assert isinstance(refused.error, NotListedError)
            assert (refused.error.code, refused.error.exit_code) == ("not_listed", 3)
            assert f"setsync peers add {BEN.public.hex()}" in refused.error.message
            assert members(node.store) == members(store_of(1))

            put_on_list(node.peers, BEN)
            let_in = await sync_with(target, mine)
            assert let_in.error is None
            assert let_in.report.in_sync
            assert let_in.report.peer == ANNA.public.hex()
            assert members(node.store) == members(store_of(1, 2))

            put_on_list(node.peers, BEN, Rule.BLOCKED)
            blocked = await sync_with(target, mine)
            assert isinstance(blocked.error, PeerRefusedError)
            assert (blocked.error.code, blocked.error.exit_code) == ("refused", 3)

            with PeersFile(node.peers.path).changing() as book:
                assert book.remove(BEN.public)
            again = await sync_with(target, mine)
            assert isinstance(again.error, NotListedError)

            states = [(await node.last(number)).state for number in (1, 2, 3, 4)]
            assert states == ["failed", "done", "failed", "failed"]
            assert {served.peer for served in node.ended} == {BEN.public.hex()}
            assert "does not list you" in node.ended[0].reason

    trio.run(main)


def test_an_open_node_talks_to_strangers_and_not_to_the_blocked(mine: Path, theirs: Path) -> None:
    async def main() -> None:
        async with listening_node(theirs, Mode.OPEN) as node:
            put_on_list(node.peers, MALLORY, Rule.BLOCKED)
            stranger = await sync_with(Target(node.address), mine)
            assert stranger.error is None
            blocked = await sync_with(Target(node.address), mine, MALLORY)
            assert isinstance(blocked.error, PeerRefusedError)
            assert "does not talk to you" in blocked.error.message

    trio.run(main)


def test_a_list_that_cannot_be_read_lets_nobody_in(mine: Path, theirs: Path) -> None:
    """And the dialler learns no more than that it was not its fault."""

    async def main() -> None:
        async with listening_node(theirs, Mode.OPEN) as node:
            node.peers.path.write_text("{}")
            refused = await sync_with(Target(node.address), mine)
            assert isinstance(refused.error, PeerRefusedError)
            assert "cannot go on" in refused.error.message
            assert str(theirs) not in refused.error.message
            served = await node.last(1)
            assert "is not a list of peers" in served.reason

    trio.run(main)


# --- before a byte is looked at -----------------------------------------------------------


def test_who_is_not_listed_is_refused_before_its_hello_is_read() -> None:
    """What such a peer says, however wrong, is not even decoded."""

    async def main() -> None:
        here, there = trio.testing.memory_stream_pair()
        peer = Scripted(there)
        served = Served()
        access = Access(Mode.LISTED, Book)
        async with opened(Side(store_of(1)), ANNA.public) as local, trio.open_nursery() as nursery:
            await peer.say(HELLO, EMPTY_CATALOG)
            await peer.stream.send_eof()  # type: ignore[attr-defined]

            async def hear() -> None:
                while await peer.hear() is not None:
                    pass

            nursery.start_soon(hear)
            with pytest.raises(NotListedError):
                await run_responder(here, local, served, peer=BEN.public, access=access)
        [abort] = peer.heard
        assert isinstance(abort, m.AbortMessage)
        assert abort.code == Abort.NOT_LISTED
        assert served.peer == BEN.public.hex()

    simulate(main)


def test_a_dialler_that_calls_itself_by_another_key_is_refused(theirs: Path) -> None:
    async def main() -> None:
        async with listening_node(theirs, Mode.OPEN) as node:
            tcp = await trio.open_tcp_stream("127.0.0.1", node.port)
            channel = await dial(tcp, Identity.of(BEN), ANNA.public)
            peer = Scripted(channel.stream)
            await peer.say(HELLO)
            abort = await peer.hear_a(m.AbortMessage)
            await trio.aclose_forcefully(tcp)
            assert abort.code == Abort.REFUSED
            for key in (BEN.public, HELLO.node):
                assert key.hex() in (await node.last(1)).reason
            assert not [each for each in peer.heard if isinstance(each, m.Hello)]

    trio.run(main)


def test_a_listener_that_calls_itself_by_another_key_is_refused() -> None:
    async def main() -> None:
        here, there = trio.testing.memory_stream_pair()
        peer = Scripted(there)

        async def lie() -> None:
            await peer.hear_a(m.Hello)
            await peer.say(HELLO)
            while await peer.hear() is not None:
                pass
            await trio.aclose_forcefully(there)

        async with opened(Side(store_of(1)), ANNA.public) as local, trio.open_nursery() as nursery:
            nursery.start_soon(lie)
            with pytest.raises(PeerIdentityError, match=BEN.public.hex()) as caught:
                await run_initiator(here, local, Options(), peer=BEN.public)
        assert HELLO.node.hex() in caught.value.message
        assert [type(each) for each in peer.heard] == [m.Hello, m.AbortMessage]

    simulate(main)
