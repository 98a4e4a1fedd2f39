"""A node whose disk fails under it takes the next session, or ends and says why.

One call of the disk fails while a session's entries are committed. After most of them the node
goes on. When the page of metadata could not be written LMDB refuses everything from then on:
such a node must not stay and look alive, but end, so that whatever started it starts it again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.shim import before
from tests.helpers import entries
from tests.node.processes import Serving, check_clean, contents, fill, make_node, run

# A small commit writes a few pages, syncs them, and writes the page of metadata.
_CALLS = 12


def test_a_node_whose_disk_fails_a_call_goes_on_or_ends_with_exit_code_5(
    shim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = False
    for at in range(1, _CALLS):
        serving, first, second = (
            make_node(tmp_path / f"{name}{at}", seed) for seed, name in enumerate("abc")
        )
        fill(serving, entries(5))
        fill(first, entries(8))
        fill(second, entries(8))
        with monkeypatch.context() as patch:
            for name, value in before(shim, fail_at=at).items():
                patch.setenv(name, value)
            node = Serving(serving, "--access", "open")
        with node:
            told = run("sync", node.address, "--data", first, "--plain")
            assert told.code == 3, told.stderr
            again = run("sync", node.address, "--data", second, "--plain")
            ended = again.code != 0
            outcome = node.end() if ended else node.stop()
        check_clean(serving)
        if ended:
            break
        assert outcome.code == 0
        assert contents(serving) == contents(second)
    assert ended, "a page of metadata that was not written ends LMDB's work"
    assert outcome.code == 5
    assert f"The disk failed under {serving / 'store'}" in outcome.stderr
    assert "start" in outcome.stderr
    with Serving(serving, "--access", "open") as node:
        assert run("sync", node.address, "--data", second, "--plain").code == 0
        assert node.stop().code == 0
    assert contents(serving) == contents(second)
