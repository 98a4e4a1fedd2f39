"""A node's index as a source: on the memory store and on LMDB, against the source in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from bamboo_compat.core.examining import Member, examine
from bamboo_compat.core.profiles import PROFILES, Profile
from bamboo_compat.files.work import Accepted
from bamboo_compat.replication import limits
from bamboo_compat.replication.heights import NOT_ASKED_FOR
from bamboo_compat.replication.index_source import FROM_THE_START, IndexSource
from bamboo_compat.replication.machine import TooMuchToTellError
from bamboo_compat.replication.source import (
    BEFORE_ALL,
    BEHIND_ALL,
    Carried,
    Divergence,
    Fate,
    LogKey,
    Outcome,
    Place,
    Schemas,
    Source,
    Stored,
)
from bamboo_compat.replication.taking import NOT_KNOWN, NOT_WANTED, TOO_LARGE
from bamboo_compat.set.index import BambooIndex
from bamboo_compat.set.ingest import ingest
from bamboo_compat.set.reading import Reader
from setsync.errors import NoRoomError
from setsync.limits import DEFAULT_MAX_PAYLOAD
from setsync.model.refusal import Refusal
from setsync.node.policy import Policy
from setsync.store.contract import EntryStore, Origin, Quotas
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore
from tests.bamboo.logs import Author, Record
from tests.bamboo.replication.joined import replicated
from tests.bamboo.replication.memory import EVENT, SCHEMAS, SYSTEM, VENUE, MemorySource, log
from tests.bamboo.replication.memory import operation as payload_of
from tests.bamboo.replication.test_sessions import KEYS, lengths, records
from tests.node.ends import members

AQUADOGGO, RFC0001 = PROFILES["aquadoggo"], PROFILES["rfc0001"]
ALL = frozenset(itertools.chain(*SCHEMAS))
ORIGIN = Origin(1)
INDEX = BambooIndex()
Made = Callable[[], EntryStore]


@pytest.fixture(params=["memory", "lmdb"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Made]:
    """Makes empty stores."""
    opened: list[Store] = []

    def make() -> EntryStore:
        if request.param == "memory":
            return MemoryStore()
        opened.append(Store.open(tmp_path / str(len(opened))))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


def source(
    store: EntryStore,
    found: Sequence[Record] = (),
    profile: Profile = AQUADOGGO,
    *,
    only: Sequence[str] = sorted(ALL),
    max_payload: int = DEFAULT_MAX_PAYLOAD,
    speaks_of: Callable[[str], bool] = lambda name: True,
    policy: Callable[[], Policy] = Policy,
) -> IndexSource:
    """A store with these entries, put there as files put them."""
    fill(store, found, profile)
    return IndexSource(
        store,
        profile,
        max_payload=max_payload,
        origin=ORIGIN,
        only=only,
        speaks_of=speaks_of,
        policy=policy,
    )


def fill(store: EntryStore, found: Sequence[Record], profile: Profile = AQUADOGGO) -> None:
    """Ingest entries, in one batch."""
    accepted = []
    for where, (data, payload) in enumerate(found):
        examined = examine(data, payload, where)
        assert isinstance(examined, Member)
        accepted.append(Accepted(examined, data, payload))
    ingest(store, [accepted], profile, max_payload=DEFAULT_MAX_PAYLOAD, origin=ORIGIN)


def contents(store: EntryStore) -> set[bytes]:
    """Every entry."""
    with store.snapshot() as snapshot:
        return {entry.header for entry in snapshot.since(0, 1_000_000)}


def forks(store: EntryStore) -> list[bytes]:
    """The ids of all forks."""
    with store.snapshot() as snapshot:
        return list(Reader(snapshot.index_tables(INDEX)).fork_ids())


def heights(asked: Source, *schemas: str) -> dict[LogKey, int]:
    """All heights, in pages of two."""
    found: dict[LogKey, int] = {}
    after: LogKey | None = None
    while page := asked.heights(frozenset(schemas or ALL), after, 2):
        assert len(page) <= 2
        assert [each.log for each in page] == sorted(each.log for each in page)
        assert after is None or page[0].log > after
        found.update(page)
        after = page[-1].log
    return found


# --- whole connections --------------------------------------------------------------------


@given(lengths, lengths)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_after_a_connection_both_have_all_logs_that_are_not_forked(
    new_store: Made, here: list[int], there: list[int]
) -> None:
    longest = [max(pair) for pair in zip(here, there, strict=True)]
    whole = MemorySource(records(longest)).contents()
    store, theirs = new_store(), MemorySource(records(there))
    first, second = replicated(source(store, records(here)), theirs)
    assert contents(store) == theirs.contents() == whole
    assert (first.new, second.new) == (sum(longest) - sum(here), sum(longest) - sum(there))
    assert first.diverged == second.diverged == first.refusals == second.refusals == 0
    again = replicated(source(store), theirs)
    assert [each.sent for each in again] == [0, 0]


def test_two_indexes_come_to_the_same_set_and_files_come_to_it_too(new_store: Made) -> None:
    here, there = [3, 0, 5, 1, 2, 0], [1, 4, 0, 1, 5, 2]
    one, other, filled = new_store(), new_store(), new_store()
    reports = replicated(source(one, records(here)), source(other, records(there)))
    fill(filled, records([max(pair) for pair in zip(here, there, strict=True)]))
    assert members(one) == members(other) == members(filled)
    assert [each.sessions for each in reports] == [2, 2]


def test_entries_of_system_schemas_arrive_before_those_of_users(new_store: Made) -> None:
    store = new_store()
    replicated(source(store), MemorySource(records([3] * len(KEYS))))
    with store.snapshot() as snapshot:
        arrived = [each.collection.startswith("system/") for each in snapshot.since(0, 100)]
        assert snapshot.origin(1) == ORIGIN
    assert arrived == sorted(arrived, reverse=True)
    assert arrived.count(True) == 6


def test_gaps_and_forks_are_told_like_those_of_the_source_in_memory(new_store: Made) -> None:
    kept = [
        *(one for n, one in enumerate(log(1, 1, VENUE, 30), start=1) if n not in (9, 17, 18)),
        *log(1, 2, EVENT, 30, fork_at=4)[3:6],
        *log(1, 2, EVENT, 12),
        *log(2, 1, VENUE, 5)[1:],
        *(one for n, one in enumerate(log(2, 2, EVENT, 9), start=1) if n != 7),
        *log(2, 2, EVENT, 12, fork_at=3)[2:5],
    ]
    asked = source(new_store(), kept)
    found = heights(asked)
    assert found == heights(MemorySource(kept))
    assert sorted(found.values()) == [0, 6, 8, 12]
    assert heights(asked, EVENT) == heights(MemorySource(kept), EVENT)


def test_what_was_above_a_gap_follows_once_the_gap_is_closed(new_store: Made) -> None:
    whole = log(1, 1, VENUE, 5)
    store, theirs = new_store(), MemorySource(whole[:3])
    mine = source(store, [*whole[:2], *whole[3:]])
    assert [each.sent for each in replicated(mine, theirs)] == [0, 1]
    assert [each.sent for each in replicated(source(store), theirs)] == [2, 0]
    assert contents(store) == theirs.contents()


# --- forks --------------------------------------------------------------------------------


def test_the_second_branch_stays_behind_where_both_are_equally_long(new_store: Made) -> None:
    one, other = log(1, 1, VENUE, 4), log(1, 1, VENUE, 4, fork_at=3)
    store = new_store()
    reports = replicated(source(store, one), MemorySource(other))
    assert [(each.sent, each.diverged) for each in reports] == [(0, 0), (0, 0)]
    assert contents(store) == {entry for entry, _ in one}
    assert forks(store) == []


def test_a_longer_branch_shows_that_the_log_parts(new_store: Made) -> None:
    one, other = log(1, 1, VENUE, 3), log(1, 1, VENUE, 5, fork_at=3)
    store = new_store()
    report, _ = replicated(source(store, one), MemorySource(other))
    assert report.new == 2
    assert report.divergences == (Divergence(LogKey(Author(1).key, 1), 4),)
    assert other[2][0] not in contents(store)


def test_a_side_that_has_both_branches_gives_both_to_one_that_has_neither(new_store: Made) -> None:
    forked = [*log(1, 1, VENUE, 4), *log(1, 1, VENUE, 3, fork_at=2)[1:]]
    store, other = new_store(), new_store()
    report, _ = replicated(source(store), source(other, forked))
    assert contents(store) == {entry for entry, _ in forked}
    assert forks(store) == forks(other) != []
    assert [one.seq_num for one in report.divergences] == [2, 3]
    assert report.diverged == 2


# --- schemas ------------------------------------------------------------------------------


def test_what_is_announced_is_what_is_here_and_what_every_server_knows(new_store: Made) -> None:
    found = [*log(1, 1, VENUE, 1), *log(1, 0, SYSTEM, 1)]
    assert source(new_store(), found, only=()).schemas() == Schemas(
        FROM_THE_START["aquadoggo"], (VENUE,)
    )
    assert source(new_store()).schemas() == Schemas((SYSTEM,), (EVENT, VENUE))
    assert source(new_store(), found, RFC0001, only=()).schemas().user == ()
    mixed = [*log(1, 7, VENUE, 1), *log(1, 1024, VENUE, 1), *log(1, 1025, EVENT, 1)]
    told = source(new_store(), mixed, RFC0001, only=()).schemas()
    assert (told.system, sorted(told.user)) == ((VENUE,), [EVENT, VENUE])


def test_schemas_known_from_the_start_are_the_systems() -> None:
    for name, schemas in FROM_THE_START.items():
        assert all(PROFILES[name].is_system(1024, schema) for schema in schemas)


def test_only_collections_that_the_node_wants_are_announced_and_taken(new_store: Made) -> None:
    venue = AQUADOGGO.collection(0, VENUE)
    mine = source(
        new_store(),
        records([1] * 6),
        only=(),
        speaks_of=lambda name: name == venue,
    )
    assert mine.schemas() == Schemas((), (VENUE,))
    taken = mine.take([Carried(*log(3, 1, EVENT, 1)[0])], ALL)
    assert taken == [Outcome(Fate.UNWANTED, NOT_WANTED)]


# --- rules --------------------------------------------------------------------------------


def test_a_blocked_author_is_refused_at_once_and_others_are_taken(new_store: Made) -> None:
    """Though the connection began before, and some of the author's entries are here."""
    rules = [Policy()]
    store = new_store()
    mine = source(store, policy=lambda: rules[-1])
    first, second = log(3, 1, VENUE, 2)
    assert take(mine, first) == [(Fate.NEW, "")]
    rules.append(Policy().blocking_author(Author(3).key))
    refused = (Fate.UNWANTED, Refusal.AUTHOR_BLOCKED.sentence)
    assert take(mine, first, second, log(4, 1, VENUE, 1)[0]) == [refused, refused, (Fate.NEW, "")]
    assert len(contents(store)) == 2


