"""Who publishes for whom: away from home, with two homes, in a copy, or behind, nobody does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bamboo_compat.core.entry import decode as decode_bamboo
from bamboo_compat.core.yamf import Flavour, hash_of
from bamboo_compat.homes.errors import (
    AlreadyMarriedError,
    BehindHeadError,
    CopiedDirectoryError,
    NotTheHomeError,
    TwoHomesError,
)
from bamboo_compat.homes.joining import (
    Left,
    Me,
    heads_there,
    join,
    leave,
    logs_there,
    my_home,
    my_marriages,
    sign_logs,
    who_is_there,
)
from bamboo_compat.homes.ledger import Ledger, Place
from bamboo_compat.homes.marriages import open_homes
from bamboo_compat.homes.messages import Answer, Are, Logs, Question, Refused, Tell, Why
from bamboo_compat.homes.publishing import (
    INDEX,
    DirectoryState,
    check_heads,
    check_publish,
    finish,
    follow_decision,
    open_indexes,
)
from bamboo_compat.homes.receipts import Receipts, is_for, make_receipt, read_receipt
from bamboo_compat.set.appending import NextPlace
from bamboo_compat.set.reading import Reader
from setsync.errors import PeerError, PeerGoneError, PeerIdentityError, SetsyncError
from setsync.model.entry import UnverifiedEntry, verify
from setsync.node.config import DataDirectory
from setsync.node.place import Place as Where
from setsync.node.place import is_in_place, record_place
from setsync.store.contract import Quotas
from setsync.store.lmdb_store import Store
from tests.bamboo.histories import member
from tests.bamboo.homes import scenes
from tests.bamboo.homes.scenes import CODE, NOW, Person, Road, Server, key_of
from tests.bamboo.logs import Author

OTHER_URL = "setsync://" + "cd" * 32 + "@example.net:7717"


@pytest.fixture
def a(tmp_path: Path) -> Iterator[Server]:
    """A home with one invite."""
    with scenes.opened(tmp_path / "a", 200) as server:
        server.invite()
        yield server


@pytest.fixture
def b(tmp_path: Path) -> Iterator[Server]:
    """Another."""
    with scenes.opened(tmp_path / "b", 210) as server:
        server.invite()
        yield server


@pytest.fixture
def me(tmp_path: Path) -> Iterator[Person]:
    """Author 1, with a directory of its own."""
    with scenes.author(tmp_path / "me") as me:
        yield me


def meet(*stores: Store) -> None:
    """What a sync would do."""
    found = [
        verify(UnverifiedEntry(one.collection, one.header, one.payload))
        for store in stores
        for one in store
    ]
    for store in stores:
        store.add_many(found)


def check(directory: DataDirectory, store: Store, log_id: int = 1024) -> None:
    """Whether author 1 may publish there."""
    open_indexes(store)
    with store.snapshot() as snapshot:
        check_publish(snapshot, DirectoryState.of(directory), key_of(1).public, log_id)


def refusal(
    kind: type[SetsyncError], exit_code: int, directory: DataDirectory, store: Store
) -> str:
    """The sentence; what to do is told, too."""
    with pytest.raises(kind) as caught:
        check(directory, store)
    assert caught.value.exit_code == exit_code
    assert len(caught.value.advice) > 20
    return caught.value.message


# --- home ---------------------------------------------------------------------------------


def test_an_author_without_a_home_publishes_anywhere(a: Server, me: Person) -> None:
    check(a.directory, a.store)
    check(me.directory, me.store)


def test_a_home_publishes_for_its_author_and_so_does_the_directory_that_joined(
    a: Server, b: Server, me: Person
) -> None:
    mine = join(me, Road(a), CODE)
    assert my_home(me) == mine
    meet(a.store, b.store, me.store)
    check(a.directory, a.store)
    check(me.directory, me.store)
    said = refusal(NotTheHomeError, 11, b.directory, b.store)
    assert scenes.URL in said
    assert a.key.public.hex() in said


def test_after_a_goodbye_the_home_is_none_and_another_may_be_joined(
    a: Server, b: Server, me: Person
) -> None:
    join(me, Road(a), CODE)
    with pytest.raises(AlreadyMarriedError, match="You are at home at"):
        join(me, Road(b, OTHER_URL), CODE)
    assert [one.uses for one in b.homes.invites.all()] == [1]
    leave(me, Road(a))
    assert my_home(me) is None
    join(me, Road(b, OTHER_URL), CODE)
    meet(a.store, b.store, me.store)
    check(b.directory, b.store)
    refusal(NotTheHomeError, 11, a.directory, a.store)


def test_two_open_marriages_are_refused_on_both_sides_with_both_named(
    a: Server, b: Server, me: Person, tmp_path: Path
) -> None:
    """They come about where an author joins from two directories that do not know each other."""
    join(me, Road(a), CODE)
    with scenes.author(tmp_path / "again") as again:
        join(again, Road(b), CODE)
        meet(a.store, b.store, me.store, again.store)
        for directory, store in (
            (a.directory, a.store),
            (b.directory, b.store),
            (me.directory, me.store),
        ):
            said = refusal(TwoHomesError, 11, directory, store)
            assert a.key.public.hex() in said
            assert b.key.public.hex() in said


def test_a_server_with_another_key_than_in_the_url_is_not_spoken_to(a: Server, me: Person) -> None:
    with pytest.raises(PeerIdentityError):
        join(me, Road(a, key=bytes(32)), CODE)
    join(me, Road(a), CODE)
    a.key = key_of(222)
    with pytest.raises(PeerIdentityError, match="was expected"):
        leave(me, Road(a))


def test_a_goodbye_that_the_home_did_not_keep_holds_and_that_is_told(a: Server, me: Person) -> None:
    """Its rules left it out, and nobody's consent is needed; told again, it may be kept."""
    join(me, Road(a), CODE)
    with a.directory.policy.changing() as draft:
        draft.value = replace(draft.value, quotas=Quotas(author_entries=1))
    left = leave(me, Road(a))
    assert [one.server for one in left.homes] == [a.key.public]
    assert "kept 1 of 2 statements" in left.untold
    assert my_home(me) is None
    assert open_homes(my_marriages(me)) == []
    with a.directory.policy.changing() as draft:
        draft.value = replace(draft.value, quotas=Quotas())
    assert leave(me, Road(a)) == Left([])


