"""`setsync policy`: what the commands do to policy.json, what they say, and what they forget."""

from __future__ import annotations

import pytest

from setsync.cli.policy import parse_share, parse_size
from setsync.errors import InvalidNameError, UsageError
from setsync.limits import MAX_PATTERNS
from setsync.model.collection import Pattern
from setsync.model.refusal import Refusal
from setsync.node.config import DataDirectory, Settings
from setsync.node.policy import Policy
from setsync.store.contract import Quotas, Refuser, RefuserKind
from tests.cli.running import Outcome, Shell

ANNA, BEN = "aa" * 32, "bb" * 32
KEY = bytes.fromhex(ANNA)
PEER = b"p" * 32
OURS = Refuser(RefuserKind.OURS)
FROM_PEER = Refuser(RefuserKind.OURS_FROM, PEER)
THEIRS = Refuser(RefuserKind.THEIRS, PEER)


def _policy(node: Shell) -> Policy:
    return DataDirectory.open(node.data).policy.read()


def _fails(outcome: Outcome, code: int, kind: str) -> None:
    assert outcome.code == code
    assert outcome.json("error")["error"]["code"] == kind


# --- what is changed is what is shown -----------------------------------------------------


def test_a_node_without_rules_says_so(node: Shell) -> None:
    shown = node.ok("policy", "show", "--json").json("policy")
    assert shown == {
        "blocked_authors": [],
        "blocked_collections": [],
        "writers": {},
        "shares": {},
        "quotas": {
            "author_entries": Quotas().author_entries,
            "author_bytes": Quotas().author_bytes,
            "peer_entries": Quotas().peer_entries,
            "peer_bytes": Quotas().peer_bytes,
        },
    }
    assert "whoever is let in gets everything" in node.ok("policy", "show").complaint
    assert not (node.data / "policy.json").exists()


def test_every_rule_is_shown_for_people_and_for_programs(node: Shell) -> None:
    changes = [
        ("block", "author", ANNA, "--name", "mallory"),
        ("block", "collection", "spam/**"),
        ("writers", "news/*", ANNA, BEN),
        ("share", "friends", "notes/**", "photos"),
        ("quota", "--author-bytes", "10M"),
    ]
    for words in changes:
        changed = node.ok("policy", *words, "--json").json("policy")
    assert changed["blocked_authors"] == [{"key": ANNA, "name": "mallory", "entries": 0}]
    assert changed["blocked_collections"] == ["spam/**"]
    assert changed["writers"] == {"news/*": [ANNA, BEN]}
    assert changed["shares"] == {"friends": ["notes/**", "photos"]}
    assert changed["quotas"]["author_bytes"] == 10_000_000
    assert node.ok("policy", "show", "--json").json("policy") == changed
    lines = node.ok("policy", "show").lines
    for words in [
        ("blocked author", ANNA, "mallory, 0 entries here"),
        ("blocked collection", "spam/**"),
        ("writer", "news/*", ANNA),
        ("writer", "news/*", BEN),
        ("share", "friends", "notes/**, photos"),
        ("quota", "an author's bytes", "10,000,000 (10.0 MB)"),
    ]:
        assert [line for line in lines if all(word in line for word in words)], words


def test_rules_are_taken_back_one_by_one(node: Shell) -> None:
    node.ok("policy", "block", "author", ANNA)
    node.ok("policy", "block", "collection", "spam/**")
    node.ok("policy", "writers", "news/*", ANNA)
    node.ok("policy", "share", "friends", "notes/**", "photos")
    node.ok("policy", "quota", "--peer-bytes", "1GiB", "--author-entries", "5")
    node.ok("policy", "unblock", "author", ANNA.upper())
    node.ok("policy", "unblock", "collection", "spam/**")
    node.ok("policy", "writers", "news/*", "--anyone")
    node.ok("policy", "unshare", "friends", "photos")
    assert _policy(node).shares == {"friends": (Pattern("notes/**"),)}
    node.ok("policy", "unshare", "friends", "--even-last")
    node.ok("policy", "quota", "--peer-bytes", "default", "--author-entries", "default")
    assert _policy(node) == Policy()


def test_a_name_cannot_speak_to_the_terminal(node: Shell) -> None:
    node.ok("policy", "block", "author", ANNA, "--name", "\x1b[2Jmallory\u202e")
    shown = node.ok("policy", "show").text
    assert "\x1b" not in shown
    assert "\u202e" not in shown


# --- what blocking does not do ------------------------------------------------------------