def test_what_is_over_a_quota_is_refused_and_the_rest_is_taken(new_store: Made) -> None:
    store = new_store()
    mine = source(store, policy=lambda: Policy(quotas=Quotas(author_entries=2)))
    batch = [*log(3, 1, VENUE, 4), *log(4, 1, VENUE, 1)]
    refused = (Fate.UNWANTED, Refusal.AUTHOR_QUOTA.sentence)
    taken = [*[(Fate.NEW, "")] * 2, *[refused] * 2, (Fate.NEW, "")]
    assert take(mine, *batch) == taken
    assert take(mine, *batch) == [(Fate.KNOWN, "") if one[1] == "" else one for one in taken]
    assert contents(store) == {entry for entry, _ in (*batch[:2], batch[4])}


def refusing(case: str, store: EntryStore, number: int) -> tuple[IndexSource, MemorySource]:
    """A node that refuses 20 entries of this author's log for what only it knows, and a peer
    that has them, then three of another's."""
    few, many = log(3 - number, 1024, VENUE, 3), log(number, 1024, VENUE, 20)
    if case == "quota":
        rules = Policy(quotas=Quotas(author_entries=3))
        longer = log(number, 1024, VENUE, 23)
        return source(store, policy=lambda: rules), MemorySource([*few, *longer])
    if case == "blocked":
        rules = Policy().blocking_author(Author(number).key)
        return source(store, policy=lambda: rules), MemorySource([*few, *many])
    if case == "collection":
        user = RFC0001.collection(1024, VENUE)
        mine = source(store, (), RFC0001, speaks_of=lambda name: name == user)
        return mine, MemorySource([*few, *log(number, 0, VENUE, 20)])
    if case == "too large":
        mine = source(store, max_payload=10)
        return mine, MemorySource([*few, *log(number, 0, SYSTEM, 20)])
    assert case == "withheld"
    bare = [(entry, None) for entry, _ in many]
    return source(store), MemorySource([*few, *bare, log(number, 1024, VENUE, 21)[20]])


