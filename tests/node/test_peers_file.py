"""Addresses and peers.json: what is written is what is read, and nothing else is taken."""

from __future__ import annotations

import contextlib
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsync.errors import NewerFormatError, PeersFileError, SetsyncError, UsageError
from setsync.limits import (
    MAX_INVITE_SECONDS,
    MAX_INVITE_USES,
    MAX_INVITES,
    MAX_PEERS,
    MAX_PEERS_FILE,
)
from setsync.node import peers
from setsync.node.address import SCHEME, Address, join_address, parse_key, split_address
from setsync.node.groups import group_names
from setsync.node.invites import Invite
from setsync.node.peers import Book, Peer, PeersFile, Rule

KEY = bytes(range(32))
OTHER = bytes(32)

# --- addresses ----------------------------------------------------------------------------

_hosts = st.one_of(
    st.from_regex(r"[a-z0-9-]{1,40}(\.[a-z0-9-]{1,40}){0,3}\.?", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.just("fe80::1%eth0"),
)
_keys = st.binary(min_size=32, max_size=32)
_addresses = st.builds(Address, _hosts, st.integers(0, 65_535), st.none() | _keys)


@given(_addresses)
def test_an_address_is_read_as_it_was_written(address: Address) -> None:
    assert Address.parse(str(address)) == address
    assert split_address(address.place) == (address.host, address.port)
    if address.key is not None:
        assert parse_key(str(address)) == parse_key(address.key.hex()) == address.key


@given(st.text(max_size=80) | st.text(max_size=80).map(lambda text: SCHEME + text))
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    """What is taken is stable: written again it is read as the same."""
    with contextlib.suppress(UsageError):
        address = Address.parse(text)
        assert 0 <= address.port <= 65_535
        assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        ":1",
        "host:",
        "host:x",
        "host:-1",
        "host:65536",
        "host:²",
        "host:٣",
        "host:" + "1" * 5_000,
        "::1:7717",
        "[]:1",
        SCHEME,
        f"{SCHEME}host:1",
        f"{SCHEME}{KEY.hex()}",
        f"{SCHEME}{KEY.hex()}@",
        f"{SCHEME}{KEY.hex()}@host",
        f"{SCHEME}{KEY.hex()[:-1]}@host:1",
        f"{SCHEME}{KEY.hex()}0@host:1",
        f"{SCHEME}{KEY.hex().upper()}@host:1",
        f"{SCHEME}{'é' * 64}@host:1",
        # No name of a host: nobody could look it up.
        "a..b:1",
        ".:1",
        "a" * 64 + ".org:1",
        f"{SCHEME}{KEY.hex()}@a..b:1",
        "\ud800:1",
    ],
)
def test_what_is_no_address_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        Address.parse(text)


def test_an_address_shows_all_there_is() -> None:
    assert str(Address("example.org", 7717, KEY)) == f"setsync://{KEY.hex()}@example.org:7717"
    assert Address("::1", 7717, KEY).place == join_address("::1", 7717) == "[::1]:7717"


def test_a_key_is_64_digits_or_in_an_address() -> None:
    assert parse_key(KEY.hex().upper()) == KEY
    for text in ("", "x" * 64, KEY.hex()[:-2], KEY.hex() + " ", "example.org:7717"):
        with pytest.raises(UsageError, match="neither a node's key"):
            parse_key(text)


# --- the file -----------------------------------------------------------------------------

_text = st.text(max_size=80)  # with every sign, and half a sign
_groups = st.lists(st.from_regex("[a-z0-9-]{1,6}", fullmatch=True), max_size=4).map(group_names)
_peers = st.builds(Peer, _keys, st.sampled_from(Rule), _text, st.none() | _addresses, _groups)
_invites = st.builds(
    lambda digest, made, lasts, uses, name, groups, revoked: Invite(
        digest, made, made + lasts, uses, name, groups, revoked
    ),
    _keys,
    st.integers(0, 2**45),
    st.integers(0, 1000 * MAX_INVITE_SECONDS),
    st.integers(0, MAX_INVITE_USES),
    st.text(max_size=64),
    _groups,
    st.booleans(),
)
_books = st.tuples(
    st.lists(_peers, max_size=6),
    st.dictionaries(_addresses.map(lambda a: a.place), _keys),
    st.lists(_invites, max_size=4).map(lambda all_: {one.digest: one for one in all_}),
)


@given(_books)
def test_a_book_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    book: tuple[list[Peer], dict[str, bytes], dict[bytes, Invite]],
) -> None:
    file = PeersFile(tmp_path_factory.mktemp("peers") / "peers.json")
    with file.changing() as written:
        for peer in book[0]:
            written.put(peer)
        written.pins.update(book[1])
        written.invites.by_digest.update(book[2])
    read = PeersFile(file.path).read()
    assert read.pins == book[1]
    assert read.invites.by_digest == book[2]
    for key, peer in {peer.key: peer for peer in book[0]}.items():
        found = read.peers[key]
        assert (found.rule, found.name) == (peer.rule, peer.name[:64])
        assert found.groups == peer.groups
        if peer.address is None:
            assert found.address is None
        else:  # its key is the peer's, which the file holds once
            assert found.address == Address(peer.address.host, peer.address.port, key)


