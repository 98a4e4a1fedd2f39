"""Archives: all that an author signed, taken whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from bamboo_compat.core.yamf import Flavour, hash_of
from bamboo_compat.homes import archive
from bamboo_compat.homes.archive import About, check_archive, consequences, export, take, unproven
from bamboo_compat.homes.errors import ArchiveError, LedgerError, PassphraseError
from bamboo_compat.homes.joining import join
from bamboo_compat.homes.ledger import Ledger, Place
from bamboo_compat.homes.sealing import SEALED_BYTES, seal, unseal
from setsync.limits import KIB
from setsync.model.entry import UnverifiedEntry, make_entry
from tests.bamboo.histories import member
from tests.bamboo.homes import scenes
from tests.bamboo.homes.scenes import CODE, NOW, Person, Road, key_of
from tests.bamboo.logs import Author

CHANCE = bytes(range(40))


@pytest.fixture
def me(tmp_path: Path) -> Iterator[Person]:
    """Author 1 with 30 entries, one without its payload, and a home."""
    with (
        scenes.opened(tmp_path / "home") as home,
        scenes.author(tmp_path / "me") as me,
    ):
        home.invite()
        records = Author().grow(30)
        me.store.add_many([member(one) for one in records[:29]])
        me.store.add_many([member((records[29][0], None))])
        join(me, Road(home), CODE)
        yield me


def exported(me: Person, sealed: bytes | None = None) -> bytes:
    """The archive of author 1."""
    target = io.BytesIO()
    export(me.store, me.directory.path, me.author, target, NOW, sealed)
    return target.getvalue()


def contents(me: Person) -> set[tuple[str, bytes, bytes | None]]:
    """All that is in a store."""
    return {(one.collection, one.header, one.payload) for one in me.store}


def test_an_archive_brings_all_that_was_signed_elsewhere(me: Person, tmp_path: Path) -> None:
    content = exported(me)
    found = check_archive(io.BytesIO(content))
    assert found.about == About(me.author, NOW, key_of(200).public, scenes.URL), (
        "whose it is, and where home is"
    )
    assert (found.entries, found.payloads, found.statements) == (32, 31, 2)
    assert [(log, place.seq_num) for log, place in found.heads.items()] == [(1024, 30)]
    with scenes.author(tmp_path / "new", 9) as new:
        for expected in (32, 0):
            assert take(new.store, new.directory.path, found, io.BytesIO(content), NOW) == expected
        assert contents(new) == contents(me)
        head = Ledger(new.directory.path, me.author, 1024).head()
        assert head == found.heads[1024], "none of its numbers is ever signed again here"


def test_an_archive_has_these_bytes() -> None:
    header, payload = Author().append(b"hi")
    target = io.BytesIO()
    archive.write_archive(
        target,
        About(b"\x11" * 32, 2, b"\x22" * 32, "u"),
        [(7, Place(1, b"\x00\x20" + b"\x33" * 32))],
        [
            UnverifiedEntry("bamboo/rfc0001/unknown", header, payload),
            UnverifiedEntry("bamboo/rfc0001/unknown", header, None),
        ],
        b"\x44" * SEALED_BYTES,
    )
    content = target.getvalue()
    name = b"bamboo/rfc0001/unknown"
    first = b"\x16" + name + len(header).to_bytes(2, "big") + header
    expected = [
        b"setsync archive\0\x01",
        b"\x01\0\0\0\x49" + b"\x11" * 32 + b"\x22" * 32 + (2).to_bytes(8, "big") + b"u",
        b"\x02\0\0\0\x32" + (7).to_bytes(8, "big") + (1).to_bytes(8, "big"),
        b"\x00\x20" + b"\x33" * 32,
        b"\x03" + (len(first) + 3).to_bytes(4, "big") + first + b"\x01hi",
        b"\x03" + (len(first) + 1).to_bytes(4, "big") + first + b"\x00",
        b"\x04\0\0\0\x60" + b"\x44" * 96,
        b"\xff\0\0\0\x20",
    ]
    assert content[:-32] == b"".join(expected)
    assert content[-32:] == blake3(b"".join(expected)[:-5]).digest()


def test_an_archive_with_any_byte_changed_or_missing_is_refused(me: Person) -> None:
    content = exported(me)
    for at in [*range(200), *range(200, len(content), 41), len(content) - 1]:
        wrong = bytearray(content)
        wrong[at] ^= 0x10
        with pytest.raises(ArchiveError):
            check_archive(io.BytesIO(bytes(wrong)))
    for size in (*range(0, len(content), 97), len(content) - 1):
        with pytest.raises(ArchiveError):
            check_archive(io.BytesIO(content[:size]))
    with pytest.raises(ArchiveError):
        check_archive(io.BytesIO(content + b"\0"))


def test_entries_of_others_do_not_come_with_an_archive(me: Person) -> None:
    header, payload = Author(number=2).append()
    target = io.BytesIO()
    stranger = UnverifiedEntry("bamboo/rfc0001/unknown", header, payload)
    archive.write_archive(target, About(me.author, NOW), [], [stranger])
    with pytest.raises(ArchiveError, match="not by the author"):
        check_archive(io.BytesIO(target.getvalue()))


def test_a_part_that_says_to_be_huge_is_not_read() -> None:
    head = archive.MAGIC + bytes([archive.VERSION, archive.ENTRY]) + b"\xff\xff\xff\xff"
    with pytest.raises(ArchiveError, match="too long"):
        check_archive(io.BytesIO(head))


def bare(me: Person, log_id: int, place: Place) -> bytes:
    """An archive with a head, and no entry."""
    target = io.BytesIO()
    archive.write_archive(target, About(me.author, NOW), [(log_id, place)], [])
    return target.getvalue()


@pytest.mark.parametrize("number", [0, 2**32, 2**64 - 1])
def test_a_head_that_no_ledger_can_hold_refuses_the_whole(me: Person, number: int) -> None:
    content = bare(me, 0, Place(number, b"\x00\x20" + bytes(32)))
    with pytest.raises(ArchiveError, match="head"):
        check_archive(io.BytesIO(content))


def test_what_is_exported_can_be_imported_whatever_numbers_its_entries_have(
    me: Person, tmp_path: Path
) -> None:
    """No ledger holds a number over its limit, and none is ever signed after one."""
    header = Author(log_id=7).make(
        2**40, b"far", backlink=b"\x00\x20" + bytes(32), lipmaalink=b"\x00\x20" + bytes(32)
    )
    me.store.add_many([member((header, b"far"))])
    content = exported(me)
    found = check_archive(io.BytesIO(content))
    assert set(found.heads) == {1024}
    with scenes.author(tmp_path / "new", 9) as new:
        take(new.store, new.directory.path, found, io.BytesIO(content), NOW)
        assert contents(new) == contents(me)


def test_a_head_is_proven_by_its_entry_there_or_here_and_by_nothing_else(
    me: Person, tmp_path: Path
) -> None:
    """An archive's heads are signed by nobody, and what is noted of one is never taken back."""
    whole = check_archive(io.BytesIO(exported(me)))
    assert unproven(me.store, whole) == []
    assert whole.unproven == set(), "each of its entries is in it"
    last = whole.heads[1024]
    assert unproven(me.store, check_archive(io.BytesIO(bare(me, 1024, last)))) == []
    others = Author(number=2)
    others.grow(30)
    for log_id, place in (
        (1024, Place(2**32 - 1, last.hash)),
        (1024, Place(30, others.hashes[30])),
        (1024, Place(31, b"\x00\x20" + bytes(32))),
        (0, last),
    ):
        content = bare(me, log_id, place)
        [one] = unproven(me.store, check_archive(io.BytesIO(content)))
        assert one.log_id == log_id
        assert one.what == (
            f"The archive says that entry {place.seq_num} of log {log_id} was signed, and "
            "neither the archive nor this node has it."
        )
    with scenes.author(tmp_path / "new", 9) as new:
        found = check_archive(io.BytesIO(bare(me, 1024, last)))
        assert [one.log_id for one in unproven(new.store, found)] == [1024]


