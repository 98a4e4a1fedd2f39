"""`setsync fork list`, `show`, `proof` and `check`, as a shell sees them, on real stores."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings

from bamboo_compat.cli.fork_columns import cells, side_by_side, wrapped
from bamboo_compat.cli.fork_proof import make_proof
from bamboo_compat.cli.payloads import Kind, describe
from bamboo_compat.core import yamf
from bamboo_compat.core.report import ForkKind
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.set.index import BambooIndex
from bamboo_compat.set.reading import Reader
from setsync.model.keys import SecretKey, write_key_file
from setsync.node.config import DataDirectory, Settings
from setsync.store.contract import Origin
from setsync.store.memory import MemoryStore
from tests.bamboo.contradictions import branches, create, ended, of_document, update
from tests.bamboo.histories import histories, member
from tests.bamboo.logs import Author, Record, seed
from tests.bamboo.test_fixtures import FIXTURES
from tests.cli.running import Shell

PEER = bytes.fromhex("1f4dc8a9") * 8
AT = 1_795_000_000_000
AUTHOR = Author().key.hex()
SHOW = "fork-show"


@pytest.fixture
def node(tmp_path: Path) -> Shell:
    return made(tmp_path / "node")


def made(path: Path) -> Shell:
    """A shell on a new node."""
    shell = Shell(path)
    shell.ok("init")
    return shell


def put(
    shell: Shell,
    records: Iterable[Record],
    profile: str = "rfc0001",
    origin: Origin | None = None,
) -> None:
    """Records into the set, as they come in from another node."""
    with DataDirectory.open(shell.data).open_store(Settings()) as store:
        store.add_many([member(record, profile) for record in records], [(0, origin)])


def fixture(name: str) -> list[Record]:
    """Logs of p2panda-js."""
    lines = (FIXTURES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [(bytes.fromhex(row["entry"]), bytes.fromhex(row["payload"])) for row in rows]


def all_kinds(shell: Shell) -> dict[str, str]:
    """One fork of each kind, each by another author; their ids."""
    put(shell, branches(), origin=Origin(AT, PEER))
    put(shell, fixture("double_schema"), origin=Origin(AT))
    other = Author(2)
    put(shell, [*other.grow(3), other.append(end=True), *other.grow(4)])
    put(shell, fixture("documents"), "aquadoggo")
    found = shell.ok("fork", "list", "--json").json("fork-list")["forks"]
    names = {
        (fork["kind"], (fork["subject"] or "").startswith("0020")): fork["id"] for fork in found
    }
    assert len(names) == len(found) == 4
    return {
        "branch": names["branch", False],
        "after_end": names["after_end", False],
        "schema": names["double_schema", False],
        "document": names["double_schema", True],
    }


KINDS = ("branch", "after_end", "schema", "document")


# --- list ---------------------------------------------------------------------------------


def test_a_node_without_forks_says_so_in_words(node: Shell) -> None:
    none = "No forks: no author contradicts a log, as far as the entries here show."
    assert node.ok("fork", "list").lines == [none]
    put(node, Author().grow(5))
    assert node.ok("fork", "list").lines == [none]
    assert node.ok("fork", "list", "--json").json("fork-list") == {"total": 0, "forks": []}
    assert node.ok("fork", "list", "--kind", "branch").lines == ["No fork here is like that."]


def test_every_fork_is_listed_with_what_this_node_knows_of_it(node: Shell) -> None:
    put(node, branches(), origin=Origin(AT, PEER))
    [fork] = node.ok("fork", "list", "--json").json("fork-list")["forks"]
    assert node.ok("fork", "list").lines == [
        f"{fork['id'][:8]}  branch  log 1024 of {AUTHOR[:16]} parts after entry 2",
        f"            branch 1: entry 3, head {fork['branches'][0]['head'][4:20]}",
        f"            branch 2: entry 3, head {fork['branches'][1]['head'][4:20]}",
        "            seen here: 2026-11-18T11:06:40Z from node 1f4dc8a91f4dc8a9, arrival 4",
        "",
        "1 fork of 1 author. 'setsync fork show ID' shows one.",
    ]
    assert fork["local"] == {"arrival": 4, "at": AT, "peer": PEER.hex()}


def test_forks_stand_by_author_and_log_and_number(node: Shell) -> None:
    all_kinds(node)
    put(node, fixture("forked"))
    found = node.ok("fork", "list", "--json").json("fork-list")["forks"]
    places = [(fork["author"], fork["log_id"], fork["seq_num"]) for fork in found]
    assert places == sorted(places)
    assert len(places) == 6


def test_a_list_can_be_narrowed(node: Shell) -> None:
    ids = all_kinds(node)
    for words, names in (
        (("--author", AUTHOR[:5]), {"branch"}),
        (("--author", AUTHOR.upper()), {"branch"}),
        (("--kind", "after_end"), {"after_end"}),
        (("--kind", "double_schema"), {"schema", "document"}),
        (("--author", AUTHOR, "--kind", "after_end"), set()),
    ):
        found = node.ok("fork", "list", *words, "--json").json("fork-list")
        assert {fork["id"] for fork in found["forks"]} == {ids[name] for name in names}
        assert found["total"] == len(names)
    found = node.ok("fork", "list", "--limit", "1", "--json").json("fork-list")
    assert (found["total"], len(found["forks"])) == (4, 1)
    assert node.ok("fork", "list", "--limit", "1").lines[-1] == "1 fork of 4; --limit 4 lists all."
    assert node.run("fork", "list", "--author", "zz").code == 2


def test_two_nodes_find_the_same_forks_in_whatever_order_they_got_the_entries(
    node: Shell, tmp_path: Path
) -> None:
    other = made(tmp_path / "other")
    records = [*fixture("forked"), *fixture("double_schema"), *ended()]
    put(node, records)
    shuffled = random.Random(7).sample(records, len(records))
    put(other, shuffled[:20], origin=Origin(AT, PEER))
    put(other, shuffled[20:])
    found = [shell.ok("fork", "list", "--json").json("fork-list") for shell in (node, other)]
    locals_ = [[fork.pop("local") for fork in one["forks"]] for one in found]
    assert found[0] == found[1]
    assert locals_[0] != locals_[1]
    shown = [shell.ok("fork", "list").text for shell in (node, other)]
    ids = [[line[:8] for line in text.splitlines() if line[:1].strip()] for text in shown]
    assert ids[0] == ids[1]


# --- show ---------------------------------------------------------------------------------


def test_a_fork_is_shown_side_by_side(node: Shell) -> None:
    author = Author()
    common = [author.append(create(name="shared"))]
    other = author.copy()
    put(node, [*common, author.append(create(name="left")), *author.grow(7)])
    put(node, [other.append(update(author.hashes[1]))], origin=Origin(AT, PEER))
    [fork] = node.ok("fork", "list", "--json").json("fork-list")["forks"]
    lines = node.ok("fork", "show", fork["id"][:8]).lines
    assert lines[:8] == [
        f"fork {fork['id']}",
        "kind      branch",
        f"author    {AUTHOR}",
        "what      log 1024 parts after entry 1",
        "trusted   log 1024 up to entry 1",
        f"decision  none; setsync fork decide {fork['id'][:8]} --branch N",
        "seen here 2026-11-18T11:06:40Z from node 1f4dc8a91f4dc8a9, arrival 10",
        f"proof     setsync fork proof {fork['id'][:8]} --output fork.proof",
    ]
    assert lines[11:15] == [
        "what all branches share last:",
        f"  entry 1  {author.hashes[1].hex()[4:20]}  verified",
        "  create (v1) venue_v1",
        '  {name: "shared"}',
    ]
    text = "\n".join(lines)
    for said in ('  {name: "left"}', '  {name: "y"}', "  update (v1) venue_v1", "and 3 more, to"):
        assert said in text
    assert all(len(line) <= 80 for line in lines)
    assert {line[39] for line in lines[15:] if len(line) > 39} == {"|", "+"}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_shown_and_programs_get_everything(node: Shell, kind: str) -> None:
    id_ = all_kinds(node)[kind]
    shown = node.ok("fork", "show", id_)
    assert shown.lines[0] == f"fork {id_}"
    found = node.ok("fork", "show", id_, "--json").json(SHOW)
    assert found["proof"] == {"available": True, "reason": None}
    assert len({side["entries"][0]["hash"] for side in found["sides"]}) == 2
    for side in found["sides"]:
        assert side["entries"][0]["hash"] == side["hash"]
        assert len(side["entries"]) == min(5, side["length"])
        assert side["hash"][4:20] in shown.text
        if side["length"] <= 5:
            assert side["entries"][-1]["hash"] == side["head"]
    common = found["common"]["hash"] if found["common"] else None
    assert common == found["parent"]


def test_an_end_that_was_none_stands_beside_what_comes_after_it(node: Shell) -> None:
    put(node, ended())
    [fork] = node.ok("fork", "list", "--json").json("fork-list")["forks"]
    found = node.ok("fork", "show", fork["id"], "--json").json(SHOW)
    assert [side["branch"] for side in found["sides"]] == [0, 1]
    assert [entry["end_of_log"] for entry in found["sides"][0]["entries"]] == [True]
    text = node.ok("fork", "show", fork["id"]).text
    assert "the end of log 1024" in text
    both = node.ok("fork", "show", fork["id"], "--branch", "1", "--branch", "2").text
    assert "what all branches share last:\n  entry 4" in both


def test_any_two_branches_can_be_chosen(node: Shell) -> None:
    author = Author()
    put(node, author.grow(1))
    put(node, [author.copy().append(word) for word in (b"one", b"two", b"three")])
    [fork] = node.ok("fork", "list", "--json").json("fork-list")["forks"]
    words = ("fork", "show", fork["id"], "--json")
    found = node.ok(*words, "--branch", "3", "--branch", "1").json(SHOW)
    hashes = [branch["hash"] for branch in fork["branches"]]
    assert [side["hash"] for side in found["sides"]] == [hashes[2], hashes[0]]
    for bad in (["1"], ["1", "1"], ["0", "1"], ["1", "4"], ["1", "2", "3"]):
        chosen = [word for number in bad for word in ("--branch", number)]
        outcome = node.run(*words, *chosen)
        assert (outcome.code, outcome.json("error")["error"]["code"]) == (2, "usage")


def test_a_way_goes_on_to_the_head_where_a_branch_parts_again(node: Shell) -> None:
    put(node, fixture("forked"))
    first = node.ok("fork", "list", "--json").json("fork-list")["forks"][0]
    found = node.ok("fork", "show", first["id"], "--entries", "100", "--json").json(SHOW)
    for side in found["sides"]:
        assert len(side["entries"]) == side["length"]
        assert side["entries"][-1]["hash"] == side["head"]


def test_a_payload_that_is_not_here_is_told(node: Shell) -> None:
    put(node, [(data, None) for data, _ in branches()])
    [fork] = node.ok("fork", "list", "--json").json("fork-list")["forks"]
    shown = node.ok("fork", "show", fork["id"])
    assert shown.text.count("payload not here (") == 3
    found = node.ok("fork", "show", fork["id"], "--json").json(SHOW)
    assert found["sides"][0]["entries"][0]["payload"]["kind"] == "withheld"
    assert found["proof"]["available"]


def test_where_a_log_parts_may_be_unknown(node: Shell) -> None:
    one = Author()
    one.grow(2)
    two = one.copy()
    one.append(b"one")
    two.append(b"two")
    put(node, [one.append(), two.append()])
    [fork] = node.ok("fork", "list", "--json").json("fork-list")["forks"]
    assert "has more than one entry 4; where it parts" in node.ok("fork", "list").text
    found = node.ok("fork", "show", fork["id"], "--json").json(SHOW)
    assert (found["parent"], found["common"]) == (None, None)
    assert "share" not in node.ok("fork", "show", fork["id"]).text


@pytest.mark.parametrize("columns", [20, 80, 81, 133, 240, 100_000])
def test_the_page_fits_the_terminal(node: Shell, columns: int) -> None:
    ids = all_kinds(node)
    author = Author(3)
    put(node, [author.copy().append(word * 300) for word in (b"a", "\u6f22 ".encode())])
    [fork] = node.ok("fork", "list", "--author", author.key.hex(), "--json").json("fork-list")[
        "forks"
    ]
    width = max(80, min(240, columns))
    for id_ in (*ids.values(), fork["id"]):
        outcome = node.run("fork", "show", id_, environment={"COLUMNS": str(columns)})
        page = outcome.lines
        middle = (width - 3) // 2 + 1
        start = next(at for at, line in enumerate(page) if line.startswith("---"))
        assert page[start] == "-" * (middle - 1) + "-+-" + "-" * (middle - 1)
        assert all(cells(line) <= width for line in page)
        for line in page[start + 1 :]:
            assert cells(line) < middle or cells(f"{line} ".partition(" | ")[0]) == middle - 1


@pytest.mark.parametrize("words", [(), ("--payload",)])
def test_what_strangers_wrote_moves_no_cursor_and_makes_no_line(
    node: Shell, words: tuple[str, ...]
) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\r\nproof     all is well\u202e\x9b31m"
    payloads = [
        evil.encode(),
        cbor2.dumps([1, 0, f"s{evil}", {evil: evil, "name": [evil]}]),
        json.dumps({"a": "b"}).encode() + evil.encode(),
        b"\0\xff" + evil.encode(),
        cbor2.dumps({"schema": f"t{evil}", "x": evil}),
    ]
    author = Author()
    put(node, [author.copy().append(payload) for payload in payloads])
    two = [Author(2, log_id).append(create(f"u{evil}")) for log_id in (1, 2)]
    put(node, two)
    for fork in node.ok("fork", "list", "--json").json("fork-list")["forks"]:
        for number in range(2, len(fork["branches"]) + 1):
            choice = ("--branch", "1", "--branch", str(number))
            outcome = node.ok("fork", "show", fork["id"], *choice, *words)
            assert not set(outcome.text) & set("\x1b\x07\r\x9b\u202e")
            assert "proof     all is well" not in outcome.lines
            node.ok("fork", "show", fork["id"], *choice, *words, "--json").json(SHOW)
    for command in (("list",), ("check", "--author", Author(2).key.hex())):
        outcome = node.run("fork", *command)
        assert not set(outcome.text) & set("\x1b\x07\r\x9b\u202e")
        assert not [line for line in outcome.lines if line.startswith("proof")]


def test_payloads_are_bounded(node: Shell) -> None:
    author = Author()
    put(node, [author.copy().append(letter * 50_000) for letter in (b"x", b"y")])
    [fork] = node.ok("fork", "list", "--json").json("fork-list")["forks"]
    for words, most in (((), 200), (("--payload",), 4_000)):
        found = node.ok("fork", "show", fork["id"], *words, "--json").json(SHOW)
        payload = found["sides"][0]["entries"][0]["payload"]
        assert (len(payload["text"]), payload["cut"], payload["size"]) == (most, True, 50_000)


def test_a_fork_at_the_last_number_that_there_is_is_shown_like_any_other(node: Shell) -> None:
    author, last = Author(log_id=2**64 - 1), 2**64 - 1
    nothing = yamf.hash_of(Flavour.YASMF, b"nothing that is here")
    for end in (False, True):
        data = author.make(last, b"%d" % end, backlink=nothing, lipmaalink=nothing, end=end)
        put(node, [(data, b"%d" % end)])
    [fork] = node.ok("fork", "list", "--json").json("fork-list")["forks"]
    assert (fork["log_id"], fork["seq_num"]) == (last, last)
    shown = node.ok("fork", "show", fork["id"], "--json").json(SHOW)
    assert [len(side["entries"]) for side in shown["sides"]] == [1, 1]
    assert f"entry {last}" in node.ok("fork", "show", fork["id"]).text
    assert node.ok("fork", "proof", fork["id"]).raw
    decided = node.ok("fork", "decide", fork["id"], "--branch", "1", "--yes")
    assert "branch 1 is right" in decided.text
    for command in ("log", "logs"):
        place = () if command == "logs" else (author.key.hex(), str(last))
        node.ok("bamboo", command, *place)
    assert node.ok("check").code == 0


# --- ids ----------------------------------------------------------------------------------


def test_ids_that_name_no_fork_or_many(node: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    put(node, fixture("forked"))
    for command in ("show", "proof"):
        outcome = node.run("fork", command, "00000000")
        assert (outcome.code, outcome.raw) == (10, b"")
        assert outcome.complaint.splitlines() == [
            "setsync: No fork's id begins with 00000000.",
            "'setsync fork list' lists the forks that are here, with their ids.",
        ]
        assert node.run("fork", command, "1234567").code == 2
        assert node.run("fork", command, "x" * 64).code == 2
    outcome = node.run("fork", "show", "00000000", "--json")
    assert outcome.json("error")["error"]["code"] == "no_such_fork"
    # Two ids that begin alike take 2^32 forks: here each is found for any beginning.
    monkeypatch.setattr(Reader, "find_forks", lambda reader, prefix, limit: _alike(reader))
    outcome = node.run("fork", "show", "04f658f4", "--json")
    assert (outcome.code, outcome.json("error")["error"]["code"]) == (10, "ambiguous_prefix")
    assert "Give more digits of the id." in outcome.complaint


def _alike(reader: Reader) -> list[bytes]:
    ids = list(reader.fork_ids())
    return [ids[0], ids[0][:16] + bytes(16)]


def test_an_id_is_as_long_as_it_has_to_be(node: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    put(node, branches())
    monkeypatch.setattr(Reader, "find_forks", lambda reader, prefix, limit: _alike(reader))
    [fork] = node.ok("fork", "list", "--json").json("fork-list")["forks"]
    first = node.ok("fork", "list").lines[0]
    assert fork["id"][32] != "0"
    assert first.startswith(f"{fork['id'][:33]}  branch  ")


def test_digits_in_upper_case_and_odd_in_number_are_fine(node: Shell) -> None:
    put(node, branches())
    [fork] = node.ok("fork", "list", "--json").json("fork-list")["forks"]
    assert node.ok("fork", "show", fork["id"][:9].upper()).lines[0] == f"fork {fork['id']}"
    wrong = fork["id"][:8] + format(int(fork["id"][8], 16) ^ 1, "x")
    assert node.run("fork", "show", wrong).code == 10


# --- proof --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_proof_is_made_that_anyone_accepts(node: Shell, kind: str) -> None:
    id_ = all_kinds(node)[kind]
    proof = node.ok("fork", "proof", id_[:8])
    assert proof.complaint == ""
    told = Shell(node.data / "nowhere").ok("fork", "check-proof", "-", stdin=proof.raw)
    assert told.lines[-1] == f"The fork's id is {id_}."
    file = node.data.with_name("fork.proof")
    file.write_bytes(b"an older one")
    outcome = node.ok("fork", "proof", id_[:8], "--output", str(file))
    assert (outcome.raw, file.read_bytes()) == (b"", proof.raw)
    assert id_ in outcome.complaint
    assert sorted(path.name for path in file.parent.iterdir()) == ["fork.proof", "node"]


def test_a_proof_is_not_written_to_a_terminal(node: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    put(node, branches())
    [fork] = node.ok("fork", "list", "--json").json("fork-list")["forks"]
    monkeypatch.setattr("bamboo_compat.cli.fork_proof._is_terminal", lambda: True)
    outcome = node.run("fork", "proof", fork["id"])
    assert (outcome.code, outcome.raw) == (2, b"")
    assert "--output FILE" in outcome.complaint
    file = node.data.with_name("fork.proof")
    assert node.run("fork", "proof", fork["id"], "--output", str(file)).code == 0


def test_a_proof_that_cannot_be_made_says_why(node: Shell) -> None:
    author = Author(log_id=0)
    records = [author.append(create())]
    for number in range(1, 1_001):
        records.append(author.append(update(author.hashes[number])))
    elsewhere = Author(log_id=5).append(update(author.hashes[1_001]))
    put(node, [*records, elsewhere], "aquadoggo")
    [fork] = node.ok("fork", "list", "--json").json("fork-list")["forks"]
    outcome = node.run("fork", "proof", fork["id"], "--output", str(node.data / "p"))
    assert (outcome.code, outcome.raw) == (1, b"")
    assert "too_long: expected at most 1000 entries to the first operation" in outcome.complaint
    assert not (node.data / "p").exists()
    proof = node.ok("fork", "show", fork["id"], "--json").json(SHOW)["proof"]
    assert not proof["available"]
    assert "too_long" in proof["reason"]
    assert "No proof can be made" in node.ok("fork", "show", fork["id"]).text


@pytest.mark.parametrize("flavour", Flavour)
def test_a_document_is_proven_through_other_authors_logs(node: Shell, flavour: Flavour) -> None:
    put(node, of_document(flavour), "aquadoggo")
    [fork] = node.ok("fork", "list", "--json").json("fork-list")["forks"]
    proof = node.ok("fork", "proof", fork["id"]).raw
    told = node.ok("fork", "check-proof", "-", "--json", stdin=proof).json("fork-check-proof")
    assert told["claim"]["fork_id"] == fork["id"]


# --- check --------------------------------------------------------------------------------


def test_whoever_has_no_fork_is_told_no(node: Shell) -> None:
    me = node.ok("key", "show").text.strip()
    outcome = node.ok("fork", "check", "--me")
    assert outcome.lines == [
        f"No, but no entry is here of author {me}:",
        "nothing could show a fork. Sync with a node that has the author's logs.",
    ]
    put(node, Author().grow(5))
    outcome = node.ok("fork", "check", "--author", AUTHOR)
    assert outcome.lines == [f"No. Author {AUTHOR}", "has 1 log with 5 entries here, and no fork."]
    found = node.ok("fork", "check", "--author", AUTHOR, "--json").json("fork-check")
    assert found == {
        "author": AUTHOR,
        "forked": False,
        "logs": 1,
        "entries": 5,
        "forked_logs": 0,
        "total": 0,
        "undecided": 0,
        "forks": [],
    }


def test_whoever_has_a_fork_is_told_what_to_do_and_the_exit_code_is_8(tmp_path: Path) -> None:
    DataDirectory.init(tmp_path / "node", SecretKey(seed(9)), SecretKey(seed(1)))
    node = Shell(tmp_path / "node")
    put(node, [*branches(), *Author(log_id=7).grow(2), *fixture("double_schema")])
    outcome = node.run("fork", "check", "--me")
    assert outcome.code == 8
    assert outcome.lines[:2] == [
        f"Yes. Author {AUTHOR}",
        "has 2 logs with 6 entries here, of which 1 is forked:",
    ]
    [fork] = node.ok("fork", "list", "--author", AUTHOR, "--json").json("fork-list")["forks"]
    assert outcome.lines[-3:] == [
        f"  setsync fork show {fork['id'][:8]}",
        "Then say which one is right, for every node that hears of it:",
        f"  setsync fork decide {fork['id'][:8]} --branch N --as-author KEYFILE",
    ]
    outcome = node.run("fork", "check", "--me", "--json")
    found = outcome.json("fork-check")
    assert (outcome.code, found["forked"], found["forked_logs"]) == (8, True, 1)
    assert found["forks"] == [fork]


def test_a_schema_in_two_logs_is_one_fork_in_two_logs(node: Shell, tmp_path: Path) -> None:
    put(node, [Author(log_id=log_id).append(create()) for log_id in (1030, 1040, 1050)])
    write_key_file(tmp_path / "anna.key", SecretKey(seed(1)))
    for whose in (AUTHOR, AUTHOR.upper(), str(tmp_path / "anna.key")):
        for words in (("--author", whose), ("--me", "--author", whose)):
            outcome = node.run("fork", "check", *words, "--json")
            found = outcome.json("fork-check")
            assert outcome.code == 8
            assert (found["author"], found["total"], found["forked_logs"]) == (AUTHOR, 1, 3)


def test_whose_logs_has_to_be_said(node: Shell) -> None:
    assert node.run("fork", "check").code == 2
    outcome = node.run("fork", "check", "--author", "nowhere.key", "--json")
    assert (outcome.code, outcome.json("error")["error"]["code"]) == (1, "key_file")


# --- the parts ----------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(histories())
def test_many_forks_at_once_are_the_same_as_one_by_one(history: Sequence[Record]) -> None:
    store, index = MemoryStore(), BambooIndex()
    store.add_many([member(record) for record in history])
    store.open_index(index)
    with store.snapshot() as snapshot:
        reader = Reader(snapshot.index_tables(index))
        ids = list(reader.fork_ids())
        assert reader.forks(ids) == [reader.fork(id_) for id_ in ids]
        for fork in reader.forks(ids):
            row = reader.fork_row(fork.id)
            assert row is not None
            assert reader.place(row) == (fork.author, fork.log_id, fork.seq_num)
            for branch in fork.branches:
                first = reader.find(branch.hash)
                assert first is not None
                way = reader.way(first, 1_000)
                assert (len(way), reader.shelf.hash(way[-1])) == (branch.length, branch.head)
            made = make_proof(reader, fork)
            assert made.kind is ForkKind(fork.kind)


@pytest.mark.parametrize(
    ("payload", "kind", "text"),
    [
        (cbor2.dumps([1, 0, "s", {"a": -3, "b c": [1.5, None, True, b"\xff"]}]), "operation",
         '{a: -3, "b c": [1.5, null, true, h\'ff\']}'),
        (cbor2.dumps([1, 2, "s", [b"\0\x20" + bytes(32)]]), "operation", ""),
        (cbor2.dumps({"schema": "s", "n": 2**70}), "map",
         '{schema: "s", n: 2(h\'400000000000000000\')}'),
        (b'{"a": [1]}', "json", '{"a": [1]}'),
        (b'{"a": [1}', "text", '{"a": [1}'),
        (b"", "text", ""),
        (b"\xff\x00", "bytes", "ff00"),
        (b"a\0b", "bytes", "610062"),
        (None, "withheld", ""),
    ],
)  # fmt: skip
def test_payloads_are_told_by_what_they_look_like(
    payload: bytes | None, kind: str, text: str
) -> None:
    found = describe(payload, len(payload or b""))
    assert (found.kind, found.text, found.cut) == (Kind(kind), text, False)


def test_payloads_that_claim_anything_cost_no_more_than_their_beginning() -> None:
    head = cbor2.dumps([1, 0, "s", 0])[:-1]
    nested = describe(head + b"\x81" * 100_000 + b"\0", 1)
    assert (nested.text, nested.cut) == ("[" * 12 + "...", True)
    for rest in (b"\xbb" + b"\xff" * 8, b"\x9b" + b"\xff" * 8, b"\x7b" + b"\xff" * 8 + b"abc", b""):
        found = describe(head + rest, 1)
        assert (found.kind, found.schema, found.cut) == (Kind.OPERATION, "s", True)
    long = describe(head + b"\x9a\x00\x0f\xff\x00" + bytes(0xFFF00), 1)
    assert (len(long.text), long.cut) == (200, True)
    deep = describe(b"[" * 60_000, 60_000)
    assert deep.kind is Kind.TEXT
    rng = random.Random(1)
    for size in range(60):
        found = describe(head + rng.randbytes(size), size)
        assert len(found.text) <= 200


def test_lines_are_broken_at_blanks_and_words_where_they_must_be() -> None:
    assert wrapped(["  one two three"], 9) == ["  one two", "  three"]
    assert wrapped(["abcdefgh"], 3) == ["abc", "def", "gh"]
    assert wrapped(["\u6f22\u6f22\u6f22"], 5) == ["\u6f22\u6f22", "\u6f22"]
    assert wrapped([" " * 50 + "x"], 9) == ["  x"]
    assert wrapped(["", "   "], 9) == ["", "  "]
    assert wrapped(["a\nb\tc"], 9) == ["a\\nb\\tc"]
    assert side_by_side([(["a"], ["b", "c"]), ([], ["d"])], 9) == ["a   | b", "    | c", "    | d"]


def test_what_a_command_loads_is_no_more_than_it_needs() -> None:
    code = (
        "import sys, bamboo_compat.cli.fork, bamboo_compat.cli.fork_list;"
        "print([name for name in ('trio', 'rich', 'numpy', 'bamboo_compat.core.claims',"
        " 'bamboo_compat.files.sources') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "[]"