@pytest.mark.parametrize("mine_asks", [True, False], ids=["dials", "listens"])
@pytest.mark.parametrize("case", ["quota", "blocked", "collection", "too large", "withheld"])
def test_what_only_this_node_knows_to_refuse_ends_no_connection_with_an_honest_peer(
    new_store: Made, monkeypatch: pytest.MonkeyPatch, case: str, mine_asks: bool
) -> None:
    """However much of it there is: all of it is reported, and later logs arrive."""
    monkeypatch.setattr(limits, "MAX_REFUSED", 5)
    monkeypatch.setattr(limits, "BATCH_ENTRIES", 2)
    first = min((1, 2), key=lambda number: Author(number).key)
    store = new_store()
    mine, theirs = refusing(case, store, first)
    reports = replicated(mine, theirs) if mine_asks else replicated(theirs, mine)[::-1]
    assert reports[0].refusals == 20
    assert {entry for entry, _ in log(3 - first, 1024, VENUE, 3)} <= contents(store)


def test_an_entry_that_comes_twice_is_refused_twice(new_store: Made) -> None:
    mine = source(new_store(), policy=lambda: Policy(quotas=Quotas(author_entries=0)))
    [(entry, payload)] = log(3, 1, VENUE, 1)
    refused = (Fate.UNWANTED, Refusal.AUTHOR_QUOTA.sentence)
    assert take(mine, (entry, payload), (entry, payload), (entry, None)) == [refused] * 3


