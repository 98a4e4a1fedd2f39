"""What decisions leave of a log: the same on all nodes, in any order, and what a slow reading of
the rules says."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bamboo_compat.core.entry import decode
from bamboo_compat.core.lipmaa import lipmaa
from bamboo_compat.core.report import Fork, ForkKind
from bamboo_compat.decisions import view as views
from bamboo_compat.decisions.book import Book, Did, Policy, Record
from bamboo_compat.decisions.errors import BranchMissingError
from bamboo_compat.decisions.ruling import By
from bamboo_compat.decisions.view import View
from bamboo_compat.set.appending import (
    HeadNotVerifiedError,
    LogEndedError,
    LogForkedError,
    LogSetAsideError,
)
from bamboo_compat.set.layout import Node
from bamboo_compat.set.reading import Reader
from bamboo_compat.statements.kinds import Decide, Hello, Undecide, Welcome
from setsync.model.entry import Entry
from setsync.model.keys import SecretKey
from setsync.store.contract import EntryStore, Origin
from setsync.store.memory import MemoryStore
from tests.bamboo.contradictions import create, ended, of_document, of_schema
from tests.bamboo.decisions.worlds import (
    HOME,
    KEY,
    NODE,
    decide,
    forks_in,
    looking,
    members,
    told,
    undecide,
    world,
)
from tests.bamboo.logs import Author
from tests.bamboo.logs import Record as LogRecord
from tests.bamboo.statements.saying import said, say

# --- any order ----------------------------------------------------------------------------


@st.composite
def quarrels(draw: st.DrawFn, most: int = 18) -> list[Entry]:
    """A log on several machines, and what its author says of its forks: a chain of decisions,
    some taken back, some said twice from an old copy of the chain."""
    machines = [Author()]
    made: list[LogRecord] = []
    for step in range(draw(st.integers(2, most))):
        machine = draw(st.sampled_from(machines))
        if len(machine.hashes) > 1 and draw(st.integers(0, 3)) == 0:
            machines.append(machine.copy())
        made.append(machine.append(b"step %d" % step, end=draw(st.integers(0, 15)) == 0))
    entries = members(made)
    chain: list[Entry] = []
    for fork in forks_in(world(entries)):
        for _ in range(draw(st.integers(0, 2))):
            ends = [fork.parent] if fork.kind is ForkKind.AFTER_END else []
            branch = draw(st.sampled_from([*ends, *(one.hash for one in fork.branches)]))
            saying = Undecide(fork.id) if draw(st.integers(0, 5)) == 0 else Decide(fork.id, branch)
            old = draw(st.integers(0, 5)) == 0 and len(chain) > 1
            before = said(chain[-2 if old else -1]) if chain else None
            chain += say(KEY, saying, before=before)
    return [*entries, *chain]


@settings(deadline=None, max_examples=250)
@given(quarrels(), st.randoms(use_true_random=False))
def test_any_order_of_branches_and_decisions_leaves_the_same_on_all_nodes(
    entries: list[Entry], chance: random.Random
) -> None:
    first = told(world(entries))
    for _ in range(3):
        chance.shuffle(entries)
        assert told(world(entries)) == first


def test_every_order_of_a_small_quarrel_leaves_the_same() -> None:
    laptop = Author()
    made = laptop.grow(1)
    phone = laptop.copy()
    made += [*laptop.grow(1, "laptop"), *phone.grow(1, "phone")]
    old = phone.copy()
    made += [*phone.grow(1, "new"), *old.grow(1, "old")]
    entries = members(made)
    low, high = forks_in(world(entries))
    numbers = {one.hash: n for n, one in enumerate(low.branches, start=1)}
    everything = [*entries, decide(low, numbers[phone.hashes[2]])]
    results = [told(world(order)) for order in itertools.permutations(everything)]
    assert len(results) == 720
    assert all(result == results[0] for result in results)
    [(tips, trusted, undecided, *_)] = [v for k, v in results[0].items() if k.startswith("log")]
    assert (len(tips), trusted, undecided) == (2, 2, [high.id])  # type: ignore[arg-type]


# --- what the rules say, slowly ------------------------------------------------------------


def slowly(entries: Sequence[Entry], store: EntryStore) -> tuple[set[bytes], int, set[bytes]]:
    """Tips, trusted and undecided of a log without an end, by following every backlink."""
    logged = {one.id: decode(one.header) for one in entries if one.claims.format == "bamboo"}
    parents = {id_: one.backlink[2:] if one.backlink else b"" for id_, one in logged.items()}
    with looking(store) as view:
        chosen = {id_: view.ruling(id_) for id_ in view.reader.fork_ids()}
    wrong: set[bytes] = set()
    contests: dict[bytes, list[bytes]] = {}
    for fork in forks_in(store):
        sides = [branch.hash[2:] for branch in fork.branches]
        contests[fork.id] = sides
        ruling = chosen[fork.id]
        assert ruling is not None
        if ruling.chosen is not None:
            wrong |= set(sides) - {ruling.chosen.id}

    def is_left(id_: bytes) -> bool:
        while id_:
            if id_ in wrong:
                return False
            id_ = parents[id_]
        return True

    left = {id_ for id_ in logged if is_left(id_)}
    undecided = {
        fork
        for fork, sides in contests.items()
        if (ruling := chosen[fork]) is not None
        and ruling.chosen is None
        and len([side for side in sides if side in left]) > 1
    }
    doubt = min((logged[contests[fork][0]].seq_num for fork in undecided), default=2**64)
    tips = left - {parents[id_] for id_ in left}
    trusted = max((logged[id_].seq_num for id_ in left if logged[id_].seq_num < doubt), default=0)
    return tips, trusted, undecided


@settings(deadline=None, max_examples=250)
@given(quarrels())
def test_what_is_left_is_what_following_every_link_says(entries: list[Entry]) -> None:
    if any(one.header[0] == 1 for one in entries):
        return  # an end of a log has rules of its own, see below
    store = world(entries)
    tips, trusted, undecided = slowly(entries, store)
    with looking(store) as view:
        row = view.reader.log(KEY.public, 1024)
        assert row is not None
        found = view.resolve(row)
        heads = {node.id for node in view.reader.head_nodes(row)}
    assert trusted == found.trusted
    assert set(found.undecided) == undecided
    assert {tip.id for tip in found.tips} == tips
    assert set(tips) <= heads


# --- a fork and what it does ---------------------------------------------------------------


def parted(shared: int = 10, one: int = 10, two: int = 5) -> tuple[list[LogRecord], Author, Author]:
    """A log that two machines went on with."""
    laptop = Author()
    made = laptop.grow(shared, "both")
    phone = laptop.copy()
    return [*made, *laptop.grow(one, "laptop"), *phone.grow(two, "phone")], laptop, phone


def the_number(store: EntryStore, hash_: bytes) -> int:
    [fork] = forks_in(store)
    return next(n for n, one in enumerate(fork.branches, start=1) if one.hash == hash_)


def test_an_undecided_fork_leaves_both_heads_and_nothing_behind_it_is_trusted() -> None:
    made, laptop, phone = parted()
    with looking(world(members(made))) as view:
        row = view.reader.log(KEY.public, 1024)
        assert row is not None
        found = view.resolve(row)
        assert (found.head, found.trusted, len(found.undecided)) == (None, 10, 1)
        assert [tip.id for tip in found.tips] == [laptop.hashes[-1][2:], phone.hashes[-1][2:]]
        with pytest.raises(LogForkedError):
            view.next_place(KEY.public, 1024)


@pytest.mark.parametrize("wins", ["laptop", "phone"])
def test_the_authors_word_makes_one_head_and_the_log_goes_on_after_it(wins: str) -> None:
    made, laptop, phone = parted()
    winner = laptop if wins == "laptop" else phone
    store = world(members(made))
    number = the_number(store, winner.hashes[11])
    world([decide(forks_in(store)[0], number)], store=store)
    with looking(store) as view:
        row = view.reader.log(KEY.public, 1024)
        assert row is not None
        found = view.resolve(row)
        assert found.head is not None
        assert found.head.id == winner.hashes[-1][2:]
        assert found.trusted == len(winner.hashes) - 1
        assert found.undecided == ()
        place = view.next_place(KEY.public, 1024)
        assert place.seq_num == len(winner.hashes)
        assert place.backlink == winner.hashes[-1]
        data = winner.append(b"more")[0]
        assert (decode(data).backlink, decode(data).lipmaalink) == (
            place.backlink,
            place.lipmaalink,
        )
    world(members([(data, b"more")]), store=store)
    assert len(forks_in(store)) == 1


def test_the_losing_branch_stays_and_is_told_as_set_aside() -> None:
    made, laptop, phone = parted(3, 2, 2)
    store = world(members(made))
    world([decide(forks_in(store)[0], the_number(store, phone.hashes[4]))], store=store)
    with looking(store) as view:
        row = view.reader.log(KEY.public, 1024)
        assert row is not None
        aside = {node.id for node in view.reader.nodes(row) if view.is_set_aside(row, node)}
        assert aside == {hash_[2:] for hash_ in laptop.hashes[4:]}
        assert all(view.reader.shelf.entry(view.reader.by_id(id_))[1] for id_ in aside)  # type: ignore[arg-type]


def test_a_decision_for_a_branch_that_is_not_here_takes_effect_when_it_arrives() -> None:
    made, laptop, phone = parted(3, 2, 2)
    everything = world(members(made))
    [fork] = forks_in(everything)
    word = decide(fork, the_number(everything, phone.hashes[4]))
    store = world([*members(made[:5]), word])
    with looking(store) as view, pytest.raises(BranchMissingError):
        view.next_place(KEY.public, 1024)
    world(members(made[5:6]), store=store)
    with looking(store) as view:
        ruling = view.ruling(fork.id)
        assert ruling is not None
        assert (ruling.by, ruling.is_waiting) == (By.AUTHOR, False)
        assert view.next_place(KEY.public, 1024).backlink == phone.hashes[4]
    third = laptop.copy()
    third.hashes[4:] = []
    late = members(third.grow(1, "third"))
    [wide] = forks_in(world([*members(made), *late]))
    number = next(n for n, one in enumerate(wide.branches, 1) if one.hash == third.hashes[4])
    waiting = decide(wide, number, before=said(word))
    world([*members(made[6:]), waiting], store=store)
    with looking(store) as view:
        ruling = view.ruling(fork.id)
        assert ruling is not None
        assert (ruling.by, ruling.is_waiting) == (None, True)
        with pytest.raises(BranchMissingError):
            view.next_place(KEY.public, 1024)
    world(late, store=store)
    with looking(store) as view:
        assert view.next_place(KEY.public, 1024).backlink == third.hashes[4]


def test_a_later_word_replaces_an_earlier_and_taking_it_back_leaves_the_fork_open() -> None:
    made, _, _ = parted(3, 2, 2)
    store = world(members(made))
    [fork] = forks_in(store)
    first = decide(fork, 1)
    second = decide(fork, 2, before=said(first))
    last = undecide(fork, said(second))
    for words, number in (([first], 1), ([second, first], 2), ([last, first, second], None)):
        with looking(world([*members(made), *words])) as view:
            ruling = view.ruling(fork.id)
            assert ruling is not None
            chosen = ruling.chosen
            assert (chosen.id if chosen else None) == (
                fork.branches[number - 1].hash[2:] if number else None
            )


def test_nobody_elses_word_counts_as_the_authors() -> None:
    made, _, _ = parted(3, 2, 2)
    store = world(members(made))
    [fork] = forks_in(store)
    world([decide(fork, 1, key=SecretKey(b"m" * 32))], store=store)
    with looking(store) as view:
        ruling = view.ruling(fork.id)
        assert ruling is not None
        assert ruling.by is None


def test_a_word_for_what_is_no_branch_of_the_fork_decides_nothing() -> None:
    made, laptop, _ = parted(3, 2, 2)
    store = world(members(made))
    [fork] = forks_in(store)
    world(say(KEY, Decide(fork.id, laptop.hashes[5])), store=store)
    with looking(store) as view:
        ruling = view.ruling(fork.id)
        assert ruling is not None
        assert ruling.by is None


def test_two_words_with_one_count_are_told_and_the_smaller_id_holds() -> None:
    made, _, _ = parted(3, 2, 2)
    [fork] = forks_in(world(members(made)))
    sides = [decide(fork, 1), decide(fork, 2)]
    for order in (sides, sides[::-1]):
        with looking(world([*members(made), *order])) as view:
            ruling = view.ruling(fork.id)
            assert ruling is not None
            assert ruling.chain_forked
            assert ruling.statement is not None
            assert ruling.statement.id == min(one.id for one in sides)
            assert len(view.chain(KEY.public).forks) == 1


# --- forks within branches, ends, and two logs for one thing -------------------------------


def nested() -> tuple[list[LogRecord], Author, Author, Author]:
    """The phone's branch parts again."""
    laptop = Author()
    made = laptop.grow(2)
    phone = laptop.copy()
    made += [*laptop.grow(2, "laptop"), *phone.grow(2, "phone")]
    tablet = phone.copy()
    return [*made, *phone.grow(2, "p"), *tablet.grow(1, "t")], laptop, phone, tablet