@dataclass
class Deaf(Road):
    """The line breaks when statements are told."""

    def ask(self, question: Question) -> Answer:
        """Everything else is answered."""
        if isinstance(question, Tell):
            raise PeerGoneError("The line broke.")
        return super().ask(question)


def test_a_goodbye_holds_also_where_the_line_breaks_before_the_home_heard_it(
    a: Server, me: Person
) -> None:
    join(me, Road(a), CODE)
    left = leave(me, Deaf(a))
    assert [one.server for one in left.homes] == [a.key.public]
    assert left.untold == "The line broke."
    assert my_home(me) is None


# --- copies -------------------------------------------------------------------------------


def test_a_copied_directory_signs_nothing_until_it_is_adopted(me: Person, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(me.directory.path, copy)
    directory = DataDirectory.open(copy)
    with Store.open(directory.store_path) as store:
        said = refusal(CopiedDirectoryError, 12, directory, store)
        assert str(copy) in said
        record_place(copy)
        check(directory, store)
    check(me.directory, me.store)


def test_a_backup_is_a_copy_and_a_directory_that_moved_is_none(me: Person, tmp_path: Path) -> None:
    backup = me.directory.copy(me.store, tmp_path / "backup")
    assert not is_in_place(backup.path)
    (tmp_path / "backup").rename(tmp_path / "moved")
    record_place(tmp_path / "moved")
    (tmp_path / "moved").rename(tmp_path / "moved again")
    assert is_in_place(tmp_path / "moved again")


def test_a_place_is_another_by_machine_folder_or_disk_and_the_same_after_a_restart() -> None:
    here = Where("machine", "boot", 1, 2)
    assert here.is_same(here)
    assert here.is_same(replace(here, boot="next", device=7)), "disks are numbered anew"
    assert not here.is_same(replace(here, device=7))
    assert not here.is_same(replace(here, inode=3))
    assert not here.is_same(replace(here, machine="another"))


# --- behind -------------------------------------------------------------------------------


def test_who_lost_what_it_signed_is_behind_and_signs_nothing(me: Person) -> None:
    Ledger(me.directory.path, me.author, 1024).note(Place(9, hash_of(Flavour.YASMF, b"9")))
    said = refusal(BehindHeadError, 13, me.directory, me.store)
    assert "Entry 9 of log 1024 was signed here" in said


def test_a_receipt_says_that_the_home_has_more(me: Person, a: Server) -> None:
    header, _ = Author().append()
    receipt = make_receipt(a.key, header)
    Receipts(me.directory.path).keep(receipt)
    assert "has signed that it has entry 1" in refusal(BehindHeadError, 13, me.directory, me.store)


def test_what_was_signed_and_not_stored_is_stored_before_anything_else(
    me: Person,
) -> None:
    """The power went between the ledger and the store."""
    record = Author().append(b"lost?")
    ledger = Ledger(me.directory.path, me.author, 1024)
    ledger.use(1, *record, hash_of(Flavour.YASMF, record[0]))
    open_indexes(me.store)
    assert finish(me.store, ledger, NOW)
    assert [(one.header, one.payload) for one in me.store] == [record]
    assert not finish(me.store, ledger, NOW)
    check(me.directory, me.store)


def signed_fourth(me: Person) -> tuple[Author, Ledger]:
    """Log 1024 after the power went between the ledger and the store, with entry 4; then a sync
    brought entries 4 and 5 of another copy. The author as it was then, and its ledger."""
    mine = Author()
    me.store.add_many([member(one) for one in mine.grow(3)])
    other = mine.copy()
    header, payload = mine.append(b"mine")
    ledger = Ledger(me.directory.path, me.author, 1024)
    ledger.use(4, header, payload, mine.hashes[4])
    me.store.add_many([member(one) for one in other.grow(2, "other")])
    open_indexes(me.store)
    return other, ledger


def test_what_was_signed_is_stored_also_where_another_entry_has_its_number(me: Person) -> None:
    """So the fork that the author has signed is seen, and the entry is not lost."""
    _, ledger = signed_fourth(me)
    assert finish(me.store, ledger, NOW)
    assert not finish(me.store, ledger, NOW), "once"
    head = ledger.head()
    assert head is not None
    with me.store.snapshot() as snapshot:
        reader = Reader(snapshot.index_tables(INDEX))
        assert reader.find(head.hash) is not None
        assert len(list(reader.fork_ids())) == 1


def test_what_begins_a_log_is_stored_under_the_profile_that_it_is_signed_for(me: Person) -> None:
    header, payload = Author().append(b"first")
    ledger = Ledger(me.directory.path, me.author, 1024)
    ledger.use(1, header, payload, hash_of(Flavour.YASMF, header))
    open_indexes(me.store)
    assert finish(me.store, ledger, NOW, "aquadoggo")
    assert [one.collection for one in me.store] == ["bamboo/aquadoggo/unknown"]


def test_nothing_is_signed_over_an_entry_that_is_lost(me: Person) -> None:
    """The ledger says that its number was used, the store has others, and the file with the
    entry itself is damaged."""
    other, ledger = signed_fourth(me)
    ledger.signed_path.write_bytes(b"damaged")
    assert not finish(me.store, ledger, NOW)
    before = ledger.path.read_bytes()
    said = refusal(BehindHeadError, 13, me.directory, me.store)
    assert said == "Entry 4 of log 1024 was signed here, and is not in the store."
    with pytest.raises(BehindHeadError, match="Entry 4 of log 1024 was signed here"):
        follow_decision(me.store, ledger, NextPlace(6, other.hashes[5], None))
    assert ledger.path.read_bytes() == before


def test_a_head_at_home_that_is_further_is_believed_when_the_author_signed_it(
    a: Server, me: Person
) -> None:
    author = Author()
    records = author.grow(5)
    a.store.add_many([member(one) for one in records])
    me.store.add_many([member(one) for one in records[:3]])
    join(me, Road(a), CODE)
    found = heads_there(me, Road(a), [1024, 7])
    assert found == {1024: records[4][0], 7: b""}
    open_indexes(me.store)
    with me.store.snapshot() as snapshot:
        with pytest.raises(BehindHeadError, match="The home has entry 5 of log 1024"):
            check_heads(snapshot, me.author, 1024, [("The home", found[1024])])
        forged = bytearray(records[4][0])
        forged[-1] ^= 1
        other = Author(number=2).grow(9)[-1][0]
        for header in (b"", b"x", bytes(forged), other, records[2][0]):
            check_heads(snapshot, me.author, 1024, [("A liar", header)])


def test_heads_are_told_to_their_author_and_to_nobody_else(
    a: Server, me: Person, tmp_path: Path
) -> None:
    a.store.add_many([member(one) for one in Author().grow(2)])
    with scenes.author(tmp_path / "spy", 3) as spy:
        assert heads_there(spy, Road(a), [1024]) == {1024: b""}
    assert heads_there(me, Road(a), [1024])[1024] != b""


def logs_of(me: Me, a: Server) -> dict[int, bytes]:
    """By their ids."""
    return logs_there(me, Road(a), a.key.public)


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 300])
def test_a_home_tells_its_author_all_logs_that_it_has(a: Server, me: Person, count: int) -> None:
    """In pages, also where their ids are far apart; none of another author's."""
    ids = [*range(count - 1), 2**64 - 1][:count]
    records = {log_id: Author(log_id=log_id).append() for log_id in ids}
    a.store.add_many([member(one) for one in records.values()])
    a.store.add_many([member(Author(number, 5).append()) for number in (2, 3, 4)])
    assert logs_of(me, a) == {log_id: header for log_id, (header, _) in records.items()}


