"""`setsync bamboo append`: no entry of ours is ever the second one at its place."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bamboo_compat.core import verify_log
from bamboo_compat.core.report import LogReport
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.set.appending import LOCK, append_lock
from setsync.cli.main import main
from setsync.errors import StoreLockedError
from setsync.model.keys import SecretKey, write_key_file
from setsync.store.lmdb_store import Store
from tests.bamboo.contradictions import create
from tests.bamboo.histories import member
from tests.bamboo.logs import FLAVOURS, Author, Record, seed
from tests.bamboo.test_fixtures import needs_node, read_by_p2panda_js
from tests.cli.running import Outcome, Shell
from tests.node.test_filelock import is_waited_for

TURNS = 20


@pytest.fixture
def node(tmp_path: Path) -> Shell:
    """A new node; beside it lie the keys of the test authors 1 and 2."""
    shell = Shell(tmp_path / "node")
    shell.ok("init")
    for number in (1, 2):
        write_key_file(key_of(shell, number), SecretKey(seed(number)))
    return shell


def key_of(node: Shell, number: int = 1) -> Path:
    """Where the key of a test author is."""
    return node.data.with_name(f"{number}.key")


def add(node: Shell, records: Iterable[Record], profile: str = "rfc0001") -> None:
    """Let a node have these."""
    with Store.open(node.data / "store") as store:
        store.add_many([member(record, profile) for record in records])


def append(node: Shell, payload: bytes = b"more", *words: str, log_id: int = 1024) -> Outcome:
    """Run the command for author 1."""
    return node.run("bamboo", "append", str(key_of(node)), str(log_id), "-", *words, stdin=payload)


def records_in(node: Shell) -> list[Record]:
    """All that a node has."""
    with Store.open(node.data / "store") as store:
        return [(entry.header, entry.payload) for entry in store]


def verified(node: Shell) -> LogReport:
    """What the closed-world verifier says of a node's entries, which must be nothing but good."""
    report = verify_log(records_in(node))
    assert report.all_verified
    assert not report.forked
    return report


def refusal(outcome: Outcome) -> tuple[int, str, str]:
    """Exit code, error code and sentence."""
    error = outcome.json("error")["error"]
    return outcome.code, error["code"], error["message"]


# --- right entries ------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda flavour: flavour.name)
def test_a_log_made_entry_by_entry_is_the_one_that_others_would_make(
    node: Shell, flavour: Flavour
) -> None:
    """Forty entries are, byte for byte, those of an encoder that has the whole log in memory."""
    author = Author(flavour=flavour)
    words = ["--yamf"] if flavour is Flavour.YAMF else []
    for number in range(1, 41):
        # What flavour the first entry has, the others take over.
        outcome = append(node, b"payload %d" % number, *(words if number == 1 else []), "--json")
        told = outcome.json("bamboo-append")
        author.append(b"payload %d" % number)
        assert told["hash"] == author.hashes[number].hex()
        assert told["seq_num"] == number
    [state] = verified(node).logs
    assert (state.entries, state.height, state.trusted) == (40, 40, 40)


def test_the_id_is_printed_and_the_entry_is_found_by_it(node: Shell, tmp_path: Path) -> None:
    file = tmp_path / "letter"
    file.write_bytes(b"dear\n")
    outcome = node.ok("bamboo", "append", str(key_of(node)), "1024", str(file))
    [id_] = outcome.lines
    assert node.ok("get", id_).raw == b"dear\n"
    assert outcome.complaint == "Entry 1 of log 1024, in bamboo/rfc0001/unknown.\n"


def test_an_append_goes_on_where_a_log_of_others_making_ends(node: Shell) -> None:
    author = Author(flavour=Flavour.YAMF)
    add(node, author.grow(39))
    told = append(node, b"payload 40", "--json").json("bamboo-append")
    author.append()
    assert told["hash"] == author.hashes[40].hex()
    assert told["lipmaalink"] == author.hashes[13].hex()