def test_a_fork_on_a_branch_that_was_set_aside_needs_no_decision() -> None:
    made, laptop, _, _ = nested()
    store = world(members(made))
    low, high = forks_in(store)
    number = next(n for n, one in enumerate(low.branches, 1) if one.hash == laptop.hashes[3])
    world([decide(low, number)], store=store)
    with looking(store) as view:
        row = view.reader.log(KEY.public, 1024)
        assert row is not None
        found = view.resolve(row)
        assert (found.moot, found.decided, found.undecided) == ((high.id,), (low.id,), ())
        assert found.trusted == 4
        assert view.is_moot(high.id)
        assert view.next_place(KEY.public, 1024).backlink == laptop.hashes[-1]


def test_a_fork_on_the_chosen_branch_is_left_to_decide() -> None:
    made, _, phone, tablet = nested()
    store = world(members(made))
    low, high = forks_in(store)
    number = next(n for n, one in enumerate(low.branches, 1) if one.hash == phone.hashes[3])
    first = decide(low, number)
    world([first], store=store)
    with looking(store) as view:
        row = view.reader.log(KEY.public, 1024)
        assert row is not None
        found = view.resolve(row)
        assert (found.trusted, found.undecided) == (4, (high.id,))
    upper = next(n for n, one in enumerate(high.branches, 1) if one.hash == tablet.hashes[5])
    world([decide(high, upper, before=said(first))], store=store)
    with looking(store) as view:
        row = view.reader.log(KEY.public, 1024)
        assert row is not None
        found = view.resolve(row)
        assert found.head is not None
        assert (found.head.id, found.trusted) == (tablet.hashes[-1][2:], 5)


