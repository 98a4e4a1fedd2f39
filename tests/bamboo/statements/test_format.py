"""Statements have one spelling each, and nothing that is not one is taken for one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from bamboo_compat.statements.format import FIRST, TAG, Statement, StatementFormat, decode, encode
from bamboo_compat.statements.kinds import (
    MAX_BODY,
    MAX_REASON,
    MAX_URL,
    Decide,
    Goodbye,
    Hello,
    Kind,
    Said,
    Topic,
    Undecide,
    Welcome,
)
from bamboo_compat.statements.make import make, pack
from setsync.errors import InvalidEntryError
from setsync.limits import MAX_HEADER, MAX_LINKS
from setsync.model.entry import UnverifiedEntry, entry_id, trusted, verify
from setsync.model.formats import format_of
from tests.bamboo.statements.saying import ANNA, BEN, NOW, ONE_OF_EACH, anything, said, say


def reason_of(header: bytes, collection: str = "system/forks", payload: bytes = b"") -> str:
    """Why it is refused; fails if it is not."""
    with pytest.raises(InvalidEntryError) as refusal:
        verify(UnverifiedEntry(collection, header, payload))
    return refusal.value.reason


def header(kind: int = 0x10, count: int = 1, previous: bytes = FIRST, body: bytes = b"") -> bytes:
    """Signed by Anna, whatever it says."""
    unsigned = encode(ANNA.public, count, previous, NOW, kind, body)  # type: ignore[arg-type]
    return unsigned + ANNA.sign(unsigned)


GOOD = pack(ONE_OF_EACH[Kind.DECIDE])


@settings(deadline=None)
@given(anything, st.integers(0, 2**64 - 1))
def test_what_is_said_is_read_again_and_goes_where_its_kind_says(saying: Said, time: int) -> None:
    entry = make(ANNA, saying, time, None)
    read = said(verify(UnverifiedEntry(entry.collection, entry.header, b"")))
    assert (read.said, read.timestamp, read.author) == (saying, time, ANNA.public)
    assert read.id == entry_id(entry.header)
    homes = isinstance(saying, Hello | Welcome | Goodbye)
    assert entry.collection == ("system/homes" if homes else "system/forks")
    assert len(entry.header) <= MAX_HEADER
    assert len(entry.claims.links) <= MAX_LINKS


@settings(deadline=None)
@given(anything, st.integers(0, 2**14), st.integers(1, 255))
def test_no_other_bytes_say_the_same(saying: Said, place: int, change: int) -> None:
    good = make(ANNA, saying, NOW, None).header
    at = place % len(good)
    changed = good[:at] + bytes([good[at] ^ change]) + good[at + 1 :]
    with pytest.raises(InvalidEntryError):
        verify(UnverifiedEntry(Kind(good[33]).topic.collection, changed, b""))


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=400))
def test_strangers_bytes_are_a_statement_or_refused(noise: bytes) -> None:
    data = bytes([TAG]) + noise
    try:
        read = decode(data)
    except InvalidEntryError:
        return
    again = encode(
        read.author, read.count, read.previous, read.timestamp, read.kind, read.said.pack()
    )
    assert data[:-64] == again


@settings(deadline=None, max_examples=500)
@given(st.sampled_from(list(Kind)), st.binary(max_size=300))
def test_a_body_that_is_read_is_the_one_spelling_of_it(kind: Kind, body: bytes) -> None:
    bad = header(kind, body=body)
    try:
        read = decode(bad)
    except InvalidEntryError:
        assert reason_of(bad, kind.topic.collection) == "bad_body"
    else:
        assert read.said.pack() == body


@pytest.mark.parametrize(
    ("kind", "digest"),
    [
        (Kind.DECIDE, "7198f04c9b345a06cc29d3970f46026a"),
        (Kind.UNDECIDE, "ba8e8c51f9499404dd65b8f17e1962bc"),
        (Kind.HELLO, "4075a3825014443fcb64f5917dcbdd19"),
        (Kind.WELCOME, "efb45b984ce143478d64e83ef70e2316"),
        (Kind.GOODBYE, "5636104c731a0aeecac8da42d803ce8e"),
    ],
)
def test_the_bytes_are_those_that_the_document_shows(kind: Kind, digest: str) -> None:
    first = make(ANNA, ONE_OF_EACH[kind], NOW, None)
    second = make(ANNA, ONE_OF_EACH[kind], NOW + 1, said(first))
    by_hand = b"".join(
        [
            bytes([0x73]),
            ANNA.public,
            bytes([kind]),
            (2).to_bytes(8, "big"),
            first.id,
            (NOW + 1).to_bytes(8, "big"),
            len(pack(ONE_OF_EACH[kind])).to_bytes(2, "big"),
            pack(ONE_OF_EACH[kind]),
        ]
    )
    assert second.header == by_hand + ANNA.sign(by_hand)
    assert blake3(first.header + second.header).hexdigest()[:32] == digest


def test_bodies_lie_field_after_field() -> None:
    assert {kind.name: pack(saying).hex(" ", 32) for kind, saying in ONE_OF_EACH.items()} == {
        kind.name: wanted.hex(" ", 32)
        for kind, wanted in {
            Kind.DECIDE: b"f" * 32 + b"\x00\x20" + b"b" * 32 + b"mine",
            Kind.UNDECIDE: b"f" * 32 + b"unsure",
            Kind.HELLO: b"s" * 32 + b"https://home.example",
            Kind.WELCOME: b"c" * 32 + b"h" * 32 + b"https://home.example",
            Kind.GOODBYE: b"h" * 32 + b"moved",
        }.items()
    }


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (header(body=GOOD)[:-1], "bad_header"),
        (header(body=GOOD) + b"\x00", "bad_header"),
        (header(body=GOOD)[:100], "bad_header"),
        (bytes([TAG]), "bad_header"),
        (header(0x12, body=GOOD), "bad_header"),
        (header(0x00, body=GOOD), "bad_header"),
        (header(count=0, body=GOOD), "bad_header"),
        (header(count=2, body=GOOD), "bad_header"),
        (header(count=1, previous=b"p" * 32, body=GOOD), "bad_header"),
        (header(body=GOOD + b"x" * MAX_BODY), "bad_header"),
        (header(body=b""), "bad_body"),
        (header(body=b"f" * 32), "bad_body"),
        (header(body=b"f" * 32 + b"\x00\x30" + b"b" * 48), "bad_body"),
        (header(body=b"f" * 32 + b"\x00\x40" + b"b" * 63), "bad_body"),
        (header(body=GOOD + b"\xff"), "bad_body"),
        (header(body=GOOD + b"\n"), "bad_body"),
        (header(body=GOOD + "\u202eevil".encode()), "bad_body"),
        (header(body=GOOD + b"x" * MAX_REASON), "bad_body"),
        (header(0x20, body=b"s" * 31), "bad_body"),
        (header(0x20, body=b"s" * 32 + b"u" * (MAX_URL + 1)), "bad_body"),
        (header(0x21, body=b"c" * 63), "bad_body"),
        (header(body=GOOD)[:-64] + bytes(64), "bad_signature"),
    ],
)
def test_what_is_wrong_is_refused_by_its_reason(bad: bytes, reason: str) -> None:
    assert reason_of(bad) == reason


def test_a_statement_is_in_its_topics_collection_only_and_has_no_payload() -> None:
    good = header(body=GOOD)
    assert reason_of(good, "system/homes") == "wrong_collection"
    assert reason_of(good, "forks") == "wrong_collection"
    assert reason_of(good, payload=b"more") == "bad_payload_size"
    assert trusted(UnverifiedEntry("system/forks", good, None)).payload is None


def test_the_tag_is_no_other_formats() -> None:
    assert isinstance(format_of(header(body=GOOD)), StatementFormat)
    assert {0x00, 0x01, 0x53}.isdisjoint(StatementFormat.tags)


def test_links_are_the_statement_before_and_the_entries_that_are_named() -> None:
    first, second = say(ANNA, Hello(b"s" * 32), Goodbye(b"h" * 32))
    assert first.claims.links == ()
    assert second.claims.links == tuple(sorted([first.id, b"h" * 32]))
    blake2 = Decide(b"f" * 32, b"\x00\x40" + b"b" * 64)
    assert make(ANNA, blake2, NOW, None).claims.links == ()


def test_nothing_is_signed_that_nobody_would_take() -> None:
    before = said(make(ANNA, Undecide(b"f" * 32), NOW, None))
    last = Statement(b"i" * 32, ANNA.public, 2**64 - 1, b"p" * 32, NOW, Undecide(b"f" * 32))
    wrong: list[tuple[Said, int, Statement | None]] = [
        (Undecide(b"short"), NOW, None),
        (Undecide(b"f" * 32, "x" * (MAX_REASON + 1)), NOW, None),
        (Undecide(b"f" * 32, "two\nlines"), NOW, None),
        (Undecide(b"f" * 32, "\ud800"), NOW, None),
        (Undecide(b"f" * 32), -1, None),
        (Undecide(b"f" * 32), 2**64, None),
        (Hello(b"s" * 32), NOW, before),
        (Undecide(b"f" * 32), NOW, last),
        (Decide(b"f" * 32, b"\x00\x20" + b"b" * 33), NOW, None),
    ]
    for saying, time, after in wrong:
        with pytest.raises(InvalidEntryError):
            make(ANNA, saying, time, after)
    with pytest.raises(InvalidEntryError):
        make(BEN, Undecide(b"f" * 32), NOW, before)


def test_every_kind_has_a_topic_and_every_topic_a_collection_of_the_system() -> None:
    assert {kind.topic for kind in Kind} == set(Topic)
    assert [topic.collection for topic in Topic] == ["system/forks", "system/homes"]


def test_the_document_shows_a_statement_as_it_is_made() -> None:
    page = (Path(__file__).parents[3] / "docs" / "statements.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"```\n([0-9a-f\n]+)```", page)
    made = make(ANNA, Decide(b"f" * 32, b"\x00\x20" + b"b" * 32, "mine"), NOW, None)
    assert bytes.fromhex(shown.replace("\n", "")) == made.header


def test_the_document_tells_every_kind_with_its_number_and_collection() -> None:
    page = (Path(__file__).parents[3] / "docs" / "statements.md").read_text(encoding="utf-8")
    for kind in Kind:
        assert f"| 0x{kind:02x} | {kind.name.lower()} | `{kind.topic.collection}` |" in page
    assert f"at most {MAX_REASON} bytes, a URL at most {MAX_URL}" in page
    assert f"length b of the body, at most {MAX_BODY} |" in page
