"""`setsync fork decide`, `undecide` and `policy`, as a shell sees them, on real stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from setsync.model.keys import SecretKey, write_key_file
from setsync.node.config import DataDirectory, Settings
from setsync.store.contract import Origin
from tests.bamboo.decisions.test_resolving import nested, parted
from tests.bamboo.decisions.worlds import KEY, members
from tests.bamboo.logs import Author, Record, seed
from tests.cli.running import Shell

PEER = Origin(1_795_000_000_000, b"p" * 32)
HERE = Origin(1_795_000_000_000)


def made(path: Path, author: int = 9) -> Shell:
    """A new node, whose own author is somebody else; author 1's key lies beside it."""
    DataDirectory.init(path, SecretKey(seed(200 + author)), SecretKey(seed(author)))
    key_file = path.with_name("anna.key")
    if not key_file.exists():
        write_key_file(key_file, KEY)
    return Shell(path)


@pytest.fixture
def node(tmp_path: Path) -> Shell:
    return made(tmp_path / "node")


def put(shell: Shell, records: list[Record], origin: Origin | None = PEER) -> None:
    with DataDirectory.open(shell.data).open_store(Settings()) as store:
        store.add_many(members(records), [(0, origin)])


def anna(shell: Shell) -> str:
    return str(shell.data.with_name("anna.key"))


def fork_of(shell: Shell) -> dict[str, Any]:
    [fork] = shell.ok("fork", "list", "--json").json("fork-list")["forks"]
    assert isinstance(fork, dict)
    return fork


def number_of(fork: dict[str, Any], author: Author, seq_num: int) -> str:
    [number] = [
        n
        for n, branch in enumerate(fork["branches"], start=1)
        if branch["hash"] == author.hashes[seq_num].hex()
    ]
    return str(number)


def append(shell: Shell, payload: bytes = b"more") -> Any:
    return shell.run("bamboo", "append", anna(shell), "1024", "-", stdin=payload)


# --- deciding -----------------------------------------------------------------------------


def test_a_decision_changes_everything_that_is_told_at_once(node: Shell) -> None:
    records, laptop, phone = parted(3, 4, 2)
    put(node, records)
    fork = fork_of(node)
    assert fork["decision"]["state"] == "undecided"
    assert node.run("fork", "check", "--author", anna(node)).code == 8
    assert append(node).code == 8
    number = number_of(fork, phone, 4)
    found = node.ok("fork", "decide", fork["id"][:8], "--branch", number, "--json")
    told = found.json("fork-decide")
    assert told["statement"] is None
    assert told["decision"] == {
        "state": "decided",
        "by": "here",
        "branch": int(number),
        "hash": phone.hashes[4].hex(),
        "policy": "ask",
        "waiting_for": None,
        "overruled": False,
        "chain_forked": False,
    }
    head = phone.hashes[-1].hex()
    assert told["logs"] == [{"log_id": 1024, "trusted": 5, "head": head, "undecided": []}]
    log = node.ok("bamboo", "log", KEY.public.hex(), "1024", "--json").json("bamboo-log")
    assert (log["trusted"], log["effective_heads"]) == (5, [{"seq_num": 5, "hash": head}])
    assert [one["state"] for one in log["forks"]] == ["decided"]
    aside = [segment for segment in log["segments"] if segment["set_aside"]]
    assert [(one["first"], one["last"]) for one in aside] == [(4, 7)]
    [line] = node.ok("bamboo", "logs", "--json").json("bamboo-logs")["logs"]
    assert (line["trusted"], line["undecided"]) == (5, [])
    assert line["effective_heads"] == log["effective_heads"]
    check = node.ok("fork", "check", "--author", anna(node))
    assert check.lines[0] == f"No longer. Author {KEY.public.hex()}"
    assert append(node).code == 0
    again = node.ok("bamboo", "log", KEY.public.hex(), "1024", "--json").json("bamboo-log")
    assert [one["seq_num"] for one in again["effective_heads"]] == [6]
    assert again["height"] == 7
    assert laptop.hashes[-1].hex() in [one["hash"] for one in again["heads"]]