def test_entries_of_the_native_format_prove_no_head_and_refuse_no_archive(me: Person) -> None:
    """Here before a head's own entry, and alone."""
    made = make_entry(me.key, "notes", b"hi", NOW)
    note = UnverifiedEntry(made.collection, made.header, made.payload)
    header, payload = Author().append()
    last = hash_of(Flavour.YASMF, header)
    own = UnverifiedEntry("bamboo/rfc0001/unknown", header, payload)
    for entries, without in (([note, own], set()), ([note], {1024})):
        target = io.BytesIO()
        archive.write_archive(target, About(me.author, NOW), [(1024, Place(1, last))], entries)
        contents = check_archive(io.BytesIO(target.getvalue()))
        assert contents.unproven == without
        assert contents.entries == len(entries)


def test_a_ledger_that_cannot_be_read_refuses_an_archive_before_anything_is_taken(
    me: Person, tmp_path: Path
) -> None:
    content = exported(me)
    with scenes.author(tmp_path / "new", 9) as new:
        ledger = Ledger(new.directory.path, me.author, 1024)
        ledger.note(Place(3, b"\x00\x20" + bytes(32)))
        ledger.path.write_bytes(b"damage" * 100)
        found = check_archive(io.BytesIO(content))
        with pytest.raises(LedgerError, match="damaged"):
            take(new.store, new.directory.path, found, io.BytesIO(content), NOW)
        assert contents(new) == set()


