"""How it stood with each peer: whom the node lists is remembered, of others the latest."""

from __future__ import annotations

from pathlib import Path

import pytest

from setsync.errors import PeersFileError
from setsync.limits import MAX_PEERS, MAX_SENTENCE, MAX_STRANGERS
from setsync.node.peers import Book, Peer
from setsync.node.server import Served
from setsync.node.states import States, read_states
from setsync.store.memory import MemoryStore


def _key(number: int) -> bytes:
    return number.to_bytes(32)


FRIEND = _key(2**64)


def _states(tmp_path: Path, *listed: bytes) -> States:
    book = Book({key: Peer(key) for key in listed})
    return States(tmp_path / "states.json", lambda: book)


def _comes(states: States, key: bytes, reason: str = "") -> None:
    states.served(Served(key.hex(), "failed" if reason else "done", reason), 1_000)


def _come(states: States, number: int) -> None:
    """So many strangers."""
    for at in range(number):
        _comes(states, _key(at), "This node does not list you.")


@pytest.mark.parametrize("is_listed", [True, False], ids=["listed", "not listed"])
def test_who_comes_first_after_any_number_of_strangers_is_shown(
    tmp_path: Path, is_listed: bool
) -> None:
    states = _states(tmp_path, *[FRIEND] * is_listed)
    _come(states, MAX_PEERS)
    _comes(states, FRIEND)
    states.write(MemoryStore())
    assert read_states(states.path)[FRIEND.hex()].last_ok == 1_000


def test_no_number_of_strangers_makes_a_listed_peer_forgotten(tmp_path: Path) -> None:
    states = _states(tmp_path, FRIEND)
    _comes(states, FRIEND)
    _come(states, MAX_PEERS)
    assert states.peers[FRIEND.hex()].sessions == 1


def test_of_strangers_the_latest_are_shown_for_an_operator_who_wants_to_add_one(
    tmp_path: Path,
) -> None:
    states = _states(tmp_path, FRIEND)
    _come(states, MAX_STRANGERS)
    _comes(states, _key(0), "This node does not list you.")
    _comes(states, _key(MAX_STRANGERS), "This node does not list you.")
    assert len(states.peers) == MAX_STRANGERS
    assert _key(1).hex() not in states.peers
    assert states.peers[_key(0).hex()].sessions == 2


def test_who_was_a_stranger_and_is_listed_since_stays(tmp_path: Path) -> None:
    book = Book()
    states = States(tmp_path / "states.json", lambda: book)
    _comes(states, FRIEND, "This node does not list you.")
    book.put(Peer(FRIEND))
    _come(states, MAX_PEERS)
    assert FRIEND.hex() in states.peers


def test_a_list_that_cannot_be_read_makes_strangers_of_all_and_ends_nothing(tmp_path: Path) -> None:
    def book() -> Book:
        raise PeersFileError("peers.json is not a list of peers.")

    states = States(tmp_path / "states.json", book)
    _come(states, 2 * MAX_STRANGERS)
    assert len(states.peers) == MAX_STRANGERS


def test_who_was_listed_once_does_not_pile_up(tmp_path: Path) -> None:
    """Lists change, and each is of MAX_PEERS at most."""
    book = Book()
    states = States(tmp_path / "states.json", lambda: book)
    for at in range(MAX_PEERS + MAX_STRANGERS + 10):
        book.peers = {_key(at): Peer(_key(at))}
        _comes(states, _key(at))
    assert len(states.peers) == MAX_PEERS + MAX_STRANGERS
    assert _key(at).hex() in states.peers


def test_as_many_as_there_may_be_can_be_read_again(tmp_path: Path) -> None:
    """Strangers with the longest reasons too."""
    listed = [_key(2**64 + at) for at in range(MAX_PEERS)]
    states = _states(tmp_path, *listed)
    for key in listed:
        _comes(states, key, f"This node does not list you. Type: setsync peers add {key.hex()}")
    for at in range(MAX_STRANGERS):
        _comes(states, _key(at), "The other side says: " + "\x01" * MAX_SENTENCE)
    states.write(MemoryStore())
    assert len(read_states(states.path)) == MAX_PEERS + MAX_STRANGERS
