"""What is dangerous is told, in the commands and in docs/homes.md, and never done unasked."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from bamboo_compat.cli.home_common import confirm
from bamboo_compat.homes.dangers import Act
from bamboo_compat.homes.errors import NotConfirmedError
from tests.node.processes import command, make_node

PAGE = Path(__file__).parents[3] / "docs" / "homes.md"


@pytest.mark.parametrize("act", Act)
def test_the_page_has_every_dangerous_action_with_its_word(act: Act) -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## What is dangerous")[2]
    rows = [line for line in table.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    assert [row for row in rows if f"`{act.value.word}`" in row and "--yes" in row]


@pytest.mark.parametrize("act", Act)
def test_nothing_dangerous_is_done_unasked_and_what_would_happen_is_said(
    act: Act, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NotConfirmedError) as caught:
        confirm(act, "Because.", yes=False)
    assert act.value.what in caught.value.message
    assert caught.value.exit_code == 2
    confirm(act, "Because.", yes=True)
    assert act.value.what in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "code"), [("adopt\n", 0), ("yes\n", 2), ("\n", 2)])
def test_at_a_terminal_the_word_has_to_be_typed(tmp_path: Path, typed: str, code: int) -> None:
    data = make_node(tmp_path / "node")
    (data / "place.json").write_text(
        '{"setsync_place": 1, "machine": "another", "boot": "", "device": 1, "inode": 1}'
    )
    ours, theirs = pty.openpty()
    os.write(ours, typed.encode())
    done = subprocess.run(
        command("home", "adopt", "--data", data),
        stdin=theirs,
        capture_output=True,
        timeout=60,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == code, done.stderr
    assert b"Type 'adopt'" in done.stderr
    assert (b'"another"' in (data / "place.json").read_bytes()) == (code != 0)
