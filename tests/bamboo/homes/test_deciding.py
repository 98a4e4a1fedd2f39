"""After a fork was decided, what is signed next follows the branch that is right: by
`bamboo append`, and by what a home asks for."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bamboo_compat.cli.fork_view import view_of
from bamboo_compat.client.sending import _Below
from bamboo_compat.core.entry import decode
from bamboo_compat.decisions.acting import decide_here
from bamboo_compat.homes.dangers import Act
from bamboo_compat.homes.errors import BehindHeadError, NextRefusedError
from bamboo_compat.homes.ledger import Ledger, Place
from bamboo_compat.homes.publishing import follow_decision, open_indexes
from bamboo_compat.homes.signing import NextArgs, next_args, sign_next
from bamboo_compat.set.appending import NextPlace
from setsync.model.keys import SecretKey, write_key_file
from setsync.node.config import DataDirectory
from setsync.store.contract import Origin
from setsync.store.lmdb_store import Store
from tests.bamboo.decisions.worlds import KEY, members
from tests.bamboo.logs import Author, Record
from tests.cli.running import Shell
from tests.node.processes import command

LOG = 1024
HERE, PEER = Origin(1_795_000_000_000), Origin(1_795_000_000_000, b"p" * 32)


def parted(at: int, ours: int, theirs: int) -> tuple[list[Record], list[Record], Author, Author]:
    """A log that parts after entry `at`: the entries up to the end of our branch, those of the
    other, and both."""
    laptop = Author()
    records = laptop.grow(at, "common")
    phone = Author(hashes=[*laptop.hashes])
    return records + laptop.grow(ours, "laptop"), phone.grow(theirs, "phone"), laptop, phone


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A node of author 1's own."""
    DataDirectory.init(tmp_path / "node", SecretKey(b"n" * 32), KEY)
    write_key_file(tmp_path / "anna.key", KEY)
    return Shell(tmp_path / "node")


@pytest.fixture
def store(shell: Shell) -> Iterator[Store]:
    """Its store."""
    with Store.open(shell.data / "store") as store:
        open_indexes(store)
        yield store


def signed(shell: Shell, author: Author, upto: int) -> Ledger:
    """A ledger in which all entries of a branch stand, as if they had been signed here."""
    ledger = Ledger(shell.data, KEY.public, LOG)
    for number in range(1, upto + 1):
        ledger.note(Place(number, author.hashes[number]))
    return ledger


def decided(shell: Shell, store: Store, author: Author, seq_num: int) -> NextPlace:
    """Where the log goes on, once the branch with an entry is decided to be right."""
    with view_of(DataDirectory.open(shell.data), store) as (_, view):
        [fork] = view.reader.fork_ids()
    decide_here(shell.data, fork, author.hashes[seq_num], who="", at=1)
    with view_of(DataDirectory.open(shell.data), store) as (_, view):
        return view.next_place(KEY.public, LOG)


@pytest.mark.parametrize(("ours", "theirs"), [(4, 2), (3, 3), (2, 6), (1, 1)])
def test_the_ledger_goes_on_after_the_branch_that_was_decided_for(
    shell: Shell, store: Store, ours: int, theirs: int
) -> None:
    """Longer, as long, or shorter than the one that was signed here."""
    records, others, laptop, phone = parted(3, ours, theirs)
    store.add_many(members(records), [(0, HERE)])
    store.add_many(members(others), [(0, PEER)])
    ledger = signed(shell, laptop, 3 + ours)
    place = decided(shell, store, phone, 4)
    assert place.seq_num == 4 + theirs
    follow_decision(store, ledger, place)
    assert ledger.head() == Place(3 + theirs, phone.hashes[3 + theirs])
    follow_decision(store, ledger, place)
    assert Ledger(shell.data, KEY.public, LOG).head() == ledger.head()


def test_a_decision_for_ones_own_branch_changes_no_ledger(shell: Shell, store: Store) -> None:
    records, others, laptop, _ = parted(3, 2, 4)
    store.add_many(members(records), [(0, HERE)])
    store.add_many(members(others), [(0, PEER)])
    ledger = signed(shell, laptop, 5)
    before = ledger.path.read_bytes()
    follow_decision(store, ledger, decided(shell, store, laptop, 4))
    assert ledger.path.read_bytes() == before


def test_numbers_whose_entries_are_not_here_are_not_given_up(shell: Shell, store: Store) -> None:
    """A fork cannot have been decided against what nobody has seen."""
    records, _, laptop, phone = parted(3, 4, 2)
    store.add_many(members(records[:3]), [(0, HERE)])
    ledger = signed(shell, laptop, 7)
    for place in (NextPlace(6, phone.hashes[5], None), NextPlace(1, None, None)):
        with pytest.raises(BehindHeadError, match="Entry 7 of log 1024 was signed here"):
            follow_decision(store, ledger, place)
    assert ledger.head() == Place(7, laptop.hashes[7])


