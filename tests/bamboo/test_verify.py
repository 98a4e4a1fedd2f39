"""`setsync bamboo verify`, as somebody with files would run it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bamboo_compat import limits
from bamboo_compat.core.lipmaa import certificate_pool
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.files import sources, verifying
from tests.bamboo.logs import FLAVOURS, Author, Record, signed
from tests.cli.running import Outcome, Shell

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell in a place without any store, and without one it stays."""
    return Shell(tmp_path / "no-store")


def lines(path: Path, records: Iterable[Record]) -> Path:
    """Records as JSON lines."""
    with path.open("w", encoding="ascii") as file:
        for data, payload in records:
            row = {"entry": data.hex(), "payload": None if payload is None else payload.hex()}
            file.write(json.dumps(row) + "\n")
    return path


def bare(path: Path, records: Iterable[Record]) -> Path:
    """Entries one after the other."""
    path.write_bytes(b"".join(data for data, _ in records))
    return path


def database(path: Path, records: Iterable[Record], author_column: str = "public_key") -> Path:
    """What an aquadoggo node keeps, as far as its migrations tell."""
    with contextlib.closing(sqlite3.connect(path)) as found, found:
        found.execute(
            f"CREATE TABLE entries ({author_column} TEXT NOT NULL, entry_bytes TEXT NOT NULL, "
            "entry_hash TEXT NOT NULL UNIQUE, log_id TEXT NOT NULL, payload_bytes TEXT, "
            "payload_hash TEXT NOT NULL, seq_num TEXT NOT NULL)"
        )
        for number, (data, payload) in enumerate(records):
            hexed = payload.hex() if payload is not None else None
            row = ("a", data.hex(), str(number), "0", hexed, "h", "1")
            found.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    return path


WRITERS = [lines, bare, database]


def verify(shell: Shell, *words: str | Path) -> Outcome:
    """Run it."""
    return shell.run("bamboo", "verify", "--progress", "none", *map(str, words))


def verified_json(shell: Shell, *words: str | Path) -> Any:
    """Run it for a program."""
    return verify(shell, "--json", *words).json("bamboo-verify")


# --- what it says -------------------------------------------------------------------------


def test_good_logs_end_with_zero_and_a_table(shell: Shell) -> None:
    outcome = verify(shell, FIXTURES / "valid.jsonl")
    assert outcome.code == 0
    assert outcome.lines[0].startswith("AUTHOR            LOG   ")
    assert "8a88e3dd7409f195  1024                  130      130     130" in outcome.text
    assert outcome.lines[-1] == "All of 298 entries in 6 logs verified."
    assert outcome.complaint == ""
    assert not shell.data.exists()


def test_forked_logs_end_with_eight_and_both_sides(shell: Shell) -> None:
    outcome = verify(shell, FIXTURES / "forked.jsonl")
    assert outcome.code == 8
    assert "parts at entry 11 after 0020" in outcome.text
    assert "10 long" in outcome.text
    assert outcome.lines[-1] == (
        "Of 27 entries in 1 log: 27 verified; 2 forks, by profile rfc0001."
    )
    report = verified_json(shell, FIXTURES / "forked.jsonl")
    assert [fork["seq_num"] for fork in report["forks"]] == [11, 13]
    assert report["logs"][0]["trusted"] == 10
    assert report["logs"][0]["forks"] == [fork["id"] for fork in report["forks"]]


def test_all_files_are_looked_at_together(shell: Shell, tmp_path: Path) -> None:
    log = Author().grow(12)
    one = lines(tmp_path / "one.jsonl", log[6:])
    assert verify(shell, one).code == 7
    assert verify(shell, one, bare(tmp_path / "two.bamboo", log[:6])).code == 0


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_kind_of_file_is_read(
    shell: Shell, tmp_path: Path, write: Any, flavour: Flavour
) -> None:
    path = write(tmp_path / "file", Author(flavour=flavour).grow(30))
    report = verified_json(shell, path)
    assert report["all_verified"]
    assert (report["entries"], report["verified"]) == (30, 30)
    assert report["withheld"] == (30 if write is bare else 0)
    assert report["profile"] == ("aquadoggo" if write is database else "rfc0001")


@pytest.mark.parametrize(("write", "unit"), [(lines, "line"), (bare, "byte"), (database, "row")])
def test_a_refused_entry_is_told_with_its_place(
    shell: Shell, tmp_path: Path, write: Any, unit: str
) -> None:
    author = Author()
    log = author.grow(5)
    bad = signed(2, author.make(6, b"6")[:-64]), b"6"
    path = write(tmp_path / "file", [*log, bad])
    place = sum(len(data) for data, _ in log) if unit == "byte" else 6
    outcome = verify(shell, path)
    assert outcome.code == 7
    assert (
        f"{path}, {unit} {place}: refused, bad_signature: expected a signature by" in outcome.text
    )
    [problem] = verified_json(shell, path)["problems"]
    assert (problem["position"], problem["unit"]) == (place, unit)
    assert (problem["standing"], problem["reason"]) == ("refused", "bad_signature")
    assert (problem["author"], problem["log_id"], problem["seq_num"]) == (
        author.key.hex(),
        1024,
        6,
    )
    assert not problem["rest_unread"]