def test_deciding_for_the_end_ends_the_log_and_for_what_follows_cannot_mend_it() -> None:
    store = world(members(ended()))
    [fork] = forks_in(store)
    assert fork.kind is ForkKind.AFTER_END
    marker = say(KEY, Decide(fork.id, fork.parent))
    with looking(world([*members(ended()), *marker])) as view:
        row = view.reader.log(KEY.public, 1024)
        assert row is not None
        found = view.resolve(row)
        assert found.head is not None
        assert (found.head.seq_num, found.trusted, found.undecided) == (4, 4, ())
        with pytest.raises(LogEndedError):
            view.next_place(KEY.public, 1024)
    with looking(world([*members(ended()), decide(fork, 1)])) as view:
        row = view.reader.log(KEY.public, 1024)
        assert row is not None
        found = view.resolve(row)
        assert found.head is not None
        assert (found.head.seq_num, found.trusted, found.undecided) == (8, 4, ())
        with pytest.raises(HeadNotVerifiedError):
            view.next_place(KEY.public, 1024)


@pytest.mark.parametrize("profile", ["rfc0001", "aquadoggo"])
def test_of_two_logs_for_one_thing_the_other_is_set_aside(profile: str) -> None:
    signed = of_schema() if profile == "rfc0001" else of_document()
    entries = members([(one.entry, one.payload) for one in signed], profile)
    store = world(entries)
    [fork] = forks_in(store)
    right, wrong = fork.branches
    world([decide(fork, 1)], store=store)
    with looking(store) as view:
        logs = [view.reader.log(KEY.public, one.log_id) for one in (right, wrong)]
        kept, lost = [view.resolve(log) for log in logs if log is not None]
        assert kept.head is not None
        assert (kept.trusted, kept.undecided) == (right.length, ())
        assert (lost.trusted, lost.undecided, lost.tips) == (0, (), ())
        assert view.next_place(KEY.public, right.log_id).seq_num == right.length + 1
        with pytest.raises(LogSetAsideError):
            view.next_place(KEY.public, wrong.log_id)