def test_logs_are_told_to_their_author_and_to_nobody_else(
    a: Server, me: Person, tmp_path: Path
) -> None:
    a.store.add_many([member(Author().append())])
    with scenes.author(tmp_path / "spy", 3) as spy:
        assert logs_of(spy, a) == {}
        there = who_is_there(spy, Road(a))
        mine = sign_logs(me.key, there, 0)
        for other in (
            replace(mine, first=1),
            replace(mine, not_before=mine.not_before + 1),
            replace(sign_logs(spy.key, there, 0), author=me.author),
            sign_logs(me.key, replace(there, node=me.author), 0),
        ):
            assert a.ask(other) == Refused(
                Why.NOT_SIGNED, "The author did not sign this for this server."
            )
        a.now += 600_000
        assert isinstance(found := a.ask(mine), Refused)
        assert found.why is Why.NOT_NOW


@dataclass
class Liar(Road):
    """Answers every question about logs alike."""

    told: tuple[tuple[int, bytes], ...] = ()
    asked: int = 0

    def ask(self, question: Question) -> Answer:
        """As `told`."""
        self.asked += isinstance(question, Logs)
        return Are(self.told) if isinstance(question, Logs) else super().ask(question)


def test_an_answer_about_logs_that_cannot_be_ends_the_asking(a: Server, me: Person) -> None:
    """The author signed them all, and each page goes on above the one before: so whoever answers
    for ever has to have as many logs."""
    mine, other = (Author(number, 5).append()[0] for number in (1, 2))
    forged = mine[:-1] + bytes([mine[-1] ^ 1])
    six = Author(1, 6).append()[0]
    for told, asked in (
        (((5, mine),), 2),
        (((6, six), (5, mine)), 1),
        (((5, mine), (5, mine)), 1),
        (((6, mine),), 1),
        (((5, other),), 1),
        (((5, forged),), 1),
        (((5, b""),), 1),
    ):
        liar = Liar(a, told=told)
        with pytest.raises(PeerError, match="logs"):
            logs_there(me, liar, a.key.public)
        assert liar.asked == asked