def test_certificate_pools_are_enough_to_go_on(node: Shell) -> None:
    """Of entries 1 to 39 only three are here, and they are all that later links need."""
    author = Author()
    grown = author.grow(40)
    add(node, [grown[number - 1] for number in (1, 4, 13, 40)])
    for _ in range(41, 55):
        author.append(b"more")
        told = append(node, b"more", "--json").json("bamboo-append")
        assert told["hash"] == author.hashes[-1].hex()
    assert verify_log(records_in(node), partial=True).all_verified


@pytest.mark.parametrize(
    ("words", "log_id", "collection"),
    [
        ([], 1024, "bamboo/rfc0001/venue_v1"),
        ([], 5, "system/bamboo/rfc0001/venue_v1"),
        (["--profile", "aquadoggo"], 5, "bamboo/aquadoggo/venue_v1"),
    ],
)
def test_an_entry_is_filed_where_its_payload_belongs(
    node: Shell, words: list[str], log_id: int, collection: str
) -> None:
    told = append(node, create("venue_v1"), *words, "--json", log_id=log_id)
    assert told.json("bamboo-append")["collection"] == collection
    # The profile is the log's from then on.
    again = append(node, create("venue_v1", "y"), "--json", log_id=log_id)
    assert again.json("bamboo-append")["collection"] == collection


def test_two_logs_for_one_schema_can_both_be_gone_on_with(node: Shell) -> None:
    for log_id in (1030, 1040, 1030):
        assert append(node, create("venue_v1", "x"), log_id=log_id).code == 0


# --- refusals -----------------------------------------------------------------------------


def test_a_forked_log_is_refused_with_the_fork(node: Shell) -> None:
    author = Author()
    records = author.grow(3)
    add(node, [*records, author.copy().append(b"one"), author.append(b"two")])
    before = len(records_in(node))
    code, name, sentence = refusal(append(node, b"more", "--json"))
    [fork] = verify_log(records_in(node)).forks
    assert (code, name) == (8, "log_forked")
    assert sentence == f"Log 1024 parts at entry 4: fork {fork.id.hex()}."
    assert len(records_in(node)) == before


def test_nothing_follows_an_end(node: Shell) -> None:
    assert append(node, b"bye", "--end-of-log").code == 0
    assert refusal(append(node, b"no", "--json")) == (1, "log_ended", "Log 1024 has ended.")


def test_a_log_that_goes_on_after_its_end_is_a_fork(node: Shell) -> None:
    author = Author()
    add(node, [*author.grow(2), author.append(end=True), *author.grow(1)])
    code, name, sentence = refusal(append(node, b"no", "--json"))
    assert (code, name) == (8, "log_forked")
    assert "goes on after its end, entry 3" in sentence


def test_a_head_that_waits_is_refused_with_what_is_missing(node: Shell) -> None:
    grown = Author().grow(12)
    add(node, [*grown[:5], *grown[8:]])
    code, name, sentence = refusal(append(node, b"no", "--json"))
    assert (code, name) == (1, "head_not_verified")
    assert sentence.endswith("entry 12, is waiting; entries 6 to 8 are missing.")


def test_a_broken_head_is_refused(node: Shell) -> None:
    author = Author()
    grown = author.grow(5)
    add(node, [*grown, (author.make(6, b"x", backlink=author.hashes[3]), b"x")])
    assert refusal(append(node, b"no", "--json"))[1:] == (
        "head_not_verified",
        "The head of log 1024, entry 6, is broken.",
    )


def test_a_link_is_never_made_past_one_that_leads_nowhere(node: Shell) -> None:
    """Entry 12 stands on 11 and names another entry 8 than its own log has: perhaps there is
    a branch that nobody has shown yet, and entry 13 would have to name an entry of one."""
    author = Author()
    records = author.grow(11)
    nowhere = Flavour.YASMF.value + bytes(32)
    add(node, [*records, (author.make(12, b"x", lipmaalink=nowhere), b"x")])
    assert refusal(append(node, b"no", "--json"))[1:] == (
        "link_missing",
        "The next entry of log 1024 has to name entry 4, and the entry 8 that entry 12 names, "
        "on the way there, is not here.",
    )