def test_a_decision_about_two_logs_stands_though_an_earlier_entry_comes() -> None:
    logs = [Author(log_id=log_id) for log_id in (1030, 1040)]
    early = [log.append(create(name="early")) for log in logs]
    late = [log.append(create(name="late")) for log in logs]
    store = world(members(late))
    [fork] = forks_in(store)
    world([decide(fork, 2)], store=store)
    before = [branch.hash for branch in fork.branches]
    world(members(early), store=store)
    [now] = forks_in(store)
    assert now.id == fork.id
    assert [branch.hash for branch in now.branches] != before
    with looking(store) as view:
        ruling = view.ruling(fork.id)
        assert ruling is not None
        assert ruling.chosen is not None
        assert view.reader.shelf.owner(ruling.chosen.log)[1] == 1040


def test_a_log_that_is_set_aside_from_the_middle_takes_no_entry_there() -> None:
    one, two = Author(log_id=1030), Author(log_id=1040)
    made = [one.append(create()), *two.grow(2), two.append(create()), *two.grow(1)]
    store = world(members(made))
    [fork] = forks_in(store)
    world([decide(fork, 1)], store=store)
    with looking(store) as view:
        row = view.reader.log(KEY.public, 1040)
        assert row is not None
        assert view.resolve(row).trusted == 2
        with pytest.raises(LogSetAsideError):
            view.next_place(KEY.public, 1040)


