"""Policy: what a rule refuses and shows, and a file that is read as it was written or not."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsync import limits
from setsync.errors import (
    NewerFormatError,
    NoSuchRuleError,
    PolicyFileError,
    SetsyncError,
    UsageError,
)
from setsync.model.collection import Pattern
from setsync.model.refusal import Refusal
from setsync.node import policy as policy_module
from setsync.node.groups import EVERYBODY, LISTED
from setsync.node.policy import Policy, PolicyFile, WithShares, check_group
from setsync.store.contract import Quotas
from setsync.wire.messages import BOTH, Hello, new_buffer, pack, unpack

ANNA, BEN, CARL = (bytes([letter]) * 32 for letter in b"abc")
NOTES, NEWS, SYSTEM = Pattern("notes/**"), Pattern("news/*"), Pattern("system/**")
STATEMENTS = Pattern("system/*")


def file_at(folder: Path) -> PolicyFile:
    return PolicyFile(folder / "policy.json")


# --- any policy ---------------------------------------------------------------------------

_authors = st.sampled_from([ANNA, BEN, CARL])
_names = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map("/".join)
_patterns = (
    st.lists(st.sampled_from(["a", "b", "*", "**"]), min_size=1, max_size=4)
    .map("/".join)
    .map(Pattern)
)
_groups = st.sampled_from([EVERYBODY, LISTED, "friends", "work-2"])
_few = st.lists(_patterns, max_size=3, unique=True).map(tuple)
_numbers = st.integers(0, limits.MAX_QUOTA)


@st.composite
def _policies(draw: st.DrawFn) -> Policy:
    blocked = draw(st.frozensets(_authors | st.binary(min_size=32, max_size=32)))
    names = draw(
        st.dictionaries(st.sampled_from(sorted(blocked)), st.text(min_size=1, max_size=64))
        if blocked
        else st.just({})
    )
    rules = draw(st.dictionaries(_patterns, st.frozensets(_authors), max_size=3))
    return Policy(
        blocked_authors=blocked,
        blocked_collections=draw(_few),
        writers=(*rules.items(),),
        quotas=draw(st.builds(Quotas, _numbers, _numbers, _numbers, _numbers)),
        shares=draw(st.dictionaries(_groups, _few)),
        names=names,
    )


def means(pattern: Sequence[str], name: Sequence[str]) -> bool:
    """What a pattern means, by trying everything."""
    if not pattern:
        return not name
    if pattern[0] == "**":
        return any(means(pattern[1:], name[at:]) for at in range(len(name) + 1))
    return bool(name) and pattern[0] in ("*", name[0]) and means(pattern[1:], name[1:])


def any_means(patterns: Iterable[Pattern], name: str) -> bool:
    return any(means(pattern.text.split("/"), name.split("/")) for pattern in patterns)


@given(_policies(), _authors, st.lists(_names, min_size=1, max_size=4))
def test_an_author_is_refused_who_is_blocked_or_in_none_of_the_rules_that_match(
    policy: Policy, author: bytes, collections: list[str]
) -> None:
    """Also when the same policy is asked about several collections, again and again."""
    for collection in collections * 2:
        rules = [writers for pattern, writers in policy.writers if any_means([pattern], collection)]
        expected = None
        if rules and all(author not in writers for writers in rules):
            expected = Refusal.NOT_A_WRITER
        if author in policy.blocked_authors:
            expected = Refusal.AUTHOR_BLOCKED
        assert policy.refuses(author, collection) is expected


@given(_policies(), st.lists(_groups | st.just("unknown"), max_size=4), _names)
def test_a_peer_sees_what_is_shared_with_one_of_its_groups_and_statements_with_it(
    policy: Policy, groups: list[str], name: str
) -> None:
    mine = [pattern for group in groups for pattern in policy.shares.get(group, ())]
    shared = policy.shares_with(groups)
    assert any_means(shared, name) is (not policy.shares or any_means(mine, name))
    assert any_means(shared, "system/forks") is (not policy.shares or bool(mine))
    assert len(set(shared)) == len(shared)


@given(_policies())
def test_a_policy_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, policy: Policy
) -> None:
    file = file_at(tmp_path_factory.mktemp("policy"))
    with file.changing() as draft:
        draft.value = policy
    assert PolicyFile(file.path).read() == policy
    before = file.path.read_bytes()
    with file.changing() as draft:
        assert draft.value == policy
    assert file.path.read_bytes() == before


@given(_policies(), _authors, _patterns, _groups)
def test_a_rule_that_is_taken_back_leaves_the_policy_as_it_was(
    policy: Policy, author: bytes, pattern: Pattern, group: str
) -> None:
    if author not in policy.blocked_authors:
        assert policy.blocking_author(author, "x").unblocking_author(author) == policy
    if pattern not in policy.blocked_collections:
        assert policy.blocking_collection(pattern).unblocking_collection(pattern) == policy
    if pattern not in dict(policy.writers):
        assert policy.with_writers(pattern, [author]).without_writers(pattern) == policy
    if group not in policy.shares:
        assert policy.with_shares({group: [pattern]}).without_shares(group) == policy


# --- rules --------------------------------------------------------------------------------


def test_without_rules_everything_is_wanted_and_shared() -> None:
    policy = Policy()
    assert policy.refuses(ANNA, "notes") is None
    assert policy.shares_with([]) == policy.shares_with([EVERYBODY]) == (Pattern("**"),)
    assert policy.without == ()
    assert policy.quotas == Quotas()


def test_a_blocked_author_is_refused_even_where_it_may_write() -> None:
    policy = Policy().with_writers(NOTES, [ANNA]).blocking_author(ANNA)
    assert policy.refuses(ANNA, "notes/1") is Refusal.AUTHOR_BLOCKED


def test_a_collection_that_no_rule_matches_is_everybodys_to_write() -> None:
    policy = Policy().with_writers(NOTES, [ANNA])
    assert policy.refuses(BEN, "notes") is Refusal.NOT_A_WRITER
    assert policy.refuses(BEN, "other") is None


def test_where_two_rules_match_the_authors_of_both_may_write() -> None:
    policy = Policy().with_writers(NOTES, [ANNA]).with_writers(Pattern("*/public"), [BEN])
    assert [policy.refuses(who, "notes/public") for who in (ANNA, BEN)] == [None, None]
    assert policy.refuses(CARL, "notes/public") is Refusal.NOT_A_WRITER


def test_writers_replace_those_of_the_same_pattern() -> None:
    policy = Policy().with_writers(NOTES, [ANNA]).with_writers(NOTES, [BEN])
    assert policy.writers == ((NOTES, frozenset([BEN])),)
    assert policy.refuses(ANNA, "notes/1") is Refusal.NOT_A_WRITER


def test_a_rule_without_authors_lets_nobody_write() -> None:
    policy = Policy().with_writers(NOTES, [])
    assert policy.refuses(ANNA, "notes/1") is Refusal.NOT_A_WRITER


def test_from_the_first_share_on_who_is_given_nothing_sees_nothing() -> None:
    policy = Policy().with_shares({"friends": [NOTES]})
    assert policy.shares_with([EVERYBODY, LISTED]) == ()
    assert policy.shares_with([EVERYBODY, LISTED, "friends"]) == (STATEMENTS, NOTES)


def test_a_group_that_is_given_nothing_opens_nothing_to_others() -> None:
    """As a file by hand may say; it is a share all the same."""
    policy = Policy(shares={"friends": ()})
    assert policy.shares_with([EVERYBODY, "friends"]) == ()


def test_what_is_shared_with_everybody_is_shared_with_each_group() -> None:
    policy = Policy().with_shares({EVERYBODY: [NEWS], "friends": [NOTES, NEWS]})
    assert policy.shares_with([EVERYBODY]) == (STATEMENTS, NEWS)
    assert policy.shares_with([EVERYBODY, "friends"]) == (STATEMENTS, NEWS, NOTES)


def test_what_lies_deeper_in_the_system_is_shared_when_somebody_says_so() -> None:
    """It may hold files, which nobody would expect to leave with a share of notes."""
    policy = Policy().with_shares({"friends": [NOTES]})
    assert not any_means(policy.shares_with(["friends"]), "system/bamboo/files")
    assert not any_means(policy.shares_with([EVERYBODY]), "system/forks")
    policy = policy.with_shares({"friends": [SYSTEM]})
    assert any_means(policy.shares_with(["friends"]), "system/bamboo/files")


def test_statements_can_be_all_that_is_shared() -> None:
    assert Policy().with_shares({EVERYBODY: [STATEMENTS]}).shares_with([EVERYBODY]) == (STATEMENTS,)


def test_a_group_is_forgotten_with_its_last_share() -> None:
    policy = Policy().with_shares({"friends": [NOTES, NEWS], LISTED: [NEWS]})
    assert policy.without_shares("friends", [NOTES]).shares["friends"] == (NEWS,)
    assert set(policy.without_shares("friends", [NOTES, NEWS]).shares) == {LISTED}
    assert set(policy.without_shares("friends").shares) == {LISTED}


@pytest.mark.parametrize(
    "change",
    [
        lambda policy: policy.unblocking_author(BEN),
        lambda policy: policy.unblocking_collection(Pattern("notes/*")),
        lambda policy: policy.without_writers(NEWS),
        lambda policy: policy.without_shares("others"),
        lambda policy: policy.without_shares("friends", [NEWS]),
    ],
)
def test_a_rule_that_there_is_not_cannot_be_taken_away(change: Callable[[Policy], Policy]) -> None:
    policy = Policy().blocking_author(ANNA).blocking_collection(NOTES).with_writers(NOTES, [ANNA])
    with pytest.raises(NoSuchRuleError):
        change(policy.with_shares({"friends": [NOTES]}))


def test_blocking_twice_is_blocking_once_and_may_rename() -> None:
    policy = Policy().blocking_author(ANNA, "anna").blocking_author(ANNA)
    assert (policy.blocked_authors, policy.names) == (frozenset([ANNA]), {ANNA: "anna"})
    assert policy.blocking_author(ANNA, "x" * 500).names == {ANNA: "x" * 64}
    assert policy.blocking_collection(NOTES) == policy.blocking_collection(
        NOTES
    ).blocking_collection(NOTES)


@pytest.mark.parametrize("name", ["", "Friends", "a b", "a:b", "x" * 33, "ä", "a/b"])
def test_what_cannot_name_a_group_gets_no_share(name: str) -> None:
    with pytest.raises(UsageError):
        check_group(name)
    with pytest.raises(UsageError):
        Policy().with_shares({name: [NOTES]})


# --- shares of one run --------------------------------------------------------------------


def test_shares_of_a_run_come_on_top_and_are_in_no_file(tmp_path: Path) -> None:
    file = file_at(tmp_path)
    with file.changing() as draft:
        draft.value = draft.value.with_shares({"friends": [NOTES]})
    before = file.path.read_bytes()
    policy = WithShares(PolicyFile(file.path).read, {"friends": (NEWS,), EVERYBODY: (NEWS,)})
    assert policy().shares == {"friends": (NOTES, NEWS), EVERYBODY: (NEWS,)}
    assert file.path.read_bytes() == before


def test_a_run_sees_what_a_command_changed_and_makes_nothing_anew_before(tmp_path: Path) -> None:
    file = file_at(tmp_path)
    with file.changing():
        pass
    policy = WithShares(PolicyFile(file.path).read, {EVERYBODY: (NEWS,)})
    first = policy()
    assert policy() is first
    with file.changing() as draft:
        draft.value = draft.value.blocking_author(ANNA)
    assert policy().refuses(ANNA, "news/1") is Refusal.AUTHOR_BLOCKED
    assert policy().shares_with([EVERYBODY]) == (STATEMENTS, NEWS)


def test_a_run_whose_file_became_unreadable_says_so_instead_of_what_it_said(tmp_path: Path) -> None:
    """The caller then lets nobody in; the policy of a moment ago would let in too many."""
    file = file_at(tmp_path)
    policy = WithShares(file.read, {EVERYBODY: (NEWS,)})
    policy()
    file.path.write_text("{")
    for _ in range(2):
        with pytest.raises(PolicyFileError):
            policy()


# --- limits -------------------------------------------------------------------------------


def _many(count: int, size: int = 10) -> list[Pattern]:
    return [Pattern(f"{number:05}".ljust(size, "x")) for number in range(count)]


def _deep(count: int) -> list[Pattern]:
    return [Pattern("/".join("a" * 127) + f"/{number}") for number in range(count)]


def _keys(count: int) -> list[bytes]:
    return [number.to_bytes(32) for number in range(count)]


_LONG = limits.MAX_PATTERNS_TEXT // limits.MAX_PATTERN


@pytest.mark.parametrize(
    ("full", "more"),
    [
        (
            Policy(blocked_authors=frozenset(_keys(limits.MAX_BLOCKED_AUTHORS))),
            lambda policy: policy.blocking_author(ANNA),
        ),
        (
            Policy(blocked_collections=(*_many(limits.MAX_PATTERNS),)),
            lambda policy: policy.blocking_collection(NOTES),
        ),
        (
            Policy(blocked_collections=(*_many(_LONG, limits.MAX_PATTERN),)),
            lambda policy: policy.blocking_collection(Pattern("y" * limits.MAX_PATTERN)),
        ),
        (
            Policy(blocked_collections=(*_deep(limits.MAX_PATTERN_SEGMENTS // 128),)),
            lambda policy: policy.blocking_collection(NOTES),
        ),
        (
            Policy(writers=tuple((one, frozenset()) for one in _many(limits.MAX_WRITER_RULES))),
            lambda policy: policy.with_writers(NOTES, []),
        ),
        (
            Policy().with_writers(NOTES, _keys(limits.MAX_WRITERS)),
            lambda policy: policy.with_writers(NEWS, [ANNA]),
        ),
        (
            Policy(shares={f"g{number}": () for number in range(limits.MAX_SHARING_GROUPS)}),
            lambda policy: policy.with_shares({"one-more": ()}),
        ),
        (  # two groups, since a peer may be in both; one place is that of statements
            Policy().with_shares({"friends": _many(limits.MAX_PATTERNS - 1)}),
            lambda policy: policy.with_shares({"others": [NOTES]}),
        ),
        (
            Policy().with_shares({"friends": _many(_LONG, limits.MAX_PATTERN)}),
            lambda policy: policy.with_shares({"others": [Pattern("y" * limits.MAX_PATTERN)]}),
        ),
    ],
)
def test_a_policy_is_full_at_its_limit(full: Policy, more: Callable[[Policy], Policy]) -> None:
    with pytest.raises(PolicyFileError, match=r"[Aa]t most|more than"):
        more(full)


def test_the_longest_policy_fits_into_a_hello_with_the_longest_interests() -> None:
    longest = _many(_LONG, limits.MAX_PATTERN)
    policy = Policy(blocked_collections=(*longest,), shares={EVERYBODY: (*longest[:-1],)})
    interests = [one.text for one in _many(limits.MAX_PATTERNS, limits.MAX_PATTERN)]
    hello = Hello(
        versions=(1,) * 8,
        node=ANNA,
        nonce=BEN,
        interests=(*interests,),
        direction=BOTH,
        max_payload=limits.MAX_PAYLOAD,
        features=("x" * 32,) * 32,
        shares=tuple(one.text for one in policy.shares_with([EVERYBODY])),
        without=tuple(one.text for one in policy.without),
        invite=bytes(limits.MAX_INVITE),
    )
    buffer = new_buffer()
    buffer.receive(pack(hello))
    frame = buffer.next_frame()
    assert frame is not None
    assert unpack(*frame) == hello


def test_a_file_that_could_not_be_read_again_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(policy_module._FORMAT, limit=2_000)
    monkeypatch.setattr(policy_module, "_FORMAT", small)
    file = file_at(tmp_path)
    with file.changing() as draft:
        draft.value = draft.value.blocking_author(ANNA)
    before = file.path.read_bytes()
    with pytest.raises(PolicyFileError, match="would be longer"), file.changing() as draft:
        draft.value = draft.value.with_writers(NOTES, _keys(40))
    assert file.path.read_bytes() == before
    assert file.read().writers == ()


# --- the file -----------------------------------------------------------------------------


def test_where_there_is_no_file_there_is_no_rule(tmp_path: Path) -> None:
    assert file_at(tmp_path).read() == Policy()


def test_the_file_is_for_its_owner_only_and_leaves_no_draft(tmp_path: Path) -> None:
    with file_at(tmp_path).changing():
        pass
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"policy.json", "policy.lock", "policy.queue"}
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_change_is_on_the_disk_and_its_name_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content before it is renamed, and the folder after."""
    sync, seen = os.fsync, []

    def watched(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        seen.append((is_folder, (tmp_path / "policy.json").exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    with file_at(tmp_path).changing():
        pass
    assert seen == [(False, False), (True, True)]


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    """Neither on the disk nor in what a later look finds."""
    file = file_at(tmp_path)
    with file.changing() as draft:
        draft.value = expected = draft.value.blocking_author(ANNA)
    with contextlib.suppress(NoSuchRuleError), file.changing() as draft:
        draft.value = draft.value.blocking_author(BEN)
        draft.value = draft.value.unblocking_author(CARL)
    assert file.read() == PolicyFile(file.path).read() == expected


def test_a_change_builds_on_what_another_wrote_meanwhile(tmp_path: Path) -> None:
    one, two = file_at(tmp_path), file_at(tmp_path)
    with one.changing() as draft:
        draft.value = draft.value.blocking_author(ANNA)
    assert one.read() is one.read()
    with two.changing() as draft:
        draft.value = draft.value.blocking_author(BEN)
    with one.changing() as draft:
        draft.value = draft.value.blocking_author(CARL)
    assert two.read().blocked_authors == {ANNA, BEN, CARL}


def test_a_change_that_never_ends_keeps_no_other_waiting_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PEERS_LOCK_SECONDS", 0.0)
    one, two = file_at(tmp_path), file_at(tmp_path)
    with one.changing(), pytest.raises(PolicyFileError, match="Another process"), two.changing():
        pytest.fail("only one changes at a time")
    with two.changing() as draft:
        draft.value = draft.value.blocking_author(ANNA)
    assert one.read().blocked_authors == {ANNA}


# --- a file that is none ------------------------------------------------------------------

GOOD = {
    "setsync_policy": 1,
    "blocked_authors": {},
    "blocked_collections": [],
    "writers": {},
    "shares": {},
    "quotas": {},
}


def _content(**changes: object) -> bytes:
    return json.dumps(GOOD | changes).encode()


GARBAGE = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "null": b"null",
    "deep": b"[" * 100_000,
    "too long": b" " * (limits.MAX_POLICY_FILE + 1),
    "version 0": _content(setsync_policy=0),
    "version true": _content(setsync_policy=True),
    "a member too few": b'{"setsync_policy": 1}',
    "a member that we do not know": _content(blocked_author={}),
    "authors in a list": _content(blocked_authors=[ANNA.hex()]),
    "a short key": _content(blocked_authors={"00": ""}),
    "a name that is a number": _content(blocked_authors={ANNA.hex(): 7}),
    "a collection in words": _content(blocked_collections="notes"),
    "no pattern": _content(blocked_collections=["a*"]),
    "a pattern that is a number": _content(blocked_collections=[7]),
    "a writer in words": _content(writers={"a": ANNA.hex()}),
    "a writer that is a number": _content(writers={"a": [7]}),
    "writers of no pattern": _content(writers={"a//b": []}),
    "a group with a colon": _content(shares={"a:b": []}),
    "a share in words": _content(shares={"friends": "notes"}),
    "an unknown quota": _content(quotas={"author_words": 1}),
    "a quota below nothing": _content(quotas={"author_bytes": -1}),
    "a quota that no store can count": _content(quotas={"author_bytes": 2**63}),
    "a quota with a point": _content(quotas={"author_bytes": 1.0}),
    "a quota true": _content(quotas={"author_bytes": True}),
    "quotas in a list": _content(quotas=[1]),
    "too many blocked": _content(
        blocked_authors={key.hex(): "" for key in _keys(limits.MAX_BLOCKED_AUTHORS + 1)}
    ),
}


def test_the_good_file_that_the_bad_ones_are_made_of_is_good(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_bytes(_content())
    assert file_at(tmp_path).read() == Policy()


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_refused_with_a_sentence_and_left_alone(tmp_path: Path, what: str) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes(GARBAGE[what])
    with pytest.raises(PolicyFileError) as caught:
        PolicyFile(path).read()
    assert caught.value.message.endswith(".")
    assert not caught.value.message.endswith("..")
    assert len(caught.value.message) < 1_000
    with pytest.raises(PolicyFileError), PolicyFile(path).changing():
        pytest.fail("there is nothing to change")
    assert path.read_bytes() == GARBAGE[what]


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes(newer := _content(setsync_policy=2, more="things"))
    for look in (PolicyFile(path).read, PolicyFile(path).changing().__enter__):
        with pytest.raises(NewerFormatError, match="format 2; this version reads up to 1"):
            look()
    assert path.read_bytes() == newer


@given(st.binary(max_size=200))
def test_any_bytes_are_a_policy_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("policy") / "policy.json"
    path.write_bytes(content)
    with pytest.raises(SetsyncError):
        PolicyFile(path).read()


def test_what_cannot_be_opened_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "policy.json").mkdir()
    with pytest.raises(PolicyFileError, match=r"policy\.json cannot be read"):
        file_at(tmp_path).read()
