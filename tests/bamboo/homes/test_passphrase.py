"""A passphrase is typed unseen, or stands in the environment; it is never waited for in vain."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.node.processes import PATIENCE, command, make_node


def test_without_a_terminal_the_variable_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    data, archive = make_node(tmp_path / "node"), tmp_path / "anna.archive"
    around = {name: value for name, value in os.environ.items() if name != "SETSYNC_PASSPHRASE"}
    done = subprocess.run(
        command("home", "export", archive, "--with-key", "--data", data),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=around,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert b"SETSYNC_PASSPHRASE" in done.stderr
    assert b"getpass" not in done.stderr
    assert not archive.exists()
