"""shirokuma 0.1.3 and p2panda-js 0.8.1, as npm has them, against a real node."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest

from bamboo_compat.core import verify_log
from bamboo_compat.core.entry import decode
from bamboo_compat.core.lipmaa import has_lipmaalink, lipmaa
from bamboo_compat.core.profiles import PROFILES
from tests.bamboo.server.clients import hash_of
from tests.bamboo.server.serving import Served, entries_in, serving

HERE = Path(__file__).parent
MODULES = HERE.parent / "generate" / "node_modules"
VERSIONS = {"shirokuma": "0.1.3", "p2panda-js": "0.8.1"}

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not all((MODULES / name).exists() for name in VERSIONS),
    reason="needs node, and 'npm install' in tests/bamboo/generate",
)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Served]:
    """An empty node that serves."""
    with serving(tmp_path / "node") as served:
        yield served


def play(node: Served, scene: str) -> list[dict[str, Any]]:
    """What an application did and heard."""
    ran = subprocess.run(
        ["node", "session.cjs", f"{node.url}/graphql", scene],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_the_clients_are_those_of_the_promise() -> None:
    for name, version in VERSIONS.items():
        found = json.loads((MODULES / name / "package.json").read_text(encoding="utf-8"))
        assert found["version"] == version


def test_a_hundred_operations_of_three_authors_get_the_places_of_an_aquadoggo_node(
    node: Served,
) -> None:
    """Log ids count an author's documents, numbers and links are those of the specification; the
    answers are compared with a count by hand, and the store with Bamboo's verifier."""
    steps = play(node, "hundred")
    assert len(steps) == 100
    assert {step["kind"] for step in steps} == {"create", "update", "delete"}
    logs: dict[int, dict[str, int]] = {0: {}, 1: {}, 2: {}}  # by author and document
    hashes: dict[tuple[int, int], list[str]] = {}
    for step in steps:
        mine = logs[step["who"]]
        log_id = mine.setdefault(step["document"], len(mine))
        log = hashes.setdefault((step["who"], log_id), [""])
        seq_num = len(log)
        assert step["args"] == {
            "logId": str(log_id),
            "seqNum": str(seq_num),
            "backlink": log[-1] or None,
            "skiplink": log[lipmaa(seq_num)] if has_lipmaalink(seq_num) else None,
        }
        log.append(step["id"])
    assert max(len(log) for log in hashes.values()) > 8  # with lipmaalinks
    records = entries_in(node.data)
    assert sorted(hash_of(header).hex() for header, _ in records) == sorted(
        step["id"] for step in steps
    )
    merges = [payload for _, payload in records if payload and _previous(payload) > 1]
    assert merges  # views of several operations were among them
    report = verify_log(records, profile=PROFILES["aquadoggo"])
    assert report.all_verified
    assert not report.forked


def _previous(payload: bytes) -> int:
    operation = cbor2.loads(payload)
    return len(operation[3]) if operation[1] else 0


def test_refusals_reach_the_application_with_their_reason(node: Served) -> None:
    heard = {step.pop("what"): step for step in play(node, "refusals")}
    codes = {what: step["extensions"]["code"] for what, step in heard.items() if "text" in step}
    assert codes == {
        "unknown document": "unknown_document",
        "second": "not_the_next",
        "backlink": "bad_backlink",
        "payload": "bad_payload_hash",
        "signature": "bad_signature",
        "truncated": "truncated",
        "hex": "bad_argument",
        "log": "wrong_log",
        "schema": "wrong_schema",
        "deleted": "document_deleted",
    }
    # The first of two was taken, and published again it is just answered.
    assert heard["first"]["done"] == heard["again"]["done"]
    for step in heard.values():
        if "text" in step:
            assert step["message"] in step["text"]  # which is what applications show
            assert step["extensions"]["advice"]
    names = [decode(header).seq_num for header, _ in entries_in(node.data)]
    assert sorted(names) == [1, 2, 3]