def test_people_read_who_decided_what_and_what_is_set_aside(node: Shell) -> None:
    records, _, phone = parted(3, 4, 2)
    put(node, records)
    fork = fork_of(node)
    number = number_of(fork, phone, 4)
    outcome = node.ok("fork", "decide", fork["id"], "--branch", number, "--reason", "her phone")
    assert f"fork {fork['id'][:8]}: branch {number} is right, as decided here" in outcome.text
    assert outcome.lines[-1] == (
        f"log 1024 is trusted up to entry 5, head {phone.hashes[-1].hex()[4:20]}"
    )
    listed = node.ok("fork", "list").text
    assert f"decision: branch {number} is right, as decided here" in listed
    assert "her phone" in listed
    shown = node.ok("fork", "show", fork["id"]).text
    assert "history" in shown
    sides = node.ok("fork", "show", fork["id"], "--json").json("fork-show")["sides"]
    assert {side["branch"]: side["set_aside"] for side in sides} == {
        int(number): False,
        3 - int(number): True,
    }
    assert "trusted   log 1024 up to entry 5" in shown
    log = node.ok("bamboo", "log", KEY.public.hex(), "1024").text
    assert "1 other set aside" in log
    assert "head, set aside" in log
    assert ", decided:" in log
    assert "1 fork decided" in node.ok("bamboo", "logs").text
    entries = node.ok("bamboo", "log", KEY.public.hex(), "1024", "--from", "4").text
    assert entries.count("set aside") == 1 + 4


def test_a_branch_is_named_by_digits_of_its_first_entry_too(node: Shell) -> None:
    records, laptop, _ = parted(3, 4, 2)
    put(node, records)
    fork = fork_of(node)
    for text in (laptop.hashes[4].hex(), laptop.hashes[4].hex()[:12], laptop.hashes[4].hex()[4:16]):
        found = node.ok("fork", "decide", fork["id"], "--branch", text, "--json")
        assert found.json("fork-decide")["decision"]["hash"] == laptop.hashes[4].hex()


def test_what_is_no_branch_is_refused_and_nothing_is_decided(node: Shell) -> None:
    put(node, parted(3, 4, 2)[0])
    fork = fork_of(node)
    for branch, code in (("3", 10), ("0", 10), ("abcdef012345", 10), ("one", 2), ("abc", 2)):
        assert node.run("fork", "decide", fork["id"], "--branch", branch).code == code
    assert node.run("fork", "decide", "00000000", "--branch", "1").code == 10
    assert node.run("fork", "undecide", fork["id"]).code == 1
    long = node.run("fork", "decide", fork["id"], "--branch", "1", "--reason", "x" * 201)
    assert long.code == 2
    assert not (node.data / "forks.json").exists()


def test_taking_a_decision_back_leaves_the_fork_open_and_the_history_stays(node: Shell) -> None:
    put(node, parted(3, 4, 2)[0])
    fork = fork_of(node)
    node.ok("fork", "decide", fork["id"], "--branch", "1")
    node.ok("fork", "decide", fork["id"], "--branch", "2", "--reason", "no, this")
    node.ok("fork", "undecide", fork["id"], "--reason", "unsure")
    assert append(node).code == 8
    page = node.ok("fork", "show", fork["id"], "--json").json("fork-show")
    assert page["decision"]["state"] == "undecided"
    assert [(one["did"], one["branch"], one["reason"]) for one in page["history"]] == [
        ("decide", 1, ""),
        ("decide", 2, "no, this"),
        ("undecide", None, "unsure"),
    ]
    assert {one["by"] for one in page["history"]} == {"here"}


def test_deciding_against_what_was_brought_here_says_so_and_wants_a_yes(node: Shell) -> None:
    records, laptop, phone = parted(3, 4, 2)
    put(node, records[:7], HERE)
    put(node, records[7:], PEER)
    fork = fork_of(node)
    words = ("fork", "decide", fork["id"], "--branch", number_of(fork, phone, 4))
    refused = node.run(*words)
    assert refused.code == 2
    assert "Entries 4 to 7 of log 1024" in refused.complaint
    assert "perhaps your own work" in refused.complaint
    assert not (node.data / "forks.json").exists()
    assert node.run(*words, "--json").json("error")["error"]["code"] == "not_confirmed"
    assert node.ok(*words, "--yes").code == 0
    other = ("fork", "decide", fork["id"], "--branch", number_of(fork, laptop, 4))
    assert node.ok(*other).code == 0


# --- as the author ------------------------------------------------------------------------