def test_a_payload_over_a_quota_is_not_told_as_taken(new_store: Made) -> None:
    first, second = log(3, 1, VENUE, 2)
    most = sum(len(part or b"") for part in (*first, second[0]))
    store = new_store()
    mine = source(store, policy=lambda: Policy(quotas=Quotas(author_bytes=most)))
    assert take(mine, first, (second[0], None)) == [(Fate.NEW, ""), (Fate.NEW, "")]
    assert take(mine, second) == [(Fate.UNWANTED, Refusal.AUTHOR_QUOTA.sentence)]
    with store.snapshot() as snapshot:
        assert [one.payload for one in snapshot.since(0, 10)] == [first[1], None]


def test_a_blocked_authors_payload_is_refused_for_the_block_and_not_for_a_quota(
    new_store: Made,
) -> None:
    [(entry, payload)] = log(3, 1, VENUE, 1)
    rules = [Policy()]
    mine = source(new_store(), [(entry, None)], policy=lambda: rules[-1])
    rules.append(Policy().blocking_author(Author(3).key))
    assert take(mine, (entry, payload)) == [(Fate.UNWANTED, Refusal.AUTHOR_BLOCKED.sentence)]


def test_a_disk_with_little_room_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("setsync.node.room.REMOTE_RESERVE", 1 << 60)
    monkeypatch.setattr("setsync.node.room.DISK_SHARE", 1.0)
    with Store.open(tmp_path / "store") as store:
        mine = source(store)
        with pytest.raises(NoRoomError):
            take(mine, *log(3, 1, VENUE, 1))
        assert contents(store) == set()


# --- what is listed -----------------------------------------------------------------------