def test_a_broken_entry_is_told_and_what_stands_on_it_is_counted(
    shell: Shell, tmp_path: Path
) -> None:
    author = Author()
    log: list[Record] = [*author.grow(4), author.append(end=True), *author.grow(3)]
    path = lines(tmp_path / "log.jsonl", log)
    report = verified_json(shell, path)
    assert [problem["reason"] for problem in report["problems"]] == ["after_end_of_log"]
    assert (report["broken"], report["inherited"], report["verified"]) == (3, 2, 5)
    outcome = verify(shell, path)
    assert outcome.code == 8  # going on after the end is a fork, and a fork is over broken
    assert f"{path}, line 6: broken, after_end_of_log" in outcome.text
    assert "Broken because of what they stand on: 2 entries." in outcome.lines
    assert "log 1024 goes on after its end, entry 5" in outcome.text


def test_every_finding_is_told_not_only_the_first(shell: Shell, tmp_path: Path) -> None:
    data = Author().make(1, b"1")
    path = lines(tmp_path / "log.jsonl", [(b"\x02" + data[1:], b"22")])
    [problem] = verified_json(shell, path)["problems"]
    assert [finding["reason"] for finding in problem["findings"]] == [
        "bad_tag",
        "bad_signature",
        "bad_payload_hash",
        "bad_payload_size",
    ]


def test_a_certificate_pool_needs_partial(shell: Shell, tmp_path: Path) -> None:
    log = Author().grow(40)
    pool = [log[at - 1] for at in certificate_pool(23)]
    path = bare(tmp_path / "pool.bamboo", pool)
    assert verify(shell, path).code == 7
    assert verify(shell, "--partial", path).code == 0
    hole = bare(tmp_path / "hole.bamboo", pool[1:])
    outcome = verify(shell, "--partial", hole)
    assert outcome.code == 7
    assert "waiting for missing ones" in outcome.lines[-1]
    report = verified_json(shell, "--partial", hole)
    assert (report["broken"], report["refused"], report["verified"]) == (0, 0, 0)


def test_the_profile_may_be_chosen(shell: Shell) -> None:
    path = FIXTURES / "documents.jsonl"
    assert len(verified_json(shell, path)["forks"][0]["branches"]) == 3
    report = verified_json(shell, "--profile", "aquadoggo", path)
    assert len(report["forks"][0]["branches"]) == 2


def test_double_entries_are_counted_once(shell: Shell, tmp_path: Path) -> None:
    log = Author().grow(5)
    path = lines(tmp_path / "log.jsonl", [*log, *log])
    report = verified_json(shell, path)
    assert (report["entries"], report["known"], report["verified"]) == (10, 5, 5)
    assert "All of 5 entries in 1 log" in verify(shell, path).text


