"""The search for secrets finds those that are there, however they are spelled, and no others."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import some_bytes
from tests.secrets import Watch

SECRET = some_bytes("a secret of these tests", length=32)
ROOT = Path(__file__).parents[1]

SPELLED = {
    "raw": SECRET,
    "hex": SECRET.hex().encode(),
    "upper hex": SECRET.hex().upper().encode(),
    "base64": base64.b64encode(SECRET),
    "base64 for addresses": base64.urlsafe_b64encode(SECRET),
    "base64 behind one byte": base64.b64encode(b"x" + SECRET + b"y"),
    "base64 behind two bytes": base64.b64encode(b"xy" + SECRET),
}


@pytest.mark.parametrize("how", SPELLED)
@pytest.mark.parametrize("is_made_first", [True, False])
def test_a_secret_that_is_said_is_found(how: str, is_made_first: bool) -> None:
    watch = Watch()
    if is_made_first:
        watch.add(SECRET)
    watch.hear("a log", b"the key is " + SPELLED[how] + b".")
    watch.add(SECRET)
    [leak] = watch.leaks()
    assert leak.startswith("a log")


def test_what_is_no_secret_is_not_found() -> None:
    watch = Watch()
    watch.add(SECRET)
    watch.hear("a log", some_bytes("anything", length=10_000))
    watch.hear("a log", SECRET[:30].hex().encode())
    assert not watch.leaks()


LEAKING = """
import logging
from setsync.model.keys import SecretKey

def test_leak(caplog):
    key = SecretKey(bytes(range(100, 131)) + b"!")
    {leak}
"""

LEAKS = {
    "print": "print(key.seed.hex())",
    "log": "logging.getLogger('setsync').error('cannot use %s', key.seed.hex())",
    "nothing": "print(key.public.hex(), key)",
}


@pytest.mark.parametrize("how", LEAKS)
def test_a_run_that_says_a_secret_fails_at_its_end(how: str, tmp_path: Path) -> None:
    test = tmp_path / "test_leak.py"
    test.write_text(LEAKING.format(leak=LEAKS[how]), encoding="utf-8")
    words = ["-q", "-p", "no:cacheprovider", "-p", "tests.conftest", "--rootdir", str(tmp_path)]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "-c", "/dev/null", str(test)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in run.stdout, run.stdout + run.stderr
    assert (run.returncode, "secrets were said" in run.stdout) == (
        (0, False) if how == "nothing" else (1, True)
    )
