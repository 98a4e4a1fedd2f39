"""Real processes that keep up with each other over the secure channel."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from setsync.node.config import DataDirectory
from tests.helpers import entries
from tests.node.processes import PATIENCE, command, contents, fill, make_node, run


def until(holds: object, what: str) -> None:
    """Look again and again, and give up only when something must hang."""
    assert callable(holds)
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@contextmanager
def serving(data: Path, *words: str) -> Iterator[str]:
    """A node that serves on a free port, and its address."""
    ready = data / "address"
    with subprocess.Popen(
        command("serve", "--data", data, "--listen", "127.0.0.1:0", "--ready-file", ready, *words),
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until(ready.exists, "the node does not listen")
            yield ready.read_text(encoding="ascii").strip()
        finally:
            process.terminate()


def key_of(data: Path) -> str:
    return DataDirectory.open(data).node_key().public.hex()


def test_what_is_put_at_one_node_is_at_the_other_and_peers_says_so(tmp_path: Path) -> None:
    a, b = make_node(tmp_path / "a", seed=1), make_node(tmp_path / "b", seed=2)
    fill(a, entries(20))
    assert run("peers", "add", key_of(b), "--data", a).code == 0
    with serving(a) as address:
        assert address.startswith(f"setsync://{key_of(a)}@127.0.0.1:")
        with serving(b, "--peer", address):
            until(lambda: len(contents(b)) == 20, "nothing was caught up")
            text = tmp_path / "text"
            for node, words in ((a, b"from a"), (b, b"from b")):
                text.write_bytes(words)
                assert run("put", "notes", text, "--data", node).code == 0
            until(lambda: len(contents(a)) == len(contents(b)) == 22, "news did not come")

            def is_told() -> bool:
                found = json.loads(run("peers", "list", "--data", b, "--json").stdout)
                state = found["states"].get(key_of(a), {})
                return (state.get("phase"), state.get("entries_sent")) == ("live", 1)

            until(is_told, "peers does not tell")
    assert contents(a) == contents(b)