def test_nobody_is_known_where_there_is_no_file(tmp_path: Path) -> None:
    assert PeersFile(tmp_path / "peers.json").read() == Book()


def test_the_file_is_for_its_owner_only_and_leaves_no_draft(tmp_path: Path) -> None:
    file = PeersFile(tmp_path / "peers.json")
    with file.changing() as book:
        book.put(Peer(KEY))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"peers.json", "peers.lock", "peers.queue"}
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    """Neither on the disk nor in what a later look finds."""
    file = PeersFile(tmp_path / "peers.json")
    with file.changing() as book:
        book.put(Peer(KEY))
    with contextlib.suppress(ZeroDivisionError), file.changing() as book:
        book.put(Peer(OTHER))
        raise ZeroDivisionError
    assert set(file.read().peers) == set(PeersFile(file.path).read().peers) == {KEY}


def test_who_looks_while_a_change_is_made_sees_what_was_there_before_it(tmp_path: Path) -> None:
    """Other threads of this process read through the same object."""
    file = PeersFile(tmp_path / "peers.json")
    with file.changing() as book:
        book.put(Peer(KEY))
    before = file.read()
    with file.changing() as book:
        book.put(Peer(OTHER))
        assert set(file.read().peers) == set(before.peers) == {KEY}
    assert set(file.read().peers) == {KEY, OTHER}


def test_a_reader_sees_what_another_wrote(tmp_path: Path) -> None:
    """And reads the file again only then."""
    reader, writer = PeersFile(tmp_path / "peers.json"), PeersFile(tmp_path / "peers.json")
    assert not reader.read().peers
    with writer.changing() as book:
        book.put(Peer(KEY, name="anna"))
    seen = reader.read()
    assert seen.peers[KEY].name == "anna"
    assert reader.read() is seen
    with writer.changing() as book:
        book.put(Peer(KEY, name="ben"))
    assert reader.read().peers[KEY].name == "ben"
    writer.path.unlink()
    assert not reader.read().peers


WRITER = """
import sys
from pathlib import Path
from setsync.node.peers import Peer, PeersFile
for number in range(25):
    with PeersFile(Path(sys.argv[1])).changing() as book:
        book.put(Peer(bytes([int(sys.argv[2]), number]) + bytes(30)))
"""


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    words = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*words, str(who)]) for who in range(2)]
    for writer in writers:
        assert writer.wait(60) == 0
    assert len(PeersFile(path).read().peers) == 50


def test_forgetting_takes_the_places_too() -> None:
    book = Book({KEY: Peer(KEY)}, {"a:1": KEY, "b:2": OTHER, "c:3": KEY})
    assert book.remove(KEY)
    assert (book.peers, book.pins) == ({}, {"b:2": OTHER})
    assert book.remove(OTHER)
    assert not book.remove(OTHER)


# --- limits -------------------------------------------------------------------------------


def test_a_name_is_cut() -> None:
    book = Book()
    book.put(Peer(KEY, name="x" * 500))
    assert book.peers[KEY].name == "x" * 64


def test_a_book_is_full_at_its_limit_and_those_in_it_may_still_change() -> None:
    book = Book({number.to_bytes(32, "big"): Peer(KEY) for number in range(MAX_PEERS)})
    with pytest.raises(PeersFileError, match="at most"):
        book.put(Peer(KEY))
    book.put(Peer(OTHER, Rule.BLOCKED))
    assert book.peers[OTHER].rule is Rule.BLOCKED


def test_a_file_that_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    file = PeersFile(tmp_path / "peers.json")
    with file.changing() as book:
        book.put(Peer(KEY))
    before = file.path.read_bytes()
    with pytest.raises(PeersFileError, match="would be longer"), file.changing() as book:
        book.pins["x" * MAX_PEERS_FILE] = KEY
    assert file.path.read_bytes() == before


# --- a file that is none ------------------------------------------------------------------

GOOD = {"setsync_peers": 1, "peers": {}, "pins": {}}
ABOUT = {"rule": "allowed", "name": "", "address": None}
INVITE = {"made": 1, "expires": 2, "uses": 1, "name": "", "groups": [], "revoked": False}


def _content(**changes: object) -> bytes:
    return json.dumps(GOOD | changes).encode()


