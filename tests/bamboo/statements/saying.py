"""Statements as they may be, for Hypothesis, and chains of them."""

from __future__ import annotations

from hypothesis import strategies as st

from bamboo_compat.statements.format import Statement, statement_of
from bamboo_compat.statements.kinds import (
    MAX_REASON,
    MAX_URL,
    Decide,
    Goodbye,
    Hello,
    Kind,
    Said,
    Undecide,
    Welcome,
)
from bamboo_compat.statements.make import make
from setsync.model.entry import Entry
from setsync.model.keys import SecretKey

NOW = 1_780_000_000_000
ANNA = SecretKey(bytes([1]) * 32)
BEN = SecretKey(bytes([2]) * 32)

ids = st.binary(min_size=32, max_size=32)
hashes = st.one_of(
    ids.map(lambda digest: b"\x00\x20" + digest),
    st.binary(min_size=64, max_size=64).map(lambda digest: b"\x00\x40" + digest),
)


def texts(most: int) -> st.SearchStrategy[str]:
    """Text that fits, cut where it is too long."""
    letters = st.characters(codec="utf-8", exclude_categories=["C", "Z"])
    return st.text(letters | st.just(" "), max_size=most).map(
        lambda text: text.encode("utf-8")[:most].decode("utf-8", "ignore")
    )


reasons, urls = texts(MAX_REASON), texts(MAX_URL)
decisions: st.SearchStrategy[Said] = st.one_of(
    st.builds(Decide, ids, hashes, reasons), st.builds(Undecide, ids, reasons)
)
moves: st.SearchStrategy[Said] = st.one_of(
    st.builds(Hello, ids, urls),
    st.builds(Welcome, ids, ids, urls),
    st.builds(Goodbye, ids, reasons),
)
anything = st.one_of(decisions, moves)

ONE_OF_EACH: dict[Kind, Said] = {
    Kind.DECIDE: Decide(b"f" * 32, b"\x00\x20" + b"b" * 32, "mine"),
    Kind.UNDECIDE: Undecide(b"f" * 32, "unsure"),
    Kind.HELLO: Hello(b"s" * 32, "https://home.example"),
    Kind.WELCOME: Welcome(b"c" * 32, b"h" * 32, "https://home.example"),
    Kind.GOODBYE: Goodbye(b"h" * 32, "moved"),
}


def said(entry: Entry) -> Statement:
    """The statement in an entry."""
    return statement_of(entry.claims)


def say(key: SecretKey, *sayings: Said, before: Statement | None = None) -> list[Entry]:
    """A chain, on from a statement."""
    made: list[Entry] = []
    for number, saying in enumerate(sayings):
        made.append(make(key, saying, NOW + number, before))
        before = said(made[-1])
    return made
