"""`setsync bamboo logs`, `log` and `certificate`, as a shell sees them, on a real store."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given

from bamboo_compat.core import verify_log, yamf
from bamboo_compat.core.lipmaa import certificate_pool
from bamboo_compat.core.report import Standing
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.set.findings import findings_of
from bamboo_compat.set.index import BambooIndex
from bamboo_compat.set.reading import Reader
from setsync.model.entry import UnverifiedEntry, verify
from setsync.store.lmdb_store import Store
from setsync.store.memory import MemoryStore
from tests.bamboo.contradictions import create
from tests.bamboo.histories import histories, member
from tests.bamboo.logs import FLAVOURS, Author, Record
from tests.cli.running import Shell


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A new node, and a terminal of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")
    shell = Shell(tmp_path / "node")
    shell.ok("init")
    return shell


def add(node: Shell, records: Iterable[Record]) -> None:
    """Let a node have these."""
    with Store.open(node.data / "store") as store:
        store.add_many([member(record) for record in records])


def forked() -> tuple[list[Record], Author]:
    """Ten entries, then three ways on, of which the second parts once more. The author
    is where that one is short."""
    first = Author()
    records = first.grow(10, "common")
    second, third = first.copy(), first.copy()
    records += first.grow(10, "first") + second.grow(2, "second")
    short = second.copy()
    records += second.grow(3, "long") + short.grow(2, "short") + third.grow(7, "third")
    return records, short


def tree_of(text: str) -> list[str]:
    """The lines of the tree, without title and hashes."""
    lines = text.split("\n\n")[1].splitlines()
    return [" ".join(line.split()) for line in lines[1:]]


# --- logs ---------------------------------------------------------------------------------


def test_no_log_is_said_in_words(node: Shell) -> None:
    assert node.ok("bamboo", "logs").lines == ["There is no Bamboo log here."]
    assert "key begins with ab" in node.ok("bamboo", "logs", "ab").text
    found = node.ok("bamboo", "logs", "--json").json("bamboo-logs")
    assert (found["logs"], found["next"], found["sums"]["logs"]) == ([], None, 0)


def test_logs_are_told_with_what_is_not_well(node: Shell) -> None:
    holes, ended = Author(2, 7), Author(2, 8)
    grown = holes.grow(40)
    add(node, forked()[0])
    add(node, [grown[0], grown[3], *grown[17:22]])
    add(node, [*ended.grow(2), ended.append(end=True)])
    outcome = node.ok("bamboo", "logs")
    rows = {line.split()[1]: line for line in outcome.lines[1:4]}
    assert rows["1024"].endswith("4 heads        2 forks")
    assert rows["7"].endswith("5 waiting, 15 missing")
    assert rows["8"].endswith(f"{ended.hashes[3].hex()[4:12]}, end")
    assert outcome.lines[-2].startswith("3 logs of 2 authors: 44 entries, 39 verified, 5 waiting;")
    found = node.ok("bamboo", "logs", "--json").json("bamboo-logs")
    assert {log["log_id"]: log["trusted"] for log in found["logs"]} == {1024: 10, 7: 4, 8: 3}
    sums = found["sums"]
    assert (sums["missing"], sums["forked"], sums["ended"]) == (15, 1, 1)


def test_pages_put_together_are_all_logs(node: Shell) -> None:
    add(node, [Author(1 + n % 3, 1024 + n).append() for n in range(10)])
    every = node.ok("bamboo", "logs", "--json").json("bamboo-logs")["logs"]
    assert len(every) == 10
    found: list[object] = []
    words = ["--limit", "3"]
    while True:
        page = node.ok("bamboo", "logs", *words, "--json").json("bamboo-logs")
        found += page["logs"]
        assert page["sums"]["logs"] == 10
        if page["next"] is None:
            break
        words = ["--limit", "3", "--after", page["next"]]
    assert found == every
    told = node.ok("bamboo", "logs", "--limit", "3").lines[-1]
    assert told == f"Only 3 logs shown here; go on with --after {key_of(every[2])}"
    last = node.ok("bamboo", "logs", "--after", key_of(every[-1]))
    assert last.lines[0] == "There is no log after that one."


def key_of(log: dict[str, object]) -> str:
    return f"{log['author']}:{log['log_id']}"


@pytest.mark.parametrize("digits", [1, 2, 3, 5, 64])
def test_a_prefix_of_any_length_chooses_authors(node: Shell, digits: int) -> None:
    authors = [Author(number) for number in range(1, 20)]
    add(node, [author.append() for author in authors])
    for author in authors:
        prefix = author.key.hex()[:digits]
        found = node.ok("bamboo", "logs", prefix.upper(), "--json").json("bamboo-logs")["logs"]
        fitting = sorted(one.key.hex() for one in authors if one.key.hex().startswith(prefix))
        assert [log["author"] for log in found] == fitting


@pytest.mark.parametrize("width", [80, 100, 130])
def test_rows_fit_the_terminal(node: Shell, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    add(node, [Author(9).append(create("message_0020" + "ab" * 40))])
    add(node, forked()[0])
    outcome = node.ok("bamboo", "logs")
    assert max(map(len, outcome.lines)) <= width
    shown = node.ok("bamboo", "log", Author().key.hex()[:8], "1024")
    assert max(map(len, shown.lines)) <= width


def test_what_a_stranger_wrote_stays_on_its_line(node: Shell) -> None:
    add(node, [Author().append(create("a\n\x1b[31mb", "x"))])
    for words in (["logs"], ["log", "8a", "1024", "--payload"]):
        outcome = node.ok("bamboo", *words)
        assert "\x1b" not in outcome.text
        assert "\nb" not in outcome.text


# --- log ----------------------------------------------------------------------------------


def test_the_branches_are_a_tree(node: Shell) -> None:
    records, short = forked()
    add(node, records)
    outcome = node.ok("bamboo", "log", short.key.hex()[:8], "1024")
    lines = [line.rpartition(" verified ")[0] for line in tree_of(outcome.text)]
    assert lines == [
        "1-10 10",
        "├─ 11-12 2",
        "│ ├─ 13-15 3",
        "│ └─ 13-14 2",
        "├─ 11-20 10",
        "└─ 11-17 7",
    ]
    assert "Trusted up to entry 10." in outcome.text
    assert outcome.text.count(", branch: several entries have number") == 2
    found = node.ok("bamboo", "log", short.key.hex(), "1024", "--json").json("bamboo-log")
    spans = {(part["first"], part["last"], part["followers"]) for part in found["segments"]}
    assert spans == {(1, 10, 3), (11, 20, 0), (11, 12, 2), (11, 17, 0), (13, 15, 0), (13, 14, 0)}
    assert len(found["told"]) == 34
    assert found["next"] is None


def test_a_terminal_without_lines_gets_plain_ones(
    node: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bamboo_compat.cli.log_tree.speaks", lambda characters: False)
    add(node, forked()[0])
    outcome = node.ok("bamboo", "log", Author().key.hex(), "1024")
    assert outcome.text.isascii()
    assert "|- 11-" in outcome.text
    assert "`- 1" in outcome.text


def test_islands_gaps_and_certificate_pools_are_told_apart(node: Shell) -> None:
    author = Author()
    grown = author.grow(40)
    add(node, [grown[0], grown[3], *grown[17:22]])
    outcome = node.ok("bamboo", "log", author.key.hex(), "1024")
    assert [line.split(" ", 1)[0] for line in tree_of(outcome.text)] == [
        "1",
        "╎",
        "4",
        "╎",
        "18-22",
    ]
    assert "verified by lipmaalink" in outcome.text
    assert "╎  5-17       13  missing" in outcome.text
    assert "Height 22, 15 missing below." in outcome.text


def test_a_broken_entry_is_told_with_what_was_expected_and_those_upon_it(node: Shell) -> None:
    author = Author()
    records = author.grow(5)
    stray = author.make(6, b"stray", backlink=author.hashes[3])
    author.hashes.append(yamf.hash_of(Flavour.YASMF, stray))
    add(node, [*records, (stray, b"stray"), *author.grow(3)])
    outcome = node.ok("bamboo", "log", author.key.hex(), "1024")
    assert "7-9            3  broken, stands on entry 6" in outcome.text
    assert "bad_backlink: expected entry 5 of the log,\n        found entry 3" in outcome.text
    [broken] = node.ok(
        "bamboo", "log", author.key.hex(), "1024", "--from", "7", "--to", "7", "--json"
    ).json("bamboo-log")["told"]
    assert (broken["standing"], broken["stands_on"], broken["findings"]) == ("broken", 6, [])


def test_an_end_of_log_that_was_not_the_end(node: Shell) -> None:
    author = Author()
    add(node, [*author.grow(3), author.append(end=True), *author.grow(2)])
    outcome = node.ok("bamboo", "log", author.key.hex(), "1024")
    assert "after_end: it goes on after its end, entry 4" in outcome.text
    assert "It has ended. Trusted up to entry 4." in outcome.text
    assert "end of log" in tree_of(outcome.text)[0]


def test_entries_have_lines_and_their_payloads(node: Shell) -> None:
    author = Author()
    records = author.grow(5, "some text")
    add(node, [(data, None if at == 2 else payload) for at, (data, payload) in enumerate(records)])
    words = ("bamboo", "log", author.key.hex(), "1024", "--from", "2", "--to", "4")
    outcome = node.ok(*words, "--payload")
    table = outcome.text.split("\n\n")[1]
    assert [line.split()[0] for line in table.splitlines()[1:] if line[:4] != "    "] == []
    assert "withheld, 11 B" in table
    assert "some text 2" in table
    assert "some text 3" not in table
    assert node.ok(*words).text.count("some text") == 0
    found = node.ok(*words, "--payload", "--json").json("bamboo-log")
    assert [entry["seq_num"] for entry in found["told"]] == [2, 3, 4]
    assert [entry["withheld"] for entry in found["told"]] == [False, True, False]
    assert found["told"][0]["payload"]["text"] == "some text 2"
    assert found["segments"] is None
    nothing = node.ok("bamboo", "log", author.key.hex(), "1024", "--from", "9")
    assert nothing.lines[-1] == "No entry here has one of these numbers."


def test_an_entry_that_came_under_a_wrong_name_is_told_as_misfiled(node: Shell) -> None:
    data, payload = Author().append(create("venue_v1"))
    claimed = "bamboo/rfc0001/elsewhere"
    with Store.open(node.data / "store") as store:
        store.add_many([verify(UnverifiedEntry(claimed, data, None))])
        store.add_many([verify(UnverifiedEntry("bamboo/rfc0001/venue_v1", data, payload))])
    words = ("bamboo", "log", Author().key.hex(), "1024")
    assert f"misfiled: in {claimed}" in node.ok(*words, "--from", "1").text
    [entry] = node.ok(*words, "--json").json("bamboo-log")["told"]
    assert (entry["collection"], entry["belongs_in"]) == (claimed, "bamboo/rfc0001/venue_v1")


def test_long_logs_are_told_in_pages(node: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bamboo_compat.cli.log.SHOWN", 10)
    monkeypatch.setattr("bamboo_compat.cli.log.ENTRIES_TOLD", 7)
    author = Author()
    add(node, author.grow(25))
    words = ("bamboo", "log", author.key.hex(), "1024")
    told = node.ok(*words, "--from", "3").lines[-1]
    assert told == "Only 10 are shown; go on with --from 13"
    numbers: list[int] = []
    first: int | None = 1
    while first is not None:
        page = node.ok(*words, "--from", str(first), "--json").json("bamboo-log")
        numbers += [entry["seq_num"] for entry in page["told"]]
        first = page["next"]
    assert numbers == list(range(1, 26))


def test_a_log_that_parts_without_end_is_told_in_part(
    node: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bamboo_compat.cli.log.BRANCHES_SHOWN", 5)
    author = Author()
    records = author.grow(2)
    records += [author.copy().append(b"branch %d" % number) for number in range(9)]
    add(node, records)
    outcome = node.ok("bamboo", "log", author.key.hex(), "1024")
    assert "└─ ... 5 more" in outcome.text
    assert outcome.lines[-1].startswith("... and 5 more runs;")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["log", "77", "1024"], 10, "No author whose key begins with 77"),
        (["log", "8a", "5"], 10, "has no log 5 here"),
        (["log", "xy", "5"], 2, "hex digits"),
        (["log", "8a", "1024", "--from", "3", "--to", "2"], 2, "not above"),
        (["certificate", "8a", "1024", "99"], 10, "Entry 99 is not here"),
        (["certificate", "8a", "1024", "1", "--bare"], 2, "--output"),
        (["logs", "--after", "8a:5"], 2, "AUTHOR:LOG_ID"),
    ],
)
def test_what_is_not_there_ends_with_a_sentence(
    node: Shell, words: list[str], code: int, sentence: str
) -> None:
    add(node, Author().grow(2))
    outcome = node.run("bamboo", *words, "--json")
    assert outcome.code == code
    assert sentence in outcome.json("error")["error"]["message"]


def test_an_author_has_to_be_named_unmistakably(node: Shell) -> None:
    authors = [Author(number) for number in range(1, 20)]
    add(node, [author.append() for author in authors])
    names = sorted(author.key.hex() for author in authors)
    one, two = next((one, two) for one, two in pairwise(names) if one[0] == two[0])
    outcome = node.run("bamboo", "log", one[0], "1024", "--json")
    assert outcome.code == 10
    assert outcome.json("error")["error"]["code"] == "ambiguous_author"
    assert one in outcome.complaint
    assert two in outcome.complaint


# --- findings -----------------------------------------------------------------------------


@given(histories())
def test_findings_are_those_of_the_verifier_of_files(records: list[Record]) -> None:
    """Whatever an author signed: the index says of each entry what `verify --partial` says."""
    report = verify_log(records, partial=True)
    store, index = MemoryStore(), BambooIndex()
    for record in records:
        store.add_many([member(record)])
    store.open_index(index)
    with store.snapshot() as snapshot:
        reader = Reader(snapshot.index_tables(index))
        for verdict in report.verdicts:
            found = reader.by_id(verdict.id)
            assert found is not None
            told = findings_of(reader, found)
            assert told.standing is verdict.standing
            assert (told.stands_on is not None) == verdict.inherited
            if not verdict.inherited:
                assert told.findings == verdict.findings


# --- certificate --------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda flavour: flavour.name)
@pytest.mark.parametrize("bare", [False, True])
def test_a_certificate_verifies_where_nothing_else_is(
    node: Shell, tmp_path: Path, flavour: Flavour, bare: bool
) -> None:
    author = Author(flavour=flavour)
    add(node, author.grow(60))
    file = tmp_path / "pool"
    for seq_num in (1, 2, 23, 40, 60):
        words = ("bamboo", "certificate", author.key.hex()[:6], "1024", str(seq_num))
        found = node.ok(
            *words, "--output", str(file), *(["--bare"] if bare else []), "--json"
        ).json("bamboo-certificate")
        assert found["whole"]
        assert [place["seq_num"] for place in found["pool"]] == [*certificate_pool(seq_num)]
        here = [place["seq_num"] for place in found["pool"] if not place["beyond"]]
        assert here == [number for number in certificate_pool(seq_num) if number <= 60]
        verified = node.ok("bamboo", "verify", "--partial", str(file), "--json")
        report = verified.json("bamboo-verify")
        assert report["all_verified"]
        assert report["verified"] == len(here)
        assert report["withheld"] == (len(here) if bare else 0)


def test_a_certificate_that_lacks_something_says_what(node: Shell) -> None:
    author = Author()
    grown = author.grow(40)
    add(node, [entry for number, entry in enumerate(grown, 1) if number not in (4, 17)])
    outcome = node.run("bamboo", "certificate", author.key.hex(), "1024", "20")
    assert outcome.code == 7
    rows = {line.split()[0]: line.split()[1:] for line in outcome.lines[1:-1]}
    assert (rows["4"], rows["17"]) == (["missing"], ["missing"])
    assert rows["1"][-2:] == ["not", "linked"]
    assert rows["20"][-1] == "wanted"
    assert outcome.lines[-1] == "2 entries of the pool are missing here."


def test_on_a_forked_log_the_hash_chooses_and_links_are_followed(
    node: Shell, tmp_path: Path
) -> None:
    records, short = forked()
    add(node, records)
    words = ("bamboo", "certificate", short.key.hex(), "1024", "14")
    refused = node.run(*words, "--json")
    assert refused.code == 1
    assert refused.json("error")["error"]["code"] == "several_entries"
    assert "4 entries have number 14" in refused.complaint
    assert "--hash" in refused.complaint
    file = tmp_path / "pool"
    for digits in (short.hashes[14].hex(), short.hashes[14].hex()[4:20].upper()):
        found = node.ok(*words, "--hash", digits, "--output", str(file), "--json")
        pool = found.json("bamboo-certificate")["pool"]
        here = {place["seq_num"]: place["hash"] for place in pool if place["hash"] is not None}
        assert here == {number: short.hashes[number].hex() for number in (1, 4, 13, 14)}
        # The log goes on to 20, but not on this branch.
        assert all(place["beyond"] for place in pool if place["seq_num"] > 14)
    assert node.ok("bamboo", "verify", "--partial", str(file)).code == 0
    assert node.run(*words, "--hash", "00" * 8).code == 10


def test_standings_are_told_in_a_pool(node: Shell) -> None:
    author = Author()
    add(node, author.grow(40)[12:])
    found = node.run("bamboo", "certificate", author.key.hex(), "1024", "40", "--json")
    assert found.code == 7
    pool = {one["seq_num"]: one for one in found.json("bamboo-certificate")["pool"]}
    assert pool[40]["standing"] == pool[13]["standing"] == Standing.WAITING
    assert (pool[4]["hash"], pool[4]["standing"], pool[4]["beyond"]) == (None, None, False)