def test_the_authors_decision_is_signed_and_wants_a_yes(node: Shell) -> None:
    put(node, parted(3, 4, 2)[0])
    fork = fork_of(node)
    words = ("fork", "decide", fork["id"], "--branch", "2", "--as-author", anna(node))
    refused = node.run(*words)
    assert refused.code == 2
    assert "binds every node that it reaches" in refused.complaint
    assert "system/forks" not in node.ok("ls").text
    told = node.ok(*words, "--yes", "--reason", "mine", "--json").json("fork-decide")
    assert told["decision"]["by"] == "author"
    assert node.ok("get", told["statement"], "--json").json("get")["collection"] == "system/forks"
    page = node.ok("fork", "show", fork["id"], "--json").json("fork-show")
    [said] = page["history"]
    assert (said["by"], said["statement"], said["count"], said["reason"]) == (
        "author",
        told["statement"],
        1,
        "mine",
    )
    assert page["chain"] == {
        "statements": 1,
        "latest": told["statement"],
        "forks": [],
        "missing": [],
    }
    back = ("fork", "undecide", fork["id"], "--as-author", anna(node))
    assert node.run(*back).code == 2
    undone = node.ok(*back, "--yes", "--json").json("fork-undecide")
    assert undone["decision"]["state"] == "undecided"
    assert node.run(*back, "--yes").code == 1
    assert node.ok("check").code == 0