# --- files that are none ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "There is no entry in"),
        (b"\n\n", "is not JSON"),
        (b"{}\n", "line 1, is not an object with 'entry'"),
        (b'{"entry": "00"}\n{"entry": "0"}\n', "line 2"),
        (b'{"entry": 7}\n', "line 1"),
        (b'{"entry": "00", "payload": 7}\n', "line 1"),
        (b'{"entry": "00"} more\n', "line 1, is not JSON"),
        (b"\n" + b'{"a":' * 10_000, "line 2, is not JSON"),
        (b'{"entry": "\xff"}', "line 1, is not JSON"),
        (b"SQLite format 3\x00 and no more", "cannot be read as the database"),
    ],
)
def test_what_cannot_be_read_ends_with_one(
    shell: Shell, tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    outcome = verify(shell, "--json", path)
    if content == b"\n\n":  # bytes that are no JSON are taken for entries, and refused
        assert outcome.code == 7
        return
    assert outcome.code == 1
    assert said in outcome.json("error")["error"]["message"]
    assert outcome.json("error")["error"]["code"] == "unreadable"


def test_a_database_of_something_else_is_not_read(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "file.db"
    with contextlib.closing(sqlite3.connect(path)) as found, found:
        found.execute("CREATE TABLE other (a)")
        found.execute("CREATE VIEW entries AS SELECT 1 AS entry_bytes, 2 AS payload_bytes")
    assert "without a table 'entries'" in verify(shell, path).complaint
    with contextlib.closing(sqlite3.connect(path)) as found, found:
        found.execute("DROP VIEW entries")
        found.execute("CREATE TABLE entries (entry_bytes, payload_bytes)")
        found.execute("INSERT INTO entries VALUES (1, 2)")
    outcome = verify(shell, path)
    assert outcome.code == 1
    assert "row 1, does not hold hex text" in outcome.complaint


@pytest.mark.parametrize("row", [2**62, 2**sources.POSITION_BITS, -5])
def test_a_row_with_a_number_that_no_node_gives_is_told(
    shell: Shell, tmp_path: Path, row: int
) -> None:
    """SQLite takes any number of 64 bits, and then a place in the file cannot be told."""
    path = database(tmp_path / "file", Author().grow(2))
    with contextlib.closing(sqlite3.connect(path)) as found, found:
        found.execute("UPDATE entries SET rowid = ? WHERE rowid = 2", (row,))
    outcome = verify(shell, path)
    assert outcome.code == 1
    assert f"row {row}: rows are numbered from 0 to 17,592,186,044,415" in outcome.complaint


def test_the_last_row_that_can_be_numbered_is_told_by_its_number(
    shell: Shell, tmp_path: Path
) -> None:
    data, payload = Author().append(b"x")
    path = database(tmp_path / "file", [(data[:-1] + b"?", payload)])
    with contextlib.closing(sqlite3.connect(path)) as found, found:
        found.execute("UPDATE entries SET rowid = ?", (2**sources.POSITION_BITS - 1,))
    assert f"row {2**sources.POSITION_BITS - 1}" in verify(shell, path).text


def test_a_missing_file_is_a_usage_error(shell: Shell, tmp_path: Path) -> None:
    assert verify(shell, tmp_path / "nowhere").code == 2
    assert verify(shell).code == 2


def test_a_line_that_does_not_end_is_not_read_on(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_LINE", 300_000)
    path = tmp_path / "file.jsonl"
    path.write_bytes(b'{"entry": "' + b"0" * 600_000)
    outcome = verify(shell, path)
    assert outcome.code == 1
    assert "line 1, is longer than" in outcome.complaint


def test_too_many_entries_are_not_read_on(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "MAX_ENTRIES", 5)
    assert verify(shell, bare(tmp_path / "few", Author().grow(5))).code == 0
    assert verify(shell, bare(tmp_path / "many", Author().grow(6))).code == 1


def test_bare_entries_that_lose_their_end_say_where(shell: Shell, tmp_path: Path) -> None:
    log = Author().grow(40)
    before = b"".join(data for data, _ in log[:20])
    path = tmp_path / "log.bamboo"
    path.write_bytes(before + b"\xff" * 3000 + b"".join(data for data, _ in log[20:]))
    report = verified_json(shell, path)
    assert report["verified"] == 20
    last = report["problems"][-1]
    assert last["rest_unread"]
    assert last["position"] >= len(before)
    assert "nothing after it could be read" in verify(shell, path).text


def test_a_directory_is_read_by_the_names_in_it(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    lines(folder / "a.jsonl", Author().grow(3))
    bare(folder / "b.bamboo", Author(2).grow(3))
    database(folder / "c.sqlite3", Author(3).grow(3), author_column="author")
    (folder / "notes.txt").write_text("not a log")
    outcome = verify(shell, folder)
    assert outcome.code == 0
    assert outcome.complaint == "Left out for their names: 1 file.\n"
    assert len(verified_json(shell, folder)["files"]) == 3
    empty = tmp_path / "empty"
    empty.mkdir()
    assert verify(shell, empty).code == 1


# --- many processes -----------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITERS)
def test_many_jobs_find_what_one_finds(
    shell: Shell, tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small jobs cut the files in many places, and other processes do most of them."""
    author = Author()
    log = author.grow(150)
    other = author.copy()
    log += author.grow(50, "one")
    log += other.grow(40, "two")
    log[30] = signed(2, log[30][0][:-64]), log[30][1]
    path = write(tmp_path / "file", log)
    alone = verified_json(shell, "--jobs", "1", path)
    for size in (1, 500, 5000):
        monkeypatch.setattr(sources, "JOB_BYTES", size)
        assert verified_json(shell, "--jobs", "1", path) == alone
    assert verified_json(shell, "--jobs", "3", path) == alone
    assert (alone["refused"], len(alone["forks"])) == (1, 1)


def test_help_lists_it_and_completion_finds_it(shell: Shell) -> None:
    assert "bamboo" in shell.ok("-h").text
    assert "verify" in shell.ok("bamboo", "-h").text
    assert "FILE..." in shell.ok("bamboo", "verify", "-h").text


def test_a_process_of_its_own_ends_with_the_same_code() -> None:
    words = ["-m", "setsync", "bamboo", "verify", str(FIXTURES / "double_schema.jsonl")]
    found = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert found.returncode == 8
    assert "more than one log for message_" in found.stdout
    assert found.stderr.startswith("checking") or not found.stderr


def test_limits_fit_into_each_other() -> None:
    assert limits.MAX_LINE >= 2 * limits.MAX_PAYLOAD
    assert limits.MAX_ENTRIES < 2**sources.POSITION_BITS