def test_an_author_with_more_logs_than_there_can_be_is_not_asked_about_for_ever(
    a: Server, me: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bamboo_compat.homes.joining.MAX_ARCHIVE_HEADS", 200)
    a.store.add_many([member(Author(log_id=log_id).append()) for log_id in range(201)])
    with pytest.raises(PeerError, match="over 200 logs"):
        logs_of(me, a)


def test_nobody_but_the_home_is_asked_for_its_logs(a: Server, me: Person) -> None:
    with pytest.raises(PeerIdentityError, match="was expected"):
        logs_there(me, Road(a), key_of(7).public)


# --- receipts -----------------------------------------------------------------------------


def test_a_receipt_is_the_servers_for_one_entry_and_the_same_each_time(a: Server) -> None:
    header, _ = Author().append()
    receipt = make_receipt(a.key, header)
    assert receipt == make_receipt(a.key, header)
    assert read_receipt(receipt.pack()) == receipt
    assert is_for(receipt, header, a.key.public)
    assert not is_for(receipt, header, key_of(5).public)
    assert not is_for(receipt, Author().make(1, b"another"), a.key.public)
    entry = decode_bamboo(header)
    packed = receipt.pack()
    assert packed[:4] == b"SHR1"
    assert packed[4:36] == entry.author
    assert packed[36:52] == (1024).to_bytes(8, "big") + (1).to_bytes(8, "big")
    assert packed[52] == 34
    assert packed[53:87] == hash_of(Flavour.YASMF, header)
    assert packed[87:119] == a.key.public
    assert len(packed) == 119 + 64


def test_a_receipt_with_any_byte_changed_is_none(a: Server) -> None:
    packed = make_receipt(a.key, Author().append()[0]).pack()
    for at in range(len(packed)):
        wrong = bytearray(packed)
        wrong[at] ^= 1
        with pytest.raises(PeerError):
            read_receipt(bytes(wrong))
    for wrong_length in (packed[:-1], packed + b"\0", b""):
        with pytest.raises(PeerError):
            read_receipt(wrong_length)


def test_receipts_are_found_by_their_place(a: Server, tmp_path: Path) -> None:
    kept = Receipts(tmp_path)
    made = [make_receipt(a.key, header) for header, _ in Author().grow(4)]
    for one in (made[1], made[3]):
        kept.keep(one)
    author = key_of(1).public
    found = [Receipts(tmp_path).find(author, 1024, number) for number in range(1, 6)]
    assert found == [None, made[1], None, made[3], None]
    assert kept.last(author, 1024) == made[3]
    assert kept.last(author, 1) is None