# --- this node's own word, and its policy --------------------------------------------------


def book(*records: Record) -> Book:
    """What was said here."""
    return Book(list(records))


def here(fork: bytes, branch: bytes) -> Record:
    return Record(0, "anna", Did.DECIDE, fork=fork, branch=branch)


def policy(what: Policy | None, author: bytes = b"") -> Record:
    return Record(0, "anna", Did.POLICY, author=author, policy=what)


def test_this_nodes_word_holds_until_the_author_speaks_and_then_both_are_told() -> None:
    made, _, _ = parted(3, 2, 2)
    store = world(members(made))
    [fork] = forks_in(store)
    mine = book(here(fork.id, fork.branches[0].hash))
    with looking(store, mine) as view:
        ruling = view.ruling(fork.id)
        assert ruling is not None
        assert (ruling.by, ruling.is_overruled) == (By.HERE, False)
    world([decide(fork, 2)], store=store)
    with looking(store, mine) as view:
        ruling = view.ruling(fork.id)
        assert ruling is not None
        assert ruling.chosen is not None
        assert (ruling.by, ruling.is_overruled) == (By.AUTHOR, True)
        assert ruling.chosen.id == fork.branches[1].hash[2:]
    agreed = book(here(fork.id, fork.branches[1].hash))
    with looking(store, agreed) as view:
        ruling = view.ruling(fork.id)
        assert ruling is not None
        assert not ruling.is_overruled


