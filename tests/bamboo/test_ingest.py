"""`setsync bamboo ingest`, and what a sync makes of Bamboo entries."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bamboo_compat.core import Fork
from bamboo_compat.set.index import BambooIndex
from bamboo_compat.set.reading import Reader
from setsync.model.collection import is_system
from setsync.node import room
from setsync.node.config import DataDirectory, Settings
from setsync.store.contract import EntryStore
from setsync.store.memory import MemoryStore
from tests.bamboo.histories import member
from tests.bamboo.logs import Author, Record
from tests.bamboo.test_fixtures import FIXTURES, record, rows
from tests.bamboo.test_verify import bare, database, lines
from tests.cli.running import Shell
from tests.node.ends import arrivals, meet, members, roots, simulate

INDEX = BambooIndex()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell with a new data directory."""
    made = Shell(tmp_path / "node")
    made.ok("init")
    return made


def ingested(shell: Shell, *words: str | Path, code: int = 0) -> Any:
    """The report on an ingest by profile rfc0001."""
    outcome = shell.run(
        "bamboo", "ingest", "--json", "--profile", "rfc0001", "--jobs", "1", *map(str, words)
    )
    assert outcome.code == code, outcome.complaint
    return outcome.json("bamboo-ingest")


def the_fork_file(tmp_path: Path) -> Path:
    """A log that parts after entry 3, 4 more on one side and 2 on the other."""
    one = Author()
    records = one.grow(3)
    two = one.copy()
    return lines(tmp_path / "forked.jsonl", [*records, *one.grow(4, "one"), *two.grow(2, "two")])


def forks(store: EntryStore) -> list[Fork]:
    """Every fork that a store has in its index, by id."""
    store.open_index(INDEX)
    with store.snapshot() as snapshot:
        reader = Reader(snapshot.index_tables(INDEX))
        found = [reader.fork(id_) for id_ in reader.fork_ids()]
    return [fork for fork in found if fork is not None]


def test_twice_is_as_good_as_once(shell: Shell) -> None:
    path = FIXTURES / "valid.jsonl"
    first = ingested(shell, path)
    assert (first["new"], first["known"], first["verified"]) == (first["entries"], 0, 298)
    second = ingested(shell, path)
    assert (second["new"], second["known"], second["verified"]) == (0, 298, 298)
    assert shell.run("check").code == 0


def test_in_any_order_and_in_parts_it_comes_to_the_same(tmp_path: Path) -> None:
    records = [record(row) for row in rows(FIXTURES / "forked.jsonl")]
    found = []
    for seed in range(3):
        random.Random(seed).shuffle(records)
        shell = Shell(tmp_path / f"node{seed}")
        shell.ok("init")
        cut = random.Random(seed).randrange(1, len(records))
        parts = [
            lines(tmp_path / f"{seed}-{n}.jsonl", some)
            for n, some in enumerate((records[:cut], records[cut:]))
        ]
        for part in parts:
            shell.run("bamboo", "ingest", "--profile", "rfc0001", str(part))
        with opened(shell) as store:
            found.append((roots(store), forks(store)))
    assert found[0] == found[1] == found[2]
    assert len(found[0][1]) == 2


def opened(shell: Shell) -> Any:
    """The store of a shell's directory."""
    return DataDirectory.open(shell.data).open_store(Settings())


def test_what_is_refused_is_told_with_place_and_reason_and_the_rest_is_taken(
    shell: Shell, tmp_path: Path
) -> None:
    author = Author()
    records = author.grow(4)
    data, payload = records[1]
    forged = bytes([*data[:-1], data[-1] ^ 1])
    path = lines(tmp_path / "some.jsonl", [records[0], (forged, payload), *records[2:]])
    found = ingested(shell, path, code=7)
    [refusal] = found["refusals"]
    assert (refusal["file"], refusal["position"], refusal["reason"]) == (
        str(path),
        2,
        "bad_signature",
    )
    # Entry 4 stands on entry 1 by its lipmaalink; entry 3 waits for the second.
    assert (found["new"], found["verified"], found["waiting"]) == (3, 2, 1)
    told = shell.run("bamboo", "ingest", "--profile", "rfc0001", str(path))
    assert f"{path}, line 2: refused, bad_signature: expected" in told.text
    assert ingested(shell, lines(tmp_path / "rest.jsonl", records))["verified"] == 4


def test_a_broken_log_is_taken_and_told(shell: Shell, tmp_path: Path) -> None:
    author = Author()
    records = author.grow(5)
    wrong = author.make(6, b"6", backlink=author.hashes[2])
    found = ingested(shell, lines(tmp_path / "a.jsonl", [*records, (wrong, b"6")]), code=7)
    assert (found["new"], found["verified"], found["broken"]) == (6, 5, 1)
    told = shell.run("bamboo", "ingest", "--profile", "rfc0001", str(tmp_path / "a.jsonl"))
    assert "5 verified, 1 broken" in told.text