def test_blocking_an_author_deletes_nothing_and_says_how_much_stays(node: Shell) -> None:
    node.put("notes", b"one", b"two")
    me = node.ok("status", "--json").json("status")["author"]
    before = node.digests()
    said = node.ok("policy", "block", "author", me).complaint
    assert "that are here, and stay: 2." in said
    assert node.digests() == before
    shown = node.ok("policy", "show", "--json").json("policy")
    assert shown["blocked_authors"][0]["entries"] == 2


def test_blocking_collections_deletes_nothing_and_says_how_many_stay(node: Shell) -> None:
    for collection in ("spam/1", "spam/2", "notes"):
        node.put(collection, b"one")
    before = node.digests()
    said = node.ok("policy", "block", "collection", "spam/**").complaint
    assert "that are here, and stay: 2." in said
    assert node.digests() == before


def test_no_rule_binds_whoever_puts_entries_here(node: Shell) -> None:
    """Neither a block, nor another's collection, nor a quota."""
    me = node.ok("status", "--json").json("status")["author"]
    node.ok("policy", "block", "author", me)
    node.ok("policy", "block", "collection", "notes")
    node.ok("policy", "writers", "notes", ANNA)
    node.ok("policy", "quota", "--author-entries", "0", "--author-bytes", "0")
    (id_,) = node.put("notes", b"mine")
    assert node.ok("get", id_).raw == b"mine"


# --- what was refused ---------------------------------------------------------------------


def _refuse(node: Shell) -> None:
    with DataDirectory.open(node.data).open_store(Settings()) as store:
        for refuser in (OURS, FROM_PEER, THEIRS):
            store.note_refused(refuser, "notes", [(b"i" * 32, Refusal.AUTHOR_BLOCKED)], 1_000)


def _remembered(node: Shell) -> list[Refuser]:
    with (
        DataDirectory.open(node.data).open_store(Settings()) as store,
        store.snapshot() as snapshot,
    ):
        refusers = (OURS, FROM_PEER, THEIRS)
        return [one for one in refusers if snapshot.refused(one, "notes", "", 1_000, 10)]


WIDENING = [
    ("unblock", "author", ANNA),
    ("unblock", "collection", "spam/**"),
    ("writers", "news/*", ANNA, BEN),
    ("writers", "news/*", "--anyone"),
    ("quota", "--author-entries", "2000000"),
    ("quota", "--peer-bytes", "default"),
]
OTHERS = [
    ("block", "author", BEN),
    ("block", "collection", "notes"),
    ("share", "listed", "notes"),
    ("unshare", "friends", "photos"),
    ("show",),
]


@pytest.fixture
def ruled(node: Shell) -> Shell:
    """A node with a rule of each kind, that has refused something and been refused."""
    node.ok("policy", "block", "author", ANNA)
    node.ok("policy", "block", "collection", "spam/**")
    node.ok("policy", "writers", "news/*", ANNA)
    node.ok("policy", "share", "friends", "notes/**", "photos")
    node.ok("policy", "quota", "--peer-bytes", "1k")
    _refuse(node)
    return node


@pytest.mark.parametrize("words", WIDENING, ids=" ".join)
def test_what_may_be_wanted_again_is_no_longer_remembered_as_refused(
    ruled: Shell, words: tuple[str, ...]
) -> None:
    """What others refuse of ours is theirs to change."""
    ruled.ok("policy", *words)
    assert _remembered(ruled) == [THEIRS]


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_a_change_that_makes_nothing_wanted_again_forgets_nothing(
    ruled: Shell, words: tuple[str, ...]
) -> None:
    ruled.ok("policy", *words)
    assert _remembered(ruled) == [OURS, FROM_PEER, THEIRS]


# --- shares -------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("friends",), ("friends", "notes/**")])
def test_the_last_share_is_not_taken_back_unless_that_is_meant(
    node: Shell, words: tuple[str, ...]
) -> None:
    """For without any share, everything is shared."""
    node.ok("policy", "share", "friends", "notes/**")
    outcome = node.run("policy", "unshare", *words, "--json")
    _fails(outcome, 2, "usage")
    assert "everything is shared" in outcome.complaint
    assert _policy(node).shares == {"friends": (Pattern("notes/**"),)}
    said = node.ok("policy", "unshare", *words, "--even-last").complaint
    assert "whoever is let in gets everything" in said
    assert _policy(node).shares == {}


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("notes/**", ("everybody", "notes/**")),
        ("friends:notes/**", ("friends", "notes/**")),
        ("listed:a", ("listed", "a")),
        ("everybody:a:b", ("everybody", "a:b")),
    ],
)
def test_a_share_of_one_run_names_its_group_before_a_colon(
    text: str, share: tuple[str, str]
) -> None:
    assert parse_share(text) == (share[0], Pattern(share[1]))