def test_ignore_keeps_what_was_here_first_and_a_word_goes_before_it() -> None:
    made, laptop, phone = parted(3, 2, 2)
    for order, first in ((made, laptop), ([*made[:3], *made[5:], *made[3:5]], phone)):
        store = world(members(order))
        with looking(store, book(policy(Policy.IGNORE))) as view:
            assert view.next_place(KEY.public, 1024).backlink == first.hashes[-1]
        [fork] = forks_in(store)
        other = phone if first is laptop else laptop
        said_here = book(policy(Policy.IGNORE), here(fork.id, other.hashes[4]))
        with looking(store, said_here) as view:
            assert view.next_place(KEY.public, 1024).backlink == other.hashes[-1]


def test_an_authors_own_policy_goes_before_the_default_one() -> None:
    made, laptop, _ = parted(3, 2, 2)
    store = world(members(made))
    asks = book(policy(Policy.IGNORE), policy(Policy.ASK, KEY.public))
    again = book(*asks.records, policy(None, KEY.public))
    with looking(store, asks) as view, pytest.raises(LogForkedError):
        view.next_place(KEY.public, 1024)
    with looking(store, again) as view:
        assert view.next_place(KEY.public, 1024).backlink == laptop.hashes[-1]


def marriage(server: SecretKey) -> list[Entry]:
    [hello] = say(KEY, Hello(server.public, "http://home"))
    [welcome] = say(server, Welcome(KEY.public, hello.id, "http://home"))
    return [hello, welcome]


def test_prefer_home_chooses_the_branch_that_came_through_the_authors_home() -> None:
    server = HOME
    made, _, phone = parted(3, 2, 2)
    prefers = book(policy(Policy.PREFER_HOME))
    store = MemoryStore()
    world(members(made[:5]), Origin(1, b"o" * 32), store)
    world(members(made[5:]), Origin(2, server.public), store)
    with looking(store, prefers) as view, pytest.raises(LogForkedError):
        view.next_place(KEY.public, 1024)
    world(marriage(server), store=store)
    with looking(store, prefers) as view:
        assert view.next_place(KEY.public, 1024).backlink == phone.hashes[-1]
        [fork] = forks_in(store)
        ruling = view.ruling(fork.id)
        assert ruling is not None
        assert ruling.by is By.POLICY


def test_prefer_home_asks_where_both_or_none_came_through_the_home_or_there_are_two() -> None:
    server, second = HOME, SecretKey(b"2" * 32)
    made, _, _ = parted(3, 2, 2)
    prefers = book(policy(Policy.PREFER_HOME))
    for origin in (Origin(1, server.public), Origin(1, b"o" * 32), None):
        store = world([*members(made), *marriage(server)], origin)
        with looking(store, prefers) as view, pytest.raises(LogForkedError):
            view.next_place(KEY.public, 1024)
    store = MemoryStore()
    world(members(made[:5]), Origin(1, server.public), store)
    world(members(made[5:]), Origin(1, b"o" * 32), store)
    first = marriage(server)
    [hello] = say(KEY, Hello(second.public), before=said(first[0]))
    [welcome] = say(second, Welcome(KEY.public, hello.id))
    world([*first, hello, welcome], store=store)
    with looking(store, prefers) as view, pytest.raises(LogForkedError):
        view.next_place(KEY.public, 1024)


def test_at_the_home_itself_what_was_brought_there_came_through_it() -> None:
    made, laptop, _ = parted(3, 2, 2)
    store = MemoryStore()
    world(members(made[:5]), Origin(1), store)
    world(members(made[5:]), Origin(2, b"o" * 32), store)
    world(marriage(NODE), store=store)
    with looking(store, book(policy(Policy.PREFER_HOME))) as view:
        assert view.next_place(KEY.public, 1024).backlink == laptop.hashes[-1]


# --- many variants -------------------------------------------------------------------------


def test_a_decision_tells_one_of_thousands_of_variants_from_the_others() -> None:
    author = Author()
    made = author.grow(4)
    variants = [author.copy().append(b"variant %d" % n) for n in range(3000)]
    store = MemoryStore()
    store.add_many(members([*made, *variants]))
    [fork] = forks_in(store)
    assert len(fork.branches) == 1000
    with looking(store) as view:
        row = view.reader.log(KEY.public, 1024)
        assert row is not None
        assert (view.resolve(row).trusted, len(view.resolve(row).tips)) == (4, 3000)
    world([decide(fork, 700)], store=store)
    with looking(store) as view:
        row = view.reader.log(KEY.public, 1024)
        assert row is not None
        found = view.resolve(row)
        assert found.head is not None
        assert (found.head.id, found.trusted) == (fork.branches[699].hash[2:], 5)
        assert view.next_place(KEY.public, 1024).seq_num == 6


