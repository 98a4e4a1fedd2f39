"""Any part of any logs in any order, against a reference that looks at everything at once."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from bamboo_compat.core import LogReport, Standing, verify_log, yamf
from bamboo_compat.core import entry as entries
from bamboo_compat.core.entry import decode
from bamboo_compat.core.lipmaa import certificate_pool, has_lipmaalink, lipmaa
from bamboo_compat.core.yamf import Flavour
from tests.bamboo.logs import FLAVOURS, Author, seed
from tests.bamboo.reference import World


@dataclass
class Forest:
    """Entries that come to be in any way an author could sign them, right and wrong."""

    made: list[bytes] = field(default_factory=list)

    def plant(self, log: int, flavour: Flavour) -> None:
        """A first entry."""
        self._sign(log % 2 + 1, log // 2, 1, None, None, end=False, flavour=flavour)

    def grow(
        self,
        on: int,
        flavour: Flavour,
        *,
        end: bool,
        stray_backlink: int | None,
        stray_lipmaalink: int | None,
    ) -> None:
        """The next entry after entry number `on`; a stray link goes to any other entry."""
        parent = decode(self.made[on])
        seq_num = parent.seq_num + 1
        ancestor = self._ancestor(on, lipmaa(seq_num))
        self._sign(
            1 if parent.author == Author(1).key else 2,
            parent.log_id,
            seq_num,
            self._name(on if stray_backlink is None else stray_backlink, flavour),
            self._name(ancestor if stray_lipmaalink is None else stray_lipmaalink, flavour)
            if has_lipmaalink(seq_num)
            else None,
            end=end,
            flavour=flavour,
        )

    def _sign(
        self,
        author: int,
        log_id: int,
        seq_num: int,
        backlink: bytes | None,
        lipmaalink: bytes | None,
        *,
        end: bool,
        flavour: Flavour,
    ) -> None:
        payload = len(self.made).to_bytes(2, "big")
        self.made.append(
            entries.sign(
                seed(author),
                log_id,
                seq_num,
                payload,
                backlink=backlink,
                lipmaalink=lipmaalink,
                end_of_log=end,
                flavour=flavour,
            )
        )
        self.parents.append(self._growing)

    parents: list[int | None] = field(default_factory=list)
    _growing: int | None = None

    def _name(self, number: int, flavour: Flavour) -> bytes:
        return yamf.hash_of(flavour, self.made[number])

    def _ancestor(self, on: int, seq_num: int) -> int:
        self._growing = on
        at: int | None = on
        while at is not None and decode(self.made[at]).seq_num > seq_num:
            at = self.parents[at]
        return on if at is None else at


@st.composite
def forests(draw: st.DrawFn) -> list[bytes]:
    """Up to 24 entries of up to 4 logs of 2 authors."""
    forest = Forest()
    flavour = st.sampled_from(FLAVOURS)
    for log in draw(st.lists(st.integers(0, 3), min_size=1, max_size=3)):
        forest._growing = None
        forest.plant(log, draw(flavour))
    rarely = st.integers(0, 9).map(lambda number: number == 0)
    for _ in range(draw(st.integers(0, 20))):
        last = len(forest.made) - 1
        # Mostly on from the newest, so that logs get long enough for lipmaalinks.
        on = draw(st.integers(0, last)) if draw(st.integers(0, 3)) == 0 else last
        stray = st.integers(0, last)
        forest.grow(
            on,
            draw(flavour),
            end=draw(rarely),
            stray_backlink=draw(stray) if draw(rarely) else None,
            stray_lipmaalink=draw(stray) if draw(rarely) else None,
        )
    return forest.made


def check_against_reference(given_entries: list[bytes], *, partial: bool) -> None:
    """The one assertion of this file."""
    report = verify_log(given_entries, partial=partial)
    world = World(tuple(given_entries), partial)
    for data, verdict in zip(given_entries, report.verdicts, strict=True):
        id = blake3(data).digest()
        standing, reasons = world.standing(id)
        assert (verdict.id, verdict.standing) == (id, standing)
        assert [finding.reason for finding in verdict.findings] == reasons
        assert verdict.inherited == (standing == "broken" and not world.faults(id))
    assert told_forks(report, given_entries) == world.forks()
    assert len({fork.id for fork in report.forks}) == len(report.forks)
    assert report.verified + report.waiting + report.broken == len(world.entries)


def told_forks(report: LogReport, given_entries: list[bytes]) -> set[object]:
    """The report's forks in the reference's words."""
    ids = {}
    for data in given_entries:
        for flavour in FLAVOURS:
            ids[yamf.hash_of(flavour, data)] = blake3(data).digest()
    return {
        (
            str(fork.kind),
            (fork.author, fork.log_id, fork.seq_num),
            fork.parent,
            frozenset(ids[branch.hash] for branch in fork.branches),
        )
        for fork in report.forks
    }


@given(forests(), st.data(), st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_part_in_any_order_stands_as_the_reference_says(
    made: list[bytes], data: st.DataObject, partial: bool
) -> None:
    some = data.draw(st.lists(st.sampled_from(made), max_size=len(made), unique=True))
    check_against_reference(some, partial=partial)
    check_against_reference(data.draw(st.permutations(made)), partial=partial)


@pytest.mark.soak
@given(forests(), st.data(), st.booleans())
@settings(max_examples=5000, deadline=None)
def test_five_thousand_of_them(made: list[bytes], data: st.DataObject, partial: bool) -> None:
    some = data.draw(st.lists(st.sampled_from(made), max_size=len(made), unique=True))
    check_against_reference(some, partial=partial)


@given(forests(), st.randoms())
@settings(max_examples=100, deadline=None)
def test_the_order_of_arrival_changes_nothing(made: list[bytes], chance: random.Random) -> None:
    shuffled = [*made]
    chance.shuffle(shuffled)
    one, other = verify_log(made), verify_log(shuffled)
    assert (one.logs, one.forks) == (other.logs, other.forks)
    assert set(one.verdicts) == set(other.verdicts)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("number", [1, 2, 4, 23, 40, 41, 100])
def test_a_certificate_pool_alone_verifies_its_entry(flavour: Flavour, number: int) -> None:
    log = Author(flavour=flavour).grow(121)
    pool = [log[at - 1] for at in certificate_pool(number)]
    report = verify_log(pool, partial=True)
    assert report.all_verified
    assert report.logs[0].gaps or len(pool) == report.logs[0].height
    if len(pool) < report.logs[0].height:
        assert not verify_log(pool).all_verified  # in a closed world the others are missing


@pytest.mark.parametrize("missing", [1, 4, 13, 17, 21])
def test_a_pool_with_a_hole_waits(missing: int) -> None:
    log = Author().grow(40)
    path = [at for at in certificate_pool(23) if at <= 23]
    pool = [log[at - 1] for at in path if at != missing]
    report = verify_log(pool, partial=True)
    assert report.verdicts[-1].standing is Standing.WAITING
    assert report.broken == report.refused == 0


def test_two_pools_verify_together_what_each_verifies_alone() -> None:
    log = Author().grow(121)
    for one, two in ((7, 100), (23, 24), (39, 81)):
        both = sorted({*certificate_pool(one), *certificate_pool(two)})
        assert verify_log([log[at - 1] for at in both], partial=True).all_verified


def test_a_gap_is_told_as_a_range() -> None:
    log = Author().grow(20)
    [state] = verify_log([log[0], *log[4:9], log[19]], partial=True).logs
    assert state.gaps == ((2, 4), (10, 19))
    assert (state.height, state.entries) == (20, 7)


def test_an_empty_log_is_no_log() -> None:
    report = verify_log([])
    assert report.all_verified
    assert (report.entries, report.logs) == (0, ())


def test_a_book_may_be_read_before_it_is_complete() -> None:
    """Nothing that a first look finds may stick: what was verified can break."""
    from bamboo_compat.core import Logbook, examine

    author = Author()
    log = [*author.grow(4), author.append(end=True), *author.grow(3)]
    book = Logbook()
    for at in (0, 3, 7):
        book.add(examine(*log[at]))
    assert book.report(partial=True).verified == 3
    for record in log:
        book.add(examine(*record))
    report = book.report(partial=True)
    assert (report.verified, report.broken, report.inherited) == (5, 3, 2)
    assert report.logs[0].trusted == 5