def test_what_would_fork_is_told_before_anything_is_taken(me: Person, tmp_path: Path) -> None:
    content = exported(me)
    found = check_archive(io.BytesIO(content))
    with scenes.author(tmp_path / "other", 9) as other:
        assert consequences(other.store, found, io.BytesIO(content)) == []
        author = Author()
        shared = author.grow(10)
        branch = author.copy().grow(1, "another")
        other.store.add_many([member(one) for one in shared + branch])
        [one] = consequences(other.store, found, io.BytesIO(content))
        assert one.what == "Log 1024 forks at entry 11."
    with scenes.author(tmp_path / "further", 10) as further:
        further.store.add_many([member(one) for one in Author().grow(31)])
        [one] = consequences(further.store, found, io.BytesIO(content))
        assert one.what.startswith("Log 1024 ends at 30 in the archive and at 31 here")


# --- the key ------------------------------------------------------------------------------


def test_a_key_opens_with_its_passphrase_and_no_other() -> None:
    sealed = seal(key_of(1), "correct horse", CHANCE, operations=1, memory=8 * KIB)
    assert len(sealed) == SEALED_BYTES
    assert key_of(1).seed not in sealed
    assert unseal(sealed, "correct horse").seed == key_of(1).seed
    for wrong in ("Correct horse", "correct horse ", "x" * 1_025, ""):
        with pytest.raises(PassphraseError):
            unseal(sealed, wrong)


def test_a_sealed_key_has_these_bytes() -> None:
    sealed = seal(key_of(1), "correct horse", CHANCE, operations=1, memory=8 * KIB)
    assert sealed[:16] == CHANCE[:16]
    assert sealed[16:24].hex() == "00000001" + "00000008"
    assert sealed[24:48] == CHANCE[16:]
    assert sealed[48:72].hex() == "443c05fed63fb8ae393b3c645391c2f967c76745b92af14d"
    assert sealed[72:].hex() == "5c489f0fc5c5397399d20acb8a85e7df5a01d4de5792839e"


def test_a_box_that_wants_more_of_this_machine_than_it_should_is_refused() -> None:
    sealed = seal(key_of(1), "correct horse", CHANCE, operations=1, memory=8 * KIB)
    for costs in ("00000004" + "00000008", "00000001" + "ffffffff", "00000000" + "00000008"):
        with pytest.raises(ArchiveError):
            unseal(sealed[:16] + bytes.fromhex(costs) + sealed[24:], "correct horse")
    for at in range(24, SEALED_BYTES, 7):
        wrong = bytearray(sealed)
        wrong[at] ^= 1
        with pytest.raises(PassphraseError):
            unseal(bytes(wrong), "correct horse")
    with pytest.raises(ArchiveError):
        unseal(sealed + b"\0", "correct horse")


def test_a_file_is_whole_or_not_there_and_never_over_another(me: Person, tmp_path: Path) -> None:
    def fails(target: object) -> archive.Contents:
        raise OSError(28, "No space left on device")

    path = tmp_path / "x.archive"
    with pytest.raises(ArchiveError, match="No space left"):
        archive.write_file(path, fails)
    assert not path.exists()
    path.write_bytes(b"something")
    with pytest.raises(ArchiveError, match="exists already"):
        archive.write_file(path, fails)
    assert path.read_bytes() == b"something"
