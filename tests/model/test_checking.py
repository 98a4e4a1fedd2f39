"""Entries verified elsewhere: the same verdicts, whichever process finds them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsync.errors import InvalidEntryError
from setsync.model.checking import LENGTH, answer, outcomes, pack_job, verify_here
from setsync.model.entry import Entry, UnverifiedEntry, checked, verify
from tests.helpers import entries


def bare(some: Sequence[Entry]) -> list[UnverifiedEntry]:
    """What somebody says of entries."""
    return [UnverifiedEntry(one.collection, one.header, one.payload) for one in some]


def spoiled(entry: UnverifiedEntry, how: int) -> UnverifiedEntry:
    """An entry as it is, or with something wrong with it."""
    header, payload = entry.header, entry.payload
    return (
        entry,
        UnverifiedEntry(entry.collection, header[:-1] + bytes([header[-1] ^ 1]), payload),
        UnverifiedEntry("elsewhere", header, payload),
        UnverifiedEntry(entry.collection, header, b"other"),
        UnverifiedEntry(entry.collection, b"", payload),
        UnverifiedEntry("\ud800", header, payload),
        UnverifiedEntry(entry.collection, header, None),
    )[how]


def told(outcome: Entry | InvalidEntryError) -> object:
    """What there is to know of a verdict."""
    if isinstance(outcome, Entry):
        whole = outcome.id, outcome.author, outcome.collection, outcome.header, outcome.payload
        return whole, outcome.claims, outcome.format
    return outcome.reason, outcome.message


@given(st.lists(st.integers(0, 6), max_size=12))
def test_the_verdict_from_elsewhere_is_that_of_this_process(how: list[int]) -> None:
    job = [spoiled(entry, one) for entry, one in zip(bare(entries(12)), how, strict=False)]
    packed = pack_job(job)
    assert LENGTH.unpack(packed[:4]) == (len(packed) - 4,)
    answered = answer(packed[4:])
    assert LENGTH.unpack(answered[:4]) == (len(answered) - 4,)
    found = [told(outcome) for outcome in outcomes(job, answered[4:])]
    assert found == [told(verify_here(entry)) for entry in job]


def test_an_answer_to_another_job_is_refused() -> None:
    answered = answer(pack_job(bare(entries(3)))[4:])
    with pytest.raises(ValueError, match="another job"):
        list(outcomes(bare(entries(4)), answered[4:]))


def test_what_was_checked_is_the_entry_that_verify_makes() -> None:
    (entry,) = bare(entries(1))
    made, elsewhere = verify(entry), checked(entry, entries(1)[0].id, entries(1)[0].author)
    assert told(made) == told(elsewhere)
    with pytest.raises(AttributeError):
        elsewhere.author = bytes(32)


def test_the_bytes_of_a_job_are_those_that_the_page_of_the_module_shows() -> None:
    job = [UnverifiedEntry("notes", b"header", None), UnverifiedEntry("notes", b"", b"x")]
    content = msgpack.packb([["notes", b"header", None], ["notes", b"", b"x"]])
    assert pack_job(job) == struct.pack(">I", len(content)) + content