@pytest.mark.parametrize("text", ["", "friends:", ":a", "Friends:a", "a/b:c", "a//b", "a*"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises((UsageError, InvalidNameError)):
        parse_share(text)


@pytest.mark.parametrize("share", ["a/b:c", "a//b", "friends:"])
def test_serving_does_not_begin_with_a_share_that_is_none(node: Shell, share: str) -> None:
    outcome = node.run("serve", "--listen", "127.0.0.1:0", "--share", share, "--json")
    assert outcome.code == 2


def test_serving_does_not_begin_with_more_shares_than_a_peer_can_be_told(node: Shell) -> None:
    node.ok("policy", "share", "friends", *(f"n{number}" for number in range(MAX_PATTERNS - 1)))
    words = ("serve", "--listen", "127.0.0.1:0", "--share", "one-more", "--json")
    _fails(node.run(*words), 1, "policy_file")
    assert len(_policy(node).shares["friends"]) == MAX_PATTERNS - 1


def test_serving_does_not_begin_with_rules_that_cannot_be_read(node: Shell) -> None:
    (node.data / "policy.json").write_text("{")
    _fails(node.run("serve", "--listen", "127.0.0.1:0", "--json"), 1, "policy_file")


def test_who_shares_without_the_systems_collections_is_told(node: Shell) -> None:
    """And no more once they are shared, with that group or with everybody."""
    hint = "share friends 'system/**'"
    assert hint in node.ok("policy", "share", "friends", "bamboo/**").complaint
    node.ok("policy", "share", "everybody", "system/bamboo/**")
    assert hint not in node.ok("policy", "share", "friends", "photos").complaint
    assert "system/**" not in node.ok("policy", "share", "listed", "**").complaint


# --- quotas -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1500", 1_500),
        ("500k", 500_000),
        ("10M", 10_000_000),
        ("2G", 2_000_000_000),
        ("1T", 10**12),
        ("1KiB", 1_024),
        ("3GiB", 3 * 2**30),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "M", "-1", "1.5M", "10 M", "10MB", "1g", "٣", "1" * 20, "1\n"]
)
def test_what_is_no_size_is_refused_and_changes_nothing(node: Shell, text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)
    outcome = node.run("policy", "quota", f"--author-bytes={text}", "--json")
    _fails(outcome, 2, "usage")
    assert _policy(node) == Policy()


def test_a_quota_beyond_what_can_be_counted_is_refused(node: Shell) -> None:
    _fails(node.run("policy", "quota", "--author-bytes", "9999999999T", "--json"), 2, "usage")
    assert _policy(node) == Policy()


# --- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (("block", "author", "mallory"), 2, "usage"),
        (("block", "author", ANNA[1:]), 2, "usage"),
        (("block", "collection", "a*"), 2, "invalid_name"),
        (("unblock", "author", ANNA), 10, "no_such_rule"),
        (("unblock", "collection", "spam"), 10, "no_such_rule"),
        (("writers", "news"), 2, "usage"),
        (("writers", "news", ANNA, "--anyone"), 2, "usage"),
        (("writers", "news", "mallory"), 2, "usage"),
        (("writers", "news", "--anyone"), 10, "no_such_rule"),
        (("share", "friends"), 2, "usage"),
        (("share", "My friends", "notes"), 2, "usage"),
        (("share", "friends", "a//b"), 2, "invalid_name"),
        (("unshare", "friends"), 10, "no_such_rule"),
        (("quota",), 2, "usage"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    node: Shell, words: tuple[str, ...], code: int, kind: str
) -> None:
    _fails(node.run("policy", *words, "--json"), code, kind)
    assert _policy(node) == Policy()


@pytest.mark.parametrize(
    "words", [("show",), ("block", "author", ANNA), ("quota", "--peer-entries", "1")]
)
def test_a_file_that_cannot_be_read_is_left_alone(node: Shell, words: tuple[str, ...]) -> None:
    path = node.data / "policy.json"
    path.write_text("{")
    _fails(node.run("policy", *words, "--json"), 1, "policy_file")
    assert path.read_text() == "{"
    path.write_text('{"setsync_policy": 9}')
    _fails(node.run("policy", *words, "--json"), 5, "newer_format")
    assert path.read_text() == '{"setsync_policy": 9}'


@pytest.mark.parametrize("words", [["block"], ["unblock"], ["block", "author"], ["quota"]])
def test_every_inner_command_has_help_with_an_example(node: Shell, words: list[str]) -> None:
    assert "Example" in node.ok("policy", *words, "-h").text
