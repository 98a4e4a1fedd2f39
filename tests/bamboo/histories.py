"""Authors as they may be: honest, on two machines, mistaken, or out to confuse; for Hypothesis."""

from __future__ import annotations

from collections.abc import Sequence

import cbor2
from hypothesis import strategies as st

from bamboo_compat.core import yamf
from bamboo_compat.core.entry import decode
from bamboo_compat.core.profiles import PROFILES, read_operation
from bamboo_compat.set.format import collection_of
from setsync.model.entry import Entry, UnverifiedEntry, trusted
from tests.bamboo.logs import FLAVOURS, Author, Record

_STEPS = ("append", "append", "append", "append", "copy", "other", "stray", "jump", "end")


@st.composite
def histories(draw: st.DrawFn, most: int = 24) -> list[Record]:
    """Entries of a few logs in some order: some are left out, some without their payload."""
    authors = [Author(1, 1024, draw(st.sampled_from(FLAVOURS)))]
    made: list[Record] = []
    for step in range(draw(st.integers(1, most))):
        author = draw(st.sampled_from(authors))
        match draw(st.sampled_from(_STEPS)):
            case "copy":
                authors.append(author.copy())
            case "other":
                flavour = draw(st.sampled_from(FLAVOURS))
                authors.append(Author(draw(st.integers(1, 2)), draw(_LOG_IDS), flavour))
            case "stray":
                made += _stray(draw, author, authors, step)
            case "jump":
                made += _jump(draw, author, authors, step)
            case kind:
                made.append(author.append(_payload(draw, step), end=kind == "end"))
    order = draw(st.permutations(made))
    return [
        (data, payload if draw(st.integers(0, 9)) else None)
        for data, payload in order
        if draw(st.integers(0, 9))
    ]


_LOG_IDS = st.sampled_from([0, 1024, 1025])


def _payload(draw: st.DrawFn, step: int) -> bytes:
    """An operation of one of two schemas, or nothing that anybody reads."""
    schema = draw(st.sampled_from(["", "", "one", "two"]))
    return cbor2.dumps([1, 0, schema, {"n": step}]) if schema else b"payload %d" % step


def _known(authors: Sequence[Author]) -> list[bytes]:
    return [tagged for author in authors for tagged in author.hashes[1:]]


def _stray(draw: st.DrawFn, author: Author, authors: Sequence[Author], step: int) -> list[Record]:
    """The next entry, with a backlink to anything that there is."""
    known = _known(authors)
    if len(author.hashes) == 1 or not known:
        return []
    payload = b"stray %d" % step
    data = author.make(len(author.hashes), payload, backlink=draw(st.sampled_from(known)))
    author.hashes.append(yamf.hash_of(author.flavour, data))
    return [(data, payload)]


def _jump(draw: st.DrawFn, author: Author, authors: Sequence[Author], step: int) -> list[Record]:
    """An entry of any number, with links to anything that there is."""
    known = _known(authors)
    if not known:
        return []
    payload = b"jump %d" % step
    seq_num = draw(st.integers(2, len(author.hashes) + 3))
    some = st.sampled_from(known)
    return [(author.make(seq_num, payload, backlink=draw(some), lipmaalink=draw(some)), payload)]


def member(record: Record, profile: str = "rfc0001") -> Entry:
    """A record as a member of the set; without its payload it is filed as unknown."""
    data, payload = record
    if payload is None:
        return trusted(UnverifiedEntry(f"bamboo/{profile}/unknown", data, None))
    collection = collection_of(PROFILES[profile], decode(data), payload)
    return trusted(UnverifiedEntry(collection, data, payload))


def schema_of(payload: bytes | None) -> str | None:
    """The schema that a payload names."""
    operation = read_operation(payload) if payload is not None else None
    return operation.schema if operation is not None else None