def test_more_logs_than_one_message_holds_are_not_listed(
    new_store: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = source(new_store(), records([1] * 6))
    monkeypatch.setattr(limits, "MAX_LOGS", 5)
    with pytest.raises(TooMuchToTellError):
        mine.heights(ALL, None, 2)


# --- entries ------------------------------------------------------------------------------


def test_entries_come_in_pages_of_any_size(new_store: Made) -> None:
    forked = [*log(1, 1, VENUE, 6), *log(1, 1, VENUE, 5, fork_at=3)[2:]]
    mine, like = source(new_store(), forked), MemorySource(forked)
    key = LogKey(Author(1).key, 1)
    whole = like.entries(key, Place(0, BEHIND_ALL), 5, 1_000, 1_000_000)
    for entries, size in ((1_000, 1_000_000), (2, 1_000_000), (1_000, 1)):
        after = Place(0, BEHIND_ALL)
        found: list[Stored] = []
        while page := mine.entries(key, after, 5, entries, size):
            found += page
            after = page[-1].place
        assert found == whole
    assert [one.place.seq_num for one in mine.entries(key, Place(3, BEFORE_ALL), 3, 9, 9_999)] == [
        3,
        3,
    ]
    assert mine.entries(LogKey(b"k" * 32, 1), Place(0, BEFORE_ALL), 9, 9, 9) == []


# --- take ---------------------------------------------------------------------------------


def take(mine: IndexSource, *found: Record, asked: str = VENUE) -> list[tuple[Fate, str]]:
    """Fates and reasons of a batch."""
    batch = [Carried(entry, payload) for entry, payload in found]
    return [(one.fate, one.reason) for one in mine.take(batch, frozenset([asked]))]


def test_each_entry_of_a_batch_is_judged_by_what_came_before_it(new_store: Made) -> None:
    store = new_store()
    mine = source(store)
    first, second, third = log(1, 1, VENUE, 3)
    assert take(mine, (second[0], None), first, (second[0], None), first, (third[0], None)) == [
        (Fate.UNWANTED, NOT_KNOWN),
        (Fate.NEW, ""),
        (Fate.NEW, ""),
        (Fate.KNOWN, ""),
        (Fate.NEW, ""),
    ]
    assert take(mine, second, second, (third[0], None), (third[0], None), third) == [
        (Fate.ATTACHED, ""),
        (Fate.KNOWN, ""),
        (Fate.KNOWN, ""),
        (Fate.KNOWN, ""),
        (Fate.ATTACHED, ""),
    ]
    with store.snapshot() as snapshot:
        stored = snapshot.since(0, 10)
    assert {(one.header, one.payload) for one in stored} == set(log(1, 1, VENUE, 3))
    assert {one.collection for one in stored} == {AQUADOGGO.collection(1, VENUE)}


def test_what_is_wrong_is_refused_with_its_reason_and_the_rest_is_taken(new_store: Made) -> None:
    entry, payload = Author(1, 1).append(payload_of(VENUE))
    assert take(
        source(new_store()),
        (entry[:-1] + bytes([entry[-1] ^ 1]), payload),
        (entry, payload + b"x"),
        (b"", payload),
        log(1, 2, EVENT, 1)[0],
        (entry, payload),
    ) == [
        (Fate.REFUSED, "It breaks a rule of Bamboo entries: bad_signature."),
        (Fate.REFUSED, "It breaks a rule of Bamboo entries: bad_payload_hash."),
        (Fate.REFUSED, "It breaks a rule of Bamboo entries: truncated."),
        (Fate.REFUSED, NOT_ASKED_FOR),
        (Fate.NEW, ""),
    ]


def test_a_payload_over_this_nodes_limit_is_left_out_where_the_entry_can_be_without_it(
    new_store: Made,
) -> None:
    user, system = (Author(1).append(payload_of(each, "x" * 200)) for each in (VENUE, SYSTEM))
    store = new_store()
    mine = source(store, max_payload=100)
    assert take(mine, user, user) == [(Fate.NEW, ""), (Fate.KNOWN, "")]
    assert take(mine, system, asked=SYSTEM) == [(Fate.UNWANTED, TOO_LARGE)]
    with store.snapshot() as snapshot:
        assert [one.payload for one in snapshot.since(0, 10)] == [None]


def test_a_withheld_entry_of_the_system_is_kept_where_none_has_to_prove_anything(
    new_store: Made,
) -> None:
    store = new_store()
    first, second = log(1, 0, SYSTEM, 2)
    outcomes = take(source(store), first, (second[0], None), asked=SYSTEM)
    assert outcomes == [(Fate.NEW, ""), (Fate.NEW, "")]
    assert {name for name, _ in members(store)} == {
        AQUADOGGO.collection(0, SYSTEM),
        AQUADOGGO.collection(0, None),
    }
