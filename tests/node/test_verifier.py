"""The process that verifies: job by job, and gone without a word when nobody asks any more."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from setsync.model.checking import answer, pack_job
from setsync.node.verifier import serve
from tests.helpers import entries
from tests.model.test_checking import bare, spoiled


def test_the_process_answers_job_by_job_until_its_input_ends() -> None:
    jobs = [bare(entries(3)), [], [spoiled(bare(entries(1))[0], 1)]]
    sent = b"".join(map(pack_job, jobs))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "setsync.node.verifier"],
        input=sent,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == b"".join(answer(pack_job(job)[4:]) for job in jobs)
    assert done.stderr == b""


@pytest.mark.parametrize("cut", [1, 3, 4, 5, -1])
def test_an_input_that_ends_in_the_middle_ends_the_process_in_order(cut: int) -> None:
    out = io.BytesIO()
    job = pack_job(bare(entries(1)))
    serve(io.BytesIO(job + job[:cut]), out)
    assert out.getvalue() == answer(job[4:])


def test_when_nobody_listens_any_more_the_process_ends_without_a_word() -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "setsync.node.verifier"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, said = process.communicate(pack_job(bare(entries(3))), timeout=60)
    assert (process.returncode, said) == (0, b"")
