"""Whom a node dials: the key in an address, a place that was trusted once, a peer's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.lowlevel
import trio.testing

from setsync.errors import NoSuchPeerError, PeerIdentityError, PeersFileError, UsageError
from setsync.node.access import Mode
from setsync.node.address import Address
from setsync.node.dialling import Dialler, Target
from setsync.node.peers import Peer, PeersFile, Rule
from tests.node.ends import members
from tests.node.impostors import ANNA, BEN, MALLORY
from tests.node.secure import listening_node, put_on_list, store_of, sync_with


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


def test_a_place_is_trusted_once_and_its_key_from_then_on(mine: Path, theirs: Path) -> None:
    async def main() -> None:
        dialler = Dialler(BEN, PeersFile(mine / "peers.json"))
        async with listening_node(theirs, Mode.OPEN) as node:
            place = node.address.place
            with pytest.raises(UsageError, match="--trust-first") as untold:
                dialler.find(place)
            assert untold.value.exit_code == 2
            target = dialler.find(place, trust_first=True)
            assert target.pins
            assert (await sync_with(target, mine)).error is None
            assert dialler.peers.read().pins == {place: ANNA.public}
            known = dialler.find(place)
            assert (known.address, known.pins) == (node.address, False)
            assert (await sync_with(known, mine)).error is None
            # Asking to trust again does not trust another.
            assert dialler.find(place, trust_first=True) == known

    trio.run(main)


@pytest.mark.parametrize("raced", [False, True], ids=["pinned before", "pinned meanwhile"])
def test_a_changed_key_is_refused_naming_both(mine: Path, theirs: Path, raced: bool) -> None:
    """Also when another command trusted the place between our look and our dialling."""

    async def main() -> None:
        peers = PeersFile(mine / "peers.json")
        async with listening_node(theirs, Mode.OPEN) as node:
            place = node.address.place
            early = Dialler(BEN, peers).find(place, trust_first=True)
            with peers.changing() as book:
                book.pins[place] = MALLORY.public
            target = early if raced else Dialler(BEN, peers).find(place, trust_first=True)
            refused = await sync_with(target, mine)
            assert isinstance(refused.error, PeerIdentityError)
            assert (refused.error.code, refused.error.exit_code) == ("identity", 3)
            for key in (ANNA.public, MALLORY.public):
                assert key.hex() in refused.error.message
            assert "setsync peers remove" in refused.error.advice
            assert peers.read().pins == {place: MALLORY.public}
            assert members(node.store) == members(store_of(1))

    trio.run(main)


def test_whom_we_have_blocked_we_do_not_dial_either(mine: Path, theirs: Path) -> None:
    async def main() -> None:
        peers = PeersFile(mine / "peers.json")
        put_on_list(peers, ANNA, Rule.BLOCKED)
        async with listening_node(theirs, Mode.OPEN) as node:
            for target in (Target(node.address), Target(Address("127.0.0.1", node.port), True)):
                refused = await sync_with(target, mine)
                assert isinstance(refused.error, UsageError)
                assert f"setsync peers allow {ANNA.public.hex()}" in refused.error.message
            assert peers.read().pins == {}

    trio.run(main)


def test_a_node_that_dials_itself_is_told_so(theirs: Path) -> None:
    async def main() -> None:
        async with listening_node(theirs, Mode.OPEN) as node:
            for target in (Target(node.address), Target(Address("127.0.0.1", node.port), True)):
                refused = await sync_with(target, theirs, ANNA)
                assert isinstance(refused.error, PeerIdentityError)
                assert "is this node itself" in refused.error.message
            assert node.peers.read().pins == {}

    trio.run(main)


def test_a_peer_is_found_by_its_name(mine: Path) -> None:
    peers = PeersFile(mine / "peers.json")
    place = Address("example.org", 7717, ANNA.public)
    with peers.changing() as book:
        book.put(Peer(ANNA.public, name="anna", address=place))
        book.put(Peer(BEN.public, name="ben"))
        book.put(Peer(MALLORY.public, name="twin", address=place))
        book.put(Peer(bytes(32), name="twin", address=place))
    find = Dialler(BEN, peers).find
    assert find("anna") == Target(place)
    assert find(str(place)) == Target(place)
    for text, words in (
        ("ben", "No address of 'ben' is known"),
        ("twin", "2 peers are named 'twin'"),
        ("nobody:", "is not HOST:PORT"),
    ):
        with pytest.raises(UsageError, match=words):
            find(text)
    with pytest.raises(NoSuchPeerError, match="No peer is named 'nobody'"):
        find("nobody")


def test_the_plain_channel_proves_no_key(mine: Path) -> None:
    find: Callable[[str], Target] = Dialler(BEN, PeersFile(mine / "peers.json"), plain=True).find
    assert find("127.0.0.1:1") == Target(Address("127.0.0.1", 1))
    with pytest.raises(UsageError, match="nobody to prove it"):
        find(str(Address("127.0.0.1", 1, ANNA.public)))


def test_a_pin_that_cannot_be_written_ends_the_session_before_it_began(
    mine: Path, theirs: Path
) -> None:
    async def main() -> None:
        async with listening_node(theirs, Mode.OPEN) as node:
            (mine / "peers.json").write_text("garbage")
            refused = await sync_with(Target(Address("127.0.0.1", node.port), True), mine)
            assert isinstance(refused.error, PeersFileError)
            assert (await node.last(1)).entries_sent == 0

    trio.run(main)
