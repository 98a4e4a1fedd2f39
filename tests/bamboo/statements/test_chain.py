"""Chains are the same in whatever order statements come, and tell what is wrong with them."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bamboo_compat.statements import reading
from bamboo_compat.statements.chain import chain_of
from bamboo_compat.statements.index import ABOUT, CHAINS, INDEX
from bamboo_compat.statements.kinds import Goodbye, Hello, Said, Topic, Undecide, Welcome
from bamboo_compat.statements.make import make
from bamboo_compat.statements.reading import (
    Reader,
    open_statements,
    read_chain,
    statements_about,
)
from setsync.model.entry import Entry
from setsync.store.check import check
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore
from tests.bamboo.statements.saying import ANNA, BEN, NOW, anything, said, say


@st.composite
def utterances(draw: st.DrawFn) -> list[Entry]:
    """What two people say, each now and then from an old copy of what they had said."""
    made: list[Entry] = []
    for step in range(draw(st.integers(1, 16))):
        key = draw(st.sampled_from([ANNA, BEN]))
        saying: Said = draw(anything)
        mine = [
            said(one)
            for one in made
            if one.author == key.public and said(one).topic == saying.kind.topic
        ]
        before = draw(st.sampled_from([None, *mine, *mine[-1:] * 3])) if mine else None
        made.append(make(key, saying, NOW + step, before))
    kept = [one for one in made if draw(st.integers(0, 5))]
    return draw(st.permutations(kept))


def store_with(entries: list[Entry], chance: random.Random | None = None) -> MemoryStore:
    store = MemoryStore()
    at = 0
    while at < len(entries):
        size = chance.choice([1, 2, 5]) if chance else 1
        store.add_many(entries[at : at + size])
        at += size
    open_statements(store)
    return store


@settings(deadline=None, max_examples=150)
@given(utterances(), st.randoms(use_true_random=False))
def test_the_index_has_the_chains_that_the_statements_make_in_any_order(
    entries: list[Entry], chance: random.Random
) -> None:
    statements = [said(one) for one in entries]
    subjects = {one for statement in statements for one in statement.said.about()}
    with store_with(entries, chance).snapshot() as snapshot:
        reader = Reader(snapshot.index_tables(INDEX))
        for topic in Topic:
            for key in (ANNA.public, BEN.public):
                assert reader.chain(key, topic) == chain_of(
                    key, topic, sorted(statements, key=lambda one: one.id)
                )
            spoke = sorted({one.author for one in statements if one.topic == topic})
            assert list(reader.authors(topic)) == spoke
        for subject in subjects:
            found = statements_about(snapshot, subject)
            assert {one.id for one in found} == {
                one.id for one in statements if subject in one.said.about()
            }
        assert list(INDEX.check(snapshot.index_tables(INDEX))) == []


@settings(deadline=None, max_examples=150)
@given(utterances())
def test_a_chain_tells_all_forks_and_all_that_is_missing(entries: list[Entry]) -> None:
    mine = [said(one) for one in entries if one.author == ANNA.public]
    chain = chain_of(ANNA.public, Topic.FORKS, mine)
    counts = [one.count for one in chain.statements]
    assert counts == sorted(counts)
    assert sum(len(fork) for fork in chain.forks) == sum(counts.count(one) > 1 for one in counts)
    assert set(chain.missing) == {one.previous for one in chain.statements if one.count > 1} - {
        one.id for one in chain.statements
    }
    if chain.latest is not None:
        assert chain.latest.count == max(counts)


def test_a_sound_chain_goes_on_from_its_latest() -> None:
    made = say(ANNA, Undecide(b"a" * 32), Undecide(b"b" * 32), Undecide(b"c" * 32))
    chain = chain_of(ANNA.public, Topic.FORKS, map(said, reversed(made)))
    assert chain.is_sound
    assert [one.count for one in chain.statements] == [1, 2, 3]
    assert chain.latest == said(made[-1])
    assert chain.find(made[0].id) == said(made[0])
    assert chain.find(b"x" * 32) is None


def test_an_author_without_statements_has_an_empty_chain() -> None:
    with store_with([]).snapshot() as snapshot:
        chain = read_chain(snapshot, ANNA.public, Topic.HOMES)
    assert (chain.latest, chain.statements, chain.is_sound) == (None, (), True)


def test_of_a_forked_chain_both_sides_are_told_and_the_smaller_id_holds() -> None:
    [first] = say(ANNA, Undecide(b"a" * 32))
    sides = [make(ANNA, Undecide(b"b" * 32), NOW + n, said(first)) for n in range(5)]
    chain = chain_of(ANNA.public, Topic.FORKS, map(said, [*sides, first]))
    [fork] = chain.forks
    assert {one.id for one in fork} == {one.id for one in sides}
    assert chain.latest == fork[-1]
    assert fork[-1].id == min(one.id for one in sides)
    [more] = say(ANNA, Undecide(b"c" * 32), before=chain.latest)
    longer = chain_of(ANNA.public, Topic.FORKS, map(said, [more, first, *sides]))
    assert longer.latest == said(more)
    assert longer.forks == (fork,)


def test_a_statement_after_one_that_is_missing_holds_and_the_gap_is_told() -> None:
    made = say(ANNA, Undecide(b"a" * 32), Undecide(b"b" * 32), Undecide(b"c" * 32))
    chain = chain_of(ANNA.public, Topic.FORKS, [said(made[0]), said(made[2])])
    assert chain.missing == (made[1].id,)
    assert chain.latest == said(made[2])


def test_a_statement_that_names_another_count_as_the_one_before_is_astray() -> None:
    first, second = map(said, say(ANNA, Undecide(b"a" * 32), Undecide(b"b" * 32)))
    jumped = dataclasses.replace(second, count=7)
    chain = chain_of(ANNA.public, Topic.FORKS, [first, jumped])
    assert chain.astray == (jumped,)
    assert not chain.is_sound


def test_who_says_too_much_is_read_from_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    made = say(ANNA, *(Undecide(bytes([n]) * 32) for n in range(1, 8)))
    monkeypatch.setattr(reading, "MAX_READ", 3)
    with store_with(made).snapshot() as snapshot:
        chain = read_chain(snapshot, ANNA.public, Topic.FORKS)
    assert [one.count for one in chain.statements] == [5, 6, 7]
    assert (chain.is_whole, chain.missing) == (False, ())


def test_homes_find_who_named_them_and_whom_they_welcomed() -> None:
    server = BEN.public
    [hello] = say(ANNA, Hello(server, "http://home"))
    [welcome] = say(BEN, Welcome(ANNA.public, hello.id, "http://home"))
    [goodbye] = say(ANNA, Goodbye(hello.id), before=said(hello))
    with store_with([goodbye, welcome, hello]).snapshot() as snapshot:
        assert statements_about(snapshot, server) == [said(hello)]
        assert statements_about(snapshot, ANNA.public) == [said(welcome)]
        about_hello = statements_about(snapshot, hello.id)
        assert {one.id for one in about_hello} == {welcome.id, goodbye.id}
        assert read_chain(snapshot, server, Topic.HOMES).latest == said(welcome)


def test_on_the_disk_the_check_finds_nothing_and_a_planted_fault(tmp_path: Path) -> None:
    made = say(ANNA, Hello(BEN.public), Goodbye(b"h" * 32))
    with Store.open(tmp_path / "store") as store:
        store.add_many(made)
        assert store.add_many(made).known == 2
        open_statements(store)
        assert check(store).findings == []
        with store.snapshot() as snapshot:
            assert len(read_chain(snapshot, ANNA.public, Topic.HOMES).statements) == 2
    memory = store_with(made)
    with memory.snapshot() as snapshot:
        tables = snapshot.index_tables(INDEX)
        key, _ = next(tables.table(ABOUT).items())
        tables.table(ABOUT).delete(key)
        assert len(list(INDEX.check(tables))) == 2


def test_the_tables_are_those_that_the_document_shows() -> None:
    [hello] = say(ANNA, Hello(BEN.public))
    [welcome] = say(BEN, Welcome(ANNA.public, hello.id))
    with store_with([hello, welcome]).snapshot() as snapshot:
        tables = snapshot.index_tables(INDEX)
        chains = dict(tables.table(CHAINS).items())
        about = dict(tables.table(ABOUT).items())
    one = (1).to_bytes(8, "big")
    first, second = (1).to_bytes(8, "big"), (2).to_bytes(8, "big")
    assert chains == {
        ANNA.public + b"\x02" + one + hello.id: first,
        BEN.public + b"\x02" + one + welcome.id: second,
    }
    assert about == {
        BEN.public + ANNA.public + b"\x20" + one + hello.id: first,
        ANNA.public + BEN.public + b"\x21" + one + welcome.id: second,
        hello.id + BEN.public + b"\x21" + one + welcome.id: second,
    }
