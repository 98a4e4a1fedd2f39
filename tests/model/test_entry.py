"""Entries: the native format byte for byte, what `verify` refuses, and in which order."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from setsync.errors import InvalidEntryError, InvalidNameError
from setsync.limits import MAX_HEADER, MAX_LINKS, MAX_PAYLOAD
from setsync.model import formats
from setsync.model.entry import (
    ID_BYTES,
    Entry,
    UnverifiedEntry,
    entry_id,
    make_entry,
    trusted,
    verify,
)
from setsync.model.formats import Claims
from setsync.model.keys import SecretKey, is_valid_signature
from setsync.model.native import sign_header
from tests.helpers import MIDNIGHT, entries, keys, some_bytes

AUTHOR = SecretKey(bytes(range(32)))
LINKS = (some_bytes("link", 2), some_bytes("link", 1))


def golden() -> Entry:
    return make_entry(AUTHOR, "notes/é", b"hello", MIDNIGHT, LINKS)


def claim(entry: Entry) -> UnverifiedEntry:
    return UnverifiedEntry(entry.collection, entry.header, entry.payload)


def refusal(unverified: UnverifiedEntry) -> str:
    with pytest.raises(InvalidEntryError) as caught:
        verify(unverified)
    return caught.value.reason


# --- the bytes ----------------------------------------------------------------------------


def test_the_native_header_field_by_field() -> None:
    header = golden().header
    assert header[0] == 0x53
    assert header[1:33].hex() == "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
    assert header[33] == 8
    assert header[34:42] == "notes/é".encode()
    assert header[42:50] == (1_700_000_000_000).to_bytes(8, "big")
    assert header[50] == 2
    assert header[51:115] == b"".join(sorted(LINKS))
    assert header[115:123] == (5).to_bytes(8, "big")
    assert header[123:155] == blake3(b"hello").digest()
    assert len(header) == 219
    assert is_valid_signature(AUTHOR.public, header[:155], header[155:])


def test_the_golden_entry_has_its_golden_id() -> None:
    """Ed25519 has no randomness: this id is the same on every machine for ever."""
    assert golden().id == blake3(golden().header).digest()
    assert golden().id.hex() == "3ee863d206ab9d857def10ca032e6ab9743f04d2ea221ba968434d578d38edcc"


def test_what_was_made_is_what_is_read() -> None:
    entry = verify(claim(golden()))
    assert (entry.id, entry.collection, entry.payload) == (golden().id, "notes/é", b"hello")
    assert entry.author == AUTHOR.public
    assert entry.claims == Claims(
        format="native",
        author=AUTHOR.public,
        collection="notes/é",
        timestamp=MIDNIGHT,
        links=tuple(sorted(LINKS)),
        payload_size=5,
        payload_hash=blake3(b"hello").digest(),
        signature=golden().header[-64:],
    )
    assert entry.size == 219 + 5


def test_a_withheld_payload_is_no_fault_and_an_empty_one_is_a_payload() -> None:
    without = verify(UnverifiedEntry("notes/é", golden().header, None))
    assert (without.payload, without.id) == (None, golden().id)
    empty = make_entry(AUTHOR, "notes", b"", MIDNIGHT)
    assert verify(claim(empty)).payload == b""


@pytest.mark.parametrize("entry", [golden(), make_entry(AUTHOR, "a", b"", 0), *entries(3)])
def test_every_flipped_bit_is_refused(entry: Entry) -> None:
    """In the header or in the payload, wherever it is."""
    for at in range(len(entry.header)):
        for bit in range(8):
            header = bytearray(entry.header)
            header[at] ^= 1 << bit
            assert refusal(UnverifiedEntry(entry.collection, bytes(header), entry.payload))
            assert refusal(UnverifiedEntry(entry.collection, bytes(header), None))
            assert entry_id(bytes(header)) != entry.id
    assert entry.payload is not None
    for at in range(len(entry.payload)):
        payload = bytearray(entry.payload)
        payload[at] ^= 1
        changed = UnverifiedEntry(entry.collection, entry.header, bytes(payload))
        assert refusal(changed) == "bad_payload_hash"


def test_every_cut_and_every_tail_is_refused() -> None:
    for entry in (golden(), make_entry(AUTHOR, "a", b"", 0)):
        for cut in range(len(entry.header)):
            short = UnverifiedEntry(entry.collection, entry.header[:cut], None)
            assert refusal(short) == ("bad_header" if cut else "unknown_format")
        for tail in (b"\0", b"S", bytes(32), bytes(64), entry.header):
            longer = UnverifiedEntry(entry.collection, entry.header + tail, None)
            assert refusal(longer) == "bad_header"


# --- one value, one byte string -----------------------------------------------------------


def signed(
    *,
    tag: int = 0x53,
    name: bytes = b"notes",
    name_length: int | None = None,
    links: tuple[bytes, ...] = (),
    link_count: int | None = None,
    size: int = 5,
) -> bytes:
    """A header that is well signed, whatever its fields say."""
    body = b"".join(
        [
            bytes([tag]),
            AUTHOR.public,
            bytes([len(name) if name_length is None else name_length]),
            name,
            MIDNIGHT.to_bytes(8, "big"),
            bytes([len(links) if link_count is None else link_count]),
            *links,
            size.to_bytes(8, "big"),
            blake3(b"hello").digest(),
        ]
    )
    return body + AUTHOR.sign(body)


ASCENDING = tuple(sorted(some_bytes("link", n) for n in range(MAX_LINKS + 1)))


def test_the_header_made_by_hand_is_the_one_that_make_entry_makes() -> None:
    made = make_entry(AUTHOR, "notes", b"hello", MIDNIGHT, ASCENDING[:16])
    assert made.header == signed(links=ASCENDING[:16])
    assert verify(claim(made)).id == made.id


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (signed(links=ASCENDING[1::-1]), "strictly ascending"),
        (signed(links=(ASCENDING[0], ASCENDING[0])), "strictly ascending"),
        (signed(links=ASCENDING), "17 links"),
        (signed(link_count=1), "should have"),
        (signed(links=ASCENDING[:2], link_count=1), "should have"),
        (signed(name=b""), "it has 147 bytes, fewer than the shortest"),
        (signed(name=b"a")[:-1], "it has 147 bytes, fewer than the shortest"),
        (signed(name=b"ab")[:-1], "ends inside"),
        (signed(name=b"a", name_length=2), "ends inside"),
        (signed(name=b"note\xff"), "not UTF-8"),
        (signed(name=b"\xc0\xaf"), "not UTF-8"),
        (signed(name=b"\xc1\x81bc"), "not UTF-8"),
        (signed(name=b"\xe0\x80\xaf"), "not UTF-8"),
        (signed(name=b"\xed\xa0\x80"), "not UTF-8"),
        (signed(name=b"\xf4\x90\x80\x80"), "not UTF-8"),
        (signed(name=b"notes/"), "empty segment"),
        (signed(name=b"no*tes"), "cannot"),
        (signed(name=b"no\x00tes"), "cannot"),
        (signed(name="no\x9btes".encode()), "cannot"),
        (signed(name_length=4), "should have"),
        (signed(name_length=255), "ends inside"),
        (signed(size=MAX_PAYLOAD + 1), "claims a payload"),
        (signed(size=2**64 - 1), "claims a payload"),
    ],
)
def test_a_header_that_is_not_the_one_spelling_is_refused_though_signed(
    header: bytes, words: str
) -> None:
    with pytest.raises(InvalidEntryError, match=words) as caught:
        verify(UnverifiedEntry("notes", header, None))
    assert caught.value.reason == "bad_header"


@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_whatsoever_lead_to_another_exception(noise: bytes, native: bool) -> None:
    header = b"\x53" + noise if native else noise
    with pytest.raises(InvalidEntryError):
        verify(UnverifiedEntry("notes", header, None))


# --- the order of reasons -----------------------------------------------------------------


def test_cheap_reasons_come_before_dear_ones() -> None:
    """Each header or payload below has the fault named and every later one too."""
    forged = signed()[:-1] + b"\0"
    oversize = bytes(MAX_PAYLOAD + 1)
    order = [
        ("header_too_large", UnverifiedEntry("x", b"\xee" * (MAX_HEADER + 1), oversize)),
        ("unknown_format", UnverifiedEntry("x", b"\xee" * MAX_HEADER, oversize)),
        ("bad_header", UnverifiedEntry("x", forged + b"\0", oversize)),
        ("wrong_collection", UnverifiedEntry("x", forged, oversize)),
        ("payload_too_large", UnverifiedEntry("notes", forged, oversize)),
        ("bad_payload_size", UnverifiedEntry("notes", forged, b"hell")),
        ("bad_payload_hash", UnverifiedEntry("notes", forged, b"hallo")),
        ("bad_signature", UnverifiedEntry("notes", forged, b"hello")),
    ]
    assert [refusal(unverified) for _, unverified in order] == [reason for reason, _ in order]


def test_no_clock_decides_an_entry_of_any_time_is_valid() -> None:
    for timestamp in (0, 1, MIDNIGHT * 100, 2**63, 2**64 - 1):
        assert (
            verify(claim(make_entry(AUTHOR, "notes", b"", timestamp))).claims.timestamp == timestamp
        )


@pytest.mark.parametrize(
    ("payload", "timestamp", "links", "reason"),
    [
        (b"", -1, (), "bad_timestamp"),
        (b"", 2**64, (), "bad_timestamp"),
        (b"", 0, ASCENDING, "bad_links"),
        (b"", 0, (bytes(31),), "bad_links"),
        (b"", 0, (bytes(33),), "bad_links"),
        (b"", 0, (bytes(32), bytes(31)), "bad_links"),
        (bytes(MAX_PAYLOAD + 1), 0, (), "payload_too_large"),
    ],
)
def test_what_could_not_be_verified_is_not_made(
    payload: bytes, timestamp: int, links: tuple[bytes, ...], reason: str
) -> None:
    with pytest.raises(InvalidEntryError) as caught:
        sign_header(AUTHOR, "notes", payload, timestamp, links)
    assert caught.value.reason == reason


@pytest.mark.parametrize("name", ["", "no*tes", "n" * 256])
def test_an_entry_of_no_collection_is_not_made(name: str) -> None:
    with pytest.raises(InvalidNameError):
        make_entry(AUTHOR, name, b"", 0)


def test_the_largest_payload_is_made_and_verified_and_no_larger_one() -> None:
    largest = make_entry(AUTHOR, "notes", bytes(MAX_PAYLOAD), 0)
    assert verify(claim(largest)).size == len(largest.header) + MAX_PAYLOAD
    assert refusal(UnverifiedEntry("notes", largest.header, bytes(MAX_PAYLOAD + 1))) == (
        "payload_too_large"
    )


def test_the_largest_native_header_fits_the_limit() -> None:
    largest = make_entry(AUTHOR, "n" * 255, b"", 0, ASCENDING[:MAX_LINKS])
    assert len(largest.header) == 914
    assert len(largest.header) <= MAX_HEADER


def test_an_entry_is_made_by_verify_alone_and_stays_as_it_was_checked() -> None:
    entry = golden()
    with pytest.raises(TypeError, match="made by"):
        Entry(None, UnverifiedEntry("notes", entry.header, None), entry.id, entry.author, None)
    for name in ("id", "collection", "header", "payload", "claims", "more"):
        with pytest.raises(AttributeError):
            setattr(entry, name, b"")


def test_an_entry_is_not_copied_around_its_checks() -> None:
    for take_along in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="send its bytes"):
            take_along(golden())


def test_an_entry_shows_its_id_and_its_collection() -> None:
    assert repr(golden()) == "Entry(3ee863d206ab9d85 in 'notes/é')"


def test_a_size_counts_header_and_payload_and_nothing_withheld() -> None:
    assert claim(golden()).size == 219 + 5
    for payload, size in ((None, 219), (b"", 219)):
        assert UnverifiedEntry("notes/é", golden().header, payload).size == size
    assert verify(UnverifiedEntry("notes/é", golden().header, None)).size == 219
    assert len(golden().id) == ID_BYTES == 32


def test_links_are_put_in_order_and_doubles_left_out() -> None:
    one = make_entry(AUTHOR, "notes", b"", 0, ASCENDING[3::-1] + ASCENDING[:2])
    assert one.claims.links == ASCENDING[:4]


def test_two_authors_make_two_entries_of_the_same_text() -> None:
    one, two = (make_entry(key, "notes", b"same", 0) for key in keys(2))
    assert one.id != two.id


# --- the registry of formats --------------------------------------------------------------


class Shout:
    """A made-up format, tag 0x21: the author's key, and a text in capitals."""

    name = "shout"
    tags = frozenset([0x21])

    def decode(self, header: bytes) -> Claims:
        if len(header) < 34:
            raise InvalidEntryError("bad_header", "Too short to shout.")
        return Claims("shout", header[1:33], None, None, (), 0, bytes(32), b"")

    def check_collection(self, claims: Claims, payload: bytes | None, collection: str) -> None:
        if not collection.startswith("shouts/"):
            raise InvalidEntryError("wrong_collection", "Shouts belong under shouts/.")

    def check_payload(self, claims: Claims, payload: bytes) -> None:
        raise InvalidEntryError("shout_has_no_payload", "A shout is all header.")

    def check_signature(self, claims: Claims, header: bytes) -> None:
        if not header[33:].isupper():
            raise InvalidEntryError("too_quiet", "A shout is in capitals.")