def test_the_last_of_a_disk_is_left_to_its_owner(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = lines(tmp_path / "log.jsonl", Author().grow(2))
    with monkeypatch.context() as patch:
        patch.setattr(room, "OWN_RESERVE", 1 << 60)
        patch.setattr(room, "DISK_SHARE", 1.0)
        outcome = shell.run("bamboo", "ingest", "--profile", "rfc0001", str(file))
        assert (outcome.code, "Nothing is written" in outcome.complaint) == (5, True)
    ingested(shell, file)


def test_forks_that_come_to_light_are_told_once(shell: Shell, tmp_path: Path) -> None:
    path = the_fork_file(tmp_path)
    found = ingested(shell, path, code=8)
    assert len(found["forks"]) == 1
    assert ingested(shell, path)["forks"] == []


def test_payloads_may_come_after_their_entries(shell: Shell, tmp_path: Path) -> None:
    records = [record(row) for row in rows(FIXTURES / "valid.jsonl")]
    first = ingested(shell, bare(tmp_path / "bare.bamboo", records))
    assert (first["new"], first["withheld"], first["verified"]) == (298, 298, 298)
    again = ingested(shell, tmp_path / "bare.bamboo")
    assert (again["new"], again["known"]) == (0, 298)
    later = ingested(shell, lines(tmp_path / "all.jsonl", records))
    # Each is filed where its payload says; as nobody knew that, the claimed place stays.
    assert (later["new"], later["withheld"], later["verified"]) == (298, 0, 298)
    bare_again = ingested(shell, tmp_path / "bare.bamboo")
    assert (bare_again["new"], bare_again["known"]) == (0, 298)
    assert shell.run("check").code == 0


def test_a_payload_over_the_limit_leaves_its_entry_here_without_it(
    shell: Shell, tmp_path: Path
) -> None:
    author, system = Author(), Author(log_id=5)
    large = [author.append(bytes(100)), system.append(b"\x83\x01\x00\x63one" + bytes(100))]
    path = lines(tmp_path / "large.jsonl", large)
    outcome = shell.run(
        *("bamboo", "ingest", "--json", "--profile", "rfc0001", str(path)),
        environment={"SETSYNC_MAX_PAYLOAD": "99"},
    )
    found = outcome.json("bamboo-ingest")
    assert (outcome.code, found["new"], found["too_large"], found["refused"]) == (7, 1, 1, 1)
    assert found["refusals"][0]["reason"] == "payload_too_large"
    after = ingested(shell, path)
    assert (after["new"], after["payloads"], after["known"]) == (1, 1, 1)


def test_the_database_of_an_aquadoggo_node_is_read_by_its_own_profile(
    shell: Shell, tmp_path: Path
) -> None:
    records = [record(row) for row in rows(FIXTURES / "documents.jsonl")]
    path = database(tmp_path / "node.sqlite3", records)
    outcome = shell.run("bamboo", "ingest", "--json", "--profile", "aquadoggo", str(path))
    found = outcome.json("bamboo-ingest")
    assert (outcome.code, found["new"], len(found["forks"])) == (8, len(records), 1)


def test_what_cannot_be_read_says_where_and_what_came_before_is_kept(
    shell: Shell, tmp_path: Path
) -> None:
    path = lines(tmp_path / "a.jsonl", Author().grow(3))
    with path.open("a") as file:
        file.write("nonsense\n")
    outcome = shell.run("bamboo", "ingest", "--profile", "rfc0001", str(path))
    assert outcome.code == 1
    assert "line 4, is not JSON" in outcome.complaint
    assert ingested(shell, lines(path, Author().grow(3)))["known"] == 3


def test_killed_in_the_middle_it_goes_on_from_where_it_was(tmp_path: Path) -> None:
    """Real processes: what was committed stays, and the store is whole."""
    shell = Shell(tmp_path / "node")
    shell.ok("init")
    path = lines(tmp_path / "long.jsonl", Author().grow(6_000))
    command = [
        *(sys.executable, "-m", "setsync", "bamboo", "ingest", "--profile", "rfc0001"),
        *("--data", str(shell.data), "--progress", "json", str(path)),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        process.stderr.readline()  # something is committed
        process.send_signal(signal.SIGKILL)
    assert shell.run("check").code == 0
    found = ingested(shell, path)
    assert found["known"] > 0
    assert found["known"] + found["new"] == found["verified"] == 6_000


# --- sync ---------------------------------------------------------------------------------


def filled(records: Sequence[Record]) -> MemoryStore:
    store = MemoryStore()
    store.add_many([member(one) for one in records])
    return store


def test_after_a_sync_both_sides_report_the_same_forks_whichever_branch_each_had() -> None:
    one = Author()
    common_part = one.grow(3)
    two = one.copy()
    ours, theirs = [*common_part, *one.grow(4, "one")], [*common_part, *two.grow(2, "two")]
    for here, there in ((ours, theirs), (theirs, ours), (ours, theirs[::-1]), (ours[4:], theirs)):
        a, b = filled(here), filled(there)
        simulate(meet, a, b)
        assert members(a) == members(b)
        assert forks(a) == forks(b)
        assert forks(a)
    [fork] = forks(filled([*ours, *theirs]))
    assert fork.seq_num == 4


def test_system_collections_go_first() -> None:
    system, user = Author(2, 3), Author()
    operation = b"\x83\x01\x00\x63one"
    records = [user.append(b"user"), system.append(operation), user.append(b"more")]
    a, b = filled(records), MemoryStore()
    simulate(meet, a, b)
    came = [is_system(collection) for collection in arrivals(b)]
    assert came == sorted(came, reverse=True)
    assert came[0]


def test_a_misfiled_entry_travels_without_a_payload_and_stays_what_it_is() -> None:
    author = Author()
    data, payload = author.append(b"\x83\x01\x00\x63one")
    a = filled([(data, None), (data, payload)])
    b = filled([(data, payload)])
    c = MemoryStore()
    for store in (b, c):
        simulate(meet, a, store)
        assert members(a) == members(store)
        assert len(members(store)) == 2