def test_a_payload_over_the_limit_is_refused_before_anything_is_signed(node: Shell) -> None:
    outcome = node.run(
        "bamboo",
        "append",
        str(key_of(node)),
        "1024",
        "-",
        stdin=b"12345",
        environment={"SETSYNC_MAX_PAYLOAD": "4"},
    )
    assert outcome.code == 1
    assert "over the limit of 4 bytes" in outcome.complaint
    assert records_in(node) == []


def test_what_is_no_key_is_refused(node: Shell, tmp_path: Path) -> None:
    (tmp_path / "no.key").write_text("x")
    (tmp_path / "no.key").chmod(0o600)
    outcome = node.run("bamboo", "append", str(tmp_path / "no.key"), "1", "-", "--json")
    assert refusal(outcome)[1] == "key_file"


# --- two at once --------------------------------------------------------------------------


def _append_often(data: Path, key: Path, word: str, count: int, together: Any) -> None:
    payload = data.with_name(f"{word}.payload")
    for number in range(count):
        if number % 10 == 0:
            together.wait(60)  # else the one that starts first may be done before the other begins
        payload.write_bytes(f"{word} {number}".encode())
        words = ["bamboo", "append", str(key), "1024", str(payload), "--data", str(data)]
        if main(words) != 0:
            os._exit(1)


def test_two_processes_that_append_at_once_never_fork_a_log(node: Shell) -> None:
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    processes = [
        context.Process(
            target=_append_often, args=(node.data, key_of(node), word, 50, together), daemon=True
        )
        for word in ("one", "two")
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    [state] = verified(node).logs
    assert (state.entries, state.height, len(state.heads)) == (100, 100, 1)
    payloads = [payload for _, payload in records_in(node)]
    said = {f"{word} {number}".encode() for word in ("one", "two") for number in range(50)}
    assert set(payloads) == said
    # They really took turns: neither was done before the other began.
    assert {payload.split()[0] for payload in payloads[:50] if payload} == {b"one", b"two"}


def _take_turns(data: Path, name: str) -> None:
    """Take turn after turn without pause, until the two processes have often waited for each other.
    Of each turn one line: whose it was, and whether somebody stood in the queue at its end."""
    told = data / "told"
    while True:
        with append_lock(data), told.open("a+", encoding="ascii") as file:
            file.seek(0)
            if file.read().count("one waited\ntwo") >= TURNS:
                return
            print(name, "waited" if is_waited_for(data / LOCK) else "alone", file=file)


def test_who_appends_without_pause_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Counted in turns: when somebody waits at the end of one, the next is not the same's."""
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_take_turns, args=(tmp_path, name), daemon=True)
        for name in ("one", "two")
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    turns = [line.split() for line in (tmp_path / "told").read_text().splitlines()]
    next_to = {
        (whose, after) for (whose, queue), (after, _) in pairwise(turns) if queue == "waited"
    }
    assert ("one", "two") in next_to
    assert next_to <= {("one", "two"), ("two", "one")}


def test_whoever_cannot_have_the_lock_in_time_is_told_so(node: Shell) -> None:
    with append_lock(node.data):
        began = time.monotonic()
        said = r"appending to logs .* for 0\.05 seconds"
        with pytest.raises(StoreLockedError, match=said), append_lock(node.data, 0.05):
            pass
        assert time.monotonic() - began < 5
    with append_lock(node.data, 0.0):
        pass  # let go with the block


def test_the_lock_is_handed_on_and_holds_between_threads_too(node: Shell) -> None:
    held: list[str] = []

    def second() -> None:
        with append_lock(node.data, 10.0):
            held.append("second")

    with append_lock(node.data):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.05)
        held.append("first")
    thread.join(10)
    assert held == ["first", "second"]


# --- read by others -----------------------------------------------------------------------


@needs_node
def test_p2panda_js_reads_and_verifies_what_was_appended(node: Shell) -> None:
    for number in range(1, 15):
        assert append(node, create("venue_v1", str(number))).code == 0
    entries = [header for header, _ in records_in(node)]
    decoded = read_by_p2panda_js(entries)
    [state] = verified(node).logs
    assert [one["seqNum"] for one in decoded] == [str(number) for number in range(1, 15)]
    assert {one["publicKey"] for one in decoded} == {state.author.hex()}
    assert decoded[-1]["hash"] == state.heads[0].hash.hex()