def test_a_typed_word_confirms_and_another_word_does_not(
    node: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(node, parted(3, 4, 2)[0])
    fork = fork_of(node)
    words = ("fork", "decide", fork["id"], "--branch", "2", "--as-author", anna(node))
    monkeypatch.setattr("bamboo_compat.cli.fork_decide._is_asked", lambda: True)
    for typed, code in (("yes", 2), ("", 2), ("decide", 0)):
        monkeypatch.setattr(click, "prompt", lambda *_, typed=typed, **__: typed)
        assert node.run(*words).code == code
    assert fork_of(node)["decision"]["by"] == "author"


def test_nobody_elses_key_decides_as_the_author(node: Shell) -> None:
    put(node, parted(3, 4, 2)[0])
    fork = fork_of(node)
    write_key_file(node.data.with_name("ben.key"), SecretKey(seed(2)))
    words = ("--branch", "1", "--yes", "--as-author", str(node.data.with_name("ben.key")))
    outcome = node.run("fork", "decide", fork["id"], *words)
    assert outcome.code == 2
    assert "not_the_author" in node.run("fork", "decide", fork["id"], *words, "--json").text


def test_the_author_goes_before_this_node_and_both_are_told(node: Shell) -> None:
    put(node, parted(3, 4, 2)[0])
    fork = fork_of(node)
    node.ok("fork", "decide", fork["id"], "--branch", "1")
    as_author = ("--branch", "2", "--as-author", anna(node), "--yes")
    node.ok("fork", "decide", fork["id"], *as_author)
    decision = fork_of(node)["decision"]
    assert (decision["by"], decision["branch"], decision["overruled"]) == ("author", 2, True)
    text = node.ok("fork", "list").text
    assert "decision: branch 2 is right, the author says" in text
    assert "decision: decided here for branch 1, against the author, whose decision holds" in text
    again = node.run("fork", "decide", fork["id"], "--branch", "1", "--json")
    assert again.json("fork-decide")["decision"]["by"] == "author"


def test_the_author_may_decide_for_a_branch_before_it_is_here(node: Shell) -> None:
    records, laptop, phone = parted(3, 4, 2)
    tablet = Author(hashes=[*phone.hashes[:4]])
    third = tablet.grow(2, "tablet")
    put(node, records)
    fork = fork_of(node)
    far = ("fork", "decide", fork["id"], "--branch", tablet.hashes[4].hex())
    assert node.run(*far).code == 10
    told = node.ok(*far, "--as-author", anna(node), "--yes", "--json").json("fork-decide")
    assert told["decision"]["state"] == "undecided"
    assert told["decision"]["waiting_for"] == tablet.hashes[4].hex()
    assert "is not here yet" in node.ok("fork", "list").text
    node.ok("fork", "decide", fork["id"], "--branch", number_of(fork, laptop, 4))
    assert fork_of(node)["decision"]["by"] == "here"
    outcome = append(node)
    assert outcome.code == 8
    assert "which is not here" in outcome.complaint
    put(node, third)
    decision = fork_of(node)["decision"]
    assert (decision["by"], decision["hash"]) == ("author", tablet.hashes[4].hex())
    assert append(node).code == 0


def test_a_decision_travels_and_binds_every_node_that_it_reaches(tmp_path: Path) -> None:
    one, two = made(tmp_path / "one", 7), made(tmp_path / "two", 8)
    records, _, phone = parted(3, 4, 2)
    put(one, records)
    put(two, records[::-1])
    fork = fork_of(one)
    number = number_of(fork, phone, 4)
    one.ok("fork", "decide", fork["id"], "--branch", number, "--as-author", anna(one), "--yes")
    file = tmp_path / "all.setsync"
    one.ok("export", str(file))
    assert fork_of(two)["decision"]["state"] == "undecided"
    two.ok("import", str(file))
    assert fork_of(two)["decision"] == fork_of(one)["decision"]
    logs = [shell.ok("bamboo", "logs", "--json").json("bamboo-logs") for shell in (one, two)]
    assert logs[0] == logs[1]


def test_statements_of_one_count_are_both_named(tmp_path: Path) -> None:
    one, two = made(tmp_path / "one", 7), made(tmp_path / "two", 8)
    for number, shell in enumerate((one, two), start=1):
        put(shell, parted(3, 4, 2)[0])
        words = ("--branch", str(number), "--as-author", anna(shell), "--yes")
        shell.ok("fork", "decide", fork_of(shell)["id"], *words)
    for shell, other in ((one, two), (two, one)):
        file = tmp_path / f"{shell.data.name}.setsync"
        shell.ok("export", str(file))
        other.ok("import", str(file))
    pages = [
        shell.ok("fork", "show", fork_of(shell)["id"], "--json").json("fork-show")
        for shell in (one, two)
    ]
    assert pages[0]["decision"] == pages[1]["decision"]
    assert pages[0]["decision"]["chain_forked"]
    assert pages[0]["chain"] == pages[1]["chain"]
    [both] = pages[0]["chain"]["forks"]
    assert len(both) == 2
    assert "2 statements with the count 1" in one.ok("fork", "show", pages[0]["id"]).text


# --- policy, and forks in forks -------------------------------------------------------------


def test_a_policy_decides_what_nobody_decides(node: Shell) -> None:
    records, laptop, _ = parted(3, 4, 2)
    put(node, records)
    assert node.ok("fork", "policy", "--json").json("fork-policy") == {
        "policy": "ask",
        "authors": [],
    }
    node.ok("fork", "policy", "ignore")
    decision = fork_of(node)["decision"]
    assert (decision["by"], decision["policy"]) == ("policy", "ignore")
    assert decision["hash"] == laptop.hashes[4].hex()
    assert "is right by policy: it was here first" in node.ok("fork", "list").text
    told = node.ok("fork", "policy", "ask", "--author", KEY.public.hex(), "--json")
    assert told.json("fork-policy") == {
        "policy": "ignore",
        "authors": [{"author": KEY.public.hex(), "policy": "ask"}],
    }
    assert fork_of(node)["decision"]["state"] == "undecided"
    assert node.ok("fork", "policy").lines[1] == f"author {KEY.public.hex()}: ask"
    node.ok("fork", "policy", "default", "--author", KEY.public.hex())
    assert fork_of(node)["decision"]["state"] == "decided"
    assert node.run("fork", "policy", "default").code == 2
    assert node.run("fork", "policy", "never").code == 2
    assert node.run("fork", "policy", "ask", "--author", "ca93").code == 2


def test_a_fork_on_a_branch_that_lost_is_told_as_settled(node: Shell) -> None:
    records, laptop, _, _ = nested()
    put(node, records)
    low, high = sorted(
        node.ok("fork", "list", "--json").json("fork-list")["forks"],
        key=lambda fork: int(fork["seq_num"]),
    )
    node.ok("fork", "decide", low["id"], "--branch", number_of(low, laptop, 3))
    found = node.ok("fork", "list", "--json").json("fork-list")["forks"]
    states = {fork["id"]: fork["decision"]["state"] for fork in found}
    assert states == {low["id"]: "decided", high["id"]: "moot"}
    assert "settled by the decision about another fork" in node.ok("fork", "list").text
    assert node.ok("fork", "check", "--author", anna(node)).code == 0
    log = node.ok("bamboo", "log", KEY.public.hex(), "1024", "--json").json("bamboo-log")
    assert sorted(one["state"] for one in log["forks"]) == ["decided", "moot"]


def test_a_damaged_file_of_decisions_is_named_and_nothing_is_told_as_decided(node: Shell) -> None:
    put(node, parted(3, 4, 2)[0])
    fork = fork_of(node)
    (node.data / "forks.json").write_text("{")
    for words in (("fork", "list"), ("fork", "decide", fork["id"], "--branch", "1")):
        outcome = node.run(*words)
        assert outcome.code == 1
        assert "forks.json is not a list of decisions about forks" in outcome.complaint
    assert append(node).code == 1


def test_a_backup_holds_what_was_decided_here(node: Shell, tmp_path: Path) -> None:
    put(node, parted(3, 4, 2)[0])
    fork = fork_of(node)
    node.ok("fork", "decide", fork["id"], "--branch", "2")
    node.ok("backup", str(tmp_path / "backup"))
    assert fork_of(Shell(tmp_path / "backup"))["decision"] == fork_of(node)["decision"]