class _Point:
    def __init__(self, name: str, format_class: type) -> None:
        self.name = name
        self._class = format_class

    def load(self) -> type:
        return self._class


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Make the installed formats these, as entry points would."""

    def do(*format_classes: type) -> None:
        points = [_Point(one.__name__, one) for one in format_classes]
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
        formats.formats.cache_clear()

    yield do
    monkeypatch.undo()
    formats.formats.cache_clear()


def test_the_native_format_comes_in_through_its_entry_point() -> None:
    assert formats.formats()[0x53].name == "native"


def test_another_package_s_format_is_a_guest_with_equal_rights(
    install: Callable[..., None],
) -> None:
    install(type(formats.formats()[0x53]), Shout)
    shout = b"\x21" + AUTHOR.public + b"HELLO"
    entry = verify(UnverifiedEntry("shouts/all", shout, None))
    assert (entry.id, entry.author) == (blake3(shout).digest(), AUTHOR.public)
    assert verify(UnverifiedEntry("shouts/more", shout, None)).id == entry.id
    assert refusal(UnverifiedEntry("notes", shout, None)) == "wrong_collection"
    assert refusal(UnverifiedEntry("shouts/all", shout, b"x")) == "shout_has_no_payload"
    assert refusal(UnverifiedEntry("shouts/all", shout[:-5] + b"hello", None)) == "too_quiet"
    assert verify(claim(golden())).id == golden().id


def test_without_the_package_its_entries_are_of_unknown_format() -> None:
    shout = b"\x21" + AUTHOR.public + b"HELLO"
    with pytest.raises(InvalidEntryError, match="tag 0x21"):
        verify(UnverifiedEntry("shouts/all", shout, None))


def test_two_packages_that_claim_one_tag_are_told_so(install: Callable[..., None]) -> None:
    class Rival(Shout):
        name = "rival"

    install(Shout, Rival)
    with pytest.raises(RuntimeError, match=r"rival and shout"):
        formats.formats()


def test_trusted_checks_everything_but_the_signature() -> None:
    forged = signed()[:-1] + b"\0"
    assert trusted(UnverifiedEntry("notes", forged, b"hello")).id == entry_id(forged)
    with pytest.raises(InvalidEntryError):
        trusted(UnverifiedEntry("other", forged, b"hello"))