def test_no_head_costs_more_for_how_many_forks_were_decided_below_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An author signs as many forks and heads as he likes, and decides them all."""
    laptop = Author()
    made: list[LogRecord] = []
    for number in range(1, 61):
        phone = laptop.copy()
        made.append(laptop.append(b"laptop"))
        made += [(phone.make(number, b"phone %d" % n), b"phone %d" % n) for n in range(15)]
    store = world(members(made))
    plain = {name: getattr(Reader, name) for name in ("parent", "lipmaa_target")}
    reads = 0
    for name in plain:

        def read(reader: Reader, node: Node, asked: str = name) -> Node | None:
            nonlocal reads
            reads += 1
            found: Node | None = plain[asked](reader, node)
            return found

        monkeypatch.setattr(Reader, name, read)
    book = Book()
    book.add(Record(1, "x", Did.POLICY, policy=Policy.IGNORE))
    with looking(store, book) as view:
        row = view.reader.log(KEY.public, 1024)
        assert row is not None
        found = view.resolve(row)
        assert (len(found.decided), found.trusted) == (60, 60)
        assert [tip.id for tip in found.tips] == [laptop.hashes[-1][2:]]
        assert sum(view.is_set_aside(row, node) for node in view.reader.nodes(row)) == 60 * 15
    assert reads < 8 * len(made)


@settings(deadline=None, max_examples=150)
@given(quarrels(), st.sampled_from([0.1, 0.3, 0.5]), st.randoms(use_true_random=False))
def test_an_entry_is_set_aside_where_the_shortest_way_that_is_here_says_so(
    entries: list[Entry], left_out: float, chance: random.Random
) -> None:
    entries = [one for one in entries if chance.random() >= left_out]
    store = world(entries)
    with looking(store) as view:
        row = view.reader.log(KEY.public, 1024)
        if row is None:
            return
        forks = [fork for id_ in view.reader.forks_of(row) if (fork := view.reader.fork(id_))]
        for node in view.reader.nodes(row):
            wrong = {fork.id for fork in forks if _is_on_a_wrong_side(view, fork, node)}
            by = view.set_aside_by(row, node)
            assert (by in wrong) if wrong else (by is None)


def _is_on_a_wrong_side(view: View, fork: Fork, node: Node) -> bool:
    """By a walk of its own down to where the log parts."""
    ruling = view.ruling(fork.id)
    assert ruling is not None
    if ruling.chosen is None:
        return False
    is_end = fork.kind is ForkKind.AFTER_END
    goal = fork.seq_num - 1 if is_end else fork.seq_num
    at: Node | None = node
    while at is not None and at.seq_num > goal:
        jump = view.reader.lipmaa_target(at) if lipmaa(at.seq_num) >= goal else None
        at = jump or view.reader.parent(at)
    if at is None or at.seq_num < goal:
        return False
    if is_end:
        return node.seq_num > goal and at.id == ruling.chosen.id == fork.parent[2:]
    return at.id != ruling.chosen.id and at.id in {side.hash[2:] for side in fork.branches}


def test_with_more_heads_than_anybody_looks_at_nothing_is_appended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, laptop, _ = parted(3, 2, 2)
    store = world(members(made))
    world([decide(forks_in(store)[0], the_number(store, laptop.hashes[4]))], store=store)
    monkeypatch.setattr(views, "MAX_HEADS", 1)
    with looking(store) as view:
        row = view.reader.log(KEY.public, 1024)
        assert row is not None
        found = view.resolve(row)
        assert (found.is_whole, found.head, found.trusted) == (False, None, 3)
        with pytest.raises(LogForkedError):
            view.next_place(KEY.public, 1024)