GARBAGE = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b"\xff\xfe",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "deep": b"[" * 100_000,
    "too long": b" " * (MAX_PEERS_FILE + 1),
    "no version": b'{"peers": {}, "pins": {}}',
    "a version in words": _content(setsync_peers="1"),
    "version 0": _content(setsync_peers=0),
    "version NaN": _content(setsync_peers=float("nan")),
    "version true": _content(setsync_peers=True),
    "no peers": b'{"setsync_peers": 1, "pins": {}}',
    "no pins": b'{"setsync_peers": 1, "peers": {}}',
    "peers in a list": _content(peers=[]),
    "a short key": _content(peers={"00": ABOUT}),
    "no key": _content(peers={"anna": ABOUT}),
    "an unknown rule": _content(peers={KEY.hex(): ABOUT | {"rule": "perhaps"}}),
    "nothing about a peer": _content(peers={KEY.hex(): {}}),
    "a peer that is a number": _content(peers={KEY.hex(): 7}),
    "no address": _content(peers={KEY.hex(): ABOUT | {"address": "somewhere"}}),
    "an address that is a number": _content(peers={KEY.hex(): ABOUT | {"address": 7}}),
    "a pin that is none": _content(pins={"a:1": "00"}),
    "a pin that is a number": _content(pins={"a:1": 7}),
    "a group with a space": _content(peers={KEY.hex(): ABOUT | {"groups": ["a b"]}}),
    "a group of everybody": _content(peers={KEY.hex(): ABOUT | {"groups": ["everybody"]}}),
    "groups in one word": _content(peers={KEY.hex(): ABOUT | {"groups": "ab"}}),
    "a group that is a number": _content(peers={KEY.hex(): ABOUT | {"groups": [7]}}),
    "17 groups": _content(peers={KEY.hex(): ABOUT | {"groups": [f"g{n}" for n in range(17)]}}),
    "invites in a list": _content(invites=[7]),
    "a short digest": _content(invites={"00": INVITE}),
    "an invite that is a number": _content(invites={KEY.hex(): 7}),
    "nothing about an invite": _content(invites={KEY.hex(): {}}),
    "less than no use": _content(invites={KEY.hex(): INVITE | {"uses": -1}}),
    "half a use": _content(invites={KEY.hex(): INVITE | {"uses": 0.5}}),
    "many uses": _content(invites={KEY.hex(): INVITE | {"uses": MAX_INVITE_USES + 1}}),
    "an end before the beginning": _content(invites={KEY.hex(): INVITE | {"expires": 0}}),
    "an end that never comes": _content(invites={KEY.hex(): INVITE | {"expires": 10**15}}),
    "an end in words": _content(invites={KEY.hex(): INVITE | {"expires": "soon"}}),
    "perhaps revoked": _content(invites={KEY.hex(): INVITE | {"revoked": 0}}),
    "a long name": _content(invites={KEY.hex(): INVITE | {"name": "x" * 65}}),
    "too many invites": _content(
        invites={number.to_bytes(32).hex(): INVITE for number in range(MAX_INVITES + 1)}
    ),
    "too many": _content(peers={number.to_bytes(32).hex(): ABOUT for number in range(10_001)}),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_refused_with_a_sentence_and_left_alone(tmp_path: Path, what: str) -> None:
    path = tmp_path / "peers.json"
    path.write_bytes(GARBAGE[what])
    with pytest.raises(PeersFileError) as caught:
        PeersFile(path).read()
    assert caught.value.message.endswith(".")
    assert len(caught.value.message) < 1_000
    with pytest.raises(PeersFileError), PeersFile(path).changing():
        pytest.fail("there is nothing to change")
    assert path.read_bytes() == GARBAGE[what]


def test_a_list_without_groups_and_invites_is_one(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    path.write_bytes(_content(peers={KEY.hex(): ABOUT}))
    assert PeersFile(path).read() == Book({KEY: Peer(KEY)})


def test_what_a_reader_holds_is_not_changed_under_it(tmp_path: Path) -> None:
    """A node looks at the list in one thread while an invite is taken in another."""
    file = PeersFile(tmp_path / "peers.json")
    with file.changing() as book:
        book.put(Peer(KEY))
    seen = file.read()
    with file.changing() as book:
        book.put(Peer(OTHER))
        assert file.read() is seen
        assert set(seen.peers) == {KEY}
    assert set(seen.peers) == {KEY}
    assert set(file.read().peers) == {KEY, OTHER}


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    path.write_bytes(newer := _content(setsync_peers=2, more="things"))
    for look in (PeersFile(path).read, PeersFile(path).changing().__enter__):
        with pytest.raises(NewerFormatError, match="format 2; this version reads up to 1"):
            look()
    assert path.read_bytes() == newer


@given(st.binary(max_size=200))
def test_any_bytes_are_a_book_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("peers") / "peers.json"
    path.write_bytes(content)
    with pytest.raises(SetsyncError):
        PeersFile(path).read()


def test_what_cannot_be_opened_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    path.mkdir()
    with pytest.raises(PeersFileError, match=r"peers\.json cannot be read"):
        PeersFile(path).read()
    with (
        pytest.raises(PeersFileError, match="cannot be opened"),
        PeersFile(tmp_path / "nowhere" / "peers.json").changing(),
    ):
        pytest.fail("there is nothing to change")


def test_a_change_that_never_ends_keeps_no_other_waiting_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "PEERS_LOCK_SECONDS", 0.0)
    one, two = (PeersFile(tmp_path / "peers.json") for _ in range(2))
    with one.changing(), pytest.raises(PeersFileError, match="Another process"), two.changing():
        pass
    with two.changing() as book:
        book.put(Peer(bytes(32)))
    assert one.read().peers
