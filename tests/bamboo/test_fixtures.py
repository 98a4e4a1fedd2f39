"""Logs made by p2panda-js, which is not ours: what was planted there is found, and no more.

The fixtures are committed; `generate/` makes them. Beside a checkout, or where the variable
SETSYNC_SHARED_BAMBOO points, there may be more logs of the kind, with rows to refuse.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bamboo_compat.core import ForkKind, LogReport, verify_log
from bamboo_compat.core.profiles import PROFILES, Profile
from bamboo_compat.core.yamf import Flavour
from tests.bamboo.logs import Author

HERE = Path(__file__).parent
FIXTURES = HERE / "fixtures"
GENERATE = HERE / "generate"
_BESIDE = HERE.parents[1].parent / "shared" / "bamboo"
SHARED = Path(os.environ.get("SETSYNC_SHARED_BAMBOO", _BESIDE))

FOLDERS = [
    pytest.param(FIXTURES, id="fixtures"),
    pytest.param(
        SHARED,
        id="shared",
        marks=pytest.mark.skipif(
            not (SHARED / "expected.json").exists(),
            reason="no other logs: set SETSYNC_SHARED_BAMBOO to a folder of them",
        ),
    ),
]


def rows(path: Path) -> list[dict[str, Any]]:
    """One object a line."""
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def record(row: dict[str, Any]) -> tuple[bytes, bytes | None]:
    """An entry and its payload."""
    payload = row["payload"]
    return bytes.fromhex(row["entry"]), None if payload is None else bytes.fromhex(payload)


def report_on(path: Path, profile: Profile = PROFILES["rfc0001"]) -> LogReport:
    """Everything in one file."""
    return verify_log(map(record, rows(path)), profile=profile)


def expected(folder: Path) -> Any:
    """What the folder says is in it."""
    return json.loads((folder / "expected.json").read_text(encoding="ascii"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_valid_logs_have_the_heads_that_they_should(folder: Path) -> None:
    report = report_on(folder / "valid.jsonl")
    assert report.all_verified
    assert not report.forked
    assert {
        (state.author.hex(), state.log_id, state.entries, *[h.hash.hex() for h in state.heads])
        for state in report.logs
    } == {
        (log["author"], int(log["log_id"]), log["entries"], log["head"])
        for log in expected(folder)["valid"]
    }
    assert all(state.trusted == state.height == state.verified for state in report.logs)


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("name", ["valid", "forked", "double_schema"])
def test_fields_read_along_are_those_we_read(folder: Path, name: str) -> None:
    found = rows(folder / f"{name}.jsonl")
    report = report_on(folder / f"{name}.jsonl")
    for row, verdict in zip(found, report.verdicts, strict=True):
        assert verdict.id.hex() == row["hash"].removeprefix("0020")
    schemas = {(row["author"], int(row["log_id"])): row["schema"] for row in found}
    for state in report.logs:
        assert state.schemas == (schemas[state.author.hex(), state.log_id],)


@pytest.mark.parametrize("folder", FOLDERS)
def test_forks_are_found_where_they_were_planted(folder: Path) -> None:
    forks = report_on(folder / "forked.jsonl").forks
    planted = expected(folder)["forks"]
    assert len(forks) == len(planted)
    for fork, should_be in zip(forks, planted, strict=True):
        assert fork.kind is ForkKind.BRANCH
        assert (fork.author.hex(), fork.log_id) == (
            should_be["author"],
            int(should_be["log_id"]),
        )
        assert fork.seq_num == should_be["seq_num"]
        assert [branch.hash.hex() for branch in fork.branches] == sorted(should_be["hashes"])
        assert fork.parent.hex() == should_be.get("parent", fork.parent.hex())


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_schema_in_two_logs_is_found(folder: Path) -> None:
    forks = report_on(folder / "double_schema.jsonl").forks
    assert [
        (fork.author.hex(), fork.subject, [branch.log_id for branch in fork.branches])
        for fork in forks
    ] == [
        (double["author"], double["schema"], [int(log_id) for log_id in double["log_ids"]])
        for double in expected(folder)["double_schema"]
    ]
    assert all(fork.kind is ForkKind.DOUBLE_SCHEMA for fork in forks)


def test_documents_are_told_apart_by_the_profile_that_has_them() -> None:
    path = FIXTURES / "documents.jsonl"
    planted = expected(FIXTURES)["documents"]
    [fork] = report_on(path, PROFILES["aquadoggo"]).forks
    assert fork.subject == planted["document"]
    assert [str(branch.log_id) for branch in fork.branches] == planted["log_ids"]
    # The other profile has one log a schema, and so finds one more log at fault.
    [fork] = report_on(path).forks
    assert [branch.log_id for branch in fork.branches] == [0, 1, 2]


@pytest.mark.skipif(
    not (SHARED / "invalid.jsonl").exists(),
    reason="no rows to refuse: set SETSYNC_SHARED_BAMBOO to a folder with them",
)
def test_rows_to_refuse_are_refused_for_their_reason_and_the_others_accepted() -> None:
    found = rows(SHARED / "invalid.jsonl")
    assert found
    for row in found:
        report = verify_log([*map(record, row["context"]), record(row)])
        assert report.verdicts[-1].reason == row["reason"], row["name"]
        if row["reason"] is None:
            assert report.all_verified, row["name"]


# --- the other way round ------------------------------------------------------------------

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (GENERATE / "node_modules" / "p2panda-js").exists(),
    reason="needs node, and 'npm install' in tests/bamboo/generate",
)


@needs_node
def test_p2panda_js_reads_and_verifies_what_we_sign() -> None:
    made = [Author(log_id=log_id).append(b"\x01") for log_id in (0, 247, 248, 2**64 - 1)]
    log = Author(flavour=Flavour.YASMF)
    made += [log.append() for _ in range(40)]
    decoded = read_by_p2panda_js([data for data, _ in made])
    assert [one["logId"] for one in decoded[:5]] == ["0", "247", "248", str(2**64 - 1), "1024"]
    assert [one["seqNum"] for one in decoded] == [*["1"] * 4, *map(str, range(1, 41))]
    assert [one["hash"] for one in decoded[4:]] == [one.hex() for one in log.hashes[1:]]


@needs_node
def test_p2panda_js_refuses_what_we_refuse() -> None:
    data = Author().make(1, b"1")
    bad = [data[:-1], data + b"\x00", data[:-1] + bytes([data[-1] ^ 1]), b"\x02" + data[1:]]
    assert all("error" in one for one in read_by_p2panda_js(bad))


def read_by_p2panda_js(made: list[bytes]) -> list[dict[str, str]]:
    """What it says of each entry."""
    found = subprocess.run(
        ["node", "decode.cjs"],
        cwd=GENERATE,
        input="\n".join(data.hex() for data in made),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [json.loads(line) for line in found.stdout.splitlines()]


@needs_node
def test_the_generator_makes_what_is_committed(tmp_path: Path) -> None:
    subprocess.run(["node", "generate.cjs", str(tmp_path)], cwd=GENERATE, check=True, timeout=120)
    for path in FIXTURES.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