@pytest.mark.parametrize("theirs", [1, 2, 4, 5, 9])
def test_a_home_is_followed_on_the_branch_that_is_right_and_on_no_other(
    shell: Shell, store: Store, theirs: int
) -> None:
    """Also where the next entry has to name one that stands in the ledger with the other branch's
    hash: here the log parts at entry 4, and entry 8 names entry 4 and entry 13 the same."""
    records, others, laptop, phone = parted(3, 4, theirs)
    store.add_many(members(records), [(0, HERE)])
    store.add_many(members(others), [(0, PEER)])
    ledger = signed(shell, laptop, 7)
    place = decided(shell, store, phone, 4)
    follow_decision(store, ledger, place)
    open_indexes(store)
    with view_of(DataDirectory.open(shell.data), store) as (_, view):
        older = _Below(view.reader, place)
        right = NextArgs(LOG, place.seq_num, place.backlink, place.lipmaalink)
        assert next_args(ledger, older) == right
        wrong = NextArgs(LOG, 8, laptop.hashes[7], laptop.hashes[4])
        with pytest.raises(NextRefusedError):
            sign_next(wrong, ledger, KEY, b"wrong", older=older)
        entry = decode(sign_next(right, ledger, KEY, b"right", older=older))
    assert (entry.seq_num, entry.backlink) == (4 + theirs, phone.hashes[3 + theirs])
    assert entry.lipmaalink == place.lipmaalink
    head = ledger.head()
    assert head is not None
    assert head.seq_num == 4 + theirs


def put(shell: Shell, records: list[Record], origin: Origin) -> None:
    """Into the store, which is closed again."""
    with Store.open(shell.data / "store") as store:
        store.add_many(members(records), [(0, origin)])


def fork_of(shell: Shell) -> str:
    """The one that there is."""
    [fork] = shell.ok("fork", "list", "--json").json("fork-list")["forks"]
    return str(fork["id"])


def test_appending_goes_on_after_a_decision_and_the_log_does_not_part_again(shell: Shell) -> None:
    words = ("bamboo", "append", str(shell.data / "author.key"), str(LOG), "-", "--json")
    phone = Author()
    for number in range(6):
        told = shell.ok(*words, stdin=b"%d" % number).json("bamboo-append")
        if number < 3:
            phone.hashes.append(bytes.fromhex(told["hash"]))
    put(shell, phone.grow(2, "phone"), PEER)
    branch = phone.hashes[4].hex()
    shell.ok("fork", "decide", fork_of(shell), "--branch", branch, "--yes")
    for number in range(6, 12):
        last = shell.ok(*words, stdin=b"%d" % number).json("bamboo-append")["hash"]
    log = shell.ok("bamboo", "log", KEY.public.hex(), str(LOG), "--json").json("bamboo-log")
    assert log["effective_heads"] == [{"seq_num": 11, "hash": last}]
    assert len(log["forks"]) == 1
    head = Ledger(shell.data, KEY.public, LOG).head()
    assert head == Place(11, bytes.fromhex(last))


@pytest.mark.parametrize(("typed", "code"), [("decide\n", 0), ("yes\n", 2), ("\n", 2)])
def test_deciding_against_ones_own_branch_wants_the_word(
    shell: Shell, typed: str, code: int
) -> None:
    records, others, _, phone = parted(3, 2, 2)
    put(shell, records, HERE)
    put(shell, others, PEER)
    words = ("fork", "decide", fork_of(shell), "--branch", phone.hashes[4].hex())
    refused = shell.run(*words)
    assert refused.code == 2
    assert Act.DECIDE_AGAINST_OWN.value.what in refused.complaint
    assert not (shell.data / "forks.json").exists()
    ours, theirs = pty.openpty()
    os.write(ours, typed.encode())
    done = subprocess.run(
        command(*words, "--data", shell.data),
        stdin=theirs,
        capture_output=True,
        timeout=60,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == code, done.stderr
    assert Act.DECIDE_AGAINST_OWN.value.what in done.stderr.decode()
    assert b"Type 'decide'" in done.stderr
    assert (shell.data / "forks.json").exists() == (code == 0)


def test_a_decision_that_was_confirmed_beforehand_is_told_as_one(shell: Shell) -> None:
    """And what was brought here was not signed here, as far as anybody knows."""
    records, others, _, phone = parted(3, 2, 2)
    put(shell, records, HERE)
    put(shell, others, PEER)
    words = ("fork", "decide", fork_of(shell), "--branch", phone.hashes[4].hex())
    refused = shell.run(*words)
    assert "signed here" not in refused.complaint
    decided = shell.ok(*words, "--yes")
    assert "was brought at this machine" in decided.complaint
    assert "Dangerous" not in decided.complaint
    assert "has to be confirmed" not in decided.complaint
